/* Small matrix products, done here and not by OpenBLAS: see kernels_product.c. */
#ifndef INFER_KERNELS_PRODUCT_H
#define INFER_KERNELS_PRODUCT_H

#include "infer/blas.h"

/* Whether a product is small in that sense; m, n, k >= 1. */
bool product_is_small(const struct blas_product *p);

/* The product. Any thread; no state, no allocation, 20 KiB of stack. */
void product_run(const struct blas_product *p);

#endif
