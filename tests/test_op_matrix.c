/* Matrix products: shapes by hand. */
#include "infer/op.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <math.h>

static int64_t product(enum op op, union op_params p, struct shape a, struct shape b, struct shape c,
                       struct shape *out) {
    const struct shape in[] = {a, b, c};
    return op_check(op, &p, in, c.rank == -1 ? 2 : 3, out, NULL);
}

static const struct shape absent = {.rank = -1};

static void gemm(void) {
    struct shape out;
    for (int32_t ta = 0; ta < 2; ta++)
        for (int32_t tb = 0; tb < 2; tb++) {
            const union op_params p = {.gemm = {1, 1, ta, tb}};
            const struct shape a = ta ? SHAPE(5, 2) : SHAPE(2, 5), b = tb ? SHAPE(3, 5) : SHAPE(5, 3);
            CU_ASSERT_EQUAL(product(OP_GEMM, p, a, b, absent, &out), 0);
            CU_ASSERT_TRUE(shape_equal(&out, &SHAPE(2, 3)));
            CU_ASSERT_NOT_EQUAL(product(OP_GEMM, p, a, tb ? SHAPE(3, 4) : SHAPE(4, 3), absent, &out), 0);
        }
    const union op_params p = {.gemm = {1, 1, 0, 0}};
    const struct shape fits[] = {SHAPE(3), SHAPE(1, 3), SHAPE(2, 1), SHAPE(2, 3), SHAPE(1), {.rank = 0}};
    for (size_t i = 0; i < COUNT_OF(fits); i++)
        CU_ASSERT_EQUAL(product(OP_GEMM, p, SHAPE(2, 5), SHAPE(5, 3), fits[i], &out), 0);
    const struct shape wrong[] = {SHAPE(2), SHAPE(1, 2, 3), SHAPE(4, 3), SHAPE(2, 1, 1)};
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        CU_ASSERT_NOT_EQUAL(product(OP_GEMM, p, SHAPE(2, 5), SHAPE(5, 3), wrong[i], &out), 0);
    CU_ASSERT_NOT_EQUAL(product(OP_GEMM, p, SHAPE(2, 5, 1), SHAPE(5, 3), absent, &out), 0);
    const union op_params bad[] = {{.gemm = {1, 1, 2, 0}},
                                   {.gemm = {1, 1, 0, -1}},
                                   {.gemm = {NAN, 1, 0, 0}},
                                   {.gemm = {1, INFINITY, 0, 0}}};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        CU_ASSERT_NOT_EQUAL(product(OP_GEMM, bad[i], SHAPE(2, 2), SHAPE(2, 2), absent, &out), 0);
    CU_ASSERT_NOT_EQUAL(product(OP_GEMM, p, SHAPE(65536, 1), SHAPE(1, 65536), absent, &out),
                        0); /* 2^32 results */
}

static void matmul_is_numpys(void) {
    static const struct {
        struct shape a, b, out;
    } rows[] = {
        {{.rank = 2, .dim = {2, 3}}, {.rank = 2, .dim = {3, 4}}, {.rank = 2, .dim = {2, 4}}},
        {{.rank = 1, .dim = {3}}, {.rank = 2, .dim = {3, 4}}, {.rank = 1, .dim = {4}}},
        {{.rank = 2, .dim = {2, 3}}, {.rank = 1, .dim = {3}}, {.rank = 1, .dim = {2}}},
        {{.rank = 1, .dim = {3}}, {.rank = 1, .dim = {3}}, {.rank = 0}},
        {{.rank = 4, .dim = {1, 8, 5, 3}}, {.rank = 3, .dim = {8, 3, 4}}, {.rank = 4, .dim = {1, 8, 5, 4}}},
        {{.rank = 3, .dim = {7, 1, 3}}, {.rank = 1, .dim = {3}}, {.rank = 2, .dim = {7, 1}}},
        {{.rank = 3, .dim = {1, 5, 3}}, {.rank = 2, .dim = {3, 4}}, {.rank = 3, .dim = {1, 5, 4}}},
    };
    struct shape out;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CU_ASSERT_EQUAL(product(OP_MATMUL, (union op_params){0}, rows[i].a, rows[i].b, absent, &out), 0);
        CU_ASSERT_TRUE(shape_equal(&out, &rows[i].out));
        for (int d = out.rank; d < SHAPE_MAX_RANK; d++) CU_ASSERT_EQUAL(out.dim[d], 0);
    }
    CU_ASSERT_NOT_EQUAL(product(OP_MATMUL, (union op_params){0}, SHAPE(2, 3), SHAPE(4, 3), absent, &out), 0);
    CU_ASSERT_NOT_EQUAL(
        product(OP_MATMUL, (union op_params){0}, SHAPE(2, 2, 3), SHAPE(3, 3, 4), absent, &out), 0);
    CU_ASSERT_NOT_EQUAL(
        product(OP_MATMUL, (union op_params){0}, (struct shape){0}, SHAPE(1, 1), absent, &out), 0);
}

SUITE(op_matrix, {"Gemm", gemm}, {"MatMul is NumPy's", matmul_is_numpys});
