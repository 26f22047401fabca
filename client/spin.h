/* How long to look before sleeping, learned: internal to libclpd and clpd, one of these at either end of a
 * ring.
 *
 * A wait that ended asleep took the wake-up along, 5 to 60 us of it, or two where both ends slept; so what
 * would have come within `most` can look as if it came later, and then nobody ever looks long enough to see
 * it come. Therefore one wait in SPIN_TRY outlasts the other end's wake-up, and the next one, which finds
 * that end awake, looks for `most`. What comes while one looks is believed at once. */
#ifndef CLIENT_SPIN_H
#define CLIENT_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_LEAST  2000u /* ns: an answer's way to a client that spins, and its next request's way back */
#define SPIN_LOOKS  32    /* between two looks at the clock, which takes 25 ns */
#define SPIN_FORGET 8     /* the average follows that many waits */
#define SPIN_TRY    128

struct spin {
    uint64_t most, gap; /* ns: longest; how long there is to wait, averaged */
    uint32_t waits;     /* for which it seemed too long */
};

/* ns to look during the wait that begins. */
static inline uint64_t spin_limit(struct spin *s) {
    if (s->gap <= s->most || s->most <= SPIN_LEAST) return s->most;
    switch (++s->waits % SPIN_TRY) {
    case 0: return 4 * s->most;
    case 1: return s->most;
    default: return SPIN_LEAST;
    }
}

/* The wait is over; `looking`: what ended it came while one looked. */
static inline void spin_learn(struct spin *s, uint64_t waited_ns, bool looking) {
    const uint64_t cap = 4 * s->most; /* one long pause is not forgotten at once, nor for ever */
    if (waited_ns > cap) waited_ns = cap;
    if (looking && s->gap > s->most)
        s->gap = waited_ns;
    else
        s->gap = s->gap - s->gap / SPIN_FORGET + waited_ns / SPIN_FORGET;
}

#endif
