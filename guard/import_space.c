/* Einsum on one or two inputs: a matrix product in disguise. */
#include "guard/import_node.h"

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
        if (which == 2 && position(x, which, *at) >= 0)
            return bad_equation(n, "an axis is repeated in the result");
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

static int32_t count_letter(const struct einsum *x, char letter) {
    int32_t count = 0;
    for (int which = 0; which < x->inputs; which++)
        for (int32_t i = 0; i < x->rank[which]; i++) count += x->letters[which][i] == letter;
    return count;
}

/* Without "->": the letters that come once, in the alphabet's order, behind those of the ellipsis. */
static void infer_result(struct einsum *x, int32_t ellipsis) {
    for (int32_t i = 0; i < ellipsis; i++) x->letters[2][x->rank[2]++] = (char)(1 + i);
    for (char c = 'A'; c <= 'z' && x->rank[2] < SHAPE_MAX_RANK; c++)
        if (count_letter(x, c) == 1) x->letters[2][x->rank[2]++] = c;
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

/* "ii": of two axes of one length n, brought to the end as one of n * n, every n+1st element. */
static struct operand *take_diagonal(struct import_node *n, struct einsum *x, int which, struct operand *in,
                                     int32_t a, int32_t b) {
    char order[SHAPE_MAX_RANK], *letters = x->letters[which];
    const char twice = letters[a];
    union op_params p[2] = {0};
    struct shape flat[2];
    int32_t rank = 0;
    letters[b] = 127; /* a name of its own meanwhile: no letter */
    for (int32_t i = 0; i < x->rank[which]; i++)
        if (i != a && i != b) order[rank++] = letters[i];
    order[rank] = twice;
    order[rank + 1] = 127;
    struct operand *ordered = order_axes(n, -1, in, letters, order, rank + 2);
    for (int lane = 0; ordered && lane < n->lanes; lane++) {
        flat[lane] = *import_shape(ordered, lane);
        const int64_t length = flat[lane].dim[rank];
        if (length != flat[lane].dim[rank + 1] || length > INT32_MAX / (length + 1))
            return (void)bad_equation(n, "a repeated axis must be of the same length twice"), NULL;
        flat[lane].dim[rank] *= length;
        flat[lane].dim[rank + 1] = 0;
        flat[lane].rank = rank + 1;
        for (int32_t i = 0; i <= rank; i++) {
            p[lane].slice.count[i] = (int32_t)flat[lane].dim[i];
            p[lane].slice.step[i] = 1;
        }
        p[lane].slice.count[rank] = (int32_t)length;
        p[lane].slice.step[rank] = length > 1 ? (int32_t)length + 1 : 1;
    }
    memcpy(letters, order, (size_t)rank + 1);
    x->rank[which] = rank + 1;
    struct operand *merged = import_emit_reshape(n, -1, ordered, flat);
    return merged ? import_emit(n, -1, OP_SLICE, &p[0], n->lanes == 2 ? &p[1] : NULL, &merged, 1) : NULL;
}

static struct operand *take_diagonals(struct import_node *n, struct einsum *x, int which) {
    struct operand *in = n->in[which];
    for (int32_t b = 1; in && b < x->rank[which]; b++) {
        const int32_t a = position(x, which, x->letters[which][b]);
        if (a == b) continue;
        in = take_diagonal(n, x, which, in, a, b);
        b = 0; /* the axes have moved */
    }
    return in;
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
    struct operand *a = take_diagonals(n, &x, 0), *b = x.inputs == 2 ? take_diagonals(n, &x, 1) : NULL;
    if (!a || (x.inputs == 2 && !b)) return -1;
    a = sum_alone(n, &x, 0, a);
    if (b) b = sum_alone(n, &x, 1, b);
    if (!a || (x.inputs == 2 && !b)) return -1;
    if (x.inputs == 2) return emit_product(n, &x, a, b);
    return order_axes(n, 0, a, x.letters[0], x.letters[2], x.rank[2]) ? 0 : -1;
}

const struct import_row import_rows_space[] = {
    {"Einsum", 12, 1000, 1, OP_MAX_INPUTS, "equation:s", emit_einsum, NULL, false},
    {0},
};
