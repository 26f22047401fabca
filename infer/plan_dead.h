/* Which channels of a plan's tensors can be taken out: those that are provably zero, and those that
 * only meet such. Shared by plan_dead.c, which finds them, and plan_shrink.c, which takes them out. */
#ifndef INFER_PLAN_DEAD_H
#define INFER_PLAN_DEAD_H

#include "infer/plan_internal.h"

#define PLAN_DEAD_MAX ((int64_t)1 << 24) /* channels in all; above that nothing is taken out */

struct plan_dead { /* a channel is an index along axis 1 of a tensor that is computed */
    struct plan *p;
    int64_t *first;  /* [tensors]: number of its first channel; -1: constant, or no axis 1 */
    int64_t n;       /* channels in all */
    int32_t *parent; /* [n]: channels that can only go together; find_root in plan_dead.c */
    bool *zero;      /* [n]: exactly 0 whatever the input */
    bool *stays;     /* [n]: of a root; of others only while channels are being joined */
};

/* Fills in `d`; *any: whether a channel can go. Memory is the plan's. 0, or -1 with `e` set. */
int plan_dead_find(struct plan *p, struct plan_dead *d, bool *any, struct err *e);

/* Whether channel `c` of `tensor` can go. */
bool plan_dead_is(const struct plan_dead *d, int32_t tensor, int64_t c);
/* Channels of `tensor` that stay. */
int64_t plan_dead_kept(const struct plan_dead *d, int32_t tensor);

/* How a reshape's channels lie to each other: one of its input is `expand` of its output, or
 * `merge` of its input are one of its output; the other is 1. False: neither. */
bool plan_dead_reshape(const struct shape *in, const struct shape *out, int64_t *expand, int64_t *merge);
/* The slot of the constant of one number in all (*scalar) or one per channel beside which a sum or a product
 * of `s` has one computed operand; -1: it is not of that kind. */
int32_t plan_dead_constant(const struct plan *p, const struct plan_step *s, bool *scalar);

#endif
