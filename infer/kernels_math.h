/* Elementary functions over strips of SIMD_LANES floats, for kernels to inline. */
#ifndef INFER_KERNELS_MATH_H
#define INFER_KERNELS_MATH_H

#include "infer/simd.h"

#include <stdint.h>
#include <string.h>

/* x[j] = exp(x[j]), within 2 units in the last place. Below -87.3 it gives 0
 * (no denormals), above 88.3 infinity; NaN stays NaN.
 *
 * exp(x) = 2^n * exp(r) with n = round(x / ln 2) and |r| <= ln 2 / 2. Adding
 * 1.5 * 2^23 rounds to an integer, which is then in the low bits of the sum: no
 * conversion, which would be undefined for NaN. ln 2 is subtracted in two parts,
 * the first with enough zero bits that n times it is exact. exp(r) is the
 * Taylor series up to r^7: its first omitted term is below 6e-9. */
SIMD_INLINE void simd_exp(float x[SIMD_LANES]) {
    const float magic = 12582912.0f, log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    float shifted[SIMD_LANES], y[SIMD_LANES], power[SIMD_LANES];
    uint32_t exponent[SIMD_LANES];
    SIMD_EACH(j) {
        const float v = simd_clip(x[j], -87.3f, 88.3f);
        shifted[j] = v * log2e + magic;
        const float n = shifted[j] - magic, r = (v - n * ln2_high) - n * ln2_low;
        float p = 1.0f / 5040;
        p = p * r + 1.0f / 720;
        p = p * r + 1.0f / 120;
        p = p * r + 1.0f / 24;
        p = p * r + 1.0f / 6;
        p = p * r + 0.5f;
        p = p * r + 1;
        y[j] = p * r + 1;
    }
    memcpy(exponent, shifted, sizeof exponent);
    SIMD_EACH(j) exponent[j] = (exponent[j] - 0x4b400000u + 127u) << 23; /* 2^n */
    memcpy(power, exponent, sizeof power);
    SIMD_EACH(j) {
        const float v = x[j] < -87.3f ? 0 : y[j] * power[j];
        x[j] = x[j] > 88.3f ? __builtin_inff() : v;
    }
}

#endif
