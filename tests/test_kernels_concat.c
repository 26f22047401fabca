/* Concatenation along every axis, and in place. */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void compare(const struct shape *parts, int n_parts, int32_t axis, uint32_t items) {
    struct kernel_case *f = case_new(OP_CONCAT, items);
    f->step.params.axis.axis = axis;
    for (int k = 0; k < n_parts; k++) (k % 2 ? case_add_constant : case_add)(f, parts[k]);
    CU_ASSERT_FATAL(case_finish(f, false));
    const struct shape *s = &f->out.t->shape;
    const int64_t outer = shape_product(s, 0, axis);
    float *got = case_run(f, ALG_DEFAULT), *at = got;
    for (uint32_t i = 0; i < items; i++)
        for (int64_t o = 0; o < outer; o++)
            for (uint32_t k = 0; k < (uint32_t)n_parts; k++) {
                const int64_t part = shape_product(&parts[k], axis, parts[k].rank);
                CU_ASSERT(memcmp(at, case_input(f, k, i) + o * part, (size_t)part * sizeof *at) == 0);
                at += part;
            }
    CU_ASSERT(at - got == case_outputs(f));
    free(got);
    case_free(f);
}

static void test_axes(void) {
    const struct shape channels[] = {SHAPE(1, 3, 4, 5), SHAPE(1, 1, 4, 5), SHAPE(1, 8, 4, 5)};
    const struct shape rows[] = {SHAPE(2, 3, 1, 5), SHAPE(2, 3, 6, 5)};
    const struct shape columns[] = {SHAPE(2, 3, 7), SHAPE(2, 3, 1), SHAPE(2, 3, 2), SHAPE(2, 3, 9)};
    for (uint32_t items = 1; items <= 3; items += 2) {
        compare(channels, 3, 1, items);
        compare(channels, 1, 1, items);
        compare(rows, 2, 2, items);
        compare(columns, 4, 2, items);
    }
}

/* Inputs that were computed where they belong stay; the others come to them. */
static void test_in_place(void) {
    struct kernel_case *f = case_new(OP_CONCAT, 2);
    f->step.params.axis.axis = 1;
    case_add(f, SHAPE(1, 2, 5));
    case_add(f, SHAPE(1, 3, 5));
    CU_ASSERT_FATAL(case_finish(f, false));
    float expected[2][25];
    for (uint32_t i = 0; i < 2; i++) {
        memcpy(expected[i], case_input(f, 0, i), 10 * sizeof(float));
        memcpy(expected[i] + 10, case_input(f, 1, i), 15 * sizeof(float));
        memcpy(view_item(&f->out, i) + 10, case_input(f, 1, i), 15 * sizeof(float));
    }
    f->in[1].base = f->out.base + 10;
    f->in[1].stride = f->out.stride;
    const struct kernel_call call = {
        .step = &f->step, .n_items = 2, .n_inputs = 2, .in = f->in, .out = f->out};
    kernel_find(OP_CONCAT, ALG_DEFAULT)(&call);
    for (uint32_t i = 0; i < 2; i++)
        CU_ASSERT(memcmp(view_item(&f->out, i), expected[i], sizeof expected[i]) == 0);
    case_free(f);
}

/* One tensor in two slices: it lies in the second, and the first is copied from there. */
static void test_from_slice_to_slice(void) {
    struct kernel_case *f = case_new(OP_CONCAT, 2);
    f->step.params.axis.axis = 1;
    case_add(f, SHAPE(1, 2, 5));
    case_add(f, SHAPE(1, 2, 5));
    CU_ASSERT_FATAL(case_finish(f, false));
    for (uint32_t i = 0; i < 2; i++)
        memcpy(view_item(&f->out, i) + 10, case_input(f, 1, i), 10 * sizeof(float));
    const struct view computed = f->in[1];
    f->in[0].base = f->in[1].base = f->out.base + 10;
    f->in[0].stride = f->in[1].stride = f->out.stride;
    const struct kernel_call call = {
        .step = &f->step, .n_items = 2, .n_inputs = 2, .in = f->in, .out = f->out};
    kernel_find(OP_CONCAT, ALG_DEFAULT)(&call);
    for (uint32_t i = 0; i < 2; i++)
        for (int k = 0; k < 20; k++) CU_ASSERT(view_item(&f->out, i)[k] == view_item(&computed, i)[k % 10]);
    case_free(f);
}

SUITE(kernels_concat, {"from one slice to another", test_from_slice_to_slice}, {"every axis", test_axes},
      {"inputs that lie in their place already", test_in_place});
