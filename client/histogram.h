/* A latency histogram: 64-bit values into log-linear buckets of 128 to the
 * octave, so that any percentile is within 0.4 % of a value that was recorded,
 * at 58 KiB whatever the count. Plain data, one thread; merge at the end. */
#ifndef CLIENT_HISTOGRAM_H
#define CLIENT_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_SUB_BITS = 7, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS };

struct histogram { /* all zero: empty */
    uint64_t count[HISTOGRAM_BUCKETS];
    uint64_t total, max;
    uint64_t min; /* only where total > 0 */
};

void histogram_record(struct histogram *h, uint64_t value);
void histogram_add(struct histogram *h, uint64_t value, uint64_t times);
void histogram_merge(struct histogram *to, const struct histogram *from);
/* The value that `quantile` (0..1) of all are at or below; 0 where there is none, the true maximum at 1. */
uint64_t histogram_value_at(const struct histogram *h, double quantile);

#endif
