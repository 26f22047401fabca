/* Builds the answer to one request from the engine's outputs, in the request's
 * own memory: clpd_reply, scores, best classes, labels. Pure but for the scratch. */
#ifndef DAEMON_REPLY_H
#define DAEMON_REPLY_H

#include "daemon/version.h"
#include "infer/topk.h"

struct request;

/* What a worker keeps for this; made for the largest model when that is warmed. */
struct reply_scratch {
    uint32_t *label_at; /* per class: offset of its label in this reply's text, if label_of is this reply */
    uint32_t *label_of;
    uint32_t n_classes;
    uint32_t reply; /* counts replies, so that nothing has to be cleared */
};
int reply_scratch_reserve(struct reply_scratch *s, uint32_t classes, struct err *e);
void reply_scratch_free(struct reply_scratch *s);

/* Bytes of the answer to `items` items but for the labels. SIZE_MAX: too many. */
size_t reply_bytes(const struct version *v, uint32_t items, uint32_t top_k, bool want_scores);

/* Writes one item: `from` has pictures x classes scores. Items may come in any number of runs, in order. */
void reply_put_item(const struct version *v, struct request *r, uint32_t item, const float *from);

struct reply_facts {
    uint64_t queue_ns, compute_ns;
    uint32_t batch;
};
/* Head and labels, after all items; sets r->reply_bytes. A label that finds no room is left out. */
void reply_finish(const struct version *v, struct request *r, const struct reply_facts *f,
                  struct reply_scratch *s);

#endif
