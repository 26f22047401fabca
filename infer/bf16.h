/* bfloat16, the upper half of a float, in pairs: a word holds an even channel in its lower half and the next
 * one in its upper half, as vdpbf16ps multiplies them. Pure, any thread. */
#ifndef INFER_BF16_H
#define INFER_BF16_H

#include <stdint.h>
#include <string.h>

/* As vcvtneps2bf16 rounds: to nearest even, denormals to zero, a NaN stays one. */
static inline uint16_t bf16_round(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t exponent = bits & 0x7f800000;
    if (exponent == 0) return (uint16_t)(bits >> 16 & 0x8000);
    if (exponent == 0x7f800000) return (uint16_t)(bits >> 16 | ((bits & 0x7fffff) != 0 ? 0x40 : 0));
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float bf16_widen(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* A float's room for two: never to be computed with. */
static inline float bf16_pair(float even, float odd) {
    const uint32_t bits = bf16_round(even) | (uint32_t)bf16_round(odd) << 16;
    float word;
    memcpy(&word, &bits, sizeof word);
    return word;
}

#endif
