/* Operators that only say anew what shape the elements have, and Concat:
 * Reshape, Flatten, Squeeze, Unsqueeze. Each resolves its target from the
 * input's shape, at every batch size, for run-time values and constants alike. */
#include "guard/evaluate.h"

/* Finds the target for an input of shape `in`. */
typedef int (*target_fn)(const struct import_node *n, int lane, const struct shape *in, struct shape *out);

static int emit_target(struct import_node *n, target_fn find) {
    union op_params p[2] = {0};
    for (int lane = 0; lane < n->lanes; lane++)
        if (find(n, lane, import_shape(n->in[0], lane), &p[lane].reshape.target)) return -1;
    return import_emit(n, 0, OP_RESHAPE, &p[0], n->lanes == 2 ? &p[1] : NULL, n->in, 1) ? 0 : -1;
}

static int evaluate_target(struct evaluation *v, target_fn find) {
    struct shape s = {0};
    return find(v->node, v->lane, &v->in[0]->shape, &s) ? -1 : evaluate_view(v, &s);
}

/* --- Reshape -------------------------------------------------------------------------- */

/* Puts the one -1 right: what is left over of the input's elements. */
static int infer_free_axis(const struct import_node *n, const struct shape *in, int32_t axis,
                           struct shape *out) {
    if (axis < 0) return 0;
    out->dim[axis] = 1;
    const int64_t known = shape_elements(out), all = shape_elements(in);
    char text[128];
    if (known <= 0 || all % known != 0)
        return err_set(n->e, ERR_FORMAT, "%s does not divide into what its target shape leaves free",
                       shape_text(in, text, sizeof text));
    out->dim[axis] = all / known;
    return 0;
}

static int reshape_target(const struct import_node *n, int lane, const struct shape *in, struct shape *out) {
    int64_t dims[SHAPE_MAX_RANK];
    int32_t allow_zero, free_axis = -1;
    const int rank = import_int_input(n, n->in[1], lane, dims, SHAPE_MAX_RANK);
    if (rank < 0 || import_flag(n, "allowzero", 0, &allow_zero)) return -1;
    *out = (struct shape){.rank = rank};
    for (int32_t i = 0; i < rank; i++) {
        out->dim[i] = dims[i];
        if (dims[i] == 0 && !allow_zero) {
            if (i >= in->rank)
                return err_set(n->e, ERR_FORMAT, "dimension %d is to be kept, but there is none", i);
            out->dim[i] = in->dim[i];
        }
        if (dims[i] < -1)
            return err_set(n->e, ERR_FORMAT, "target dimension %d is %lld", i, (long long)dims[i]);
        if (dims[i] != -1) continue;
        if (free_axis >= 0) return err_set(n->e, ERR_FORMAT, "its target shape has more than one -1");
        free_axis = i;
    }
    return infer_free_axis(n, in, free_axis, out);
}

static int emit_reshape(struct import_node *n) {
    return emit_target(n, reshape_target);
}

static int evaluate_reshape(struct evaluation *v) {
    return evaluate_target(v, reshape_target);
}

/* --- Flatten -------------------------------------------------------------------------- */

static int flatten_target(const struct import_node *n, int lane, const struct shape *in, struct shape *out) {
    (void)lane;
    int64_t axis = import_int(n, "axis", 1);
    if (axis < -(int64_t)in->rank || axis > in->rank)
        return err_set(n->e, ERR_FORMAT, "axis %lld is none of the %d that there are", (long long)axis,
                       in->rank);
    if (axis < 0) axis += in->rank;
    *out = (struct shape){
        .rank = 2, .dim = {shape_product(in, 0, (int32_t)axis), shape_product(in, (int32_t)axis, in->rank)}};
    return 0;
}

static int emit_flatten(struct import_node *n) {
    return emit_target(n, flatten_target);
}

static int evaluate_flatten(struct evaluation *v) {
    return evaluate_target(v, flatten_target);
}

/* --- Squeeze, Unsqueeze ------------------------------------------------------------------ */

/* Without axes, every dimension of 1 goes; but a free batch is no dimension of
 * 1, though it is one in lane 0: so the last lane decides. */
static int squeeze_target(const struct import_node *n, int lane, const struct shape *in, struct shape *out) {
    unsigned set;
    bool given;
    if (import_axes(n, 1, lane, in->rank, &set, &given)) return -1;
    const struct shape *last = import_shape(n->in[0], n->lanes - 1);
    *out = (struct shape){0};
    for (int32_t i = 0; i < in->rank; i++) {
        const bool goes =
            given ? set & 1u << i : in->dim[i] == 1 && last->rank == in->rank && last->dim[i] == 1;
        if (goes && in->dim[i] != 1)
            return err_set(n->e, ERR_FORMAT, "axis %d has %lld elements and cannot be taken away", i,
                           (long long)in->dim[i]);
        if (!goes) out->dim[out->rank++] = in->dim[i];
    }
    return 0;
}

static int emit_squeeze(struct import_node *n) {
    return emit_target(n, squeeze_target);
}

static int evaluate_squeeze(struct evaluation *v) {
    return evaluate_target(v, squeeze_target);
}

/* The axes are those of the result. */
static int unsqueeze_target(const struct import_node *n, int lane, const struct shape *in,
                            struct shape *out) {
    unsigned set;
    bool given;
    const struct operand *input = import_input(n, 1);
    int64_t ignored[SHAPE_MAX_RANK];
    const int added = input ? import_int_input(n, input, lane, ignored, SHAPE_MAX_RANK)
                            : import_ints(n, "axes", ignored, SHAPE_MAX_RANK);
    if (added < 0) return -1;
    if (in->rank + added > SHAPE_MAX_RANK)
        return err_set(n->e, ERR_LIMIT, "its result has more than %d dimensions", SHAPE_MAX_RANK);
    if (import_axes(n, 1, lane, in->rank + added, &set, &given)) return -1;
    if (!given) return err_set(n->e, ERR_FORMAT, "its axes are missing");
    *out = (struct shape){.rank = in->rank + added};
    for (int32_t i = 0, from = 0; i < out->rank; i++) out->dim[i] = set & 1u << i ? 1 : in->dim[from++];
    return 0;
}

static int emit_unsqueeze(struct import_node *n) {
    return emit_target(n, unsqueeze_target);
}

static int evaluate_unsqueeze(struct evaluation *v) {
    return evaluate_target(v, unsqueeze_target);
}

/* --- Concat --------------------------------------------------------------------------- */

static int emit_concat(struct import_node *n) {
    union op_params p = {0};
    if (!import_attribute(n, "axis")) return err_set(n->e, ERR_FORMAT, "attribute 'axis' is missing");
    if (import_axis(import_int(n, "axis", 0), import_shape(n->in[0], 0)->rank, &p.axis.axis, n->e)) return -1;
    return import_emit_simple(n, OP_CONCAT, &p, n->n_in);
}

const struct import_row import_rows_shape[] = {
    {"Reshape", OPSET_ANY, 2, 2, "allowzero:i", emit_reshape, evaluate_reshape, false},
    {"Flatten", OPSET_ANY, 1, 1, "axis:i", emit_flatten, evaluate_flatten, false},
    {"Squeeze", 1, 12, 1, 1, "axes:I", emit_squeeze, evaluate_squeeze, false},
    {"Squeeze", 13, 1000, 1, 2, "", emit_squeeze, evaluate_squeeze, false},
    {"Unsqueeze", 1, 12, 1, 1, "axes:I", emit_unsqueeze, evaluate_unsqueeze, false},
    {"Unsqueeze", 13, 1000, 2, 2, "", emit_unsqueeze, evaluate_unsqueeze, false},
    {"Concat", OPSET_ANY, 1, OP_MAX_INPUTS, "axis:i", emit_concat, evaluate_concat, false},
    {0},
};
