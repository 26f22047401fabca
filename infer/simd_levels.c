/* Asks the processor once which level of vector instructions it has. */
#include "infer/simd_levels.h"

#include <stdatomic.h>

static enum simd_level limit = SIMD_MOST;

static enum simd_level host_level(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("fma"))
        return SIMD_512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return SIMD_256;
#endif
    return SIMD_128;
}

/* Asked for by every tile: known after the first time. */
static _Atomic enum simd_level known = SIMD_LEVELS;

enum simd_level simd_level(void) {
    enum simd_level level = atomic_load_explicit(&known, memory_order_relaxed);
    if (level != SIMD_LEVELS) return level;
    level = host_level();
    if (level > limit) level = limit;
    atomic_store_explicit(&known, level, memory_order_relaxed);
    return level;
}

void simd_level_limit(enum simd_level most) {
    limit = most < SIMD_MOST ? most : SIMD_MOST;
    atomic_store_explicit(&known, SIMD_LEVELS, memory_order_relaxed);
}
