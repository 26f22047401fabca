/* Functions of each element by itself: one table says which operator of the
 * engine each is, and which of its attributes are the function's parameters. */
#include "guard/evaluate.h"

#include "infer/function.h"

#include <math.h>

static const struct function {
    const char *name;
    enum op op;
    const char *alpha_name; /* attribute, or NULL: the number is fixed */
    float alpha;
    const char *beta_name;
    float beta;
} functions[] = {
    {"Abs", OP_ABS, NULL, 0, NULL, 0},
    {"Neg", OP_NEG, NULL, 0, NULL, 0},
    {"Sqrt", OP_SQRT, NULL, 0, NULL, 0},
    {"Exp", OP_EXP, NULL, 0, NULL, 0},
    {"Log", OP_LOG, NULL, 0, NULL, 0},
    {"Reciprocal", OP_RECIPROCAL, NULL, 0, NULL, 0},
    {"Floor", OP_FLOOR, NULL, 0, NULL, 0},
    {"Ceil", OP_CEIL, NULL, 0, NULL, 0},
    {"Round", OP_ROUND, NULL, 0, NULL, 0},
    {"Sign", OP_SIGN, NULL, 0, NULL, 0},
    {"Sigmoid", OP_SIGMOID, NULL, 0, NULL, 0},
    {"Tanh", OP_TANH, NULL, 0, NULL, 0},
    {"Erf", OP_ERF, NULL, 0, NULL, 0},
    {"Mish", OP_MISH, NULL, 0, NULL, 0},
    {"Softplus", OP_SOFTPLUS, NULL, 0, NULL, 0},
    {"Softsign", OP_SOFTSIGN, NULL, 0, NULL, 0},
    {"HardSigmoid", OP_HARD_SIGMOID, "alpha", 0.2f, "beta", 0.5f},
    {"HardSwish", OP_HARD_SWISH, NULL, 1.0f / 6, NULL, 0.5f},
    {"LeakyRelu", OP_LEAKY_RELU, "alpha", 0.01f, NULL, 0},
    {"Elu", OP_ELU, "alpha", 1, NULL, 0},
    {"Selu", OP_SELU, "alpha", 1.67326319f, "gamma", 1.05070102f},
    {"Celu", OP_CELU, "alpha", 1, NULL, 0},
    {"ThresholdedRelu", OP_THRESHOLDED_RELU, "alpha", 1, NULL, 0},
    {"Shrink", OP_SHRINK, "lambd", 0.5f, "bias", 0},
    {"Sin", OP_SIN, NULL, 0, NULL, 0},
    {"Cos", OP_COS, NULL, 0, NULL, 0},
    {"Tan", OP_TAN, NULL, 0, NULL, 0},
    {"Asin", OP_ASIN, NULL, 0, NULL, 0},
    {"Acos", OP_ACOS, NULL, 0, NULL, 0},
    {"Atan", OP_ATAN, NULL, 0, NULL, 0},
    {"Sinh", OP_SINH, NULL, 0, NULL, 0},
    {"Cosh", OP_COSH, NULL, 0, NULL, 0},
    {"Asinh", OP_ASINH, NULL, 0, NULL, 0},
    {"Acosh", OP_ACOSH, NULL, 0, NULL, 0},
    {"Atanh", OP_ATANH, NULL, 0, NULL, 0},
};

static int read_function(const struct import_node *n, enum op *op, union op_params *p) {
    const struct function *f = functions;
    while (!text_is(n->onnx->op_type, f->name)) f++; /* there is one: the rows below are these */
    const float alpha = f->alpha_name ? import_float(n, f->alpha_name, f->alpha) : f->alpha;
    const float beta = f->beta_name ? import_float(n, f->beta_name, f->beta) : f->beta;
    *op = f->op;
    *p = (union op_params){.function = {.alpha = alpha, .beta = beta}};
    if (!isfinite(alpha) || !isfinite(beta) || (f->op == OP_CELU && alpha == 0))
        return err_set(n->e, ERR_VALUE, "its parameters are %g and %g", (double)alpha, (double)beta);
    return 0;
}

static int emit_function(struct import_node *n) {
    enum op op;
    union op_params p;
    return read_function(n, &op, &p) ? -1 : import_emit_simple(n, op, &p, 1);
}

static int evaluate_floats(struct evaluation *v, enum op op, const union op_params *p) {
    float *f = NULL;
    const struct tensor *t = v->in[0];
    if (!t->f)
        return err_set(v->e, ERR_UNSUPPORTED, "it is not supported on constants of type %s",
                       onnx_type_name(t->type));
    if (evaluate_new(v, t->type, &t->shape, &f, NULL)) return -1;
    if (t->count) function_run(op, &p->function, t->f, f, t->count);
    return 0;
}

static int evaluate_function(struct evaluation *v) {
    enum op op;
    union op_params p;
    if (v->in[0]->i) return evaluate_integer_function(v);
    return read_function(v->node, &op, &p) ? -1 : evaluate_floats(v, op, &p);
}

/* --- the odd ones ------------------------------------------------------------------------ */

static int read_gelu(const struct import_node *n, enum op *op) {
    const struct text how = import_text(n, "approximate", "none");
    *op = text_is(how, "tanh") ? OP_GELU_TANH : OP_GELU;
    if (*op == OP_GELU && !text_is(how, "none"))
        return err_set(n->e, ERR_FORMAT, "approximate is '%.*s'; accepted are none and tanh", TEXT_ARGS(how));
    return 0;
}

static int emit_gelu(struct import_node *n) {
    enum op op;
    return read_gelu(n, &op) ? -1 : import_emit_simple(n, op, NULL, 1);
}

static int evaluate_gelu(struct evaluation *v) {
    enum op op;
    return read_gelu(v->node, &op) ? -1 : evaluate_floats(v, op, &(union op_params){0});
}

static int emit_not(struct import_node *n) {
    n->any_type = true;
    n->gives = ONNX_BOOL;
    if (import_type(n->in[0]) != ONNX_BOOL)
        return err_set(n->e, ERR_FORMAT, "its input is %s; it must be bool",
                       onnx_type_name(import_type(n->in[0])));
    return import_emit_simple(n, OP_NOT, NULL, 1);
}

static int emit_is_nan(struct import_node *n) {
    n->gives = ONNX_BOOL;
    return import_emit_simple(n, OP_IS_NAN, NULL, 1);
}

static int emit_is_inf(struct import_node *n) {
    int32_t positive, negative;
    if (import_flag(n, "detect_positive", 1, &positive) || import_flag(n, "detect_negative", 1, &negative))
        return -1;
    n->gives = ONNX_BOOL;
    return import_emit_simple(
        n, OP_IS_INF, &(union op_params){.function = {.alpha = (float)positive, .beta = (float)negative}}, 1);
}

#define PLAIN(name)                                                                                          \
    { name, OPSET_ANY, 1, 1, "", emit_function, evaluate_function, false }
#define WITH(name, attributes)                                                                               \
    { name, OPSET_ANY, 1, 1, attributes, emit_function, evaluate_function, false }

const struct import_row import_rows_function[] = {
    PLAIN("Abs"),
    PLAIN("Neg"),
    PLAIN("Sqrt"),
    PLAIN("Exp"),
    PLAIN("Log"),
    PLAIN("Reciprocal"),
    PLAIN("Floor"),
    PLAIN("Ceil"),
    PLAIN("Round"),
    PLAIN("Sign"),
    PLAIN("Sigmoid"),
    PLAIN("Tanh"),
    PLAIN("Erf"),
    PLAIN("Mish"),
    PLAIN("Softplus"),
    PLAIN("Softsign"),
    WITH("HardSigmoid", "alpha:f beta:f"),
    PLAIN("HardSwish"),
    WITH("LeakyRelu", "alpha:f"),
    WITH("Elu", "alpha:f"),
    WITH("Selu", "alpha:f gamma:f"),
    WITH("Celu", "alpha:f"),
    WITH("ThresholdedRelu", "alpha:f"),
    WITH("Shrink", "lambd:f bias:f"),
    PLAIN("Sin"),
    PLAIN("Cos"),
    PLAIN("Tan"),
    PLAIN("Asin"),
    PLAIN("Acos"),
    PLAIN("Atan"),
    PLAIN("Sinh"),
    PLAIN("Cosh"),
    PLAIN("Asinh"),
    PLAIN("Acosh"),
    PLAIN("Atanh"),
    {"Gelu", 20, 1000, 1, 1, "approximate:s", emit_gelu, evaluate_gelu, false},
    {"Not", OPSET_ANY, 1, 1, "", emit_not, evaluate_not, false},
    {"IsNaN", 9, 1000, 1, 1, "", emit_is_nan, NULL, false},
    {"IsInf", 10, 1000, 1, 1, "detect_negative:i detect_positive:i", emit_is_inf, NULL, false},
    {0},
};
