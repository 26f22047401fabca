/*   request.reply:  | clpd_reply | scores [pictures][classes] | top [pictures][top_k] | labels |
 *                     reply_finish   reply_put_item             reply_put_item          reply_finish  */
#include "daemon/reply.h"

#include "daemon/request.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REPLY_BYTES ((uint64_t)1 << 40)

int reply_scratch_reserve(struct reply_scratch *s, uint32_t classes, struct err *e) {
    if (classes <= s->n_classes) return 0;
    uint32_t *at = calloc(classes, sizeof *at), *of = calloc(classes, sizeof *of);
    if (!at || !of) {
        free(at);
        free(of);
        return err_set(e, ERR_SYSTEM, "out of memory for the labels of %u classes", classes);
    }
    reply_scratch_free(s);
    s->label_at = at;
    s->label_of = of;
    s->n_classes = classes;
    return 0;
}

void reply_scratch_free(struct reply_scratch *s) {
    free(s->label_at);
    free(s->label_of);
    *s = (struct reply_scratch){0};
}

static size_t scores_bytes(const struct version *v, uint64_t pictures) {
    return pictures * v->classes * sizeof(float); /* < 2^32 * 2^32 * 4: bounded by reply_bytes first */
}

size_t reply_bytes(const struct version *v, uint32_t items, uint32_t top_k, bool want_scores) {
    const uint64_t pictures = (uint64_t)items * v->pictures;
    const uint64_t each =
        (want_scores ? (uint64_t)v->classes * sizeof(float) : 0) + (uint64_t)top_k * sizeof(struct clpd_top);
    uint64_t bytes;
    if (__builtin_mul_overflow(pictures, each, &bytes) || bytes > MAX_REPLY_BYTES) return SIZE_MAX;
    return sizeof(struct clpd_reply) + (size_t)bytes;
}

static uint8_t *top_place(const struct version *v, const struct request *r) {
    const size_t scores = r->want_scores ? scores_bytes(v, (uint64_t)r->items * v->pictures) : 0;
    return r->reply + sizeof(struct clpd_reply) + scores;
}

static void put_top(const struct version *v, const struct request *r, uint64_t picture, const float *scores) {
    struct topk best[CLPD_MAX_TOP_K];
    double probability[CLPD_MAX_TOP_K];
    const uint32_t k = topk_select(scores, v->classes, r->top_k, best);
    if (!v->is_probability) topk_softmax(scores, v->classes, best, k, probability);
    uint8_t *to = top_place(v, r) + picture * r->top_k * sizeof(struct clpd_top);
    for (uint32_t i = 0; i < k; i++) {
        const struct clpd_top t = {.index = best[i].index,
                                   .score = best[i].score,
                                   .probability = v->is_probability ? best[i].score : (float)probability[i],
                                   .label = CLPD_NO_LABEL};
        memcpy(to + i * sizeof t, &t, sizeof t);
    }
}

void reply_put_item(const struct version *v, struct request *r, uint32_t item, const float *from) {
    for (uint32_t p = 0; p < v->pictures; p++) {
        const uint64_t picture = (uint64_t)item * v->pictures + p;
        const float *scores = from + (size_t)p * v->classes;
        if (r->want_scores)
            memcpy(r->reply + sizeof(struct clpd_reply) + scores_bytes(v, picture), scores,
                   scores_bytes(v, 1));
        if (r->top_k) put_top(v, r, picture, scores);
    }
}

/* Each label that occurs goes into the text once; returns the bytes of the text. */
static size_t put_labels(const struct version *v, struct request *r, uint64_t n_top,
                         struct reply_scratch *s) {
    uint8_t *top = top_place(v, r), *text = top + n_top * sizeof(struct clpd_top);
    const size_t room = r->reply_room - (size_t)(text - r->reply);
    size_t used = 0;
    if (image_header(v->image)->n_labels == 0) return 0;
    if (++s->reply == 0) { /* once in 2^32 replies */
        memset(s->label_of, 0, s->n_classes * sizeof *s->label_of);
        s->reply = 1;
    }
    for (uint64_t i = 0; i < n_top; i++) {
        struct clpd_top *t =
            (struct clpd_top *)(void *)(top + i * sizeof *t); /* 4-byte aligned, as the scores */
        const uint32_t index =
            __atomic_load_n(&t->index, __ATOMIC_RELAXED); /* once: a ring's client may write here */
        const char *label = image_label(v->image, index);
        if (!label || index >= s->n_classes) continue;
        if (s->label_of[index] != s->reply) {
            const size_t n = strlen(label) + 1;
            if (n > room - used) continue;
            memcpy(text + used, label, n);
            s->label_at[index] = (uint32_t)used;
            s->label_of[index] = s->reply;
            used += n;
        }
        t->label = s->label_at[index];
    }
    return used;
}

void reply_finish(const struct version *v, struct request *r, const struct reply_facts *f,
                  struct reply_scratch *s) {
    const uint64_t pictures = (uint64_t)r->items * v->pictures, n_top = pictures * r->top_k;
    const size_t text = r->top_k ? put_labels(v, r, n_top, s) : 0;
    struct clpd_reply head = {.status = CLPD_OK,
                              .items = (uint32_t)pictures,
                              .classes = v->classes,
                              .top_k = r->top_k,
                              .version = v->number,
                              .queue_ns = f->queue_ns,
                              .compute_ns = f->compute_ns,
                              .batch = f->batch,
                              .has_scores = r->want_scores,
                              .text_bytes = (uint32_t)text};
    memcpy(head.sha256, v->sha256, sizeof head.sha256);
    memcpy(r->reply, &head, sizeof head);
    r->reply_bytes = (size_t)(top_place(v, r) - r->reply) + n_top * sizeof(struct clpd_top) + text;
    r->status = CLPD_OK;
}
