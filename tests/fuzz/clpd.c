/* A daemon that answers anything: libclpd takes no answer that it can't read to the last
 * byte. The first byte: 0 asks for JSON, else so many requests are under way. */
#include "client/clpd.h"
#include "tests/fuzz/support/fuzz.h"
#include "tests/fuzz/support/peer.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void read_result(const struct clpd_result *r) {
    double sum = 0;
    size_t letters = strlen(r->text) + (r->json ? strlen(r->json) : 0);
    FUZZ_MUST(!r->json || strlen(r->json) == r->json_bytes, "%zu", r->json_bytes);
    for (size_t i = 0; r->scores && i < (size_t)r->items * r->classes; i++) sum += (double)r->scores[i];
    for (size_t i = 0; r->top && i < (size_t)r->items * r->top_k; i++) {
        const char *label = clpd_result_label(r, &r->top[i]);
        FUZZ_MUST(r->top[i].index < r->classes, "class %u", r->top[i].index);
        letters += label ? strlen(label) : 0;
    }
    FUZZ_MUST(letters < SIZE_MAX && clpd_status_name(r->status), "%g", sum);
}

static void talk(struct clpd *c, uint8_t requests) {
    static const uint8_t pixels[2 * 2 * 2 * 3];
    struct clpd_request q = {
        .format = CLPD_U8_NHWC, .dims = {2, 2, 2, 3}, .data = pixels, .top_k = 2, .want_scores = 1};
    struct clpd_result r;
    clpd_set_timeout(c, 0);
    if (requests == 0 && clpd_query(c, CLPD_MODELS, &r) == 0) read_result(&r);
    for (uint8_t i = 0; i < requests % 4; i++, q.want_scores = 0)
        if (clpd_submit(c, &q, NULL) < 0) break;
    while (clpd_poll(c, 0, &r) == 1) read_result(&r);
    FUZZ_MUST(memchr(clpd_error(c), 0, 320), "unterminated");
}

FUZZ(clpd, 4096) {
    struct clpd *c;
    int daemon;
    if (size < 1 || peer_connect(&c, &daemon) < 0) return 0;
    FUZZ_MUST(size == 1 || send(daemon, bytes + 1, size - 1, MSG_NOSIGNAL) == (ssize_t)size - 1, "%zu", size);
    (void)shutdown(daemon, SHUT_WR);
    talk(c, bytes[0]);
    clpd_close(c);
    (void)close(daemon);
    return 0;
}
