/* Fusing: a sum with what a convolution puts out becomes that convolution's
 * residual, and an activation is applied by the step whose output it takes.
 *
 *   Add(Conv(x), r)  ->  Conv(x) + r          r is added before the activation
 *   Relu(Conv(x))    ->  Conv(x), ACT_RELU
 *   SiLU(Conv(x))    ->  Conv(x), ACT_FUNCTION */
#include "infer/algorithm.h"
#include "infer/function.h"
#include "infer/plan_internal.h"

#include <math.h>

/* --- residual --------------------------------------------------------------------------- */

/* The convolution that may take over the sum `add` from its input `slot`, or -1. */
static int32_t convolution_for_sum(const struct plan *p, int32_t add, int32_t slot) {
    const struct plan_step *s = &p->steps[add];
    const struct plan_tensor *mine = &p->tensors[s->inputs[slot]], *other = &p->tensors[s->inputs[1 - slot]];
    if (mine->producer < 0 || other->data || plan_only_user(p, s->inputs[slot]) != add) return -1;
    if (!shape_equal(&mine->shape, &other->shape)) return -1; /* residuals are not broadcast */
    const struct plan_step *conv = &p->steps[mine->producer];
    return conv->op == OP_CONV && conv->residual < 0 ? mine->producer : -1;
}

/* Where both sides are convolutions the later one takes the sum, since the other
 * side is there by then. Where the other side is computed after the convolution,
 * the convolution moves to the place of the sum: nobody else waits for it. */
static void fuse_sum(struct plan *p, int32_t add) {
    const int32_t conv_of[2] = {convolution_for_sum(p, add, 0), convolution_for_sum(p, add, 1)};
    const int32_t slot = conv_of[1] > conv_of[0], conv = conv_of[slot];
    if (conv < 0) return;
    const int32_t other = p->steps[add].inputs[1 - slot];
    const bool other_is_late = p->tensors[other].producer > conv;

    plan_absorb(p, conv, add);
    p->steps[conv].residual = other;
    p->tensors[other].user = conv;
    if (!other_is_late) return;
    p->steps[add] = p->steps[conv];
    p->steps[conv].gone = true;
    p->tensors[p->steps[add].output].producer = add;
    p->tensors[other].user = add;
    for (int32_t i = 0; i < p->steps[add].n_inputs; i++)
        if (p->steps[add].inputs[i] >= 0) p->tensors[p->steps[add].inputs[i]].user = add;
}

/* --- activation --------------------------------------------------------------------------- */

static bool is_activation(enum op op) {
    return op == OP_RELU || op == OP_CLIP || op_is_function(op);
}

static void fuse_activation(struct plan *p, int32_t i) {
    const struct plan_step *s = &p->steps[i];
    const int32_t producer = p->tensors[s->inputs[0]].producer;
    if (producer < 0 || plan_only_user(p, s->inputs[0]) != i) return;
    struct plan_step *before = &p->steps[producer];
    if (!algorithm_takes_activation(before->op) || before->activation != ACT_NONE) return;
    if (op_is_function(s->op)) {
        if (p->options.keep) return; /* a gradient wants what went into it */
        before->activation = ACT_FUNCTION;
        before->act_op = s->op;
        before->act_params = s->params.function;
    } else if (s->op == OP_RELU || (s->params.clip.min == 0 && isinf(s->params.clip.max))) {
        before->activation = ACT_RELU;
    } else {
        before->activation = ACT_CLIP;
        before->act_min = s->params.clip.min;
        before->act_max = s->params.clip.max;
    }
    plan_absorb(p, producer, i);
}

/* Sums first: an activation behind a sum then finds the convolution, and one
 * between convolution and sum still is a step of its own that keeps them apart. */
int plan_fuse(struct plan *p, struct err *e) {
    (void)e;
    if (p->options.reference) return 0;
    for (int32_t i = 0; i < p->n_steps; i++)
        if (!p->steps[i].gone && p->steps[i].op == OP_ADD) fuse_sum(p, i);
    for (int32_t i = 0; i < p->n_steps; i++)
        if (!p->steps[i].gone && is_activation(p->steps[i].op)) fuse_activation(p, i);
    return 0;
}
