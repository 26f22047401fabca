/* Winograd's transforms for one level of vector instructions; kernels_winograd.c
 * includes this once per level. A tile's pixels are vectors of 16 channels.
 *
 *   F(4x4,3x3), points 0, +-a, +-b, infinity (a = 5/8, b = 3/2):
 *     v0 = a2 b2 d0 - (a2 + b2) d2 + d4     v1, v2 = (d4 - b2 d2) +- a (d3 - b2 d1)
 *     v5 = a2 b2 d1 - (a2 + b2) d3 + d5     v3, v4 = (d4 - a2 d2) +- b (d3 - a2 d1)
 *     y0 = m0 + s + t          y1 = a s' + b t'            s, s' = m1 +- m2
 *     y2 = a2 s + b2 t         y3 = a3 s' + b3 t' + m5     t, t' = m3 +- m4
 *   F(2x2,3x3), points 0, 1, -1, infinity:
 *     v = d0 - d2, d1 + d2, d2 - d1, d3 - d1               y = m0 + m1 + m2, m1 - m2 + m3 */
#include "infer/kernels_level_body.h"

#define A  0.625f
#define B  1.5f
#define A2 (A * A)
#define B2 (B * B)

/* v[i * step] from d[i * from]; both in vectors. */
LEVEL_INLINE void LEVEL(in_6)(const VEC *d, int from, VEC *v, int step) {
    const VEC d0 = d[0], d1 = d[from], d2 = d[2 * from], d3 = d[3 * from], d4 = d[4 * from], d5 = d[5 * from];
    const VEC even_b = d4 - B2 * d2, odd_b = A * (d3 - B2 * d1);
    const VEC even_a = d4 - A2 * d2, odd_a = B * (d3 - A2 * d1);
    v[0] = A2 * B2 * d0 + (d4 - (A2 + B2) * d2);
    v[step] = even_b + odd_b;
    v[2 * step] = even_b - odd_b;
    v[3 * step] = even_a + odd_a;
    v[4 * step] = even_a - odd_a;
    v[5 * step] = A2 * B2 * d1 + (d5 - (A2 + B2) * d3);
}

LEVEL_INLINE void LEVEL(in_4)(const VEC *d, int from, VEC *v, int step) {
    const VEC d0 = d[0], d1 = d[from], d2 = d[2 * from], d3 = d[3 * from];
    v[0] = d0 - d2;
    v[step] = d1 + d2;
    v[2 * step] = d2 - d1;
    v[3 * step] = d3 - d1;
}

LEVEL_INLINE void LEVEL(out_6)(const VEC *m, int from, VEC *y, int step) {
    const VEC s = m[from] + m[2 * from], s_ = m[from] - m[2 * from];
    const VEC t = m[3 * from] + m[4 * from], t_ = m[3 * from] - m[4 * from];
    y[0] = m[0] + s + t;
    y[step] = A * s_ + B * t_;
    y[2 * step] = A2 * s + B2 * t;
    y[3 * step] = A2 * A * s_ + B2 * B * t_ + m[5 * from];
}

LEVEL_INLINE void LEVEL(out_4)(const VEC *m, int from, VEC *y, int step) {
    y[0] = m[0] + m[from] + m[2 * from];
    y[step] = m[from] - m[2 * from] + m[3 * from];
}

/* One tile of one block: n x n pixels at x, rows `row` floats apart, to n*n points `step` floats apart. */
LEVEL_INLINE void LEVEL(forward)(const float *x, int64_t row, float *to, int64_t step, const int n) {
    for (int64_t lane = 0; lane < LAYOUT_LANES; lane += LEVEL_LANES) {
        VEC half[6 * 6], line[6];
        for (int j = 0; j < n; j++) { /* columns */
#pragma GCC unroll 6
            for (int i = 0; i < n; i++) line[i] = *(const AT *)(x + i * row + j * LAYOUT_LANES + lane);
            if (n == 6)
                LEVEL(in_6)(line, 1, half + j, n);
            else
                LEVEL(in_4)(line, 1, half + j, n);
        }
        for (int i = 0; i < n; i++) { /* rows */
            if (n == 6)
                LEVEL(in_6)(half + i * n, 1, line, 1);
            else
                LEVEL(in_4)(half + i * n, 1, line, 1);
#pragma GCC unroll 6
            for (int j = 0; j < n; j++) *(AT *)(to + (i * n + j) * step + lane) = line[j];
        }
    }
}

LEVEL_INLINE void LEVEL(store)(const struct winograd_out *o, const VEC *y, const int m, int64_t lane) {
    const VEC bias = *(const AT *)(o->bias + lane);
    for (int64_t i = 0; i < o->rows; i++)
        for (int64_t j = 0; j < o->columns; j++) {
            const int64_t at = i * o->row + j * LAYOUT_LANES + lane;
            VEC v = y[i * m + j] + bias;
            if (o->residual) v += *(const AT *)(o->residual + at);
            if (o->bounded) LEVEL(clip)(&v, o->lo, o->hi);
            *(AT *)(o->out + at) = v;
        }
}

/* One tile of one block back: points `step` floats apart at from. */
LEVEL_INLINE void LEVEL(back)(const float *from, int64_t step, const struct winograd_out *o, const int m) {
    const int n = m + 2;
    for (int64_t lane = 0; lane < LAYOUT_LANES; lane += LEVEL_LANES) {
        VEC half[4 * 6], y[4 * 4], line[6];
        for (int j = 0; j < n; j++) {
#pragma GCC unroll 6
            for (int i = 0; i < n; i++) line[i] = *(const AT *)(from + (i * n + j) * step + lane);
            if (m == 4)
                LEVEL(out_6)(line, 1, half + j, n);
            else
                LEVEL(out_4)(line, 1, half + j, n);
        }
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) {
            if (m == 4)
                LEVEL(out_6)(half + i * n, 1, y + i * m, 1);
            else
                LEVEL(out_4)(half + i * n, 1, y + i * m, 1);
        }
        LEVEL(store)(o, y, m, lane);
    }
}

LEVEL_TARGET static void LEVEL(forward_4)(const float *x, int64_t row, float *to, int64_t step) {
    LEVEL(forward)(x, row, to, step, 6);
}
LEVEL_TARGET static void LEVEL(forward_2)(const float *x, int64_t row, float *to, int64_t step) {
    LEVEL(forward)(x, row, to, step, 4);
}
LEVEL_TARGET static void LEVEL(back_4)(const float *from, int64_t step, const struct winograd_out *o) {
    LEVEL(back)(from, step, o, 4);
}
LEVEL_TARGET static void LEVEL(back_2)(const float *from, int64_t step, const struct winograd_out *o) {
    LEVEL(back)(from, step, o, 2);
}

#undef A
#undef B
#undef A2
#undef B2
