/* Where things lie in a ring, and how a request is taken out of memory that its client can write. Pure. */
#ifndef DAEMON_RING_PLAN_H
#define DAEMON_RING_PLAN_H

#include "daemon/frame.h"

struct ring_limits {
    uint32_t slots;
    uint64_t tensor_bytes, bytes; /* of one slot's tensor; of all the memory */
};

/* The layout of a ring that was asked for so. false: v says why there can be none. */
bool ring_plan(const struct clpd_ring_open *ask, const struct ring_limits *limits, struct clpd_ring_info *out,
               struct frame_verdict *v);

/* Copies the request that `counter` stands for, each word read once. false: no client of good will writes
 * such a one. `requests` is 8-byte aligned, `slots` a power of two. */
bool ring_read(const uint8_t *requests, uint32_t slots, uint32_t counter, struct clpd_ring_request *out);

#endif
