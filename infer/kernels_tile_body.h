/* The tile's loops for one level of vector instructions; kernels_tile.c includes
 * this once per level, with TILE_BLOCKS and TILE_PIXELS, what its registers hold; TILE_EACH_STEP(F),
 * the S that there are; and TILE_ADD, a product of weights with one word of x, added to a sum. */
#include "infer/kernels_level_body.h"

/* `step`: S, or 0 for that of the tile. Every loop over blocks, parts and pixels has constant bounds once
 * this is inlined, so sums are registers.
 */
LEVEL_INLINE void LEVEL(sum)(const struct tile *t, const int vectors, const int pixels, const int step,
                             VEC sums[TILE_BLOCKS * PARTS][TILE_PIXELS]) {
    const float *w = t->w, *ahead = t->ahead;
    const int64_t s = step ? step : t->s, w_step = t->w_step, ahead_step = t->ahead_step;
    for (const struct tile_leg *l = t->legs; l < t->legs + t->n_legs; l++)
        for (int64_t i = 0; i < l->n[0]; i++)
            for (int64_t j = 0; j < l->n[1]; j++)
                for (int64_t k = 0; k < l->n[2]; k++) {
                    const float *x = t->x + l->at + i * l->step[0] + j * l->step[1] + k * l->step[2];
                    for (const float *end = x + l->run; x < end; x++, w += LAYOUT_LANES) {
                        VEC weights[TILE_BLOCKS * PARTS];
                        TILE_FORGET;
                        for (int v = 0; v < vectors; v += PARTS) TILE_PREFETCH(w + v / PARTS * w_step);
                        if (vectors == TILE_BLOCKS * PARTS) {
                            for (int v = 0; v < vectors; v += PARTS)
                                TILE_PREFETCH_FAR(ahead + v / PARTS * w_step);
                            ahead += ahead_step;
                        }
#pragma GCC unroll 8
                        for (int v = 0; v < vectors; v++)
                            weights[v] = *(const AT *)(w + v / PARTS * w_step + v % PARTS * LEVEL_LANES);
#pragma GCC unroll 14
                        for (int p = 0; p < pixels; p++) {
                            const float value = x[p * s];
#pragma GCC unroll 8
                            for (int v = 0; v < vectors; v++) TILE_ADD(sums[v][p], weights[v], value);
                            TILE_APART(p);
                        }
                    }
                }
}

LEVEL_INLINE void LEVEL(run)(const struct tile *t, const int blocks, const int pixels, const int s) {
    const int vectors = blocks * PARTS;
    VEC sums[TILE_BLOCKS * PARTS][TILE_PIXELS];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        VEC bias = {0};
        if (t->bias) bias = *(const AT *)(t->bias + v * LEVEL_LANES);
#pragma GCC unroll 14
        for (int p = 0; p < pixels; p++) sums[v][p] = bias;
    }
    LEVEL(sum)(t, vectors, pixels, s, sums);
    const float *residual = t->residual;
    float *out = t->out; /* a copy that stores can't change */
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        const int64_t at = v / PARTS * t->out_step + v % PARTS * LEVEL_LANES;
        if (residual)
#pragma GCC unroll 14
            for (int p = 0; p < pixels; p++) sums[v][p] += *(const AT *)(residual + at + p * LAYOUT_LANES);
        if (t->bounded)
#pragma GCC unroll 14
            for (int p = 0; p < pixels; p++) LEVEL(clip)(&sums[v][p], t->lo, t->hi);
#pragma GCC unroll 14
        for (int p = 0; p < pixels; p++) *(AT *)(out + at + p * LAYOUT_LANES) = sums[v][p];
    }
}

#define TILE(b, p, s)                                                                                        \
    LEVEL_TARGET static void LEVEL(tile_##b##_##p##_##s)(const struct tile *t) {                             \
        LEVEL(run)(t, b, p, s);                                                                              \
    }
#define TILES_OF(b, s) TILE_LIST(TILE, b, s)
#define NAME(b, p, s)  LEVEL(tile_##b##_##p##_##s),
#define NAMES_OF(b, s)                                                                                       \
    { TILE_LIST(NAME, b, s) }

#if TILE_BLOCKS == 2
#define ALL_TILES(s) TILES_OF(1, s) TILES_OF(2, s)
#define ALL_NAMES(s) {NAMES_OF(1, s), NAMES_OF(2, s)},
#else
#define ALL_TILES(s) TILES_OF(1, s)
#define ALL_NAMES(s) {NAMES_OF(1, s)},
#endif

TILE_EACH_STEP(ALL_TILES)

static const tile_fn LEVEL(tiles)[][TILE_BLOCKS][TILE_PIXELS] = {TILE_EACH_STEP(ALL_NAMES)};

#undef TILE
#undef TILES_OF
#undef NAME
#undef NAMES_OF
#undef ALL_TILES
#undef ALL_NAMES
#undef TILE_BLOCKS
#undef TILE_PIXELS
#undef TILE_LIST
