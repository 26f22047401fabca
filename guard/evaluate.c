/* The import-time evaluator: arithmetic, casts, and where constants come from. */
#include "guard/evaluate.h"

#include <math.h>
#include <string.h>

/* --- results --------------------------------------------------------------------------- */

int evaluate_new(struct evaluation *v, int32_t type, const struct shape *s, float **f, int64_t **i) {
    v->out[0] = tensor_new(v->memory, type, s, f, i, v->e);
    return v->out[0] ? 0 : -1;
}

int evaluate_view(struct evaluation *v, const struct shape *s) {
    v->out[0] = tensor_view(v->memory, v->in[0], s, v->e);
    return v->out[0] ? 0 : -1;
}

int evaluate_ints(const struct evaluation *v, int32_t slot, int64_t *out, int most) {
    return import_int_input(v->node, v->node->in[slot], v->lane, out, most);
}

int evaluate_identity(struct evaluation *v) {
    v->out[0] = v->in[0]; /* the very same, so that whoever uses either sees one constant */
    return 0;
}

/* --- broadcasting ------------------------------------------------------------------------ */

struct walk { /* over the elements of a result, and those of up to three inputs beside it */
    struct shape shape;
    int64_t index[SHAPE_MAX_RANK], stride[3][SHAPE_MAX_RANK], at[3];
};

static int walk_begin(struct walk *w, const struct evaluation *v, int32_t n) {
    *w = (struct walk){.shape = v->in[0]->shape};
    for (int32_t i = 1; i < n; i++) {
        char a[128], b[128];
        if (!shape_broadcast(&w->shape, &v->in[i]->shape, &w->shape))
            return err_set(v->e, ERR_FORMAT, "%s and %s do not broadcast", shape_text(&w->shape, a, sizeof a),
                           shape_text(&v->in[i]->shape, b, sizeof b));
    }
    for (int32_t i = 0; i < n; i++) {
        const struct shape *s = &v->in[i]->shape;
        int64_t stride = 1;
        for (int32_t d = s->rank - 1, to = w->shape.rank - 1; d >= 0; d--, to--) {
            w->stride[i][to] = s->dim[d] == 1 ? 0 : stride;
            stride *= s->dim[d];
        }
    }
    return 0;
}

static void walk_next(struct walk *w) {
    for (int32_t d = w->shape.rank - 1; d >= 0; d--) {
        for (int i = 0; i < 3; i++) w->at[i] += w->stride[i][d];
        if (++w->index[d] < w->shape.dim[d]) return;
        for (int i = 0; i < 3; i++) w->at[i] -= w->stride[i][d] * w->shape.dim[d];
        w->index[d] = 0;
    }
}

/* --- two inputs ---------------------------------------------------------------------------- */

struct binary {
    float (*on_floats)(float a, float b);                   /* NULL: not defined */
    int (*on_integers)(int64_t a, int64_t b, int64_t *out); /* -1: no such number */
    bool gives_bool, takes_bool;
};

static int check_pair(const struct evaluation *v, const struct binary *b) {
    const struct tensor *x = v->in[0], *y = v->in[1];
    if (x->type != y->type)
        return err_set(v->e, ERR_FORMAT, "its inputs are of different types, %s and %s",
                       onnx_type_name(x->type), onnx_type_name(y->type));
    if (x->f ? !b->on_floats : !b->on_integers || (x->type == ONNX_BOOL && !b->takes_bool))
        return err_set(v->e, ERR_UNSUPPORTED, "it is not supported on constants of type %s",
                       onnx_type_name(x->type));
    return 0;
}

static int compute_integers(const struct evaluation *v, const struct binary *b, struct walk *w, int32_t type,
                            int64_t count, int64_t *out) {
    for (int64_t k = 0; k < count; k++, walk_next(w)) {
        const int64_t x = v->in[0]->i[w->at[0]], y = v->in[1]->i[w->at[1]];
        if (b->on_integers(x, y, &out[k]) || !tensor_integer_fits(type, out[k]))
            return err_set(v->e, ERR_VALUE, "%lld and %lld have no result that fits %s", (long long)x,
                           (long long)y, onnx_type_name(type));
    }
    return 0;
}

static int compute_binary(struct evaluation *v, const struct binary *b) {
    struct walk w;
    float *f = NULL;
    int64_t *i = NULL;
    if (check_pair(v, b) || walk_begin(&w, v, 2)) return -1;
    const int32_t type = b->gives_bool ? ONNX_BOOL : v->in[0]->type;
    if (evaluate_new(v, type, &w.shape, &f, &i)) return -1;
    const int64_t count = v->out[0]->count;
    if (v->in[0]->i) return compute_integers(v, b, &w, type, count, i);
    for (int64_t k = 0; k < count; k++, walk_next(&w)) {
        const float r = b->on_floats(v->in[0]->f[w.at[0]], v->in[1]->f[w.at[1]]);
        if (f)
            f[k] = r;
        else
            i[k] = r != 0;
    }
    return 0;
}

static float add_floats(float a, float b) {
    return a + b;
}
static float subtract_floats(float a, float b) {
    return a - b;
}
static float multiply_floats(float a, float b) {
    return a * b;
}
static float divide_floats(float a, float b) {
    return a / b;
}
static float equal_floats(float a, float b) {
    return a == b;
}
static float less_floats(float a, float b) {
    return a < b;
}
static float greater_floats(float a, float b) {
    return a > b;
}

static int add_integers(int64_t a, int64_t b, int64_t *out) {
    return __builtin_add_overflow(a, b, out) ? -1 : 0;
}
static int subtract_integers(int64_t a, int64_t b, int64_t *out) {
    return __builtin_sub_overflow(a, b, out) ? -1 : 0;
}
static int multiply_integers(int64_t a, int64_t b, int64_t *out) {
    return __builtin_mul_overflow(a, b, out) ? -1 : 0;
}
static int divide_integers(int64_t a, int64_t b, int64_t *out) { /* towards zero */
    if (b == 0 || (a == INT64_MIN && b == -1)) return -1;
    *out = a / b;
    return 0;
}
static int remainder_like_c(int64_t a, int64_t b, int64_t *out) { /* the sign of a */
    if (b == 0) return -1;
    *out = b == -1 ? 0 : a % b;
    return 0;
}
static int remainder_like_python(int64_t a, int64_t b, int64_t *out) { /* the sign of b */
    if (remainder_like_c(a, b, out)) return -1;
    if (*out != 0 && (*out < 0) != (b < 0)) *out += b;
    return 0;
}
static int equal_integers(int64_t a, int64_t b, int64_t *out) {
    return *out = a == b, 0;
}
static int less_integers(int64_t a, int64_t b, int64_t *out) {
    return *out = a < b, 0;
}
static int greater_integers(int64_t a, int64_t b, int64_t *out) {
    return *out = a > b, 0;
}
static int and_integers(int64_t a, int64_t b, int64_t *out) {
    return *out = a & b, 0;
}
static int or_integers(int64_t a, int64_t b, int64_t *out) {
    return *out = a | b, 0;
}

int evaluate_add(struct evaluation *v) {
    return compute_binary(v, &(struct binary){add_floats, add_integers, false, false});
}
int evaluate_mul(struct evaluation *v) {
    return compute_binary(v, &(struct binary){multiply_floats, multiply_integers, false, false});
}
int evaluate_sub(struct evaluation *v) {
    return compute_binary(v, &(struct binary){subtract_floats, subtract_integers, false, false});
}
int evaluate_div(struct evaluation *v) {
    return compute_binary(v, &(struct binary){divide_floats, divide_integers, false, false});
}
int evaluate_mod(struct evaluation *v) {
    int32_t like_c;
    if (import_flag(v->node, "fmod", 0, &like_c)) return -1;
    return compute_binary(v,
                          &(struct binary){like_c ? fmodf : NULL,
                                           like_c ? remainder_like_c : remainder_like_python, false, false});
}
int evaluate_equal(struct evaluation *v) {
    return compute_binary(v, &(struct binary){equal_floats, equal_integers, true, true});
}
int evaluate_less(struct evaluation *v) {
    return compute_binary(v, &(struct binary){less_floats, less_integers, true, false});
}
int evaluate_greater(struct evaluation *v) {
    return compute_binary(v, &(struct binary){greater_floats, greater_integers, true, false});
}
int evaluate_and(struct evaluation *v) {
    return compute_binary(v, &(struct binary){NULL, and_integers, true, true});
}
int evaluate_or(struct evaluation *v) {
    return compute_binary(v, &(struct binary){NULL, or_integers, true, true});
}

static int min_integers(int64_t a, int64_t b, int64_t *out) {
    return *out = a < b ? a : b, 0;
}
static int max_integers(int64_t a, int64_t b, int64_t *out) {
    return *out = a > b ? a : b, 0;
}
static int less_or_equal_integers(int64_t a, int64_t b, int64_t *out) {
    return *out = a <= b, 0;
}
static int greater_or_equal_integers(int64_t a, int64_t b, int64_t *out) {
    return *out = a >= b, 0;
}
static int differ_integers(int64_t a, int64_t b, int64_t *out) {
    return *out = a != b, 0;
}
static int power_integers(int64_t a, int64_t b, int64_t *out) {
    if (b < 0) return -1;
    for (*out = 1; b > 0; b >>= 1) {
        if (b & 1 && __builtin_mul_overflow(*out, a, out)) return -1;
        if (b > 1 && __builtin_mul_overflow(a, a, &a)) return -1;
    }
    return 0;
}
static float min_floats(float a, float b) {
    return a < b || a != a ? a : b;
}
static float max_floats(float a, float b) {
    return a > b || a != a ? a : b;
}
static float less_or_equal_floats(float a, float b) {
    return a <= b;
}
static float greater_or_equal_floats(float a, float b) {
    return a >= b;
}

int evaluate_less_or_equal(struct evaluation *v) {
    return compute_binary(v, &(struct binary){less_or_equal_floats, less_or_equal_integers, true, false});
}
int evaluate_greater_or_equal(struct evaluation *v) {
    return compute_binary(v,
                          &(struct binary){greater_or_equal_floats, greater_or_equal_integers, true, false});
}
int evaluate_xor(struct evaluation *v) {
    return compute_binary(v, &(struct binary){NULL, differ_integers, true, true});
}

/* The exponent may be of another type than the base, which the result has. */
int evaluate_pow(struct evaluation *v) {
    float *f = NULL;
    struct tensor *exponent = v->in[1], cast;
    if (v->in[0]->f && exponent->i) {
        cast = *exponent;
        if (!tensor_new(v->memory, ONNX_FLOAT, &exponent->shape, &f, NULL, v->e)) return -1;
        for (int64_t k = 0; k < exponent->count; k++) f[k] = (float)exponent->i[k];
        cast.f = f;
        cast.i = NULL;
        cast.type = v->in[0]->type;
        v->in[1] = &cast;
    } else if (v->in[0]->i && exponent->f) {
        return err_set(v->e, ERR_UNSUPPORTED, "it raises integers to float powers");
    } else if (v->in[0]->f && exponent->f && exponent->type != v->in[0]->type) {
        cast = *exponent;
        cast.type = v->in[0]->type;
        v->in[1] = &cast;
    }
    const int r = compute_binary(v, &(struct binary){powf, power_integers, false, false});
    v->in[1] = exponent;
    return r;
}

/* Inputs two by two: what comes out is the first of the next pair. */
static int compute_chain(struct evaluation *v, const struct binary *b) {
    struct tensor *const first = v->in[0], *const second = v->n_in > 1 ? v->in[1] : NULL;
    int r = v->n_in == 1 ? evaluate_identity(v) : 0;
    for (int32_t i = 1; i < v->n_in && !r; i++) {
        if (!v->in[i]) return err_set(v->e, ERR_FORMAT, "its input %d is missing", i);
        v->in[1] = i == 1 ? second : v->in[i];
        r = compute_binary(v, b);
        v->in[0] = v->out[0];
    }
    v->in[0] = first;
    if (v->n_in > 1) v->in[1] = second;
    return r;
}
int evaluate_min(struct evaluation *v) {
    return compute_chain(v, &(struct binary){min_floats, min_integers, false, false});
}
int evaluate_max(struct evaluation *v) {
    return compute_chain(v, &(struct binary){max_floats, max_integers, false, false});
}

/* --- one input ------------------------------------------------------------------------------ */

static int compute_integers_alone(struct evaluation *v, int (*on_integers)(int64_t, int64_t *)) {
    int64_t *i = NULL;
    const struct tensor *t = v->in[0];
    if (evaluate_new(v, t->type, &t->shape, NULL, &i)) return -1;
    for (int64_t k = 0; k < t->count; k++)
        if (on_integers(t->i[k], &i[k]) || !tensor_integer_fits(t->type, i[k]))
            return err_set(v->e, ERR_VALUE, "%lld has no result that fits %s", (long long)t->i[k],
                           onnx_type_name(t->type));
    return 0;
}

static int negate_integer(int64_t a, int64_t *out) {
    return subtract_integers(0, a, out);
}
static int absolute_integer(int64_t a, int64_t *out) {
    return a < 0 ? negate_integer(a, out) : (*out = a, 0);
}
static int sign_integer(int64_t a, int64_t *out) {
    return *out = (a > 0) - (a < 0), 0;
}
static int positive_integer(int64_t a, int64_t *out) {
    return *out = a < 0 ? 0 : a, 0;
}

int evaluate_integer_function(struct evaluation *v) {
    static const struct {
        const char *name;
        int (*function)(int64_t, int64_t *);
    } rows[] = {{"Neg", negate_integer},
                {"Abs", absolute_integer},
                {"Sign", sign_integer},
                {"Relu", positive_integer}};
    const struct text name = v->node->onnx->op_type;
    for (size_t i = 0; v->in[0]->type != ONNX_BOOL && i < sizeof rows / sizeof *rows; i++)
        if (text_is(name, rows[i].name)) return compute_integers_alone(v, rows[i].function);
    return err_set(v->e, ERR_UNSUPPORTED, "it is not supported on constants of type %s",
                   onnx_type_name(v->in[0]->type));
}

int evaluate_relu(struct evaluation *v) {
    float *f = NULL;
    const struct tensor *t = v->in[0];
    if (t->i) return evaluate_integer_function(v);
    if (evaluate_new(v, t->type, &t->shape, &f, NULL)) return -1;
    for (int64_t k = 0; k < t->count; k++) f[k] = t->f[k] < 0 ? 0 : t->f[k];
    return 0;
}

static int invert_bool(int64_t a, int64_t *out) {
    return *out = !a, 0;
}
int evaluate_not(struct evaluation *v) {
    if (v->in[0]->type != ONNX_BOOL)
        return err_set(v->e, ERR_FORMAT, "its input is %s; it must be bool", onnx_type_name(v->in[0]->type));
    return compute_integers_alone(v, invert_bool);
}

static int cast_number(const struct evaluation *v, double x, int32_t to, int64_t *out) {
    /* 2^63 is exact as a double, INT64_MAX is not. */
    if (!(x >= -9223372036854775808.0 && x < 9223372036854775808.0) || !tensor_integer_fits(to, (int64_t)x))
        return err_set(v->e, ERR_VALUE, "%g does not fit %s", x, onnx_type_name(to));
    *out = (int64_t)x;
    return 0;
}

int evaluate_cast(struct evaluation *v) {
    const struct tensor *t = v->in[0];
    const int64_t given = import_int(v->node, "to", 0);
    const int32_t to = given > 0 && given < ONNX_TYPES ? (int32_t)given : 0;
    float *f = NULL;
    int64_t *i = NULL;
    if (!tensor_type_is_float(to) && !tensor_type_is_integer(to))
        return err_set(v->e, ERR_UNSUPPORTED, "it casts to %s; accepted are floats, integers and bool",
                       onnx_type_name(to ? to : -1));
    if (to == t->type) return evaluate_identity(v);
    if (t->f && tensor_type_is_float(to)) { /* all are float32 here */
        if (evaluate_view(v, &t->shape)) return -1;
        v->out[0]->type = to;
        return 0;
    }
    if (evaluate_new(v, to, &t->shape, &f, &i)) return -1;
    for (int64_t k = 0; k < t->count; k++) {
        if (f)
            f[k] = (float)t->i[k];
        else if (to == ONNX_BOOL)
            i[k] = t->f ? t->f[k] != 0 : t->i[k] != 0;
        else if (t->f ? cast_number(v, (double)t->f[k], to, &i[k]) : !tensor_integer_fits(to, t->i[k]))
            return t->f ? -1
                        : err_set(v->e, ERR_VALUE, "%lld does not fit %s", (long long)t->i[k],
                                  onnx_type_name(to));
        else if (!t->f)
            i[k] = t->i[k];
    }
    return 0;
}

/* --- choosing ----------------------------------------------------------------------------------- */

int evaluate_where(struct evaluation *v) {
    struct walk w;
    float *f = NULL;
    int64_t *i = NULL;
    const struct tensor *x = v->in[1], *y = v->in[2];
    if (v->in[0]->type != ONNX_BOOL || x->type != y->type)
        return err_set(v->e, ERR_FORMAT, "its inputs must be a bool and two of one type");
    if (walk_begin(&w, v, 3) || evaluate_new(v, x->type, &w.shape, &f, &i)) return -1;
    for (int64_t k = 0; k < v->out[0]->count; k++, walk_next(&w)) {
        const bool first = v->in[0]->i[w.at[0]] != 0;
        if (f)
            f[k] = first ? x->f[w.at[1]] : y->f[w.at[2]];
        else
            i[k] = first ? x->i[w.at[1]] : y->i[w.at[2]];
    }
    return 0;
}

/* --- where constants come from -------------------------------------------------------------------- */

static int constant_floats(struct evaluation *v, const struct onnx_attribute *a) {
    const bool list = a->kind == ATTR_FLOATS;
    const struct shape s = {.rank = list, .dim = {list ? (int64_t)(wire_left(&a->floats) / 4) : 0}};
    float *f;
    if (wire_left(&a->floats) % 4)
        return err_set(v->e, ERR_FORMAT, "attribute 'value_floats' ends inside a number");
    if (evaluate_new(v, ONNX_FLOAT, &s, &f, NULL)) return -1;
    if (!list)
        *f = a->f;
    else if (v->out[0]->count)
        memcpy(f, a->floats.at, wire_left(&a->floats));
    return 0;
}

static int constant_ints(struct evaluation *v, const struct onnx_attribute *a) {
    struct wire w = a->ints;
    uint64_t number = 0;
    int64_t count = 0, *i;
    for (; w.at != w.end; count++)
        if (wire_take_varint(&w, &number) != WIRE_OK)
            return err_set(v->e, ERR_FORMAT, "attribute 'value_ints' ends inside a number");
    const bool list = a->kind == ATTR_INTS;
    const struct shape s = {.rank = list, .dim = {list ? count : 0}};
    if (evaluate_new(v, ONNX_INT64, &s, NULL, &i)) return -1;
    if (!list) *i = a->i;
    for (w = a->ints; list && w.at != w.end; *i++ = (int64_t)number) (void)wire_take_varint(&w, &number);
    return 0;
}

static int evaluate_constant(struct evaluation *v) {
    if (v->node->onnx->n_attributes != 1)
        return err_set(v->e, ERR_FORMAT, "it has %d attributes; it must have one, the value",
                       v->node->onnx->n_attributes);
    const struct onnx_attribute *a = &v->node->onnx->attributes[0];
    switch (a->kind) {
    case ATTR_FLOAT:
    case ATTR_FLOATS: return constant_floats(v, a);
    case ATTR_INT:
    case ATTR_INTS: return constant_ints(v, a);
    default: return (v->out[0] = import_tensor(v->node, "value")) ? 0 : -1;
    }
}

static int evaluate_constant_of_shape(struct evaluation *v) {
    struct shape s = {0};
    float *f = NULL, one_float = 0;
    int64_t *i = NULL, one_integer = 0;
    int32_t type = ONNX_FLOAT;
    s.rank = evaluate_ints(v, 0, s.dim, SHAPE_MAX_RANK);
    if (s.rank < 0) return -1;
    if (import_attribute(v->node, "value")) {
        const struct tensor *t = import_tensor(v->node, "value");
        if (!t) return -1;
        if (t->count != 1) return err_set(v->e, ERR_FORMAT, "attribute 'value' must have one element");
        type = t->type;
        if (t->f) one_float = t->f[0];
        if (t->i) one_integer = t->i[0];
    }
    if (evaluate_new(v, type, &s, &f, &i)) return -1;
    const int64_t count = v->out[0]->count;
    for (int64_t k = 0; f && k < count; k++) f[k] = one_float;
    for (int64_t k = 0; i && k < count; k++) i[k] = one_integer;
    return 0;
}

/* Elements from `start` towards `limit`, without it, in steps of `delta`. */
static int range_count(const struct evaluation *v, double start, double limit, double delta, int64_t *count) {
    const double n = ceil((limit - start) / delta);
    if (!(delta != 0) || !isfinite(n) || n > (double)SHAPE_MAX_ELEMENTS)
        return err_set(v->e, ERR_VALUE, "a range from %g to %g in steps of %g is none", start, limit, delta);
    *count = n > 0 ? (int64_t)n : 0;
    return 0;
}

static int evaluate_range(struct evaluation *v) {
    float *f = NULL;
    int64_t *i = NULL, count = 0;
    double x[3];
    for (int k = 0; k < 3; k++) {
        const struct tensor *t = v->in[k];
        if (t->count != 1 || t->type != v->in[0]->type)
            return err_set(v->e, ERR_FORMAT, "its inputs must be three numbers of one type");
        x[k] = t->f ? (double)t->f[0] : (double)t->i[0];
        if (!t->f && (t->i[0] > INT32_MAX || t->i[0] < INT32_MIN)) /* so that doubles are exact */
            return err_set(v->e, ERR_LIMIT, "%lld is too large for a range", (long long)t->i[0]);
    }
    if (range_count(v, x[0], x[1], x[2], &count)) return -1;
    const struct shape s = {.rank = 1, .dim = {count}};
    if (evaluate_new(v, v->in[0]->type, &s, &f, &i)) return -1;
    for (int64_t k = 0; k < count; k++) {
        if (f)
            f[k] = (float)(x[0] + (double)k * x[2]);
        else
            i[k] = v->in[0]->i[0] + k * v->in[2]->i[0];
    }
    return 0;
}

static int evaluate_shape(struct evaluation *v) {
    const struct shape *in = &v->in[0]->shape;
    int64_t start = import_int(v->node, "start", 0), end = import_int(v->node, "end", in->rank), *i;
    if (start < 0) start += in->rank;
    if (end < 0) end += in->rank;
    start = start < 0 ? 0 : start > in->rank ? in->rank : start;
    end = end < start ? start : end > in->rank ? in->rank : end;
    const struct shape s = {.rank = 1, .dim = {end - start}};
    if (evaluate_new(v, ONNX_INT64, &s, NULL, &i)) return -1;
    for (int64_t k = start; k < end; k++) *i++ = in->dim[k];
    return 0;
}

static int evaluate_size(struct evaluation *v) {
    const struct shape scalar = {0};
    int64_t *i;
    if (evaluate_new(v, ONNX_INT64, &scalar, NULL, &i)) return -1;
    *i = v->in[0]->count;
    return 0;
}

const struct import_row evaluate_rows[] = {
    {"Constant", OPSET_ANY, 0, 0, "value:t value_float:f value_floats:F value_int:i value_ints:I", NULL,
     evaluate_constant, false},
    {"ConstantOfShape", 9, 1000, 1, 1, "value:t", NULL, evaluate_constant_of_shape, false},
    {"Range", 11, 1000, 3, 3, "", NULL, evaluate_range, false},
    {"Shape", OPSET_ANY, 1, 1, "start:i end:i", NULL, evaluate_shape, true},
    {"Size", OPSET_ANY, 1, 1, "", NULL, evaluate_size, true},
    {0},
};
