/* Small products against plain loops in double: every transpose, sizes around
 * those of tiles and panels, padded rows, at every level of vector instructions. Entries are in [-1, 1); sums
 * of up to 300 terms differ by less than 2e-5 of max(1, |value|). */
#include "infer/kernels_product.h"

#include "tests/kernel_blocked.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static unsigned seed = 1;

static float *random_matrix(int64_t rows, int64_t cols,
                            int64_t ld) { /* ends with its last row: ASan sees more */
    const int64_t n = (rows - 1) * ld + cols;
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; x && i < n; i++)
        x[i] = (float)((seed = seed * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1;
    return x;
}

static bool is_right(const struct blas_product *p, const float *before) {
    for (int64_t m = 0; m < p->m; m++)
        for (int64_t n = 0; n < p->n; n++) {
            double sum = 0;
            for (int64_t k = 0; k < p->k; k++)
                sum += (double)p->a[p->trans_a ? k * p->lda + m : m * p->lda + k] *
                       (double)p->b[p->trans_b ? n * p->ldb + k : k * p->ldb + n];
            sum *= (double)p->alpha;
            if (p->beta != 0) sum += (double)p->beta * (double)before[m * p->ldc + n];
            if (!(fabs((double)p->c[m * p->ldc + n] - sum) <= 2e-5 * fmax(1, fabs(sum)))) return false;
        }
    for (int64_t m = 0; m + 1 < p->m; m++) /* what lies between rows */
        for (int64_t n = p->n; n < p->ldc; n++)
            if (p->c[m * p->ldc + n] != before[m * p->ldc + n]) return false;
    return true;
}

static struct team_seat *seat;

static void check(int64_t m, int64_t n, int64_t k, int variant) {
    const bool ta = variant & 1, tb = variant & 2;
    const int64_t pad = variant & 4 ? 5 : 0;
    struct blas_product p = {.trans_a = ta,
                             .trans_b = tb,
                             .m = m,
                             .n = n,
                             .k = k,
                             .alpha = variant & 8 ? 0.5f : 1,
                             .beta = variant & 16  ? 0
                                     : variant & 8 ? -2
                                                   : 1,
                             .lda = (ta ? m : k) + pad,
                             .ldb = (tb ? k : n) + pad,
                             .ldc = n + pad};
    float *a = random_matrix(ta ? k : m, ta ? m : k, p.lda),
          *b = random_matrix(tb ? n : k, tb ? k : n, p.ldb);
    float *c = random_matrix(m, n, p.ldc), *before = malloc((size_t)((m - 1) * p.ldc + n) * sizeof *before);
    CU_ASSERT_FATAL(a && b && c && before);
    p.a = a;
    p.b = b;
    p.c = c;
    if (p.beta == 0)
        for (int64_t r = 0; r < m; r++) c[r * p.ldc] = NAN; /* not to be read */
    memcpy(before, c, (size_t)((m - 1) * p.ldc + n) * sizeof *before);
    EACH_LEVEL(level) {
        memcpy(c, before, (size_t)((m - 1) * p.ldc + n) * sizeof *c);
        product_run(&p);
        CU_ASSERT(is_right(&p, before));
    }
    memcpy(c, before, (size_t)((m - 1) * p.ldc + n) * sizeof *c);
    product_run(&p);
    float *alone = malloc((size_t)((m - 1) * p.ldc + n) * sizeof *alone);
    CU_ASSERT_PTR_NOT_NULL_FATAL(alone);
    memcpy(alone, c, (size_t)((m - 1) * p.ldc + n) * sizeof *c);
    memcpy(c, before, (size_t)((m - 1) * p.ldc + n) * sizeof *c);
    product_run_shared(seat, &p); /* whoever helps: the same floats */
    CU_ASSERT(memcmp(c, alone, (size_t)((m - 1) * p.ldc + n) * sizeof *c) == 0);
    free(alone);
    memcpy(c, before, (size_t)((m - 1) * p.ldc + n) * sizeof *c);
    blas_sgemm(&p); /* whichever way that takes */
    CU_ASSERT(is_right(&p, before));
    free(a);
    free(b);
    free(c);
    free(before);
}

static void test_sizes(void) {
    static const int64_t ms[] = {1, 3, 4, 5, 8, 11, 33}, ns[] = {1, 2, 15, 16, 17, 32, 33, 49, 70},
                         ks[] = {1, 2, 27, 128, 129, 300};
    int variant = 0;
    struct err e = {0};
    struct team *team = team_new(1, NULL, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(team);
    seat = team_sit(team);
    team_begin(seat);
    blas_init();
    for (size_t i = 0; i < 7; i++)
        for (size_t j = 0; j < 9; j++)
            for (size_t l = 0; l < 6; l++)
                for (int v = 0; v < 4; v++) check(ms[i], ns[j], ks[l], (variant += 5) & 31);
    team_end(seat);
    team_leave(seat);
    team_free(team);
}

static void test_small(void) {
    struct blas_product p = {.m = 100, .n = 100, .k = 100};
    CU_ASSERT(product_is_small(&p));
    p.k = 101;
    CU_ASSERT_FALSE(product_is_small(&p));
    p = (struct blas_product){.m = INT32_MAX, .n = INT32_MAX, .k = INT32_MAX}; /* no overflow */
    CU_ASSERT_FALSE(product_is_small(&p));
    p = (struct blas_product){.m = 1, .n = 1, .k = 1000000};
    CU_ASSERT(product_is_small(&p));
}

SUITE(kernels_product, {"every transpose and size equals the plain loops", test_sizes},
      {"what counts as small", test_small});
