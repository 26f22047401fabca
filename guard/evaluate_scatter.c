/* The import-time evaluator: operators that put elements somewhere (ScatterND,
 * ScatterElements, OneHot, Trilu, EyeLike), look for them (NonZero, GatherND,
 * GatherElements), add them up (CumSum), and small matrix products. */
#include "guard/evaluate.h"

#include <string.h>

static size_t element_bytes(const struct tensor *t) {
    return t->f ? sizeof *t->f : sizeof *t->i;
}
static const char *elements(const struct tensor *t) {
    return t->f ? (const char *)t->f : (const char *)t->i;
}

static int new_like(struct evaluation *v, const struct tensor *t, const struct shape *s, char **to) {
    float *f = NULL;
    int64_t *i = NULL;
    if (evaluate_new(v, t->type, s, &f, &i)) return -1;
    *to = f ? (char *)f : (char *)i;
    return 0;
}

static int copy_input(struct evaluation *v, char **to) {
    const struct tensor *t = v->in[0];
    if (new_like(v, t, &t->shape, to)) return -1;
    if (t->count) memcpy(*to, elements(t), (size_t)t->count * element_bytes(t));
    return 0;
}

static int bad_index(const struct evaluation *v, int64_t index, int64_t n) {
    return err_set(v->e, ERR_VALUE, "index %lld is none of the %lld that there are", (long long)index,
                   (long long)n);
}

static int need_integers(const struct evaluation *v, int32_t slot) {
    return v->in[slot]->i ? 0 : err_set(v->e, ERR_FORMAT, "its input %d must be integers", slot);
}

static int no_reduction(const struct evaluation *v) {
    const struct text how = import_text(v->node, "reduction", "none");
    return text_is(how, "none")
               ? 0
               : err_set(v->e, ERR_UNSUPPORTED, "reduction is '%.*s'; accepted is none", TEXT_ARGS(how));
}

/* The offset that one row of `depth` indices has in the data, in elements; -1: there is none. */
static int64_t find_offset(const struct evaluation *v, const struct shape *data, const int64_t *index,
                           int64_t depth, int32_t first) {
    int64_t at = 0;
    for (int64_t d = 0; d < depth; d++) {
        const int64_t n = data->dim[first + d], i = index[d] < 0 ? index[d] + n : index[d];
        if (i < 0 || i >= n) return bad_index(v, index[d], n);
        at = at * n + i;
    }
    return at * shape_product(data, first + (int32_t)depth, data->rank);
}

static int evaluate_scatter_nd(struct evaluation *v) {
    const struct tensor *data = v->in[0], *indices = v->in[1], *updates = v->in[2];
    char *to;
    if (need_integers(v, 1) || no_reduction(v)) return -1;
    const int32_t r = indices->shape.rank;
    const int64_t depth = r ? indices->shape.dim[r - 1] : 0;
    if (depth < 1 || depth > data->shape.rank || updates->type != data->type)
        return err_set(v->e, ERR_FORMAT, "its indices or updates do not go with its data");
    const int64_t part = shape_product(&data->shape, (int32_t)depth, data->shape.rank);
    const int64_t rows = indices->count / depth;
    const size_t bytes = (size_t)part * element_bytes(data);
    if (updates->count != rows * part)
        return err_set(v->e, ERR_FORMAT, "its updates do not go with its indices");
    if (copy_input(v, &to)) return -1;
    for (int64_t k = 0; k < rows; k++) {
        const int64_t at = find_offset(v, &data->shape, indices->i + k * depth, depth, 0);
        if (at < 0) return -1;
        if (bytes)
            memcpy(to + (size_t)at * element_bytes(data), elements(updates) + (size_t)k * bytes, bytes);
    }
    return 0;
}

/* Calls for each element of the indices where it and its partner along `axis` of the data are. */
static int pair_elements(struct evaluation *v, bool scatter, char *to) {
    const struct tensor *data = v->in[0], *indices = v->in[1];
    const size_t bytes = element_bytes(data);
    int64_t stride[SHAPE_MAX_RANK], step = 1;
    int32_t axis;
    if (import_axis(import_int(v->node, "axis", 0), data->shape.rank, &axis, v->e)) return -1;
    if (indices->shape.rank != data->shape.rank)
        return err_set(v->e, ERR_FORMAT, "its inputs are of different rank");
    for (int32_t d = data->shape.rank - 1; d >= 0; d--) {
        stride[d] = step;
        step *= data->shape.dim[d];
        if (d != axis && indices->shape.dim[d] > data->shape.dim[d])
            return err_set(v->e, ERR_FORMAT, "there are more indices than data along axis %d", d);
    }
    for (int64_t k = 0; k < indices->count; k++) {
        int64_t rest = k, at = 0;
        for (int32_t d = data->shape.rank - 1; d >= 0; d--) {
            const int64_t n = data->shape.dim[d], given = indices->i[k];
            int64_t i = rest % indices->shape.dim[d];
            rest /= indices->shape.dim[d];
            if (d == axis) i = given < 0 ? given + n : given;
            if (i < 0 || i >= n) return bad_index(v, given, n);
            at += i * stride[d];
        }
        if (scatter)
            memcpy(to + (size_t)at * bytes, elements(v->in[2]) + (size_t)k * bytes, bytes);
        else
            memcpy(to + (size_t)k * bytes, elements(data) + (size_t)at * bytes, bytes);
    }
    return 0;
}

static int evaluate_scatter_elements(struct evaluation *v) {
    char *to;
    if (need_integers(v, 1) || no_reduction(v)) return -1;
    if (!shape_equal(&v->in[1]->shape, &v->in[2]->shape) || v->in[2]->type != v->in[0]->type)
        return err_set(v->e, ERR_FORMAT, "its updates do not go with its indices");
    return copy_input(v, &to) ? -1 : pair_elements(v, true, to);
}

int evaluate_gather_elements(struct evaluation *v) {
    char *to;
    if (need_integers(v, 1) || new_like(v, v->in[0], &v->in[1]->shape, &to)) return -1;
    return pair_elements(v, false, to);
}

int evaluate_gather_nd(struct evaluation *v) {
    const struct tensor *data = v->in[0], *indices = v->in[1];
    const int32_t r = indices->shape.rank;
    struct shape s = indices->shape;
    char *to;
    if (need_integers(v, 1)) return -1;
    if (import_int(v->node, "batch_dims", 0) != 0)
        return err_set(v->e, ERR_UNSUPPORTED, "batch_dims must be 0");
    const int64_t depth = r ? s.dim[r - 1] : 0;
    if (depth < 1 || depth > data->shape.rank || r - 1 + data->shape.rank - depth > SHAPE_MAX_RANK)
        return err_set(v->e, ERR_FORMAT, "its indices do not go with its data");
    s.rank = r - 1;
    for (int32_t d = (int32_t)depth; d < data->shape.rank; d++) s.dim[s.rank++] = data->shape.dim[d];
    for (int32_t d = s.rank; d < SHAPE_MAX_RANK; d++) s.dim[d] = 0;
    if (new_like(v, data, &s, &to)) return -1;
    const size_t bytes =
        (size_t)shape_product(&data->shape, (int32_t)depth, data->shape.rank) * element_bytes(data);
    for (int64_t k = 0; k < indices->count / depth; k++, to += bytes) {
        const int64_t at = find_offset(v, &data->shape, indices->i + k * depth, depth, 0);
        if (at < 0) return -1;
        if (bytes) memcpy(to, elements(data) + (size_t)at * element_bytes(data), bytes);
    }
    return 0;
}

static bool is_set(const struct tensor *t, int64_t k) {
    return t->f ? t->f[k] != 0 : t->i[k] != 0;
}

static int evaluate_non_zero(struct evaluation *v) {
    const struct tensor *t = v->in[0];
    int64_t count = 0, *i;
    for (int64_t k = 0; k < t->count; k++) count += is_set(t, k);
    const struct shape s = {.rank = 2, .dim = {t->shape.rank, count}};
    if (evaluate_new(v, ONNX_INT64, &s, NULL, &i)) return -1;
    for (int64_t k = 0, at = 0; k < t->count; k++) {
        if (!is_set(t, k)) continue;
        int64_t rest = k;
        for (int32_t d = t->shape.rank - 1; d >= 0; d--) {
            i[d * count + at] = rest % t->shape.dim[d];
            rest /= t->shape.dim[d];
        }
        at++;
    }
    return 0;
}

static int read_number(const struct evaluation *v, int32_t slot, int64_t absent, int64_t *out) {
    *out = absent;
    if (slot >= v->n_in || !v->in[slot]) return 0;
    const struct tensor *t = v->in[slot];
    if (t->count != 1) return err_set(v->e, ERR_FORMAT, "its input %d must be one number", slot);
    *out = t->i ? t->i[0] : (int64_t)t->f[0];
    return 0;
}

int evaluate_trilu(struct evaluation *v) {
    const struct shape *s = &v->in[0]->shape;
    const size_t bytes = element_bytes(v->in[0]);
    int64_t k;
    int32_t upper;
    char *to;
    if (s->rank < 2) return err_set(v->e, ERR_FORMAT, "its input is no matrix");
    if (read_number(v, 1, 0, &k) || import_flag(v->node, "upper", 1, &upper) || copy_input(v, &to)) return -1;
    if (k < -SHAPE_MAX_ELEMENTS || k > SHAPE_MAX_ELEMENTS)
        k = k < 0 ? -SHAPE_MAX_ELEMENTS : SHAPE_MAX_ELEMENTS;
    const int64_t columns = s->dim[s->rank - 1], rows = s->dim[s->rank - 2];
    for (int64_t e = 0; e < v->in[0]->count; e++) {
        const int64_t column = e % columns, row = e / columns % rows;
        if (upper ? column - row < k : column - row > k) memset(to + (size_t)e * bytes, 0, bytes);
    }
    return 0;
}

static int evaluate_one_hot(struct evaluation *v) {
    const struct tensor *indices = v->in[0], *values = v->in[2];
    struct shape s = {.rank = indices->shape.rank + 1};
    int64_t depth;
    int32_t axis;
    char *to;
    if (need_integers(v, 0) || read_number(v, 1, 0, &depth)) return -1;
    if (depth < 1 || values->count != 2 || s.rank > SHAPE_MAX_RANK)
        return err_set(v->e, ERR_FORMAT, "its depth or values are not what they should be");
    if (import_axis(import_int(v->node, "axis", -1), s.rank, &axis, v->e)) return -1;
    for (int32_t d = 0, from = 0; d < s.rank; d++) s.dim[d] = d == axis ? depth : indices->shape.dim[from++];
    if (new_like(v, values, &s, &to)) return -1;
    const size_t bytes = element_bytes(values);
    const int64_t inner = shape_product(&s, axis + 1, s.rank);
    for (int64_t k = 0; k < v->out[0]->count; k++) {
        const int64_t given = indices->i[k / (inner * depth) * inner + k % inner];
        const bool on = (given < 0 ? given + depth : given) == k / inner % depth;
        memcpy(to + (size_t)k * bytes, elements(values) + (on ? bytes : 0), bytes);
    }
    return 0;
}

static int evaluate_cum_sum(struct evaluation *v) {
    const struct tensor *t = v->in[0];
    int64_t given;
    int32_t axis, exclusive, reverse;
    float *f = NULL;
    int64_t *i = NULL;
    if (read_number(v, 1, 0, &given) || import_axis(given, t->shape.rank, &axis, v->e) ||
        import_flag(v->node, "exclusive", 0, &exclusive) || import_flag(v->node, "reverse", 0, &reverse) ||
        evaluate_new(v, t->type, &t->shape, &f, &i))
        return -1;
    const int64_t n = t->shape.dim[axis], inner = shape_product(&t->shape, axis + 1, t->shape.rank);
    for (int64_t line = 0; n && line < t->count / n; line++) {
        const int64_t first = line / inner * inner * n + line % inner;
        double sum = 0;
        int64_t whole = 0;
        for (int64_t k = 0; k < n; k++) {
            const int64_t at = first + (reverse ? n - 1 - k : k) * inner;
            if (exclusive && f) f[at] = (float)sum;
            if (exclusive && i) i[at] = whole;
            if (t->f) sum += (double)t->f[at];
            if (t->i && __builtin_add_overflow(whole, t->i[at], &whole))
                return err_set(v->e, ERR_VALUE, "its sum overflows");
            if (!exclusive && f) f[at] = (float)sum;
            if (!exclusive && i) i[at] = whole;
        }
    }
    return 0;
}

static int evaluate_eye_like(struct evaluation *v) {
    const struct tensor *t = v->in[0];
    const int64_t type = import_int(v->node, "dtype", t->type), k = import_int(v->node, "k", 0);
    float *f = NULL;
    int64_t *i = NULL;
    if (t->shape.rank != 2 || type < 0 || type >= ONNX_TYPES ||
        (!tensor_type_is_float((int32_t)type) && !tensor_type_is_integer((int32_t)type)))
        return err_set(v->e, ERR_FORMAT, "its input is no matrix, or its type is not accepted");
    if (evaluate_new(v, (int32_t)type, &t->shape, &f, &i)) return -1;
    for (int64_t e = 0; e < v->out[0]->count; e++) {
        const bool on = e % t->shape.dim[1] - e / t->shape.dim[1] == k;
        if (f) f[e] = on;
        if (i) i[e] = on;
    }
    return 0;
}

/* Products of constants come from small tables (relative positions); double sums, no BLAS here. */
int evaluate_matmul(struct evaluation *v) {
    const struct tensor *a = v->in[0], *b = v->in[1];
    const struct shape in[2] = {a->shape, b->shape};
    struct shape s, rows;
    float *f = NULL;
    if (!a->f || !b->f) return err_set(v->e, ERR_UNSUPPORTED, "it is supported on floats only");
    if (op_check(OP_MATMUL, &(union op_params){0}, in, 2, &s, v->e)) return -1;
    const int64_t k = a->shape.dim[a->shape.rank - 1],
                  m = a->shape.rank > 1 ? a->shape.dim[a->shape.rank - 2] : 1;
    const int64_t n = b->shape.rank > 1 ? b->shape.dim[b->shape.rank - 1] : 1;
    rows = s; /* the stack alone */
    rows.rank -= (a->shape.rank > 1) + (b->shape.rank > 1);
    if (shape_product(&s, 0, s.rank) > (INT64_C(1) << 31) / k)
        return err_set(v->e, ERR_LIMIT, "this product of constants is too large to be computed at import");
    if (evaluate_new(v, a->type, &s, &f, NULL)) return -1;
    for (int64_t p = 0; p < shape_product(&rows, 0, rows.rank); p++) {
        int64_t rest = p, at[2] = {0, 0}, step[2] = {m * k, k * n};
        for (int32_t d = 0; d < rows.rank; d++) {
            const int64_t i = rest % rows.dim[rows.rank - 1 - d];
            rest /= rows.dim[rows.rank - 1 - d];
            for (int x = 0; x < 2; x++) {
                const int64_t dim = in[x].rank - 3 - d >= 0 ? in[x].dim[in[x].rank - 3 - d] : 1;
                if (dim != 1) at[x] += i * step[x];
                step[x] *= dim;
            }
        }
        for (int64_t y = 0; y < m; y++)
            for (int64_t x = 0; x < n; x++) {
                double sum = 0;
                for (int64_t i = 0; i < k; i++)
                    sum += (double)a->f[at[0] + y * k + i] * (double)b->f[at[1] + i * n + x];
                f[p * m * n + y * n + x] = (float)sum;
            }
    }
    return 0;
}

const struct import_row evaluate_rows_scatter[] = {
    {"ScatterND", 11, 1000, 3, 3, "reduction:s", import_emit_scatter_nd, evaluate_scatter_nd, false},
    {"ScatterElements", 11, 1000, 3, 3, "axis:i reduction:s", import_emit_scatter_elements,
     evaluate_scatter_elements, false},
    {"Scatter", 9, 10, 3, 3, "axis:i", import_emit_scatter_elements, evaluate_scatter_elements, false},
    {"GatherElements", 11, 1000, 2, 2, "axis:i", import_emit_gather_elements, evaluate_gather_elements,
     false},
    {"GatherND", 11, 1000, 2, 2, "batch_dims:i", import_emit_gather_nd, evaluate_gather_nd, false},
    {"NonZero", 9, 1000, 1, 1, "", NULL, evaluate_non_zero, false},
    {"Trilu", 14, 1000, 1, 2, "upper:i", import_emit_trilu, evaluate_trilu, false},
    {"OneHot", 9, 1000, 3, 3, "axis:i", import_emit_one_hot, evaluate_one_hot, false},
    {"CumSum", 11, 1000, 2, 2, "exclusive:i reverse:i", import_emit_cum_sum, evaluate_cum_sum, false},
    {"EyeLike", 9, 1000, 1, 1, "dtype:i k:i", NULL, evaluate_eye_like, true},
    {0},
};
