/* Operators that pick, repeat and move elements: Transpose, Slice, Split, Gather,
 * Expand, Tile, Pad, DepthToSpace, SpaceToDepth. */
#include "guard/evaluate.h"

#include <string.h>

static int refuse_empty(const struct import_node *n) {
    return err_set(n->e, ERR_UNSUPPORTED, "its result is empty, which cannot run");
}

/* --- Transpose --------------------------------------------------------------------------- */

static struct operand *transpose(struct import_node *n, int32_t output, struct operand *in,
                                 const int32_t *perm) {
    union op_params p = {0};
    if (!in) return NULL;
    memcpy(p.transpose.perm, perm, (size_t)import_shape(in, 0)->rank * sizeof *perm);
    return import_emit_one(n, output, OP_TRANSPOSE, &p, in);
}

static int emit_transpose(struct import_node *n) {
    int32_t perm[SHAPE_MAX_RANK];
    if (import_perm(n, import_shape(n->in[0], 0)->rank, perm)) return -1;
    return transpose(n, 0, n->in[0], perm) ? 0 : -1;
}

/* --- Slice ------------------------------------------------------------------------------- */

struct slice {
    int64_t start[SHAPE_MAX_RANK], end[SHAPE_MAX_RANK], axis[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK];
    int n;
};

/* Up to operator set 9 in attributes, then in inputs; *has is whether there is such a list. */
static int read_list(const struct import_node *n, int lane, int32_t slot, const char *name, int64_t *out,
                     bool *has) {
    const struct operand *input = n->n_in > 1 ? import_input(n, slot) : NULL;
    *has = input || (n->n_in == 1 && name && import_attribute(n, name));
    if (input) return import_int_input(n, input, lane, out, SHAPE_MAX_RANK);
    return *has ? import_ints(n, name, out, SHAPE_MAX_RANK) : 0;
}

static int read_slice(const struct import_node *n, int lane, struct slice *s) {
    bool has_starts, has_ends, has_axes, has_steps;
    const int starts = read_list(n, lane, 1, "starts", s->start, &has_starts);
    const int ends = read_list(n, lane, 2, "ends", s->end, &has_ends);
    int axes = read_list(n, lane, 3, "axes", s->axis, &has_axes);
    int steps = read_list(n, lane, 4, NULL, s->step, &has_steps);
    if (starts < 0 || ends < 0 || axes < 0 || steps < 0) return -1;
    if (!has_axes) axes = starts;
    if (!has_steps) steps = starts;
    if (starts != ends || starts != axes || starts != steps)
        return err_set(n->e, ERR_FORMAT, "its starts, ends, axes and steps are not of one length");
    for (int i = 0; i < starts; i++) {
        if (!has_axes) s->axis[i] = i;
        if (!has_steps) s->step[i] = 1;
        if (s->step[i] == 0) return err_set(n->e, ERR_FORMAT, "a step is 0");
    }
    s->n = starts;
    return 0;
}

static int64_t clamp(int64_t x, int64_t least, int64_t most) {
    return x < least ? least : x > most ? most : x;
}

/* Elements of 0 … dim - 1 that the range holds, as Python's slices do; *start becomes the first. */
static int64_t slice_length(int64_t dim, int64_t *start, int64_t end, int64_t step) {
    if (dim == 0) return 0;
    int64_t from = *start < 0 ? *start + dim : *start, to = end < 0 ? end + dim : end;
    if (step > 0) {
        from = clamp(from, 0, dim);
        to = clamp(to, 0, dim);
    } else {
        from = clamp(from, 0, dim - 1);
        to = clamp(to, -1, dim - 1);
    }
    *start = from;
    const int64_t distance = step > 0 ? to - from : from - to, stride = step > 0 ? step : -step;
    return distance <= 0 ? 0 : (distance - 1) / stride + 1;
}

int import_slice(const struct import_node *n, int lane, const struct shape *in, int64_t start[SHAPE_MAX_RANK],
                 int64_t step[SHAPE_MAX_RANK], struct shape *out) {
    struct slice s;
    unsigned seen = 0;
    if (read_slice(n, lane, &s)) return -1;
    *out = *in;
    for (int32_t i = 0; i < in->rank; i++) {
        start[i] = 0;
        step[i] = 1;
    }
    for (int i = 0; i < s.n; i++) {
        int32_t axis;
        if (import_axis(s.axis[i], in->rank, &axis, n->e)) return -1;
        if (seen & 1u << axis) return err_set(n->e, ERR_FORMAT, "axis %d is given twice", axis);
        seen |= 1u << axis;
        start[axis] = s.start[i];
        /* Steps past the longest dimension change nothing more. */
        step[axis] = clamp(s.step[i], -SHAPE_MAX_ELEMENTS, SHAPE_MAX_ELEMENTS);
        out->dim[axis] = slice_length(in->dim[axis], &start[axis], s.end[i], step[axis]);
        if (out->dim[axis] <= 1) step[axis] = 1;
    }
    return 0;
}

/* Start and step of each axis of a result of this shape. */
static int fill_slice(const struct import_node *n, const int64_t *start, const int64_t *step,
                      const struct shape *out, struct op_slice *p) {
    *p = (struct op_slice){{0}, {0}, {0}};
    for (int32_t i = 0; i < out->rank; i++) {
        if (out->dim[i] < 1) return refuse_empty(n);
        p->start[i] = (int32_t)start[i]; /* inside a dimension, which is at most INT32_MAX */
        p->step[i] = (int32_t)step[i];
        p->count[i] = (int32_t)out->dim[i];
    }
    return 0;
}

/* The batch is checked at 1 and 2 only: x[:3] is all of it there, and not at 4. What a free
 * batch is cut to has to grow with it, or to be out of every batch's reach. */
static int check_batch_slice(const struct import_node *n) {
    const int32_t batch = n->in[0]->kind == OPERAND_RUNTIME ? n->in[0]->batch_axis : -1;
    struct slice s[2];
    if (n->lanes < 2 || batch < 0) return 0;
    for (int lane = 0; lane < 2; lane++)
        if (read_slice(n, lane, &s[lane])) return -1;
    for (int i = 0; i < s[0].n && i < s[1].n; i++) {
        int32_t axis;
        if (import_axis(s[0].axis[i], import_shape(n->in[0], 0)->rank, &axis, n->e)) return -1;
        if (axis == batch && s[0].end[i] == s[1].end[i] && s[0].end[i] < INT32_MAX)
            return err_set(
                n->e, ERR_UNSUPPORTED,
                "it picks some of the images of a batch. clpd runs each image by itself; export the "
                "model with a fixed batch of 1");
    }
    return 0;
}

static int emit_slice(struct import_node *n) {
    union op_params p[2] = {0};
    int64_t start[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK];
    struct shape out;
    if (check_batch_slice(n)) return -1;
    for (int lane = 0; lane < n->lanes; lane++)
        if (import_slice(n, lane, import_shape(n->in[0], lane), start, step, &out) ||
            fill_slice(n, start, step, &out, &p[lane].slice))
            return -1;
    return import_emit(n, 0, OP_SLICE, &p[0], n->lanes == 2 ? &p[1] : NULL, n->in, 1) ? 0 : -1;
}

/* `count` elements from `start` on along one axis, all of the others. */
static struct operand *slice_axis(struct import_node *n, int32_t output, struct operand *in, int32_t axis,
                                  int64_t start, int64_t step, int64_t count) {
    union op_params p[2] = {0};
    for (int lane = 0; lane < n->lanes; lane++) {
        struct shape s = *import_shape(in, lane);
        int64_t starts[SHAPE_MAX_RANK] = {0}, steps[SHAPE_MAX_RANK];
        for (int32_t i = 0; i < s.rank; i++) steps[i] = i == axis ? step : 1;
        starts[axis] = start;
        s.dim[axis] = count;
        if (fill_slice(n, starts, steps, &s, &p[lane].slice)) return NULL;
    }
    return import_emit(n, output, OP_SLICE, &p[0], n->lanes == 2 ? &p[1] : NULL, &in, 1);
}

/* --- Split ------------------------------------------------------------------------------- */

int import_split(const struct import_node *n, int lane, const struct shape *in, int32_t *axis, int32_t parts,
                 int64_t *lengths) {
    const struct operand *input = import_input(n, 1);
    if (parts < 1 || parts > OP_MAX_INPUTS)
        return err_set(n->e, ERR_LIMIT, "%d outputs; accepted are 1 to %d", parts, OP_MAX_INPUTS);
    if (import_axis(import_int(n, "axis", 0), in->rank, axis, n->e)) return -1;
    const int count = input ? import_int_input(n, input, lane, lengths, OP_MAX_INPUTS)
                            : import_ints(n, "split", lengths, OP_MAX_INPUTS);
    const int64_t all = in->dim[*axis];
    int64_t sum = 0;
    if (count < 0) return -1;
    if (count == 0) {
        const bool uneven = import_attribute(n, "num_outputs") != NULL;
        if (!uneven && all % parts != 0)
            return err_set(n->e, ERR_FORMAT, "%lld elements cannot be split into %d equal parts",
                           (long long)all, parts);
        if (uneven && import_int(n, "num_outputs", 0) != parts)
            return err_set(n->e, ERR_FORMAT, "num_outputs is %lld; it has %d outputs",
                           (long long)import_int(n, "num_outputs", 0), parts);
        const int64_t each = (all + parts - 1) / parts;
        for (int32_t k = 0; k < parts; k++) lengths[k] = k < parts - 1 ? each : all - each * (parts - 1);
    } else if (count != parts) {
        return err_set(n->e, ERR_FORMAT, "%d lengths for %d outputs", count, parts);
    }
    for (int32_t k = 0; k < parts; k++) {
        if (lengths[k] < 0 || lengths[k] > all - sum)
            return err_set(n->e, ERR_FORMAT, "its parts are not %lld long together", (long long)all);
        sum += lengths[k];
    }
    return sum == all ? 0 : err_set(n->e, ERR_FORMAT, "its parts are not %lld long together", (long long)all);
}

static int emit_split(struct import_node *n) {
    int64_t lengths[2][OP_MAX_INPUTS], at = 0;
    int32_t axis, parts = n->onnx->n_outputs;
    for (int lane = 0; lane < n->lanes; lane++)
        if (import_split(n, lane, import_shape(n->in[0], lane), &axis, parts, lengths[lane])) return -1;
    for (int32_t k = 0; k < parts; at += lengths[0][k++]) {
        if (n->lanes == 2 && lengths[0][k] != lengths[1][k])
            return err_set(n->e, ERR_UNSUPPORTED,
                           "it splits along the batch. clpd runs each image by itself; export the model with "
                           "a fixed batch of 1");
        if (!slice_axis(n, k, n->in[0], axis, at, 1, lengths[0][k])) return -1;
    }
    return 0;
}

/* --- Gather ------------------------------------------------------------------------------ */

static int read_indices(const struct import_node *n, const struct tensor *t, int64_t dim, float *out) {
    for (int64_t k = 0; k < t->count; k++) {
        const int64_t i = t->i[k] < 0 ? t->i[k] + dim : t->i[k];
        if (i < 0 || i >= dim)
            return err_set(n->e, ERR_VALUE, "index %lld is none of the %lld that there are",
                           (long long)t->i[k], (long long)dim);
        if (import_index(n, i, &out[k])) return -1;
    }
    return 0;
}

/* Indices at one distance from each other are a slice. *step is 0 where they are not. */
static int64_t find_step(const float *indices, int64_t count) {
    const int64_t step = count > 1 ? (int64_t)indices[1] - (int64_t)indices[0] : 1;
    for (int64_t k = 2; k < count; k++)
        if ((int64_t)indices[k] - (int64_t)indices[k - 1] != step) return 0;
    return step;
}

/* One index of rank 0 takes its axis away. */
static int emit_one_index(struct import_node *n, int32_t axis, int64_t index) {
    struct shape s[2];
    struct operand *picked = slice_axis(n, -1, n->in[0], axis, index, 1, 1);
    for (int lane = 0; lane < n->lanes; lane++) {
        const struct shape *in = import_shape(n->in[0], lane);
        s[lane] = (struct shape){0};
        for (int32_t i = 0; i < in->rank; i++)
            if (i != axis) s[lane].dim[s[lane].rank++] = in->dim[i];
    }
    return import_emit_reshape(n, 0, picked, s) ? 0 : -1;
}

static int emit_gather(struct import_node *n) {
    const struct operand *indices = n->in[1];
    const struct shape *in = import_shape(n->in[0], 0);
    union op_params p = {0};
    float *f;
    if (indices->kind != OPERAND_CONSTANT || indices->constant[0] != indices->constant[1])
        return err_set(n->e, ERR_UNSUPPORTED, "its indices ('%.*s') must be constant",
                       TEXT_ARGS(indices->name));
    const struct tensor *t = indices->constant[0];
    if (!t->i) return err_set(n->e, ERR_FORMAT, "its indices are no integers");
    if (t->count < 1) return refuse_empty(n);
    if (import_axis(import_int(n, "axis", 0), in->rank, &p.axis.axis, n->e)) return -1;
    struct operand *const two[2] = {n->in[0], import_new_constant(n, &t->shape, &f)};
    if (!two[1] || read_indices(n, t, in->dim[p.axis.axis], f)) return -1;
    if (t->shape.rank == 0) return emit_one_index(n, p.axis.axis, (int64_t)f[0]);
    const int64_t step = find_step(f, t->count);
    if (t->shape.rank == 1 && step)
        return slice_axis(n, 0, n->in[0], p.axis.axis, (int64_t)f[0], step, t->count) ? 0 : -1;
    return import_emit(n, 0, OP_GATHER, &p, NULL, two, 2) ? 0 : -1;
}

/* --- Expand, Tile ---------------------------------------------------------------------------- */

static int emit_expand(struct import_node *n) {
    union op_params p[2] = {0};
    char a[128], b[128];
    for (int lane = 0; lane < n->lanes; lane++) {
        const struct shape *in = import_shape(n->in[0], lane);
        struct shape to = {0};
        to.rank = import_int_input(n, n->in[1], lane, to.dim, SHAPE_MAX_RANK);
        if (to.rank < 0) return -1;
        if (shape_elements(&to) < 0 || !shape_broadcast(in, &to, &p[lane].reshape.target))
            return err_set(n->e, ERR_FORMAT, "%s does not expand to %s", shape_text(in, a, sizeof a),
                           shape_text(&to, b, sizeof b));
    }
    return import_emit(n, 0, OP_EXPAND, &p[0], n->lanes == 2 ? &p[1] : NULL, n->in, 1) ? 0 : -1;
}

static int emit_tile(struct import_node *n) {
    int64_t repeats[2][SHAPE_MAX_RANK];
    const int32_t rank = import_shape(n->in[0], 0)->rank;
    int32_t last = -1;
    for (int lane = 0; lane < n->lanes; lane++)
        if (import_int_input(n, n->in[1], lane, repeats[lane], SHAPE_MAX_RANK) != rank)
            return n->e->code ? -1 : err_set(n->e, ERR_FORMAT, "it needs %d repeats", rank);
    for (int32_t i = 0; i < rank; i++) {
        if (repeats[0][i] < 1) return refuse_empty(n);
        if (repeats[0][i] > OP_MAX_INPUTS || (n->lanes == 2 && repeats[0][i] != repeats[1][i]))
            return err_set(n->e, ERR_LIMIT, "%lld repeats; accepted are 1 to %d, the same for every batch",
                           (long long)repeats[n->lanes - 1][i], OP_MAX_INPUTS);
        if (repeats[0][i] > 1) last = i;
    }
    if (last < 0) return import_emit_simple(n, OP_IDENTITY, NULL, 1);
    struct operand *x = n->in[0], *copies[OP_MAX_INPUTS];
    for (int32_t i = 0; i < rank && x; i++) {
        if (repeats[0][i] == 1) continue;
        for (int64_t k = 0; k < repeats[0][i]; k++) copies[k] = x;
        x = import_emit(n, i == last ? 0 : -1, OP_CONCAT, &(union op_params){.axis = {.axis = i}}, NULL,
                        copies, (int32_t)repeats[0][i]);
    }
    return x ? 0 : -1;
}

/* --- Pad ------------------------------------------------------------------------------------- */

struct pads {
    int64_t begin[SHAPE_MAX_RANK], end[SHAPE_MAX_RANK];
};

/* Attribute up to operator set 10, then input 1; from 18 on, input 3 says for which axes. */
static int read_pads(const struct import_node *n, int lane, int32_t rank, struct pads *p) {
    int64_t values[2 * SHAPE_MAX_RANK], axes[SHAPE_MAX_RANK];
    const struct operand *input = import_input(n, 1), *chosen = import_input(n, 3);
    const int count = input ? import_int_input(n, input, lane, values, 2 * SHAPE_MAX_RANK)
                            : import_ints(n, "pads", values, 2 * SHAPE_MAX_RANK);
    int n_axes = rank;
    for (int32_t i = 0; i < rank; i++) axes[i] = i;
    if (chosen) n_axes = import_int_input(n, chosen, lane, axes, SHAPE_MAX_RANK);
    if (count < 0 || n_axes < 0) return -1;
    if (count != 2 * n_axes)
        return err_set(n->e, ERR_FORMAT, "%d pads; %d are needed, begin and end of each axis", count,
                       2 * n_axes);
    memset(p, 0, sizeof *p);
    for (int i = 0; i < n_axes; i++) {
        int32_t axis;
        if (import_axis(axes[i], rank, &axis, n->e)) return -1;
        p->begin[axis] = values[i];
        p->end[axis] = values[n_axes + i];
    }
    return 0;
}

static int pad_mode(const struct import_node *n, int32_t *mode) {
    static const char *const names[PAD_MODES] = {"constant", "edge", "reflect", "wrap"};
    const struct text given = import_text(n, "mode", "constant");
    for (*mode = 0; *mode < PAD_MODES; ++*mode)
        if (text_is(given, names[*mode])) return 0;
    return err_set(n->e, ERR_UNSUPPORTED, "mode is '%.*s'; accepted are constant, edge, reflect and wrap",
                   TEXT_ARGS(given));
}

/* Negative padding crops: that is taken out of `p`, as start and shape of what is left. */
static int crop(const struct import_node *n, struct pads *p, const struct shape *in, int64_t *start,
                struct shape *left, bool *crops) {
    *left = *in;
    for (int32_t i = 0; i < in->rank; i++) {
        const int64_t most = INT32_MAX / 4;
        if (p->begin[i] < -most || p->begin[i] > most || p->end[i] < -most || p->end[i] > most)
            return err_set(n->e, ERR_LIMIT, "padding %lld, %lld", (long long)p->begin[i],
                           (long long)p->end[i]);
        start[i] = p->begin[i] < 0 ? -p->begin[i] : 0;
        left->dim[i] -= start[i] - (p->end[i] < 0 ? p->end[i] : 0);
        if (left->dim[i] < 1) return refuse_empty(n);
        *crops = *crops || p->begin[i] < 0 || p->end[i] < 0;
        if (p->begin[i] < 0) p->begin[i] = 0;
        if (p->end[i] < 0) p->end[i] = 0;
    }
    return 0;
}

static int emit_pad(struct import_node *n) {
    union op_params pad[2] = {0}, cut[2] = {0};
    bool crops = false, pads = false;
    float value = import_float(n, "value", 0);
    if (import_input(n, 2) && import_scalar_input(n, n->in[2], "the value to pad with", &value)) return -1;
    for (int lane = 0; lane < n->lanes; lane++) {
        const struct shape *in = import_shape(n->in[0], lane);
        int64_t start[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK];
        struct shape left;
        struct pads p;
        if (read_pads(n, lane, in->rank, &p) || pad_mode(n, &pad[lane].pad.mode) ||
            crop(n, &p, in, start, &left, &crops))
            return -1;
        for (int32_t i = 0; i < in->rank; i++) {
            step[i] = 1;
            pad[lane].pad.begin[i] = (int32_t)p.begin[i];
            pad[lane].pad.end[i] = (int32_t)p.end[i];
            pads = pads || p.begin[i] || p.end[i];
        }
        pad[lane].pad.value = value;
        if (fill_slice(n, start, step, &left, &cut[lane].slice)) return -1;
    }
    struct operand *x = n->in[0];
    if (crops) x = import_emit(n, pads ? -1 : 0, OP_SLICE, &cut[0], n->lanes == 2 ? &cut[1] : NULL, &x, 1);
    if (x && (pads || !crops))
        x = import_emit(n, 0, pads ? OP_PAD : OP_IDENTITY, pads ? &pad[0] : NULL,
                        pads && n->lanes == 2 ? &pad[1] : NULL, &x, 1);
    return x ? 0 : -1;
}

/* --- DepthToSpace, SpaceToDepth ---------------------------------------------------------------- */

/* The shape of an input [N,C,H,W] cut into its factors, the axes of these in the order of the result. */
struct blocks {
    struct shape (*cut)(const struct shape *in, int64_t block);
    struct shape (*joined)(const struct shape *in, int64_t block);
    int32_t perm[6];
};

static struct shape cut_depth_first(const struct shape *in, int64_t b) { /* block, block, channel */
    return (struct shape){.rank = 6, .dim = {in->dim[0], b, b, in->dim[1] / (b * b), in->dim[2], in->dim[3]}};
}
static struct shape cut_columns_first(const struct shape *in, int64_t b) { /* channel, block, block */
    return (struct shape){.rank = 6, .dim = {in->dim[0], in->dim[1] / (b * b), b, b, in->dim[2], in->dim[3]}};
}
static struct shape join_space(const struct shape *in, int64_t b) {
    return (struct shape){.rank = 4,
                          .dim = {in->dim[0], in->dim[1] / (b * b), in->dim[2] * b, in->dim[3] * b}};
}
static struct shape cut_space(const struct shape *in, int64_t b) {
    return (struct shape){.rank = 6, .dim = {in->dim[0], in->dim[1], in->dim[2] / b, b, in->dim[3] / b, b}};
}
static struct shape join_depth(const struct shape *in, int64_t b) {
    return (struct shape){.rank = 4, .dim = {in->dim[0], in->dim[1] * b * b, in->dim[2] / b, in->dim[3] / b}};
}

static int emit_blocks(struct import_node *n, const struct blocks *how, bool divides_depth) {
    const int64_t b = import_int(n, "blocksize", 0);
    const struct shape *in = import_shape(n->in[0], 0);
    struct shape cut[2], joined[2];
    char text[128];
    if (b < 1 || b > OP_MAX_WINDOW || in->rank != 4 ||
        (divides_depth ? in->dim[1] % (b * b) != 0 : in->dim[2] % b != 0 || in->dim[3] % b != 0))
        return err_set(n->e, ERR_FORMAT, "%s does not divide into blocks of %lld",
                       shape_text(in, text, sizeof text), (long long)b);
    for (int lane = 0; lane < n->lanes; lane++) {
        cut[lane] = how->cut(import_shape(n->in[0], lane), b);
        joined[lane] = how->joined(import_shape(n->in[0], lane), b);
    }
    struct operand *x = transpose(n, -1, import_emit_reshape(n, -1, n->in[0], cut), how->perm);
    return import_emit_reshape(n, 0, x, joined) ? 0 : -1;
}

static int emit_depth_to_space(struct import_node *n) {
    static const struct blocks dcr = {cut_depth_first, join_space, {0, 3, 4, 1, 5, 2}},
                               crd = {cut_columns_first, join_space, {0, 1, 4, 2, 5, 3}};
    const struct text mode = import_text(n, "mode", "DCR");
    if (!text_is(mode, "DCR") && !text_is(mode, "CRD"))
        return err_set(n->e, ERR_FORMAT, "mode is '%.*s'; accepted are DCR and CRD", TEXT_ARGS(mode));
    return emit_blocks(n, text_is(mode, "DCR") ? &dcr : &crd, true);
}

static int emit_space_to_depth(struct import_node *n) {
    static const struct blocks how = {cut_space, join_depth, {0, 3, 5, 1, 2, 4}};
    return emit_blocks(n, &how, false);
}

const struct import_row import_rows_move[] = {
    {"Transpose", OPSET_ANY, 1, 1, "perm:I", emit_transpose, evaluate_transpose, false},
    {"Slice", 1, 9, 1, 1, "starts:I ends:I axes:I", emit_slice, evaluate_slice, false},
    {"Slice", 10, 1000, 3, 5, "", emit_slice, evaluate_slice, false},
    {"Split", 2, 12, 1, 1, "axis:i split:I", emit_split, evaluate_split, false},
    {"Split", 13, 17, 1, 2, "axis:i", emit_split, evaluate_split, false},
    {"Split", 18, 1000, 1, 2, "axis:i num_outputs:i", emit_split, evaluate_split, false},
    {"Gather", OPSET_ANY, 2, 2, "axis:i", emit_gather, evaluate_gather, false},
    {"Expand", 8, 1000, 2, 2, "", emit_expand, evaluate_expand, false},
    {"Tile", 6, 1000, 2, 2, "", emit_tile, evaluate_tile, false},
    {"Pad", 2, 10, 1, 1, "mode:s pads:I value:f", emit_pad, NULL, false},
    {"Pad", 11, 17, 2, 3, "mode:s", emit_pad, NULL, false},
    {"Pad", 18, 1000, 2, 4, "mode:s", emit_pad, NULL, false},
    {"DepthToSpace", OPSET_ANY, 1, 1, "blocksize:i mode:s", emit_depth_to_space, NULL, false},
    {"SpaceToDepth", OPSET_ANY, 1, 1, "blocksize:i", emit_space_to_depth, NULL, false},
    {0},
};
