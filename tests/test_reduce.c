/* infer/reduce: every reduction over every set of axes, against plain loops in double. */
#include "infer/reduce.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>

static double finish(enum op op, const double *x, int64_t n) {
    double sum = 0, squares = 0, all = 0, product = 1, most = -INFINITY, least = INFINITY, exps = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
        squares += x[i] * x[i];
        all += fabs(x[i]);
        product *= x[i];
        most = fmax(most, x[i]);
        least = fmin(least, x[i]);
        exps += exp(x[i]);
    }
    switch ((int)op) {
    case OP_REDUCE_MEAN: return sum / (double)n;
    case OP_REDUCE_SUM: return sum;
    case OP_REDUCE_MAX: return most;
    case OP_REDUCE_MIN: return least;
    case OP_REDUCE_PROD: return product;
    case OP_REDUCE_L1: return all;
    case OP_REDUCE_L2: return sqrt(squares);
    case OP_REDUCE_LOG_SUM: return log(sum);
    case OP_REDUCE_LOG_SUM_EXP: return log(exps);
    default: return squares;
    }
}

/* The elements that output `o` is made of. */
static int64_t collect(const struct shape *s, uint32_t axes, const float *x, int64_t o, double *out) {
    int64_t n = 0;
    for (int64_t k = 0; k < shape_elements(s); k++) {
        int64_t rest = k, at = 0, step = 1;
        for (int32_t d = s->rank - 1; d >= 0; d--) {
            if (!(axes >> d & 1)) {
                at += rest % s->dim[d] * step;
                step *= s->dim[d];
            }
            rest /= s->dim[d];
        }
        if (at == o) out[n++] = (double)x[k];
    }
    return n;
}

static void compare(const struct shape *s, uint32_t axes) {
    const int64_t all = shape_elements(s);
    float *x = malloc((size_t)all * sizeof *x), *out = malloc((size_t)all * sizeof *out);
    double *part = malloc((size_t)all * sizeof *part);
    uint64_t seed = axes + 1;
    CU_ASSERT_FATAL(x && out && part);
    for (int64_t i = 0; i < all; i++) x[i] = fixture_float(&seed, 0.2f, 1.5f);
    struct shape so;
    const union op_params p = {.reduce = {axes, 1}};
    CU_ASSERT_FATAL(op_check(OP_REDUCE_SUM, &p, s, 1, &so, NULL) == 0);
    for (int op = OP_REDUCE_FIRST; op <= OP_REDUCE_LAST; op++) {
        reduce_run((enum op)op, axes, s, x, out);
        for (int64_t o = 0; o < shape_elements(&so); o++) {
            const double want = finish((enum op)op, part, collect(s, axes, x, o, part));
            CU_ASSERT_DOUBLE_EQUAL((double)out[o], want, 1e-6 * fmax(1, fabs(want)));
        }
    }
    free(x);
    free(out);
    free(part);
}

static void test_all_axes(void) {
    const struct shape shapes[] = {SHAPE(2, 3, 4, 5), SHAPE(1, 7, 1, 33), SHAPE(3, 70), SHAPE(19),
                                   SHAPE(2, 1, 3, 2, 1, 4)};
    for (size_t k = 0; k < COUNT_OF(shapes); k++)
        for (uint32_t axes = 1; axes < 1u << shapes[k].rank; axes++) compare(&shapes[k], axes);
}

static void test_extremes(void) {
    const struct shape s = SHAPE(4);
    float out, x[] = {1000, 1001, 999, -5};
    reduce_run(OP_REDUCE_LOG_SUM_EXP, 1, &s, x, &out);
    CU_ASSERT_DOUBLE_EQUAL((double)out, 1001.4076059, 1e-3);
    const float low[] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    reduce_run(OP_REDUCE_LOG_SUM_EXP, 1, &s, low, &out);
    CU_ASSERT_EQUAL(out, -INFINITY);
    x[2] = NAN;
    for (int op = OP_REDUCE_FIRST; op <= OP_REDUCE_LAST; op++) {
        reduce_run((enum op)op, 1, &s, x, &out);
        CU_ASSERT(isnan(out));
    }
}

static void test_rules(void) {
    const struct shape s = SHAPE(2, 3);
    struct shape out;
    const union op_params keep = {.reduce = {2, 1}}, drop = {.reduce = {3, 0}};
    CU_ASSERT(op_check(OP_REDUCE_MAX, &keep, &s, 1, &out, NULL) == 0 && shape_equal(&out, &SHAPE(2, 1)));
    CU_ASSERT(op_check(OP_REDUCE_MAX, &drop, &s, 1, &out, NULL) == 0 && out.rank == 0);
    const union op_params bad[] = {
        {.reduce = {0, 1}}, {.reduce = {4, 1}}, {.reduce = {1, 2}}, {.reduce = {UINT32_MAX, 0}}};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        CU_ASSERT(op_check(OP_REDUCE_MAX, &bad[i], &s, 1, &out, NULL) != 0);
}

SUITE(reduce, {"every reduction over every set of axes", test_all_axes},
      {"huge, infinite and missing numbers", test_extremes}, {"bad parameters", test_rules});
