/* Rounds blocked pixels to pairs of bfloat16, with the instruction and without; see kernels_bf16.h. */
#include "infer/kernels_bf16.h"

#include "infer/bf16.h"
#include "infer/layout.h"
#include "infer/simd_levels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LANES LAYOUT_LANES
#define WORDS (LANES / 2)

void bf16_pack_pixels_plainly(const float *from, int64_t n, int64_t channels, float *to) {
    for (int64_t p = 0; p < n; p++, from += LANES, to += WORDS)
        for (int64_t w = 0; w < WORDS; w++)
            to[w] = bf16_pair(2 * w < channels ? from[2 * w] : 0, 2 * w + 1 < channels ? from[2 * w + 1] : 0);
}

#if defined(__x86_64__)
SIMD_TARGET_BF16 void bf16_pack_pixels(const float *from, int64_t n, int64_t channels, float *to) {
    const __mmask16 there = (__mmask16)((1u << channels) - 1);
    for (int64_t p = 0; p < n; p++, from += LANES, to += WORDS)
        _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(there, from)));
}
#else
void bf16_pack_pixels(const float *from, int64_t n, int64_t channels, float *to) {
    bf16_pack_pixels_plainly(from, n, channels, to);
}
#endif
