/* Softmax against expf in double, within 1e-6; and where it has to be careful. */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>

static struct kernel_case *softmax(struct shape s, int32_t axis, int32_t flatten, float spread) {
    struct kernel_case *f = case_new(OP_SOFTMAX, 2);
    f->step.params.axis = (struct op_axis){axis, flatten};
    case_add(f, s);
    CU_ASSERT_FATAL(case_finish(f, false));
    for (uint32_t i = 0; i < 2; i++)
        for (int64_t k = 0; k < shape_elements(&s); k++) case_input(f, 0, i)[k] *= spread;
    return f;
}

static void compare(struct shape s, int32_t axis, int32_t flatten, float spread) {
    struct kernel_case *f = softmax(s, axis, flatten, spread);
    const int32_t end = flatten ? s.rank : axis + 1;
    const int64_t all = shape_elements(&s), n = shape_product(&s, axis, end),
                  inner = shape_product(&s, end, s.rank);
    float *got = case_run(f, ALG_DEFAULT), *expected = malloc((size_t)all * 2 * sizeof *expected);
    for (int64_t i = 0; expected && i < 2 * all; i++) {
        const int64_t at = i % all, first = at / (n * inner) * n * inner + at % inner;
        const float *x = case_input(f, 0, (uint32_t)(i / all));
        double sum = 0;
        for (int64_t k = 0; k < n; k++) sum += exp((double)x[first + k * inner] - x[at]);
        expected[i] = (float)(1 / sum);
    }
    CU_ASSERT(case_close("Softmax", got, expected, 2 * all, 1e-6f));
    free(got);
    free(expected);
    case_free(f);
}

static void test_axes(void) {
    static const float spreads[] = {1, 20, 500};
    for (size_t k = 0; k < 3; k++) {
        compare(SHAPE(1, 1000), 1, 0, spreads[k]);
        compare(SHAPE(1, 7), 1, 0, spreads[k]);
        compare(SHAPE(1, 1), 1, 0, spreads[k]);
        compare(SHAPE(1, 10, 1, 1), 1, 1, spreads[k]); /* SqueezeNet's, before opset 13 */
        compare(SHAPE(1, 10, 1, 1), 3, 0, spreads[k]);
        compare(SHAPE(2, 5, 3, 7), 1, 0, spreads[k]);
        compare(SHAPE(2, 5, 3, 7), 1, 1, spreads[k]);
        compare(SHAPE(2, 5, 6, 7), 0, 0, spreads[k]);
        compare(SHAPE(3, 19, 19), 2, 0, spreads[k]);
    }
}

static void fill(float *x, int n, float v) {
    for (int i = 0; i < n; i++) x[i] = v;
}

/* Huge scores do not overflow; one infinity or NaN makes its own vector NaN and no other. */
static void test_extremes(void) {
    struct kernel_case *f = softmax(SHAPE(4, 20), 1, 0, 1);
    float *x = case_input(f, 0, 0);
    fill(x, 20, 3e38f);
    fill(x + 20, 20, -INFINITY);
    x[39] = 5;
    x[47] = NAN;
    x[71] = INFINITY;
    float *got = case_run(f, ALG_DEFAULT);
    for (int i = 0; i < 20; i++) {
        CU_ASSERT_DOUBLE_EQUAL((double)got[i], 0.05, 1e-7);
        CU_ASSERT_DOUBLE_EQUAL((double)got[20 + i], i == 19, 1e-7);
        CU_ASSERT(isnan(got[40 + i]) && isnan(got[60 + i]));
    }
    for (int i = 80; i < 160; i++) CU_ASSERT(got[i] > 0 && got[i] < 1);
    free(got);
    case_free(f);
}

SUITE(kernels_softmax, {"every axis, flattened or not", test_axes},
      {"infinities, NaN, huge scores", test_extremes});
