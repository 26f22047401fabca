/* Builds and edits graphs. Names, operand lists and edited constants live in
 * bump memory until graph_free; values and nodes are arrays that may move when
 * one is added, so callers hold indices, not pointers. */
#include "infer/graph.h"

#include "infer/bump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct graph_memory {
    struct bump bump;
    int32_t value_room, node_room;
    int32_t *last_user; /* per value: the node that used it last when it was added; a hint */
};

struct graph *graph_new(void) {
    struct graph *g = calloc(1, sizeof *g);
    struct graph_memory *m = calloc(1, sizeof *m);
    if (!g || !m) {
        free(g);
        free(m);
        return NULL;
    }
    g->memory = m;
    g->item_images = 1;
    return g;
}

void graph_free(struct graph *g) {
    if (!g) return;
    bump_free(&g->memory->bump);
    free(g->memory->last_user);
    free(g->memory);
    free(g->values);
    free(g->nodes);
    free(g);
}

void *graph_alloc(struct graph *g, size_t bytes) {
    return bump_alloc(&g->memory->bump, bytes);
}

static int out_of_memory(struct err *e) {
    return err_set(e, ERR_LIMIT, "out of memory while building the graph");
}

/* A copy of at most GRAPH_NAME - 1 bytes that does not end inside a UTF-8 character. */
static char *copy_name(struct graph *g, const char *name) {
    size_t n = strnlen(name, GRAPH_NAME);
    if (n == GRAPH_NAME) {
        n = GRAPH_NAME - 1;
        while (n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80) n--;
    }
    char *copy = graph_alloc(g, n + 1);
    if (copy) memcpy(copy, name, n);
    return copy;
}

static int grow_values(struct graph *g) {
    struct graph_memory *m = g->memory;
    const int32_t room = m->value_room ? m->value_room * 2 : 256;
    struct value *values = realloc(g->values, (size_t)room * sizeof *values);
    if (values) g->values = values;
    int32_t *users = realloc(m->last_user, (size_t)room * sizeof *users);
    if (users) m->last_user = users;
    if (!values || !users) return -1;
    m->value_room = room;
    return 0;
}

static int32_t add_value(struct graph *g, const char *name, const struct shape *s, struct err *e) {
    if (g->n_values == GRAPH_MAX_VALUES)
        return err_set(e, ERR_LIMIT, "more than %d values", GRAPH_MAX_VALUES);
    if (g->n_values == g->memory->value_room && grow_values(g)) return out_of_memory(e);
    char *copy = copy_name(g, name ? name : "");
    if (!copy) return out_of_memory(e);
    g->values[g->n_values] = (struct value){.name = copy, .shape = *s, .producer = -1, .source = -1};
    g->memory->last_user[g->n_values] = -1;
    return g->n_values++;
}

static bool value_exists(const struct graph *g, int32_t value) {
    return value >= 0 && value < g->n_values;
}

int32_t graph_add_input(struct graph *g, const char *name, const struct shape *s, struct err *e) {
    if (g->n_inputs == GRAPH_MAX_IO) return err_set(e, ERR_LIMIT, "more than %d inputs", GRAPH_MAX_IO);
    if (!shape_valid(s)) return err_set(e, ERR_LIMIT, "input %s: every dimension must be at least 1", name);
    const int32_t v = add_value(g, name, s, e);
    if (v < 0) return -1;
    g->values[v].is_input = true;
    g->inputs[g->n_inputs++] = v;
    return v;
}

int32_t graph_add_constant(struct graph *g, const char *name, const struct shape *s, const float *data,
                           int32_t source, struct err *e) {
    const int64_t n = shape_elements(s);
    if (n < 0) return err_set(e, ERR_LIMIT, "constant %s is too large", name);
    if (n > 0 && !data) return err_set(e, ERR_INTERNAL, "constant %s has no data", name);
    const int32_t v = add_value(g, name, s, e);
    if (v < 0) return -1;
    /* Something to point at even where there are no elements: NULL means "not a constant". */
    g->values[v].data = data ? data : (const float *)graph_alloc(g, sizeof(float));
    g->values[v].source = source;
    return g->values[v].data ? v : out_of_memory(e);
}

static int infer_shape(const struct graph *g, enum op op, const union op_params *p, const int32_t *inputs,
                       int32_t n_inputs, struct shape *out, struct err *e) {
    struct shape in[OP_MAX_INPUTS];
    if (n_inputs < 0 || n_inputs > OP_MAX_INPUTS)
        return err_set(e, ERR_LIMIT, "%d inputs; at most %d are supported", n_inputs, OP_MAX_INPUTS);
    if (op == OP_BATCH_NORM && n_inputs == 3) /* the form that only images have */
        return err_set(e, ERR_FORMAT, "mean and variance are missing");
    for (int32_t i = 0; i < n_inputs; i++) {
        if (inputs[i] != -1 && !value_exists(g, inputs[i]))
            return err_set(e, ERR_INTERNAL, "input %d is value %d, which does not exist", i, inputs[i]);
        in[i] = inputs[i] == -1 ? (struct shape){.rank = -1} : g->values[inputs[i]].shape;
    }
    return op_check(op, p, in, n_inputs, out, e);
}

static int grow_nodes(struct graph *g) {
    const int32_t room = g->memory->node_room ? g->memory->node_room * 2 : 128;
    struct node *nodes = realloc(g->nodes, (size_t)room * sizeof *nodes);
    if (!nodes) return -1;
    g->nodes = nodes;
    g->memory->node_room = room;
    return 0;
}

int32_t graph_add_node(struct graph *g, const char *name, enum op op, const union op_params *p,
                       const int32_t *inputs, int32_t n_inputs, const char *output_name, int32_t source,
                       struct err *e) {
    static const union op_params none;
    char numbered[64];
    if (!p) p = &none;
    if (!name || !*name) {
        (void)snprintf(numbered, sizeof numbered, "%s#%d", op_name(op), g->n_nodes);
        name = numbered;
    }
    struct shape shape;
    if (g->n_nodes == GRAPH_MAX_NODES) return err_set(e, ERR_LIMIT, "more than %d nodes", GRAPH_MAX_NODES);
    if (infer_shape(g, op, p, inputs, n_inputs, &shape, e)) return err_prefix(e, "%s %s", op_name(op), name);
    if (g->n_nodes == g->memory->node_room && grow_nodes(g)) return out_of_memory(e);

    struct node node = {.op = op, .n_inputs = n_inputs, .source = source, .name = copy_name(g, name)};
    node.inputs = graph_alloc(g, (size_t)n_inputs * sizeof *inputs);
    if (!node.name || !node.inputs) return out_of_memory(e);
    memcpy(node.inputs, inputs, (size_t)n_inputs * sizeof *inputs);
    memcpy(&node.params, p, op_params_bytes(op));
    node.output = add_value(g, output_name, &shape, e);
    if (node.output < 0) return -1;

    const int32_t index = g->n_nodes++;
    g->nodes[index] = node;
    g->values[node.output].producer = index;
    for (int32_t i = 0; i < n_inputs; i++) {
        if (inputs[i] == -1) continue;
        g->values[inputs[i]].uses++;
        g->memory->last_user[inputs[i]] = index;
    }
    return index;
}

int graph_add_output(struct graph *g, int32_t value, struct err *e) {
    if (g->n_outputs == GRAPH_MAX_IO) return err_set(e, ERR_LIMIT, "more than %d outputs", GRAPH_MAX_IO);
    if (!value_exists(g, value))
        return err_set(e, ERR_INTERNAL, "output is value %d, which does not exist", value);
    g->outputs[g->n_outputs++] = value;
    g->values[value].uses++;
    return 0;
}

float *graph_edit_input(struct graph *g, int32_t node, int32_t slot) {
    struct node *n = &g->nodes[node];
    if (slot < 0 || slot >= n->n_inputs || n->inputs[slot] < 0) return NULL;
    int32_t v = n->inputs[slot];
    if (!g->values[v].data) return NULL;
    const bool shared = g->values[v].uses > 1;
    if (g->values[v].writable && !shared) return (float *)(uintptr_t)g->values[v].data;

    const size_t bytes = (size_t)shape_elements(&g->values[v].shape) * sizeof(float);
    float *copy = graph_alloc(g, bytes);
    if (!copy) return NULL;
    memcpy(copy, g->values[v].data, bytes);
    if (shared) {
        const struct value old = g->values[v];
        const int32_t own = add_value(g, old.name, &old.shape, NULL);
        if (own < 0) return NULL;
        g->values[v].uses--;
        g->values[own].uses = 1;
        g->values[own].source = old.source;
        g->memory->last_user[own] = node;
        n->inputs[slot] = v = own;
    }
    g->values[v].data = copy;
    g->values[v].writable = true;
    return copy;
}

static bool node_uses(const struct graph *g, int32_t node, int32_t value) {
    const struct node *n = &g->nodes[node];
    for (int32_t i = 0; !n->dead && i < n->n_inputs; i++)
        if (n->inputs[i] == value) return true;
    return false;
}

int32_t graph_only_consumer(const struct graph *g, int32_t value) {
    if (!value_exists(g, value) || g->values[value].uses != 1) return -1;
    /* With one use, whoever uses it is the one; the hint is right unless the graph was edited. */
    const int32_t hint = g->memory->last_user[value];
    if (hint >= 0 && node_uses(g, hint, value)) return hint;
    for (int32_t i = 0; i < g->n_nodes; i++)
        if (node_uses(g, i, value)) return i;
    return -1;
}
