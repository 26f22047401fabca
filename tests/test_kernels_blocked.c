/* Operators over blocked tensors give what they give over plain ones. */
#include "tests/kernel_blocked.h"
#include "tests/suite.h"

#include "infer/layout.h"

#include <math.h>
#include <stdlib.h>

/* Runs it both ways; consumes `f`. */
static void compare(const char *what, struct kernel_case *f) {
    struct err e = {0};
    struct team *team = team_new(2, NULL, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(team);
    struct team_seat *seat = team_sit(team);
    float *expected = case_run(f, ALG_DEFAULT), *got = case_run_blocked(f, ALG_DEFAULT, true);
    CU_ASSERT_FATAL(expected != NULL && got != NULL);
    CU_ASSERT(case_close(what, got, expected, case_outputs(f), 1e-6f));
    team_begin(seat);
    float *helped = case_run_together(f, ALG_DEFAULT, true, seat); /* whoever helps: the same */
    CU_ASSERT(helped && case_close(what, helped, got, case_outputs(f), 0));
    team_end(seat);
    team_leave(seat);
    team_free(team);
    free(helped);
    free(expected);
    free(got);
    case_free(f);
}

static void pools(void) {
    static const struct {
        int64_t channels, height, width;
        int32_t kernel, stride, dilation, begin, end, ceil_mode, count_include_pad;
    } cases[] = {
        {16, 8, 9, 2, 2, 1, 0, 0, 0, 0},  {24, 15, 14, 3, 2, 1, 1, 1, 0, 0}, {5, 13, 13, 3, 2, 1, 0, 0, 1, 1},
        {33, 12, 7, 3, 1, 1, 1, 1, 0, 1}, {16, 9, 9, 3, 1, 2, 2, 2, 0, 0},   {16, 7, 7, 7, 1, 1, 0, 0, 0, 0},
        {20, 6, 6, 3, 3, 1, 2, 1, 1, 1},
    };
    for (int op = OP_MAX_POOL; op <= OP_AVERAGE_POOL; op++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct kernel_case *f = case_new((enum op)op, 2);
            const int32_t k = cases[i].kernel, s = cases[i].stride, d = cases[i].dilation;
            f->step.params.window =
                (struct op_window){.spatial = 2,
                                   .groups = 1,
                                   .kernel = {1, k, k},
                                   .stride = {1, s, s},
                                   .dilation = {1, d, d},
                                   .pad_begin = {0, cases[i].begin, cases[i].begin},
                                   .pad_end = {0, cases[i].end, cases[i].end},
                                   .ceil_mode = cases[i].ceil_mode,
                                   .count_include_pad = op == OP_AVERAGE_POOL && cases[i].count_include_pad};
            case_add(f, SHAPE(2, cases[i].channels, cases[i].height, cases[i].width));
            CU_ASSERT_FATAL(case_finish(f, false));
            case_input(f, 0, 0)[7] = op == OP_MAX_POOL ? NAN : 1;
            compare("pool", f);
        }
}

static void means(void) {
    for (int64_t channels = 1; channels < 40; channels += 7) {
        struct kernel_case *f = case_new(OP_GLOBAL_AVERAGE_POOL, 2);
        case_add(f, SHAPE(2, channels, 13, 11));
        CU_ASSERT_FATAL(case_finish(f, false));
        compare("mean", f);
    }
}

static void elementwise(void) {
    static const enum op ops[] = {OP_ADD,        OP_MUL,      OP_RELU, OP_CLIP,
                                  OP_BATCH_NORM, OP_IDENTITY, OP_SILU, OP_HARD_SIGMOID};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (int wide = 0; wide < 3; wide++) { /* which operand is whole: both, second, first */
            const bool two = ops[i] == OP_ADD || ops[i] == OP_MUL;
            struct kernel_case *f = case_new(ops[i], 3);
            if (ops[i] == OP_CLIP) f->step.params.clip = (struct op_clip){-0.25f, 0.5f};
            case_add(f, two && wide == 1 ? SHAPE(2, 21, 1, 1) : SHAPE(2, 21, 5, 6));
            if (two) case_add(f, wide == 2 ? SHAPE(2, 21, 1, 1) : SHAPE(2, 21, 5, 6));
            if (ops[i] == OP_BATCH_NORM) {
                case_add_constant(f, SHAPE(21));
                case_add_constant(f, SHAPE(21));
                f->n_inputs = 3;
            }
            if (two || ops[i] == OP_BATCH_NORM) {
                f->step.activation = ACT_CLIP;
                f->step.act_min = -0.5f;
                f->step.act_max = 0.75f;
            }
            CU_ASSERT_FATAL(case_finish(f, false));
            compare(op_name(ops[i]), f);
        }
}

static void concatenation(void) {
    struct kernel_case *f = case_new(OP_CONCAT, 2);
    f->step.params.axis.axis = 1;
    case_add(f, SHAPE(2, 32, 3, 5));
    case_add(f, SHAPE(2, 16, 3, 5));
    case_add(f, SHAPE(2, 9, 3, 5));
    CU_ASSERT_FATAL(case_finish(f, false));
    compare("concat", f);
}

/* Plain to blocked through the kernel, read back by the case; and back, through the kernel both times. */
static void reordering(void) {
    for (int64_t channels = 1; channels < 50; channels += 6) {
        struct kernel_case *f = case_new(OP_IDENTITY, 2);
        case_add(f, SHAPE(2, channels, 5, 7));
        CU_ASSERT_FATAL(case_finish(f, false));
        float *expected = case_run(f, ALG_DEFAULT), *got = case_run_blocked(f, ALG_REORDER, false);
        CU_ASSERT(case_close("to blocks", got, expected, case_outputs(f), 0));
        free(expected);
        free(got);
        case_free(f);
    }
}

static void rules(void) {
    const struct shape wide = SHAPE(1, 32, 4, 4), odd = SHAPE(1, 24, 4, 4), both = SHAPE(1, 56, 4, 4);
    const union op_params p = {.axis = {.axis = 1}};
    const uint32_t blocked[] = {LAYOUT_BLOCKED, LAYOUT_BLOCKED}, mixed[] = {LAYOUT_BLOCKED, LAYOUT_PLAIN};
    const struct layouts all = {blocked, 2, LAYOUT_BLOCKED}, some = {mixed, 2, LAYOUT_BLOCKED};
    CU_ASSERT_TRUE(layout_fits(0, OP_CONCAT, &p, (struct shape[]){wide, odd}, &both, &all));
    CU_ASSERT_FALSE(
        layout_fits(0, OP_CONCAT, &p, (struct shape[]){odd, wide}, &both, &all)); /* cuts a block */
    CU_ASSERT_FALSE(layout_fits(0, OP_CONCAT, &p, (struct shape[]){wide, odd}, &both, &some));
    CU_ASSERT_TRUE(layout_fits(0, OP_ADD, &p, (struct shape[]){wide, wide}, &wide, &all));
    CU_ASSERT_FALSE(layout_fits(0, OP_ADD, &p, (struct shape[]){wide, SHAPE(1, 1, 4, 4)}, &wide, &all));
    CU_ASSERT_FALSE(layout_takes_shape(LAYOUT_BLOCKED, &SHAPE(1, 32, 4)));
    CU_ASSERT_FALSE(layout_takes_shape(LAYOUT_COUNT, &wide));
    CU_ASSERT_EQUAL(layout_bytes(LAYOUT_BLOCKED, &SHAPE(2, 17, 3, 5)), 2 * 2 * 15 * 64);
    CU_ASSERT_EQUAL(layout_bytes(LAYOUT_PLAIN, &SHAPE(2, 17, 3, 5)), 2 * 17 * 15 * 4);
}

SUITE(kernels_blocked, {"pools", pools}, {"means", means}, {"elementwise", elementwise},
      {"concatenation", concatenation}, {"reordering", reordering}, {"who takes which layout", rules});
