/* Shrinking: channels that plan_dead.c finds unneeded are taken out, so that a repaired network is also
 * the smaller one. Filters go from the weights of whoever computes them, their slices from the weights of
 * whoever reads them, their numbers from biases, scales and shifts; shapes follow.
 *
 * Weights are not copied: a list of what stays is noted, and image_write picks it while it packs.
 * What the network computes stays as it was, but for the order in which float sums are rounded. */
#include "infer/plan_dead.h"

#include <string.h>

struct shrink {
    struct plan *p;
    struct plan_dead *dead;
    int64_t **kept; /* [tensors]: the channels that stay, ascending; NULL: all */
};

static int64_t channels_after(const struct shrink *k, int32_t tensor) {
    return plan_dead_kept(k->dead, tensor);
}

/* NULL where all stay: then nothing is to be done. */
static int list_kept(struct shrink *k, int32_t tensor, struct err *e) {
    const int64_t n = channels_after(k, tensor), all = k->p->tensors[tensor].shape.dim[1];
    if (n == all) return 0;
    int64_t *list = bump_array(&k->p->bump, (size_t)n, sizeof *list), at = 0;
    if (!list) return plan_out_of_memory(e);
    for (int64_t c = 0; c < all; c++)
        if (!plan_dead_is(k->dead, tensor, c)) list[at++] = c;
    k->kept[tensor] = list;
    return 0;
}

/* --- constants ------------------------------------------------------------------------------- */

/* Puts a constant with other numbers in the place of input `slot`. */
static int replace_input(struct plan *p, struct plan_step *s, int32_t slot, const struct shape *shape,
                         const float *data, const struct plan_pick *pick, struct err *e) {
    const struct plan_tensor old = p->tensors[s->inputs[slot]];
    const int32_t t = plan_add_tensor(p, old.name, shape, data, e);
    if (t < 0) return -1;
    p->tensors[t].pick = pick;
    p->tensors[t].uses = 1;
    p->removed_parameters += (uint64_t)(shape_elements(&old.shape) - shape_elements(shape));
    s->inputs[slot] = t;
    return 0;
}

/* One number per channel: a copy without those of channels that go. */
static int pick_numbers(struct shrink *k, struct plan_step *s, int32_t slot, int32_t tensor, struct err *e) {
    const int64_t *kept = k->kept[tensor];
    if (!kept || slot >= s->n_inputs || s->inputs[slot] < 0) return 0;
    struct shape shape = k->p->tensors[s->inputs[slot]].shape;
    const float *from = k->p->tensors[s->inputs[slot]].data;
    const int64_t all = shape_elements(&shape), n = channels_after(k, tensor);
    if (all == 1) return 0; /* one for all */
    for (int32_t i = 0; i < shape.rank; i++)
        if (shape.dim[i] == all) shape.dim[i] = n;
    float *to = bump_array(&k->p->bump, (size_t)n, sizeof *to);
    if (!to) return plan_out_of_memory(e);
    for (int64_t c = 0; c < n; c++) to[c] = from[kept[c]];
    return replace_input(k->p, s, slot, &shape, to, NULL, e);
}

static int pick_scale(struct shrink *k, struct plan_step *s, struct err *e) {
    const int64_t *kept = k->kept[s->output];
    if (!kept || !s->scale) return 0;
    const int64_t n = channels_after(k, s->output);
    double *to = bump_array(&k->p->bump, (size_t)n, sizeof *to);
    if (!to) return plan_out_of_memory(e);
    for (int64_t c = 0; c < n; c++) to[c] = s->scale[kept[c]];
    s->scale = to;
    return 0;
}

/* The weight as [rows, columns, ...]: `rows` and `columns` are the tensors whose channels they are; -1: all
 * stay. */
static int pick_weight(struct shrink *k, struct plan_step *s, int32_t rows, int32_t columns, struct err *e) {
    struct plan *p = k->p;
    const int64_t *kept_rows = rows < 0 ? NULL : k->kept[rows];
    const int64_t *kept_columns = columns < 0 ? NULL : k->kept[columns];
    if (!kept_rows && !kept_columns) return 0;
    const struct plan_tensor *w = &p->tensors[s->inputs[1]];
    struct plan_pick *pick = bump_array(&p->bump, 1, sizeof *pick);
    if (!pick) return plan_out_of_memory(e);
    struct shape shape = w->shape;
    *pick = (struct plan_pick){.rows = kept_rows, .columns = kept_columns, .all_columns = shape.dim[1]};
    if (kept_rows) shape.dim[0] = channels_after(k, rows);
    if (kept_columns) shape.dim[1] = channels_after(k, columns);
    return replace_input(p, s, 1, &shape, w->data, pick, e);
}

/* --- steps ----------------------------------------------------------------------------------- */

static int shrink_conv(struct shrink *k, struct plan_step *s, struct err *e) {
    const bool channelwise = s->params.window.groups != 1;
    if (channelwise && k->kept[s->output]) s->params.window.groups = (int32_t)channels_after(k, s->output);
    return pick_weight(k, s, s->output, channelwise ? -1 : s->inputs[0], e) ||
           pick_numbers(k, s, 2, s->output, e) || pick_scale(k, s, e);
}

static int shrink_product(struct shrink *k, struct plan_step *s, struct err *e) {
    const bool trans_b = s->op == OP_GEMM && s->params.gemm.trans_b;
    const int32_t in = s->inputs[0], out = s->output;
    return pick_weight(k, s, trans_b ? out : in, trans_b ? in : out, e) || pick_numbers(k, s, 2, out, e) ||
           pick_scale(k, s, e);
}

static int shrink_pair(struct shrink *k, struct plan_step *s, struct err *e) {
    bool scalar;
    if (!k->p->tensors[s->inputs[0]].data && !k->p->tensors[s->inputs[1]].data) return 0;
    const int32_t slot = plan_dead_constant(k->p, s, &scalar);
    return slot < 0 || scalar ? 0 : pick_numbers(k, s, slot, s->output, e);
}

static int shrink_step(struct shrink *k, struct plan_step *s, struct err *e) {
    switch ((int)s->op) {
    case OP_CONV: return shrink_conv(k, s, e);
    case OP_GEMM:
    case OP_MATMUL: return shrink_product(k, s, e);
    case OP_BATCH_NORM: return pick_numbers(k, s, 1, s->output, e) || pick_numbers(k, s, 2, s->output, e);
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_MIN:
    case OP_MAX: return shrink_pair(k, s, e);
    case OP_RESHAPE:
        if (k->kept[s->output]) s->params.reshape.target.dim[1] = channels_after(k, s->output);
        return 0;
    default: return 0; /* takes what comes */
    }
}

/* --- the pass -------------------------------------------------------------------------------- */

static void set_shapes(const struct shrink *k, int32_t n_tensors) {
    for (int32_t t = 0; t < n_tensors; t++) {
        struct plan_tensor *tensor = &k->p->tensors[t];
        if (!k->kept[t]) continue;
        tensor->shape.dim[1] = channels_after(k, t);
        tensor->bytes = (uint64_t)shape_elements(&tensor->shape) * sizeof(float);
    }
}

int plan_shrink(struct plan *p, struct err *e) {
    struct plan_dead dead;
    const int32_t n_tensors = p->n_tensors;
    bool any;
    if (p->options.reference || p->options.keep || p->options.keep_dead) return 0;
    if (plan_dead_find(p, &dead, &any, e)) return -1;
    if (!any) return 0;
    struct shrink k = {
        .p = p, .dead = &dead, .kept = bump_array(&p->bump, (size_t)n_tensors, sizeof *k.kept)};
    if (!k.kept) return plan_out_of_memory(e);
    for (int32_t t = 0; t < n_tensors; t++)
        if (dead.first[t] >= 0 && list_kept(&k, t, e)) return -1;
    const uint64_t before = plan_multiply_adds(p);
    for (int32_t i = 0; i < p->n_steps; i++)
        if (!p->steps[i].gone && shrink_step(&k, &p->steps[i], e)) return -1;
    set_shapes(&k, n_tensors);
    p->removed_multiply_adds = before - plan_multiply_adds(p);
    return 0;
}
