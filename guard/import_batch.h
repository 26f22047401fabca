/* Which axis of an operator's result is the batch, and whether it keeps the
 * images of a batch apart. One rule per run-time operator; pure functions. */
#ifndef GUARD_IMPORT_BATCH_H
#define GUARD_IMPORT_BATCH_H

#include "guard/tensor.h"
#include "infer/op.h"

struct batch_value {       /* rank -1: absent */
    struct shape shape[2]; /* at batch 1 and 2 */
    int32_t axis;          /* the batch; -1: the same for every image */
    int64_t
        outer; /* elements of that axis that come before the batch: 1, or S where [S,N] has become [S*N] */
};

/* Follows the batch through one operator: `out` has its shapes and gets its axis and `outer`.
 * -1 with `e` set where images would be mixed. */
int import_batch_follow(enum op op, const union op_params p[2], const struct batch_value *in, int32_t n_in,
                        struct batch_value *out, struct err *e);

/* A constant that was evaluated at batch 1 and 2: the axis along which it was repeated, -1: none. */
int import_batch_of_constant(const struct tensor *one, const struct tensor *two, int32_t *axis,
                             struct err *e);

#endif
