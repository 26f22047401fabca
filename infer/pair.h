/* Operators on pairs of elements, broadcast as NumPy does: for kernels, and for
 * the importer where both are constant. Pure; any thread. */
#ifndef INFER_PAIR_H
#define INFER_PAIR_H

#include "infer/op.h"

/* out = op(a, b) for OP_PAIR_FIRST <= op <= OP_PAIR_LAST, OP_ADD and OP_MUL.
 * Shapes as op_check has passed them (they may be empty); out may be an input of its own shape. */
void pair_run(enum op op, const struct shape *sa, const float *a, const struct shape *sb, const float *b,
              const struct shape *sout, float *out);
/* out = condition ? x : y. `s` has the three shapes. */
void pair_where(const struct shape *const s[3], const float *condition, const float *x, const float *y,
                const struct shape *sout, float *out);

#endif
