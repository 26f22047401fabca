/* Holds a request against the limits and the model that it names, whatever brought it.
 */
#ifndef DAEMON_ADMIT_H
#define DAEMON_ADMIT_H

#include "daemon/models.h"
#include "daemon/request.h"

struct admission {
    struct version *version; /* referenced: admit_fill passes that on, or admit_drop ends it */
    uint32_t items, format, top_k;
    bool want_scores;
    uint32_t timeout_us;
};

struct admit_limits {
    uint64_t tensor_bytes; /* most that one request may bring */
    size_t reply_room;     /* for its answer without the labels */
};

/* Checks fields, model, shape and size of the answer. With FRAME_TAKE *a is set; else v says why not. On the
 * loop's thread, or under the workers' lock. */
void admit(const struct models *m, const struct clpd_infer *q, uint64_t tensor_bytes,
           const struct admit_limits *limits, struct admission *a, struct frame_verdict *v);
/* The same for a version that the caller has a reference to. Any thread. */
void admit_to(struct version *version, const struct clpd_infer *q, uint64_t tensor_bytes,
              const struct admit_limits *limits, struct admission *a, struct frame_verdict *v);
/* Sets all of *r that follows from the request and its model; `since` is when its time began. */
void admit_fill(const struct admission *a, struct request *r, uint64_t since);
void admit_drop(const struct admission *a);

/* What people are told about a status that a worker or the batcher gave. */
const char *admit_status_text(uint32_t status);

#endif
