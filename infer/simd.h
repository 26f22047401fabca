/* How loops in this engine get vectorised, in one place.
 *
 * Hot loops are written in strips of SIMD_LANES floats: `SIMD_EACH (j)` has a
 * constant trip count, which gcc and clang both turn into vector code from -O2
 * on, for every instruction set, without intrinsics and without -ffast-math. SIMD_CLONES in front of a
 * function makes the compiler emit it for AVX-512, AVX2 and the baseline, and the loader pick one. */
#ifndef INFER_SIMD_H
#define INFER_SIMD_H

#include <stdint.h>

#define SIMD_LANES 16

/* At -O3, gcc would unroll the loop before it tries to vectorise it, and then
 * fail to (12.2: a factor of 8 for a Relu); told not to unroll, it does. */
#if defined(__clang__)
#define SIMD_EACH(j) for (int j = 0; j < SIMD_LANES; j++)
#else
#define SIMD_EACH(j) _Pragma("GCC unroll 1") for (int j = 0; j < SIMD_LANES; j++)
#endif

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

/* One strip in a register of AVX-512. Where the machine's vectors are narrower it lies in memory, and gcc
 * takes comparisons apart, float by float: what is to be fast everywhere is a float[SIMD_LANES] or a kernel
 * of each level (simd_levels.h). Never passed or returned by value, so the ABI does not matter. */
typedef float simd_f __attribute__((vector_size(64)));
/* The same wherever floats may lie. */
typedef float simd_f_at __attribute__((vector_size(64), aligned(4), may_alias));

SIMD_INLINE double simd_sum(const float lanes[SIMD_LANES]) {
    double sum = 0;
    for (int j = 0; j < SIMD_LANES; j++) sum += (double)lanes[j];
    return sum;
}

/* to: from[0], from[2], … from[30]; reads one float more. */
SIMD_INLINE void simd_evens(const float *from, float *to) {
    const simd_f a = *(const simd_f_at *)from, b = *(const simd_f_at *)(from + SIMD_LANES);
    *(simd_f_at *)to =
        __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}

/* to[i] = from[i * stride] for i < n; reads nothing but what it uses or what lies between. */
SIMD_INLINE void simd_gather(const float *from, int64_t stride, float *to, int64_t n) {
    int64_t i = 0;
    if (stride == 2) /* `<`: the float behind the strip's last one exists, as the next one does */
        for (; i + SIMD_LANES < n; i += SIMD_LANES) simd_evens(from + 2 * i, to + i);
    for (; i < n; i++) to[i] = from[i * stride];
}

/* min(max(x, lo), hi); a NaN stays a NaN. */
SIMD_INLINE float simd_clip(float x, float lo, float hi) {
    x = x < lo ? lo : x;
    return x > hi ? hi : x;
}

#endif
