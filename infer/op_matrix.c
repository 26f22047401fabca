/* Shape rules of the matrix products. */
#include "infer/op_rules.h"

#include <math.h>

int op_rule_gemm(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                 struct err *e) {
    const struct op_gemm *g = &p->gemm;
    const struct shape *a = &in[0], *b = &in[1];
    if ((g->trans_a | 1) != 1 || (g->trans_b | 1) != 1)
        return err_set(e, ERR_FORMAT, "transA or transB is neither 0 nor 1");
    if (!isfinite(g->alpha) || !isfinite(g->beta))
        return err_set(e, ERR_VALUE, "alpha or beta is not finite");
    if (a->rank != 2 || b->rank != 2)
        return err_set(e, ERR_FORMAT, "%s and %s are not two matrices", SHAPE_TEXT(a), SHAPE_TEXT(b));
    const int64_t m = a->dim[g->trans_a], k = a->dim[1 - g->trans_a];
    const int64_t k_b = b->dim[g->trans_b], n = b->dim[1 - g->trans_b];
    if (k != k_b)
        return err_set(e, ERR_FORMAT, "%s%s and %s%s do not go together", SHAPE_TEXT(a),
                       g->trans_a ? " transposed" : "", SHAPE_TEXT(b), g->trans_b ? " transposed" : "");
    *out = (struct shape){.rank = 2, .dim = {m, n}};
    if (op_input_absent(in, n_in, 2)) return 0;
    struct shape sum;
    if (!shape_broadcast(out, &in[2], &sum) || !shape_equal(&sum, out))
        return err_set(e, ERR_FORMAT, "C %s does not broadcast to %s", SHAPE_TEXT(&in[2]), SHAPE_TEXT(out));
    return 0;
}

/* NumPy's matmul: a vector on the left is a row, on the right a column, and its
 * axis is gone from the result; axes before the last two are broadcast. */
int op_rule_matmul(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                   struct err *e) {
    (void)p, (void)n_in;
    const struct shape *a = &in[0], *b = &in[1];
    if (a->rank < 1 || b->rank < 1)
        return err_set(e, ERR_FORMAT, "%s times %s: a scalar is no matrix", SHAPE_TEXT(a), SHAPE_TEXT(b));
    const int64_t k_a = a->dim[a->rank - 1], k_b = b->dim[b->rank == 1 ? 0 : b->rank - 2];
    struct shape batch_a = *a, batch_b = *b;
    batch_a.rank = a->rank > 2 ? a->rank - 2 : 0;
    batch_b.rank = b->rank > 2 ? b->rank - 2 : 0;
    if (k_a != k_b || !shape_broadcast(&batch_a, &batch_b, out))
        return err_set(e, ERR_FORMAT, "%s and %s do not go together", SHAPE_TEXT(a), SHAPE_TEXT(b));
    if (a->rank > 1) out->dim[out->rank++] = a->dim[a->rank - 2];
    if (b->rank > 1) out->dim[out->rank++] = b->dim[b->rank - 1];
    return 0;
}
