/* Starts one clp-canary, watches over it and judges what it answers, which is treated as hostile. Never
 * blocks but in canary_finish, for the end of a process that was killed. One owner, one thread.
 *
 *   start -> (fd is readable: step) … -> over -> finish */
#ifndef GUARD_CANARY_H
#define GUARD_CANARY_H

#include "guard/priority.h"
#include "infer/agree.h"

struct canary_request { /* borrowed during canary_start */
    int before, after;  /* sealed images of one model: as it came, and repaired */
    int samples;        /* the .npy file, read-only */
    uint32_t seconds;
    uint64_t memory;
    enum priority priority;
};

struct canary;

int canary_start(struct canary **out, const struct canary_request *r,
                 struct err *e); /* 0, or -1 with `e` set */
int canary_fd(
    const struct canary *c);        /* readable when canary_step has something to do; owned by the record */
bool canary_step(struct canary *c); /* true: it is over, canary_finish will not wait */
/* Ends it (kills what still runs), judges, frees it. 0 and `out`, or -1 with `e` set. */
int canary_finish(struct canary *c, struct agree *out, struct err *e);

/* A share as it is carried about: samples and how many of them agree, in one number; 0: there were none. */
static inline uint32_t canary_share(const struct agree *a) {
    return a->samples << 16 | a->agreed;
}
static inline uint32_t canary_samples(uint32_t share) {
    return share >> 16;
}
static inline uint32_t canary_agreed(uint32_t share) {
    return share & 0xffff;
}
static inline bool canary_share_is_sound(uint32_t share) {
    return canary_agreed(share) <= canary_samples(share) && canary_samples(share) <= AGREE_MAX_SAMPLES;
}

#endif
