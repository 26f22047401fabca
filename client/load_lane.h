/* One load client's way to the daemon: a stream connection or a shared-memory ring, behind the same calls.
 * One thread at a time. */
#ifndef CLIENT_LOAD_LANE_H
#define CLIENT_LOAD_LANE_H

#include "client/clpd.h"

#include <stdbool.h>

struct lane { /* zero: closed */
    struct clpd *stream;
    struct clpd_ring *ring;
    char why[256]; /* of the last failure */
};

/* `inflight` requests may be under way. Over a ring the tensor of `q` is written into every slot now, and
 * never again: what a camera or decoder would write there is not what is measured. 0; or -1 with ->why set.
 */
int lane_open(struct lane *l, const char *socket, bool shm, const struct clpd_request *q, uint32_t inflight,
              uint32_t spin_us, int timeout_ms);
void lane_close(struct lane *l);
bool lane_is_open(const struct lane *l);

int lane_submit(struct lane *l, const struct clpd_request *q, uint64_t *id); /* 0 or -errno */
/* 1: *r is an answer, its numbers valid until the next call; 0: none within wait_ns; or -errno. */
int lane_poll(struct lane *l, uint64_t wait_ns, struct clpd_result *r);

#endif
