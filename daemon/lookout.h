/* Watches what clients write into shared memory: looks for a while, then sleeps until one of them rings its
 * bell.
 *
 *   source:  AWAKE   somebody looks at it before long
 *            ARMED   `sleeps` is 1: the client rings after it has written (client/ring.h says why nothing is
 * lost)
 *
 * One idle worker at a time is on the lookout. Which thread that is, and all that changes the set, is decided
 * under the workers' lock; lookout_look and lookout_spin need no lock. How long to spin is learned: as long
 * as work tends to come within `most`, it is waited for awake. */
#ifndef DAEMON_LOOKOUT_H
#define DAEMON_LOOKOUT_H

#include "client/spin.h"
#include "daemon/request.h"
#include "infer/err.h"

#include <stdatomic.h>

#define LOOKOUT_MAX  1024 /* sources */
#define LOOKOUT_PULL 128  /* requests at once, of all sources together: what the lock is held for */

struct lookout_source {        /* embedded in a ring */
    const uint32_t *submitted; /* shared: how much the client has written, modulo 2^32 */
    uint32_t *sleeps;          /* shared: ours */
    const uint32_t *cpu;       /* shared: 1 + the client's CPU; 0: unknown */
    int bell;                  /* eventfd; the client's end writes */
    /* Takes at most `most` of what is there, as a chain (by next): checked requests, status CLPD_OK, and
     * refused ones, whose status is set. Advances `taken`. Under the workers' lock. */
    struct request *(*pull)(struct lookout_source *s, uint32_t most, uint64_t now);
    void (*expect)(
        const struct lookout_source *s); /* a pull is near: fetches what it will read. Any thread */
    _Atomic uint32_t taken;
    uint32_t index;
};

struct lookout {
    struct lookout_source *sources[LOOKOUT_MAX];
    uint32_t n, from;
    _Atomic bool looking; /* somebody reads `sources` without the lock */
    bool asleep;          /* the watcher sleeps by the flags: nobody here takes them. Under the lock */
    int epoll, wake;
    const struct lookout_source *recent; /* that brought something last; NULL: it was removed */
    struct spin spin;
};

int lookout_open(struct lookout *l, uint64_t most_spin_ns, struct err *e); /* 0, or -1 with `e` set */
void lookout_close(struct lookout *l);

/* Under the workers' lock. 0 or -errno. After remove nobody looks at it any more. */
int lookout_add(struct lookout *l, struct lookout_source *s);
void lookout_remove(struct lookout *l, struct lookout_source *s);

/* Whether anything new is there. false also where somebody else is looking at this moment. */
bool lookout_look(struct lookout *l);
/* Looks until something is there (true), *on is false, or it is time to sleep. The wait began at `since`. */
bool lookout_spin(struct lookout *l, const _Atomic bool *on, uint64_t since);
/* Whether who asked last runs on this CPU: it would not get to ask again while we look. Under the lock. */
bool lookout_is_beside(const struct lookout *l, int cpu);
/* Asks every client to ring. Under the lock. false: there is something already. */
bool lookout_arm(struct lookout *l);
/* Until a bell rings or lookout_wake; may come back for nothing. */
void lookout_sleep(const struct lookout *l);
void lookout_wake(const struct lookout *l);
/* The watcher is awake; `looking`: by what lookout_spin found. Under the lock. */
void lookout_learn(struct lookout *l, uint64_t waited_ns, bool looking);

/* What is there, LOOKOUT_PULL at most, everybody's turn coming first once. Under the lock. */
struct request *lookout_pull(struct lookout *l, uint64_t now);

#endif
