/* What every run-time operator demands of its inputs and parameters: one table,
 * one rule per kind. Pure functions; messages say what is wrong, callers say where. */
#include "infer/op_rules.h"

#include <math.h>

static int rule_unary(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                      struct err *e) {
    (void)p, (void)n_in, (void)e;
    *out = in[0];
    return 0;
}

static int rule_clip(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                     struct err *e) {
    (void)n_in;
    if (!(p->clip.min <= p->clip.max)) /* also where one is NaN */
        return err_set(e, ERR_VALUE, "bounds %g and %g are not in order", (double)p->clip.min,
                       (double)p->clip.max);
    *out = in[0];
    return 0;
}

static int rule_broadcast(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                          struct err *e) {
    (void)p, (void)n_in;
    if (!shape_broadcast(&in[0], &in[1], out))
        return err_set(e, ERR_FORMAT, "%s and %s do not broadcast", SHAPE_TEXT(&in[0]), SHAPE_TEXT(&in[1]));
    return 0;
}

static int rule_batch_norm(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                           struct err *e) {
    if (n_in == 4)
        return err_set(e, ERR_FORMAT, "4 inputs; it has 5, or 3 once mean and variance are folded in");
    if (!isfinite(p->batch_norm.epsilon) || p->batch_norm.epsilon < 0)
        return err_set(e, ERR_VALUE, "epsilon %g is not a small positive number",
                       (double)p->batch_norm.epsilon);
    if (in[0].rank < 2) return err_set(e, ERR_FORMAT, "input %s has no channel axis", SHAPE_TEXT(&in[0]));
    for (int i = 1; i < n_in; i++)
        if (in[i].rank != 1 || in[i].dim[0] != in[0].dim[1])
            return err_set(e, ERR_FORMAT, "parameter %d is %s where input %s has %lld channels", i,
                           SHAPE_TEXT(&in[i]), SHAPE_TEXT(&in[0]), (long long)in[0].dim[1]);
    *out = in[0];
    return 0;
}

static int rule_global_pool(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                            struct err *e) {
    (void)p, (void)n_in;
    if (in[0].rank < 3) return err_set(e, ERR_FORMAT, "input %s has no spatial axes", SHAPE_TEXT(&in[0]));
    *out = in[0];
    for (int32_t i = 2; i < out->rank; i++) out->dim[i] = 1;
    return 0;
}

static int rule_reshape(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                        struct err *e) {
    (void)n_in;
    const struct shape *target = &p->reshape.target;
    if (!shape_valid(target) || shape_elements(target) != shape_elements(&in[0]))
        return err_set(e, ERR_FORMAT, "%s cannot become %s", SHAPE_TEXT(&in[0]), SHAPE_TEXT(target));
    *out = *target;
    out->reserved = 0;
    return 0;
}

static int check_axis(int32_t axis, const struct shape *s, struct err *e) {
    if (axis < 0 || axis >= s->rank)
        return err_set(e, ERR_FORMAT, "axis %d is none of input %s", axis, SHAPE_TEXT(s));
    return 0;
}

static int rule_softmax(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                        struct err *e) {
    (void)n_in;
    if (check_axis(p->axis.axis, &in[0], e)) return -1;
    if ((p->axis.flatten | 1) != 1) return err_set(e, ERR_FORMAT, "a flag is neither 0 nor 1");
    *out = in[0];
    return 0;
}

static int rule_concat(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                       struct err *e) {
    const int32_t axis = p->axis.axis;
    if (check_axis(axis, &in[0], e)) return -1;
    if (p->axis.flatten != 0) return err_set(e, ERR_FORMAT, "a concatenation has a flag of Softmax");
    *out = in[0];
    for (int i = 1; i < n_in; i++) {
        struct shape same = in[i];
        if (same.rank == out->rank) same.dim[axis] = out->dim[axis];
        if (!shape_equal(&same, out))
            return err_set(e, ERR_FORMAT, "input %d, %s, does not go with %s along axis %d", i,
                           SHAPE_TEXT(&in[i]), SHAPE_TEXT(&in[0]), axis);
        out->dim[axis] += in[i].dim[axis]; /* 256 inputs below 2^31 each stay far from 2^63 */
    }
    return 0;
}

static int rule_layer_norm(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                           struct err *e) {
    if (check_axis(p->norm.axis, &in[0], e)) return -1;
    if (!isfinite(p->norm.epsilon) || p->norm.epsilon < 0)
        return err_set(e, ERR_VALUE, "epsilon %g is not a small positive number", (double)p->norm.epsilon);
    struct shape normalised = {.rank = in[0].rank - p->norm.axis};
    for (int32_t i = 0; i < normalised.rank; i++) normalised.dim[i] = in[0].dim[p->norm.axis + i];
    for (int i = 1; i < n_in; i++)
        if (!op_input_absent(in, n_in, i) && !shape_equal(&in[i], &normalised))
            return err_set(e, ERR_UNSUPPORTED, "parameter %d is %s; %s is supported", i, SHAPE_TEXT(&in[i]),
                           SHAPE_TEXT(&normalised));
    *out = in[0];
    return 0;
}

#define PARAMS(member) sizeof((union op_params *)0)->member
#define FUNCTION(name)                                                                                       \
    { name, 1, 1, 1, PARAMS(function), op_rule_function }
#define REDUCE(name)                                                                                         \
    { name, 1, 1, 1, PARAMS(reduce), op_rule_reduce }

static const struct {
    const char *name;
    int min_inputs, max_inputs, required; /* from input `required` on, inputs may be absent */
    size_t params;
    op_rule_fn rule;
} rules[OP_COUNT] = {
    [OP_CONV] = {"Conv", 2, 3, 2, PARAMS(window), op_rule_conv},
    [OP_BATCH_NORM] = {"BatchNormalization", 3, 5, 5, PARAMS(batch_norm), rule_batch_norm},
    [OP_RELU] = {"Relu", 1, 1, 1, 0, rule_unary},
    [OP_CLIP] = {"Clip", 1, 1, 1, PARAMS(clip), rule_clip},
    [OP_ADD] = {"Add", 2, 2, 2, 0, rule_broadcast},
    [OP_MUL] = {"Mul", 2, 2, 2, 0, rule_broadcast},
    [OP_MAX_POOL] = {"MaxPool", 1, 1, 1, PARAMS(window), op_rule_max_pool},
    [OP_AVERAGE_POOL] = {"AveragePool", 1, 1, 1, PARAMS(window), op_rule_average_pool},
    [OP_GLOBAL_AVERAGE_POOL] = {"GlobalAveragePool", 1, 1, 1, 0, rule_global_pool},
    [OP_RESHAPE] = {"Reshape", 1, 1, 1, PARAMS(reshape), rule_reshape},
    [OP_GEMM] = {"Gemm", 2, 3, 2, PARAMS(gemm), op_rule_gemm},
    [OP_MATMUL] = {"MatMul", 2, 2, 2, 0, op_rule_matmul},
    [OP_SOFTMAX] = {"Softmax", 1, 1, 1, PARAMS(axis), rule_softmax},
    [OP_CONCAT] = {"Concat", 1, OP_MAX_INPUTS, OP_MAX_INPUTS, PARAMS(axis), rule_concat},
    [OP_IDENTITY] = {"Identity", 1, 1, 1, 0, rule_unary},
    [OP_LAYER_NORM] = {"LayerNormalization", 2, 3, 2, PARAMS(norm), rule_layer_norm},
    [OP_ABS] = FUNCTION("Abs"),
    [OP_NEG] = FUNCTION("Neg"),
    [OP_SQRT] = FUNCTION("Sqrt"),
    [OP_EXP] = FUNCTION("Exp"),
    [OP_LOG] = FUNCTION("Log"),
    [OP_RECIPROCAL] = FUNCTION("Reciprocal"),
    [OP_FLOOR] = FUNCTION("Floor"),
    [OP_CEIL] = FUNCTION("Ceil"),
    [OP_ROUND] = FUNCTION("Round"),
    [OP_SIGN] = FUNCTION("Sign"),
    [OP_SIGMOID] = FUNCTION("Sigmoid"),
    [OP_TANH] = FUNCTION("Tanh"),
    [OP_ERF] = FUNCTION("Erf"),
    [OP_GELU] = FUNCTION("Gelu"),
    [OP_GELU_TANH] = FUNCTION("Gelu"),
    [OP_SILU] = FUNCTION("SiLU"),
    [OP_MISH] = FUNCTION("Mish"),
    [OP_SOFTPLUS] = FUNCTION("Softplus"),
    [OP_SOFTSIGN] = FUNCTION("Softsign"),
    [OP_HARD_SIGMOID] = FUNCTION("HardSigmoid"),
    [OP_HARD_SWISH] = FUNCTION("HardSwish"),
    [OP_LEAKY_RELU] = FUNCTION("LeakyRelu"),
    [OP_ELU] = FUNCTION("Elu"),
    [OP_SELU] = FUNCTION("Selu"),
    [OP_CELU] = FUNCTION("Celu"),
    [OP_THRESHOLDED_RELU] = FUNCTION("ThresholdedRelu"),
    [OP_SHRINK] = FUNCTION("Shrink"),
    [OP_SIN] = FUNCTION("Sin"),
    [OP_COS] = FUNCTION("Cos"),
    [OP_TAN] = FUNCTION("Tan"),
    [OP_ASIN] = FUNCTION("Asin"),
    [OP_ACOS] = FUNCTION("Acos"),
    [OP_ATAN] = FUNCTION("Atan"),
    [OP_SINH] = FUNCTION("Sinh"),
    [OP_COSH] = FUNCTION("Cosh"),
    [OP_ASINH] = FUNCTION("Asinh"),
    [OP_ACOSH] = FUNCTION("Acosh"),
    [OP_ATANH] = FUNCTION("Atanh"),
    [OP_NOT] = FUNCTION("Not"),
    [OP_IS_NAN] = FUNCTION("IsNaN"),
    [OP_IS_INF] = FUNCTION("IsInf"),
    [OP_QUANTIZE] = FUNCTION("QuantizeLinear"),
    [OP_DEQUANTIZE] = FUNCTION("DequantizeLinear"),
    [OP_SUB] = {"Sub", 2, 2, 2, 0, rule_broadcast},
    [OP_DIV] = {"Div", 2, 2, 2, 0, rule_broadcast},
    [OP_POW] = {"Pow", 2, 2, 2, 0, rule_broadcast},
    [OP_MIN] = {"Min", 2, 2, 2, 0, rule_broadcast},
    [OP_MAX] = {"Max", 2, 2, 2, 0, rule_broadcast},
    [OP_PRELU] = {"PRelu", 2, 2, 2, 0, rule_broadcast},
    [OP_FMOD] = {"Mod", 2, 2, 2, 0, rule_broadcast},
    [OP_EQUAL] = {"Equal", 2, 2, 2, 0, rule_broadcast},
    [OP_LESS] = {"Less", 2, 2, 2, 0, rule_broadcast},
    [OP_GREATER] = {"Greater", 2, 2, 2, 0, rule_broadcast},
    [OP_LESS_OR_EQUAL] = {"LessOrEqual", 2, 2, 2, 0, rule_broadcast},
    [OP_GREATER_OR_EQUAL] = {"GreaterOrEqual", 2, 2, 2, 0, rule_broadcast},
    [OP_WHERE] = {"Where", 3, 3, 3, 0, op_rule_where},
    [OP_REDUCE_MEAN] = REDUCE("ReduceMean"),
    [OP_REDUCE_SUM] = REDUCE("ReduceSum"),
    [OP_REDUCE_MAX] = REDUCE("ReduceMax"),
    [OP_REDUCE_MIN] = REDUCE("ReduceMin"),
    [OP_REDUCE_PROD] = REDUCE("ReduceProd"),
    [OP_REDUCE_L1] = REDUCE("ReduceL1"),
    [OP_REDUCE_L2] = REDUCE("ReduceL2"),
    [OP_REDUCE_LOG_SUM] = REDUCE("ReduceLogSum"),
    [OP_REDUCE_LOG_SUM_EXP] = REDUCE("ReduceLogSumExp"),
    [OP_REDUCE_SUM_SQUARE] = REDUCE("ReduceSumSquare"),
    [OP_TRANSPOSE] = {"Transpose", 1, 1, 1, PARAMS(transpose), op_rule_transpose},
    [OP_SLICE] = {"Slice", 1, 1, 1, PARAMS(slice), op_rule_slice},
    [OP_EXPAND] = {"Expand", 1, 1, 1, PARAMS(reshape), op_rule_expand},
    [OP_PAD] = {"Pad", 1, 1, 1, PARAMS(pad), op_rule_pad},
    [OP_GATHER] = {"Gather", 2, 2, 2, PARAMS(axis), op_rule_gather},
    [OP_LRN] = {"LRN", 1, 1, 1, PARAMS(lrn), op_rule_lrn},
    [OP_INSTANCE_NORM] = {"InstanceNormalization", 3, 3, 3, PARAMS(batch_norm), op_rule_instance_norm},
    [OP_CONV_TRANSPOSE] = {"ConvTranspose", 2, 3, 2, PARAMS(conv_transpose), op_rule_conv_transpose},
    [OP_HARDMAX] = {"Hardmax", 1, 1, 1, PARAMS(axis), rule_softmax},
};

const char *op_name(enum op op) {
    return (unsigned)op < OP_COUNT ? rules[op].name : "unknown operator";
}

size_t op_params_bytes(enum op op) {
    return (unsigned)op < OP_COUNT ? rules[op].params : 0;
}

int op_check(enum op op, const union op_params *p, const struct shape *in, int n_in, struct shape *out,
             struct err *e) {
    if ((unsigned)op >= OP_COUNT) return err_set(e, ERR_FORMAT, "operator %d does not exist", (int)op);
    if (n_in < rules[op].min_inputs || n_in > rules[op].max_inputs)
        return err_set(e, ERR_FORMAT, "%d inputs; it has %d to %d", n_in, rules[op].min_inputs,
                       rules[op].max_inputs);
    for (int i = 0; i < n_in; i++) {
        if (in[i].rank == -1) {
            if (i >= rules[op].required) continue;
            return err_set(e, ERR_FORMAT, "input %d is missing", i);
        }
        if (!shape_valid(&in[i]))
            return err_set(e, ERR_LIMIT,
                           "input %d has shape %s; dimensions must be at least 1, and their "
                           "product at most 2^31",
                           i, SHAPE_TEXT(&in[i]));
    }
    struct shape result = {0};
    if (rules[op].rule(p, in, n_in, &result, e)) return -1;
    result.reserved = 0;
    if (!shape_valid(&result))
        return err_set(e, ERR_LIMIT, "the result would be %s, which is too large", SHAPE_TEXT(&result));
    *out = result;
    return 0;
}
