/* LRN, InstanceNormalization and Hardmax against plain loops in double. */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>

static void lrn(struct shape s, int32_t size, float alpha, float beta, float bias) {
    struct kernel_case *f = case_new(OP_LRN, 2);
    f->step.params.lrn = (struct op_lrn){size, alpha, beta, bias};
    case_add(f, s);
    CU_ASSERT_FATAL(case_finish(f, false));
    const int64_t n = shape_elements(&s), plane = shape_product(&s, 2, s.rank), channels = s.dim[1];
    float *got = case_run(f, ALG_DEFAULT), *want = malloc((size_t)n * 2 * sizeof *want);
    for (int64_t k = 0; want && k < 2 * n; k++) {
        const float *x = case_input(f, 0, (uint32_t)(k / n));
        const int64_t at = k % n, c = at / plane % channels;
        double sum = 0;
        for (int64_t j = c - (size - 1) / 2; j <= c + size / 2; j++) {
            const double v = j < 0 || j >= channels ? 0 : (double)x[at + (j - c) * plane];
            sum += v * v;
        }
        want[k] = (float)(x[at] / pow((double)bias + (double)alpha / size * sum, (double)beta));
    }
    CU_ASSERT(case_close("LRN", got, want, 2 * n, 1e-6f));
    free(got);
    free(want);
    case_free(f);
}

static void test_lrn(void) {
    lrn(SHAPE(1, 9, 5, 7), 5, 1e-4f, 0.75f, 1);
    lrn(SHAPE(2, 9, 5, 7), 3, 2, 0.5f, 0.1f);
    lrn(SHAPE(1, 4, 3, 3), 4, 1, 1, 2);
    lrn(SHAPE(1, 2, 19), 7, 1, 2, 1);
    lrn(SHAPE(3, 5), 1, 1, 0.75f, 1);
}

static void test_instance_norm(void) {
    const struct shape s = SHAPE(2, 3, 5, 7);
    struct kernel_case *f = case_new(OP_INSTANCE_NORM, 2);
    f->step.params.batch_norm.epsilon = 1e-3f;
    case_add_caller(f, s);
    case_add_constant(f, SHAPE(3));
    case_add_constant(f, SHAPE(3));
    CU_ASSERT_FATAL(case_finish(f, false));
    for (int i = 0; i < 210; i++) case_input(f, 0, 0)[i] += 100; /* a large mean must cost no digits */
    float *got = case_run(f, ALG_DEFAULT), want[420];
    for (int64_t r = 0; r < 12; r++) {
        const float *x = case_input(f, 0, (uint32_t)(r / 6)) + r % 6 * 35;
        double mean = 0, variance = 0;
        for (int i = 0; i < 35; i++) mean += (double)x[i] / 35;
        for (int i = 0; i < 35; i++) variance += ((double)x[i] - mean) * ((double)x[i] - mean) / 35;
        for (int i = 0; i < 35; i++)
            want[r * 35 + i] = (float)(((double)x[i] - mean) / sqrt(variance + (double)1e-3f) *
                                           (double)case_input(f, 1, 0)[r % 3] +
                                       (double)case_input(f, 2, 0)[r % 3]);
    }
    CU_ASSERT(case_close("InstanceNormalization", got, want, 420, 1e-5f));
    free(got);
    case_free(f);
}

static void test_hardmax(void) {
    for (int flatten = 0; flatten < 2; flatten++) {
        struct kernel_case *f = case_new(OP_HARDMAX, 1);
        f->step.params.axis = (struct op_axis){1, flatten};
        case_add(f, SHAPE(2, 3, 2));
        CU_ASSERT_FATAL(case_finish(f, false));
        const float x[] = {1, 5, 5, 2, 5, 5, -1, -2, -3, -2, -1, -4};
        for (int i = 0; i < 12; i++) case_input(f, 0, 0)[i] = x[i];
        const float by_axis[] = {0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0},
                    flat[] = {0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0};
        float *got = case_run(f, ALG_DEFAULT);
        CU_ASSERT(case_close("Hardmax", got, flatten ? flat : by_axis, 12, 0));
        free(got);
        case_free(f);
    }
}

static void test_rules(void) {
    const struct shape x = SHAPE(1, 3, 4), in[3] = {SHAPE(1, 3, 4), SHAPE(3), SHAPE(4)};
    struct shape out;
    const union op_params bad[] = {
        {.lrn = {0, 1, 1, 1}}, {.lrn = {INT32_MAX, 1, 1, 1}}, {.lrn = {3, NAN, 1, 1}}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT(op_check(OP_LRN, &bad[i], &x, 1, &out, NULL) != 0);
    CU_ASSERT(op_check(OP_INSTANCE_NORM, &(union op_params){0}, in, 3, &out, NULL) != 0);
}

SUITE(kernels_across, {"LRN", test_lrn}, {"InstanceNormalization", test_instance_norm},
      {"Hardmax", test_hardmax}, {"bad parameters", test_rules});
