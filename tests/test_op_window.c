/* Convolution and pools: output sizes by hand, and every parameter that a kernel relies on. */
#include "infer/op.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <string.h>

struct window1 { /* along one axis */
    int32_t kernel, stride, dilation, pad_begin, pad_end, ceil_mode;
};

/* Output size of a pool over a [1,1,in] input, or -1. */
static int64_t pool(enum op op, int64_t in, struct window1 w) {
    const union op_params p = {.window = {.spatial = 1,
                                          .groups = 1,
                                          .kernel = {1, 1, w.kernel},
                                          .stride = {1, 1, w.stride},
                                          .dilation = {1, 1, w.dilation},
                                          .pad_begin = {0, 0, w.pad_begin},
                                          .pad_end = {0, 0, w.pad_end},
                                          .ceil_mode = w.ceil_mode}};
    struct shape out;
    return op_check(op, &p, &SHAPE(1, 1, in), 1, &out, NULL) ? -1 : out.dim[2];
}

static void pools_count_windows_as_pytorch_does(void) {
    static const struct {
        int64_t in;
        struct window1 w;
        int64_t out;
    } rows[] = {
        {224, {2, 2, 1, 0, 0, 0}, 112},
        {112, {3, 2, 1, 1, 1, 0}, 56}, /* ResNet's */
        {7, {2, 2, 1, 0, 0, 0}, 3},
        {7, {2, 2, 1, 0, 0, 1}, 4},
        {111, {3, 2, 1, 0, 0, 1}, 55}, /* SqueezeNet's: nothing left over, so ceil adds nothing */
        {112, {3, 2, 1, 0, 0, 1}, 56}, /* GoogLeNet's: the last window runs past the end by one */
        {5, {2, 3, 1, 0, 0, 1}, 2},
        {4, {2, 3, 1, 0, 0, 1}, 2},  /* the last one starts at the last element */
        {3, {1, 2, 1, 1, 1, 1}, -1}, /* the first one sees padding only */
        {3, {2, 2, 1, 1, 1, 1}, 2},  /* a third would start in the padding behind: dropped */
        {2, {3, 2, 1, 0, 0, 1}, 1},  /* larger than the input, allowed by ceil */
        {2, {3, 2, 1, 0, 0, 0}, -1},
        {2, {4, 1, 1, 0, 0, 1}, -1},
        {5, {2, 1, 3, 0, 0, 0}, 2},  /* dilated: extent 4 */
        {5, {3, 1, 3, 0, 0, 0}, -1}, /* extent 7 */
        {1, {2, 1, 2, 1, 1, 0}, -1}, /* taps at -1 and 1, the input is at 0 */
        {1, {3, 1, 1, 1, 1, 0}, 1},
        {4, {2, 1, 1, 2, 0, 0}, -1}, /* padding as large as the kernel */
        {4, {2, 1, 1, 0, 2, 0}, -1},
        {1, {1, 1, 1, 0, 0, 0}, 1},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CU_ASSERT_EQUAL(pool(OP_MAX_POOL, rows[i].in, rows[i].w), rows[i].out);
        CU_ASSERT_EQUAL(pool(OP_AVERAGE_POOL, rows[i].in, rows[i].w), rows[i].out);
    }
}

/* By brute force: every window that is counted starts where it may and sees an element. */
static void every_pool_that_passes_sees_input(void) {
    uint64_t seed = 5;
    int passed = 0;
    for (int round = 0; round < 20000; round++) {
        const int64_t in = 1 + fixture_random(&seed, 9);
        const struct window1 w = {
            1 + (int32_t)fixture_random(&seed, 4), 1 + (int32_t)fixture_random(&seed, 4),
            1 + (int32_t)fixture_random(&seed, 4), (int32_t)fixture_random(&seed, 5),
            (int32_t)fixture_random(&seed, 5),     (int32_t)fixture_random(&seed, 2)};
        const int64_t out = pool(OP_MAX_POOL, in, w), extent = (w.kernel - 1) * w.dilation + 1;
        for (int64_t o = 0; o < out; o++) {
            const int64_t start = o * w.stride - w.pad_begin;
            int seen = 0;
            for (int64_t k = 0; k < w.kernel; k++)
                seen += start + k * w.dilation >= 0 && start + k * w.dilation < in;
            CU_ASSERT_FATAL(seen > 0);
            CU_ASSERT_FATAL(start < in);
            if (!w.ceil_mode) CU_ASSERT_FATAL(start + extent <= in + w.pad_end);
        }
        passed += out > 0;
    }
    CU_ASSERT(passed > 5000);
}

static int conv(union op_params p, const struct shape *x, const struct shape *w, const struct shape *b,
                struct shape *out) {
    struct err e = {0};
    const struct shape in[] = {*x, *w, b ? *b : (struct shape){.rank = -1}};
    const int rc = op_check(OP_CONV, &p, in, 3, out, &e);
    CU_ASSERT_EQUAL(rc != 0, e.text[0] != 0);
    return rc;
}
#define CONV_GIVES(expected, p, x, w, b)                                                                     \
    CU_ASSERT_TRUE(conv(p, &(x), &(w), b, &out) == 0 && shape_equal(&out, &(expected)))
#define CONV_REFUSES(p, x, w, b) CU_ASSERT_NOT_EQUAL(conv(p, &(x), &(w), b, &out), 0)

static void convolutions_by_hand(void) {
    struct shape out;
    const struct shape picture = SHAPE(1, 3, 224, 224);
    CONV_GIVES(SHAPE(1, 64, 112, 112), fixture_window(7, 2, 3, 1), picture, SHAPE(64, 3, 7, 7), NULL);
    CONV_GIVES(SHAPE(1, 64, 224, 224), fixture_window(1, 1, 0, 1), picture, SHAPE(64, 3, 1, 1), &SHAPE(64));
    CONV_GIVES(SHAPE(1, 6, 226, 226), fixture_window(3, 1, 2, 3), picture, SHAPE(6, 1, 3, 3), NULL);
    union op_params p = fixture_window(3, 1, 2, 1);
    p.window.dilation[1] = p.window.dilation[2] = 2;
    CONV_GIVES(SHAPE(1, 4, 224, 224), p, picture, SHAPE(4, 3, 3, 3), NULL);
    p = fixture_window(1, 1, 3, 1);
    p.window.kernel[2] = 7; /* 1x7, and more padding than the kernel is high: legal for a convolution */
    CONV_GIVES(SHAPE(1, 2, 230, 224), p, picture, SHAPE(2, 3, 1, 7), NULL);

    const union op_params line = {
        .window = {
            .spatial = 1, .groups = 1, .kernel = {1, 1, 3}, .stride = {1, 1, 2}, .dilation = {1, 1, 1}}};
    CONV_GIVES(SHAPE(1, 5, 4), line, SHAPE(1, 2, 9), SHAPE(5, 2, 3), NULL);
    const union op_params volume = {.window = {.spatial = 3,
                                               .groups = 1,
                                               .kernel = {3, 3, 3},
                                               .stride = {1, 2, 2},
                                               .dilation = {1, 1, 1},
                                               .pad_begin = {1, 1, 1},
                                               .pad_end = {1, 1, 1}}};
    CONV_GIVES(SHAPE(1, 8, 16, 28, 28), volume, SHAPE(1, 3, 16, 56, 56), SHAPE(8, 3, 3, 3, 3), NULL);
}

static void operands_must_go_together(void) {
    struct shape out;
    const union op_params p = fixture_window(3, 1, 1, 1), two = fixture_window(3, 1, 1, 2);
    const struct shape x = SHAPE(1, 4, 8, 8);
    CONV_GIVES(SHAPE(1, 6, 8, 8), two, x, SHAPE(6, 2, 3, 3), NULL);
    CONV_REFUSES(p, x, SHAPE(6, 3, 3, 3), NULL); /* other channels */
    CONV_REFUSES(p, x, SHAPE(6, 4, 3, 2), NULL); /* other kernel */
    CONV_REFUSES(p, x, SHAPE(6, 4, 3), NULL);    /* other rank */
    CONV_REFUSES(p, x, SHAPE(6, 4, 3, 3), &SHAPE(5));
    CONV_REFUSES(p, x, SHAPE(6, 4, 3, 3), &SHAPE(6, 1));
    CONV_REFUSES(p, SHAPE(1, 4, 8), SHAPE(6, 4, 3), NULL);
    CONV_REFUSES(two, x, SHAPE(5, 2, 3, 3), NULL); /* groups divide no 5 */
    CONV_REFUSES(fixture_window(3, 1, 1, 3), x, SHAPE(6, 1, 3, 3), NULL);
    CONV_REFUSES(fixture_window(3, 1, 1, 0), x, SHAPE(6, 4, 3, 3), NULL);
    CONV_REFUSES(fixture_window(3, 1, 1, -1), x, SHAPE(6, 4, 3, 3), NULL);
    CONV_REFUSES(fixture_window(3, 1, 1, INT32_MIN), x, SHAPE(6, 4, 3, 3), NULL);
    CONV_REFUSES(fixture_window(9, 1, 0, 1), x, SHAPE(6, 4, 9, 9), NULL); /* does not fit */
}

static void every_parameter_is_bounded(void) {
    struct shape out;
    const struct shape x = SHAPE(1, 4, 8, 8), w = SHAPE(6, 4, 3, 3);
    const int32_t bad_sizes[] = {0, -1, INT32_MIN, INT32_MAX, OP_MAX_WINDOW + 1};
    const int32_t bad_pads[] = {-1, INT32_MIN, INT32_MAX, OP_MAX_PAD + 1};
    for (int a = 0; a < OP_SPATIAL; a++) {
        for (size_t i = 0; i < COUNT_OF(bad_sizes); i++) {
            union op_params k = fixture_window(3, 1, 1, 1), s = k, d = k;
            k.window.kernel[a] = s.window.stride[a] = d.window.dilation[a] = bad_sizes[i];
            CONV_REFUSES(k, x, w, NULL);
            CONV_REFUSES(s, x, w, NULL);
            CONV_REFUSES(d, x, w, NULL);
        }
        for (size_t i = 0; i < COUNT_OF(bad_pads); i++) {
            union op_params b = fixture_window(3, 1, 1, 1), e = b;
            b.window.pad_begin[a] = e.window.pad_end[a] = bad_pads[i];
            CONV_REFUSES(b, x, w, NULL);
            CONV_REFUSES(e, x, w, NULL);
        }
    }
    const int32_t bad_spatial[] = {0, 1, 3, 4, -1, INT32_MAX};
    for (size_t i = 0; i < COUNT_OF(bad_spatial); i++) {
        union op_params p = fixture_window(3, 1, 1, 1);
        p.window.spatial = bad_spatial[i];
        CONV_REFUSES(p, x, w, NULL);
    }
    for (int a = 0; a < 5; a++) { /* the axis that a picture lacks, and flags that a convolution lacks */
        union op_params p = fixture_window(3, 1, 1, 1);
        *(int32_t *[]){&p.window.kernel[0], &p.window.stride[0], &p.window.dilation[0], &p.window.ceil_mode,
                       &p.window.count_include_pad}[a] = a < 3 ? 2 : 1;
        CONV_REFUSES(p, x, w, NULL);
    }
    union op_params p = fixture_window(3, 1, 1, 1);
    p.window.pad_begin[0] = 1;
    CONV_REFUSES(p, x, w, NULL);
}

static void pools_have_no_groups_and_flags_are_flags(void) {
    struct shape out;
    const struct shape x = SHAPE(1, 4, 8, 8);
    union op_params p = fixture_window(2, 2, 0, 1);
    p.window.count_include_pad = 1;
    CU_ASSERT_EQUAL(op_check(OP_AVERAGE_POOL, &p, &x, 1, &out, NULL), 0);
    CU_ASSERT_NOT_EQUAL(op_check(OP_MAX_POOL, &p, &x, 1, &out, NULL), 0);
    p.window.count_include_pad = 2;
    CU_ASSERT_NOT_EQUAL(op_check(OP_AVERAGE_POOL, &p, &x, 1, &out, NULL), 0);
    p = fixture_window(2, 2, 0, 1);
    p.window.ceil_mode = -1;
    CU_ASSERT_NOT_EQUAL(op_check(OP_MAX_POOL, &p, &x, 1, &out, NULL), 0);
    p = fixture_window(2, 2, 0, 2);
    CU_ASSERT_NOT_EQUAL(op_check(OP_MAX_POOL, &p, &x, 1, &out, NULL), 0);
}

/* 32-bit counters of kernels must hold every padded extent. */
static void extents_fit_in_an_int(void) {
    const struct window1 w = {OP_MAX_WINDOW, OP_MAX_WINDOW, OP_MAX_WINDOW, 0, 0, 0};
    CU_ASSERT_EQUAL(pool(OP_MAX_POOL, INT32_MAX, w),
                    (INT32_MAX - (OP_MAX_WINDOW - 1LL) * OP_MAX_WINDOW - 1) / OP_MAX_WINDOW + 1);
    const struct window1 padded = {2, 1, 1, 1, 0, 0};
    CU_ASSERT_EQUAL(pool(OP_MAX_POOL, INT32_MAX, padded), -1);
}

SUITE(op_window, {"pools count windows as PyTorch does", pools_count_windows_as_pytorch_does},
      {"every pool that passes sees input", every_pool_that_passes_sees_input},
      {"convolutions by hand", convolutions_by_hand},
      {"operands must go together", operands_must_go_together},
      {"every parameter is bounded", every_parameter_is_bounded},
      {"pools have no groups, and flags are flags", pools_have_no_groups_and_flags_are_flags},
      {"extents fit in an int", extents_fit_in_an_int});
