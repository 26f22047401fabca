#include "tests/connection_case.h"

#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static const struct case_network times_two = {.factor = 2, .labels = 4};

struct clpd_infer case_ask(uint32_t n) {
    return (struct clpd_infer){
        .model = "two", .flags = CLPD_WANT_SCORES, .format = CLPD_F32_NCHW, .dims = {n, 1, 2, 2}};
}

bool case_hear(struct rig *r, int fd, struct answer *a) {
    uint8_t *body;
    memset(a, 0, sizeof *a);
    if (!rig_receive(r, fd, &a->h, &body)) return false;
    CU_ASSERT_EQUAL(a->h.magic, CLPD_MAGIC);
    CU_ASSERT_EQUAL(a->h.version, CLPD_WIRE_VERSION);
    if (a->h.type == CLPD_JSON_REPLY) {
        (void)snprintf(a->text, sizeof a->text, "%s", (char *)body);
        free(body);
        return true;
    }
    memcpy(&a->r, body, sizeof a->r);
    const size_t scores = a->r.has_scores ? (size_t)a->r.items * a->r.classes * sizeof(float) : 0;
    const size_t top = (size_t)a->r.items * a->r.top_k * sizeof(struct clpd_top);
    CU_ASSERT_EQUAL(a->h.bytes, sizeof a->r + scores + top + a->r.text_bytes);
    if (scores <= sizeof a->scores) memcpy(a->scores, body + sizeof a->r, scores);
    if (top <= sizeof a->top) memcpy(a->top, body + sizeof a->r + scores, top);
    (void)snprintf(a->text, sizeof a->text, "%s", (char *)body + sizeof a->r + scores + top);
    if (a->r.text_bytes) CU_ASSERT_EQUAL(body[a->h.bytes - 1], 0);
    free(body);
    return true;
}

void case_on_both(const struct rig_options *like, void (*test)(struct rig *r)) {
    for (int kind = LOOP_URING; kind <= LOOP_EPOLL; kind++) {
        struct rig r;
        struct rig_options o = *like;
        o.loop = (enum loop_kind)kind;
        if (!rig_open(&r, &o)) continue;
        CU_ASSERT_TRUE_FATAL(rig_load(&r, "two", 1, &times_two));
        test(&r);
        rig_close(&r);
    }
}

uint32_t case_status(struct rig *r, int fd, const struct clpd_infer *q, size_t bytes, const char *word) {
    struct answer a;
    uint8_t *tensor = calloc(1, bytes + 1);
    CU_ASSERT_TRUE(rig_send_infer(r, fd, 9, q, tensor, bytes));
    free(tensor);
    if (!case_hear(r, fd, &a)) return UINT32_MAX;
    CU_ASSERT_EQUAL(a.h.id, 9);
    CU_ASSERT_EQUAL(a.h.type, CLPD_INFER_REPLY);
    CU_ASSERT_PTR_NOT_NULL(strstr(a.text, word));
    if (a.r.status != CLPD_OK) CU_ASSERT_EQUAL(a.r.text_bytes, strlen(a.text) + 1);
    return a.r.status;
}
