/* The largest singular value of a small matrix, without an SVD library:
 * the top eigenvalue of the smaller Gram matrix (9 x 9 for a 3 x 3 kernel),
 * by Householder tridiagonalisation and Newton's method from above.
 *
 * Newton on the characteristic polynomial, started right of every root of a
 * polynomial with only real roots, falls monotonically onto the largest one:
 * no gap between eigenvalues is needed, as power iteration would. */
#include "guard/clp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STACK_ORDER 64 /* larger Gram matrices take their memory from the heap */
#define BLOCK_ROWS 64  /* rows summed in float32 before they go into the double sum */

/* G += A^T A for A: [rows, m], the lower triangle. Products of a block are
 * summed in float32 (64 terms: relative error below 1e-5 even at worst), blocks in double. */
static void add_gram_columns(const float *restrict a, int rows, int m, double *restrict g) {
    float acc[STACK_ORDER * STACK_ORDER];
    for (int r0 = 0; r0 < rows; r0 += BLOCK_ROWS) {
        int end = rows - r0 < BLOCK_ROWS ? rows : r0 + BLOCK_ROWS;
        memset(acc, 0, sizeof(float) * (size_t)(m * m));
        for (int r = r0; r < end; r++)
            for (int i = 0; i < m; i++) {
                float x = a[(size_t)r * (size_t)m + (size_t)i];
                for (int j = 0; j <= i; j++) acc[i * m + j] += x * a[(size_t)r * (size_t)m + (size_t)j];
            }
        for (int i = 0; i < m * m; i++) g[i] += (double)acc[i];
    }
}

/* G = A A^T for A: [m, cols], the lower triangle. */
static void gram_rows(const float *a, int m, int cols, double *g) {
    for (int i = 0; i < m; i++)
        for (int j = 0; j <= i; j++) {
            double sum = 0;
            for (int c = 0; c < cols; c++)
                sum += (double)a[(size_t)i * (size_t)cols + (size_t)c] * (double)a[(size_t)j * (size_t)cols + (size_t)c];
            g[i * m + j] = sum;
        }
}

/* G = A^T A where m is too large for the stack block. */
static void gram_columns_large(const float *a, int rows, int m, double *g) {
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < m; i++) {
            double x = (double)a[(size_t)r * (size_t)m + (size_t)i];
            for (int j = 0; j <= i; j++) g[i * m + j] += x * (double)a[(size_t)r * (size_t)m + (size_t)j];
        }
}

/* Householder: symmetric g (lower triangle, destroyed) to diagonal d and
 * squared off-diagonal e2, working up from the last row. v is scratch of m. */
static void tridiagonalise(double *g, int m, double *d, double *e2, double *v) {
    for (int i = m - 1; i > 0; i--) {
        double *row = g + i * m, norm2 = 0;
        for (int k = 0; k < i; k++) norm2 += row[k] * row[k];
        d[i] = row[i];
        e2[i] = norm2; /* the reflected row is (0, …, ±norm) */
        double alpha = row[i - 1] >= 0 ? -sqrt(norm2) : sqrt(norm2);
        double h = norm2 - row[i - 1] * alpha; /* |u|^2 / 2 for u = row - alpha e_(i-1) */
        if (h <= 0) continue;                  /* the row is zero already */
        row[i - 1] -= alpha;
        double k2 = 0;
        for (int j = 0; j < i; j++) { /* v = G u / h */
            double sum = 0;
            for (int k = 0; k <= j; k++) sum += g[j * m + k] * row[k];
            for (int k = j + 1; k < i; k++) sum += g[k * m + j] * row[k];
            v[j] = sum / h;
            k2 += v[j] * row[j];
        }
        k2 /= 2 * h;
        for (int j = 0; j < i; j++) v[j] -= k2 * row[j];
        for (int j = 0; j < i; j++)
            for (int k = 0; k <= j; k++) g[j * m + k] -= row[j] * v[k] + v[j] * row[k];
    }
    d[0] = g[0];
    e2[0] = 0;
}

/* The largest eigenvalue of the tridiagonal matrix. The ratio p/p' of the
 * characteristic polynomial comes from the recurrence of q_i = p_i / p_(i-1),
 * which neither overflows nor underflows. */
static double largest_eigenvalue(const double *d, const double *e2, int m) {
    double x = 0;
    for (int i = 0; i < m; i++) { /* Gershgorin: no eigenvalue lies above */
        double r = sqrt(e2[i]) + (i + 1 < m ? sqrt(e2[i + 1]) : 0);
        if (d[i] + r > x) x = d[i] + r;
    }
    if (!(x > 0)) return 0;
    for (int iteration = 0; iteration < 200; iteration++) {
        double q = x - d[0], dq = 1, sum = dq / q; /* sum = p'/p */
        for (int i = 1; i < m && q > 0; i++) {
            double ratio = e2[i] / q;
            dq = 1 + ratio / q * dq;
            q = x - d[i] - ratio;
            sum += dq / q;
        }
        if (!(q > 0) || !(sum > 0)) break; /* at the root, up to rounding */
        double step = 1 / sum;
        x -= step;
        if (step <= 1e-12 * x) break;
    }
    return x > 0 ? x : 0;
}

double clp_sigma_max(const float *a, int rows, int cols) {
    int m = rows < cols ? rows : cols;
    double stack[STACK_ORDER * STACK_ORDER + 3 * STACK_ORDER], *g = stack;
    size_t need = (size_t)m * (size_t)m + 3 * (size_t)m;
    if (m > STACK_ORDER && !(g = malloc(need * sizeof *g))) return NAN;
    memset(g, 0, need * sizeof *g);
    if (m < cols) gram_rows(a, m, cols, g);
    else if (m <= STACK_ORDER) add_gram_columns(a, rows, m, g);
    else gram_columns_large(a, rows, m, g);
    double *d = g + (size_t)m * (size_t)m, *e2 = d + m, *v = e2 + m;
    tridiagonalise(g, m, d, e2, v);
    double sigma = sqrt(largest_eigenvalue(d, e2, m));
    if (g != stack) free(g);
    return sigma;
}
