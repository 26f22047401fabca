/* A few vectors times a matrix against plain loops in double: sizes around those of rows, groups and
 * strips, vectors with something between them; at every level of vector instructions; with helpers bit by bit
 * as without, and each vector as alone. Entries are in [-1, 1); sums of up to 300 terms differ by less than
 * 2e-5. */
#include "infer/kernels_vectors.h"

#include "tests/kernel_blocked.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 3 };
static unsigned seed = 1;

static float *random_floats(int64_t n) { /* ends with the last one: ASan sees more */
    float *x = malloc((size_t)n * sizeof *x);
    CU_ASSERT_PTR_NOT_NULL_FATAL(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)((seed = seed * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1;
    return x;
}

static bool is_right(const struct vectors_product *p, const float *before) {
    for (int64_t v = 0; v < p->vectors; v++)
        for (int64_t r = 0; r < p->rows; r++) {
            double sum = 0;
            for (int64_t k = 0; k < p->depth; k++)
                sum += (double)p->w[r * p->depth + k] * (double)p->x[v * p->x_step + k];
            sum = sum * (double)p->alpha + (double)before[v * p->out_step + r];
            if (!(fabs((double)p->out[v * p->out_step + r] - sum) <= 2e-5)) return false;
        }
    for (int64_t v = 0; v + 1 < p->vectors; v++) /* what lies between */
        if (memcmp(p->out + v * p->out_step + p->rows, before + v * p->out_step + p->rows,
                   (size_t)(p->out_step - p->rows) * sizeof(float)) != 0)
            return false;
    return true;
}

/* Vector `v` by itself gives the same bits. */
static bool is_as_alone(const struct vectors_product *p, const float *before, int64_t v) {
    struct vectors_product one = *p;
    float *out = malloc((size_t)p->rows * sizeof *out);
    if (!out) return false;
    memcpy(out, before + v * p->out_step, (size_t)p->rows * sizeof *out);
    one.x = p->x + v * p->x_step;
    one.out = out;
    one.vectors = 1;
    vectors_multiply(NULL, &one);
    const bool same = memcmp(out, p->out + v * p->out_step, (size_t)p->rows * sizeof *out) == 0;
    free(out);
    return same;
}

static void check(struct team_seat *seat, int64_t rows, int64_t depth, int64_t vectors) {
    struct vectors_product p = {.rows = rows,
                                .depth = depth,
                                .vectors = vectors,
                                .x_step = depth + GAP,
                                .out_step = rows + GAP,
                                .alpha = vectors % 2 ? 1 : -0.5f};
    const int64_t n_out = (vectors - 1) * p.out_step + rows;
    float *w = random_floats(rows * depth), *x = random_floats((vectors - 1) * p.x_step + depth);
    float *out = random_floats(n_out), *before = malloc((size_t)n_out * sizeof *before);
    CU_ASSERT_PTR_NOT_NULL_FATAL(before);
    memcpy(before, out, (size_t)n_out * sizeof *before);
    p.w = w;
    p.x = x;
    p.out = out;
    EACH_LEVEL(level) {
        memcpy(out, before, (size_t)n_out * sizeof *before);
        vectors_multiply(seat, &p);
        CU_ASSERT(is_right(&p, before));
        CU_ASSERT(is_as_alone(&p, before, vectors - 1));
    }
    free(w);
    free(x);
    free(out);
    free(before);
}

static void check_sizes(struct team_seat *seat) {
    static const int64_t rows[] = {1, 3, 4, 5, 32, 70}, depths[] = {1, 15, 16, 33, 300},
                         vectors[] = {1, 2, 4, 5, 9};
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 5; j++)
            for (size_t k = 0; k < 5; k++) check(seat, rows[i], depths[j], vectors[k]);
}

static void test_sizes(void) {
    check_sizes(NULL);
}

static void test_shared(void) {
    struct err e = {0};
    struct team *t = team_new(2, NULL, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    struct team_seat *seat = team_sit(t);
    team_begin(seat);
    check_sizes(seat);
    team_end(seat);
    team_leave(seat);
    team_free(t);
}

static void test_few(void) {
    CU_ASSERT(vectors_are_few(1));
    CU_ASSERT(vectors_are_few(8));
    CU_ASSERT_FALSE(vectors_are_few(INT32_MAX));
}

SUITE(kernels_vectors, {"sizes around the edges equal the plain loops", test_sizes},
      {"shared out, every row is computed once", test_shared}, {"what counts as few", test_few});
