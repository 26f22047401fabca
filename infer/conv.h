/* The geometry of one convolution, and how its products are cut into blocks:
 * what kernels compute by and what scratch is sized by, so that the two can't
 * disagree. Integers only, no BLAS; pure functions. */
#ifndef INFER_CONV_H
#define INFER_CONV_H

#include "infer/image.h"

struct conv {
    int64_t images;            /* of one item: X's first dimension */
    int64_t channels, filters; /* C, M */
    int64_t groups;
    int64_t in[OP_SPATIAL], out[OP_SPATIAL]; /* depth, height, width; absent axes are 1 */
    int64_t kernel[OP_SPATIAL], stride[OP_SPATIAL], dilation[OP_SPATIAL], pad[OP_SPATIAL];
    int64_t group_channels, group_filters;
    int64_t in_plane, out_plane; /* floats of one channel of X, of one filter's output */
    int64_t window;              /* kernel volume */
    int64_t depth;               /* group_channels * window: terms of one output value */
};

/* X: [N,C,(D,)H,W], out: [N,M,(D,)H,W], both as op_check has passed them. */
void conv_describe(const struct op_window *w, const struct shape *x, const struct shape *out, struct conv *c);

/* How one product is cut: columns are output positions. */
struct conv_block {
    int64_t columns; /* of one product at most */
    int64_t images;  /* > 1: so many whole images lie side by side in one product, if the batch has them */
};

/* ALG_CONV_IM2COL and ALG_CONV_POINTWISE. */
struct conv_block conv_block_of(const struct conv *c);

/* ALG_CONV_DEPTHWISE keeps one padded plane, its columns sorted by phase (x % stride). */
struct conv_phases {
    int64_t length; /* floats of one phase of one row */
    int64_t row;    /* floats of one row: stride * length */
};
struct conv_phases conv_phases_of(const struct conv *c);
#define CONV_DEPTHWISE_MAX_WIDTH 64 /* of the kernel */

/* Whether the kernel of `algorithm` can run this convolution. */
bool conv_fits(uint32_t algorithm, const struct conv *c);

/* Floats of scratch of a convolution that fits, whatever the batch. */
int64_t conv_scratch_floats(uint32_t algorithm, const struct conv *c);
/* Where images lie side by side: where in scratch their product goes, behind their columns. */
int64_t conv_product_at(const struct conv *c);

#endif
