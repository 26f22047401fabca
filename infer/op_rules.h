/* The shape rules behind op_check, one per kind of operator. They are called
 * with inputs that are present (or allowed to be absent) and shape_valid; they
 * check parameters and how the inputs fit together, and give the output's
 * shape, which op_check then validates. Only op*.c includes this. */
#ifndef INFER_OP_RULES_H
#define INFER_OP_RULES_H

#include "infer/op.h"

typedef int (*op_rule_fn)(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                          struct err *e);

int op_rule_conv(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                 struct err *e);
int op_rule_max_pool(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                     struct err *e);
int op_rule_average_pool(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                         struct err *e);
int op_rule_gemm(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                 struct err *e);
int op_rule_matmul(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                   struct err *e);

int op_rule_function(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                     struct err *e);
int op_rule_where(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                  struct err *e);
int op_rule_reduce(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                   struct err *e);
int op_rule_transpose(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                      struct err *e);
int op_rule_slice(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                  struct err *e);
int op_rule_expand(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                   struct err *e);
int op_rule_pad(const union op_params *p, const struct shape *in, int n_in, struct shape *out, struct err *e);
int op_rule_gather(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                   struct err *e);
int op_rule_lrn(const union op_params *p, const struct shape *in, int n_in, struct shape *out, struct err *e);
int op_rule_instance_norm(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                          struct err *e);
int op_rule_conv_transpose(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                           struct err *e);

/* A shape as text that lives until the end of the full expression: for messages. */
#define SHAPE_TEXT(s) shape_text((s), (char[128]){0}, 128)

static inline bool op_input_absent(const struct shape *in, int n_in, int i) {
    return i >= n_in || in[i].rank == -1;
}

#endif
