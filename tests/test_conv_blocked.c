/* Blocked convolutions: which one is taken, how they are cut, how weights are packed. */
#include "infer/algorithm.h"
#include "infer/conv_blocked.h"
#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <stdlib.h>

struct conv_case {
    union op_params p;
    struct shape in[2], out;
    struct conv c;
};

static struct conv_case conv_of(union op_params p, struct shape x, int64_t filters) {
    struct conv_case k = {
        .p = p,
        .in = {x, SHAPE(filters, x.dim[1] / p.window.groups, p.window.kernel[1], p.window.kernel[2])}};
    CU_ASSERT_EQUAL_FATAL(op_check(OP_CONV, &p, k.in, 2, &k.out, NULL), 0);
    conv_describe(&k.p.window, &k.in[0], &k.out, &k.c);
    return k;
}

static uint32_t chosen_for(enum image_isa isa, int32_t kernel, int32_t stride, struct shape x,
                           int64_t filters) {
    const struct conv_case k = conv_of(fixture_window(kernel, stride, kernel / 2, 1), x, filters);
    return algorithm_choose(isa, OP_CONV, &k.p, k.in, 2, &k.out);
}

static uint32_t chosen(int32_t kernel, int32_t stride, int32_t groups, struct shape x, int64_t filters) {
    const struct conv_case k = conv_of(fixture_window(kernel, stride, kernel / 2, groups), x, filters);
    return algorithm_choose(ISA_AVX512, OP_CONV, &k.p, k.in, 2, &k.out);
}

/* The layers of ResNets, VGG and MobileNets, as measured. */
static void layers_take_what_is_fastest(void) {
    CU_ASSERT_EQUAL(chosen(7, 2, 1, SHAPE(1, 3, 224, 224), 64), ALG_CONV_FIRST);
    CU_ASSERT_EQUAL(chosen(3, 1, 1, SHAPE(1, 64, 56, 56), 64), ALG_CONV_WINOGRAD_4);
    CU_ASSERT_EQUAL(chosen(3, 1, 1, SHAPE(1, 128, 28, 28), 128), ALG_CONV_WINOGRAD_4);
    CU_ASSERT_EQUAL(chosen(3, 1, 1, SHAPE(1, 512, 28, 28), 512), ALG_CONV_WINOGRAD_4);
    CU_ASSERT_EQUAL(chosen(3, 1, 1, SHAPE(1, 512, 7, 7), 512), ALG_CONV_WINOGRAD_2);
    CU_ASSERT_EQUAL(chosen(3, 2, 1, SHAPE(1, 64, 56, 56), 128), ALG_CONV_DIRECT);
    CU_ASSERT_EQUAL(chosen(1, 1, 1, SHAPE(1, 256, 14, 14), 1024), ALG_CONV_DIRECT);
    CU_ASSERT_EQUAL(chosen(1, 1, 1, SHAPE(1, 96, 1, 1), 24), ALG_CONV_DIRECT);
    CU_ASSERT_EQUAL(chosen(3, 1, 144, SHAPE(1, 144, 56, 56), 144), ALG_CONV_CHANNELWISE);
    CU_ASSERT_EQUAL(chosen(3, 1, 2, SHAPE(1, 64, 14, 14), 64), ALG_CONV_DIRECT);
    CU_ASSERT_EQUAL(chosen(3, 1, 32, SHAPE(1, 128, 56, 56), 128), ALG_CONV_DIRECT); /* groups of four */
    CU_ASSERT_EQUAL(chosen(1, 1, 3, SHAPE(1, 60, 28, 28), 240), ALG_CONV_DIRECT);
    CU_ASSERT_EQUAL(chosen(3, 1, 32, SHAPE(1, 32, 28, 28), 64), ALG_CONV_DEPTHWISE); /* two filters each */
    CU_ASSERT_EQUAL(chosen(3, 3, 1, SHAPE(1, 64, 14, 14), 64), ALG_CONV_DIRECT);
    CU_ASSERT_EQUAL(chosen(16, 16, 1, SHAPE(1, 3, 224, 224), 768), ALG_CONV_FIRST);
}

/* Where half the products are fewer than Winograd's; never without being asked for. */
static void bf16_where_it_pays(void) {
    const enum image_isa isa = ISA_AVX512_BF16;
    CU_ASSERT_EQUAL(chosen_for(isa, 1, 1, SHAPE(1, 256, 14, 14), 1024), ALG_CONV_DIRECT_BF16);
    CU_ASSERT_EQUAL(chosen_for(isa, 3, 2, SHAPE(1, 64, 56, 56), 128), ALG_CONV_DIRECT_BF16);
    CU_ASSERT_EQUAL(chosen_for(isa, 7, 2, SHAPE(1, 3, 224, 224), 64), ALG_CONV_FIRST);
    for (uint32_t i = 0; i < ISA_COUNT; i++)
        CU_ASSERT(i == (uint32_t)isa ||
                  chosen_for((enum image_isa)i, 1, 1, SHAPE(1, 256, 14, 14), 1024) != ALG_CONV_DIRECT_BF16);
}

/* Chunks of Winograd and bands cover what they are to cover, and scratch holds them. */
static void pieces_cover_the_whole(void) {
    for (int64_t side = 1; side < 70; side += 4)
        for (int32_t stride = 1; stride < 3; stride++)
            for (int64_t channels = 3; channels < 600; channels *= 4) {
                const struct conv_case k =
                    conv_of(fixture_window(3, stride, 1, 1), SHAPE(1, channels, side, side + 3), 40);
                struct conv_bands b;
                conv_bands_of(ALG_CONV_DIRECT, &k.c, &b);
                CU_ASSERT(b.rows >= 1 && b.rows <= k.c.out[1] && b.copied && !b.flat);
                CU_ASSERT((b.rows - 1) * stride + 3 <= b.in_rows);
                CU_ASSERT((k.c.out[2] - 1) * stride + 3 <= b.in_width);
                CU_ASSERT_EQUAL(conv_blocked_scratch_floats(ALG_CONV_DIRECT, &k.c),
                                layout_blocks(channels) * 16 * b.in_rows * b.in_width);
                struct conv_winograd w;
                conv_winograd_of(ALG_CONV_WINOGRAD_4, &k.c, &w);
                CU_ASSERT(w.tiles_y * 4 >= k.c.out[1] && w.tiles_x * 4 >= k.c.out[2] && w.chunk >= 14);
                CU_ASSERT(w.in_step >= w.in_blocks * w.chunk * 16 && w.in_step % 1024 != 0);
                CU_ASSERT(w.out_step >= w.out_blocks * w.chunk * 16 && w.out_step % 1024 != 0);
            }
}

static void packing_by_hand(void) {
    float w[3 * 2 * 4], to[16 * 8];
    const double scale[] = {1, 10, -1};
    for (int i = 0; i < 24; i++) w[i] = (float)(i + 1);
    const struct shape s = SHAPE(3, 2, 2, 2);
    CU_ASSERT_EQUAL(conv_blocked_weight_floats(ALG_CONV_DIRECT, &s, 1), 16 * 8);
    CU_ASSERT_EQUAL(conv_blocked_weight_floats(ALG_CONV_DIRECT_BF16, &s, 1), 16 * 4);
    conv_blocked_pack(ALG_CONV_DIRECT, &s, 1, scale, w,
                      to); /* per tap: channel 0, channel 1; 16 filters each */
    CU_ASSERT(to[0] == 1 && to[1] == 90 && to[2] == -17 && to[3] == 0 && to[15] == 0);
    CU_ASSERT(to[16] == 5 && to[17] == 130 && to[32] == 2);
    conv_blocked_pack(ALG_CONV_FIRST, &s, 1, NULL, w, to); /* per channel: its taps */
    CU_ASSERT(to[0] == 1 && to[1] == 9 && to[16] == 2 && to[4 * 16] == 5);
}

/* Groups that fill no blocks: what a block of filters sees of them, with zeros between. */
static void packing_of_groups_by_hand(void) {
    float w[20 * 6 * 1], to[3 * 16 * 2 * 16];
    for (int i = 0; i < 20 * 6; i++) w[i] = (float)(i + 1);
    const struct shape s = SHAPE(20, 6, 1, 1); /* 4 groups of 6 channels and 5 filters: 24 channels */
    const struct conv_span span = conv_span_of(4, 6, 5);
    CU_ASSERT(!span.whole && span.blocks == 2);
    CU_ASSERT_EQUAL(conv_span_start(&span, 4, 6, 5, 0), 0);
    CU_ASSERT_EQUAL(conv_span_start(&span, 4, 6, 5, 1),
                    0); /* sees channels 18 to 23; two blocks reach back */
    CU_ASSERT_EQUAL(conv_blocked_weight_floats(ALG_CONV_DIRECT, &s, 4), 2 * 16 * 2 * 16);
    conv_blocked_pack(ALG_CONV_DIRECT, &s, 4, NULL, w, to);
    CU_ASSERT(to[0] == 1 && to[1] == 7 && to[4] == 25 &&
              to[5] == 0);                              /* channel 0: the first group's filters */
    CU_ASSERT(to[6 * 16] == 0 && to[6 * 16 + 5] == 31); /* channel 6: the second's */
    const float *second = to + 2 * 16 * 16;
    CU_ASSERT(second[0] == 0 && second[18 * 16] == 97 && second[23 * 16 + 3] == 120);
    CU_ASSERT(second[24 * 16] == 0); /* behind the last channel */
    CU_ASSERT(conv_span_of(2, 32, 16).whole && conv_span_of(1, 5, 3).whole);
    CU_ASSERT_FALSE(conv_span_of(2, 32, 24).whole);
}

/* A filter of one in the middle leaves what it sees: G g G^T of it, by hand for F(2x2). */
static void winograd_weights_by_hand(void) {
    float w[9] = {0}, to[16 * 36];
    w[4] = 1;
    const struct shape s = SHAPE(1, 1, 3, 3);
    CU_ASSERT_EQUAL(conv_blocked_weight_floats(ALG_CONV_WINOGRAD_2, &s, 1), 16 * 16);
    CU_ASSERT_EQUAL(conv_blocked_weight_floats(ALG_CONV_WINOGRAD_4, &s, 1), 16 * 36);
    conv_blocked_pack(ALG_CONV_WINOGRAD_2, &s, 1, NULL, w, to);
    static const float column[4] = {0, 0.5f, -0.5f, 0};
    for (int i = 0; i < 16; i++) {
        CU_ASSERT_EQUAL(to[i * 16], column[i / 4] * column[i % 4]);
        CU_ASSERT_EQUAL(to[i * 16 + 1], 0);
    }
}

SUITE(conv_blocked, {"bfloat16 where it pays", bf16_where_it_pays},
      {"layers take what is fastest", layers_take_what_is_fastest},
      {"pieces cover the whole", pieces_cover_the_whole}, {"packing by hand", packing_by_hand},
      {"packing of groups by hand", packing_of_groups_by_hand},
      {"Winograd weights by hand", winograd_weights_by_hand});
