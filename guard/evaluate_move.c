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
static int new_alike(struct evaluation *v, int32_t output, const struct shape *s, char **to) {
    float *f = NULL;
    int64_t *i = NULL;
    v->out[output] = tensor_new(v->memory, v->in[0]->type, s, &f, &i, v->e);
    *to = f ? (char *)f : (char *)i;
    return v->out[output] ? 0 : -1;
}

/* out[index] = in[offset + sum of index * stride]: slices, transpositions and expansions. */
static int copy_strided(struct evaluation *v, int32_t output, const struct shape *s, int64_t offset,
                        const int64_t *stride) {
    char *to;
    if (new_alike(v, output, s, &to)) return -1;
    const size_t bytes = element_bytes(v->in[0]);
    const char *from = elements(v->in[0]);
    int64_t index[SHAPE_MAX_RANK] = {0}, at = offset;
    for (int64_t k = 0; k < v->out[output]->count; k++, to += bytes) {
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
    if (new_alike(v, 0, &s, &to)) return -1;

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

int evaluate_slice(struct evaluation *v) {
    int64_t start[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK], stride[SHAPE_MAX_RANK], offset = 0;
    const struct shape *in = &v->in[0]->shape;
    struct shape out;
    if (import_slice(v->node, v->lane, in, start, step, &out)) return -1;
    row_major(in, stride);
    for (int32_t i = 0; i < in->rank; i++) {
        if (out.dim[i] > 0) offset += start[i] * stride[i];
        stride[i] *= step[i];
    }
    return copy_strided(v, 0, &out, offset, stride);
}

int evaluate_split(struct evaluation *v) {
    int64_t lengths[OP_MAX_INPUTS], stride[SHAPE_MAX_RANK], at = 0;
    const struct shape *in = &v->in[0]->shape;
    int32_t axis;
    if (import_split(v->node, v->lane, in, &axis, v->n_out, lengths)) return -1;
    row_major(in, stride);
    for (int32_t k = 0; k < v->n_out; at += lengths[k++]) {
        struct shape out = *in;
        out.dim[axis] = lengths[k];
        if (copy_strided(v, k, &out, at * stride[axis], stride)) return -1;
    }
    return 0;
}

int evaluate_transpose(struct evaluation *v) {
    const struct shape *in = &v->in[0]->shape;
    int64_t stride[SHAPE_MAX_RANK], moved[SHAPE_MAX_RANK];
    int32_t perm[SHAPE_MAX_RANK];
    struct shape s = {.rank = in->rank};
    if (import_perm(v->node, in->rank, perm)) return -1;
    row_major(in, stride);
    for (int32_t i = 0; i < in->rank; i++) {
        s.dim[i] = in->dim[perm[i]];
        moved[i] = stride[perm[i]];
    }
    return copy_strided(v, 0, &s, 0, moved);
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
    return copy_strided(v, 0, &s, 0, spread);
}

int evaluate_tile(struct evaluation *v) {
    const struct shape *in = &v->in[0]->shape;
    struct shape s = *in;
    int64_t repeats[SHAPE_MAX_RANK], stride[SHAPE_MAX_RANK];
    char *to;
    const int count = evaluate_ints(v, 1, repeats, SHAPE_MAX_RANK);
    if (count < 0) return -1;
    if (count != in->rank) return err_set(v->e, ERR_FORMAT, "it needs %d repeats", in->rank);
    for (int32_t d = 0; d < in->rank; d++)
        if (repeats[d] < 0 || __builtin_mul_overflow(s.dim[d], repeats[d], &s.dim[d]))
            return err_set(v->e, ERR_VALUE, "%lld repeats", (long long)repeats[d]);
    if (new_alike(v, 0, &s, &to)) return -1;
    row_major(in, stride);
    const size_t bytes = element_bytes(v->in[0]);
    for (int64_t k = 0; k < v->out[0]->count; k++, to += bytes) {
        int64_t rest = k, at = 0;
        for (int32_t d = s.rank - 1; d >= 0; d--) {
            at += rest % s.dim[d] % in->dim[d] * stride[d];
            rest /= s.dim[d];
        }
        memcpy(to, elements(v->in[0]) + (size_t)at * bytes, bytes);
    }
    return 0;
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
    if (new_alike(v, 0, &s, &to)) return -1;
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
