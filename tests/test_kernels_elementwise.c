/* Elementwise operators against plain loops, exactly. */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Element of `s` that broadcasting pairs with element `i` of `out`. */
static int64_t paired(const struct shape *s, const struct shape *out, int64_t i) {
    int64_t at = 0, step = 1;
    for (int32_t d = 0; d < out->rank; d++) {
        const int64_t n = out->dim[out->rank - 1 - d], k = i % n;
        i /= n;
        if (d >= s->rank) continue;
        const int64_t mine = s->dim[s->rank - 1 - d];
        at += mine == 1 ? 0 : k * step;
        step *= mine;
    }
    return at;
}

static void compare(enum op op, struct shape a, struct shape b, bool constant, uint32_t activation) {
    struct kernel_case *f = case_new(op, 3);
    case_add(f, a);
    (constant ? case_add_constant : case_add_caller)(f, b);
    f->step.activation = activation;
    f->step.act_min = -0.25f;
    f->step.act_max = 0.5f;
    f->step.act_op = OP_LEAKY_RELU;
    f->step.act_params.alpha = 0.5f; /* exact */
    CU_ASSERT_FATAL(case_finish(f, false));
    const struct shape *out = &f->out.t->shape;
    const int64_t n = shape_elements(out);
    float *got = case_run(f, ALG_DEFAULT), *expected = malloc((size_t)n * 3 * sizeof *expected);
    for (int64_t i = 0; expected && i < 3 * n; i++) {
        const float x = case_input(f, 0, (uint32_t)(i / n))[paired(&a, out, i % n)];
        const float y = case_input(f, 1, (uint32_t)(i / n))[paired(&b, out, i % n)];
        const float v = op == OP_ADD ? x + y : x * y;
        expected[i] = activation == ACT_NONE       ? v
                      : activation == ACT_RELU     ? fmaxf(v, 0)
                      : activation == ACT_FUNCTION ? (v < 0 ? v / 2 : v)
                                                   : fminf(fmaxf(v, -0.25f), 0.5f);
    }
    CU_ASSERT(case_close(op == OP_ADD ? "Add" : "Mul", got, expected, 3 * n, 0));
    free(got);
    free(expected);
    case_free(f);
}

static void compare_shapes(enum op op) {
    const struct shape pairs[][2] = {
        {SHAPE(1, 3, 5, 7), SHAPE(1, 3, 5, 7)},
        {SHAPE(1, 3, 5, 7), SHAPE(3, 1, 1)},
        {SHAPE(1, 3, 1, 1), SHAPE(1, 3, 9, 33)},
        {SHAPE(1, 3, 5, 7), SHAPE(1)},
        {SHAPE(1, 3, 5, 7), (struct shape){0}},
        {(struct shape){0}, (struct shape){0}},
        {SHAPE(1), SHAPE(1, 1, 1, 1)},
        {SHAPE(1, 3, 5, 7), SHAPE(7)},
        {SHAPE(4, 1, 6, 1), SHAPE(5, 1, 7)},
        {SHAPE(2, 1, 3, 1, 2, 1, 3, 1), SHAPE(1, 2, 1, 3, 1, 2, 1, 3)},
        {SHAPE(1, 1000), SHAPE(1000)},
        {SHAPE(17, 1), SHAPE(1, 19)},
        {SHAPE(2, 3, 4, 5), SHAPE(2, 1, 4, 1)},
        {SHAPE(64), SHAPE(3, 64)},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (uint32_t activation = ACT_NONE; activation < ACT_COUNT; activation++) {
            compare(op, pairs[i][0], pairs[i][1], true, activation);
            compare(op, pairs[i][0], pairs[i][1], false, activation);
        }
}

static void test_add(void) {
    compare_shapes(OP_ADD);
}
static void test_mul(void) {
    compare_shapes(OP_MUL);
}

static void test_bounds(void) {
    for (int clip = 0; clip < 2; clip++) {
        struct kernel_case *f = case_new(clip ? OP_CLIP : OP_RELU, 2);
        case_add_caller(f, SHAPE(1, 5, 11));
        if (clip) f->step.params.clip = (struct op_clip){-INFINITY, 0.25f};
        CU_ASSERT_FATAL(case_finish(f, false));
        case_input(f, 0, 1)[3] = NAN;
        case_input(f, 0, 1)[20] = INFINITY;
        case_input(f, 0, 1)[54] = -INFINITY;
        float *got = case_run(f, ALG_DEFAULT), expected[110];
        for (int i = 0; i < 110; i++) {
            const float x = case_input(f, 0, (uint32_t)i / 55)[i % 55];
            expected[i] = isnan(x) ? x : clip ? fminf(x, 0.25f) : fmaxf(x, 0);
        }
        CU_ASSERT(case_close(clip ? "Clip" : "Relu", got, expected, 110, 0));
        free(got);
        case_free(f);
    }
}

static void test_batch_norm(void) {
    const struct shape shapes[] = {SHAPE(2, 3, 5, 7), SHAPE(1, 33), SHAPE(1, 4, 40), SHAPE(1, 2, 3, 4, 5)};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
        for (uint32_t act = ACT_NONE; act <= ACT_RELU; act++) {
            struct kernel_case *f = case_new(OP_BATCH_NORM, 2);
            const struct shape *s = &shapes[k];
            const int64_t n = shape_elements(s), plane = shape_product(s, 2, s->rank);
            case_add(f, *s);
            case_add_constant(f, SHAPE(s->dim[1]));
            case_add_constant(f, SHAPE(s->dim[1]));
            f->step.activation = act;
            CU_ASSERT_FATAL(case_finish(f, false));
            float *got = case_run(f, ALG_DEFAULT), *expected = malloc((size_t)n * 2 * sizeof *expected);
            for (int64_t i = 0; expected && i < 2 * n; i++) {
                const int64_t c = i % n / plane % s->dim[1];
                const double v = (double)case_input(f, 0, (uint32_t)(i / n))[i % n] * case_input(f, 1, 0)[c] +
                                 case_input(f, 2, 0)[c];
                expected[i] = (float)(act == ACT_RELU ? fmax(v, 0) : v);
            }
            CU_ASSERT(case_close("BatchNormalization", got, expected, 2 * n, 2e-7f)); /* fused or not */
            free(got);
            free(expected);
            case_free(f);
        }
}

static void test_copy(void) {
    for (int reshape = 0; reshape < 2; reshape++) {
        struct kernel_case *f = case_new(reshape ? OP_RESHAPE : OP_IDENTITY, 3);
        case_add_caller(f, SHAPE(1, 6, 5));
        if (reshape) f->step.params.reshape.target = SHAPE(1, 30);
        CU_ASSERT_FATAL(case_finish(f, false));
        float *got = case_run(f, ALG_DEFAULT);
        for (uint32_t i = 0; i < 3; i++)
            CU_ASSERT(memcmp(got + i * 30, case_input(f, 0, i), 30 * sizeof(float)) == 0);
        free(got);
        case_free(f);
    }
}

SUITE(kernels_elementwise, {"Add broadcasts as NumPy does", test_add},
      {"Mul broadcasts as NumPy does", test_mul}, {"Relu and Clip; NaN stays NaN", test_bounds},
      {"scale and shift per channel", test_batch_norm}, {"Identity and Reshape", test_copy});
