/* Asks the processor once which level of vector instructions it has. */
#include "infer/simd_levels.h"

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

enum simd_level simd_level(void) {
    const enum simd_level host = host_level(); /* a load and a few tests: the answers are kept by libgcc */
    return host < limit ? host : limit;
}

void simd_level_limit(enum simd_level most) {
    limit = most < SIMD_MOST ? most : SIMD_MOST;
}
