/* kernel_find: a kernel for every operator and algorithm, and for nothing else. */
#include "infer/kernels.h"
#include "tests/suite.h"

static void test_table(void) {
    for (uint32_t op = 0; op < OP_COUNT; op++)
        for (uint32_t a = 0; a < ALG_COUNT; a++)
            CU_ASSERT((kernel_find(op, a) != NULL) ==
                      (op == OP_CONV ? a != ALG_DEFAULT && a != ALG_REORDER
                                     : a == ALG_DEFAULT || (op == OP_IDENTITY && a == ALG_REORDER)));
    CU_ASSERT_PTR_NULL(kernel_find(OP_COUNT, ALG_DEFAULT));
    CU_ASSERT_PTR_NULL(kernel_find(UINT32_MAX, UINT32_MAX));
    CU_ASSERT_PTR_NULL(kernel_find(OP_CONV, ALG_COUNT));
}

SUITE(kernels, {"every operator and algorithm has its kernel", test_table});
