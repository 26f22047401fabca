/* Algorithms: which fits what, which is taken, what it needs, and packed weights. */
#include "infer/algorithm.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <string.h>

struct conv_case {
    union op_params p;
    struct shape in[2], out;
};

static struct conv_case conv_of(union op_params p, struct shape x, int64_t filters) {
    struct conv_case c = {
        .p = p,
        .in = {x, SHAPE(filters, x.dim[1] / p.window.groups, p.window.kernel[1], p.window.kernel[2])}};
    CU_ASSERT_EQUAL_FATAL(op_check(OP_CONV, &p, c.in, 2, &c.out, NULL), 0);
    return c;
}

static bool fits(uint32_t algorithm, const struct conv_case *c) {
    return algorithm_fits(algorithm, OP_CONV, &c->p, c->in, 2, &c->out);
}
static uint32_t chosen(const struct conv_case *c) {
    return algorithm_choose(ISA_GENERIC, OP_CONV, &c->p, c->in, 2, &c->out);
}

static void convolutions_take_what_suits_them(void) {
    const struct shape x = SHAPE(1, 32, 56, 56);
    const struct conv_case plain = conv_of(fixture_window(3, 1, 1, 1), x, 64);
    CU_ASSERT_EQUAL(chosen(&plain), ALG_CONV_IM2COL);
    CU_ASSERT_FALSE(fits(ALG_CONV_POINTWISE, &plain));
    CU_ASSERT_FALSE(fits(ALG_CONV_DEPTHWISE, &plain));
    CU_ASSERT_TRUE(fits(ALG_CONV_REFERENCE, &plain));
    CU_ASSERT_FALSE(fits(ALG_DEFAULT, &plain));
    CU_ASSERT_FALSE(fits(ALG_COUNT, &plain));
    CU_ASSERT_FALSE(fits(UINT32_MAX, &plain));

    const struct conv_case point = conv_of(fixture_window(1, 1, 0, 1), x, 64);
    CU_ASSERT_EQUAL(chosen(&point), ALG_CONV_POINTWISE);
    const struct conv_case strided = conv_of(fixture_window(1, 2, 0, 1), x, 64),
                           padded = conv_of(fixture_window(1, 1, 1, 1), x, 64);
    CU_ASSERT_EQUAL(chosen(&strided), ALG_CONV_IM2COL);
    CU_ASSERT_EQUAL(chosen(&padded), ALG_CONV_IM2COL);

    const struct conv_case depthwise = conv_of(fixture_window(3, 2, 1, 32), x, 32);
    CU_ASSERT_EQUAL(chosen(&depthwise), ALG_CONV_DEPTHWISE);
    const struct conv_case grouped = conv_of(fixture_window(3, 1, 1, 8), x, 32);
    CU_ASSERT_EQUAL(chosen(&grouped), ALG_CONV_IM2COL);
}

static void volumes_take_the_plain_loops(void) {
    union op_params p = fixture_window(3, 1, 1, 1);
    p.window.spatial = 3;
    p.window.kernel[0] = 3;
    p.window.pad_begin[0] = p.window.pad_end[0] = 1;
    struct conv_case c = {.p = p, .in = {SHAPE(1, 4, 8, 8, 8), SHAPE(4, 4, 3, 3, 3)}};
    CU_ASSERT_EQUAL_FATAL(op_check(OP_CONV, &p, c.in, 2, &c.out, NULL), 0);
    CU_ASSERT_EQUAL(chosen(&c), ALG_CONV_REFERENCE);
    CU_ASSERT_FALSE(fits(ALG_CONV_IM2COL, &c) || fits(ALG_CONV_POINTWISE, &c) ||
                    fits(ALG_CONV_DEPTHWISE, &c));
}

static void others_have_one(void) {
    const struct shape in[] = {SHAPE(1, 8), SHAPE(8, 3)};
    const union op_params p = {.gemm = {1, 1, 0, 0}};
    CU_ASSERT_TRUE(algorithm_fits(ALG_DEFAULT, OP_GEMM, &p, in, 2, &SHAPE(1, 3)));
    CU_ASSERT_FALSE(algorithm_fits(ALG_CONV_REFERENCE, OP_GEMM, &p, in, 2, &SHAPE(1, 3)));
    CU_ASSERT_EQUAL(algorithm_choose(ISA_GENERIC, OP_GEMM, &p, in, 2, &SHAPE(1, 3)), ALG_DEFAULT);
    CU_ASSERT_EQUAL(algorithm_scratch_bytes(ALG_DEFAULT, OP_GEMM, &p, in, 2, &SHAPE(1, 3)), 0);
    for (uint32_t a = 0; a < ALG_COUNT; a++) CU_ASSERT(strlen(algorithm_name(a)) > 3);
    CU_ASSERT_STRING_EQUAL(algorithm_name(ALG_COUNT), "unknown");
}

/* Scratch is derived from hostile images too: whatever fits needs little. */
static void scratch_is_bounded(void) {
    uint64_t seed = 3;
    int tried = 0;
    for (int round = 0; round < 20000; round++) {
        const int32_t sizes[] = {1, 2, 3, 7, 64, 500, 4096, OP_MAX_WINDOW};
        union op_params p = fixture_window(1, 1, 0, 1);
        for (int a = 1; a < 3; a++) {
            p.window.kernel[a] = sizes[fixture_random(&seed, 8)];
            p.window.stride[a] = sizes[fixture_random(&seed, 8)];
            p.window.dilation[a] = sizes[fixture_random(&seed, 8)];
            p.window.pad_begin[a] = (int32_t)fixture_random(&seed, OP_MAX_PAD);
        }
        p.window.groups = fixture_random(&seed, 2) ? 1 : 16;
        const int64_t d[] = {1, 3, 50, 5000, 500000, 100000000};
        const struct shape x = SHAPE(1, 16, d[fixture_random(&seed, 6)], d[fixture_random(&seed, 6)]);
        struct conv_case c = {
            .p = p, .in = {x, SHAPE(16, 16 / p.window.groups, p.window.kernel[1], p.window.kernel[2])}};
        if (op_check(OP_CONV, &p, c.in, 2, &c.out, NULL)) continue;
        for (uint32_t a = 0; a < ALG_COUNT; a++) {
            const size_t bytes = algorithm_scratch_bytes(a, OP_CONV, &c.p, c.in, 2, &c.out);
            CU_ASSERT_FATAL(bytes <= (size_t)128 << 20);
            if (!fits(a, &c)) CU_ASSERT_EQUAL_FATAL(bytes, 0);
        }
        CU_ASSERT_NOT_EQUAL(chosen(&c), ALG_DEFAULT);
        tried++;
    }
    CU_ASSERT(tried > 1000);
}

static void packing_scales_output_channels(void) {
    const float w[6] = {1, 2, 3, 4, 5, 6};
    const double scale[] = {10, 0, -1};
    float to[6];
    const union op_params conv = fixture_window(1, 1, 0, 1), gemm = {.gemm = {1, 1, 0, 0}},
                          gemm_t = {.gemm = {1, 1, 0, 1}};
    algorithm_pack_weight(ALG_CONV_IM2COL, OP_CONV, &conv, &SHAPE(3, 2, 1, 1), NULL, w, to);
    CU_ASSERT_EQUAL(memcmp(to, w, sizeof w), 0);
    algorithm_pack_weight(ALG_CONV_IM2COL, OP_CONV, &conv, &SHAPE(3, 2, 1, 1), scale, w, to);
    CU_ASSERT_EQUAL(memcmp(to, ((float[]){10, 20, 0, 0, -5, -6}), sizeof to), 0);
    algorithm_pack_weight(ALG_DEFAULT, OP_GEMM, &gemm_t, &SHAPE(3, 2), scale, w, to);
    CU_ASSERT_EQUAL(memcmp(to, ((float[]){10, 20, 0, 0, -5, -6}), sizeof to), 0);
    algorithm_pack_weight(ALG_DEFAULT, OP_GEMM, &gemm, &SHAPE(2, 3), scale, w, to); /* columns are outputs */
    CU_ASSERT_EQUAL(memcmp(to, ((float[]){10, 0, -3, 40, 0, -6}), sizeof to), 0);
    CU_ASSERT_EQUAL(algorithm_weight_bytes(ALG_CONV_IM2COL, OP_CONV, &conv, &SHAPE(3, 2, 1, 1)), sizeof w);
    /* Blocks and what is left over of them: every length of a row, both ways round. */
    float many[3 * 40], packed[3 * 40 + 1];
    double factors[40];
    for (int i = 0; i < 120; i++) many[i] = (float)i + 0.5f;
    for (int i = 0; i < 40; i++) factors[i] = 1.0 / (i + 3);
    for (int64_t n = 1; n <= 40; n++)
        for (int last = 0; last < 2; last++) {
            packed[3 * n] = 77;
            algorithm_pack_weight(ALG_DEFAULT, OP_GEMM, last ? &gemm : &gemm_t, &SHAPE(3, n), factors, many,
                                  packed);
            for (int64_t i = 0; i < 3 * n; i++)
                CU_ASSERT_EQUAL(packed[i], (float)(many[i] * factors[last ? i % n : i / n]));
            CU_ASSERT_EQUAL(packed[3 * n], 77);
        }
    /* Rounded once: 49 / 49 is 1 through double; through float it would not be. */
    algorithm_pack_weight(ALG_CONV_IM2COL, OP_CONV, &conv, &SHAPE(1, 1, 1, 1), &(double){1.0 / 49},
                          &(float){49}, to);
    CU_ASSERT_EQUAL(to[0], 1);
}

static void multiply_adds_by_hand(void) {
    const struct conv_case c =
        conv_of(fixture_window(3, 2, 1, 2), SHAPE(1, 4, 8, 8), 6); /* 6 x 4 x 4 results of 18 */
    CU_ASSERT_EQUAL(algorithm_multiply_adds(OP_CONV, &c.p, c.in, 2, &c.out), 6 * 4 * 4 * 18);
    const union op_params t = {.gemm = {1, 1, 1, 1}};
    CU_ASSERT_EQUAL(
        algorithm_multiply_adds(OP_GEMM, &t, (struct shape[]){SHAPE(7, 2), SHAPE(3, 7)}, 2, &SHAPE(2, 3)),
        42);
    CU_ASSERT_EQUAL(algorithm_multiply_adds(OP_MATMUL, &t, (struct shape[]){SHAPE(5, 2, 7), SHAPE(7, 3)}, 2,
                                            &SHAPE(5, 2, 3)),
                    210);
    CU_ASSERT_EQUAL(algorithm_multiply_adds(OP_RELU, &t, &SHAPE(7), 1, &SHAPE(7)), 0);
}

SUITE(algorithm, {"convolutions take what suits them", convolutions_take_what_suits_them},
      {"volumes take the plain loops", volumes_take_the_plain_loops}, {"others have one", others_have_one},
      {"scratch is bounded", scratch_is_bounded},
      {"packing scales output channels", packing_scales_output_channels},
      {"multiply-adds by hand", multiply_adds_by_hand});
