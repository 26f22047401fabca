/* A few vectors times a matrix of constants; see kernels_vectors.h. */
#include "infer/kernels_vectors.h"

#include "infer/layout.h"
#include "infer/simd_levels.h"

#include <string.h>

enum { ROWS = 4, FEW = 32, PART_ROWS = 32 };
#define AHEAD 512 /* floats: what memory needs to be asked for early enough */

bool vectors_are_few(int64_t vectors) {
    return vectors <= FEW;
}

#define LEVEL(name) name##_128
#define LEVEL_TARGET
#define LEVEL_BYTES   16
#define VECTORS_GROUP 1
#include "infer/kernels_vectors_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES
#undef VECTORS_GROUP

#if defined(__x86_64__)
#define LEVEL(name)   name##_256
#define LEVEL_TARGET  SIMD_TARGET_256
#define LEVEL_BYTES   32
#define VECTORS_GROUP 1
#include "infer/kernels_vectors_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES
#undef VECTORS_GROUP

/* Four vectors at a time have 16 sums of 16 floats, which only the widest and most registers hold. */
#define LEVEL(name)   name##_512
#define LEVEL_TARGET  SIMD_TARGET_512
#define LEVEL_BYTES   64
#define VECTORS_GROUP 4
#include "infer/kernels_vectors_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES
#undef VECTORS_GROUP
#endif

typedef void (*range_fn)(const struct vectors_product *p, int64_t row, int64_t end);

static range_fn find_range(void) {
#if defined(__x86_64__)
    if (simd_level() == SIMD_512) return multiply_range_512;
    if (simd_level() == SIMD_256) return multiply_range_256;
#endif
    return multiply_range_128;
}

static void run_part(const void *work, uint32_t part, uint32_t hand) {
    const struct vectors_product *p = work;
    const int64_t row = (int64_t)part * PART_ROWS, left = p->rows - row;
    (void)hand;
    find_range()(p, row, row + (left < PART_ROWS ? left : PART_ROWS));
}

void vectors_multiply(struct team_seat *seat, const struct vectors_product *p) {
    team_run_all(seat, run_part, p, (p->rows + PART_ROWS - 1) / PART_ROWS);
}
