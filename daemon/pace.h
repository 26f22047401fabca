/* How many items of a version run together best, learned while it serves.
 *
 * Large weights are read once for all items of a run, so more of them are better; but small networks, whose
 * weights stay in the cache, run slower together: activations then leave it. Which of the two it is depends
 * on the network and the host, so each power of two has the time that an item took in such runs, and the best
 * one is the limit. What was never tried is tried first, and everything again now and then. Pure; pace_items
 * under the workers' lock, pace_learn on any thread. */
#ifndef DAEMON_PACE_H
#define DAEMON_PACE_H

#include <stdatomic.h>
#include <stdint.h>

#define PACE_SIZES 11 /* 1 to 1024 items: BATCHER_MAX_ITEMS */
#define PACE_TRY   64 /* one run in so many is of another size */

struct pace {                             /* zero at first */
    _Atomic uint64_t item_ns[PACE_SIZES]; /* of runs of 2^i to 2^(i+1) - 1 items, averaged; 0: none yet */
    uint32_t runs, asked; /* bit i: size i was tried, or asked for: what has several items may not make one */
};

/* Most items of the next run, where `waiting` of them (at least 1) wait and a run may have `most`. */
uint32_t pace_items(struct pace *p, uint32_t most, uint64_t waiting);
/* A run of so many took so long. */
void pace_learn(struct pace *p, uint32_t items, uint64_t ns);

#endif
