/* Pictures that belong to no class: dead leaves, overlapping discs and boxes of
 * random colours whose sizes follow a power law. Their statistics come near enough
 * to those of photographs for a network's features to work.
 * Pure functions; the same seed gives the same pictures everywhere. */
#ifndef GUARD_PROBE_PICTURE_H
#define GUARD_PROBE_PICTURE_H

#include <stdint.h>

struct probe_random { /* splitmix64 */
    uint64_t state;
};
uint64_t probe_random_next(struct probe_random *r);
float probe_random_unit(struct probe_random *r);   /* [0, 1) */
float probe_random_normal(struct probe_random *r); /* mean 0, variance 1 */

struct probe_size {
    int32_t channels, height, width;
};
static inline int64_t probe_floats(const struct probe_size *s) {
    return (int64_t)s->channels * s->height * s->width;
}

/* One picture [channels,height,width] in 0..1. */
void probe_picture_draw(struct probe_random *r, const struct probe_size *s, float *to);

#endif
