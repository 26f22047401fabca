/* Whether two networks put samples into the same class: what pruning has cost, as far as the samples tell.
 *
 * Samples are hostile bytes: a .npy file of pictures, float32 [n, ...] as the network takes them or uint8
 * [n,H,W,C]. Runs on the caller's thread; allocates what it needs and gives it back. */
#ifndef INFER_AGREE_H
#define INFER_AGREE_H

#include "infer/image.h"

#define AGREE_MAX_SAMPLES 4096
#define AGREE_FLIPS       8

struct agree {
    uint32_t samples, agreed;
    uint32_t n_flips; /* the first of those that don't */
    struct {
        uint32_t sample, before, after; /* classes */
    } flips[AGREE_FLIPS];
};

/* 0, or -1 with `e` set. */
int agree_measure(const struct image *before, const struct image *after, const uint8_t *bytes, size_t size,
                  struct agree *out, struct err *e);

#endif
