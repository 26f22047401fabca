/* How loops in this engine get vectorised, in one place.
 *
 * Hot loops are written in strips of SIMD_LANES floats with a constant trip
 * count: gcc and clang both turn these into vector code at -O2, without
 * intrinsics and without -ffast-math. SIMD_CLONES in front of a function makes
 * the compiler emit it for AVX-512, AVX2 and the baseline, and the loader
 * pick one. */
#ifndef INFER_SIMD_H
#define INFER_SIMD_H

#define SIMD_LANES 16

/* The pick is made by an ifunc resolver, which runs before a sanitizer's
 * runtime is up: no clones there. clang 14 lacks the x86-64-v levels. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SIMD_NO_CLONES
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SIMD_NO_CLONES
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(SIMD_NO_CLONES)
#define SIMD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SIMD_CLONES
#endif

/* Helpers that a clone calls must become part of it. */
#define SIMD_INLINE static inline __attribute__((always_inline))

/* One strip in registers; never passed or returned by value, so the ABI does not matter. */
typedef float simd_f __attribute__((vector_size(64)));
typedef int simd_i __attribute__((vector_size(64)));
/* The same wherever floats may lie. */
typedef float simd_f_at __attribute__((vector_size(64), aligned(4), may_alias));

/* lanes = max(lanes, x), x passed over where it is NaN. */
SIMD_INLINE void simd_max(simd_f *lanes, const float *x) {
    const simd_f v = *(const simd_f_at *)x;
    const simd_i larger = v > *lanes;
    *lanes = (simd_f)((larger & (simd_i)v) | (~larger & (simd_i)*lanes));
}

SIMD_INLINE double simd_sum(const simd_f *lanes) {
    double sum = 0;
    for (int j = 0; j < SIMD_LANES; j++) sum += (double)(*lanes)[j];
    return sum;
}

/* min(max(x, lo), hi); a NaN stays a NaN. */
SIMD_INLINE float simd_clip(float x, float lo, float hi) {
    x = x < lo ? lo : x;
    return x > hi ? hi : x;
}

#endif
