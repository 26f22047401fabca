/* Log-linear buckets: values under 256 exactly, above that 128 steps to the octave. */
#include "client/histogram.h"

#include <math.h>

enum { SUB = 1 << HISTOGRAM_SUB_BITS };

/* Octave from the highest bit, then the 7 bits below it. */
static uint32_t bucket_of(uint64_t v) {
    if (v < SUB) return (uint32_t)v;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(v) - HISTOGRAM_SUB_BITS;
    return ((shift + 1) << HISTOGRAM_SUB_BITS) + (uint32_t)(v >> shift) - SUB;
}

/* The middle of the bucket. */
static uint64_t value_of(uint32_t bucket) {
    if (bucket < SUB) return bucket;
    uint32_t shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t low = (uint64_t)((bucket & (SUB - 1)) + SUB) << shift;
    return low + (((uint64_t)1 << shift) - 1) / 2;
}

void histogram_add(struct histogram *h, uint64_t value, uint64_t times) {
    if (times == 0) return;
    h->count[bucket_of(value)] += times;
    if (h->total == 0 || value < h->min) h->min = value;
    if (value > h->max) h->max = value;
    h->total += times;
}

void histogram_record(struct histogram *h, uint64_t value) {
    histogram_add(h, value, 1);
}

void histogram_merge(struct histogram *to, const struct histogram *from) {
    if (from->total == 0) return;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) to->count[i] += from->count[i];
    if (to->total == 0 || from->min < to->min) to->min = from->min;
    if (from->max > to->max) to->max = from->max;
    to->total += from->total;
}

uint64_t histogram_value_at(const struct histogram *h, double quantile) {
    if (h->total == 0) return 0;
    uint64_t rank = (uint64_t)ceil(quantile * (double)h->total), seen = 0;
    if (rank >= h->total) return h->max;
    if (rank <= 1) return h->min;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (seen < rank) continue;
        uint64_t v = value_of(i); /* a middle may lie outside of what was seen */
        return v > h->max ? h->max : v < h->min ? h->min : v;
    }
    return h->max;
}
