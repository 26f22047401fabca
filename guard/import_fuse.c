/* Spelled-out operators, put together again.
 *
 *   m = ReduceMean(x); d = x - m; d / Sqrt(ReduceMean(d * d) + epsilon) [* scale [+ bias]]
 *                                       -> LayerNormalization, where the axes are the last ones
 *   x * (1 + Erf(x / sqrt 2)) * 0.5     -> Gelu
 *   x * Sigmoid(x)                      -> SiLU
 *   x * HardSigmoid(x)                  -> HardSwish
 *   x * Tanh(Softplus(x))               -> Mish
 *
 * Each pattern is looked for from its last node backwards. That node becomes
 * the operator; what nobody uses any more is dead. */
#include "guard/import_fuse.h"

#include <math.h>
#include <string.h>

/* --- looking --------------------------------------------------------------------------- */

/* The live node of this kind that makes `value`, or NULL. */
static const struct node *made_by(const struct graph *g, int32_t value, enum op op) {
    const int32_t p = value < 0 ? -1 : g->values[value].producer;
    return p >= 0 && !g->nodes[p].dead && g->nodes[p].op == op ? &g->nodes[p] : NULL;
}

/* A constant of one number close to `number`, as exporters round it. */
static bool is_number(const struct graph *g, int32_t value, double number) {
    const struct value *v = &g->values[value];
    return v->data && shape_elements(&v->shape) == 1 &&
           fabs((double)v->data[0] - number) <= 1e-5 * fabs(number);
}

/* The other input of a node with two, of which one is `value`; -1: it is none of them. */
static int32_t other_input(const struct node *n, int32_t value) {
    if (n->inputs[0] == value) return n->inputs[1];
    return n->inputs[1] == value ? n->inputs[0] : -1;
}

/* The input of a node with two that is not this number; -1: none is. */
static int32_t beside_number(const struct graph *g, const struct node *n, double number) {
    if (is_number(g, n->inputs[1], number)) return n->inputs[0];
    return is_number(g, n->inputs[0], number) ? n->inputs[1] : -1;
}

/* --- changing ---------------------------------------------------------------------------- */

/* Backwards: by then all that read a value have had their turn. */
static void bury_unused(struct graph *g, int32_t from) {
    for (int32_t i = from; i >= 0; i--) {
        struct node *n = &g->nodes[i];
        if (n->dead || g->values[n->output].uses > 0) continue;
        n->dead = true;
        for (int32_t k = 0; k < n->n_inputs; k++)
            if (n->inputs[k] >= 0) g->values[n->inputs[k]].uses--;
    }
}

/* `node` becomes this operator on these inputs. */
static int become(struct graph *g, struct node *n, enum op op, const union op_params *p,
                  const int32_t *inputs, int32_t n_inputs, struct err *e) {
    struct shape in[3], out;
    int32_t *mine = graph_alloc(g, (size_t)n_inputs * sizeof *mine);
    if (!mine) return err_set(e, ERR_LIMIT, "out of memory while importing the model");
    for (int32_t i = 0; i < n_inputs; i++) in[i] = g->values[inputs[i]].shape;
    if (op_check(op, p, in, n_inputs, &out, e) || !shape_equal(&out, &g->values[n->output].shape)) {
        *e = (struct err){0}; /* a pattern that only looks alike stays as it is */
        return 0;
    }
    for (int32_t i = 0; i < n_inputs; i++) g->values[mine[i] = inputs[i]].uses++;
    for (int32_t i = 0; i < n->n_inputs; i++)
        if (n->inputs[i] >= 0) g->values[n->inputs[i]].uses--;
    n->op = op;
    n->params = *p;
    n->inputs = mine;
    n->n_inputs = n_inputs;
    bury_unused(g, (int32_t)(n - g->nodes) - 1);
    return 0;
}

/* --- activations ---------------------------------------------------------------------------- */

static int fuse_gelu(struct graph *g, struct node *n, struct err *e) {
    static const union op_params none;
    const int32_t half = beside_number(g, n, 0.5);
    const struct node *product = half < 0 ? NULL : made_by(g, half, OP_MUL);
    for (int k = 0; product && k < 2; k++) {
        const int32_t x = product->inputs[k];
        const struct node *sum = made_by(g, product->inputs[1 - k], OP_ADD);
        const int32_t erf = sum ? beside_number(g, sum, 1) : -1;
        const struct node *function = erf < 0 ? NULL : made_by(g, erf, OP_ERF);
        const struct node *quotient = function ? made_by(g, function->inputs[0], OP_DIV) : NULL;
        const struct node *scaled = function ? made_by(g, function->inputs[0], OP_MUL) : NULL;
        const bool matches =
            (quotient && quotient->inputs[0] == x && is_number(g, quotient->inputs[1], sqrt(2))) ||
            (scaled && beside_number(g, scaled, sqrt(0.5)) == x);
        if (matches) return become(g, n, OP_GELU, &none, &x, 1, e);
    }
    return 0;
}

static int fuse_gated(struct graph *g, struct node *n, struct err *e) {
    for (int k = 0; k < 2; k++) {
        const int32_t x = n->inputs[k], gate = n->inputs[1 - k];
        const struct node *sigmoid = made_by(g, gate, OP_SIGMOID), *hard = made_by(g, gate, OP_HARD_SIGMOID);
        const struct node *tanh_node = made_by(g, gate, OP_TANH);
        const struct node *softplus = tanh_node ? made_by(g, tanh_node->inputs[0], OP_SOFTPLUS) : NULL;
        if (sigmoid && sigmoid->inputs[0] == x) return become(g, n, OP_SILU, &sigmoid->params, &x, 1, e);
        if (hard && hard->inputs[0] == x) return become(g, n, OP_HARD_SWISH, &hard->params, &x, 1, e);
        if (softplus && softplus->inputs[0] == x) return become(g, n, OP_MISH, &softplus->params, &x, 1, e);
    }
    return 0;
}

/* --- LayerNormalization ------------------------------------------------------------------------ */

struct layer_norm {
    int32_t x;
    union op_params params;
};

/* Whether the reduction is a mean over the last axes; *axis: from which on. */
static bool is_mean_of_last(const struct graph *g, const struct node *n, int32_t *axis) {
    if (!n || !n->params.reduce.keep) return false;
    const int32_t rank = g->values[n->inputs[0]].shape.rank;
    *axis = __builtin_ctz(n->params.reduce.axes);
    return n->params.reduce.axes == ((1u << rank) - 1) >> *axis << *axis;
}

/* d / sqrt(mean(d * d) + epsilon), d = x - mean(x) */
static bool match_layer_norm(const struct graph *g, const struct node *quotient, struct layer_norm *l) {
    int32_t axis, same_axis;
    const struct node *centred = made_by(g, quotient->inputs[0], OP_SUB);
    const struct node *root = made_by(g, quotient->inputs[1], OP_SQRT);
    const struct node *sum = root ? made_by(g, root->inputs[0], OP_ADD) : NULL;
    if (!centred || !sum) return false;
    const int32_t slot = g->values[sum->inputs[1]].data ? 1 : 0;
    const struct value *epsilon = &g->values[sum->inputs[slot]];
    const struct node *variance = made_by(g, sum->inputs[1 - slot], OP_REDUCE_MEAN);
    const struct node *square = variance ? made_by(g, variance->inputs[0], OP_MUL) : NULL;
    const struct node *mean = made_by(g, centred->inputs[1], OP_REDUCE_MEAN);
    if (!epsilon->data || shape_elements(&epsilon->shape) != 1 || !is_mean_of_last(g, mean, &axis) ||
        !is_mean_of_last(g, variance, &same_axis) || axis != same_axis || !square)
        return false;
    if (square->inputs[0] != centred->output || square->inputs[1] != centred->output ||
        centred->inputs[0] != mean->inputs[0])
        return false;
    l->x = mean->inputs[0];
    l->params = (union op_params){.norm = {axis, epsilon->data[0]}};
    return epsilon->data[0] >= 0;
}

static struct shape normalised_shape(const struct graph *g, const struct layer_norm *l) {
    const struct shape *x = &g->values[l->x].shape;
    struct shape s = {.rank = x->rank - l->params.norm.axis};
    for (int32_t i = 0; i < s.rank; i++) s.dim[i] = x->dim[l->params.norm.axis + i];
    return s;
}

/* The constant that the only user of `value` multiplies or adds, in the shape that LayerNormalization
 * wants; *next is that user. -1: there is none. */
static int32_t following(const struct graph *g, int32_t value, enum op op, const struct shape *s,
                         int32_t *next) {
    *next = g->values[value].uses == 1 ? graph_only_consumer(g, value) : -1;
    if (*next < 0 || g->nodes[*next].op != op) return -1;
    const int32_t c = other_input(&g->nodes[*next], value);
    return c >= 0 && g->values[c].data && shape_equal(&g->values[c].shape, s) ? c : -1;
}

static int fuse_layer_norm(struct graph *g, struct node *quotient, struct err *e) {
    struct layer_norm l;
    if (!match_layer_norm(g, quotient, &l)) return 0;
    const struct shape s = normalised_shape(g, &l);
    struct node *last = quotient;
    int32_t next, inputs[3] = {l.x, following(g, quotient->output, OP_MUL, &s, &next), -1}, n = 2;
    if (inputs[1] >= 0) {
        last = &g->nodes[next];
        inputs[2] = following(g, last->output, OP_ADD, &s, &next);
        if (inputs[2] >= 0) last = &g->nodes[next];
        n = inputs[2] >= 0 ? 3 : 2;
    } else { /* no scale, or it has been folded into what follows */
        float *ones = graph_alloc(g, (size_t)shape_elements(&s) * sizeof *ones);
        if (!ones) return err_set(e, ERR_LIMIT, "out of memory while importing the model");
        for (int64_t i = 0; i < shape_elements(&s); i++) ones[i] = 1;
        inputs[1] = graph_add_constant(g, "ones", &s, ones, -1, e);
        if (inputs[1] < 0) return -1;
    }
    return become(g, last, OP_LAYER_NORM, &l.params, inputs, n, e);
}

int import_fuse(struct graph *g, struct err *e) {
    for (int32_t i = 0; i < g->n_nodes; i++) {
        struct node *n = &g->nodes[i];
        int r = 0;
        if (!n->dead && n->op == OP_DIV) r = fuse_layer_norm(g, n, e);
        if (!n->dead && n->op == OP_MUL)
            r = fuse_gelu(g, n, e) ? -1 : n->op == OP_MUL ? fuse_gated(g, n, e) : 0;
        if (r) return -1;
    }
    return 0;
}
