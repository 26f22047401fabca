/* The engine's threads: each takes a batch, runs it on one version, builds the
 * replies, hands the requests back. One engine per thread, pinned to a CPU.
 *
 *   batcher (under the lock) -> batch + the version it runs on -> engine_run … -> reply -> request.complete
 *
 * One lock guards batcher and `current` versions; it is taken once per batch and
 * once per group of new requests, never while anything is computed. A task
 * (warming an image) goes ahead of batches.
 *
 * Rings (daemon/lookout.h) are looked at by every worker between batches, and by one idle worker, the
 * watcher. Waking somebody costs a system call and some microseconds, so a worker that leaves the watch, or
 * sees more than its own batch, calls another one only where the work at hand is known to take longer than
 * that. */
#ifndef DAEMON_WORKERS_H
#define DAEMON_WORKERS_H

#include "daemon/batcher.h"
#include "daemon/lookout.h"
#include "daemon/version.h"

#define WORKERS_MAX 256

struct workers;

struct workers_options {
    uint32_t threads;  /* 0: one per CPU that we may use */
    uint32_t together; /* threads that work on one run; 0 and 1: each worker by itself */
    bool pin;
    uint32_t max_batch; /* pictures */
    uint32_t limit;     /* requests waiting and running */
    uint64_t spin_ns;   /* longest that an idle worker looks at rings before it sleeps */
};

struct workers_counters {
    uint64_t batches, items; /* pictures computed */
};

/* The version that requests of this queue run on, or NULL: none any more. Called under the lock. */
typedef struct version *(*workers_current)(const struct batcher_queue *q);

/* Starts the threads. NULL with `e` set. */
struct workers *workers_start(const struct workers_options *o, workers_current current, struct err *e);
/* Ends them; what still waits is completed with CLPD_SHUTTING_DOWN on this thread. */
void workers_stop(struct workers *w); /* NULL is fine */

uint32_t workers_count(const struct workers *w);

/* Any thread, not from `complete`. Queues the chain (by next) of requests and
 * wakes as many workers as can help. Returns the chain of those that were over
 * the limit: they are untouched, the answer is CLPD_BUSY. */
struct request *workers_submit(struct workers *w, struct request *chain);
/* Computes the chain on the caller's thread, the loop's or HTTP's, where that takes less than waking a worker
 * and being woken by it would, and nobody waits. true: done, the chain is as it was, with each request's
 * status set, and is not completed. false: untouched. */
bool workers_run_here(struct workers *w, struct request *chain);
/* Whether one item of it may be so computed. */
bool workers_may_run_here(const struct version *v);
/* Completes all that wait from this client, with CLPD_SHUTTING_DOWN. What runs already comes back by itself.
 */
void workers_cancel(struct workers *w, struct batcher_client *c);
/* Completes all that wait, and from now on whatever rings bring. */
void workers_drain(struct workers *w);
/* Completes what is late with CLPD_DEADLINE; returns when to call it next, LOOP_NEVER: no deadline waits. */
uint64_t workers_expire(struct workers *w, uint64_t now);

/* Makes every worker ready for `v`, one after the other so that the rest goes on serving: each makes room.
 * The first one runs a small network once on zeros besides, since how long it takes decides who computes it;
 * `aside` (or NULL) is done on the caller's thread meanwhile. Of a large one, the first worker does `aside`,
 * too. Blocks; not on the loop's thread. 0, or -1 with `e` set. */
typedef void (*workers_aside_fn)(void *ctx);
int workers_warm(struct workers *w, struct version *v, workers_aside_fn aside, void *ctx, struct err *e);
/* Whether it serves before it has ever been run: a large network, unless a clpd before this one has run it.
 */
bool workers_is_untried(const struct version *v);
/* Runs it once, where nobody has asked for that meanwhile. Blocks, as above. 0, or -1 with `e` set. */
int workers_try(struct workers *w, struct version *v, struct err *e);

/* Rings: what comes through them is taken by workers themselves. 0 or -errno; after unwatch no worker looks
 * at it. */
int workers_watch(struct workers *w, struct lookout_source *s);
void workers_unwatch(struct workers *w, struct lookout_source *s);
/* `alarm` is called, under the lock, when a request that came through a ring waits with an earlier deadline
 * than any before: workers_expire is wanted then. It must not block. */
void workers_set_alarm(struct workers *w, void (*alarm)(void *owner, uint64_t at), void *owner);

/* For changing what `current` answers. */
void workers_lock(struct workers *w);
void workers_unlock(struct workers *w);

uint32_t workers_queued(struct workers *w); /* waiting and running */
void workers_count_up(struct workers *w, struct workers_counters *out);
/* For the watchdog, now and then: calls everyone who idles, and notes who is at work. false: somebody did not
 * come within a minute since an earlier call, or has been at one engine run for far longer than its network
 * can take. */
bool workers_call_roll(struct workers *w, uint64_t now);

#endif
