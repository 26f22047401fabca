/* Makes a plan: takes the live part of a graph over and sends it through the passes. */
#include "infer/algorithm.h"
#include "infer/image_internal.h"
#include "infer/plan_internal.h"

#include <stdlib.h>
#include <string.h>

int plan_out_of_memory(struct err *e) {
    return err_set(e, ERR_LIMIT, "out of memory while planning");
}

/* --- for the passes ----------------------------------------------------------------------- */

int32_t plan_add_tensor(struct plan *p, const char *name, const struct shape *s, const float *data,
                        struct err *e) {
    if (p->n_tensors == p->tensor_room)
        return err_set(e, ERR_INTERNAL, "the plan has no room for another tensor");
    struct plan_tensor *t = &p->tensors[p->n_tensors];
    *t = (struct plan_tensor){.shape = *s,
                              .name = name,
                              .data = data,
                              .producer = -1,
                              .user = -1,
                              .same_as = -1,
                              .storage = p->n_tensors,
                              .constant = -1,
                              .first = -1,
                              .last = -1,
                              .index = IMAGE_NO_TENSOR};
    t->shape.reserved = 0;
    t->bytes = (uint64_t)shape_elements(s) * sizeof(float);
    return p->n_tensors++;
}

int32_t plan_only_user(const struct plan *p, int32_t tensor) {
    const struct plan_tensor *t = &p->tensors[tensor];
    return t->uses == 1 && !t->is_output ? t->user : -1;
}

void plan_absorb(struct plan *p, int32_t step, int32_t absorbed) {
    p->tensors[p->steps[step].output].uses = 0;
    p->steps[step].output = p->steps[absorbed].output;
    p->tensors[p->steps[step].output].producer = step;
    p->steps[absorbed].gone = true;
}

int32_t plan_storage(const struct plan *p, int32_t tensor, uint64_t *shift) {
    *shift = 0;
    while (p->tensors[tensor].storage != tensor) {
        *shift += p->tensors[tensor].shift;
        tensor = p->tensors[tensor].storage;
    }
    return tensor;
}

void plan_input_shapes(const struct plan *p, const struct plan_step *s, struct shape *in) {
    for (int32_t i = 0; i < s->n_inputs; i++)
        in[i] = s->inputs[i] < 0 ? (struct shape){.rank = -1} : p->tensors[s->inputs[i]].shape;
}

uint64_t plan_multiply_adds(const struct plan *p) {
    struct shape in[OP_MAX_INPUTS];
    uint64_t sum = 0;
    for (int32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        if (s->gone) continue;
        plan_input_shapes(p, s, in);
        sum += algorithm_multiply_adds(s->op, &s->params, in, s->n_inputs, &p->tensors[s->output].shape);
    }
    return sum;
}

/* --- taking the graph over ------------------------------------------------------------------ */

static int take_values(struct plan *p, struct err *e) {
    const struct graph *g = p->graph;
    for (int32_t v = 0; v < g->n_values; v++)
        if (plan_add_tensor(p, g->values[v].name, &g->values[v].shape, g->values[v].data, e) < 0) return -1;
    for (int32_t i = 0; i < g->n_inputs; i++) {
        p->inputs[i] = g->inputs[i];
        p->tensors[g->inputs[i]].is_input = true;
    }
    return 0;
}

/* Marks what the outputs depend on; nodes are in topological order. */
static bool *find_live_nodes(struct plan *p) {
    const struct graph *g = p->graph;
    bool *live_value = bump_array(&p->bump, (size_t)g->n_values + 1, sizeof *live_value);
    bool *live_node = bump_array(&p->bump, (size_t)g->n_nodes + 1, sizeof *live_node);
    if (!live_value || !live_node) return NULL;
    for (int32_t i = 0; i < g->n_outputs; i++) live_value[g->outputs[i]] = true;
    for (int32_t i = g->n_nodes - 1; i >= 0; i--) {
        const struct node *n = &g->nodes[i];
        live_node[i] = !n->dead && live_value[n->output];
        for (int32_t k = 0; live_node[i] && k < n->n_inputs; k++)
            if (n->inputs[k] >= 0) live_value[n->inputs[k]] = true;
    }
    return live_node;
}

/* What a tensor holds is known when it is read: nodes come in topological order. */
static bool is_there(const struct plan *p, int32_t tensor) {
    const struct plan_tensor *t = &p->tensors[tensor];
    return t->data || t->is_input || t->producer >= 0;
}

static int add_step(struct plan *p, const char *name, enum op op, const union op_params *params,
                    const int32_t *inputs, int32_t n_inputs, int32_t output, struct err *e) {
    struct plan_step *s = &p->steps[p->n_steps];
    *s = (struct plan_step){.name = name, .op = op, .n_inputs = n_inputs, .residual = -1, .output = output};
    if (params) memcpy(&s->params, params, op_params_bytes(op));
    s->inputs = bump_array(&p->bump, (size_t)n_inputs, sizeof *inputs);
    if (!s->inputs) return plan_out_of_memory(e);
    for (int32_t i = 0; i < n_inputs; i++) {
        s->inputs[i] = inputs[i];
        if (inputs[i] < 0) continue;
        if (!is_there(p, inputs[i]))
            return err_set(e, ERR_INTERNAL, "%s %s reads %s before it is computed", op_name(op), name,
                           p->tensors[inputs[i]].name);
        p->tensors[inputs[i]].uses++;
        p->tensors[inputs[i]].user = p->n_steps;
    }
    p->tensors[output].producer = p->n_steps++;
    return 0;
}

static int take_nodes(struct plan *p, struct err *e) {
    const bool *live = find_live_nodes(p);
    if (!live) return plan_out_of_memory(e);
    for (int32_t i = 0; i < p->graph->n_nodes; i++) {
        const struct node *n = &p->graph->nodes[i];
        if (!live[i]) continue;
        const float *same =
            n->op == OP_RESHAPE || n->op == OP_IDENTITY ? p->tensors[n->inputs[0]].data : NULL;
        if (same)
            p->tensors[n->output].data = same; /* another name of a constant */
        else if (add_step(p, n->name, n->op, &n->params, n->inputs, n->n_inputs, n->output, e))
            return -1;
    }
    return 0;
}

/* Outputs of the model are always computed: one that is an input or a constant is a copy of it. */
static int take_outputs(struct plan *p, struct err *e) {
    const struct graph *g = p->graph;
    for (int32_t i = 0; i < g->n_outputs; i++) {
        int32_t t = g->outputs[i];
        if (p->tensors[t].producer < 0) {
            const int32_t copy = plan_add_tensor(p, p->tensors[t].name, &p->tensors[t].shape, NULL, e);
            if (copy < 0 || add_step(p, p->tensors[t].name, OP_IDENTITY, NULL, &t, 1, copy, e)) return -1;
            t = copy;
        }
        p->outputs[i] = t;
        p->tensors[t].uses++;
        p->tensors[t].is_output = true;
    }
    return 0;
}

static int check_graph(const struct graph *g, struct err *e) {
    if (g->n_outputs < 1 || g->n_inputs < 1)
        return err_set(e, ERR_FORMAT, "the model has no input or no output");
    for (int32_t v = 0; v < g->n_values; v++) /* what never runs may be empty; see choose() for what does */
        if (shape_elements(&g->values[v].shape) < 0)
            return err_set(e, ERR_LIMIT, "tensor %s is too large", g->values[v].name);
    return 0;
}

/* Up to seven tensors per node are the planner's own: scale, shift or bias, the same and a weight once
 * channels were taken out, packed weight; and each may be there in both layouts. */
static int take_graph(struct plan *p, struct err *e) {
    const struct graph *g = p->graph;
    if (check_graph(g, e)) return -1;
    p->tensor_room = 2 * (g->n_values + 7 * g->n_nodes + GRAPH_MAX_IO);
    p->step_room = g->n_nodes + GRAPH_MAX_IO;
    p->tensors = calloc((size_t)p->tensor_room, sizeof *p->tensors);
    p->steps = calloc((size_t)p->step_room, sizeof *p->steps);
    if (!p->tensors || !p->steps) return plan_out_of_memory(e);
    return take_values(p, e) || take_nodes(p, e) || take_outputs(p, e) ? -1 : 0;
}

/* --- choosing -------------------------------------------------------------------------------- */

/* Shapes are checked once more, as the validator will: what the passes made of the
 * graph must still be sound, and a mistake of theirs should show here and not in clpd. */
static int choose(struct plan *p, struct err *e) {
    struct shape in[OP_MAX_INPUTS], out;
    uint64_t work = 0;
    for (int32_t i = 0; i < p->n_steps; i++) {
        struct plan_step *s = &p->steps[i];
        if (s->gone) continue;
        plan_input_shapes(p, s, in);
        if (op_check(s->op, &s->params, in, s->n_inputs, &out, e))
            return err_prefix(e, "%s %s", op_name(s->op), s->name);
        if (!shape_equal(&out, &p->tensors[s->output].shape))
            return err_set(e, ERR_INTERNAL, "%s %s: planning has changed its shape", op_name(s->op), s->name);
        const uint64_t more = image_step_work(s->op, &s->params, in, s->n_inputs, &out);
        if (more > IMAGE_MAX_WORK - work)
            return err_set(e, ERR_LIMIT, "one picture would take more than 2^38 operations");
        work += more;
        const bool constant_weight = s->n_inputs > 1 && s->inputs[1] >= 0 && p->tensors[s->inputs[1]].data;
        if (s->op == OP_CONV && (p->options.reference || !constant_weight))
            s->algorithm = ALG_CONV_REFERENCE;
        else
            s->algorithm = (p->options.keep ? algorithm_choose_direct : algorithm_choose)(
                p->options.isa, s->op, &s->params, in, s->n_inputs, &out);
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------- */

int plan_make(struct graph *g, const struct plan_options *o, struct plan **out, struct err *e) {
    *out = NULL;
    struct plan *p = calloc(1, sizeof *p);
    if (!p) return plan_out_of_memory(e);
    p->graph = g;
    p->options = *o;
    if (take_graph(p, e) || plan_fold(p, e) || plan_shrink(p, e) || plan_fuse(p, e) || choose(p, e) ||
        plan_layout(p, e) || plan_alias(p, e) || plan_place(p, e) || plan_constants(p, e)) {
        plan_free(p);
        return -1;
    }
    *out = p;
    return 0;
}

void plan_free(struct plan *p) {
    if (!p) return;
    bump_free(&p->bump);
    free(p->tensors);
    free(p->steps);
    free(p);
}
