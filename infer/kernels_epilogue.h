/* What a product's block meets besides the product: bias and residual before
 * it (BLAS then adds to them), the activation after it, while the block is in
 * cache. Rows are channels. Pure functions. */
#ifndef INFER_KERNELS_EPILOGUE_H
#define INFER_KERNELS_EPILOGUE_H

#include "infer/image.h"

/* An activation as bounds: Relu is [0, inf], none is [-inf, inf]. NaN stays NaN. Any other is a
 * function of what has been stored, by bounds_finish, while that is in the first-level cache. */
struct bounds {
    bool any; /* false: nothing to clip */
    float lo, hi;
    const struct image_step *function; /* whose activation is a function; or NULL */
};
struct bounds bounds_of(const struct image_step *s);
/* Applies the function, where there is one, to `n` floats that have been bounded. */
void bounds_finish(const struct bounds *b, float *at, int64_t n);

/* out: [rows,cols] = bias[row] + residual; either may be NULL (0). `residual`
 * may be `out` itself, with the same row length. */
struct fill {
    float *out;
    const float *bias, *residual;
    int64_t rows, cols, out_ld, residual_ld;
};
void epilogue_fill(const struct fill *f);

/* to: [rows,cols] = from within the bounds, finished; they may be the same block. */
struct bound {
    const float *from;
    float *to;
    int64_t rows, cols, from_ld, to_ld;
};
void epilogue_bound(const struct bounds *b, const struct bound *m);

#endif
