/* clp-picture: decodes one picture for clpd, in the same cage as the import worker, and ends.
 *
 * Started by clpd before there is a picture, so that nobody waits for the start; gives everything up but its
 * socket (descriptor 0) before it reads a byte. One process per picture: what one picture may
 * break never sees another client's. */
#include "client/decode.h"
#include "client/picture_wire.h"
#include "guard/sandbox.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKET 0

static bool read_all(void *to, size_t n) {
    for (uint8_t *p = to; n;) {
        const ssize_t got = read(SOCKET, p, n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static bool write_all(const void *from, size_t n) {
    for (const uint8_t *p = from; n;) {
        const ssize_t put = write(SOCKET, p, n);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        p += put;
        n -= (size_t)put;
    }
    return true;
}

static int answer(const struct picture *p, const char *why) {
    struct picture_reply r = {.magic = PICTURE_WIRE_MAGIC, .ok = p != NULL};
    (void)snprintf(r.text, sizeof r.text, "%s", why);
    return write_all(&r, sizeof r) && (!p || write_all(p->data, p->bytes)) ? 0 : 1;
}

static int fit(const struct picture_question *q, struct picture *in, struct picture *out, struct err *e) {
    if (q->c == 1 && picture_to_gray(in, e)) return -1;
    return picture_resize(in, q->h, q->w, out, e);
}

static int decode(const struct picture_question *q, const uint8_t *bytes) {
    struct picture in, out;
    struct err e = {0};
    if (decode_bytes("the picture", bytes, q->bytes, &in, &e)) return answer(NULL, e.text);
    const int rc = fit(q, &in, &out, &e);
    picture_free(&in);
    if (rc) return answer(NULL, e.text);
    const int done = answer(&out, "");
    picture_free(&out);
    return done;
}

int main(int argc, char **argv) {
    char note[ERR_TEXT];
    struct err e = {0};
    struct picture_question q;
    if (argc != 3) {
        (void)fputs("clp-picture is started by clpd: it decodes one picture in a sandbox\n", stderr);
        return 2;
    }
    const struct sandbox_options o = {.keep = 1u << SOCKET,
                                      .seconds = (uint32_t)strtoul(argv[1], NULL, 10),
                                      .memory = strtoull(argv[2], NULL, 10),
                                      .output = 0};
    if (sandbox_enter(&o, note, &e)) return answer(NULL, e.text);
    if (!read_all(&q, sizeof q)) return 0; /* it was not needed */
    if (q.magic != PICTURE_WIRE_MAGIC || q.bytes == 0 || q.bytes > DECODE_MAX_BYTES) return 1;
    uint8_t *bytes = malloc(q.bytes);
    if (!bytes) return answer(NULL, "out of memory");
    const int rc = read_all(bytes, q.bytes) ? decode(&q, bytes) : 1;
    free(bytes);
    return rc;
}
