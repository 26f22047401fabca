/* Depthwise convolutions against the plain loops. Inputs and weights are in
 * [-1, 1); sums of up to 81 terms differ by less than 1e-5 of max(1, |value|). */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>

#define TOLERANCE 1e-5f

struct geometry {
    int64_t images, channels, height, width, multiplier;
    int32_t kernel[2], stride[2], dilation[2], begin[2], end[2];
};

static const struct geometry geometries[] = {
    {1, 3, 7, 7, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 3, 14, 14, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {1, 2, 15, 33, 1, {3, 3}, {2, 2}, {1, 1}, {0, 0}, {1, 1}},
    {1, 2, 30, 70, 1, {5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}},
    {1, 2, 30, 67, 1, {5, 5}, {2, 2}, {1, 1}, {2, 2}, {2, 2}},
    {1, 2, 9, 48, 1, {7, 7}, {1, 1}, {1, 1}, {3, 3}, {3, 3}},
    {1, 4, 12, 16, 1, {3, 3}, {1, 1}, {2, 2}, {2, 2}, {2, 2}},
    {1, 2, 19, 23, 1, {4, 2}, {3, 2}, {2, 3}, {0, 4}, {5, 1}},
    {1, 2, 19, 23, 1, {1, 9}, {1, 3}, {1, 2}, {0, 7}, {0, 9}},
    {1, 2, 19, 23, 1, {9, 1}, {4, 1}, {2, 1}, {7, 0}, {9, 0}},
    {1, 2, 2, 2, 1, {3, 3}, {1, 1}, {1, 1}, {3, 4}, {4, 3}}, /* windows in the padding alone */
    {1, 2, 1, 1, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {2, 3, 8, 17, 2, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, /* two filters per channel */
    {1, 2, 5, 150, 1, {3, 64}, {1, 1}, {1, 1}, {1, 31}, {1, 32}},
    {1, 2, 5, 40, 1, {3, 3}, {5, 7}, {1, 1}, {1, 1}, {1, 1}},
};

static struct kernel_case *depthwise(const struct geometry *g, unsigned variant, uint32_t items) {
    struct kernel_case *f = case_new(OP_CONV, items);
    struct op_window *w = &f->step.params.window;
    *w = (struct op_window){
        .spatial = 2, .groups = (int32_t)g->channels, .kernel = {1}, .stride = {1}, .dilation = {1}};
    for (int d = 0; d < 2; d++) {
        w->kernel[d + 1] = g->kernel[d];
        w->stride[d + 1] = g->stride[d];
        w->dilation[d + 1] = g->dilation[d];
        w->pad_begin[d + 1] = g->begin[d];
        w->pad_end[d + 1] = g->end[d];
    }
    (variant & 8 ? case_add_caller : case_add)(f, SHAPE(g->images, g->channels, g->height, g->width));
    case_add_constant(f, SHAPE(g->channels * g->multiplier, 1, g->kernel[0], g->kernel[1]));
    if (variant & 1) case_add_constant(f, SHAPE(g->channels * g->multiplier));
    f->step.activation = variant & 4 ? ACT_CLIP : ACT_NONE;
    f->step.act_min = variant & 4 ? 0 : 0;
    f->step.act_max = variant & 4 ? 0.6f : 0;
    if (case_finish(f, variant & 2)) return f;
    case_free(f);
    return NULL;
}

static void test_all(void) {
    static const unsigned variants[] = {0, 1, 2, 7, 8 + 5};
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++)
        for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
            char what[80];
            struct kernel_case *f = depthwise(&geometries[i], variants[v], 1 + (uint32_t)v);
            CU_ASSERT_FATAL(f != NULL);
            (void)snprintf(what, sizeof what, "depthwise, geometry %zu, variant %u", i, variants[v]);
            float *expected = case_run(f, ALG_CONV_REFERENCE), *got = case_run(f, ALG_CONV_DEPTHWISE);
            CU_ASSERT_FATAL(got != NULL);
            CU_ASSERT(case_close(what, got, expected, case_outputs(f), TOLERANCE));
            free(expected);
            free(got);
            case_free(f);
        }
}

/* What is no depthwise convolution, or would need much memory for its phases, is not taken. */
static void test_refusals(void) {
    struct geometry g = geometries[0];
    g.kernel[1] = 65;
    g.begin[1] = g.end[1] = 40;
    struct kernel_case *wide = depthwise(&g, 0, 1);
    CU_ASSERT_FATAL(wide != NULL);
    CU_ASSERT_PTR_NULL(case_run(wide, ALG_CONV_DEPTHWISE));
    case_free(wide);

    g = (struct geometry){1, 2, 40000, 1, 1, {1, 1}, {1, 32768}, {1, 1}, {0, 0}, {0, 0}};
    struct kernel_case *sparse = depthwise(&g, 0, 1); /* 16 columns of 32768 phases per row */
    CU_ASSERT_FATAL(sparse != NULL);
    CU_ASSERT_PTR_NULL(case_run(sparse, ALG_CONV_DEPTHWISE));
    case_free(sparse);
}

static void test_not_finite(void) {
    struct kernel_case *f = depthwise(&geometries[0], 5, 1);
    CU_ASSERT_FATAL(f != NULL);
    case_input(f, 0, 0)[3 * 7 + 3] = NAN;
    float *expected = case_run(f, ALG_CONV_REFERENCE), *got = case_run(f, ALG_CONV_DEPTHWISE);
    CU_ASSERT(case_close("not finite", got, expected, case_outputs(f), TOLERANCE));
    CU_ASSERT(isnan(got[2 * 7 + 2]) && !isnan(got[0]));
    free(expected);
    free(got);
    case_free(f);
}

SUITE(kernels_depthwise, {"equals the plain loops", test_all}, {"what it does not take", test_refusals},
      {"NaN", test_not_finite});
