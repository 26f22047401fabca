/* Operators that reduce axes, and those that are made of such:
 * Reduce…, GlobalMaxPool, GlobalLpPool, LpPool, LpNormalization, LogSoftmax,
 * MeanVarianceNormalization. */
#include "guard/evaluate.h"

#include "infer/reduce.h"

#include <math.h>

static const struct reduction {
    const char *name;
    enum op op;
} reductions[] = {
    {"ReduceMean", OP_REDUCE_MEAN},
    {"ReduceSum", OP_REDUCE_SUM},
    {"ReduceMax", OP_REDUCE_MAX},
    {"ReduceMin", OP_REDUCE_MIN},
    {"ReduceProd", OP_REDUCE_PROD},
    {"ReduceL1", OP_REDUCE_L1},
    {"ReduceL2", OP_REDUCE_L2},
    {"ReduceLogSum", OP_REDUCE_LOG_SUM},
    {"ReduceLogSumExp", OP_REDUCE_LOG_SUM_EXP},
    {"ReduceSumSquare", OP_REDUCE_SUM_SQUARE},
};

/* Without axes all are reduced, unless noop_with_empty_axes says otherwise: *axes is 0 then. */
static int read_reduction(const struct import_node *n, int lane, const struct shape *in, enum op *op,
                          struct op_reduce *p) {
    const struct reduction *r = reductions;
    int32_t noop;
    bool given;
    while (!text_is(n->onnx->op_type, r->name)) r++; /* there is one: the rows below are these */
    *op = r->op;
    if (import_flag(n, "keepdims", 1, &p->keep) || import_flag(n, "noop_with_empty_axes", 0, &noop) ||
        import_axes(n, 1, lane, in->rank, &p->axes, &given))
        return -1;
    if (p->axes == 0 && !noop) p->axes = (1u << in->rank) - 1;
    return 0;
}

/* The mean over all spatial axes is a pool, which CLP and the planner know. (Of three axes
 * the last is rather the channels of tokens, in a spelled-out LayerNormalization.) */
static bool is_global_pool(enum op op, const struct op_reduce *p, const struct shape *in) {
    return op == OP_REDUCE_MEAN && in->rank >= 4 && p->axes == ((1u << in->rank) - 1 - 3);
}

static int emit_global_pool(struct import_node *n, const struct op_reduce *p) {
    struct operand *pooled = import_emit_one(n, p->keep ? 0 : -1, OP_GLOBAL_AVERAGE_POOL, NULL, n->in[0]);
    struct shape s[2];
    if (!pooled || p->keep) return pooled ? 0 : -1;
    for (int lane = 0; lane < n->lanes; lane++) {
        const struct shape *in = import_shape(n->in[0], lane);
        s[lane] = (struct shape){.rank = 2, .dim = {in->dim[0], in->dim[1]}};
    }
    return import_emit_reshape(n, 0, pooled, s) ? 0 : -1;
}

static int emit_reduce(struct import_node *n) {
    enum op op;
    union op_params p = {0};
    if (read_reduction(n, 0, import_shape(n->in[0], 0), &op, &p.reduce)) return -1;
    if (p.reduce.axes == 0) return import_emit_simple(n, OP_IDENTITY, NULL, 1);
    if (is_global_pool(op, &p.reduce, import_shape(n->in[0], 0))) return emit_global_pool(n, &p.reduce);
    return import_emit_simple(n, op, &p, 1);
}

/* --- on constants -------------------------------------------------------------------------- */

static int join_integers(const struct evaluation *v, enum op op, int64_t x, bool first, int64_t *all) {
    bool fits = true;
    if (first)
        *all = x;
    else if (op == OP_REDUCE_MAX)
        *all = x > *all ? x : *all;
    else if (op == OP_REDUCE_MIN)
        *all = x < *all ? x : *all;
    else if (op == OP_REDUCE_PROD)
        fits = !__builtin_mul_overflow(*all, x, all);
    else
        fits = !__builtin_add_overflow(*all, x, all);
    if (fits && tensor_integer_fits(v->in[0]->type, *all)) return 0;
    return err_set(v->e, ERR_VALUE, "its result does not fit %s", onnx_type_name(v->in[0]->type));
}

/* Each output's number of inputs so far stands in `seen`. */
static int reduce_integers(struct evaluation *v, enum op op, uint32_t axes, int64_t *out) {
    const struct tensor *t = v->in[0];
    for (int64_t k = 0; k < t->count; k++) {
        int64_t rest = k, at = 0, step = 1;
        bool first = true;
        for (int32_t d = t->shape.rank - 1; d >= 0; d--) {
            const int64_t i = rest % t->shape.dim[d];
            rest /= t->shape.dim[d];
            if (axes >> d & 1) {
                first = first && i == 0;
            } else {
                at += i * step;
                step *= t->shape.dim[d];
            }
        }
        if (join_integers(v, op, t->i[k], first, &out[at])) return -1;
    }
    return 0;
}

static int evaluate_reduce(struct evaluation *v) {
    const struct tensor *t = v->in[0];
    enum op op;
    union op_params p = {0};
    struct shape s;
    float *f = NULL;
    int64_t *i = NULL;
    if (read_reduction(v->node, v->lane, &t->shape, &op, &p.reduce)) return -1;
    if (p.reduce.axes == 0) return evaluate_identity(v);
    if (t->i && op != OP_REDUCE_SUM && op != OP_REDUCE_PROD && op != OP_REDUCE_MAX && op != OP_REDUCE_MIN)
        return err_set(v->e, ERR_UNSUPPORTED, "it is not supported on constants of type %s",
                       onnx_type_name(t->type));
    if (op_check(op, &p, &t->shape, 1, &s, v->e) || evaluate_new(v, t->type, &s, &f, &i)) return -1;
    if (i) return reduce_integers(v, op, p.reduce.axes, i);
    reduce_run(op, p.reduce.axes, &t->shape, t->f, f);
    return 0;
}

/* --- what is made of reductions --------------------------------------------------------------- */

static struct operand *reduce(struct import_node *n, int32_t output, enum op op, uint32_t axes,
                              struct operand *in) {
    const union op_params p = {.reduce = {.axes = axes, .keep = 1}};
    return import_emit_one(n, output, op, &p, in);
}

static int need_spatial(const struct import_node *n, uint32_t *axes) {
    char text[128];
    const struct shape *in = import_shape(n->in[0], 0);
    *axes = (1u << in->rank) - 1 - 3;
    if (in->rank >= 3) return 0;
    return err_set(n->e, ERR_FORMAT, "its input %s has no spatial axes", shape_text(in, text, sizeof text));
}

static int emit_global_max_pool(struct import_node *n) {
    uint32_t axes;
    return need_spatial(n, &axes) || !reduce(n, 0, OP_REDUCE_MAX, axes, n->in[0]) ? -1 : 0;
}

/* (sum of |x|^p)^(1/p) */
static struct operand *norm(struct import_node *n, int32_t output, int64_t p, uint32_t axes,
                            struct operand *in) {
    if (p == 1) return reduce(n, output, OP_REDUCE_L1, axes, in);
    if (p == 2) return reduce(n, output, OP_REDUCE_L2, axes, in);
    struct operand *power = import_new_number(n, (float)p), *root = import_new_number(n, 1.0f / (float)p);
    struct operand *each = import_emit_two(n, -1, OP_POW, import_emit_one(n, -1, OP_ABS, NULL, in), power);
    struct operand *sum = each ? reduce(n, -1, OP_REDUCE_SUM, axes, each) : NULL;
    return import_emit_two(n, output, OP_POW, sum, root);
}

static int read_p(const struct import_node *n, int64_t *p) {
    *p = import_int(n, "p", 2);
    return *p >= 1 && *p <= 1000 ? 0
                                 : err_set(n->e, ERR_VALUE, "p is %lld; it must be 1 or more", (long long)*p);
}

static int emit_global_lp_pool(struct import_node *n) {
    uint32_t axes;
    int64_t p;
    return need_spatial(n, &axes) || read_p(n, &p) || !norm(n, 0, p, axes, n->in[0]) ? -1 : 0;
}

/* Where the norm is 0, so is the result. */
static int emit_lp_normalization(struct import_node *n) {
    int64_t p;
    int32_t axis;
    if (read_p(n, &p) || import_axis(import_int(n, "axis", -1), import_shape(n->in[0], 0)->rank, &axis, n->e))
        return -1;
    struct operand *length = norm(n, -1, p, 1u << axis, n->in[0]);
    struct operand *least = import_new_number(n, 1.17549435e-38f);
    return import_emit_two(n, 0, OP_DIV, n->in[0], import_emit_two(n, -1, OP_MAX, length, least)) ? 0 : -1;
}

/* x - log(sum(exp(x))): the logarithm of Softmax would lose all small probabilities. */
static int log_softmax(struct import_node *n, int64_t absent, bool flatten) {
    const int32_t rank = import_shape(n->in[0], 0)->rank;
    int32_t axis;
    if (import_axis(import_int(n, "axis", absent), rank, &axis, n->e)) return -1;
    const uint32_t axes = flatten ? ((1u << rank) - 1) & ~((1u << axis) - 1) : 1u << axis;
    return import_emit_two(n, 0, OP_SUB, n->in[0], reduce(n, -1, OP_REDUCE_LOG_SUM_EXP, axes, n->in[0])) ? 0
                                                                                                         : -1;
}
static int emit_log_softmax_flat(struct import_node *n) {
    return log_softmax(n, 1, true);
}
static int emit_log_softmax(struct import_node *n) {
    return log_softmax(n, -1, false);
}

/* (x - mean) / (sqrt(mean of squared differences) + 1e-9) */
static int emit_mean_variance(struct import_node *n) {
    const int32_t rank = import_shape(n->in[0], 0)->rank;
    unsigned axes;
    bool given;
    if (import_axes(n, 1, 0, rank, &axes, &given)) return -1;
    if (!given) {
        if (rank != 4) return err_set(n->e, ERR_FORMAT, "its axes are missing");
        axes = 1 + 4 + 8;
    }
    if (axes == 0) return err_set(n->e, ERR_FORMAT, "its axes are missing");
    struct operand *centred =
        import_emit_two(n, -1, OP_SUB, n->in[0], reduce(n, -1, OP_REDUCE_MEAN, axes, n->in[0]));
    struct operand *variance =
        centred ? reduce(n, -1, OP_REDUCE_MEAN, axes, import_emit_two(n, -1, OP_MUL, centred, centred))
                : NULL;
    struct operand *spread = import_emit_two(n, -1, OP_ADD, import_emit_one(n, -1, OP_SQRT, NULL, variance),
                                             import_new_number(n, 1e-9f));
    return import_emit_two(n, 0, OP_DIV, centred, spread) ? 0 : -1;
}

#define ATTRIBUTE(name, until)                                                                               \
    { name, 1, until, 1, 1, "axes:I keepdims:i", emit_reduce, evaluate_reduce, false }
#define INPUT(name, since)                                                                                   \
    { name, since, 1000, 1, 2, "keepdims:i noop_with_empty_axes:i", emit_reduce, evaluate_reduce, false }
#define BOTH(name) ATTRIBUTE(name, 17), INPUT(name, 18)

const struct import_row import_rows_reduce[] = {
    ATTRIBUTE("ReduceSum", 12),
    INPUT("ReduceSum", 13),
    BOTH("ReduceMean"),
    BOTH("ReduceMax"),
    BOTH("ReduceMin"),
    BOTH("ReduceProd"),
    BOTH("ReduceL1"),
    BOTH("ReduceL2"),
    BOTH("ReduceLogSum"),
    BOTH("ReduceLogSumExp"),
    BOTH("ReduceSumSquare"),
    {"GlobalMaxPool", OPSET_ANY, 1, 1, "", emit_global_max_pool, NULL, false},
    {"GlobalLpPool", 2, 1000, 1, 1, "p:i", emit_global_lp_pool, NULL, false},
    {"LpNormalization", OPSET_ANY, 1, 1, "axis:i p:i", emit_lp_normalization, NULL, false},
    {"LogSoftmax", 1, 12, 1, 1, "axis:i", emit_log_softmax_flat, NULL, false},
    {"LogSoftmax", 13, 1000, 1, 1, "axis:i", emit_log_softmax, NULL, false},
    {"MeanVarianceNormalization", 9, 1000, 1, 1, "axes:I", emit_mean_variance, NULL, false},
    {0},
};
