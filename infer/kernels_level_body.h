/* Vector types and small helpers of one level; included once per level by the
 * kernels_*_body.h, with LEVEL(name), LEVEL_TARGET and LEVEL_BYTES (of a vector) set. */

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#undef LEVEL_LANES
#undef PARTS
#undef VEC
#undef MASK
#undef AT
#undef LEVEL_INLINE
#undef LEVEL_X86
#if defined(__x86_64__) && LEVEL_BYTES == 64
#define LEVEL_X86(f) _mm512_##f##_ps
#elif defined(__x86_64__) && LEVEL_BYTES == 32
#define LEVEL_X86(f) _mm256_##f##_ps
#elif defined(__x86_64__)
#define LEVEL_X86(f) _mm_##f##_ps
#endif
#define LEVEL_LANES (LEVEL_BYTES / 4)
#define PARTS       (LAYOUT_LANES / LEVEL_LANES) /* vectors of one block */

typedef float LEVEL(vec) __attribute__((vector_size(LEVEL_BYTES)));
typedef int LEVEL(mask) __attribute__((vector_size(LEVEL_BYTES)));
typedef float LEVEL(at) __attribute__((vector_size(LEVEL_BYTES), aligned(4), may_alias));
#define VEC          LEVEL(vec)
#define MASK         LEVEL(mask)
#define AT           LEVEL(at)
#define LEVEL_INLINE LEVEL_TARGET SIMD_INLINE

/* min(max(v, lo), hi); a NaN stays a NaN. x86's own instructions give the second operand where one is a NaN;
 * from the comparisons gcc makes twice as many, with masks to wait for. */
LEVEL_INLINE void LEVEL(clip)(VEC *v, float lo, float hi) {
    const VEC low = (VEC){0} + lo, high = (VEC){0} + hi;
#ifdef LEVEL_X86
    *v = (VEC)LEVEL_X86(min)(high, LEVEL_X86(max)(low, *v));
#else
    const MASK less = *v < low;
    *v = (VEC)((less & (MASK)low) | (~less & (MASK)*v));
    const MASK more = *v > high;
    *v = (VEC)((more & (MASK)high) | (~more & (MASK)*v));
#endif
}
