/* Convolutions by products against the plain loops, over sizes, edges, strides,
 * dilations, groups and batches. Inputs and weights are in [-1, 1); sums of up
 * to 1,200 terms differ by less than 5e-5 of max(1, |value|). */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include "infer/algorithm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 5e-5f

struct geometry {
    int64_t images, channels, height, width, filters;
    int32_t groups, kernel[2], stride[2], dilation[2], begin[2], end[2];
};

static const struct geometry geometries[] = {
    {1, 3, 9, 11, 5, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 3, 9, 11, 5, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {1, 3, 40, 37, 8, 1, {7, 7}, {2, 2}, {1, 1}, {3, 3}, {3, 3}},
    {1, 4, 8, 8, 6, 2, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 6, 8, 7, 9, 3, {3, 2}, {2, 1}, {1, 2}, {2, 0}, {0, 1}},
    {1, 2, 13, 17, 3, 1, {3, 5}, {1, 1}, {2, 3}, {2, 6}, {2, 6}},
    {1, 2, 13, 17, 3, 1, {1, 7}, {1, 1}, {1, 1}, {0, 3}, {0, 3}},
    {1, 2, 17, 13, 3, 1, {7, 1}, {1, 1}, {1, 1}, {3, 0}, {3, 0}},
    {1, 2, 7, 7, 3, 1, {7, 7}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 2, 5, 5, 3, 1, {3, 3}, {3, 3}, {1, 1}, {0, 2}, {2, 0}},
    {1, 2, 2, 2, 3, 1, {3, 3}, {1, 1}, {1, 1}, {3, 4}, {4, 3}}, /* windows in the padding alone */
    {1, 1, 1, 1, 1, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 5, 6, 7, 4, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 5, 6, 7, 4, 1, {1, 1}, {2, 2}, {1, 1}, {0, 0}, {0, 0}},
    {1, 5, 6, 7, 4, 1, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 6, 50, 50, 4, 2, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, /* several blocks */
    {3, 4, 7, 7, 6, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {3, 4, 7, 7, 6, 2, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 24, 33, 35, 16, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, /* blocks that start amid a row */
    {1, 128, 9, 9, 4, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 3, 33, 35, 40, 1, {5, 5}, {4, 4}, {1, 1}, {2, 2}, {2, 2}},
};

static struct op_window window_of(const struct geometry *g, int spatial) {
    struct op_window w = {.spatial = spatial,
                          .groups = g->groups,
                          .kernel = {1, 1, 1},
                          .stride = {1, 1, 1},
                          .dilation = {1, 1, 1}};
    for (int d = 2 - spatial; d < 2; d++) {
        w.kernel[d + 1] = g->kernel[d];
        w.stride[d + 1] = g->stride[d];
        w.dilation[d + 1] = g->dilation[d];
        w.pad_begin[d + 1] = g->begin[d];
        w.pad_end[d + 1] = g->end[d];
    }
    return w;
}

/* variant: bit 0 bias, 1 residual, 2 Relu, 3 Clip, 4 input from the caller, 5 LeakyRelu */
static struct kernel_case *convolution(const struct geometry *g, unsigned variant, uint32_t items) {
    struct kernel_case *f = case_new(OP_CONV, items);
    f->step.params.window = window_of(g, 2);
    (variant & 16 ? case_add_caller : case_add)(f, SHAPE(g->images, g->channels, g->height, g->width));
    case_add_constant(f, SHAPE(g->filters, g->channels / g->groups, g->kernel[0], g->kernel[1]));
    if (variant & 1) case_add_constant(f, SHAPE(g->filters));
    if (variant & 4) f->step.activation = ACT_RELU;
    if (variant & 8) {
        f->step.activation = ACT_CLIP;
        f->step.act_min = -0.5f;
        f->step.act_max = 0.75f;
    }
    if (variant & 32) {
        f->step.activation = ACT_FUNCTION;
        f->step.act_op = OP_LEAKY_RELU;
        f->step.act_params.alpha = 0.25f;
    }
    if (case_finish(f, variant & 2)) return f;
    case_free(f);
    return NULL;
}

static void compare(struct kernel_case *f, uint32_t algorithm, const char *what) {
    float *expected = case_run(f, ALG_CONV_REFERENCE), *got = case_run(f, algorithm);
    if (expected && got) CU_ASSERT(case_close(what, got, expected, case_outputs(f), TOLERANCE));
    free(expected);
    free(got);
}

static void compare_all(uint32_t algorithm) {
    static const unsigned variants[] = {0, 1, 3, 5, 11, 16 + 7, 32 + 3};
    static const uint32_t items[] = {1, 2, 7};
    int ran = 0;
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++)
        for (size_t v = 0; v < sizeof variants / sizeof *variants; v++)
            for (size_t n = 0; n < 3; n++) {
                char what[80];
                struct kernel_case *f = convolution(&geometries[i], variants[v], items[n]);
                CU_ASSERT_FATAL(f != NULL);
                (void)snprintf(what, sizeof what, "%s, geometry %zu, variant %u, %u items",
                               algorithm_name(algorithm), i, variants[v], items[n]);
                ran += algorithm_fits(algorithm, OP_CONV, &f->step.params, f->shapes, 2, &f->out.t->shape);
                compare(f, algorithm, what);
                case_free(f);
            }
    CU_ASSERT(ran > 50);
}

static void test_im2col(void) {
    compare_all(ALG_CONV_IM2COL);
}
static void test_pointwise(void) {
    compare_all(ALG_CONV_POINTWISE);
}

/* The plain loops themselves, against numbers worked out by hand. */
static void test_by_hand(void) {
    const struct geometry g = {1, 1, 3, 3, 1, 1, {2, 2}, {1, 1}, {1, 1}, {0, 0}, {1, 1}};
    struct kernel_case *f = convolution(&g, 1, 1);
    CU_ASSERT_FATAL(f != NULL);
    for (int i = 0; i < 9; i++) case_input(f, 0, 0)[i] = (float)(i + 1);
    const float w[4] = {1, 10, 100, 1000}, bias = 0.5f;
    const float expected[9] = {5421.5f, 6532.5f, 603.5f, 8754.5f, 9865.5f, 906.5f, 87.5f, 98.5f, 9.5f};
    memcpy(case_input(f, 1, 0), w, sizeof w);
    *case_input(f, 2, 0) = bias;
    for (uint32_t a = ALG_CONV_REFERENCE; a <= ALG_CONV_IM2COL; a++) {
        float *out = case_run(f, a);
        CU_ASSERT(out && case_close("by hand", out, expected, 9, 0));
        free(out);
    }
    case_free(f);
}

/* One axis is a picture of height 1. */
static void test_one_axis(void) {
    const struct geometry g = {1, 6, 1, 31, 4, 2, {1, 5}, {1, 2}, {1, 2}, {0, 3}, {0, 1}};
    struct kernel_case *f = case_new(OP_CONV, 3);
    f->step.params.window = window_of(&g, 1);
    case_add(f, SHAPE(1, 6, 31));
    case_add_constant(f, SHAPE(4, 3, 5));
    CU_ASSERT_FATAL(case_finish(f, false));
    compare(f, ALG_CONV_IM2COL, "one axis");
    case_free(f);
}

/* A volume through the plain loops equals the sum of its slices' convolutions. */
static void test_volume(void) {
    struct kernel_case *f = case_new(OP_CONV, 1);
    f->step.params.window = (struct op_window){.spatial = 3,
                                               .groups = 1,
                                               .kernel = {2, 3, 3},
                                               .stride = {1, 2, 1},
                                               .dilation = {1, 1, 1},
                                               .pad_begin = {0, 1, 1},
                                               .pad_end = {0, 1, 1}};
    case_add(f, SHAPE(1, 1, 2, 6, 5));
    case_add_constant(f, SHAPE(2, 1, 2, 3, 3));
    CU_ASSERT_FATAL(case_finish(f, false));
    float *volume = case_run(f, ALG_CONV_REFERENCE), sum[30] = {0};
    CU_ASSERT_PTR_NULL(case_run(f, ALG_CONV_IM2COL));
    for (int z = 0; z < 2; z++) {
        const struct geometry g = {1, 1, 6, 5, 2, 1, {3, 3}, {2, 1}, {1, 1}, {1, 1}, {1, 1}};
        struct kernel_case *slice = convolution(&g, 0, 1);
        memcpy(case_input(slice, 0, 0), case_input(f, 0, 0) + z * 30, 30 * sizeof(float));
        for (int m = 0; m < 2; m++)
            memcpy(case_input(slice, 1, 0) + m * 9, case_input(f, 1, 0) + m * 18 + z * 9, 9 * sizeof(float));
        float *part = case_run(slice, ALG_CONV_IM2COL);
        for (int i = 0; i < 30; i++) sum[i] += part[i];
        free(part);
        case_free(slice);
    }
    CU_ASSERT(case_outputs(f) == 30 && case_close("volume", volume, sum, 30, TOLERANCE));
    free(volume);
    case_free(f);
}

/* A residual may be the output itself, though the planner does not place it so. */
static void test_residual_in_place(void) {
    const struct geometry g = {1, 5, 20, 21, 7, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    struct kernel_case *f = convolution(&g, 7, 1);
    CU_ASSERT_FATAL(f != NULL);
    float *expected = case_run(f, ALG_CONV_REFERENCE);
    const size_t bytes = (size_t)case_outputs(f) * sizeof(float);
    memcpy(f->out.base, f->residual.base, bytes);
    float scratch[45 * 1024];
    const struct kernel_call call = {.step = &f->step,
                                     .n_items = 1,
                                     .n_inputs = f->n_inputs,
                                     .in = f->in,
                                     .residual = f->out,
                                     .out = f->out,
                                     .scratch = scratch};
    f->step.algorithm = ALG_CONV_IM2COL;
    kernel_find(OP_CONV, ALG_CONV_IM2COL)(&call);
    CU_ASSERT(case_close("in place", f->out.base, expected, case_outputs(f), TOLERANCE));
    free(expected);
    case_free(f);
}

/* NaN and infinity go where arithmetic takes them and nowhere else. */
static void test_not_finite(void) {
    const struct geometry g = {1, 2, 9, 9, 3, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    struct kernel_case *f = convolution(&g, 5, 1);
    CU_ASSERT_FATAL(f != NULL);
    case_input(f, 0, 0)[4 * 9 + 4] = NAN;
    case_input(f, 0, 0)[0] = INFINITY;
    float *expected = case_run(f, ALG_CONV_REFERENCE), *got = case_run(f, ALG_CONV_IM2COL);
    CU_ASSERT(case_close("not finite", got, expected, case_outputs(f), TOLERANCE));
    CU_ASSERT(isnan(got[4 * 9 + 4]) && !isnan(got[7 * 9 + 7]));
    free(expected);
    free(got);
    case_free(f);
}

SUITE(kernels_conv, {"convolution of numbers worked out by hand", test_by_hand},
      {"im2col equals the plain loops", test_im2col}, {"pointwise equals the plain loops", test_pointwise},
      {"one spatial axis", test_one_axis}, {"a volume is the sum of its slices", test_volume},
      {"the residual may be the output", test_residual_in_place}, {"NaN and infinity", test_not_finite});
