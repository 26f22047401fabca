/* Operators that are matrix products in disguise: Einsum on one or two inputs,
 * and Resize, which along each axis either picks elements or is a product with
 * a small constant matrix of weights. */
#include "guard/import_node.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- Einsum ------------------------------------------------------------------------------
 *
 * "BGHID,BGHJD->BGHIJ": axes of A and B by letter. Letters of both that the result
 * keeps are a stack of matrices; those that it does not are summed over by the
 * product; the rest are rows or columns:
 *
 *   A -> [stack…, rows, sum]   B -> [stack…, sum, columns]   A B -> [stack…, rows…, columns…] -> result */

struct einsum {
    char letters[3][SHAPE_MAX_RANK + 1]; /* A, B, result */
    int32_t rank[3];
    int inputs;
};

static int32_t position(const struct einsum *x, int which, char letter) {
    for (int32_t i = 0; i < x->rank[which]; i++)
        if (x->letters[which][i] == letter) return i;
    return -1;
}

static int bad_equation(const struct import_node *n, const char *why) {
    return err_set(n->e, ERR_UNSUPPORTED, "equation '%.*s': %s", TEXT_ARGS(import_text(n, "equation", "")),
                   why);
}

/* "..." becomes letters of its own: 'A' + 128 on are no letters that a file can have. */
static int add_term(const struct import_node *n, struct einsum *x, int which, const char *at, const char *end,
                    int32_t ellipsis) {
    int32_t *rank = &x->rank[which];
    *rank = 0;
    for (; at < end; at++) {
        if (*at == ' ') continue;
        if (*at == '.') {
            if (end - at < 3 || at[1] != '.' || at[2] != '.') return bad_equation(n, "a stray dot");
            if (ellipsis < 0 || *rank + ellipsis > SHAPE_MAX_RANK) return bad_equation(n, "too many axes");
            for (int32_t i = 0; i < ellipsis; i++) x->letters[which][(*rank)++] = (char)(1 + i);
            at += 2;
            continue;
        }
        if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z')))
            return bad_equation(n, "axes must be letters");
        if (position(x, which, *at) >= 0)
            return bad_equation(n, "an axis is repeated within one input, which is not accepted");
        if (*rank == SHAPE_MAX_RANK) return bad_equation(n, "more than 8 axes");
        x->letters[which][(*rank)++] = *at;
    }
    return 0;
}

static int32_t count_letters(const char *at, const char *end, bool *has_ellipsis) {
    int32_t count = 0;
    *has_ellipsis = false;
    for (; at < end; at++) {
        if (*at == '.') *has_ellipsis = true;
        count += *at != '.' && *at != ' ';
    }
    return count;
}

/* Without "->": the letters that come once, in the alphabet's order, behind those of the ellipsis. */
static void infer_result(struct einsum *x, int32_t ellipsis) {
    for (int32_t i = 0; i < ellipsis; i++) x->letters[2][x->rank[2]++] = (char)(1 + i);
    for (char c = 'A'; c <= 'z' && x->rank[2] < SHAPE_MAX_RANK; c++)
        if ((position(x, 0, c) >= 0) != (x->inputs == 2 && position(x, 1, c) >= 0))
            x->letters[2][x->rank[2]++] = c;
}

static int read_equation(const struct import_node *n, struct einsum *x) {
    const struct text t = import_text(n, "equation", "");
    const char *end = t.p + t.n, *arrow = end, *comma = NULL;
    int32_t ellipsis = 0;
    x->inputs = n->n_in;
    for (const char *at = t.p; at < end; at++) {
        if (*at == ',' && comma) return bad_equation(n, "more than two inputs; one or two are accepted");
        if (*at == ',') comma = at;
        if (*at == '-' && at + 1 < end && at[1] == '>') {
            arrow = at;
            break;
        }
    }
    if ((comma != NULL) != (n->n_in == 2)) return bad_equation(n, "it does not go with the number of inputs");
    const char *const starts[2] = {t.p, comma ? comma + 1 : NULL}, *const ends[2] = {comma ? comma : arrow,
                                                                                     arrow};
    for (int k = 0; k < x->inputs; k++) {
        bool has;
        const int32_t hidden = import_shape(n->in[k], 0)->rank - count_letters(starts[k], ends[k], &has);
        if (hidden < 0 || (hidden > 0 && !has)) return bad_equation(n, "an input has another number of axes");
        if (has && ellipsis && hidden != ellipsis)
            return bad_equation(n, "what '...' stands for is of different length in the two inputs");
        if (has) ellipsis = hidden;
    }
    for (int k = 0; k < x->inputs; k++)
        if (add_term(n, x, k, starts[k], ends[k], ellipsis)) return -1;
    if (arrow == end)
        infer_result(x, ellipsis);
    else if (add_term(n, x, 2, arrow + 2, end, ellipsis))
        return -1;
    for (int32_t i = 0; i < x->rank[2]; i++)
        if (position(x, 0, x->letters[2][i]) < 0 && (x->inputs < 2 || position(x, 1, x->letters[2][i]) < 0))
            return bad_equation(n, "the result has an axis that no input has");
    return 0;
}

/* Sums away the axes that nobody else has. */
static struct operand *sum_alone(struct import_node *n, struct einsum *x, int which, struct operand *in) {
    union op_params p = {0};
    int32_t rank = 0;
    for (int32_t i = 0; i < x->rank[which]; i++) {
        const char c = x->letters[which][i];
        const bool other = x->inputs == 2 && position(x, 1 - which, c) >= 0;
        if (!other && position(x, 2, c) < 0)
            p.reduce.axes |= 1u << i;
        else
            x->letters[which][rank++] = c;
    }
    x->rank[which] = rank;
    return p.reduce.axes ? import_emit_one(n, -1, OP_REDUCE_SUM, &p, in) : in;
}

/* Brings the axes of `in`, called `from`, into the order `to`. */
static struct operand *order_axes(struct import_node *n, int32_t output, struct operand *in, const char *from,
                                  const char *to, int32_t rank) {
    union op_params p = {0};
    bool same = true;
    for (int32_t i = 0; i < rank; i++)
        for (int32_t k = 0; k < rank; k++)
            if (from[k] == to[i]) {
                p.transpose.perm[i] = k;
                same = same && k == i;
            }
    if (same && output < 0) return in;
    return import_emit_one(n, output, same ? OP_IDENTITY : OP_TRANSPOSE, same ? NULL : &p, in);
}

struct roles { /* letters */
    char stack[SHAPE_MAX_RANK], sum[SHAPE_MAX_RANK], rows[SHAPE_MAX_RANK], columns[SHAPE_MAX_RANK];
    int32_t n_stack, n_sum, n_rows, n_columns;
};

static void sort_roles(const struct einsum *x, struct roles *r) {
    memset(r, 0, sizeof *r);
    for (int32_t i = 0; i < x->rank[0]; i++) {
        const char c = x->letters[0][i];
        if (position(x, 1, c) < 0)
            r->rows[r->n_rows++] = c;
        else if (position(x, 2, c) >= 0)
            r->stack[r->n_stack++] = c;
        else
            r->sum[r->n_sum++] = c;
    }
    for (int32_t i = 0; i < x->rank[1]; i++)
        if (position(x, 0, x->letters[1][i]) < 0) r->columns[r->n_columns++] = x->letters[1][i];
}

static int64_t dim_of(const struct einsum *x, const struct shape *const s[2], char letter) {
    const int32_t a = position(x, 0, letter), b = position(x, 1, letter);
    return a >= 0 && (b < 0 || s[0]->dim[a] != 1) ? s[0]->dim[a] : s[1]->dim[b];
}

static int64_t product_of(const struct einsum *x, const struct shape *const s[2], const char *letters,
                          int32_t n) {
    int64_t all = 1;
    for (int32_t i = 0; i < n; i++) all *= dim_of(x, s, letters[i]);
    return all;
}

/* [stack…, rows, columns] of one input: its axes ordered and the two groups merged. */
static struct operand *as_matrices(struct import_node *n, const struct einsum *x, int which,
                                   struct operand *in, const struct roles *r, const char *rows,
                                   int32_t n_rows, const char *columns, int32_t n_columns) {
    char order[SHAPE_MAX_RANK];
    struct shape s[2];
    memcpy(order, r->stack, (size_t)r->n_stack);
    memcpy(order + r->n_stack, rows, (size_t)n_rows);
    memcpy(order + r->n_stack + n_rows, columns, (size_t)n_columns);
    struct operand *ordered = order_axes(n, -1, in, x->letters[which], order, x->rank[which]);
    for (int lane = 0; ordered && lane < n->lanes; lane++) {
        const struct shape *from = import_shape(ordered, lane);
        s[lane] = (struct shape){.rank = r->n_stack + 2};
        memcpy(s[lane].dim, from->dim, (size_t)r->n_stack * sizeof *from->dim);
        s[lane].dim[r->n_stack] = shape_product(from, r->n_stack, r->n_stack + n_rows);
        s[lane].dim[r->n_stack + 1] = shape_product(from, r->n_stack + n_rows, from->rank);
    }
    if (ordered && n_rows == 1 && n_columns == 1) return ordered;
    return import_emit_reshape(n, -1, ordered, s);
}

static int emit_product(struct import_node *n, struct einsum *x, struct operand *a, struct operand *b) {
    struct roles r;
    struct shape s[2];
    sort_roles(x, &r);
    if (r.n_stack > SHAPE_MAX_RANK - 2 || r.n_stack + r.n_rows + r.n_columns > SHAPE_MAX_RANK)
        return bad_equation(n, "its result has more than 8 axes");
    for (int lane = 0; lane < n->lanes; lane++) {
        const struct shape *const in[2] = {import_shape(a, lane), import_shape(b, lane)};
        int32_t at = 0;
        s[lane] = (struct shape){.rank = r.n_stack + r.n_rows + r.n_columns};
        for (int32_t i = 0; i < r.n_stack; i++) s[lane].dim[at++] = dim_of(x, in, r.stack[i]);
        for (int32_t i = 0; i < r.n_rows; i++) s[lane].dim[at++] = dim_of(x, in, r.rows[i]);
        for (int32_t i = 0; i < r.n_columns; i++) s[lane].dim[at++] = dim_of(x, in, r.columns[i]);
        if (product_of(x, in, r.sum, r.n_sum) < 1) return bad_equation(n, "an axis is empty");
    }
    struct operand *left = as_matrices(n, x, 0, a, &r, r.rows, r.n_rows, r.sum, r.n_sum);
    struct operand *right = as_matrices(n, x, 1, b, &r, r.sum, r.n_sum, r.columns, r.n_columns);
    struct operand *product = import_emit_two(n, -1, OP_MATMUL, left, right);
    char order[SHAPE_MAX_RANK];
    memcpy(order, r.stack, (size_t)r.n_stack);
    memcpy(order + r.n_stack, r.rows, (size_t)r.n_rows);
    memcpy(order + r.n_stack + r.n_rows, r.columns, (size_t)r.n_columns);
    if (product && (r.n_rows != 1 || r.n_columns != 1)) product = import_emit_reshape(n, -1, product, s);
    return product && order_axes(n, 0, product, order, x->letters[2], x->rank[2]) ? 0 : -1;
}

static int emit_einsum(struct import_node *n) {
    struct einsum x = {0};
    if (!import_attribute(n, "equation")) return err_set(n->e, ERR_FORMAT, "attribute 'equation' is missing");
    if (n->n_in > 2) return bad_equation(n, "more than two inputs; one or two are accepted");
    if (read_equation(n, &x)) return -1;
    struct operand *a = sum_alone(n, &x, 0, n->in[0]),
                   *b = x.inputs == 2 ? sum_alone(n, &x, 1, n->in[1]) : NULL;
    if (!a || (x.inputs == 2 && !b)) return -1;
    if (x.inputs == 2) return emit_product(n, &x, a, b);
    return order_axes(n, 0, a, x.letters[0], x.letters[2], x.rank[2]) ? 0 : -1;
}

/* --- Resize --------------------------------------------------------------------------------- */

enum coordinates {
    HALF_PIXEL,
    PYTORCH_HALF_PIXEL,
    ALIGN_CORNERS,
    ASYMMETRIC,
    HALF_PIXEL_SYMMETRIC,
    COORDINATES
};
enum rounding { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL, ROUNDINGS };
enum interpolation { NEAREST, LINEAR, CUBIC, INTERPOLATIONS };

struct resize {
    int32_t mode, coordinates, rounding;
    int32_t exclude_outside;
    double cubic;
};

static int choose(const struct import_node *n, const char *name, const char *absent, const char *const *words,
                  int32_t count, int32_t *out) {
    const struct text given = import_text(n, name, absent);
    for (*out = 0; *out < count; ++*out)
        if (text_is(given, words[*out])) return 0;
    return err_set(n->e, ERR_UNSUPPORTED, "attribute '%s' is '%.*s', which is not supported", name,
                   TEXT_ARGS(given));
}

static double source(const struct resize *r, int64_t o, int64_t in, int64_t out, double scale) {
    const double x = (double)o;
    switch (r->coordinates) {
    case ALIGN_CORNERS: { /* the length before it is rounded down, as the reference has it */
        const double length = scale * (double)in;
        return length == 1 ? 0 : x * (double)(in - 1) / (length - 1);
    }
    case ASYMMETRIC: return x / scale;
    case PYTORCH_HALF_PIXEL: return out == 1 ? 0 : (x + 0.5) / scale - 0.5;
    case HALF_PIXEL_SYMMETRIC: {
        const double adjust = (double)out / (scale * (double)in), centre = (double)in / 2;
        return centre * (1 - adjust) + (x + 0.5) / scale - 0.5;
    }
    default: return (x + 0.5) / scale - 0.5;
    }
}

static int64_t nearest(const struct resize *r, double x) {
    switch (r->rounding) {
    case FLOOR: return (int64_t)floor(x);
    case CEIL: return (int64_t)ceil(x);
    case ROUND_PREFER_CEIL: return (int64_t)floor(x + 0.5);
    default: return (int64_t)ceil(x - 0.5);
    }
}

static int64_t inside(int64_t i, int64_t n) {
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static double cubic_weight(double a, double t) {
    t = fabs(t);
    if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

/* What each input element along the axis adds to output `o`. */
static void fill_weights(const struct resize *r, double x, int64_t n, float *row) {
    const int64_t base = (int64_t)floor(x);
    const double t = x - (double)base;
    double w[4] = {0, 1 - t, t, 0}, sum = 0;
    for (int k = 0; k < 4; k++) {
        if (r->mode == CUBIC) w[k] = cubic_weight(r->cubic, t - (double)(k - 1));
        if (r->mode == CUBIC && r->exclude_outside && (base + k - 1 < 0 || base + k - 1 >= n)) w[k] = 0;
        sum += w[k];
    }
    for (int k = 0; k < 4; k++) row[inside(base + k - 1, n)] += (float)(w[k] / sum);
}

/* One axis from its length to `to`; nearest picks, the others multiply by weights. */
static struct operand *resize_axis(struct import_node *n, const struct resize *r, int32_t output,
                                   struct operand *in, int32_t axis, int64_t to, double scale) {
    const struct shape *s = import_shape(in, 0);
    const int64_t from = s->dim[axis];
    const bool last = axis == s->rank - 1;
    float *f;
    if (r->mode == NEAREST) {
        struct operand *const two[2] = {in,
                                        import_new_constant(n, &(struct shape){.rank = 1, .dim = {to}}, &f)};
        for (int64_t o = 0; two[1] && o < to; o++)
            f[o] = (float)inside(nearest(r, source(r, o, from, to, scale)), from);
        return two[1] ? import_emit(n, output, OP_GATHER, &(union op_params){.axis = {.axis = axis}}, NULL,
                                    two, 2)
                      : NULL;
    }
    /* Last axis: X [.., from] * W [from, to]. Else: W [to, from] * X [.., from, rest]. */
    const struct shape matrix = {.rank = 2, .dim = {last ? from : to, last ? to : from}};
    struct operand *w = import_new_constant(n, &matrix, &f);
    float *row = w ? calloc((size_t)from, sizeof *row) : NULL;
    if (!row) return w ? ((void)err_set(n->e, ERR_LIMIT, "out of memory"), NULL) : NULL;
    for (int64_t o = 0; o < to; o++) {
        memset(row, 0, (size_t)from * sizeof *row);
        fill_weights(r, source(r, o, from, to, scale), from, row);
        for (int64_t i = 0; i < from; i++) f[last ? i * to + o : o * from + i] = row[i];
    }
    free(row);
    if (last) return import_emit_two(n, output, OP_MATMUL, in, w);
    struct shape flat[2], back[2];
    for (int lane = 0; lane < n->lanes; lane++) {
        const struct shape *x = import_shape(in, lane);
        flat[lane] = *x;
        flat[lane].rank = axis + 2;
        flat[lane].dim[axis + 1] = shape_product(x, axis + 1, x->rank);
        for (int32_t i = axis + 2; i < SHAPE_MAX_RANK; i++) flat[lane].dim[i] = 0;
        back[lane] = *x;
        back[lane].dim[axis] = to;
    }
    if (s->rank == axis + 2) return import_emit_two(n, output, OP_MATMUL, w, in);
    return import_emit_reshape(
        n, output, import_emit_two(n, -1, OP_MATMUL, w, import_emit_reshape(n, -1, in, flat)), back);
}

/* Scales of the axes in floats; 0 where there are none. */
static int read_scales(const struct import_node *n, const struct operand *o, float *out, int most) {
    if (!o) return 0;
    if (o->kind != OPERAND_CONSTANT || o->constant[0] != o->constant[1] || !o->constant[0]->f ||
        o->constant[0]->count > most)
        return err_set(n->e, ERR_UNSUPPORTED, "its scales ('%.*s') must be a constant list of floats",
                       TEXT_ARGS(o->name));
    for (int64_t i = 0; i < o->constant[0]->count; i++) out[i] = o->constant[0]->f[i];
    return (int)o->constant[0]->count;
}

struct target {
    int64_t size[SHAPE_MAX_RANK];
    double scale[SHAPE_MAX_RANK];
};

static int find_target(const struct import_node *n, const struct operand *scales, const struct operand *sizes,
                       int lane, struct target *t) {
    const struct shape *in = import_shape(n->in[0], lane);
    float scale[SHAPE_MAX_RANK];
    int64_t size[SHAPE_MAX_RANK], axes[SHAPE_MAX_RANK];
    const int n_scales = read_scales(n, scales, scale, SHAPE_MAX_RANK);
    const int n_sizes = sizes && n_scales == 0 ? import_int_input(n, sizes, lane, size, SHAPE_MAX_RANK) : 0;
    int n_axes = import_ints(n, "axes", axes, SHAPE_MAX_RANK);
    if (n_scales < 0 || n_sizes < 0 || n_axes < 0) return -1;
    for (int32_t i = 0; n_axes == 0 && i < in->rank; i++) axes[i] = i;
    if (n_axes == 0) n_axes = in->rank;
    if (n_scales + n_sizes != n_axes) return err_set(n->e, ERR_FORMAT, "it needs %d scales or sizes", n_axes);
    for (int32_t i = 0; i < in->rank; i++) {
        t->size[i] = in->dim[i];
        t->scale[i] = 1;
    }
    for (int k = 0; k < n_axes; k++) {
        int32_t axis;
        if (import_axis(axes[k], in->rank, &axis, n->e)) return -1;
        if (n_scales && (!isfinite(scale[k]) || scale[k] <= 0))
            return err_set(n->e, ERR_VALUE, "a scale of %g", (double)scale[k]);
        t->scale[axis] = n_scales ? (double)scale[k] : (double)size[k] / (double)in->dim[axis];
        const double length = n_scales ? floor((double)in->dim[axis] * t->scale[axis]) : (double)size[k];
        if (!(length >= 1 && length <= OP_MAX_WINDOW))
            return err_set(n->e, ERR_LIMIT, "%g elements along axis %d; accepted are 1 to %d", length, axis,
                           OP_MAX_WINDOW);
        t->size[axis] = (int64_t)length;
    }
    return 0;
}

static int resize(struct import_node *n, const struct resize *r, const struct operand *scales,
                  const struct operand *sizes) {
    const int32_t rank = import_shape(n->in[0], 0)->rank;
    struct target t[2];
    int32_t last = -1;
    for (int lane = 0; lane < n->lanes; lane++)
        if (find_target(n, scales, sizes, lane, &t[lane])) return -1;
    for (int32_t i = 0; i < rank; i++) {
        const bool batch =
            n->lanes == 2 && import_shape(n->in[0], 0)->dim[i] != import_shape(n->in[0], 1)->dim[i];
        const bool changes = t[0].size[i] != import_shape(n->in[0], 0)->dim[i] || t[0].scale[i] != 1;
        if (batch && t[1].size[i] == import_shape(n->in[0], 1)->dim[i]) continue;
        if (batch || (n->lanes == 2 && t[0].size[i] != t[1].size[i]))
            return err_set(n->e, ERR_UNSUPPORTED, "it resizes the batch");
        if (changes) last = i;
    }
    if (last < 0) return import_emit_simple(n, OP_IDENTITY, NULL, 1);
    struct operand *x = n->in[0];
    for (int32_t i = 0; i <= last && x; i++)
        if (t[0].size[i] != import_shape(x, 0)->dim[i] || t[0].scale[i] != 1)
            x = resize_axis(n, r, i == last ? 0 : -1, x, i, t[0].size[i], t[0].scale[i]);
    return x ? 0 : -1;
}

static const char *const mode_names[] = {"nearest", "linear", "cubic"};

/* Up to operator set 10: asymmetric, and nearest rounds down. */
static int emit_resize_10(struct import_node *n) {
    struct resize r = {.coordinates = ASYMMETRIC, .rounding = FLOOR};
    const struct text mode = import_text(n, "mode", "nearest");
    r.mode = text_is(mode, "bilinear") ? LINEAR : NEAREST; /* Upsample 7 called it so */
    if (r.mode == NEAREST && choose(n, "mode", "nearest", mode_names, 2, &r.mode)) return -1;
    return resize(n, &r, n->in[1], NULL);
}

static int emit_upsample_7(struct import_node *n) {
    struct resize r = {.coordinates = ASYMMETRIC, .rounding = FLOOR};
    const struct onnx_attribute *a = import_attribute(n, "scales");
    const int32_t rank = import_shape(n->in[0], 0)->rank;
    float *f;
    const struct text mode = import_text(n, "mode", "nearest");
    r.mode = text_is(mode, "bilinear") ? LINEAR : NEAREST;
    if (r.mode == NEAREST && choose(n, "mode", "nearest", mode_names, 2, &r.mode)) return -1;
    if (!a || wire_left(&a->floats) != (size_t)rank * sizeof *f)
        return err_set(n->e, ERR_FORMAT, "attribute 'scales' must have %d values", rank);
    struct operand *scales = import_new_constant(n, &(struct shape){.rank = 1, .dim = {rank}}, &f);
    if (!scales) return -1;
    memcpy(f, a->floats.at, (size_t)rank * sizeof *f);
    return resize(n, &r, scales, NULL);
}

static int emit_resize(struct import_node *n) {
    static const char *const coordinates[] = {"half_pixel", "pytorch_half_pixel", "align_corners",
                                              "asymmetric", "half_pixel_symmetric"};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    struct resize r = {0};
    int32_t antialias;
    if (choose(n, "mode", "nearest", mode_names, INTERPOLATIONS, &r.mode) ||
        choose(n, "coordinate_transformation_mode", "half_pixel", coordinates, COORDINATES, &r.coordinates) ||
        choose(n, "nearest_mode", "round_prefer_floor", roundings, ROUNDINGS, &r.rounding) ||
        import_flag(n, "exclude_outside", 0, &r.exclude_outside) ||
        import_flag(n, "antialias", 0, &antialias))
        return -1;
    r.cubic = (double)import_float(n, "cubic_coeff_a", -0.75f);
    if (antialias) return err_set(n->e, ERR_UNSUPPORTED, "antialias is 1; accepted is 0");
    if (import_attribute(n, "keep_aspect_ratio_policy") &&
        !text_is(import_text(n, "keep_aspect_ratio_policy", ""), "stretch"))
        return err_set(n->e, ERR_UNSUPPORTED, "keep_aspect_ratio_policy must be stretch");
    return resize(n, &r, import_input(n, 2), import_input(n, 3));
}

const struct import_row import_rows_space[] = {
    {"Einsum", 12, 1000, 1, OP_MAX_INPUTS, "equation:s", emit_einsum, NULL, false},
    {"Upsample", 7, 8, 1, 1, "mode:s scales:F", emit_upsample_7, NULL, false},
    {"Upsample", 9, 9, 2, 2, "mode:s", emit_resize_10, NULL, false},
    {"Resize", 10, 10, 2, 2, "mode:s", emit_resize_10, NULL, false},
    {"Resize", 11, 1000, 1, 4,
     "antialias:i axes:I coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i "
     "extrapolation_value:f "
     "keep_aspect_ratio_policy:s mode:s nearest_mode:s",
     emit_resize, NULL, false},
    {0},
};
