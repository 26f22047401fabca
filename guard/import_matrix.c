/* Matrix products: Gemm, MatMul. */
#include "guard/evaluate.h"

static int emit_gemm(struct import_node *n) {
    union op_params p = {0};
    p.gemm.alpha = import_float(n, "alpha", 1);
    p.gemm.beta = import_float(n, "beta", 1);
    if (import_flag(n, "transA", 0, &p.gemm.trans_a) || import_flag(n, "transB", 0, &p.gemm.trans_b))
        return -1;
    return import_emit_simple(n, OP_GEMM, &p, n->n_in);
}

static int emit_matmul(struct import_node *n) {
    return import_emit_simple(n, OP_MATMUL, NULL, 2);
}

const struct import_row import_rows_matrix[] = {
    {"Gemm", OPSET_ANY, 2, 3, "alpha:f beta:f transA:i transB:i", emit_gemm, NULL, false},
    {"MatMul", OPSET_ANY, 2, 2, "", emit_matmul, evaluate_matmul, false},
    {0},
};
