/* infer/blas.h in plain C, in place of OpenBLAS: a compiler that instruments it sees
 * every read and write of a product, which it can't in a library. */
#include "infer/blas.h"

#include <stddef.h>

void blas_init(void) {}

bool blas_is_concurrent(void) {
    return true;
}

const char *blas_describe(void) {
    return "plain loops";
}

/* op(M)[row,column] of a matrix with rows of `length`; an ld below that means dense. */
static float at(const float *a, bool trans, int64_t ld, int64_t length, int64_t row, int64_t column) {
    if (ld < length) ld = length;
    return trans ? a[column * ld + row] : a[row * ld + column];
}

void blas_sgemm(const struct blas_product *p) {
    const int64_t ldc = p->ldc < p->n ? p->n : p->ldc;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            float sum = 0, *c = &p->c[i * ldc + j];
            for (int64_t k = 0; k < p->k; k++)
                sum += at(p->a, p->trans_a, p->lda, p->trans_a ? p->m : p->k, i, k) *
                       at(p->b, p->trans_b, p->ldb, p->trans_b ? p->k : p->n, k, j);
            *c = p->alpha * sum + (p->beta != 0 ? p->beta * *c : 0);
        }
}

void blas_sgemm_shared(struct team_seat *seat, const struct blas_product *p) {
    (void)seat;
    blas_sgemm(p);
}

void blas_sgemv(bool trans, int64_t rows, int64_t cols, float alpha, const float *a, const float *x,
                float beta, float *y) {
    for (int64_t i = 0; i < rows; i++) {
        float sum = 0;
        for (int64_t k = 0; k < cols; k++) sum += at(a, trans, 0, trans ? rows : cols, i, k) * x[k];
        y[i] = alpha * sum + (beta != 0 ? beta * y[i] : 0);
    }
}
