/* The largest singular values of many matrices for one level of vector instructions; clp_sigma.c includes
 * this once per level. Vectors go by pointer: passed by value they would change the calling convention with
 * the level. */
#undef LANES
#undef WIDE
#undef PERIOD
#undef FOLD
#undef INLINE
#undef DOUBLES
#undef MASK
#undef FLOATS
#undef FLOATS_AT
#undef FEW_AT

#define LANES  (LEVEL_BYTES / 8)          /* channels side by side, in doubles */
#define WIDE   (LEVEL_BYTES / 4)          /* floats of a vector */
#define PERIOD (TAPS * WIDE)              /* floats after which vectors and taps meet again */
#define FOLD   ((TAPS + WIDE - 1) / WIDE) /* vectors that hold all taps */
#define INLINE LEVEL_TARGET SIMD_INLINE

typedef double LEVEL(doubles) __attribute__((vector_size(LEVEL_BYTES)));
typedef int64_t LEVEL(mask) __attribute__((vector_size(LEVEL_BYTES)));
typedef float LEVEL(floats) __attribute__((vector_size(LEVEL_BYTES)));
typedef float LEVEL(floats_at) __attribute__((vector_size(LEVEL_BYTES), aligned(4), may_alias));
typedef float LEVEL(few_at) __attribute__((vector_size(LEVEL_BYTES / 2), aligned(4), may_alias));
#define DOUBLES   LEVEL(doubles)
#define MASK      LEVEL(mask)
#define FLOATS    LEVEL(floats)
#define FLOATS_AT LEVEL(floats_at)
#define FEW_AT    LEVEL(few_at)

INLINE void LEVEL(take_root)(DOUBLES *x) {
    for (int i = 0; i < LANES; i++) (*x)[i] = sqrt((*x)[i]);
}

/* --- Gram matrices: lower triangle of G [m,m] into lane `lane` of g ------------------- */

INLINE double LEVEL(dot)(const float *x, const float *y, int n) {
    DOUBLES sum = {0};
    double total = 0;
    int t = 0;
    for (; t + LANES <= n; t += LANES)
        sum += __builtin_convertvector(*(const FEW_AT *)(x + t), DOUBLES) *
               __builtin_convertvector(*(const FEW_AT *)(y + t), DOUBLES);
    for (int i = 0; i < LANES; i++) total += sum[i];
    for (; t < n; t++) total += (double)x[t] * (double)y[t];
    return total;
}

/* G = A A^T of A: [m,cols], or A^T A of A: [rows,m] row by row, by the book. sums: scratch of [m,m]. */
INLINE void LEVEL(gram_plain)(const float *a, int rows, int cols, int m, double *sums, DOUBLES *g, int lane) {
    if (m == rows) {
        for (int i = 0; i < m; i++)
            for (int j = 0; j <= i; j++)
                g[i * m + j][lane] =
                    LEVEL(dot)(a + (size_t)i * (size_t)cols, a + (size_t)j * (size_t)cols, cols);
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
INLINE void LEVEL(add_shifted_products)(const float *x, int periods, const float *ahead, FLOATS acc[TAPS]) {
    for (; periods > 0; periods--, x += PERIOD, ahead += WIDE) {
        FLOATS here = *(const FLOATS_AT *)x;
        __builtin_prefetch(ahead);
        for (int shift = 0; shift < TAPS; shift++) acc[shift] += here * *(const FLOATS_AT *)(x + shift);
    }
}

/* sums: [TAPS][PERIOD] to the lower triangle of g: column sums of [WIDE,9] each. Reads FOLD * WIDE - TAPS
 * floats past the last. */
INLINE void LEVEL(fold_periods)(const float *sums, DOUBLES *g, int lane) {
    for (int shift = 0; shift < TAPS; shift++) {
        FLOATS parts[FOLD] = {{0}};
        for (int r = 0; r < WIDE; r++)
            for (int i = 0; i < FOLD; i++)
                parts[i] += *(const FLOATS_AT *)(sums + shift * PERIOD + r * TAPS + i * WIDE);
        for (int i = 0; i + shift < TAPS; i++)
            g[(i + shift) * TAPS + i][lane] = (double)parts[i / WIDE][i % WIDE];
    }
}

/* The same for 3 x 3 kernels at the speed of memory. In w[9r + i] * w[9r + i + shift]
 * the position modulo 9 says which entry (i, i + shift) a product belongs to;
 * those that reach into the next row (i + shift > 8) are dropped at the end.
 * `more`: other weights follow, so that reading 8 floats too many does no harm. */
INLINE void LEVEL(gram_nine)(const float *w, int rows, bool more, DOUBLES *g, int lane) {
    float sums[TAPS * PERIOD + FOLD * WIDE], buffered[2 * PERIOD + TAPS];
    const int periods = rows / WIDE, rest = rows % WIDE;
    /* The rest goes through a buffer, and so does the last whole period where nothing follows. */
    const int direct = rest == 0 && more ? periods : periods > 0 ? periods - 1 : 0;
    const int left = rows - direct * WIDE;
    if (left > 0) {
        memset(buffered, 0, sizeof buffered);
        memcpy(buffered, w + (size_t)direct * PERIOD, (size_t)left * TAPS * sizeof *w);
    }
    memset(sums + TAPS * PERIOD, 0, FOLD * WIDE * sizeof *sums);
    const float *ahead = w + (more ? (size_t)rows * TAPS : 0);
    for (int at = 0; at < PERIOD; at += WIDE, ahead += (size_t)direct * WIDE) {
        FLOATS acc[TAPS] = {0};
        LEVEL(add_shifted_products)(w + at, direct, ahead, acc);
        LEVEL(add_shifted_products)(buffered + at, (left + WIDE - 1) / WIDE, ahead, acc);
        for (int shift = 0; shift < TAPS; shift++) *(FLOATS_AT *)(sums + shift * PERIOD + at) = acc[shift];
    }
    LEVEL(fold_periods)(sums, g, lane);
}

/* --- eigenvalues, all lanes at once -------------------------------------------------------- */

/* Householder: symmetric g (lower triangle, destroyed) to diagonal d and
 * squared off-diagonal e2, working up from the last row. v is scratch of m. */
INLINE void LEVEL(tridiagonalise)(DOUBLES *g, int m, DOUBLES *d, DOUBLES *e2, DOUBLES *v) {
    const DOUBLES zero = {0};
    for (int i = m - 1; i > 0; i--) {
        DOUBLES *row = g + i * m, norm2 = zero;
        for (int k = 0; k < i; k++) norm2 += row[k] * row[k];
        d[i] = row[i];
        e2[i] = norm2; /* the reflected row is (0, …, ±norm) */
        DOUBLES norm = norm2;
        LEVEL(take_root)(&norm);
        DOUBLES alpha = PICK(row[i - 1] >= zero, -norm, norm);
        DOUBLES h = norm2 - row[i - 1] * alpha;          /* |u|^2 / 2 for u = row - alpha e_(i-1) */
        DOUBLES inverse = PICK(h > zero, 1.0 / h, zero); /* 0: the row is zero already */
        row[i - 1] -= alpha;
        DOUBLES half = zero;
        for (int j = 0; j < i; j++) { /* v = G u / h */
            DOUBLES sum = zero;
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
INLINE void LEVEL(bound_eigenvalues)(const DOUBLES *d, const DOUBLES *e2, int m, DOUBLES *bound) {
    DOUBLES most = {0}, before = {0};
    for (int i = 0; i < m; i++) {
        DOUBLES after = i + 1 < m ? e2[i + 1] : most - most;
        LEVEL(take_root)(&after);
        const DOUBLES here = d[i] + before + after;
        most = PICK(here > most, here, most);
        before = after;
    }
    *bound = most;
}

/* The largest eigenvalue of each tridiagonal matrix. s1 = p'/p of the characteristic polynomial
 * p and s2 = (p'/p)^2 - p''/p come from the recurrence of q_i = p_i / p_(i-1), which neither
 * overflows nor underflows; r and s are q'/q and q''/q. */
INLINE void LEVEL(find_largest_eigenvalue)(const DOUBLES *d, const DOUBLES *e2, int m, DOUBLES *largest) {
    const DOUBLES zero = {0};
    DOUBLES x;
    LEVEL(bound_eigenvalues)(d, e2, m, &x);
    MASK active = x > zero;
    for (int iteration = 0; iteration < 200; iteration++) {
        DOUBLES inverse = 1.0 / (x - d[0]), r = inverse, s = zero, s1 = r, s2 = r * r;
        active &= x > d[0];
        for (int i = 1; i < m; i++) {
            const DOUBLES ratio = e2[i] * inverse, q = x - d[i] - ratio;
            active &= q > zero; /* else: at the root, up to rounding */
            inverse = 1.0 / q;
            s = ratio * (s - 2.0 * r * r) * inverse;
            r = (1.0 + ratio * r) * inverse;
            s1 += r;
            s2 += r * r - s;
        }
        DOUBLES spread = (m - 1.0) * (m * s2 - s1 * s1);
        spread = PICK(spread > zero, spread, zero);
        LEVEL(take_root)(&spread);
        const DOUBLES step = m / (s1 + spread);
        active &= step > zero;
        x -= PICK(active, step, zero);
        active &= step > 1e-9 * x; /* what is left after such a step is smaller still */
        int64_t any = 0;
        for (int i = 0; i < LANES; i++) any |= active[i];
        if (!any) break;
    }
    *largest = PICK(x > zero, x, zero);
}

LEVEL_TARGET static void LEVEL(sigma_of_lanes)(const float *w, int n, int rows, int cols, bool more,
                                               DOUBLES *memory, double *sigma) {
    int m = rows < cols ? rows : cols;
    size_t per_channel = (size_t)rows * (size_t)cols;
    DOUBLES *g = memory, *d = g + (size_t)m * (size_t)m, *e2 = d + m, *v = e2 + m;
    double *sums = (double *)(v + m);
    for (int k = 0; k < LANES; k++) { /* lanes without a channel repeat the last one */
        const float *a = w + (size_t)(k < n ? k : n - 1) * per_channel;
        if (cols == TAPS && rows >= TAPS)
            LEVEL(gram_nine)(a, rows, k + 1 < n || more, g, k);
        else
            LEVEL(gram_plain)(a, rows, cols, m, sums, g, k);
    }
    LEVEL(tridiagonalise)(g, m, d, e2, v);
    DOUBLES s;
    LEVEL(find_largest_eigenvalue)(d, e2, m, &s);
    LEVEL(take_root)(&s);
    for (int k = 0; k < n; k++) sigma[k] = s[k];
}

/* memory: for MOST_LANES channels, whatever the level. */
LEVEL_TARGET static void LEVEL(sigma_of_all)(const float *w, int channels, int rows, int cols, void *memory,
                                             double *sigma) {
    const size_t per_channel = (size_t)rows * (size_t)cols;
    for (int k = 0; k < channels; k += LANES) {
        const int n = channels - k < LANES ? channels - k : LANES;
        LEVEL(sigma_of_lanes)
        (w + (size_t)k * per_channel, n, rows, cols, k + n < channels, memory, sigma + k);
    }
}
