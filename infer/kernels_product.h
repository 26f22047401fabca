/* Small matrix products, done here and not by OpenBLAS: see kernels_product.c. */
#ifndef INFER_KERNELS_PRODUCT_H
#define INFER_KERNELS_PRODUCT_H

#include "infer/blas.h"
#include "infer/team.h"

/* Whether a product is small in that sense; m, n, k >= 1. */
bool product_is_small(const struct blas_product *p);

/* The product. Any thread; no state, no allocation, 20 KiB of stack. */
void product_run(const struct blas_product *p);
/* Shared out by columns, each of which is computed as it would be alone. */
void product_run_shared(struct team_seat *seat, const struct blas_product *p);

#endif
