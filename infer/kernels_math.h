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

/* x[j] = 1 / (1 + exp(-x[j])), within 3 units in the last place; below -87 it gives 0, NaN stays NaN. As
 * simd_exp, but bounded through the bits, which gcc turns into a minimum: of a comparison of floats it makes
 * a mask on every step that follows, and takes half as long again. */
SIMD_INLINE void simd_sigmoid(float x[SIMD_LANES]) {
    const float magic = 12582912.0f, log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    const uint32_t most = 0x42ae0000u; /* 87: its exponential's reciprocal is still normal */
    float v[SIMD_LANES], shifted[SIMD_LANES], y[SIMD_LANES], power[SIMD_LANES];
    uint32_t bits[SIMD_LANES];
    memcpy(bits, x, sizeof bits);
    SIMD_EACH(j) {
        const uint32_t size = bits[j] & 0x7fffffffu;
        bits[j] = (size < most ? size : most) | (bits[j] & 0x80000000u);
    }
    memcpy(v, bits, sizeof v);
    SIMD_EACH(j) {
        shifted[j] = magic - v[j] * log2e;
        const float n = shifted[j] - magic, r = (-v[j] - n * ln2_high) - n * ln2_low;
        float p = 1.0f / 5040;
        p = p * r + 1.0f / 720;
        p = p * r + 1.0f / 120;
        p = p * r + 1.0f / 24;
        p = p * r + 1.0f / 6;
        p = p * r + 0.5f;
        p = p * r + 1;
        y[j] = p * r + 1;
    }
    memcpy(bits, shifted, sizeof bits);
    SIMD_EACH(j) bits[j] = (bits[j] - 0x4b400000u + 127u) << 23;
    memcpy(power, bits, sizeof power);
    SIMD_EACH(j) {
        const float s = 1 / (1 + y[j] * power[j]), bounded = x[j] < -87 ? 0 : s;
        x[j] = x[j] != x[j] ? x[j] : bounded;
    }
}

/* x[j] = log(x[j]), within 2 units in the last place; 0 gives -infinity, below 0
 * NaN. Denormals are scaled up first.
 *
 * x = 2^n * m with sqrt(1/2) <= m < sqrt(2); log(m) = 2 atanh(s), s = (m - 1) / (m + 1),
 * |s| < 0.172, so that of the series s + s^3/3 + ... the term s^13/13 is below 1e-11. */
SIMD_INLINE void simd_log(float x[SIMD_LANES]) {
    const float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    float m[SIMD_LANES], scaled[SIMD_LANES], exponent[SIMD_LANES];
    uint32_t bits[SIMD_LANES];
    for (int j = 0; j < SIMD_LANES; j++) scaled[j] = x[j] < 1.17549435e-38f ? x[j] * 33554432.0f : x[j];
    memcpy(bits, scaled, sizeof bits);
    for (int j = 0; j < SIMD_LANES; j++) {
        const uint32_t shifted = bits[j] - 0x3f3504f3u; /* sqrt(1/2) becomes 0 */
        exponent[j] = (float)((int32_t)shifted >> 23) - (x[j] < 1.17549435e-38f ? 25.0f : 0.0f);
        bits[j] = (shifted & 0x007fffffu) + 0x3f3504f3u;
    }
    memcpy(m, bits, sizeof m);
    for (int j = 0; j < SIMD_LANES; j++) {
        const float f = m[j] - 1, s = f / (2 + f), z = s * s;
        float q = 1.0f / 11;
        q = q * z + 1.0f / 9;
        q = q * z + 1.0f / 7;
        q = q * z + 1.0f / 5;
        q = q * z + 1.0f / 3;
        const float tail = q * z * s * 2; /* log(m) = 2 s + tail, and 2 s = f - s f */
        const float v = (f - (s * f - (tail + exponent[j] * ln2_low))) + exponent[j] * ln2_high;
        float y = x[j] > 0 ? v : __builtin_nanf("");
        y = x[j] == 0 ? -__builtin_inff() : y;
        x[j] = x[j] == __builtin_inff() ? x[j] : y;
    }
}

#endif
