/* guard/import_matrix: Gemm, MatMul. */
#include "tests/import_case.h"

static void gemm(void) {
    struct onnx_build m = import_case_begin(13, "Nx3");
    onnx_initializer(&m, tensor_count("w", "3x5", 1));
    onnx_initializer(&m, tensor_count("b", "1x5", 1));
    onnx_node(&m, "Gemm", "", "x w b", "y", attr_float("alpha", 2), attr_float("beta", 3), ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT(import_case_gives(&c, "[1,5]"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    const struct op_gemm p = import_case_last(&c)->params.gemm;
    CU_ASSERT(p.alpha == 2 && p.beta == 3 && p.trans_a == 0 && p.trans_b == 0);
    CU_ASSERT(import_case_input(&c, import_case_last(&c), 2)->source == 1);
    import_case_free(&c);
    m = import_case_begin(13, "Nx3");
    onnx_initializer(&m, tensor_count("w", "5x3", 1));
    onnx_node(&m, "Gemm", "", "x w", "y", attr_int("transB", 1), ATTR_END);
    c = import_case_make(&m);
    CU_ASSERT(import_case_gives(&c, "[1,5]"));
    CU_ASSERT(c.g && import_case_last(&c)->n_inputs == 2);
    import_case_free(&c);
}

static void matmul(void) {
    struct onnx_build m = import_case_begin(13, "Nx2x3");
    onnx_initializer(&m, tensor_count("w", "3x5", 1));
    onnx_node(&m, "MatMul", "", "x w", "y", ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT(import_case_gives(&c, "[1,2,5]"));
    import_case_free(&c);
}

static void products_that_do_not_fit(void) {
    struct onnx_build m = import_case_begin(13, "Nx3");
    onnx_initializer(&m, tensor_count("w", "4x5", 1));
    onnx_node(&m, "Gemm", "g", "x w", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "node 'g' (Gemm): [1,3] and [4,5] do not go together"));
    m = import_case_begin(13, "Nx3");
    onnx_initializer(&m, tensor_count("w", "3x5", 1));
    onnx_node(&m, "Gemm", "g", "x w", "y", attr_int("transA", 2), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "'transA' is 2"));
    m = import_case_begin(13, "Nx3");
    onnx_initializer(&m, tensor_count("w", "4x5", 1));
    onnx_node(&m, "MatMul", "m", "x w", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "do not go together"));
}

SUITE(import_matrix, {"Gemm", gemm}, {"MatMul", matmul},
      {"products that do not fit", products_that_do_not_fit});
