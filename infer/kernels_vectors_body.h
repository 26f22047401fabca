/* A few rows times a few vectors for one level of vector instructions; kernels_vectors.c includes this once
 * per level, with VECTORS_GROUP, the vectors that are multiplied together. Strips of 16 floats, whose sums
 * are added in the same order at every level. */
#include "infer/kernels_level_body.h"

LEVEL_INLINE float LEVEL(sum_lanes)(const VEC sums[PARTS]) {
    float lanes[LAYOUT_LANES];
    memcpy(lanes, sums, sizeof lanes);
    for (int n = LAYOUT_LANES / 2; n > 0; n /= 2)
        for (int j = 0; j < n; j++) lanes[j] += lanes[j + n];
    return lanes[0];
}

/* The last `n` floats of a row, less than a strip. */
LEVEL_INLINE void LEVEL(add_rest)(const float *w, const float *x, int64_t n, VEC sums[PARTS]) {
    VEC weights[PARTS] = {{0}}, terms[PARTS] = {{0}};
    memcpy(weights, w, (size_t)n * sizeof *w);
    memcpy(terms, x, (size_t)n * sizeof *x);
    for (int i = 0; i < PARTS; i++) sums[i] += weights[i] * terms[i];
}

/* `rows` rows from w, `vectors` vectors from x; both are constants once this is inlined, so sums are
 * registers. */
LEVEL_INLINE void LEVEL(multiply)(const struct vectors_product *p, const float *w, const float *x, float *out,
                                  const int rows, const int vectors) {
    VEC sums[ROWS][VECTORS_GROUP][PARTS] = {{{{0}}}};
    int64_t k = 0;
    for (; k + LAYOUT_LANES <= p->depth; k += LAYOUT_LANES) {
        VEC terms[VECTORS_GROUP][PARTS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
#pragma GCC unroll 4
            for (int i = 0; i < PARTS; i++)
                terms[v][i] = *(const AT *)(x + v * p->x_step + k + i * LEVEL_LANES);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const float *at = w + r * p->depth + k;
            __builtin_prefetch((const void *)((uintptr_t)at + AHEAD * sizeof *at));
#pragma GCC unroll 4
            for (int i = 0; i < PARTS; i++) {
                const VEC weights = *(const AT *)(at + i * LEVEL_LANES);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) sums[r][v][i] += weights * terms[v][i];
            }
        }
    }
    if (k < p->depth)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++)
                LEVEL(add_rest)(w + r * p->depth + k, x + v * p->x_step + k, p->depth - k, sums[r][v]);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) out[v * p->out_step + r] += p->alpha * LEVEL(sum_lanes)(sums[r][v]);
}

LEVEL_INLINE void LEVEL(multiply_rows)(const struct vectors_product *p, int64_t row, const int rows) {
    const float *w = p->w + row * p->depth;
    int64_t v = 0;
    for (; VECTORS_GROUP > 1 && v + VECTORS_GROUP <= p->vectors; v += VECTORS_GROUP)
        LEVEL(multiply)(p, w, p->x + v * p->x_step, p->out + v * p->out_step + row, rows, VECTORS_GROUP);
    for (; v < p->vectors; v++)
        LEVEL(multiply)(p, w, p->x + v * p->x_step, p->out + v * p->out_step + row, rows, 1);
}

LEVEL_TARGET static void LEVEL(multiply_range)(const struct vectors_product *p, int64_t row, int64_t end) {
    for (; row + ROWS <= end; row += ROWS) LEVEL(multiply_rows)(p, row, ROWS);
    for (; row < end; row++) LEVEL(multiply_rows)(p, row, 1);
}
