/* Small matrix products. OpenBLAS 0.3.21 has special kernels for AVX-512 for
 * those of up to 100^3 multiply-adds, and these call malloc, which a request
 * must not. Larger ones take OpenBLAS's usual way, with buffers that it keeps, unless it is
 * behind the processor (blas.h).
 *
 *   B, a panel of 128 x 32 at a time, is packed (and turned, and padded)
 *   A is read as it lies, 8 rows at a time, or 4
 *   as many sums as there are registers for stay in them while k runs: 8 x 32, 4 x 16 or 4 x 8
 */
#include "infer/kernels_product.h"

#include "infer/layout.h"
#include "infer/simd_levels.h"

#include <string.h>

enum { ROWS = 8, COLS = 2 * SIMD_LANES, DEPTH = 128 };

bool product_is_small(const struct blas_product *p) {
    const int64_t most = 1000000; /* the bound in OpenBLAS */
    return p->m <= most && p->n <= most && p->k <= most && p->m * p->n <= most && p->m * p->n * p->k <= most;
}

struct panel {
    const float *b;      /* packed, or as it lies in the matrix */
    int64_t b_step;      /* floats from one row to the next */
    int64_t depth, cols; /* of it that are in use; where packed, the other columns are 0 */
    float packed[DEPTH][COLS];
};

/* Rows of A and C that are multiplied together; those past the last one repeat it, and are not stored. */
struct tile {
    const float *a[ROWS];
    int64_t a_step; /* floats from one k to the next */
    float *c;
    int64_t ldc, rows, cols;
    float alpha, beta;
};

/* Few rows of A use each row of B but a few times: then packing takes longer than it saves. */
enum { ROWS_WORTH_PACKING = 32 };

static void set_panel(const struct blas_product *p, int64_t k0, int64_t n0, struct panel *x) {
    const int64_t k_left = p->k - k0, n_left = p->n - n0;
    x->depth = k_left < DEPTH ? k_left : DEPTH;
    x->cols = n_left < COLS ? n_left : COLS;
    x->b = p->b + (p->trans_b ? n0 * p->ldb + k0 : k0 * p->ldb + n0);
    x->b_step = p->ldb;
    if (!p->trans_b && x->cols == COLS && p->m < ROWS_WORTH_PACKING) return;
    if (x->cols < COLS) memset(x->packed, 0, (size_t)x->depth * sizeof x->packed[0]);
    for (int64_t k = 0; k < x->depth; k++) {
        const float *row = x->b + (p->trans_b ? k : k * p->ldb);
        if (!p->trans_b) { /* the next panel's, whose rows lie too far apart for the processor to see it
                              coming */
            __builtin_prefetch((const void *)((uintptr_t)row + COLS * sizeof *row), 0, 2);
            __builtin_prefetch((const void *)((uintptr_t)row + (COLS + SIMD_LANES) * sizeof *row), 0, 2);
        }
        if (!p->trans_b && x->cols == COLS)
            memcpy(x->packed[k], row, sizeof x->packed[k]);
        else
            for (int64_t n = 0; n < x->cols; n++) x->packed[k][n] = row[p->trans_b ? n * p->ldb : n];
    }
    x->b = x->packed[0];
    x->b_step = COLS;
}

SIMD_INLINE void set_rows(const struct blas_product *p, int64_t m0, int64_t k0, struct tile *t) {
    t->rows = p->m - m0 < ROWS ? p->m - m0 : ROWS;
    for (int64_t r = 0; r < ROWS; r++) {
        const int64_t m = m0 + (r < t->rows ? r : t->rows - 1);
        t->a[r] = p->a + (p->trans_a ? k0 * p->lda + m : m * p->lda + k0);
    }
}

SIMD_INLINE struct tile tile_of(const struct blas_product *p, const struct panel *x, int64_t k0) {
    return (struct tile){.a_step = p->trans_a ? p->lda : 1,
                         .ldc = p->ldc,
                         .cols = x->cols,
                         .alpha = p->alpha,
                         .beta = k0 == 0 ? p->beta : 1};
}

/* --- AVX-512: 32 registers of 16 floats ----------------------------------------------------------- */
#if defined(__x86_64__)

/* c = alpha * sum + beta * c */
SIMD_INLINE void store_whole(const struct tile *t, float *c, const simd_f *sum) {
    if (t->beta == 0)
        *(simd_f_at *)c = t->alpha * *sum;
    else
        *(simd_f_at *)c = t->alpha * *sum + t->beta * *(const simd_f_at *)c;
}

/* The same at row `r` and column `at`, as far as these exist. */
SIMD_INLINE void store_part(const struct tile *t, int64_t r, int64_t at, const simd_f *sum) {
    if (r >= t->rows || at >= t->cols) return;
    const size_t n = (size_t)(t->cols - at < SIMD_LANES ? t->cols - at : SIMD_LANES);
    float *c = t->c + r * t->ldc + at, part[SIMD_LANES] = {0};
    memcpy(part, c, n * sizeof *c);
    store_whole(t, part, sum);
    memcpy(c, part, n * sizeof *c);
}

#define EIGHT(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define FOUR(DO)  DO(0) DO(1) DO(2) DO(3)
#define POINT(r)  const float *a##r = t->a[r];
#define ZERO(r)   simd_f s##r = {0};
#define ZERO_2(r) simd_f s##r = {0}, u##r = {0};
#define ADD(r)    s##r += v * a##r[i];
#define ADD_2(r)  s##r += v * a##r[i], u##r += w * a##r[i];
#define WHOLE(r)  store_whole(t, t->c + r * t->ldc + at, &s##r);
#define WHOLE_2(r)                                                                                           \
    store_whole(t, t->c + r * t->ldc, &s##r), store_whole(t, t->c + r * t->ldc + SIMD_LANES, &u##r);
#define PART(r)   store_part(t, r, at, &s##r);
#define PART_2(r) store_part(t, r, 0, &s##r), store_part(t, r, SIMD_LANES, &u##r);

/* N x 32, and N x 16 from column `at` on. */
#define DEFINE_TILES(N, EACH)                                                                                \
    SIMD_INLINE void multiply_##N##x32(const struct panel *x, const struct tile *t) {                        \
        const float *b = x->b;                                                                               \
        EACH(POINT)                                                                                          \
        EACH(ZERO_2) for (int64_t k = 0, i = 0; k < x->depth; k++, i += t->a_step, b += x->b_step) {         \
            const simd_f v = *(const simd_f_at *)b, w = *(const simd_f_at *)(b + SIMD_LANES);                \
            EACH(ADD_2)                                                                                      \
        }                                                                                                    \
        if (t->rows == N && t->cols == COLS) {                                                               \
            EACH(WHOLE_2)                                                                                    \
        } else {                                                                                             \
            EACH(PART_2)                                                                                     \
        }                                                                                                    \
    }                                                                                                        \
    SIMD_INLINE void multiply_##N##x16(const struct panel *x, const struct tile *t, int64_t at) {            \
        const float *b = x->b + at;                                                                          \
        EACH(POINT)                                                                                          \
        EACH(ZERO) for (int64_t k = 0, i = 0; k < x->depth; k++, i += t->a_step, b += x->b_step) {           \
            const simd_f v = *(const simd_f_at *)b;                                                          \
            EACH(ADD)                                                                                        \
        }                                                                                                    \
        if (t->rows == N && t->cols >= at + SIMD_LANES) {                                                    \
            EACH(WHOLE)                                                                                      \
        } else {                                                                                             \
            EACH(PART)                                                                                       \
        }                                                                                                    \
    }
DEFINE_TILES(8, EIGHT)
DEFINE_TILES(4, FOUR)

/* One tile as wide as the panel. */
SIMD_INLINE void multiply_wide(const struct panel *x, const struct tile *t) {
    const bool both = x->cols > SIMD_LANES;
    if (t->rows > 4 && both)
        multiply_8x32(x, t);
    else if (both)
        multiply_4x32(x, t);
    else if (t->rows > 4)
        multiply_8x16(x, t, 0);
    else
        multiply_4x16(x, t, 0);
}
#endif

/* --- levels ------------------------------------------------------------------------------------- */

/* With fewer or narrower registers, 4 rows at a time: 4 x 16 sums are 8 registers of AVX2 and 16 of NEON's
 * 32; without AVX, where there are 16 of four floats, 4 x 8. */
#define LEVEL(name) name##_128
#define LEVEL_TARGET
#define LEVEL_BYTES 16
#if defined(__aarch64__)
#define PRODUCT_COLS 16
#else
#define PRODUCT_COLS 8
#endif
#include "infer/kernels_product_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES
#undef PRODUCT_COLS

#if defined(__x86_64__)
#define LEVEL(name)  name##_256
#define LEVEL_TARGET SIMD_TARGET_256
#define LEVEL_BYTES  32
#define PRODUCT_COLS 16
#include "infer/kernels_product_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES
#undef PRODUCT_COLS

SIMD_TARGET_512 static void multiply_panel_512(const struct blas_product *p, const struct panel *x,
                                               int64_t k0, int64_t n0) {
    struct tile t = tile_of(p, x, k0);
    for (int64_t m0 = 0; m0 < p->m; m0 += ROWS) {
        set_rows(p, m0, k0, &t);
        t.c = p->c + m0 * p->ldc + n0;
        multiply_wide(x, &t);
    }
}
#endif

typedef void (*panel_fn)(const struct blas_product *p, const struct panel *x, int64_t k0, int64_t n0);

static panel_fn find_panel(void) {
#if defined(__x86_64__)
    if (simd_level() == SIMD_512) return multiply_panel_512;
    if (simd_level() == SIMD_256) return multiply_panel_256;
#endif
    return multiply_panel_128;
}

/* Columns [from, to); `from` begins a panel. */
static void run_columns(const struct blas_product *p, int64_t from, int64_t to) {
    const panel_fn multiply_panel = find_panel();
    struct panel x;
    for (int64_t n0 = from; n0 < to; n0 += COLS)
        for (int64_t k0 = 0; k0 < p->k; k0 += DEPTH) {
            set_panel(p, k0, n0, &x);
            multiply_panel(p, &x, k0, n0);
        }
}

void product_run(const struct blas_product *p) {
    run_columns(p, 0, p->n);
}

enum { PART_COLS = 2 * COLS };

static void run_part(const void *work, uint32_t part, uint32_t hand) {
    const struct blas_product *p = work;
    const int64_t from = (int64_t)part * PART_COLS, left = p->n - from;
    (void)hand;
    run_columns(p, from, from + (left < PART_COLS ? left : PART_COLS));
}

void product_run_shared(struct team_seat *seat, const struct blas_product *p) {
    team_run_all(seat, run_part, p, (p->n + PART_COLS - 1) / PART_COLS);
}
