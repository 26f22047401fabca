/* Which vector instructions hot kernels are compiled for, and which the host has.
 *
 * Kernels that live in registers need the vector type of each level (a vector
 * wider than a register would live in memory), so their bodies are headers that
 * a .c file includes once per level, with LEVEL_NAME, LEVEL_TARGET and LEVEL_BYTES
 * set. Every level can be compiled and, where the host has it, tested. */
#ifndef INFER_SIMD_LEVELS_H
#define INFER_SIMD_LEVELS_H

#include "infer/simd.h"

#include <stdint.h>

#if defined(__x86_64__)
#define SIMD_TARGET_512  __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")))
#define SIMD_TARGET_BF16 __attribute__((target("avx512bf16,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")))
#define SIMD_TARGET_256  __attribute__((target("avx2,fma")))
#endif

enum simd_level { SIMD_128, SIMD_256, SIMD_512, SIMD_LEVELS };

/* A build for tests can leave out what is above (make test-levels): with SIMD_NO_CLONES and the compiler's
 * own level set, all of it is then as on such a host, natively. */
#ifndef SIMD_MOST
#define SIMD_MOST SIMD_512
#endif

/* The best one that this host runs, or what a test has set. */
enum simd_level simd_level(void);
/* For tests: as on a host with no more than `most`. Not while kernels run. */
void simd_level_limit(enum simd_level most);

#endif
