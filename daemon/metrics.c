/* Counting. Adds are relaxed: nothing is ordered by a counter. */
#include "daemon/metrics.h"

#include <stdatomic.h>
#include <time.h>

#define FIRST_TIME 50000u /* ns */
#define FIRST_BITS 10     /* spans under 1 us (1024 ns) are one bucket */

static void add(_Atomic uint64_t *to, uint64_t n) {
    (void)atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

uint64_t metrics_read(const _Atomic uint64_t *number) {
    return atomic_load_explicit(number, memory_order_relaxed);
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

/* The octave by the highest bit, its eighth by the three below. */
static uint32_t span_of(uint64_t ns) {
    if (ns >> FIRST_BITS == 0) return 0;
    const uint32_t high = 63 - (uint32_t)__builtin_clzll(ns);
    const uint32_t i = 1 + 8 * (high - FIRST_BITS) + (uint32_t)(ns >> (high - 3) & 7);
    return i < METRICS_SPANS ? i : METRICS_SPANS - 1;
}

uint64_t metrics_span_middle(uint32_t i) {
    if (i == 0) return 1u << (FIRST_BITS - 1);
    const uint32_t eighth = FIRST_BITS - 3 + (i - 1) / 8;
    return ((uint64_t)(8 + (i - 1) % 8) << eighth) + ((uint64_t)1 << (eighth - 1));
}

void metrics_count_wait(struct metrics_version *m, uint64_t queue_ns, uint64_t compute_ns) {
    add(&m->queue.sum, queue_ns);
    add(&m->queue.buckets[place(queue_ns, FIRST_TIME, METRICS_TIMES)], 1);
    add(&m->spans[span_of(queue_ns + compute_ns)], 1);
}

void metrics_count_failure(struct metrics_version *m, uint32_t requests) {
    add(&m->failed, requests);
}

uint64_t metrics_histogram_count(const struct metrics_histogram *h, uint32_t bounds) {
    uint64_t n = 0;
    for (uint32_t i = 0; i <= bounds; i++) n += metrics_read(&h->buckets[i]);
    return n;
}

double metrics_time_bound(uint32_t i) {
    return (double)((uint64_t)FIRST_TIME << i) / 1e9;
}
