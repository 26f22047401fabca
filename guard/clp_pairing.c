/* Pairing of convolutions with their normalisation by graph edges.
 *
 * The authors' code pairs modules by the order in which they were declared,
 * which goes wrong on pre-activation networks. Edges know better:
 *
 *   Conv -> BN, its only consumer          scored with that BN
 *   Conv, no BN before the next layer      scored as it stands (an exporter may have folded)
 *   Conv -> Add/Concat/... -> BN           unscored: the sum is normalised, not the channel
 *   Conv -> activation -> BN               unscored: the bound is not defined there
 *   Conv -> activation -> Concat -> BN     scored as it stands: its own norm came before the activation
 *   Conv -> ... -> LayerNormalization      unscored: a norm across channels, also spelled out
 *   Conv -> ... -> InstanceNormalization   unscored: a norm by each picture's own statistics
 *   pool -> Conv -> ... -> Mul             unscored: squeeze-and-excitation gate
 *   Conv -> ... -> graph output            unscored: its channels are the answer
 */
#include "guard/clp_pairing.h"

#include <stdlib.h>
#include <string.h>

static const char reason_scores[] = "its channels are the class scores";
static const char reason_gate[] = "squeeze-and-excitation: its output is a gate behind a global pool";
static const char reason_layer_norm[] = "a LayerNormalization follows: the bound is not defined there";
static const char reason_instance_norm[] =
    "a normalisation by each picture's own statistics follows: the bound is not defined there";
static const char reason_sum[] = "its channels meet their normalisation only behind a sum or a concatenation";
static const char reason_late[] =
    "its normalisation comes behind its activation: the bound is not defined there";
static const char reason_shared[] = "its normalisation is not its only consumer";
static const char reason_weights[] = "its weights are computed at run time";

/* Consumers of every value, as one array per value (compressed rows), and the
 * scratch of a walk, so that no walk allocates. */
struct clp_uses {
    int32_t *first;  /* [n_values + 1] */
    int32_t *node;   /* [first[n_values]] */
    bool *is_output; /* [n_values] */
    int32_t *queue;  /* [n_nodes + 1] */
    uint32_t *seen;  /* [n_nodes]: the walk that saw it last */
    uint32_t walk;
};

struct clp_uses *clp_uses_new(const struct graph *g) {
    struct clp_uses *u = calloc(1, sizeof *u);
    if (!u) return NULL;
    size_t edges = 0, values = (size_t)g->n_values, nodes = (size_t)g->n_nodes;
    for (int32_t n = 0; n < g->n_nodes; n++) edges += (size_t)g->nodes[n].n_inputs;
    u->first = calloc(values + 2, sizeof *u->first);
    u->node = calloc(edges + 1, sizeof *u->node);
    u->is_output = calloc(values + 1, sizeof *u->is_output);
    u->queue = calloc(nodes + 1, sizeof *u->queue);
    u->seen = calloc(nodes + 1, sizeof *u->seen);
    if (!u->first || !u->node || !u->is_output || !u->queue || !u->seen) {
        clp_uses_free(u);
        return NULL;
    }
    /* Count into first[v + 2], sum up, then fill: first[v + 1] ends as the start of v + 1. */
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t n = 0; n < g->n_nodes; n++) {
            const struct node *node = &g->nodes[n];
            for (int32_t i = 0; !node->dead && i < node->n_inputs; i++) {
                if (node->inputs[i] < 0) continue;
                if (pass == 0)
                    u->first[node->inputs[i] + 2]++;
                else
                    u->node[u->first[node->inputs[i] + 1]++] = n;
            }
        }
        for (size_t v = 2; pass == 0 && v < values + 2; v++) u->first[v] += u->first[v - 1];
    }
    for (int32_t i = 0; i < g->n_outputs; i++) u->is_output[g->outputs[i]] = true;
    return u;
}

void clp_uses_free(struct clp_uses *u) {
    if (!u) return;
    free(u->first);
    free(u->node);
    free(u->is_output);
    free(u->queue);
    free(u->seen);
    free(u);
}

/* Mixes all channels anew: what comes behind it says nothing about the channel. */
static bool mixes(const struct graph *g, const struct node *n) {
    (void)g;
    return n->op == OP_CONV || n->op == OP_CONV_TRANSPOSE || n->op == OP_GEMM || n->op == OP_MATMUL;
}

/* A channel scaled by a constant comes out scaled by it. Where that ends, ends a
 * normalisation's hold on the layers before it: the stem of a DenseNet whose own
 * norm was folded meets another behind an activation, and that is not its norm. */
static bool passes_scale(const struct graph *g, const struct node *n) {
    switch (n->op) {
    case OP_MUL:
    case OP_DIV:
        return g->values[n->inputs[0]].data ||
               g->values[n->inputs[1]].data; /* else a gate, or x * sigmoid(x) */
    case OP_BATCH_NORM:
    case OP_ADD:
    case OP_SUB:
    case OP_CONCAT:
    case OP_RESHAPE:
    case OP_IDENTITY:
    case OP_TRANSPOSE:
    case OP_SLICE:
    case OP_PAD:
    case OP_EXPAND:
    case OP_GATHER:
    case OP_MAX_POOL:
    case OP_AVERAGE_POOL:
    case OP_GLOBAL_AVERAGE_POOL:
    case OP_REDUCE_MEAN:
    case OP_REDUCE_SUM: return true;
    default: return false;
    }
}

static bool ends_scale(const struct graph *g, const struct node *n) {
    return mixes(g, n) || !passes_scale(g, n);
}

/* x - mean(x): how exporters spell LayerNormalization out below operator set 17. */
static bool is_centering(const struct graph *g, const struct node *n) {
    if (n->op != OP_SUB || g->values[n->inputs[1]].producer < 0) return false;
    const struct node *mean = &g->nodes[g->values[n->inputs[1]].producer];
    return mean->op == OP_REDUCE_MEAN && mean->inputs[0] == n->inputs[0];
}

struct meets { /* what lies ahead of a value */
    bool output, batch_norm, layer_norm, instance_norm;
};
typedef bool (*stop_fn)(const struct graph *g, const struct node *n);

static void look_at_value(const struct graph *g, struct clp_uses *u, int32_t value, stop_fn stops,
                          int32_t *tail, struct meets *m) {
    m->output |= u->is_output[value];
    for (int32_t k = u->first[value]; k < u->first[value + 1]; k++) {
        int32_t n = u->node[k];
        if (u->seen[n] == u->walk || stops(g, &g->nodes[n])) continue;
        u->seen[n] = u->walk;
        u->queue[(*tail)++] = n;
    }
}

static struct meets look_ahead(const struct graph *g, struct clp_uses *u, int32_t value, stop_fn stops) {
    struct meets m = {0};
    int32_t head = 0, tail = 0;
    u->walk++;
    look_at_value(g, u, value, stops, &tail, &m);
    while (head < tail) {
        const struct node *node = &g->nodes[u->queue[head++]];
        m.batch_norm |= node->op == OP_BATCH_NORM;
        m.layer_norm |= node->op == OP_LAYER_NORM || is_centering(g, node);
        m.instance_norm |= node->op == OP_INSTANCE_NORM;
        look_at_value(g, u, node->output, stops, &tail, &m);
    }
    return m;
}

static bool is_one_pixel(const struct shape *s) {
    for (int32_t i = 2; i < s->rank; i++)
        if (s->dim[i] != 1) return false;
    return s->rank > 2;
}

static bool reduces(enum op op) {
    return op >= OP_REDUCE_FIRST && op <= OP_REDUCE_LAST;
}

/* Whether the value comes from a global pool through layers that stay at one pixel. */
static bool is_behind_global_pool(const struct graph *g, int32_t value) {
    for (int steps = 0; steps < 32 && value >= 0 && is_one_pixel(&g->values[value].shape); steps++) {
        int32_t p = g->values[value].producer;
        if (p < 0) return false;
        const struct node *node = &g->nodes[p];
        const struct shape *in =
            node->n_inputs && node->inputs[0] >= 0 ? &g->values[node->inputs[0]].shape : NULL;
        if (in && !is_one_pixel(in))
            return node->op == OP_GLOBAL_AVERAGE_POOL || node->op == OP_AVERAGE_POOL || reduces(node->op);
        value = node->inputs[0];
    }
    return false;
}

/* Whether the value, still one pixel, ends up multiplied onto something larger. */
static bool is_gate(const struct graph *g, struct clp_uses *u, int32_t value) {
    for (int steps = 0; steps < 32 && is_one_pixel(&g->values[value].shape); steps++) {
        if (u->first[value] == u->first[value + 1]) return false;
        int32_t next = -1;
        for (int32_t k = u->first[value]; k < u->first[value + 1]; k++) {
            const struct node *node = &g->nodes[u->node[k]];
            if (!is_one_pixel(&g->values[node->output].shape)) return node->op == OP_MUL;
            next = node->output;
        }
        value = next;
    }
    return false;
}

/* Whether the channels go on, by themselves, through an activation or a pool to a normalisation. */
static bool is_normalised_late(const struct graph *g, const struct clp_uses *u, int32_t value) {
    for (int steps = 0; steps < 32 && u->first[value + 1] - u->first[value] == 1; steps++) {
        const struct node *node = &g->nodes[u->node[u->first[value]]];
        if (node->op == OP_BATCH_NORM) return steps > 0;
        int run_time = 0;
        for (int32_t i = 0; i < node->n_inputs; i++)
            run_time += node->inputs[i] >= 0 && !g->values[node->inputs[i]].data;
        if (mixes(g, node) || run_time != 1) return false;
        value = node->output;
    }
    return false;
}

static struct clp_pairing unscored(const char *reason) {
    return (struct clp_pairing){.reason = reason, .norm = -1};
}

struct clp_pairing clp_pair(const struct graph *g, struct clp_uses *u, int32_t conv) {
    const struct node *node = &g->nodes[conv];
    int32_t out = node->output;
    if (!g->values[node->inputs[1]].data) return unscored(reason_weights);
    struct meets m = look_ahead(g, u, out, mixes);
    if (is_behind_global_pool(g, node->inputs[0]) && is_gate(g, u, out)) return unscored(reason_gate);
    if (m.output) return unscored(reason_scores);
    if (m.layer_norm) return unscored(reason_layer_norm);
    if (m.instance_norm) return unscored(reason_instance_norm);

    int32_t uses = u->first[out + 1] - u->first[out];
    const struct node *next = uses > 0 ? &g->nodes[u->node[u->first[out]]] : NULL;
    if (uses == 1 && next->op == OP_BATCH_NORM && next->inputs[0] == out)
        return (struct clp_pairing){.norm = u->node[u->first[out]]};
    if (is_normalised_late(g, u, out)) return unscored(reason_late);
    if (!look_ahead(g, u, out, ends_scale).batch_norm) return (struct clp_pairing){.norm = -1};
    for (int32_t k = u->first[out]; k < u->first[out + 1]; k++)
        if (g->nodes[u->node[k]].op == OP_BATCH_NORM) return unscored(reason_shared);
    return unscored(reason_sum);
}
