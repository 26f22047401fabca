/* Largest singular values of many small matrices, without an SVD library: the
 * top eigenvalue of the smaller Gram matrix (9 x 9 for a 3 x 3 kernel), by
 * Householder tridiagonalisation and Laguerre's method from above, eight
 * channels side by side in the lanes of a vector.
 *
 * Laguerre on the characteristic polynomial, started right of every root of a
 * polynomial with only real roots, falls monotonically onto the largest one, in
 * a handful of steps where Newton takes a dozen; no gap between eigenvalues is
 * needed, as power iteration would. */
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

typedef float few_at __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

SIMD_INLINE double dot(const float *x, const float *y, int n) {
    lanes sum = {0};
    double total = 0;
    int t = 0;
    for (; t + LANES <= n; t += LANES)
        sum += __builtin_convertvector(*(const few_at *)(x + t), lanes) *
               __builtin_convertvector(*(const few_at *)(y + t), lanes);
    for (int i = 0; i < LANES; i++) total += sum[i];
    for (; t < n; t++) total += (double)x[t] * (double)y[t];
    return total;
}

/* G = A A^T of A: [m,cols], or A^T A of A: [rows,m] row by row, by the book. sums: scratch of [m,m]. */
SIMD_INLINE void gram_plain(const float *a, int rows, int cols, int m, double *sums, lanes *g, int lane) {
    if (m == rows) {
        for (int i = 0; i < m; i++)
            for (int j = 0; j <= i; j++)
                g[i * m + j][lane] = dot(a + (size_t)i * (size_t)cols, a + (size_t)j * (size_t)cols, cols);
        return;
    }
    memset(sums, 0, (size_t)m * (size_t)m * sizeof *sums);
    for (const float *x = a; rows > 0; rows--, x += m)
        for (int i = 0; i < m; i++)
            for (int j = 0; j <= i; j++) sums[i * m + j] += (double)x[i] * (double)x[j];
    for (int i = 0; i < m; i++)
        for (int j = 0; j <= i; j++) g[i * m + j][lane] = sums[i * m + j];
}

/* Adds, for one vector of every period, the products of the stream with itself
 * shifted by 0 to 8: all that a 9 x 9 Gram matrix is made of. Reads 8 floats past
 * the last period. The strides are too long for the processor to foresee, so each
 * round asks for one line of `ahead`, the weights that come next: without that,
 * memory is waited for half of the time. */
SIMD_INLINE void add_shifted_products(const float *x, int periods, const float *ahead, simd_f acc[TAPS]) {
    for (; periods > 0; periods--, x += PERIOD, ahead += WIDE) {
        simd_f here = *(const simd_f_at *)x;
        __builtin_prefetch(ahead);
        for (int shift = 0; shift < TAPS; shift++) acc[shift] += here * *(const simd_f_at *)(x + shift);
    }
}

/* sums: [TAPS][PERIOD] to the lower triangle of g: column sums of [16,9] each, nine
 * at a time in the low lanes of a vector. */
SIMD_INLINE void fold_periods(const float *sums, lanes *g, int lane) {
    for (int shift = 0; shift < TAPS; shift++) {
        simd_f column = {0};
        for (int r = 0; r < WIDE; r++) column += *(const simd_f_at *)(sums + shift * PERIOD + r * TAPS);
        for (int i = 0; i + shift < TAPS; i++) g[(i + shift) * TAPS + i][lane] = (double)column[i];
    }
}

/* The same for 3 x 3 kernels at the speed of memory. In w[9r + i] * w[9r + i + shift]
 * the position modulo 9 says which entry (i, i + shift) a product belongs to;
 * those that reach into the next row (i + shift > 8) are dropped at the end.
 * `more`: other weights follow, so that reading 8 floats too many does no harm. */
SIMD_INLINE void gram_nine(const float *w, int rows, bool more, lanes *g, int lane) {
    float sums[TAPS * PERIOD + WIDE], buffered[2 * PERIOD + WIDE];
    const int periods = rows / WIDE, rest = rows % WIDE;
    /* The rest goes through a buffer, and so does the last whole period where nothing follows. */
    const int direct = rest == 0 && more ? periods : periods > 0 ? periods - 1 : 0;
    const int left = rows - direct * WIDE;
    if (left > 0) {
        memset(buffered, 0, sizeof buffered);
        memcpy(buffered, w + (size_t)direct * PERIOD, (size_t)left * TAPS * sizeof *w);
    }
    memset(sums + TAPS * PERIOD, 0, WIDE * sizeof *sums);
    const float *ahead = w + (more ? (size_t)rows * TAPS : 0);
    for (int at = 0; at < PERIOD; at += WIDE, ahead += (size_t)direct * WIDE) {
        simd_f acc[TAPS] = {0};
        add_shifted_products(w + at, direct, ahead, acc);
        add_shifted_products(buffered + at, (left + WIDE - 1) / WIDE, ahead, acc);
        for (int shift = 0; shift < TAPS; shift++) *(simd_f_at *)(sums + shift * PERIOD + at) = acc[shift];
    }
    fold_periods(sums, g, lane);
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

/* Gershgorin: no eigenvalue of the tridiagonal matrix lies above. */
SIMD_INLINE void bound_eigenvalues(const lanes *d, const lanes *e2, int m, lanes *bound) {
    lanes most = {0}, before = {0};
    for (int i = 0; i < m; i++) {
        lanes after = i + 1 < m ? e2[i + 1] : most - most;
        take_root(&after);
        const lanes here = d[i] + before + after;
        most = PICK(here > most, here, most);
        before = after;
    }
    *bound = most;
}

/* The largest eigenvalue of each tridiagonal matrix. s1 = p'/p of the characteristic polynomial
 * p and s2 = (p'/p)^2 - p''/p come from the recurrence of q_i = p_i / p_(i-1), which neither
 * overflows nor underflows; r and s are q'/q and q''/q. */
SIMD_INLINE void find_largest_eigenvalue(const lanes *d, const lanes *e2, int m, lanes *largest) {
    const lanes zero = {0};
    lanes x;
    bound_eigenvalues(d, e2, m, &x);
    mask active = x > zero;
    for (int iteration = 0; iteration < 200; iteration++) {
        lanes inverse = 1.0 / (x - d[0]), r = inverse, s = zero, s1 = r, s2 = r * r;
        active &= x > d[0];
        for (int i = 1; i < m; i++) {
            const lanes ratio = e2[i] * inverse, q = x - d[i] - ratio;
            active &= q > zero; /* else: at the root, up to rounding */
            inverse = 1.0 / q;
            s = ratio * (s - 2.0 * r * r) * inverse;
            r = (1.0 + ratio * r) * inverse;
            s1 += r;
            s2 += r * r - s;
        }
        lanes spread = (m - 1.0) * (m * s2 - s1 * s1);
        spread = PICK(spread > zero, spread, zero);
        take_root(&spread);
        const lanes step = m / (s1 + spread);
        active &= step > zero;
        x -= PICK(active, step, zero);
        active &= step > 1e-9 * x; /* what is left after such a step is smaller still */
        int64_t any = 0;
        for (int i = 0; i < LANES; i++) any |= active[i];
        if (!any) break;
    }
    *largest = PICK(x > zero, x, zero);
}

SIMD_CLONES
static void sigma_of_lanes(const float *w, int n, int rows, int cols, bool more, lanes *memory,
                           double *sigma) {
    int m = rows < cols ? rows : cols;
    size_t per_channel = (size_t)rows * (size_t)cols;
    lanes *g = memory, *d = g + (size_t)m * (size_t)m, *e2 = d + m, *v = e2 + m;
    double *sums = (double *)(v + m);
    for (int k = 0; k < LANES; k++) { /* lanes without a channel repeat the last one */
        const float *a = w + (size_t)(k < n ? k : n - 1) * per_channel;
        if (cols == TAPS && rows >= TAPS)
            gram_nine(a, rows, k + 1 < n || more, g, k);
        else
            gram_plain(a, rows, cols, m, sums, g, k);
    }
    tridiagonalise(g, m, d, e2, v);
    lanes s;
    find_largest_eigenvalue(d, e2, m, &s);
    take_root(&s);
    for (int k = 0; k < n; k++) sigma[k] = s[k];
}

int clp_sigma_max(const float *w, int channels, int rows, int cols, double *sigma) {
    size_t m = (size_t)(rows < cols ? rows : cols);
    lanes *memory = aligned_alloc(64, (m * m + 3 * m + (m * m + LANES - 1) / LANES) * sizeof *memory);
    if (!memory) return -ENOMEM;
    for (int k = 0; k < channels; k += LANES) {
        int n = channels - k < LANES ? channels - k : LANES;
        sigma_of_lanes(w + (size_t)k * (size_t)rows * (size_t)cols, n, rows, cols, k + n < channels, memory,
                       sigma + k);
    }
    free(memory);
    return 0;
}
