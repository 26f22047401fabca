/* Largest singular values of many small matrices, without an SVD library: the
 * top eigenvalue of the smaller Gram matrix (9 x 9 for a 3 x 3 kernel), by
 * Householder tridiagonalisation and Newton's method from above, eight
 * channels side by side in the lanes of a vector.
 *
 * Newton on the characteristic polynomial, started right of every root of a
 * polynomial with only real roots, falls monotonically onto the largest one:
 * no gap between eigenvalues is needed, as power iteration would. */
#include "guard/clp_sigma.h"
#include "infer/simd.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 8
typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));
typedef int64_t mask __attribute__((vector_size(LANES * sizeof(int64_t))));

#define WIDE SIMD_LANES

#define TAPS   9             /* of a 3 x 3 kernel */
#define PERIOD (TAPS * WIDE) /* floats after which vector lanes and taps meet again: 16 rows of 9 */

#define PICK(m, yes, no) ((lanes)(((m) & (mask)(yes)) | (~(m) & (mask)(no))))

/* Vectors go by pointer: passed by value they would change the calling convention with the target. */
SIMD_INLINE void take_root(lanes *x) {
    for (int i = 0; i < LANES; i++) (*x)[i] = sqrt((*x)[i]);
}

/* --- Gram matrices: lower triangle of G [m,m] into lane `lane` of g ------------------- */

/* G = A^T A of A: [rows,m], or A A^T of A: [m,cols], by the book. */
SIMD_INLINE void gram_plain(const float *a, int rows, int cols, int m, lanes *g, int lane) {
    bool transposed = m < cols || rows == m; /* sum along a row, else down a column */
    int terms = transposed ? cols : rows;
    size_t step = transposed ? 1 : (size_t)cols, next = transposed ? (size_t)cols : 1;
    for (int i = 0; i < m; i++)
        for (int j = 0; j <= i; j++) {
            const float *x = a + (size_t)i * next, *y = a + (size_t)j * next;
            double sum = 0;
            for (int t = 0; t < terms; t++) sum += (double)x[(size_t)t * step] * (double)y[(size_t)t * step];
            g[i * m + j][lane] = sum;
        }
}

/* Adds, for the vector at offset `at` of every period, the products of the
 * stream with itself shifted by 0 to 8: all that a 9 x 9 Gram matrix is made of.
 * sums: [TAPS][PERIOD]. Reads 8 floats past the last period. */
SIMD_INLINE void add_shifted_products(const float *w, int periods, int at, float *sums) {
    simd_f acc[TAPS] = {0};
    for (int p = 0; p < periods; p++) {
        const float *x = w + (size_t)p * PERIOD + at;
        simd_f here = *(const simd_f_at *)x;
        for (int shift = 0; shift < TAPS; shift++) acc[shift] += here * *(const simd_f_at *)(x + shift);
    }
    for (int shift = 0; shift < TAPS; shift++) *(simd_f_at *)(sums + shift * PERIOD + at) += acc[shift];
}

/* The same for 3 x 3 kernels at the speed of memory. In w[9r + i] * w[9r + i + shift]
 * the position modulo 9 says which entry (i, i + shift) a product belongs to;
 * those that reach into the next row (i + shift > 8) are dropped at the end. */
SIMD_INLINE void gram_nine(const float *w, int rows, lanes *g, int lane) {
    float sums[TAPS * PERIOD] = {0}, buffered[2 * PERIOD + WIDE] = {0};
    int periods = rows / WIDE, rest = rows % WIDE;
    /* The last whole period and the rest go through a buffer: nothing is read past the weights. */
    int direct = periods > 0 ? periods - 1 : 0;
    memcpy(buffered, w + (size_t)direct * PERIOD, (size_t)(rows - direct * WIDE) * TAPS * sizeof *w);
    for (int at = 0; at < PERIOD; at += WIDE) {
        add_shifted_products(w, direct, at, sums);
        add_shifted_products(buffered, 1 + (periods > 0 && rest > 0), at, sums);
    }
    for (int shift = 0; shift < TAPS; shift++) { /* columns of [16,9] */
        float column[WIDE] = {0};
        for (int r = 0; r < WIDE; r++)
            for (int i = 0; i < TAPS; i++) column[i] += sums[shift * PERIOD + r * TAPS + i];
        for (int i = 0; i + shift < TAPS; i++) g[(i + shift) * TAPS + i][lane] = (double)column[i];
    }
}

/* --- eigenvalues, all lanes at once -------------------------------------------------------- */

/* Householder: symmetric g (lower triangle, destroyed) to diagonal d and
 * squared off-diagonal e2, working up from the last row. v is scratch of m. */
SIMD_INLINE void tridiagonalise(lanes *g, int m, lanes *d, lanes *e2, lanes *v) {
    const lanes zero = {0};
    for (int i = m - 1; i > 0; i--) {
        lanes *row = g + i * m, norm2 = zero;
        for (int k = 0; k < i; k++) norm2 += row[k] * row[k];
        d[i] = row[i];
        e2[i] = norm2; /* the reflected row is (0, …, ±norm) */
        lanes norm = norm2;
        take_root(&norm);
        lanes alpha = PICK(row[i - 1] >= zero, -norm, norm);
        lanes h = norm2 - row[i - 1] * alpha;          /* |u|^2 / 2 for u = row - alpha e_(i-1) */
        lanes inverse = PICK(h > zero, 1.0 / h, zero); /* 0: the row is zero already */
        row[i - 1] -= alpha;
        lanes half = zero;
        for (int j = 0; j < i; j++) { /* v = G u / h */
            lanes sum = zero;
            for (int k = 0; k <= j; k++) sum += g[j * m + k] * row[k];
            for (int k = j + 1; k < i; k++) sum += g[k * m + j] * row[k];
            v[j] = sum * inverse;
            half += v[j] * row[j];
        }
        half *= 0.5 * inverse;
        for (int j = 0; j < i; j++) v[j] -= half * row[j];
        for (int j = 0; j < i; j++)
            for (int k = 0; k <= j; k++) g[j * m + k] -= row[j] * v[k] + v[j] * row[k];
    }
    d[0] = g[0];
    e2[0] = zero;
}

/* The largest eigenvalue of each tridiagonal matrix. p'/p of the characteristic
 * polynomial comes from the recurrence of q_i = p_i / p_(i-1), which neither
 * overflows nor underflows. */
SIMD_INLINE void find_largest_eigenvalue(const lanes *d, const lanes *e2, int m, lanes *largest) {
    const lanes zero = {0};
    lanes x = zero, before = zero;
    for (int i = 0; i < m; i++) { /* Gershgorin: no eigenvalue lies above */
        lanes after = i + 1 < m ? e2[i + 1] : zero;
        take_root(&after);
        lanes bound = d[i] + before + after;
        x = PICK(bound > x, bound, x);
        before = after;
    }
    mask active = x > zero;
    for (int iteration = 0; iteration < 200; iteration++) {
        lanes inverse = 1.0 / (x - d[0]), dq = 1.0 - zero, sum = inverse;
        active &= x > d[0];
        for (int i = 1; i < m; i++) {
            lanes ratio = e2[i] * inverse;
            dq = 1.0 + ratio * inverse * dq;
            lanes q = x - d[i] - ratio;
            active &= q > zero; /* else: at the root, up to rounding */
            inverse = 1.0 / q;
            sum += dq * inverse;
        }
        active &= sum > zero;
        lanes step = 1.0 / sum;
        x -= PICK(active, step, zero);
        active &= step > 1e-12 * x;
        int64_t any = 0;
        for (int i = 0; i < LANES; i++) any |= active[i];
        if (!any) break;
    }
    *largest = PICK(x > zero, x, zero);
}

SIMD_CLONES
static void sigma_of_lanes(const float *w, int n, int rows, int cols, lanes *memory, double *sigma) {
    int m = rows < cols ? rows : cols;
    size_t per_channel = (size_t)rows * (size_t)cols;
    lanes *g = memory, *d = g + (size_t)m * (size_t)m, *e2 = d + m, *v = e2 + m;
    for (int k = 0; k < LANES; k++) { /* lanes without a channel repeat the last one */
        const float *a = w + (size_t)(k < n ? k : n - 1) * per_channel;
        if (cols == TAPS && rows >= TAPS)
            gram_nine(a, rows, g, k);
        else
            gram_plain(a, rows, cols, m, g, k);
    }
    tridiagonalise(g, m, d, e2, v);
    lanes s;
    find_largest_eigenvalue(d, e2, m, &s);
    take_root(&s);
    for (int k = 0; k < n; k++) sigma[k] = s[k];
}

int clp_sigma_max(const float *w, int channels, int rows, int cols, double *sigma) {
    size_t m = (size_t)(rows < cols ? rows : cols);
    lanes *memory = aligned_alloc(64, (m * m + 3 * m) * sizeof *memory);
    if (!memory) return -ENOMEM;
    for (int k = 0; k < channels; k += LANES) {
        int n = channels - k < LANES ? channels - k : LANES;
        sigma_of_lanes(w + (size_t)k * (size_t)rows * (size_t)cols, n, rows, cols, memory, sigma + k);
    }
    free(memory);
    return 0;
}
