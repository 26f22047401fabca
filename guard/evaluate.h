/* The import-time evaluator: operators on constants, computed while a model is imported.
 *
 * Exporters spell out shape arithmetic (Shape, Gather, Mul, Concat, …) and keep
 * weights in roundabout ways (ConstantOfShape, Unsqueeze, Cast). All of it is
 * gone before the network runs. Floats are computed in float32, integers of
 * every width in int64 with overflow refused. Each function reads v->in, whose
 * required inputs are present and constant, and sets v->out[0].
 * These are the functions that rows in guard/import_*.c name; operators that
 * can only be evaluated have their rows in evaluate_rows. */
#ifndef GUARD_EVALUATE_H
#define GUARD_EVALUATE_H

#include "guard/import_node.h"

int evaluate_identity(struct evaluation *v);
int evaluate_cast(struct evaluation *v);
int evaluate_concat(struct evaluation *v);
int evaluate_relu(struct evaluation *v);
int evaluate_matmul(struct evaluation *v);
int evaluate_add(struct evaluation *v);
int evaluate_mul(struct evaluation *v);
int evaluate_sub(struct evaluation *v);
int evaluate_div(struct evaluation *v);
int evaluate_pow(struct evaluation *v);
int evaluate_mod(struct evaluation *v);
int evaluate_min(struct evaluation *v);
int evaluate_max(struct evaluation *v);
int evaluate_equal(struct evaluation *v);
int evaluate_less(struct evaluation *v);
int evaluate_greater(struct evaluation *v);
int evaluate_less_or_equal(struct evaluation *v);
int evaluate_greater_or_equal(struct evaluation *v);
int evaluate_and(struct evaluation *v);
int evaluate_or(struct evaluation *v);
int evaluate_xor(struct evaluation *v);
int evaluate_not(struct evaluation *v);
int evaluate_where(struct evaluation *v);
/* Abs, Neg, Sign and whatever leaves integers as they are. */
int evaluate_integer_function(struct evaluation *v);
/* v->out[0] as a view of v->in[0] under another shape. */
int evaluate_view(struct evaluation *v, const struct shape *s);

/* A fresh v->out[0] of this type and shape; *f or *i is where to write. */
int evaluate_new(struct evaluation *v, int32_t type, const struct shape *s, float **f, int64_t **i);
/* A list of integers from input `slot`; how many, at most `most`; -1 with the error set. */
int evaluate_ints(const struct evaluation *v, int32_t slot, int64_t *out, int most);

/* evaluate_move.c */
int evaluate_gather(struct evaluation *v);
int evaluate_slice(struct evaluation *v);
int evaluate_split(struct evaluation *v);
int evaluate_transpose(struct evaluation *v);
int evaluate_expand(struct evaluation *v);
int evaluate_tile(struct evaluation *v);

/* evaluate_scatter.c */
int evaluate_gather_elements(struct evaluation *v);
int evaluate_gather_nd(struct evaluation *v);
int evaluate_trilu(struct evaluation *v);

/* import_pick.c: what the rows of evaluate_scatter.c emit where data are computed while the network runs */
int import_emit_gather_elements(struct import_node *n);
int import_emit_gather_nd(struct import_node *n);
int import_emit_scatter_elements(struct import_node *n);
int import_emit_scatter_nd(struct import_node *n);
int import_emit_trilu(struct import_node *n);
int import_emit_cum_sum(struct import_node *n);
int import_emit_one_hot(struct import_node *n);

#endif
