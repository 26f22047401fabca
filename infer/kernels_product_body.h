/* Products of 4 rows for one level of vector instructions; kernels_product.c includes this once
 * per level, with PRODUCT_COLS, the columns whose sums its registers hold. */
#include "infer/kernels_level_body.h"

enum { LEVEL(vectors) = PRODUCT_COLS / LEVEL_LANES };

/* c = alpha * sum + beta * c, the first `n` floats of a vector. */
LEVEL_INLINE void LEVEL(store)(const struct tile *t, float *c, const VEC *sum, int64_t n) {
    float part[LEVEL_LANES] = {0};
    float *at = n < LEVEL_LANES ? part : c;
    if (n <= 0) return;
    if (n < LEVEL_LANES) memcpy(part, c, (size_t)n * sizeof *c);
    *(AT *)at = t->beta == 0 ? t->alpha * *sum : t->alpha * *sum + t->beta * *(const AT *)at;
    if (n < LEVEL_LANES) memcpy(c, part, (size_t)n * sizeof *c);
}

/* 4 x PRODUCT_COLS from column `at` on. Loops over rows and vectors have constant bounds, so sums are
 * registers. */
LEVEL_INLINE void LEVEL(multiply_4)(const struct panel *x, const struct tile *t, int64_t at) {
    const float *b = x->b + at;
    const float *a[4] = {t->a[0], t->a[1], t->a[2], t->a[3]};
    VEC sums[4][LEVEL(vectors)] = {{{0}}};
    for (int64_t k = 0, i = 0; k < x->depth; k++, i += t->a_step, b += x->b_step) {
        VEC row[LEVEL(vectors)];
#pragma GCC unroll 4
        for (int v = 0; v < LEVEL(vectors); v++) row[v] = *(const AT *)(b + v * LEVEL_LANES);
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            const float value = a[r][i];
#pragma GCC unroll 4
            for (int v = 0; v < LEVEL(vectors); v++) sums[r][v] += row[v] * value;
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
#pragma GCC unroll 4
        for (int v = 0; v < LEVEL(vectors); v++) {
            const int64_t column = at + v * LEVEL_LANES;
            if (r < t->rows) LEVEL(store)(t, t->c + r * t->ldc + column, &sums[r][v], t->cols - column);
        }
}

LEVEL_TARGET static void LEVEL(multiply_panel)(const struct blas_product *p, const struct panel *x,
                                               int64_t k0, int64_t n0) {
    struct tile t = tile_of(p, x, k0);
    for (int64_t m0 = 0; m0 < p->m; m0 += 4) {
        set_rows(p, m0, k0, &t);
        t.c = p->c + m0 * p->ldc + n0;
        for (int64_t at = 0; at < x->cols; at += PRODUCT_COLS) LEVEL(multiply_4)(x, &t, at);
    }
}
