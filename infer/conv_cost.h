/* How long a convolution takes, about: what algorithm_choose compares. */
#ifndef INFER_CONV_COST_H
#define INFER_CONV_COST_H

#include "infer/conv_blocked.h"

/* Of one item, in multiply-adds of 16 floats; for ALG_CONV_DIRECT and _WINOGRAD_*, where they fit. */
double conv_cost(uint32_t algorithm, const struct conv *c);

#endif
