/* Computes batches: an engine with what a worker keeps beside it. One thread at a time; the counters are for
 * any. */
#ifndef DAEMON_RUNNER_H
#define DAEMON_RUNNER_H

#include "daemon/batcher.h"
#include "daemon/reply.h"
#include "infer/engine.h"

#include <stdatomic.h>

#define RUNNER_STUCK_AFTER 60000000000u /* ns without a sign of life */

struct batch {
    struct request *requests[BATCHER_MAX_ITEMS];
    uint32_t n;
    struct version *version; /* referenced */
};

struct runner { /* zero at first */
    struct engine *engine;
    struct reply_scratch scratch;
    struct engine_item items[BATCHER_MAX_ITEMS];
    _Atomic uint64_t n_batches, n_pictures;
    /* When it should be seen again: the run through, a call answered. 0: nothing is waited for. */
    _Atomic uint64_t due;
};

int runner_open(struct runner *w, struct err *e); /* 0, or -1 with `e` set */
void runner_close(struct runner *w);

/* Room for the largest batch of `v`, all of it there. 0, or -1 with `e` set. */
int runner_reserve(struct runner *w, struct version *v, struct err *e);
/* That, and a first run on zeros. */
int runner_warm(struct runner *w, struct version *v, struct err *e);
/* Runs b->requests on b->version, for which this runner is warm: replies are built, status and reply_bytes
 * set. */
void runner_run(struct runner *w, struct batch *b);

#endif
