/* Counting. Adds are relaxed: nothing is ordered by a counter. */
#include "daemon/metrics.h"

#include <stdatomic.h>
#include <time.h>

#define FIRST_TIME 50000u /* ns */

static void add(_Atomic uint64_t *to, uint64_t n) {
    (void)atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *from) {
    return atomic_load_explicit(from, memory_order_relaxed);
}

/* The first i of `n` with value <= first << i; n: over all. */
static uint32_t place(uint64_t value, uint64_t first, uint32_t n) {
    uint32_t i = 0;
    while (i < n && value > first << i) i++;
    return i;
}

void metrics_count_batch(struct metrics_version *m, uint32_t requests, uint64_t pictures,
                         uint64_t compute_ns) {
    struct timespec t;
    const uint32_t size = place(pictures, 1, METRICS_SIZES);
    add(&m->ok, requests);
    add(&m->pictures, pictures);
    add(&m->compute.sum, compute_ns * requests);
    add(&m->compute.buckets[place(compute_ns, FIRST_TIME, METRICS_TIMES)], requests);
    add(&m->batch.sum, pictures);
    add(&m->batch.buckets[size], 1);
    add(&m->batch_ns[size], compute_ns);
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &t);
    atomic_store_explicit(&m->last_ns, (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec,
                          memory_order_relaxed);
}

void metrics_count_wait(struct metrics_version *m, uint64_t queue_ns) {
    add(&m->queue.sum, queue_ns);
    add(&m->queue.buckets[place(queue_ns, FIRST_TIME, METRICS_TIMES)], 1);
}

void metrics_count_failure(struct metrics_version *m, uint32_t requests) {
    add(&m->failed, requests);
}

uint64_t metrics_histogram_count(const struct metrics_histogram *h, uint32_t bounds) {
    uint64_t n = 0;
    for (uint32_t i = 0; i <= bounds; i++) n += get(&h->buckets[i]);
    return n;
}

double metrics_time_bound(uint32_t i) {
    return (double)((uint64_t)FIRST_TIME << i) / 1e9;
}
