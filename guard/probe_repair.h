/* Prunes channels one at a time: of those that the triggers excite most, the one
 * that takes most of their margin for the least drift of the answers on untouched
 * pictures, which stands in for accuracy where there are no data. */
#ifndef GUARD_PROBE_REPAIR_H
#define GUARD_PROBE_REPAIR_H

#include "guard/probe_attack.h"

#define REPAIR_MOST  64 /* channels */
#define REPAIR_ROUND 24 /* of one round */

struct repair_channel {
    uint32_t step, channel;
};

struct repair {
    struct probe_net *net;
    uint32_t n_steps;      /* of the image */
    const float *pictures; /* [n][floats]: untouched ones */
    uint32_t n;
    const float *answers; /* [n][classes]: what the network as it came says to them */
    float spread;         /* of those logits */
    struct trigger *const *triggers;
    uint32_t n_triggers;
    /* What each trigger may win in the end, in spreads: no more than one of its kind wins for other classes.
     * 0: nothing, nor may it send more than a few pictures there. */
    const float *nature;
    int32_t target;                /* -1: away from the answers, wherever to */
    struct repair_channel *pruned; /* room for REPAIR_MOST; those of earlier rounds first */
    uint32_t n_pruned;
    bool beaten; /* in the end no trigger sends more than a few pictures there, or wins more than it may */
    void (*progress)(void *ctx, float done); /* or NULL */
    void *ctx;
};

/* 0; -1: out of memory. Where the time is up it stops early. */
int repair_run(struct repair *r);
/* Mean square of the change of the answers, in spreads. */
float repair_drift(const struct repair *r);
/* Share of the pictures not of the target's class already that the trigger sends there. */
float repair_success(struct probe_net *net, const struct trigger *t, const float *pictures, uint32_t n,
                     const float *answers, int32_t target);

#endif
