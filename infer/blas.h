/* The only door to OpenBLAS: single-threaded products that any number of
 * engines may ask for at once. */
#ifndef INFER_BLAS_H
#define INFER_BLAS_H

#include <stdbool.h>
#include <stdint.h>

struct err;

/* Before the first product; engine_new does it. Any thread, any number of times. */
void blas_init(void);

/* Takes what products of so many threads at once need beside the product's own memory: 128 MiB of address
 * space each, if that is limited (elsewhere the first product takes it). Where there is none, a product would
 * try for it for ever. 0, or -1 and a message. */
int blas_reserve(uint32_t threads, struct err *e);

/* false: the library that was loaded is a build without locking (Debian's
 * libopenblas0-serial), so products of several threads wait for each other. */
bool blas_is_concurrent(void);

/* Whether kernels of that name (openblas_get_corename) are for less than this host has. A processor that is
 * newer than the library, it takes for its oldest: 0.3.21 runs Emerald Rapids with 20 GF/s of 165. Products
 * are then computed by kernels_product.h, three to four times as fast. */
bool blas_is_behind(const char *core, bool host_has_fma);

/* "OpenBLAS 0.3.21 …" as the library describes itself. */
const char *blas_describe(void);

/* C: [m,n] = alpha * op(A) * op(B) + beta * C, all row-major; A: [m,k], or
 * [k,m] where trans_a; B: [k,n], or [n,k] where trans_b; ld*: floats from row
 * to row, at least the row. Numbers are 1 to INT32_MAX, as shape_valid has it. beta
 * 0 does not read C. Allocates nothing, but for OpenBLAS's buffers the first time. */
struct blas_product {
    bool trans_a, trans_b;
    int64_t m, n, k;
    float alpha, beta;
    const float *a, *b;
    float *c;
    int64_t lda, ldb, ldc;
};
void blas_sgemm(const struct blas_product *p);
/* The same; a team helps where the product is not the library's, which is alone with it. */
struct team_seat;
void blas_sgemm_shared(struct team_seat *seat, const struct blas_product *p);

/* y: [rows] = alpha * op(A) * x + beta * y; A: [rows,cols] row-major, or [cols,rows] where trans. */
void blas_sgemv(bool trans, int64_t rows, int64_t cols, float alpha, const float *a, const float *x,
                float beta, float *y);

#endif
