/* Pools against plain loops over each window: maxima exactly, means within
 * 2e-6 of max(1, |value|) for inputs in [-1, 1). */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>

struct geometry {
    int64_t channels, in[3];
    int32_t kernel[3], stride[3], dilation[3], begin[3], end[3], ceil_mode;
};

static const struct geometry geometries[] = {
    {3, {1, 12, 12}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}, 0},
    {2, {1, 112, 113}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}, 0},
    {2, {1, 14, 15}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}, 0},
    {2, {1, 14, 15}, {1, 2, 2}, {1, 2, 2}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, 0},
    {2, {1, 14, 15}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, 1}, /* SqueezeNet's */
    {2, {1, 6, 6}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}, 1},
    {2, {1, 13, 55}, {1, 4, 5}, {1, 3, 4}, {1, 2, 3}, {0, 1, 3}, {0, 2, 4}, 0},
    {2, {1, 13, 55}, {1, 4, 5}, {1, 3, 4}, {1, 2, 3}, {0, 1, 3}, {0, 2, 4}, 1},
    {2, {1, 7, 7}, {1, 7, 7}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, 0},
    {2, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, 0},
    {2, {1, 3, 9000}, {1, 2, 3}, {1, 1, 2}, {1, 1, 1}, {0, 1, 1}, {0, 0, 1}, 0},    /* several lines */
    {2, {1, 3, 9000}, {1, 2, 3}, {1, 1, 1}, {1, 1, 2100}, {0, 1, 1}, {0, 0, 1}, 0}, /* wider than a line */
    {2, {1, 3, 9000}, {1, 2, 4000}, {1, 1, 900}, {1, 1, 1}, {0, 1, 1}, {0, 0, 1}, 0},
    {2, {4, 5, 6}, {2, 3, 2}, {2, 1, 2}, {1, 1, 1}, {1, 1, 0}, {0, 1, 1}, 0},
    {2, {5, 5, 33}, {3, 2, 2}, {1, 2, 1}, {2, 1, 1}, {1, 0, 1}, {1, 1, 0}, 1},
};

static double plain(const struct op_window *w, const int64_t in[3], const float *plane, const int64_t o[3],
                    bool max) {
    double best = -INFINITY, sum = 0, count = 0;
    for (int64_t a = 0; a < w->kernel[0]; a++)
        for (int64_t b = 0; b < w->kernel[1]; b++)
            for (int64_t c = 0; c < w->kernel[2]; c++) {
                const int64_t k[3] = {a, b, c};
                int64_t at[3];
                bool inside = true, padded = true;
                for (int d = 0; d < 3; d++) {
                    at[d] = o[d] * w->stride[d] - w->pad_begin[d] + k[d] * w->dilation[d];
                    inside = inside && at[d] >= 0 && at[d] < in[d];
                    padded = padded && at[d] < in[d] + w->pad_end[d];
                }
                if (w->count_include_pad ? padded : inside) count++;
                if (!inside) continue;
                const double v = plane[(at[0] * in[1] + at[1]) * in[2] + at[2]];
                sum += v;
                best = v > best ? v : best;
            }
    return max ? best : sum / count;
}

static struct kernel_case *pool(enum op op, const struct geometry *g, int32_t include_pad, uint32_t items) {
    struct kernel_case *f = case_new(op, items);
    struct op_window *w = &f->step.params.window;
    *w = (struct op_window){.spatial = g->in[0] > 1 ? 3 : 2,
                            .groups = 1,
                            .ceil_mode = g->ceil_mode,
                            .count_include_pad = include_pad};
    for (int d = 0; d < 3; d++) {
        w->kernel[d] = g->kernel[d];
        w->stride[d] = g->stride[d];
        w->dilation[d] = g->dilation[d];
        w->pad_begin[d] = g->begin[d];
        w->pad_end[d] = g->end[d];
    }
    case_add(f, g->in[0] > 1 ? SHAPE(1, g->channels, g->in[0], g->in[1], g->in[2])
                             : SHAPE(1, g->channels, g->in[1], g->in[2]));
    if (case_finish(f, false)) return f;
    case_free(f);
    return NULL;
}

static float *run_plain(const struct kernel_case *f, const struct geometry *g, bool max) {
    const struct shape *s = &f->out.t->shape;
    const int64_t out[3] = {s->rank == 5 ? s->dim[2] : 1, s->dim[s->rank - 2], s->dim[s->rank - 1]};
    float *all = malloc((size_t)case_outputs(f) * sizeof *all), *at = all;
    for (uint32_t i = 0; all && i < f->n_items; i++)
        for (int64_t c = 0; c < g->channels; c++)
            for (int64_t p = 0; p < out[0] * out[1] * out[2]; p++) {
                const int64_t o[3] = {p / (out[1] * out[2]), p / out[2] % out[1], p % out[2]};
                const float *plane = case_input(f, 0, i) + c * g->in[0] * g->in[1] * g->in[2];
                *at++ = (float)plain(&f->step.params.window, g->in, plane, o, max);
            }
    return all;
}

static void compare(enum op op, int32_t include_pad) {
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++) {
        char what[80];
        struct kernel_case *f = pool(op, &geometries[i], include_pad, 1 + (uint32_t)i % 3);
        CU_ASSERT_FATAL(f != NULL);
        (void)snprintf(what, sizeof what, "pool %d, geometry %zu", (int)op, i);
        float *expected = run_plain(f, &geometries[i], op == OP_MAX_POOL), *got = case_run(f, ALG_DEFAULT);
        CU_ASSERT(case_close(what, got, expected, case_outputs(f), op == OP_MAX_POOL ? 0 : 2e-6f));
        free(expected);
        free(got);
        case_free(f);
    }
}

static void test_max(void) {
    compare(OP_MAX_POOL, 0);
}
static void test_average(void) {
    compare(OP_AVERAGE_POOL, 0);
}
static void test_average_with_padding(void) {
    compare(OP_AVERAGE_POOL, 1);
}

static void test_global(void) {
    static const int64_t sizes[][2] = {{1, 1}, {7, 7}, {3, 5}, {16, 16}, {123, 217}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct kernel_case *f = case_new(OP_GLOBAL_AVERAGE_POOL, 3);
        case_add_caller(f, SHAPE(2, 5, sizes[k][0], sizes[k][1]));
        CU_ASSERT_FATAL(case_finish(f, false));
        float *got = case_run(f, ALG_DEFAULT), expected[30];
        for (int i = 0; i < 30; i++) {
            double sum = 0;
            const int64_t n = sizes[k][0] * sizes[k][1];
            for (int64_t p = 0; p < n; p++) sum += case_input(f, 0, (uint32_t)i / 10)[i % 10 * n + p];
            expected[i] = (float)(sum / (double)n);
        }
        CU_ASSERT(case_close("global average", got, expected, 30, 1e-6f));
        free(got);
        case_free(f);
    }
}

/* Where all is infinite or NaN: padding never wins, a NaN is passed over by a maximum. */
static void test_not_finite(void) {
    struct kernel_case *f = pool(OP_MAX_POOL, &geometries[0], 0, 1);
    CU_ASSERT_FATAL(f != NULL);
    for (int i = 0; i < 432; i++) case_input(f, 0, 0)[i] = -INFINITY;
    case_input(f, 0, 0)[1] = NAN;
    float *got = case_run(f, ALG_DEFAULT);
    for (int i = 0; i < 108; i++) CU_ASSERT(isinf(got[i]) && got[i] < 0);
    free(got);
    case_free(f);
}

SUITE(kernels_pool, {"maximum equals the plain loop", test_max}, {"mean equals the plain loop", test_average},
      {"mean that counts padding equals the plain loop", test_average_with_padding},
      {"global mean", test_global}, {"infinities and NaN", test_not_finite});
