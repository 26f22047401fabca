/* The tiles of every level of vector instructions, and the choice among them.
 * 32 registers of 16 floats hold two blocks of 14 pixels; 16 of 8 floats one
 * block of 6 pixels; 16 of 4 floats one block of 3 (32 on aarch64: 6). */
#include "infer/kernels_tile.h"

#include "infer/layout.h"
#include "infer/simd_levels.h"

#include <stddef.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Else gcc keeps pixels that the next turn reads again in registers, has too few, and spills them: 25 %. */
#define TILE_FORGET __asm__ volatile("" ::: "memory")

/* Weights two kilobytes ahead, also of what comes behind: from the second-level cache, 8 %. */
#define TILE_PREFETCH(w) __builtin_prefetch((const void *)((uintptr_t)(w) + 2048))

#define TILE_PREFETCH_FAR(w) __builtin_prefetch((const void *)(uintptr_t)(w), 0, 2)

/* On aarch64, where 24 sums, 4 vectors of weights and all 6 pixels would be 34 of 32 registers: two pixels at
 * a time. */
#if defined(__aarch64__)
#define TILE_APART(p)                                                                                        \
    if ((p) % 2 == 1) TILE_FORGET
#else
#define TILE_APART(p) (void)(p)
#endif

#define LIST_3(F, b, s) F(b, 1, s) F(b, 2, s) F(b, 3, s)
#define LIST_6(F, b, s) LIST_3(F, b, s) F(b, 4, s) F(b, 5, s) F(b, 6, s)
#define LIST_14(F, b, s)                                                                                     \
    LIST_6(F, b, s)                                                                                          \
    F(b, 7, s) F(b, 8, s) F(b, 9, s) F(b, 10, s) F(b, 11, s) F(b, 12, s) F(b, 13, s) F(b, 14, s)

#define TILE_EACH_STEP(F)   F(1) F(2) F(4) F(16) F(32) F(0) /* the last: any */
#define TILE_ADD(sum, w, x) (sum) += (w) * (x)

#define LEVEL(name) name##_128
#define LEVEL_TARGET
#define LEVEL_BYTES 16
#define TILE_BLOCKS 1
#if defined(__aarch64__)
#define TILE_PIXELS 6
#define TILE_LIST   LIST_6
#define BASE_PIXELS 6
#else
#define TILE_PIXELS 3
#define TILE_LIST   LIST_3
#define BASE_PIXELS 3
#endif
#include "infer/kernels_tile_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES

#if defined(__x86_64__)
#define LEVEL(name)  name##_256
#define LEVEL_TARGET SIMD_TARGET_256
#define LEVEL_BYTES  32
#define TILE_BLOCKS  1
#define TILE_PIXELS  6
#define TILE_LIST    LIST_6
#include "infer/kernels_tile_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES

#define LEVEL(name)  name##_512
#define LEVEL_TARGET SIMD_TARGET_512
#define LEVEL_BYTES  64
#define TILE_BLOCKS  2
#define TILE_PIXELS  14
#define TILE_LIST    LIST_14
#include "infer/kernels_tile_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES
#undef TILE_EACH_STEP
#undef TILE_ADD

/* Two products in each lane: a word of x is a pair of channels, and so is each of the 16 of weights. */
#define TILE_EACH_STEP(F) F(8) F(16)
#define TILE_ADD(sum, w, x)                                                                                  \
    (sum) = (VEC)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(w), (__m512bh)_mm512_set1_ps(x))
#define LEVEL(name)  name##_bf16
#define LEVEL_TARGET SIMD_TARGET_BF16
#define LEVEL_BYTES  64
#define TILE_BLOCKS  TILE_MAX_BLOCKS
#define TILE_PIXELS  TILE_MAX_PIXELS
#define TILE_LIST    LIST_14
#include "infer/kernels_tile_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES
#endif

struct tile_limits tile_limits(void) {
    switch (simd_level()) {
    case SIMD_512: return (struct tile_limits){2, 14};
    case SIMD_256: return (struct tile_limits){1, 6};
    default: return (struct tile_limits){1, BASE_PIXELS};
    }
}

static int index_of_step(int64_t s) {
    static const int64_t steps[] = {1, 2, 4, 16, 32};
    const int n = sizeof steps / sizeof *steps;
    for (int i = 0; i < n; i++)
        if (steps[i] == s) return i;
    return n;
}

tile_fn tile_find(int blocks, int pixels, int64_t s) {
    const int i = index_of_step(s);
#if defined(__x86_64__)
    if (simd_level() == SIMD_512) return tiles_512[i][blocks - 1][pixels - 1];
    if (simd_level() == SIMD_256) return tiles_256[i][blocks - 1][pixels - 1];
#endif
    return tiles_128[i][blocks - 1][pixels - 1];
}

tile_fn tile_find_bf16(int blocks, int pixels, int64_t s) {
#if defined(__x86_64__)
    if (s == 8 || s == 16) return tiles_bf16[s == 16][blocks - 1][pixels - 1];
#endif
    (void)blocks, (void)pixels, (void)s;
    return NULL;
}
