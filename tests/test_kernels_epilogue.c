/* Bias, residual and activation over blocks with longer rows around them. */
#include "infer/kernels_epilogue.h"

#include "tests/suite.h"

#include <math.h>

enum { ROWS = 3, COLS = 21, LD = 30 };

static void test_fill(void) {
    const float bias[ROWS] = {1, -2, 0.5f};
    float residual[ROWS * LD], out[ROWS * LD];
    for (int variant = 0; variant < 8; variant++) {
        const bool in_place = variant & 4 && variant & 2;
        for (int i = 0; i < ROWS * LD; i++) residual[i] = out[i] = (float)i;
        epilogue_fill(&(struct fill){out, variant & 1 ? bias : NULL,
                                     variant & 2 ? in_place ? out : residual : NULL, ROWS, COLS, LD, LD});
        for (int i = 0; i < ROWS * LD; i++) {
            const float b = variant & 1 ? bias[i / LD] : 0, r = variant & 2 ? residual[i] : 0;
            CU_ASSERT(out[i] == (i % LD < COLS ? b + r : (float)i));
        }
    }
}

static void test_bounds(void) {
    struct image_step s = {.activation = ACT_NONE};
    CU_ASSERT_FALSE(bounds_of(&s).any);
    s.activation = ACT_RELU;
    CU_ASSERT(bounds_of(&s).any && bounds_of(&s).lo == 0 && isinf(bounds_of(&s).hi));
    s = (struct image_step){.activation = ACT_CLIP, .act_min = -1, .act_max = 6};
    const struct bounds b = bounds_of(&s), none = {false, -INFINITY, INFINITY, NULL};
    float from[ROWS * LD], to[ROWS * LD];
    for (int i = 0; i < ROWS * LD; i++) from[i] = (float)(i % 17) - 5;
    from[LD + 20] = NAN;
    for (int copy = 0; copy < 2; copy++) {
        for (int i = 0; i < ROWS * LD; i++) to[i] = -9;
        epilogue_bound(copy ? &none : &b, &(struct bound){from, to, ROWS, COLS, LD, LD});
        for (int i = 0; i < ROWS * LD; i++) {
            const float v = copy ? from[i] : fminf(fmaxf(from[i], -1), 6);
            CU_ASSERT(i == LD + 20 ? isnan(to[i]) : to[i] == (i % LD < COLS ? v : -9));
        }
    }
}

/* What lies behind the columns stays as it is. */
static void test_functions(void) {
    const struct image_step s = {
        .activation = ACT_FUNCTION, .act_op = OP_LEAKY_RELU, .act_params = {.alpha = 0.5f}};
    const struct bounds b = bounds_of(&s);
    float at[ROWS * LD];
    CU_ASSERT_FALSE(b.any);
    for (int i = 0; i < ROWS * LD; i++) at[i] = (float)(i % 17) - 5;
    epilogue_bound(&b, &(struct bound){at, at, ROWS, COLS, LD, LD});
    for (int i = 0; i < ROWS * LD; i++) {
        const float v = (float)(i % 17) - 5;
        CU_ASSERT(at[i] == (v < 0 && i % LD < COLS ? v / 2 : v));
    }
}

SUITE(kernels_epilogue, {"functions", test_functions}, {"bias and residual, also in place", test_fill},
      {"activations; NaN stays NaN", test_bounds});
