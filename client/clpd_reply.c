/* Requests' heads and replies' bodies, the same over stream and ring. Pure. */
#include "client/libclpd.h"

#include <errno.h>
#include <string.h>

/* Control characters in the daemon's texts must not reach a terminal. */
static void make_printable(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

static int check_top(const struct clpd_reply *a, const uint8_t *top) {
    for (size_t i = 0; i < (size_t)a->items * a->top_k; i++) {
        struct clpd_top t;
        memcpy(&t, top + i * sizeof t, sizeof t);
        if (t.index >= a->classes) return -1;
        if (t.label != CLPD_NO_LABEL && t.label >= a->text_bytes) return -1;
    }
    return 0;
}

static const char *read_classes(const uint8_t *body, const struct clpd_reply *a, size_t bytes,
                                const struct asked *asked, struct clpd_result *r) {
    if (a->items != asked->items) return "as many items as were not asked for";
    if (a->has_scores != asked->want_scores) return "scores that were not asked for, or none";
    if (a->top_k > asked->top_k || a->top_k > a->classes) return "more classes than asked for";
    uint64_t scores = a->has_scores ? (uint64_t)a->items * a->classes : 0;
    if (scores > LIBCLPD_MAX_REPLY / sizeof(float))
        return "too many scores"; /* so that nothing below wraps */
    uint64_t tops = (uint64_t)a->items * a->top_k;
    if (tops > LIBCLPD_MAX_REPLY / sizeof(struct clpd_top)) return "too many classes";
    uint64_t want = sizeof *a + scores * sizeof(float) + tops * sizeof(struct clpd_top) + a->text_bytes;
    if (want != bytes) return "its length and its counts disagree";
    const uint8_t *score = body + sizeof *a, *top = score + scores * sizeof(float);
    const uint8_t *text = top + tops * sizeof(struct clpd_top);
    if (a->text_bytes && text[a->text_bytes - 1]) return "a label without an end";
    if (check_top(a, top) < 0) return "a class or a label out of range";
    r->items = a->items;
    r->classes = a->classes;
    r->top_k = a->top_k;
    r->scores = scores ? (const float *)(const void *)score : NULL;
    r->top = tops ? (const struct clpd_top *)(const void *)top : NULL;
    r->labels = a->text_bytes ? (const char *)text : NULL;
    r->label_bytes = a->text_bytes;
    return NULL;
}

const char *libclpd_read_reply(uint8_t *body, size_t bytes, const struct asked *asked,
                               struct clpd_result *r) {
    struct clpd_reply a;
    if (bytes < sizeof a) return "a reply cut short";
    memcpy(&a, body, sizeof a);
    r->status = a.status;
    r->version = a.version;
    r->queue_ns = a.queue_ns;
    r->compute_ns = a.compute_ns;
    r->batch = a.batch;
    memcpy(r->sha256, a.sha256, sizeof r->sha256);
    if (a.status == CLPD_OK) return asked ? read_classes(body, &a, bytes, asked, r) : NULL;
    if (bytes != sizeof a + a.text_bytes) return "its length and its counts disagree";
    char *text = (char *)body + sizeof a;
    text[a.text_bytes] = 0;
    make_printable(text);
    r->text = text;
    return NULL;
}

/* Bytes of the tensor; 0: dims or format make no sense. */
static uint64_t tensor_bytes(const struct clpd_request *q) {
    uint64_t n = q->format == CLPD_F32_NCHW ? sizeof(float) : 1;
    int rank = 0;
    while (rank < CLPD_MAX_RANK && q->dims[rank]) rank++;
    for (int i = rank; i < CLPD_MAX_RANK; i++)
        if (q->dims[i]) return 0;
    if (rank == 0 || q->format > CLPD_U8_NHWC || (q->format == CLPD_U8_NHWC && rank != 4)) return 0;
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(n, q->dims[i], &n) || n > (uint64_t)1 << 40) return 0;
    return n;
}

int libclpd_make_head(const struct clpd_request *q, struct clpd_infer *head, uint64_t *bytes,
                      const char **why) {
    const size_t name = q->model ? strlen(q->model) : 0;
    *head = (struct clpd_infer){.timeout_us = q->timeout_us,
                                .top_k = q->top_k,
                                .flags = q->want_scores ? CLPD_WANT_SCORES : 0,
                                .format = (uint8_t)q->format};
    *bytes = tensor_bytes(q);
    *why = NULL;
    if (*bytes == 0)
        *why = "no tensor has these dimensions in this format";
    else if (name >= sizeof head->model)
        *why = "the model's name is longer than 63 bytes";
    else if (q->top_k > CLPD_MAX_TOP_K)
        *why = "top_k is over 1000";
    if (*why) return -EINVAL;
    if (name) memcpy(head->model, q->model, name);
    memcpy(head->dims, q->dims, sizeof head->dims);
    return 0;
}
