/* How long a convolution takes, about: what algorithm_choose compares.
 *
 * The model has five numbers for a kind of processor, measured by `make bench-conv`, which also says what a
 * wrong choice would cost; tests/test_conv_cost.c holds it against the times that were measured. */
#ifndef INFER_CONV_COST_H
#define INFER_CONV_COST_H

#include "infer/conv_blocked.h"

/* Unit: the time of one multiply-add of 16 floats at the kernels' full speed. */
struct conv_rates {
    double forward_4, back_4, forward_2, back_2; /* Winograd's transforms, of a tile of one block */
    double floats; /* of weights, read meanwhile from the shared cache or memory */
};
enum conv_host { CONV_HOST_ZEN4, CONV_HOST_SAPPHIRE_RAPIDS, CONV_HOSTS };
const struct conv_rates *conv_rates_of(enum conv_host host);
/* The kind that this processor is, or is most like. */
enum conv_host conv_host(void);

/* Of one item, in that unit; for ALG_CONV_DIRECT, _DIRECT_BF16 and _WINOGRAD_*, where they fit. */
double conv_cost(const struct conv_rates *rates, uint32_t algorithm, const struct conv *c);

#endif
