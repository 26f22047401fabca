/* What is counted where it happens, and Prometheus's text of it (exposition format 0.0.4).
 *
 * The counters of a version are relaxed atomics: workers add, whoever writes the
 * text reads; no lock, and a scrape sees each counter at its own moment. Any thread. */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include <stdint.h>
#include <stdio.h>

#define METRICS_TIMES 20 /* bounds of a time histogram: 50 us, doubling, to 26 s; then +Inf */
#define METRICS_SIZES 11 /* of batch sizes: 1, 2, 4 … 1024; then +Inf */

/* From a request's arrival to the end of its batch: eight buckets to the octave, from 1 us to a minute and
 * more. */
enum { METRICS_SPANS = 1 + 8 * 26 };

struct metrics_histogram {
    _Atomic uint64_t sum; /* ns, or pictures */
    _Atomic uint64_t buckets[METRICS_TIMES + 1];
};

struct metrics_version { /* embedded in a version; zero at first */
    _Atomic uint64_t ok, failed;
    _Atomic uint64_t pictures;
    _Atomic uint64_t last_ns; /* CLOCK_REALTIME of the last answer */
    struct metrics_histogram queue, compute, batch;
    _Atomic uint64_t batch_ns[METRICS_SIZES + 1]; /* computing time by batch size */
    _Atomic uint64_t spans[METRICS_SPANS];        /* requests by what they waited and computed together */
};

/* One batch of `requests`, of `pictures` together, was computed; each request's wait is counted on its own.
 */
void metrics_count_batch(struct metrics_version *m, uint32_t requests, uint64_t pictures,
                         uint64_t compute_ns);
void metrics_count_wait(struct metrics_version *m, uint64_t queue_ns, uint64_t compute_ns);
void metrics_count_failure(struct metrics_version *m, uint32_t requests);

uint64_t metrics_histogram_count(const struct metrics_histogram *h, uint32_t bounds);
double metrics_time_bound(uint32_t i);                 /* seconds */
uint64_t metrics_span_middle(uint32_t i);              /* ns, of a bucket of spans */
uint64_t metrics_read(const _Atomic uint64_t *number); /* relaxed */

#endif
