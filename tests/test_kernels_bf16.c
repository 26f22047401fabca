/* Rounding to bfloat16: by hand, and the instruction against its twin in plain C, bit for bit. */
#include "infer/kernels_bf16.h"

#include "infer/bf16.h"
#include "infer/image.h"
#include "tests/suite.h"

#include <string.h>

static float of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void rounding(void) {
    CU_ASSERT_EQUAL(bf16_round(1), 0x3f80);
    CU_ASSERT_EQUAL(bf16_round(of_bits(0x3f808000)), 0x3f80); /* half: to even */
    CU_ASSERT_EQUAL(bf16_round(of_bits(0x3f818000)), 0x3f82);
    CU_ASSERT_EQUAL(bf16_round(of_bits(0x3f808001)), 0x3f81);
    CU_ASSERT_EQUAL(bf16_round(of_bits(0xbf807fff)), 0xbf80);
    CU_ASSERT_EQUAL(bf16_round(of_bits(0x7f7fffff)), 0x7f80); /* the largest float: infinity */
    CU_ASSERT_EQUAL(bf16_round(of_bits(0xff800000)), 0xff80);
    CU_ASSERT_EQUAL(bf16_round(of_bits(0x7f800001)), 0x7fc0); /* a NaN that would look like infinity */
    CU_ASSERT_EQUAL(bf16_round(of_bits(0x807fffff)), 0x8000); /* denormals: zero */
    CU_ASSERT_EQUAL(bf16_widen(0xbf80), -1);
}

static uint32_t next(uint64_t *seed) {
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*seed >> 32);
}

/* All kinds of bits, of all numbers of channels; what is behind them must not show. */
static void like_its_twin(void) {
    enum { PIXELS = 61 };
    static const uint32_t special[] = {0,          0x80000000, 1,          0x807fffff,
                                       0x00800000, 0x7f7fffff, 0x7f800000, 0xff800000,
                                       0x7f800001, 0xffffffff, 0x3f808000, 0x3f818000};
    float from[PIXELS * 16], got[PIXELS * 8], expected[PIXELS * 8];
    uint64_t seed = 1;
    if (!image_isa_runs_here(ISA_AVX512_BF16)) {
        fprintf(stderr, "\nSKIPPED: this CPU has no AVX512-BF16\n");
        return;
    }
    for (int round = 0; round < 20; round++)
        for (int64_t channels = 1; channels <= 16; channels++) {
            for (int i = 0; i < PIXELS * 16; i++) {
                const uint32_t bits = next(&seed);
                from[i] =
                    of_bits(bits % 8 ? bits : special[next(&seed) % (sizeof special / sizeof *special)]);
            }
            bf16_pack_pixels(from, PIXELS, channels, got);
            bf16_pack_pixels_plainly(from, PIXELS, channels, expected);
            CU_ASSERT_EQUAL_FATAL(memcmp(got, expected, sizeof got), 0);
        }
}

SUITE(kernels_bf16, {"rounding", rounding}, {"the instruction rounds like its twin", like_its_twin});
