/* A few vectors times a matrix of constants; see kernels_vectors.h. */
#include "infer/kernels_vectors.h"

#include "infer/simd.h"

#include <string.h>

enum { ROWS = 4, GROUP = 4, FEW = 32, PART_ROWS = 32 };
#define AHEAD 512 /* floats: what memory needs to be asked for early enough */

bool vectors_are_few(int64_t vectors) {
    return vectors <= FEW;
}

SIMD_INLINE float sum_lanes(const simd_f *s) {
    float lanes[SIMD_LANES];
    memcpy(lanes, s, sizeof lanes);
    for (int n = SIMD_LANES / 2; n > 0; n /= 2)
        for (int j = 0; j < n; j++) lanes[j] += lanes[j + n];
    return lanes[0];
}

/* The last floats of a row, with zeros behind them. */
SIMD_INLINE void load_rest(const float *from, int64_t n, simd_f *to) {
    *to = (simd_f){0};
    memcpy(to, from, (size_t)n * sizeof *from);
}

/* `rows` rows from w, `vectors` vectors from x; both are constants once this is inlined, so sums are
 * registers. */
SIMD_INLINE void multiply(const struct vectors_product *p, const float *w, const float *x, float *out,
                          const int rows, const int vectors) {
    simd_f sums[ROWS][GROUP] = {0};
    int64_t k = 0;
    for (; k + SIMD_LANES <= p->depth; k += SIMD_LANES) {
        simd_f terms[GROUP];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) terms[v] = *(const simd_f_at *)(x + v * p->x_step + k);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const float *at = w + r * p->depth + k;
            const simd_f weights = *(const simd_f_at *)at;
            __builtin_prefetch((const void *)((uintptr_t)at + AHEAD * sizeof *at));
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[r][v] += weights * terms[v];
        }
    }
    for (int v = 0; k < p->depth && v < vectors; v++)
        for (int r = 0; r < rows; r++) {
            simd_f weights, terms;
            load_rest(w + r * p->depth + k, p->depth - k, &weights);
            load_rest(x + v * p->x_step + k, p->depth - k, &terms);
            sums[r][v] += weights * terms;
        }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) out[v * p->out_step + r] += p->alpha * sum_lanes(&sums[r][v]);
}

/* Four vectors at a time have 16 sums, which only the widest and most registers hold. */
SIMD_INLINE void multiply_rows(const struct vectors_product *p, int64_t row, const int rows, bool wide) {
    const float *w = p->w + row * p->depth;
    int64_t v = 0;
    for (; wide && v + GROUP <= p->vectors; v += GROUP)
        multiply(p, w, p->x + v * p->x_step, p->out + v * p->out_step + row, rows, GROUP);
    for (; v < p->vectors; v++) multiply(p, w, p->x + v * p->x_step, p->out + v * p->out_step + row, rows, 1);
}

SIMD_CLONES static void multiply_range(const struct vectors_product *p, int64_t row, int64_t end, bool wide) {
    for (; row + ROWS <= end; row += ROWS) multiply_rows(p, row, ROWS, wide);
    for (; row < end; row++) multiply_rows(p, row, 1, wide);
}

static bool has_wide_registers(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f");
#else
    return false;
#endif
}

static void run_part(const void *work, uint32_t part, uint32_t hand) {
    const struct vectors_product *p = work;
    const int64_t row = (int64_t)part * PART_ROWS, left = p->rows - row;
    (void)hand;
    multiply_range(p, row, row + (left < PART_ROWS ? left : PART_ROWS), has_wide_registers());
}

void vectors_multiply(struct team_seat *seat, const struct vectors_product *p) {
    team_run_all(seat, run_part, p, (p->rows + PART_ROWS - 1) / PART_ROWS);
}
