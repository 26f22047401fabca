/* The geometry of convolutions: blocks stay within their bounds whatever the
 * sizes, and scratch holds what a block needs. That the kernels need no more is
 * what the guard pages of the kernels' tests show. */
#include "infer/conv.h"

#include "tests/suite.h"

static struct conv describe(int64_t c, int64_t m, int32_t groups, int64_t size, int32_t k, int32_t stride) {
    const struct op_window w = {.spatial = 2,
                                .groups = groups,
                                .kernel = {1, k, k},
                                .stride = {1, stride, stride},
                                .dilation = {1, 1, 1},
                                .pad_begin = {0, k / 2, k / 2},
                                .pad_end = {0, k / 2, k / 2}};
    const int64_t out = (size + k / 2 * 2 - k) / stride + 1;
    const struct shape x = {.rank = 4, .dim = {1, c, size, size}}, y = {.rank = 4, .dim = {1, m, out, out}};
    struct conv r;
    conv_describe(&w, &x, &y, &r);
    return r;
}

static void test_describe(void) {
    const struct conv c = describe(64, 128, 2, 56, 3, 2);
    CU_ASSERT(c.images == 1 && c.channels == 64 && c.filters == 128 && c.groups == 2);
    CU_ASSERT(c.in[0] == 1 && c.in[1] == 56 && c.in[2] == 56 && c.out[0] == 1 && c.out[2] == 28);
    CU_ASSERT(c.group_channels == 32 && c.group_filters == 64 && c.window == 9 && c.depth == 288);
    CU_ASSERT(c.in_plane == 56 * 56 && c.out_plane == 28 * 28);
    const struct op_window one = {
        .spatial = 1, .groups = 1, .kernel = {1, 1, 5}, .stride = {1, 1, 2}, .dilation = {1, 1, 3}};
    const struct shape x = {.rank = 3, .dim = {2, 4, 99}}, y = {.rank = 3, .dim = {2, 8, 44}};
    struct conv r;
    conv_describe(&one, &x, &y, &r);
    CU_ASSERT(r.images == 2 && r.in[1] == 1 && r.in[2] == 99 && r.out[2] == 44 && r.depth == 20);
}

static void test_blocks(void) {
    static const int64_t channels[] = {1, 3, 64, 512, 4096, 25088}, filters[] = {1, 8, 64, 512, 4096};
    static const int64_t sizes[] = {1, 4, 7, 14, 15, 56, 224, 1000};
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 5; j++)
            for (size_t k = 0; k < 8; k++)
                for (int32_t kernel = 1; kernel <= 7; kernel += 2) {
                    const struct conv c = describe(channels[i], filters[j], 1, sizes[k], kernel, 1);
                    const struct conv_block b = conv_block_of(&c);
                    if (!conv_fits(ALG_CONV_IM2COL, &c)) continue;
                    CU_ASSERT(b.columns >= 1 && b.columns <= 1024 && b.images >= 1);
                    CU_ASSERT(b.images == 1 ? b.columns <= c.out_plane + 15
                                            : b.columns == b.images * c.out_plane);
                    const int64_t floats = conv_scratch_floats(ALG_CONV_IM2COL, &c);
                    CU_ASSERT(floats >= c.depth * b.columns && floats <= 2 * 1024 * 1024 + 1024);
                    CU_ASSERT(b.images == 1 || floats >= conv_product_at(&c) + c.filters * b.columns);
                    CU_ASSERT(conv_product_at(&c) % 16 == 0);
                }
}

/* What the block rule is for: filters read once for several small pictures, cache-sized blocks of large ones.
 */
static void test_usual(void) {
    const struct conv first = describe(3, 64, 1, 224, 7, 2), last = describe(512, 512, 1, 7, 3, 1);
    CU_ASSERT(conv_block_of(&first).images == 1 && conv_block_of(&first).columns >= 512);
    CU_ASSERT(conv_block_of(&last).images >= 3);
    CU_ASSERT_EQUAL(conv_scratch_floats(ALG_CONV_REFERENCE, &last), 0);
    const struct conv point = describe(64, 256, 1, 56, 1, 1);
    CU_ASSERT_EQUAL(conv_scratch_floats(ALG_CONV_POINTWISE, &point), 0);
}

static void test_fits(void) {
    const struct conv point = describe(8, 8, 1, 9, 1, 1), depthwise = describe(8, 8, 8, 9, 3, 1);
    const struct conv strided = describe(8, 8, 1, 9, 1, 2), plain = describe(8, 8, 1, 9, 3, 1);
    CU_ASSERT(conv_fits(ALG_CONV_POINTWISE, &point) && !conv_fits(ALG_CONV_POINTWISE, &strided));
    CU_ASSERT(!conv_fits(ALG_CONV_POINTWISE, &plain) && conv_fits(ALG_CONV_IM2COL, &plain));
    CU_ASSERT(conv_fits(ALG_CONV_DEPTHWISE, &depthwise) && !conv_fits(ALG_CONV_DEPTHWISE, &plain));
    CU_ASSERT(!conv_fits(ALG_DEFAULT, &plain) && !conv_fits(ALG_COUNT, &plain));
    const struct conv enormous = describe(100000, 8, 1, 9, 7, 1); /* 4.9 M terms per value */
    CU_ASSERT(!conv_fits(ALG_CONV_IM2COL, &enormous) && conv_fits(ALG_CONV_REFERENCE, &enormous));
}

SUITE(conv, {"geometry from parameters and shapes", test_describe},
      {"blocks stay within bounds", test_blocks}, {"blocks of the usual layers", test_usual},
      {"which algorithm fits", test_fits});
