/* Functions of each element by itself, over arrays: for kernels, and for the
 * importer where an input is constant, so that both give the same numbers.
 * Pure; any thread. NaN gives NaN (or what the function says of it). */
#ifndef INFER_FUNCTION_H
#define INFER_FUNCTION_H

#include "infer/op.h"

/* y[i] = op(x[i]) for OP_FUNCTION_FIRST <= op <= OP_FUNCTION_LAST; y may be x. */
void function_run(enum op op, const struct op_function *p, const float *x, float *y, int64_t n);

static inline bool op_is_function(enum op op) {
    return op >= OP_FUNCTION_FIRST && op <= OP_FUNCTION_LAST;
}

#endif
