/* Operators on pairs of elements: arithmetic, comparisons, logic, choices, and
 * those that fold any number of inputs into one (Min, Max, Mean). */
#include "guard/evaluate.h"

static int emit_sub(struct import_node *n) {
    return import_emit_simple(n, OP_SUB, NULL, 2);
}
static int emit_div(struct import_node *n) {
    return import_emit_simple(n, OP_DIV, NULL, 2);
}
static int emit_prelu(struct import_node *n) {
    return import_emit_simple(n, OP_PRELU, NULL, 2);
}

/* The exponents that networks have, without a call to pow for each element. */
static int emit_pow(struct import_node *n) {
    struct operand *x = n->in[0], *exponent = import_as_float(n, n->in[1]);
    if (!exponent) return -1;
    const struct tensor *t = exponent->kind == OPERAND_CONSTANT ? exponent->constant[0] : NULL;
    const bool keeps_shape =
        t && t == exponent->constant[1] && t->count == 1 && t->shape.rank <= import_shape(x, 0)->rank;
    if (keeps_shape && t->f[0] == 2) return import_emit_two(n, 0, OP_MUL, x, x) ? 0 : -1;
    if (keeps_shape && t->f[0] == 0.5f) return import_emit_one(n, 0, OP_SQRT, NULL, x) ? 0 : -1;
    if (keeps_shape && t->f[0] == -1) return import_emit_one(n, 0, OP_RECIPROCAL, NULL, x) ? 0 : -1;
    return import_emit_two(n, 0, OP_POW, x, exponent) ? 0 : -1;
}

/* On floats it is C's fmod only; the other kind is not defined for them. */
static int emit_mod(struct import_node *n) {
    int32_t like_c;
    if (import_flag(n, "fmod", 0, &like_c)) return -1;
    if (!like_c) return err_set(n->e, ERR_FORMAT, "fmod is 0; on floats it must be 1");
    return import_emit_simple(n, OP_FMOD, NULL, 2);
}

/* ((a op b) op c) op …, and what the last step's result is called. */
static struct operand *chain(struct import_node *n, enum op op, bool ends) {
    struct operand *all = n->in[0];
    for (int32_t i = 1; i < n->n_in && all; i++) {
        if (!n->in[i]) {
            (void)err_set(n->e, ERR_FORMAT, "its input %d is missing", i);
            return NULL;
        }
        all = import_emit_two(n, ends && i == n->n_in - 1 ? 0 : -1, op, all, n->in[i]);
    }
    return all;
}

static int emit_chain(struct import_node *n, enum op op) {
    if (n->n_in == 1) return import_emit_simple(n, OP_IDENTITY, NULL, 1);
    return chain(n, op, true) ? 0 : -1;
}
static int emit_min(struct import_node *n) {
    return emit_chain(n, OP_MIN);
}
static int emit_max(struct import_node *n) {
    return emit_chain(n, OP_MAX);
}

static int emit_mean(struct import_node *n) {
    if (n->n_in == 1) return import_emit_simple(n, OP_IDENTITY, NULL, 1);
    struct operand *sum = chain(n, OP_ADD, false), *count = import_new_number(n, (float)n->n_in);
    return sum && count && import_emit_two(n, 0, OP_DIV, sum, count) ? 0 : -1;
}

/* --- truth ------------------------------------------------------------------------------- */

static int emit_comparison(struct import_node *n, enum op op) {
    const int32_t a = import_type(n->in[0]), b = import_type(n->in[1]);
    struct operand *x = import_as_float(n, n->in[0]), *y = import_as_float(n, n->in[1]);
    if (!x || !y) return -1;
    if (a != b && !(tensor_type_is_float(a) && tensor_type_is_float(b)))
        return err_set(n->e, ERR_FORMAT, "its inputs are of different types, %s and %s", onnx_type_name(a),
                       onnx_type_name(b));
    n->any_type = true;
    n->gives = ONNX_BOOL;
    return import_emit_two(n, 0, op, x, y) ? 0 : -1;
}
static int emit_equal(struct import_node *n) {
    return emit_comparison(n, OP_EQUAL);
}
static int emit_less(struct import_node *n) {
    return emit_comparison(n, OP_LESS);
}
static int emit_greater(struct import_node *n) {
    return emit_comparison(n, OP_GREATER);
}
static int emit_less_or_equal(struct import_node *n) {
    return emit_comparison(n, OP_LESS_OR_EQUAL);
}
static int emit_greater_or_equal(struct import_node *n) {
    return emit_comparison(n, OP_GREATER_OR_EQUAL);
}

static int need_bool(const struct import_node *n, int32_t i) {
    if (import_type(n->in[i]) == ONNX_BOOL) return 0;
    return err_set(n->e, ERR_FORMAT, "its input %d is %s; it must be bool", i,
                   onnx_type_name(import_type(n->in[i])));
}

static int emit_logic(struct import_node *n, enum op op) {
    if (need_bool(n, 0) || need_bool(n, 1)) return -1;
    struct operand *x = import_as_float(n, n->in[0]), *y = import_as_float(n, n->in[1]);
    n->any_type = true;
    n->gives = ONNX_BOOL;
    if (op != OP_EQUAL) return import_emit_two(n, 0, op, x, y) ? 0 : -1;
    return import_emit_one(n, 0, OP_NOT, NULL, import_emit_two(n, -1, op, x, y)) ? 0 : -1;
}
static int emit_and(struct import_node *n) {
    return emit_logic(n, OP_MIN);
}
static int emit_or(struct import_node *n) {
    return emit_logic(n, OP_MAX);
}
static int emit_xor(struct import_node *n) {
    return emit_logic(n, OP_EQUAL);
}

static int emit_where(struct import_node *n) {
    struct operand *const in[3] = {import_as_float(n, n->in[0]), n->in[1], n->in[2]};
    if (need_bool(n, 0) || !in[0]) return -1;
    if (!tensor_type_is_float(import_type(in[1])) || !tensor_type_is_float(import_type(in[2])))
        return err_set(n->e, ERR_UNSUPPORTED, "it chooses between %s and %s; floats are accepted",
                       onnx_type_name(import_type(in[1])), onnx_type_name(import_type(in[2])));
    n->any_type = true;
    return import_emit(n, 0, OP_WHERE, NULL, NULL, in, 3) ? 0 : -1;
}

const struct import_row import_rows_pair[] = {
    {"Sub", OPSET_ANY, 2, 2, "", emit_sub, evaluate_sub, false},
    {"Div", OPSET_ANY, 2, 2, "", emit_div, evaluate_div, false},
    {"Pow", OPSET_ANY, 2, 2, "", emit_pow, evaluate_pow, false},
    {"Mod", OPSET_ANY, 2, 2, "fmod:i", emit_mod, evaluate_mod, false},
    {"PRelu", OPSET_ANY, 2, 2, "", emit_prelu, NULL, false},
    {"Min", OPSET_ANY, 1, OP_MAX_INPUTS, "", emit_min, evaluate_min, false},
    {"Max", OPSET_ANY, 1, OP_MAX_INPUTS, "", emit_max, evaluate_max, false},
    {"Mean", OPSET_ANY, 1, OP_MAX_INPUTS, "", emit_mean, NULL, false},
    {"Equal", OPSET_ANY, 2, 2, "", emit_equal, evaluate_equal, false},
    {"Less", OPSET_ANY, 2, 2, "", emit_less, evaluate_less, false},
    {"Greater", OPSET_ANY, 2, 2, "", emit_greater, evaluate_greater, false},
    {"LessOrEqual", 12, 1000, 2, 2, "", emit_less_or_equal, evaluate_less_or_equal, false},
    {"GreaterOrEqual", 12, 1000, 2, 2, "", emit_greater_or_equal, evaluate_greater_or_equal, false},
    {"And", OPSET_ANY, 2, 2, "", emit_and, evaluate_and, false},
    {"Or", OPSET_ANY, 2, 2, "", emit_or, evaluate_or, false},
    {"Xor", OPSET_ANY, 2, 2, "", emit_xor, evaluate_xor, false},
    {"Where", OPSET_ANY, 3, 3, "", emit_where, evaluate_where, false},
    {0},
};
