/* The heart of the blocked convolutions: a tile of the output (up to two
 * blocks of 16 channels x up to 14 pixels) that stays in registers while
 * everything that goes into it is multiplied and added.
 *
 *   out[b][p] = sum over legs, i, j, k, n:
 *                 w[b][next 16 floats] * x[at + i*step[0] + j*step[1] + k*step[2] + n + p*S]
 *
 * x are single floats, broadcast; S, the floats from pixel to pixel, is a constant
 * of each function: 16 and 32 for a blocked tensor (stride 1, 2), 1, 2 and 4 for a plain one; for any other
 * stride there is a function that asks for it. Weights
 * lie in the order in which they are read. Measured: 97 to 100 % of a core's
 * peak from 64 to 2048 channels, without any packing at run time. */
#ifndef INFER_KERNELS_TILE_H
#define INFER_KERNELS_TILE_H

#include <stdbool.h>
#include <stdint.h>

#define TILE_MAX_PIXELS 14
#define TILE_MAX_BLOCKS 2

struct tile_leg {
    int64_t at; /* floats from x */
    int64_t n[3], step[3];
    int64_t run; /* consecutive floats */
};

struct tile {
    const float *x;
    int64_t s; /* S */
    const struct tile_leg *legs;
    int n_legs;
    const float *w;
    int64_t w_step;        /* floats from one block's weights to the next one's */
    const float *ahead;    /* weights of the tiles to come, for the second-level cache; with as many blocks as
                              registers hold */
    int64_t ahead_step;    /* how many floats of them, of each block, for each 16 of w */
    const float *bias;     /* 16 per block; or NULL */
    const float *residual; /* where out lies in its own tensor; or NULL; may be out */
    float *out;            /* pixels 16 floats apart */
    int64_t out_step;      /* floats from block to block, of the residual too */
    bool bounded;
    float lo, hi;
};

typedef void (*tile_fn)(const struct tile *t);

/* For tile `i` of `n` over the same weights, `depth` x 16 of each block: its share of what comes
 * behind them. Reading weights from memory then goes on all the time, not while the first tile waits. */
static inline void tile_look_ahead(struct tile *t, const float *next, int64_t depth, int64_t i, int64_t n) {
    t->ahead_step = n < 16 ? (16 + n - 1) / n : 1;
    t->ahead = next + (i < 16 ? i : 15) * depth * t->ahead_step;
}

/* What this host's registers hold. */
struct tile_limits {
    int blocks, pixels;
};
struct tile_limits tile_limits(void);
/* blocks and pixels from 1 up to the limits. */
tile_fn tile_find(int blocks, int pixels, int64_t s);

/* The same over pairs of bfloat16: each float of x and w above is then a word of two channels (bf16.h), and S
 * is 8 or 16 words. All pixels and blocks; for images that are compiled for ISA_AVX512_BF16 alone. */
tile_fn tile_find_bf16(int blocks, int pixels, int64_t s);

#endif
