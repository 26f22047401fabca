/* ConvTranspose against its definition: each output is the sum of what reaches it. */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include <stdlib.h>

/* Two spatial axes; the first (depth) is absent. */
static double gather(const struct kernel_case *f, uint32_t item, int64_t n, int64_t m, int64_t oy,
                     int64_t ox) {
    const struct op_window *w = &f->step.params.conv_transpose.window;
    const struct shape *x = &f->in[0].t->shape, *k = &f->in[1].t->shape;
    const int64_t filters = k->dim[1], per_group = x->dim[1] / w->groups, group = m / filters;
    double sum = f->n_inputs > 2 ? (double)case_input(f, 2, item)[m] : 0;
    for (int64_t c = group * per_group; c < (group + 1) * per_group; c++)
        for (int64_t y = 0; y < x->dim[2]; y++)
            for (int64_t z = 0; z < x->dim[3]; z++)
                for (int64_t ky = 0; ky < w->kernel[1]; ky++)
                    for (int64_t kx = 0; kx < w->kernel[2]; kx++) {
                        if (y * w->stride[1] + ky * w->dilation[1] - w->pad_begin[1] != oy ||
                            z * w->stride[2] + kx * w->dilation[2] - w->pad_begin[2] != ox)
                            continue;
                        const float v =
                            case_input(f, 0, item)[((n * x->dim[1] + c) * x->dim[2] + y) * x->dim[3] + z];
                        const float u = case_input(
                            f, 1, item)[((c * filters + m % filters) * k->dim[2] + ky) * k->dim[3] + kx];
                        sum += (double)v * (double)u;
                    }
    return sum;
}

static void compare(int32_t groups, int32_t stride, int32_t dilation, int32_t pad, int32_t more, bool bias) {
    struct kernel_case *f = case_new(OP_CONV_TRANSPOSE, 2);
    f->step.params.conv_transpose = (struct op_conv_transpose){
        .window =
            {2, groups, {1, 3, 2}, {1, stride, stride}, {1, dilation, 1}, {0, pad, pad}, {0, 0, pad}, 0, 0},
        .output_pad = {0, more, 0}};
    case_add(f, SHAPE(2, 4, 5, 3));
    case_add_constant(f, SHAPE(4, 3, 3, 2));
    if (bias) case_add_constant(f, SHAPE(3 * groups));
    CU_ASSERT_FATAL(case_finish(f, false));
    const struct shape *s = &f->out.t->shape;
    const int64_t n = shape_elements(s);
    float *got = case_run(f, ALG_DEFAULT), *want = malloc((size_t)n * 2 * sizeof *want);
    for (int64_t k = 0; want && k < 2 * n; k++) {
        const int64_t at = k % n;
        want[k] = (float)gather(f, (uint32_t)(k / n), at / (s->dim[1] * s->dim[2] * s->dim[3]),
                                at / (s->dim[2] * s->dim[3]) % s->dim[1], at / s->dim[3] % s->dim[2],
                                at % s->dim[3]);
    }
    CU_ASSERT(case_close("ConvTranspose", got, want, 2 * n, 1e-5f));
    free(got);
    free(want);
    case_free(f);
}

static void test_all(void) {
    for (int32_t groups = 1; groups <= 4; groups *= 2)
        for (int32_t stride = 1; stride <= 3; stride++)
            for (int32_t pad = 0; pad <= 1; pad++) {
                compare(groups, stride, 1, pad, 0, pad == 0);
                compare(groups, stride, 2, pad, stride - 1, pad == 1);
            }
}

static void test_rules(void) {
    const struct shape in[2] = {SHAPE(1, 2, 3, 3), SHAPE(2, 1, 2, 2)};
    struct shape out;
    union op_params p = {
        .conv_transpose = {.window = {2, 1, {1, 2, 2}, {1, 1, 1}, {1, 1, 1}, {0}, {0}, 0, 0}}};
    CU_ASSERT(op_check(OP_CONV_TRANSPOSE, &p, in, 2, &out, NULL) == 0 &&
              shape_equal(&out, &SHAPE(1, 1, 4, 4)));
    p.conv_transpose.output_pad[0] = 1;
    CU_ASSERT(op_check(OP_CONV_TRANSPOSE, &p, in, 2, &out, NULL) != 0);
    p.conv_transpose.output_pad[0] = 0;
    p.conv_transpose.output_pad[1] = -1;
    CU_ASSERT(op_check(OP_CONV_TRANSPOSE, &p, in, 2, &out, NULL) != 0);
    p.conv_transpose.output_pad[1] = 0;
    p.conv_transpose.window.pad_begin[1] = 4;
    CU_ASSERT(op_check(OP_CONV_TRANSPOSE, &p, in, 2, &out, NULL) != 0);
    p.conv_transpose.window.pad_begin[1] = 0;
    p.conv_transpose.window.groups = INT32_MAX;
    CU_ASSERT(op_check(OP_CONV_TRANSPOSE, &p, in, 2, &out, NULL) != 0);
}

SUITE(kernels_transposed, {"strides, dilations, padding, groups", test_all}, {"bad parameters", test_rules});
