/* Finds the channels that can be taken out of a network without changing what it computes.
 *
 * Forwards, step by step: a channel is zero where its filter and its bias are (CLP made them so), or
 * where everything that it is computed from is, by an operator that makes 0 of 0.
 * Sideways: channels that a sum, a product, a concatenation, an activation or a pool put beside each
 * other can only go together, and are joined.
 * A channel goes where all that it is joined with is known through and through, and every convolution
 * or matrix product that reads one of them reads zeros. So the gate of a channel that was pruned goes with
 * it, and a zero in one addend of a sum stays.
 *
 * What is not understood keeps its channels: class scores, groups of several channels, normalisations
 * across channels, whatever moves channels about. Runs after folding and before fusing. */
#include "infer/plan_dead.h"

#include "infer/function.h"
#include "infer/layout.h"

#include <string.h>

static int64_t find_root(const struct plan_dead *d, int64_t c) {
    while (d->parent[c] != c) {
        d->parent[c] = d->parent[d->parent[c]];
        c = d->parent[c];
    }
    return c;
}

static void join(struct plan_dead *d, int64_t a, int64_t b) {
    a = find_root(d, a);
    b = find_root(d, b);
    if (a == b) return;
    const int64_t root = a < b ? a : b, other = a < b ? b : a;
    d->parent[other] = (int32_t)root;
    d->stays[root] |= d->stays[other];
}

bool plan_dead_is(const struct plan_dead *d, int32_t tensor, int64_t c) {
    return d->first[tensor] >= 0 && !d->stays[find_root(d, d->first[tensor] + c)];
}

static int64_t channels_of(const struct plan_dead *d, int32_t tensor) {
    return d->first[tensor] < 0 ? 0 : d->p->tensors[tensor].shape.dim[1];
}

int64_t plan_dead_kept(const struct plan_dead *d, int32_t tensor) {
    int64_t n = 0;
    for (int64_t c = 0; c < channels_of(d, tensor); c++) n += !plan_dead_is(d, tensor, c);
    return n;
}

/* --- what a step does to its channels ------------------------------------------------------- */

static const float *constant_of(const struct plan *p, const struct plan_step *s, int32_t slot) {
    return slot < s->n_inputs && s->inputs[slot] >= 0 ? p->tensors[s->inputs[slot]].data : NULL;
}

static void keep_all(struct plan_dead *d, int32_t tensor) {
    for (int64_t c = 0; c < channels_of(d, tensor); c++) d->stays[find_root(d, d->first[tensor] + c)] = true;
}

/* A step of which nothing is known. */
static void keep_around(struct plan_dead *d, const struct plan_step *s) {
    for (int32_t i = 0; i < s->n_inputs; i++)
        if (s->inputs[i] >= 0) keep_all(d, s->inputs[i]);
    keep_all(d, s->output);
}

/* Weights of a channel that is not zero are needed. */
static void read_channels(struct plan_dead *d, int32_t tensor) {
    for (int64_t c = d->first[tensor]; c < d->first[tensor] + channels_of(d, tensor); c++)
        if (!d->zero[c]) d->stays[find_root(d, c)] = true;
}

static bool is_zero(const float *x, int64_t n, int64_t step) {
    for (int64_t i = 0; i < n; i++)
        if (x[i * step] != 0) return false;
    return true;
}

/* One number per channel or one for all; NULL: none. */
static bool bias_is_zero(const float *bias, int64_t n, int64_t c) {
    return !bias || bias[n == 1 ? 0 : c] == 0;
}

static bool fits_channels(const struct plan *p, const struct plan_step *s, int32_t slot, int64_t channels) {
    if (slot >= s->n_inputs || s->inputs[slot] < 0) return true;
    const struct shape *c = &p->tensors[s->inputs[slot]].shape;
    const int64_t n = shape_elements(c);
    return p->tensors[s->inputs[slot]].data && (n == 1 || (n == channels && c->dim[c->rank - 1] == n));
}

static int64_t elements_of(const struct plan *p, const struct plan_step *s, int32_t slot) {
    return constant_of(p, s, slot) ? shape_elements(&p->tensors[s->inputs[slot]].shape) : 0;
}

/* Each channel by itself: out[c] of in[c]. */
static bool is_channelwise(const struct plan *p, const struct plan_step *s) {
    const struct shape *w = &p->tensors[s->inputs[1]].shape;
    return w->dim[1] == 1 && s->params.window.groups == w->dim[0] &&
           p->tensors[s->inputs[0]].shape.dim[1] == w->dim[0];
}

static bool find_conv(struct plan_dead *d, const struct plan_step *s) {
    const struct plan *p = d->p;
    const float *w = constant_of(p, s, 1), *bias = constant_of(p, s, 2);
    const int64_t filters = channels_of(d, s->output), in = d->first[s->inputs[0]], out = d->first[s->output];
    if (!w || !fits_channels(p, s, 2, filters)) return false;
    const bool channelwise = is_channelwise(p, s);
    if (s->params.window.groups != 1 && !channelwise) return false;
    const int64_t each = shape_elements(&p->tensors[s->inputs[1]].shape) / filters;
    for (int64_t c = 0; c < filters; c++) {
        const bool none = (channelwise && d->zero[in + c]) || (s->scale && (float)s->scale[c] == 0) ||
                          is_zero(w + c * each, each, 1);
        d->zero[out + c] = none && bias_is_zero(bias, elements_of(p, s, 2), c);
        if (channelwise) join(d, in + c, out + c);
    }
    if (!channelwise) read_channels(d, s->inputs[0]);
    return true;
}

/* A [1,K] times B [K,N]: channels are columns. */
static bool find_product(struct plan_dead *d, const struct plan_step *s) {
    const struct plan *p = d->p;
    const struct shape *b = &p->tensors[s->inputs[1]].shape;
    const float *w = constant_of(p, s, 1), *bias = constant_of(p, s, 2);
    const int64_t columns = channels_of(d, s->output), out = d->first[s->output];
    const bool trans_b = s->op == OP_GEMM && s->params.gemm.trans_b;
    if (!w || b->rank != 2 || p->tensors[s->inputs[0]].shape.rank != 2 || !fits_channels(p, s, 2, columns) ||
        (s->op == OP_GEMM && s->params.gemm.trans_a))
        return false;
    const int64_t depth = b->dim[trans_b];
    for (int64_t c = 0; c < columns; c++) {
        const bool none = (s->scale && (float)s->scale[c] == 0) ||
                          is_zero(w + (trans_b ? c * depth : c), depth, trans_b ? 1 : columns);
        d->zero[out + c] = none && bias_is_zero(bias, elements_of(p, s, 2), c);
    }
    read_channels(d, s->inputs[0]);
    return true;
}

static bool find_batch_norm(struct plan_dead *d, const struct plan_step *s) {
    const float *scale = constant_of(d->p, s, 1), *shift = constant_of(d->p, s, 2);
    const int64_t in = d->first[s->inputs[0]], out = d->first[s->output];
    if (!scale || !shift || s->n_inputs != 3) return false;
    for (int64_t c = 0; c < channels_of(d, s->output); c++) {
        d->zero[out + c] = (d->zero[in + c] || scale[c] == 0) && shift[c] == 0;
        join(d, in + c, out + c);
    }
    return true;
}

/* What takes each channel by itself; `keeps_zero`: it makes 0 of 0. */
static bool find_alone(struct plan_dead *d, const struct plan_step *s, bool keeps_zero) {
    const int64_t in = d->first[s->inputs[0]], out = d->first[s->output];
    if (channels_of(d, s->inputs[0]) != channels_of(d, s->output)) return false;
    for (int64_t c = 0; c < channels_of(d, s->output); c++) {
        d->zero[out + c] = keeps_zero && d->zero[in + c];
        join(d, in + c, out + c);
    }
    return true;
}

static bool find_function(struct plan_dead *d, const struct plan_step *s) {
    const float zero = 0;
    float y = 1;
    function_run(s->op, &s->params.function, &zero, &y, 1);
    return find_alone(d, s, y == 0);
}

/* A window that lies in the padding as a whole has no element of the picture, whatever its channel holds. */
static bool find_pool(struct plan_dead *d, const struct plan_step *s) {
    const struct op_window *w = &s->params.window;
    bool covers = true;
    for (int i = 0; i < OP_SPATIAL && s->op != OP_GLOBAL_AVERAGE_POOL; i++)
        covers &= w->pad_begin[i] < w->kernel[i] && w->pad_end[i] < w->kernel[i] && w->dilation[i] == 1;
    return find_alone(d, s, covers);
}

static bool find_reduction(struct plan_dead *d, const struct plan_step *s) {
    if (s->params.reduce.axes & 3) return false; /* pictures or channels */
    return find_alone(d, s, s->op == OP_REDUCE_MEAN || s->op == OP_REDUCE_SUM || s->op == OP_REDUCE_MAX);
}

static bool find_pad(struct plan_dead *d, const struct plan_step *s) {
    const struct op_pad *pad = &s->params.pad;
    if (pad->begin[0] || pad->end[0] || pad->begin[1] || pad->end[1]) return false;
    return find_alone(d, s, pad->mode != PAD_CONSTANT || pad->value == 0);
}

int32_t plan_dead_constant(const struct plan *p, const struct plan_step *s, bool *scalar) {
    const int32_t slot = constant_of(p, s, 0) ? 0 : 1;
    const struct shape *c = &p->tensors[s->inputs[slot]].shape, *out = &p->tensors[s->output].shape;
    if (!constant_of(p, s, slot) || !shape_equal(&p->tensors[s->inputs[1 - slot]].shape, out)) return -1;
    *scalar = shape_elements(c) == 1;
    if (*scalar) return slot;
    const int32_t axis = 1 - (out->rank - c->rank); /* of the constant: shapes align at their ends */
    return axis >= 0 && c->dim[axis] == out->dim[1] && shape_elements(c) == out->dim[1] ? slot : -1;
}

static bool zero_of_pair(enum op op, bool a, bool b) {
    return op == OP_MUL ? a || b : (op == OP_ADD || op == OP_SUB || op == OP_MIN || op == OP_MAX) && a && b;
}

/* A sum or product of two tensors with the same channels (the gate of a squeeze and excitation has one
 * pixel), or of one and a constant. */
static bool find_pair(struct plan_dead *d, const struct plan_step *s) {
    const struct plan *p = d->p;
    const int64_t n = channels_of(d, s->output), out = d->first[s->output];
    bool scalar = false;
    if (constant_of(p, s, 0) || constant_of(p, s, 1)) {
        const int32_t slot = plan_dead_constant(p, s, &scalar);
        if (slot < 0 || d->first[s->inputs[1 - slot]] < 0) return false;
        const float *k = constant_of(p, s, slot);
        const int64_t in = d->first[s->inputs[1 - slot]];
        for (int64_t c = 0; c < n; c++) {
            d->zero[out + c] = zero_of_pair(s->op, d->zero[in + c], k[scalar ? 0 : c] == 0);
            join(d, in + c, out + c);
        }
        return true;
    }
    const int32_t rank = p->tensors[s->output].shape.rank;
    for (int32_t i = 0; i < 2; i++)
        if (p->tensors[s->inputs[i]].shape.rank != rank || channels_of(d, s->inputs[i]) != n) return false;
    const int64_t a = d->first[s->inputs[0]], b = d->first[s->inputs[1]];
    for (int64_t c = 0; c < n; c++) {
        d->zero[out + c] = zero_of_pair(s->op, d->zero[a + c], d->zero[b + c]);
        join(d, a + c, out + c);
        join(d, b + c, out + c);
    }
    return true;
}

static bool find_concat(struct plan_dead *d, const struct plan_step *s) {
    int64_t out = d->first[s->output];
    if (s->params.axis.axis != 1) return false;
    for (int32_t i = 0; i < s->n_inputs; i++)
        if (d->first[s->inputs[i]] < 0) return false; /* a constant among them */
    for (int32_t i = 0; i < s->n_inputs; i++)
        for (int64_t c = 0; c < channels_of(d, s->inputs[i]); c++, out++) {
            d->zero[out] = d->zero[d->first[s->inputs[i]] + c];
            join(d, d->first[s->inputs[i]] + c, out);
        }
    return true;
}

bool plan_dead_reshape(const struct shape *in, const struct shape *out, int64_t *expand, int64_t *merge) {
    if (in->rank < 2 || out->rank < 2 || in->dim[0] != out->dim[0]) return false;
    const int64_t a = shape_product(in, 2, in->rank), b = shape_product(out, 2, out->rank);
    *expand = a % b == 0 ? a / b : 1;
    *merge = b % a == 0 ? b / a : 1;
    return *expand * b == a * *merge;
}

static bool find_reshape(struct plan_dead *d, const struct plan_step *s) {
    int64_t expand, merge;
    const int64_t in = d->first[s->inputs[0]], out = d->first[s->output], n = channels_of(d, s->output);
    if (in < 0 || !plan_dead_reshape(&d->p->tensors[s->inputs[0]].shape, &d->p->tensors[s->output].shape,
                                     &expand, &merge))
        return false;
    for (int64_t c = 0; c < n; c++) d->zero[out + c] = true;
    for (int64_t c = 0; c < n * merge; c++) { /* pairs, by the finer of the two */
        const int64_t from = in + c / expand, to = out + c / merge;
        d->zero[to] &= d->zero[from];
        join(d, from, to);
    }
    return true;
}

static bool find_by_operator(struct plan_dead *d, const struct plan_step *s) {
    switch ((int)s->op) {
    case OP_CONV: return find_conv(d, s);
    case OP_GEMM:
    case OP_MATMUL: return find_product(d, s);
    case OP_BATCH_NORM: return find_batch_norm(d, s);
    case OP_RELU:
    case OP_IDENTITY: return find_alone(d, s, true);
    case OP_CLIP: return find_alone(d, s, s->params.clip.min <= 0 && s->params.clip.max >= 0);
    case OP_MAX_POOL:
    case OP_AVERAGE_POOL:
    case OP_GLOBAL_AVERAGE_POOL: return find_pool(d, s);
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_MIN:
    case OP_MAX: return find_pair(d, s);
    case OP_CONCAT: return find_concat(d, s);
    case OP_RESHAPE: return find_reshape(d, s);
    case OP_PAD: return find_pad(d, s);
    default:
        if (op_is_function(s->op)) return find_function(d, s);
        return s->op >= OP_REDUCE_FIRST && s->op <= OP_REDUCE_LAST && find_reduction(d, s);
    }
}

static void find_step(struct plan_dead *d, const struct plan_step *s) {
    const int32_t x = s->n_inputs > 0 && !constant_of(d->p, s, 0) ? s->inputs[0]
                      : s->n_inputs > 1                           ? s->inputs[1]
                                                                  : -1;
    const bool known = x >= 0 && d->first[x] >= 0 && d->first[s->output] >= 0;
    const bool pair =
        s->op == OP_ADD || s->op == OP_SUB || s->op == OP_MUL || s->op == OP_MIN || s->op == OP_MAX;
    if (!known || (x != s->inputs[0] && !pair) || !find_by_operator(d, s)) keep_around(d, s);
}

/* --- what had better stay ------------------------------------------------------------------- */

/* A tensor needs a channel. */
static void keep_one_each(struct plan_dead *d) {
    for (int32_t t = 0; t < d->p->n_tensors; t++)
        if (d->first[t] >= 0 && plan_dead_kept(d, t) == 0) d->stays[find_root(d, d->first[t])] = true;
}

/* A concatenation costs nothing while its parts are whole blocks: of those only whole blocks go. */
static bool keep_blocks_whole(struct plan_dead *d, const struct plan_step *s) {
    bool changed = false;
    for (int32_t i = 0; i < s->n_inputs; i++)
        if (channels_of(d, s->inputs[i]) % LAYOUT_LANES) return false;
    for (int32_t i = 0; i < s->n_inputs; i++) {
        int64_t more = plan_dead_kept(d, s->inputs[i]) % LAYOUT_LANES;
        more = more ? LAYOUT_LANES - more : 0;
        for (int64_t c = 0; more > 0 && c < channels_of(d, s->inputs[i]); c++)
            if (plan_dead_is(d, s->inputs[i], c)) {
                d->stays[find_root(d, d->first[s->inputs[i]] + c)] = true;
                changed = true;
                more--;
            }
    }
    return changed;
}

static void keep_what_pays(struct plan_dead *d) {
    bool changed = true;
    while (changed) { /* each round keeps at least one more */
        changed = false;
        for (int32_t i = 0; i < d->p->n_steps; i++) {
            const struct plan_step *s = &d->p->steps[i];
            if (!s->gone && s->op == OP_CONCAT && s->params.axis.axis == 1)
                changed |= keep_blocks_whole(d, s);
        }
    }
}

/* --- the pass ------------------------------------------------------------------------------- */

static int make_room(struct plan *p, struct plan_dead *d, struct err *e) {
    *d = (struct plan_dead){.p = p};
    d->first = bump_array(&p->bump, (size_t)p->n_tensors + 1, sizeof *d->first);
    if (!d->first) return plan_out_of_memory(e);
    for (int32_t t = 0; t < p->n_tensors; t++) {
        const struct plan_tensor *tensor = &p->tensors[t];
        const bool computed = !tensor->data && (tensor->is_input || tensor->producer >= 0);
        const bool has_channels = tensor->shape.rank >= 2 && shape_elements(&tensor->shape) > 0;
        d->first[t] = computed && has_channels ? d->n : -1;
        if (d->first[t] >= 0) d->n += tensor->shape.dim[1];
        if (d->n > PLAN_DEAD_MAX) return 0;
    }
    d->parent = bump_array(&p->bump, (size_t)d->n + 1, sizeof *d->parent);
    d->zero = bump_array(&p->bump, (size_t)d->n + 1, sizeof *d->zero);
    d->stays = bump_array(&p->bump, (size_t)d->n + 1, sizeof *d->stays);
    if (!d->parent || !d->zero || !d->stays) return plan_out_of_memory(e);
    for (int64_t c = 0; c < d->n; c++) d->parent[c] = (int32_t)c;
    return 0;
}

int plan_dead_find(struct plan *p, struct plan_dead *d, bool *any, struct err *e) {
    *any = false;
    if (make_room(p, d, e)) return -1;
    if (d->n > PLAN_DEAD_MAX) return 0;
    for (int32_t i = 0; i < p->n_steps; i++)
        if (!p->steps[i].gone) find_step(d, &p->steps[i]);
    for (int32_t t = 0; t < p->n_tensors; t++)
        if (p->tensors[t].is_input || p->tensors[t].is_output) keep_all(d, t);
    keep_one_each(d);
    if (p->options.isa != ISA_GENERIC) keep_what_pays(d);
    for (int64_t c = 0; c < d->n && !*any; c++) *any = !d->stays[find_root(d, c)];
    return 0;
}
