/* Folding: whatever multiplies and shifts each channel by a constant goes into
 * the convolution, the matrix product or the normalisation before it.
 *
 *   Conv | Gemm | BatchNormalization   "carrier", y
 *     -> BatchNormalization | Mul | Add, by constants per channel: scale * y + shift
 *     -> ...
 *
 * All of it is computed in double. The scale of a weight is only noted; the
 * scaled weight comes into being while image_write packs it, so that no second
 * copy of a large one is ever made. Runs after CLP, which has zeroed scale and
 * shift of the channels that it pruned: those then put out exactly 0. */
#include "infer/plan_internal.h"

#include <math.h>

struct affine { /* y -> scale * y + shift, per channel */
    int64_t channels;
    double *scale, *shift;
};

static int new_affine(struct plan *p, int64_t channels, struct affine *a, struct err *e) {
    a->channels = channels;
    a->scale = bump_array(&p->bump, (size_t)channels, sizeof *a->scale);
    a->shift = bump_array(&p->bump, (size_t)channels, sizeof *a->shift);
    if (!a->scale || !a->shift) return plan_out_of_memory(e);
    for (int64_t c = 0; c < channels; c++) a->scale[c] = 1;
    return 0;
}

static const float *constant_input(const struct plan *p, const struct plan_step *s, int32_t slot) {
    return slot < s->n_inputs && s->inputs[slot] >= 0 ? p->tensors[s->inputs[slot]].data : NULL;
}

/* --- steps that scale and shift ------------------------------------------------------- */

/* Of a batch normalisation. */
static bool has_constant_parameters(const struct plan *p, const struct plan_step *s) {
    return constant_input(p, s, 1) && constant_input(p, s, 2) && constant_input(p, s, 3) &&
           constant_input(p, s, 4);
}

static int apply_batch_norm(const struct plan *p, const struct plan_step *s, struct affine *a,
                            struct err *e) {
    const float *gamma = constant_input(p, s, 1), *beta = constant_input(p, s, 2);
    const float *mean = constant_input(p, s, 3), *variance = constant_input(p, s, 4);
    for (int64_t c = 0; c < a->channels; c++) {
        const double spread = sqrt((double)variance[c] + (double)s->params.batch_norm.epsilon);
        const double scale = gamma[c] / spread, shift = beta[c] - mean[c] * scale;
        /* As float too: that is how it will be stored. */
        if (!(spread > 0) || !isfinite((float)scale) || !isfinite((float)shift))
            return err_set(e, ERR_VALUE,
                           "BatchNormalization %s: channel %lld has variance %g, which cannot be divided by",
                           s->name, (long long)c, (double)variance[c]);
        a->scale[c] *= scale;
        a->shift[c] = a->shift[c] * scale + shift;
    }
    return 0;
}

/* The constant operand of Mul or Add, where it has one number in all or one per
 * channel (axis 1) and leaves the other operand's shape as it is; else NULL. */
static const float *per_channel_operand(const struct plan *p, const struct plan_step *s, int64_t channels,
                                        bool *scalar) {
    const int32_t slot = constant_input(p, s, 0) ? 0 : 1;
    const float *data = constant_input(p, s, slot);
    const struct shape *out = &p->tensors[s->output].shape;
    if (!data || !shape_equal(&p->tensors[s->inputs[1 - slot]].shape, out)) return NULL;

    const struct shape *c = &p->tensors[s->inputs[slot]].shape;
    *scalar = shape_elements(c) == 1;
    if (*scalar) return data;
    const int32_t channel_axis = 1 - (out->rank - c->rank); /* of the constant: shapes align at their ends */
    if (channel_axis < 0 || c->dim[channel_axis] != channels || shape_elements(c) != channels) return NULL;
    return data;
}

static void apply_elementwise(enum op op, const float *data, bool scalar, struct affine *a) {
    for (int64_t c = 0; c < a->channels; c++) {
        const double x = data[scalar ? 0 : c];
        if (op == OP_MUL) {
            a->scale[c] *= x;
            a->shift[c] *= x;
        } else {
            a->shift[c] += x;
        }
    }
}

/* 1: `s` has been worked into `a`; 0: it is no step of that kind; -1: error. */
static int apply_step(const struct plan *p, const struct plan_step *s, struct affine *a, struct err *e) {
    if (s->op == OP_BATCH_NORM) {
        if (!has_constant_parameters(p, s)) return 0;
        return apply_batch_norm(p, s, a, e) ? -1 : 1;
    }
    bool scalar;
    const float *data =
        s->op == OP_MUL || s->op == OP_ADD ? per_channel_operand(p, s, a->channels, &scalar) : NULL;
    if (!data) return 0;
    apply_elementwise(s->op, data, scalar, a);
    return 1;
}

/* Works everything that follows step `i` into `a`; *any: whether there was something. */
static int absorb_followers(struct plan *p, int32_t i, struct affine *a, bool *any, struct err *e) {
    *any = false;
    for (;;) {
        const int32_t next = plan_only_user(p, p->steps[i].output);
        if (next < 0) return 0;
        const int rc = apply_step(p, &p->steps[next], a, e);
        if (rc <= 0) return rc;
        plan_absorb(p, i, next);
        *any = true;
    }
}

/* --- carriers --------------------------------------------------------------------------- */

static int not_finite(const struct plan_step *s, int64_t channel, struct err *e) {
    return err_set(e, ERR_VALUE, "%s %s: with what follows folded in, channel %lld is not finite",
                   op_name(s->op), s->name, (long long)channel);
}

/* Gives step `s` a constant of one number per channel as input `slot`. */
static int set_channel_input(struct plan *p, struct plan_step *s, int32_t slot, const double *numbers,
                             int64_t n, struct err *e) {
    float *data = bump_array(&p->bump, (size_t)n, sizeof *data);
    if (!data) return plan_out_of_memory(e);
    for (int64_t c = 0; c < n; c++) {
        data[c] = (float)numbers[c];
        if (!isfinite(data[c])) return not_finite(s, c, e);
    }
    const int32_t t = plan_add_tensor(p, s->name, &(struct shape){.rank = 1, .dim = {n}}, data, e);
    if (t < 0) return -1;
    if (slot >= s->n_inputs) { /* an optional input that was left out */
        int32_t *inputs = bump_array(&p->bump, (size_t)slot + 1, sizeof *inputs);
        if (!inputs) return plan_out_of_memory(e);
        for (int32_t k = 0; k < slot; k++) inputs[k] = k < s->n_inputs ? s->inputs[k] : -1;
        s->inputs = inputs;
        s->n_inputs = slot + 1;
    }
    s->inputs[slot] = t;
    p->tensors[t].uses = 1;
    return 0;
}

/* Per-channel bias of a convolution or Gemm (beta worked in); false where it has
 * one that is not constant or not one number per channel. */
static bool read_bias(const struct plan *p, const struct plan_step *s, struct affine *bias) {
    if (s->n_inputs < 3 || s->inputs[2] < 0) return true;
    const float *data = constant_input(p, s, 2);
    if (!data) return false;
    const struct shape *c = &p->tensors[s->inputs[2]].shape;
    const int64_t n = shape_elements(c);
    if (n != 1 && (n != bias->channels || c->dim[c->rank - 1] != n)) return false;
    const double beta = s->op == OP_GEMM ? (double)s->params.gemm.beta : 1;
    for (int64_t k = 0; k < bias->channels; k++) bias->shift[k] = beta * data[n == 1 ? 0 : k];
    return true;
}

/* y = alpha * (x W) + bias becomes x (alpha * scale * W) + (scale * bias + shift). */
static int fold_into_product(struct plan *p, int32_t i, struct err *e) {
    struct plan_step *s = &p->steps[i];
    struct affine a;
    bool any;
    if (!constant_input(p, s, 1) || plan_only_user(p, s->output) < 0) return 0;
    if (new_affine(p, p->tensors[s->output].shape.dim[1], &a, e)) return -1;
    if (!read_bias(p, s, &a)) return 0;
    if (absorb_followers(p, i, &a, &any, e)) return -1;
    if (!any) return 0;
    if (s->op == OP_GEMM) {
        for (int64_t c = 0; c < a.channels; c++) a.scale[c] *= (double)s->params.gemm.alpha;
        s->params.gemm.alpha = s->params.gemm.beta = 1;
    }
    for (int64_t c = 0; c < a.channels; c++)
        if (!isfinite((float)a.scale[c])) return not_finite(s, c, e);
    s->scale = a.scale;
    return set_channel_input(p, s, 2, a.shift, a.channels, e);
}

/* A normalisation that nothing can take over keeps running, as scale and shift. */
static int fold_batch_norm(struct plan *p, int32_t i, struct err *e) {
    struct plan_step *s = &p->steps[i];
    struct affine a;
    bool any;
    if (!has_constant_parameters(p, s))
        return err_set(e, ERR_UNSUPPORTED, "BatchNormalization %s: its parameters are computed at run time",
                       s->name);
    if (new_affine(p, p->tensors[s->output].shape.dim[1], &a, e) || apply_batch_norm(p, s, &a, e)) return -1;
    if (!p->options.reference && absorb_followers(p, i, &a, &any, e)) return -1;
    s->params.batch_norm.epsilon = 0;
    if (set_channel_input(p, s, 1, a.scale, a.channels, e) ||
        set_channel_input(p, s, 2, a.shift, a.channels, e))
        return -1;
    s->n_inputs = 3;
    return 0;
}

int plan_fold(struct plan *p, struct err *e) {
    for (int32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        if (s->gone) continue;
        if ((s->op == OP_CONV || s->op == OP_GEMM) && !p->options.reference && fold_into_product(p, i, e))
            return -1;
        if (s->op == OP_BATCH_NORM && fold_batch_norm(p, i, e)) return -1;
    }
    return 0;
}
