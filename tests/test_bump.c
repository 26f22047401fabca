/* Bump memory: aligned, zeroed, apart, and every size. */
#include "infer/bump.h"

#include "tests/suite.h"

#include <stdint.h>
#include <string.h>

static void pieces_are_aligned_zeroed_and_apart(void) {
    struct bump b = {0};
    unsigned char *pieces[200];
    size_t sizes[200];
    for (int i = 0; i < 200; i++) { /* small ones, with large ones among them */
        sizes[i] = i % 7 == 3 ? 100000 : (size_t)(i * 37 % 500);
        pieces[i] = bump_alloc(&b, sizes[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(pieces[i]);
        CU_ASSERT_EQUAL((uintptr_t)pieces[i] % 64, 0);
        for (size_t k = 0; k < sizes[i]; k++) CU_ASSERT_EQUAL_FATAL(pieces[i][k], 0);
        memset(pieces[i], i, sizes[i]);
    }
    for (int i = 0; i < 200; i++)
        for (size_t k = 0; k < sizes[i]; k++) CU_ASSERT_EQUAL_FATAL(pieces[i][k], i);
    bump_free(&b);
    CU_ASSERT_PTR_NULL(b.chunks);
    bump_free(&b); /* empty is fine */
}

/* Megabytes come from the kernel as they are: zero without being written. */
static void large_pieces_too(void) {
    struct bump b = {0};
    const size_t bytes = ((size_t)3 << 20) + 100;
    unsigned char *first = bump_alloc(&b, bytes), *small = bump_alloc(&b, 10),
                  *second = bump_alloc(&b, bytes);
    CU_ASSERT_FATAL(first && small && second);
    for (int i = 0; i < 2; i++) {
        unsigned char *p = i ? second : first;
        CU_ASSERT_EQUAL((uintptr_t)p % 64, 0);
        size_t not_zero = 0;
        for (size_t k = 0; k < bytes; k++) not_zero += p[k] != 0;
        CU_ASSERT_EQUAL(not_zero, 0);
        memset(p, 0xff, bytes);
    }
    CU_ASSERT_EQUAL(small[0], 0);
    bump_free(&b);
}

static void impossible_sizes_are_refused(void) {
    struct bump b = {0};
    CU_ASSERT_PTR_NULL(bump_alloc(&b, SIZE_MAX));
    CU_ASSERT_PTR_NULL(bump_alloc(&b, SIZE_MAX - 63));
    CU_ASSERT_PTR_NULL(bump_array(&b, SIZE_MAX / 4, 8));
    CU_ASSERT_PTR_NOT_NULL(bump_array(&b, 3, 8));
    bump_free(&b);
}

SUITE(bump, {"pieces are aligned, zeroed and apart", pieces_are_aligned_zeroed_and_apart},
      {"large pieces too", large_pieces_too}, {"impossible sizes are refused", impossible_sizes_are_refused});
