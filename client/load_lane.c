/* Waits of less than a millisecond: the stream sleeps in ppoll, the ring looks. */
#include "client/load_lane.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MOST_MS = 100 };

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t bytes_of(const struct clpd_request *q) {
    uint64_t n = q->format == CLPD_F32_NCHW ? sizeof(float) : 1;
    for (int i = 0; i < CLPD_MAX_RANK && q->dims[i]; i++)
        n *= q->dims[i]; /* the daemon has taken them already */
    return n;
}

/* Every slot is filled once; they are taken and given back in whatever order. */
static int fill_slots(struct clpd_ring *g, const struct clpd_request *q, uint32_t slots) {
    uint32_t taken[CLPD_RING_MAX_SLOTS], n = 0;
    for (; n < slots; n++) {
        if (clpd_ring_take(g, &taken[n])) return -1;
        memcpy(clpd_ring_tensor(g, taken[n]), q->data, bytes_of(q));
    }
    while (n) clpd_ring_give(g, taken[--n]);
    return 0;
}

static int open_ring(struct lane *l, const char *socket, const struct clpd_request *q, uint32_t inflight,
                     uint32_t spin_us) {
    struct clpd_ring_options o = {.slots = 1, .spin_us = (int32_t)spin_us, .tensor_bytes = bytes_of(q)};
    while (o.slots < inflight) o.slots *= 2;
    if (o.slots > CLPD_RING_MAX_SLOTS) {
        (void)snprintf(l->why, sizeof l->why, "a ring has %d slots at most: lower --inflight",
                       CLPD_RING_MAX_SLOTS);
        return -1;
    }
    const int rc = clpd_ring_open(socket, &o, &l->ring, l->why, sizeof l->why);
    if (rc == 0) return fill_slots(l->ring, q, o.slots);
    if (rc < 0) (void)snprintf(l->why, sizeof l->why, "no ring: %s", strerror(-rc));
    return -1;
}

int lane_open(struct lane *l, const char *socket, bool shm, const struct clpd_request *q, uint32_t inflight,
              uint32_t spin_us, int timeout_ms) {
    *l = (struct lane){.why = ""};
    if (shm) return open_ring(l, socket, q, inflight, spin_us);
    const int rc = clpd_connect(socket, &l->stream);
    if (rc) {
        (void)snprintf(l->why, sizeof l->why, "no connection: %s", strerror(-rc));
        return -1;
    }
    clpd_set_timeout(l->stream, timeout_ms);
    return 0;
}

void lane_close(struct lane *l) {
    clpd_close(l->stream);
    clpd_ring_close(l->ring);
    l->stream = NULL;
    l->ring = NULL;
}

bool lane_is_open(const struct lane *l) {
    return l->stream || l->ring;
}

int lane_submit(struct lane *l, const struct clpd_request *q, uint64_t *id) {
    uint32_t slot;
    if (l->stream) return clpd_submit(l->stream, q, id);
    const int rc = clpd_ring_take(l->ring, &slot);
    return rc ? rc : clpd_ring_submit(l->ring, slot, q, id);
}

static int poll_stream(struct lane *l, uint64_t wait_ns, struct clpd_result *r) {
    if (wait_ns >= 1000000) { /* the library's own wait costs the fewest system calls */
        const uint64_t ms = wait_ns / 1000000;
        return clpd_poll(l->stream, ms > MOST_MS ? MOST_MS : (int)ms, r);
    }
    int rc = clpd_poll(l->stream, 0, r);
    struct pollfd p = {.fd = clpd_fd(l->stream), .events = POLLIN};
    const struct timespec t = {.tv_nsec = (long)wait_ns};
    if (rc == 0 && wait_ns && ppoll(&p, 1, &t, NULL) > 0) rc = clpd_poll(l->stream, 0, r);
    return rc;
}

static int poll_ring(struct lane *l, uint64_t wait_ns, struct clpd_result *r) {
    uint32_t slot;
    int rc;
    if (wait_ns >= 1000000) {
        const uint64_t ms = wait_ns / 1000000;
        rc = clpd_ring_poll(l->ring, ms > MOST_MS ? MOST_MS : (int)ms, r, &slot);
    } else {
        const uint64_t end = now_ns() + wait_ns;
        do rc = clpd_ring_poll(l->ring, 0, r, &slot);
        while (rc == 0 && now_ns() < end);
    }
    if (rc == 1) clpd_ring_give(l->ring, slot); /* what it holds stands until it is submitted again */
    return rc;
}

int lane_poll(struct lane *l, uint64_t wait_ns, struct clpd_result *r) {
    return l->stream ? poll_stream(l, wait_ns, r) : poll_ring(l, wait_ns, r);
}
