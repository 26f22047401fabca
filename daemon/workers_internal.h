/* What workers.c shares with workers_idle.c, and nobody else. */
#ifndef DAEMON_WORKERS_INTERNAL_H
#define DAEMON_WORKERS_INTERNAL_H

#include "daemon/runner.h"
#include "daemon/workers.h"

#include <pthread.h>

#define WORTH_A_CALL 20000u /* ns of work that another worker is woken for */

struct team; /* infer/team.h */

struct task { /* on the caller's stack in workers_warm */
    struct version *version;
    bool run;               /* once, on zeros */
    workers_aside_fn aside; /* or NULL: after that */
    void *ctx;
    int rc;
    struct err e;
    bool done;
};

struct worker {
    struct workers *all;
    pthread_t thread;
    pthread_cond_t wake;
    bool started;
    int cpu; /* -1: not pinned */
    struct runner runner;
    struct batch batch;
    struct task *task;        /* under the lock */
    _Atomic bool idle;        /* changed under the lock; the watcher spins on it */
    bool on_bells;            /* the watcher has gone to sleep; under the lock */
    struct worker *next_idle; /* under the lock */
};

struct workers {
    struct team *team; /* who helps the engines; or NULL */
    pthread_mutex_t lock;
    pthread_cond_t task_done;
    struct batcher batcher;
    struct worker *workers;
    struct worker *idle; /* last to fall asleep first: its caches are warm */
    uint32_t n, n_idle;
    uint32_t n_coming; /* woken, but not here yet: what waits is shared with them */
    bool stopping, draining;
    workers_current current;
    struct lookout lookout;
    struct worker *watcher; /* an idle worker that looks at rings; NULL: none does, or there are no rings */
    void (*alarm)(void *owner, uint64_t at);
    void *alarm_owner;
    pthread_mutex_t here_lock; /* of the next two: the loop's, HTTP's, or a version's being made warm on it */
    struct runner here;
    struct batch here_batch;
    uint64_t alarmed; /* the earliest deadline that the alarm was raised for; 0: none */
};

/* --- workers_idle.c: who sleeps, who watches the rings, who is called. All under the lock ------------- */

struct calls { /* who is to be woken once the lock is given up */
    struct worker *workers[WORKERS_MAX];
    uint32_t n;
    bool bells;
};

/* Takes w off the stack. */
void workers_call(struct worker *w, struct calls *c);
/* Everyone. */
void workers_call_all(struct workers *all, struct calls *c);
/* Whom it costs least to call, of those who idle: who spins, who sleeps (last to fall asleep first), who
 * sleeps on the bells. NULL: nobody idles. */
struct worker *workers_cheapest(const struct workers *all);
/* A batch in hand: calls somebody else where that pays, for what waits or for the watch. */
void workers_call_for_help(struct workers *all, const struct batch *b, struct calls *c);
/* Without the lock, or with it. */
void workers_wake(const struct workers *all, const struct calls *c);
/* Nothing to do for w. The lock is given up meanwhile. Returns the time. */
uint64_t workers_idle(struct worker *w, uint64_t now);
/* How long what waits for this queue will take, ns. */
uint64_t workers_expected(const struct workers *all, const struct batcher_queue *q);

#endif
