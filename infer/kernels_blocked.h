/* The blocked forms of operators that also have a plain one: kernels call these
 * where their tensors lie so (layout.h). Any thread; no state. */
#ifndef INFER_KERNELS_BLOCKED_H
#define INFER_KERNELS_BLOCKED_H

#include "infer/kernels_all.h"
#include "infer/layout.h"

void kernel_blocked_pool(const struct kernel_call *c, bool mean);
void kernel_blocked_mean(const struct kernel_call *c); /* GlobalAveragePool */
void kernel_blocked_batch_norm(const struct kernel_call *c);
/* Add, or Mul, of a tensor and one number per channel ([N,C,1,1]). */
void kernel_blocked_per_channel(const struct kernel_call *c, bool product);

static inline bool kernel_is_blocked(const struct kernel_call *c) {
    return c->out.t->layout == LAYOUT_BLOCKED;
}

/* Floats that a tensor occupies, spare lanes included. */
static inline int64_t kernel_floats(const struct view *v) {
    return (int64_t)(layout_bytes(v->t->layout, &v->t->shape) / sizeof(float));
}

#endif
