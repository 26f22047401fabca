/* LayerNormalization against double, within 1e-5 of max(1, |value|). */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>

static void compare(struct shape s, int32_t axis, bool shift, float offset) {
    struct kernel_case *f = case_new(OP_LAYER_NORM, 2);
    struct shape rest = {.rank = s.rank - axis};
    for (int32_t d = axis; d < s.rank; d++) rest.dim[d - axis] = s.dim[d];
    const int64_t all = shape_elements(&s), n = shape_elements(&rest);
    f->step.params.norm = (struct op_norm){axis, 1e-5f};
    case_add(f, s);
    case_add_constant(f, rest);
    (shift ? case_add_constant : case_add)(f, rest);
    if (!shift) f->n_inputs--;
    CU_ASSERT_FATAL(case_finish(f, false));
    for (int64_t i = 0; i < 2 * all; i++) case_input(f, 0, (uint32_t)(i / all))[i % all] += offset;
    float *got = case_run(f, ALG_DEFAULT), *expected = malloc((size_t)all * 2 * sizeof *expected);
    for (int64_t r = 0; expected && r < 2 * all / n; r++) {
        const float *x = case_input(f, 0, (uint32_t)(r * n / all)) + r * n % all;
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < n; i++) mean += (double)x[i] / (double)n;
        for (int64_t i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean) / (double)n;
        for (int64_t i = 0; i < n; i++)
            expected[r * n + i] = (float)((x[i] - mean) / sqrt(variance + 1e-5) * case_input(f, 1, 0)[i] +
                                          (shift ? (double)case_input(f, 2, 0)[i] : 0));
    }
    /* Far from zero, inputs themselves have fewer digits after the mean is taken off. */
    CU_ASSERT(case_close("LayerNormalization", got, expected, 2 * all, offset > 1 ? 1e-3f : 1e-5f));
    free(got);
    free(expected);
    case_free(f);
}

static void test_shapes(void) {
    for (int shift = 0; shift < 2; shift++) {
        compare(SHAPE(1, 197, 96), 2, shift, 0);
        compare(SHAPE(1, 5, 7), 2, shift, 0);
        compare(SHAPE(2, 3, 5, 7), 2, shift, 0);
        compare(SHAPE(1, 33), 0, shift, 0);
        compare(SHAPE(1, 3, 768), 2, shift, 1000);
    }
}

static void test_constant_row(void) { /* variance 0: only epsilon keeps it from dividing by 0 */
    struct kernel_case *f = case_new(OP_LAYER_NORM, 1);
    f->step.params.norm = (struct op_norm){1, 1e-5f};
    case_add(f, SHAPE(1, 20));
    case_add_constant(f, SHAPE(20));
    CU_ASSERT_FATAL(case_finish(f, false));
    for (int i = 0; i < 20; i++) case_input(f, 0, 0)[i] = 3;
    float *got = case_run(f, ALG_DEFAULT);
    for (int i = 0; i < 20; i++) CU_ASSERT(fabsf(got[i]) < 1e-3f);
    free(got);
    case_free(f);
}

SUITE(kernels_norm, {"every axis, with and without shift", test_shapes},
      {"a row of equal values", test_constant_row});
