/* im2col: columns of a picture as a matrix product wants them. Pure function. */
#ifndef INFER_KERNELS_UNFOLD_H
#define INFER_KERNELS_UNFOLD_H

#include "infer/conv.h"

/* Unfolds output positions [first, first + count) of one image and group.
 * x: [group_channels, H, W]; to: [depth, count], rows `ld` floats apart, row
 * (channel, ky, kx) in that order; what lies in the padding is 0. For convolutions
 * that conv_fits(ALG_CONV_IM2COL) has passed. */
void unfold(const struct conv *c, const float *x, int64_t first, int64_t count, float *to, int64_t ld);

#endif
