/* Which channels can go: how reshapes map them, which constants lie along them, and what had better stay. */
#include "infer/plan_dead.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <string.h>

static void reshapes_map_channels(void) {
    int64_t expand, merge;
    CU_ASSERT_TRUE(plan_dead_reshape(&SHAPE(1, 6, 4, 4), &SHAPE(1, 96), &expand, &merge));
    CU_ASSERT(expand == 16 && merge == 1);
    CU_ASSERT_TRUE(plan_dead_reshape(&SHAPE(1, 96), &SHAPE(1, 6, 4, 4), &expand, &merge));
    CU_ASSERT(expand == 1 && merge == 16);
    CU_ASSERT_TRUE(plan_dead_reshape(&SHAPE(1, 6, 1, 1), &SHAPE(1, 6), &expand, &merge));
    CU_ASSERT(expand == 1 && merge == 1);
    CU_ASSERT_TRUE(
        plan_dead_reshape(&SHAPE(1, 6, 4, 4), &SHAPE(1, 2, 3, 16), &expand, &merge)); /* ShuffleNet */
    CU_ASSERT(expand == 1 && merge == 3);
    CU_ASSERT_FALSE(
        plan_dead_reshape(&SHAPE(1, 6, 4), &SHAPE(1, 4, 6), &expand, &merge)); /* 4 and 6: neither */
    CU_ASSERT_FALSE(plan_dead_reshape(&SHAPE(2, 6), &SHAPE(1, 12), &expand, &merge));
    CU_ASSERT_FALSE(plan_dead_reshape(&SHAPE(6), &SHAPE(1, 6), &expand, &merge));
}

static void constants_along_channels(void) {
    static const struct {
        struct shape shape;
        int32_t slot;
    } cases[] = {
        {SHAPE(6, 1, 1), 1}, {SHAPE(1, 6, 1, 1), 1}, {SHAPE(1), 1}, {SHAPE(6), -1}, {SHAPE(1, 1, 4, 6), -1}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct plan_tensor tensors[3] = {{.shape = SHAPE(1, 6, 4, 6)},
                                         {.shape = cases[i].shape, .data = (float[36]){0}},
                                         {.shape = SHAPE(1, 6, 4, 6)}};
        struct plan p = {.tensors = tensors, .n_tensors = 3};
        struct plan_step s = {.op = OP_MUL, .inputs = (int32_t[]){0, 1}, .n_inputs = 2, .output = 2};
        bool scalar;
        CU_ASSERT_EQUAL(plan_dead_constant(&p, &s, &scalar), cases[i].slot);
        if (cases[i].slot >= 0) CU_ASSERT_EQUAL(scalar, shape_elements(&cases[i].shape) == 1);
    }
}

/* Two convolutions of 32 channels, `gone` filters of the first zeroed, put behind each other and mixed:
 * parameters of the plan. */
static uint64_t parameters_without(int gone, enum image_isa isa) {
    struct err e = {0};
    struct plan *p;
    struct plan_sizes s;
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 3, 5, 5));
    const int32_t a = fixture_conv(g, x, 32, fixture_window(1, 1, 0, 1), false),
                  b = fixture_conv(g, x, 32, fixture_window(1, 1, 0, 1), false);
    float *w = graph_edit_input(g, g->values[a].producer, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    memset(w, 0, (size_t)gone * 3 * sizeof *w);
    fixture_output(
        g, fixture_conv(g, fixture_concat(g, 1, 2, (int32_t[]){a, b}), 2, fixture_window(1, 1, 0, 1), false));
    CU_ASSERT_EQUAL_FATAL(plan_make(g, &(struct plan_options){.isa = isa}, &p, &e), 0);
    plan_measure(p, &s);
    plan_free(p);
    graph_free(g);
    return s.parameters;
}

/* Each channel of `a` has 3 + 2 parameters. */
static void concatenations_lose_whole_blocks(void) {
    const uint64_t all = parameters_without(0, ISA_AVX2);
    CU_ASSERT_EQUAL(all, 2 * 32 * 3 + 2 * 64);
    CU_ASSERT_EQUAL(parameters_without(5, ISA_AVX2), all);
    CU_ASSERT_EQUAL(parameters_without(16, ISA_AVX2), all - 16 * 5);
    CU_ASSERT_EQUAL(parameters_without(20, ISA_AVX2), all - 16 * 5);
    CU_ASSERT_EQUAL(parameters_without(5, ISA_GENERIC), all - 5 * 5); /* no blocks there */
}

SUITE(plan_dead, {"how reshapes map channels", reshapes_map_channels},
      {"constants of one number, or one per channel", constants_along_channels},
      {"concatenations lose whole blocks only", concatenations_lose_whole_blocks});
