/* The import-time evaluator: operators that pick and move elements. */
#include "guard/evaluate.h"

#include <string.h>

static size_t element_bytes(const struct tensor *t) {
    return t->f ? sizeof *t->f : sizeof *t->i;
}

static const char *elements(const struct tensor *t) {
    return t->f ? (const char *)t->f : (const char *)t->i;
}

/* A result of the type of input 0; *to: where its bytes go. */
static int new_alike(struct evaluation *v, const struct shape *s, char **to) {
    float *f = NULL;
    int64_t *i = NULL;
    if (evaluate_new(v, v->in[0]->type, s, &f, &i)) return -1;
    *to = f ? (char *)f : (char *)i;
    return 0;
}

/* out[index] = in[offset + sum of index * stride]: slices, transpositions and expansions. */
static int copy_strided(struct evaluation *v, const struct shape *s, int64_t offset, const int64_t *stride) {
    char *to;
    if (new_alike(v, s, &to)) return -1;
    const size_t bytes = element_bytes(v->in[0]);
    const char *from = elements(v->in[0]);
    int64_t index[SHAPE_MAX_RANK] = {0}, at = offset;
    for (int64_t k = 0; k < v->out[0]->count; k++, to += bytes) {
        memcpy(to, from + at * (int64_t)bytes, bytes);
        for (int32_t d = s->rank - 1; d >= 0; d--) {
            at += stride[d];
            if (++index[d] < s->dim[d]) break;
            at -= stride[d] * s->dim[d];
            index[d] = 0;
        }
    }
    return 0;
}

static void row_major(const struct shape *s, int64_t *stride) {
    int64_t step = 1;
    for (int32_t d = s->rank - 1; d >= 0; d--) {
        stride[d] = step;
        step *= s->dim[d];
    }
}

int evaluate_gather(struct evaluation *v) {
    const struct tensor *data = v->in[0], *indices = v->in[1];
    int32_t axis;
    if (import_axis(import_int(v->node, "axis", 0), data->shape.rank, &axis, v->e)) return -1;
    if (!indices->i) return err_set(v->e, ERR_FORMAT, "its indices are no integers");
    struct shape s = {.rank = data->shape.rank - 1 + indices->shape.rank};
    if (s.rank > SHAPE_MAX_RANK)
        return err_set(v->e, ERR_LIMIT, "its result has more than %d dimensions", SHAPE_MAX_RANK);
    int32_t d = 0;
    for (int32_t i = 0; i < axis; i++) s.dim[d++] = data->shape.dim[i];
    for (int32_t i = 0; i < indices->shape.rank; i++) s.dim[d++] = indices->shape.dim[i];
    for (int32_t i = axis + 1; i < data->shape.rank; i++) s.dim[d++] = data->shape.dim[i];
    char *to;
    if (new_alike(v, &s, &to)) return -1;

    const int64_t n = data->shape.dim[axis], before = shape_product(&data->shape, 0, axis);
    const size_t bytes =
        (size_t)shape_product(&data->shape, axis + 1, data->shape.rank) * element_bytes(data);
    const char *from = elements(data);
    for (int64_t b = 0; b < before; b++, from += (size_t)n * bytes)
        for (int64_t k = 0; k < indices->count; k++, to += bytes) {
            const int64_t i = indices->i[k] < 0 ? indices->i[k] + n : indices->i[k];
            if (i < 0 || i >= n)
                return err_set(v->e, ERR_VALUE, "index %lld is none of the %lld that there are",
                               (long long)indices->i[k], (long long)n);
            memcpy(to, from + (size_t)i * bytes, bytes);
        }
    return 0;
}

struct slice {
    int64_t start[SHAPE_MAX_RANK], end[SHAPE_MAX_RANK], axis[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK];
    int n;
};

/* Up to operator set 9 in attributes, then in inputs. */
static int read_slice(const struct evaluation *v, struct slice *s) {
    const struct import_node *n = v->node;
    const bool inputs = v->n_in > 1;
    const int starts = inputs ? evaluate_ints(v, 1, s->start, SHAPE_MAX_RANK)
                              : import_ints(n, "starts", s->start, SHAPE_MAX_RANK);
    const int ends =
        inputs ? evaluate_ints(v, 2, s->end, SHAPE_MAX_RANK) : import_ints(n, "ends", s->end, SHAPE_MAX_RANK);
    const bool has_axes = inputs ? v->n_in > 3 && v->in[3] : import_attribute(n, "axes") != NULL;
    const bool has_steps = v->n_in > 4 && v->in[4];
    int axes = starts, steps = starts;
    if (has_axes)
        axes = inputs ? evaluate_ints(v, 3, s->axis, SHAPE_MAX_RANK)
                      : import_ints(n, "axes", s->axis, SHAPE_MAX_RANK);
    if (has_steps) steps = evaluate_ints(v, 4, s->step, SHAPE_MAX_RANK);
    if (starts < 0 || ends < 0 || axes < 0 || steps < 0) return -1;
    if (starts != ends || starts != axes || starts != steps)
        return err_set(v->e, ERR_FORMAT, "its starts, ends, axes and steps are not of one length");
    for (int i = 0; i < starts; i++) {
        if (!has_axes) s->axis[i] = i;
        if (!has_steps) s->step[i] = 1;
        if (s->step[i] == 0) return err_set(v->e, ERR_FORMAT, "a step is 0");
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

int evaluate_slice(struct evaluation *v) {
    struct slice s;
    int64_t stride[SHAPE_MAX_RANK], offset = 0;
    struct shape out = v->in[0]->shape;
    unsigned seen = 0;
    if (read_slice(v, &s)) return -1;
    row_major(&out, stride);
    for (int i = 0; i < s.n; i++) {
        int32_t axis;
        if (import_axis(s.axis[i], out.rank, &axis, v->e)) return -1;
        if (seen & 1u << axis) return err_set(v->e, ERR_FORMAT, "axis %d is given twice", axis);
        seen |= 1u << axis;
        /* Steps past the longest dimension change nothing more. */
        const int64_t step = clamp(s.step[i], -SHAPE_MAX_ELEMENTS, SHAPE_MAX_ELEMENTS);
        const int64_t length = slice_length(out.dim[axis], &s.start[i], s.end[i], step);
        if (length > 0) offset += s.start[i] * stride[axis];
        out.dim[axis] = length;
        stride[axis] *= length > 1 ? step : 0;
    }
    return copy_strided(v, &out, offset, stride);
}

int evaluate_transpose(struct evaluation *v) {
    const struct shape *in = &v->in[0]->shape;
    int64_t perm[SHAPE_MAX_RANK], stride[SHAPE_MAX_RANK], moved[SHAPE_MAX_RANK];
    const int n = import_ints(v->node, "perm", perm, SHAPE_MAX_RANK);
    if (n < 0) return -1;
    if (n && n != in->rank)
        return err_set(v->e, ERR_FORMAT, "perm has %d axes; its input has %d", n, in->rank);
    struct shape s = {.rank = in->rank};
    unsigned seen = 0;
    row_major(in, stride);
    for (int32_t i = 0; i < in->rank; i++) {
        int32_t axis = in->rank - 1 - i;
        if (n && import_axis(perm[i], in->rank, &axis, v->e)) return -1;
        if (seen & 1u << axis) return err_set(v->e, ERR_FORMAT, "perm has axis %d twice", axis);
        seen |= 1u << axis;
        s.dim[i] = in->dim[axis];
        moved[i] = stride[axis];
    }
    return copy_strided(v, &s, 0, moved);
}

int evaluate_expand(struct evaluation *v) {
    const struct shape *in = &v->in[0]->shape;
    struct shape to = {0}, s;
    int64_t stride[SHAPE_MAX_RANK], spread[SHAPE_MAX_RANK] = {0};
    char a[128], b[128];
    to.rank = evaluate_ints(v, 1, to.dim, SHAPE_MAX_RANK);
    if (to.rank < 0) return -1;
    if (shape_elements(&to) < 0 || !shape_broadcast(in, &to, &s))
        return err_set(v->e, ERR_FORMAT, "%s does not expand to %s", shape_text(in, a, sizeof a),
                       shape_text(&to, b, sizeof b));
    row_major(in, stride);
    for (int32_t i = 0; i < in->rank; i++)
        if (in->dim[i] != 1) spread[i + s.rank - in->rank] = stride[i];
    return copy_strided(v, &s, 0, spread);
}

int evaluate_concat(struct evaluation *v) {
    struct shape s = v->in[0]->shape;
    int32_t axis;
    if (!import_attribute(v->node, "axis")) return err_set(v->e, ERR_FORMAT, "attribute 'axis' is missing");
    if (import_axis(import_int(v->node, "axis", 0), s.rank, &axis, v->e)) return -1;
    s.dim[axis] = 0;
    for (int32_t i = 0; i < v->n_in; i++) {
        if (!v->in[i]) return err_set(v->e, ERR_FORMAT, "its input %d is missing", i);
        struct shape rest = v->in[i]->shape;
        if (rest.rank == s.rank) rest.dim[axis] = s.dim[axis];
        if (!shape_equal(&rest, &s) || v->in[i]->type != v->in[0]->type)
            return err_set(v->e, ERR_FORMAT, "its input %d does not go with the first along axis %d", i,
                           axis);
        s.dim[axis] += v->in[i]->shape.dim[axis]; /* each below 2^31, 256 of them: far from 2^63 */
    }
    char *to;
    if (new_alike(v, &s, &to)) return -1;
    const int64_t before = shape_product(&s, 0, axis);
    const size_t after = (size_t)shape_product(&s, axis + 1, s.rank) * element_bytes(v->in[0]);
    for (int64_t b = 0; b < before; b++)
        for (int32_t i = 0; i < v->n_in; i++) {
            const size_t bytes = (size_t)v->in[i]->shape.dim[axis] * after;
            if (bytes) memcpy(to, elements(v->in[i]) + (size_t)b * bytes, bytes);
            to += bytes;
        }
    return 0;
}
