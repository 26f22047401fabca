/* Reductions over any set of axes: for kernels, and for the importer where the
 * input is constant. Sums are kept in double. Pure; any thread. */
#ifndef INFER_REDUCE_H
#define INFER_REDUCE_H

#include "infer/op.h"

/* out = op(x) over the axes in `axes`, for OP_REDUCE_FIRST <= op <= OP_REDUCE_LAST;
 * no axis: each element is reduced by itself. `s` has no dimension of 0. */
void reduce_run(enum op op, uint32_t axes, const struct shape *s, const float *x, float *out);

#endif
