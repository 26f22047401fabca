/* The blocked convolutions (direct, first, Winograd, channelwise) against the
 * plain loops, at every level of vector instructions: sizes, edges, strides,
 * dilations, groups, channels that fill no block, batches. Inputs and weights
 * are in [-1, 1); sums of up to 2,500 terms. */
#include "infer/algorithm.h"
#include "infer/bf16.h"
#include "tests/kernel_blocked.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 5e-5f

struct geometry {
    int64_t images, channels, height, width, filters;
    int32_t groups, kernel[2], stride[2], dilation[2], begin[2], end[2];
};

static const struct geometry geometries[] = {
    {1, 16, 7, 7, 32, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 40, 9, 31, 24, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, /* neither fills its blocks */
    {1, 3, 5, 3, 1, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 33, 1, 1, 47, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 520, 16, 17, 16, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}, /* several bands of pixels */
    {1, 32, 14, 15, 48, 1, {1, 1}, {2, 2}, {1, 1}, {0, 0}, {0, 0}},
    {1, 20, 13, 13, 30, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {2, 16, 12, 20, 16, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 17, 29, 30, 33, 1, {3, 3}, {1, 1}, {1, 1}, {0, 2}, {2, 0}},
    {1, 64, 33, 35, 32, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {1, 160, 61, 60, 16, 1, {3, 3}, {2, 1}, {1, 1}, {1, 1}, {1, 1}}, /* several bands of rows */
    {1, 18, 11, 12, 16, 1, {3, 3}, {1, 1}, {2, 3}, {2, 3}, {2, 3}},
    {1, 16, 9, 12, 20, 1, {1, 7}, {1, 1}, {1, 1}, {0, 3}, {0, 3}},
    {1, 16, 12, 9, 20, 1, {7, 1}, {1, 1}, {1, 1}, {3, 0}, {3, 0}},
    {1, 16, 2, 2, 16, 1, {3, 3}, {1, 1}, {1, 1}, {2, 2}, {2, 2}},
    {1, 16, 2, 2, 16, 1, {3, 3}, {2, 2}, {1, 1}, {3, 4}, {4, 3}}, /* windows in the padding alone */
    {1, 16, 7, 7, 32, 1, {7, 7}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 64, 8, 9, 32, 2, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 32, 9, 9, 32, 4, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, /* groups that are not whole blocks: */
    {1, 64, 12, 11, 64, 16, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {2, 24, 11, 12, 20, 4, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, /* a last block that is not full */
    {1, 104, 7, 7, 104, 13, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 60, 7, 6, 240, 3, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 72, 13, 13, 36, 3, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 3, 45, 47, 24, 1, {7, 7}, {2, 2}, {1, 1}, {3, 3}, {3, 3}},
    {1, 16, 19, 20, 40, 1, {3, 3}, {3, 3}, {1, 1}, {1, 1}, {1, 1}}, /* other strides */
    {1, 3, 64, 80, 20, 1, {16, 16}, {16, 16}, {1, 1}, {0, 0}, {0, 0}},
    {1, 3, 42, 56, 33, 1, {14, 14}, {14, 14}, {1, 1}, {0, 0}, {0, 0}},
    {1, 3, 33, 32, 16, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 1, 28, 28, 6, 1, {5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}},
    {2, 4, 40, 43, 20, 1, {11, 11}, {4, 4}, {1, 1}, {2, 2}, {2, 2}},
    {1, 2, 13, 17, 18, 1, {3, 5}, {1, 2}, {2, 3}, {2, 6}, {2, 6}},
    {1, 8, 300, 120, 8, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 48, 5, 5, 48, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 256, 8, 8, 16, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {1, 21, 17, 19, 21, 21, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {2, 32, 16, 15, 32, 32, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
    {1, 16, 21, 33, 16, 16, {5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}},
    {1, 40, 14, 14, 40, 40, {5, 5}, {2, 2}, {1, 1}, {2, 2}, {2, 2}},
    {1, 17, 19, 23, 17, 17, {4, 2}, {3, 2}, {2, 3}, {0, 4}, {5, 1}},
    {1, 16, 9, 9, 16, 16, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
    {1, 16, 2, 2, 16, 16, {3, 3}, {1, 1}, {1, 1}, {3, 4}, {4, 3}},
};

/* variant: bit 0 bias, 1 residual, 2 Relu, 3 Clip, 4 input from the caller, 5 HardSwish */
static struct kernel_case *convolution(const struct geometry *g, unsigned variant, uint32_t items) {
    struct kernel_case *f = case_new(OP_CONV, items);
    struct op_window *w = &f->step.params.window;
    *w = (struct op_window){.spatial = 2, .groups = g->groups, .kernel = {1}, .stride = {1}, .dilation = {1}};
    for (int d = 0; d < 2; d++) {
        w->kernel[d + 1] = g->kernel[d];
        w->stride[d + 1] = g->stride[d];
        w->dilation[d + 1] = g->dilation[d];
        w->pad_begin[d + 1] = g->begin[d];
        w->pad_end[d + 1] = g->end[d];
    }
    (variant & 16 ? case_add_caller : case_add)(f, SHAPE(g->images, g->channels, g->height, g->width));
    case_add_constant(f, SHAPE(g->filters, g->channels / g->groups, g->kernel[0], g->kernel[1]));
    if (variant & 1) case_add_constant(f, SHAPE(g->filters));
    f->step.activation = variant & 8 ? ACT_CLIP : variant & 4 ? ACT_RELU : ACT_NONE;
    f->step.act_min = variant & 8 ? -0.5f : 0;
    f->step.act_max = variant & 8 ? 0.75f : 0;
    if (variant & 32) {
        f->step.activation = ACT_FUNCTION;
        f->step.act_op = OP_HARD_SWISH;
        f->step.act_params = (struct op_function){1.0f / 6, 0.5f, 0, 0};
    }
    CU_ASSERT_FATAL(case_finish(f, variant & 2));
    return f;
}

/* Whoever helps: the same floats. */
static bool is_same_with_help(struct kernel_case *f, uint32_t algorithm, struct team_seat *seat,
                              const float *got) {
    float *helped = case_run_together(f, algorithm, algorithm != ALG_CONV_FIRST, seat);
    const bool same = helped && memcmp(helped, got, (size_t)case_outputs(f) * sizeof *got) == 0;
    free(helped);
    return same;
}

/* How many of the geometries `algorithm` takes. */
static int check(uint32_t algorithm, float tolerance) {
    static const unsigned variants[] = {0, 1 + 4, 1 + 2 + 8, 2 + 16, 1 + 32};
    int taken = 0;
    struct err e = {0};
    struct team *team = team_new(2, NULL, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(team);
    struct team_seat *seat = team_sit(team);
    team_begin(seat);
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++)
        for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
            struct kernel_case *f = convolution(&geometries[i], variants[v], 1 + (uint32_t)v % 3);
            float *expected = NULL;
            EACH_LEVEL(level) {
                char what[80];
                float *got = case_run_blocked(f, algorithm, algorithm != ALG_CONV_FIRST);
                if (got && !expected) expected = case_run(f, ALG_CONV_REFERENCE);
                (void)snprintf(what, sizeof what, "%s, geometry %zu, variant %u, level %d",
                               algorithm_name(algorithm), i, variants[v], (int)level);
                CU_ASSERT(!got || case_close(what, got, expected, case_outputs(f), tolerance));
                CU_ASSERT(!got || v != 2 || level % 2 || is_same_with_help(f, algorithm, seat, got));
                taken += got && v == 0 && level == SIMD_128;
                free(got);
            }
            free(expected);
            case_free(f);
        }
    team_end(seat);
    team_leave(seat);
    team_free(team);
    return taken;
}

static void direct(void) {
    CU_ASSERT(check(ALG_CONV_DIRECT, TOLERANCE) >= 31);
}
static void round_all(const struct view *v, uint32_t items) {
    for (uint32_t i = 0; i < items; i++)
        for (int64_t k = 0; k < shape_elements(&v->t->shape); k++)
            view_item(v, i)[k] = bf16_widen(bf16_round(view_item(v, i)[k]));
}

/* Against the plain loops over what was rounded before: rounding is all that may differ. */
static void direct_bf16(void) {
    struct err e = {0};
    int taken = 0;
    if (!image_isa_runs_here(ISA_AVX512_BF16)) {
        fprintf(stderr, "\nSKIPPED: this CPU has no AVX512-BF16\n");
        return;
    }
    struct team *team = team_new(2, NULL, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(team);
    struct team_seat *seat = team_sit(team);
    team_begin(seat);
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++)
        for (uint32_t v = 0; v < 2; v++) {
            struct kernel_case *f = convolution(&geometries[i], v ? 1 + 2 + 8 : 4, 1 + 2 * v);
            float *got = case_run_blocked(f, ALG_CONV_DIRECT_BF16, true);
            CU_ASSERT(!got || is_same_with_help(f, ALG_CONV_DIRECT_BF16, seat, got));
            round_all(&f->in[0], f->n_items);
            round_all(&f->in[1], 1);
            float *expected = got ? case_run(f, ALG_CONV_REFERENCE) : NULL;
            CU_ASSERT(!got || case_close("direct bf16", got, expected, case_outputs(f), TOLERANCE));
            taken += got && v == 0;
            free(expected);
            free(got);
            case_free(f);
        }
    team_end(seat);
    team_leave(seat);
    team_free(team);
    CU_ASSERT(taken >= 22);
}
static void first(void) {
    CU_ASSERT(check(ALG_CONV_FIRST, TOLERANCE) >= 8);
}
static void channelwise(void) {
    CU_ASSERT_EQUAL(check(ALG_CONV_CHANNELWISE, TOLERANCE), 7);
}
static void winograd_2(void) {
    CU_ASSERT(check(ALG_CONV_WINOGRAD_2, TOLERANCE) >= 7);
}
/* Its products are of numbers several times as large as what they cancel to. */
static void winograd_4(void) {
    CU_ASSERT(check(ALG_CONV_WINOGRAD_4, 2e-4f) >= 7);
}

/* More items than a chunk has tiles for. */
static void many_items(void) {
    static const struct geometry g = {1, 64, 4, 4, 64, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    struct kernel_case *f = convolution(&g, 1 + 2 + 4, 61);
    float *expected = case_run(f, ALG_CONV_REFERENCE);
    for (uint32_t a = ALG_CONV_WINOGRAD_2; a <= ALG_CONV_WINOGRAD_4; a++) {
        float *got = case_run_blocked(f, a, true);
        CU_ASSERT_FATAL(got != NULL);
        CU_ASSERT(case_close("many items", got, expected, case_outputs(f), 2e-4f));
        free(got);
    }
    free(expected);
    case_free(f);
}

/* One NaN shows where its window is, and in Winograd's tiles around it, and nowhere else. */
static void not_finite(void) {
    static const struct geometry g = {1, 32, 20, 20, 32, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    struct kernel_case *f = convolution(&g, 1 + 8, 1);
    case_input(f, 0, 0)[5 * 400 + 10 * 20 + 10] = NAN;
    for (uint32_t a = ALG_CONV_DIRECT; a <= ALG_CONV_WINOGRAD_4; a++) {
        float *got = case_run_blocked(f, a, true);
        if (!got) continue;
        CU_ASSERT(isnan(got[10 * 20 + 10]) && isnan(got[9 * 20 + 11]));
        CU_ASSERT(!isnan(got[0]) && !isnan(got[19 * 20 + 3]));
        free(got);
    }
    case_free(f);
}

/* What would need much scratch, or a tile that is not there, is not taken. */
static void refusals(void) {
    const struct geometry wide = {1, 16, 3, 200000, 16, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
                          thin = {1, 32, 9, 9, 64, 32, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    const struct geometry *all[] = {&wide, &thin};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct kernel_case *f = convolution(all[i], 0, 1);
        for (uint32_t a = ALG_CONV_DIRECT; a <= ALG_CONV_WINOGRAD_4; a++) {
            if (i == 0 && a == ALG_CONV_DIRECT) continue; /* 19 MB a band: taken */
            CU_ASSERT_FALSE(algorithm_fits(a, OP_CONV, &f->step.params, f->shapes, 2, &f->out.t->shape));
        }
        case_free(f);
    }
}

SUITE(kernels_direct, {"direct equals the plain loops", direct},
      {"direct bf16 equals the plain loops over rounded numbers", direct_bf16},
      {"first equals the plain loops", first}, {"channelwise equals the plain loops", channelwise},
      {"Winograd 2x2 equals the plain loops", winograd_2},
      {"Winograd 4x4 equals the plain loops", winograd_4}, {"more items than a chunk", many_items},
      {"NaN", not_finite}, {"what they do not take", refusals});
