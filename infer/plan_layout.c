/* Layouts: blocked convolutions take and give blocked tensors, what lies between
 * them does the same where it can, and where two layouts meet a reordering step
 * is put in: an Identity whose output lies differently than its input.
 *
 * The model's own inputs and outputs and all constants are plain. Every tensor
 * is reordered at most once, before the first step that wants it otherwise. */
#include "infer/algorithm.h"
#include "infer/layout.h"
#include "infer/plan_internal.h"

#include <stdlib.h>
#include <string.h>

struct pass {
    struct plan *p;
    struct plan_step *steps; /* the new list */
    int32_t n, room;
    int32_t *other; /* per tensor: the one that holds the same in the other layout, or -1 */
    int32_t n_other;
};

static bool is_computed(const struct plan *p, int32_t tensor) {
    return tensor >= 0 && !p->tensors[tensor].data;
}

/* --- reordering -------------------------------------------------------------------------------- */

static int add_step(struct pass *a, const struct plan_step *s, struct err *e) {
    if (a->n == a->room) return err_set(e, ERR_INTERNAL, "the plan has no room for another step");
    a->steps[a->n] = *s;
    a->p->tensors[s->output].producer = a->n++;
    return 0;
}

/* `tensor` in the other layout than its own: a tensor of the planner's, computed by a step of its own. */
static int32_t reorder(struct pass *a, int32_t tensor, struct err *e) {
    struct plan *p = a->p;
    if (tensor < a->n_other && a->other[tensor] >= 0) return a->other[tensor];
    const struct plan_tensor *t = &p->tensors[tensor];
    const uint32_t layout = t->layout == LAYOUT_PLAIN ? LAYOUT_BLOCKED : LAYOUT_PLAIN;
    const int32_t fresh = plan_add_tensor(p, t->name, &t->shape, NULL, e);
    if (fresh < 0) return -1;
    p->tensors[fresh].layout = layout;
    p->tensors[fresh].bytes = layout_bytes(layout, &t->shape);
    struct plan_step s = {.name = t->name,
                          .op = OP_IDENTITY,
                          .n_inputs = 1,
                          .residual = -1,
                          .output = fresh,
                          .algorithm = ALG_REORDER};
    s.inputs = bump_array(&p->bump, 1, sizeof *s.inputs);
    if (!s.inputs) return plan_out_of_memory(e);
    s.inputs[0] = tensor;
    if (tensor < a->n_other) a->other[tensor] = fresh;
    return add_step(a, &s, e) ? -1 : fresh;
}

/* *tensor, in `layout`. */
static int want(struct pass *a, int32_t *tensor, uint32_t layout, struct err *e) {
    if (!is_computed(a->p, *tensor) || a->p->tensors[*tensor].layout == layout) return 0;
    *tensor = reorder(a, *tensor, e);
    return *tensor < 0 ? -1 : 0;
}

/* --- who takes what ----------------------------------------------------------------------------- */

static bool fits(const struct plan *p, const struct plan_step *s, uint32_t input, uint32_t output) {
    struct shape in[OP_MAX_INPUTS];
    uint32_t layouts[OP_MAX_INPUTS];
    plan_input_shapes(p, s, in);
    for (int32_t k = 0; k < s->n_inputs; k++)
        layouts[k] = is_computed(p, s->inputs[k]) ? input : LAYOUT_PLAIN;
    return layout_fits(s->algorithm, s->op, &s->params, in, &p->tensors[s->output].shape,
                       &(struct layouts){layouts, s->n_inputs, output});
}

/* A first convolution has a twin for an input that is blocked already. */
static void settle_first(const struct plan *p, struct plan_step *s) {
    struct shape in[OP_MAX_INPUTS];
    if (s->op != OP_CONV || s->algorithm != ALG_CONV_FIRST) return;
    plan_input_shapes(p, s, in);
    if (p->tensors[s->inputs[0]].layout == LAYOUT_BLOCKED &&
        algorithm_fits(ALG_CONV_DIRECT, OP_CONV, &s->params, in, s->n_inputs, &p->tensors[s->output].shape))
        s->algorithm = ALG_CONV_DIRECT;
}

static bool reads_blocked(const struct plan *p, const struct plan_step *s) {
    for (int32_t k = 0; k < s->n_inputs; k++)
        if (is_computed(p, s->inputs[k]) && p->tensors[s->inputs[k]].layout == LAYOUT_BLOCKED) return true;
    return false;
}

static int settle(struct pass *a, struct plan_step *s, struct err *e) {
    struct plan *p = a->p;
    settle_first(p, s);
    uint32_t input = LAYOUT_PLAIN, output = LAYOUT_PLAIN;
    if ((s->op == OP_CONV || reads_blocked(p, s)) && fits(p, s, LAYOUT_BLOCKED, LAYOUT_BLOCKED))
        input = output = LAYOUT_BLOCKED;
    else if (s->op == OP_CONV && fits(p, s, LAYOUT_PLAIN, LAYOUT_BLOCKED))
        output = LAYOUT_BLOCKED;
    for (int32_t k = 0; k < s->n_inputs; k++)
        if (want(a, &s->inputs[k], input, e)) return -1;
    if (want(a, &s->residual, output, e)) return -1;
    p->tensors[s->output].layout = output;
    p->tensors[s->output].bytes = layout_bytes(output, &p->tensors[s->output].shape);
    return add_step(a, s, e);
}

/* --- the pass ------------------------------------------------------------------------------------- */

static int settle_outputs(struct pass *a, struct err *e) {
    struct plan *p = a->p;
    for (int32_t i = 0; i < p->graph->n_outputs; i++) {
        if (p->tensors[p->outputs[i]].layout == LAYOUT_PLAIN) continue;
        p->tensors[p->outputs[i]].is_output = false;
        if (want(a, &p->outputs[i], LAYOUT_PLAIN, e)) return -1;
        p->tensors[p->outputs[i]].is_output = true;
    }
    return 0;
}

/* Uses are counted anew: reorderings have changed who reads what. */
static void count_uses(struct plan *p) {
    for (int32_t t = 0; t < p->n_tensors; t++) p->tensors[t].uses = 0;
    for (int32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        for (int32_t k = 0; k <= s->n_inputs; k++) {
            const int32_t t = k < s->n_inputs ? s->inputs[k] : s->residual;
            if (t < 0) continue;
            p->tensors[t].uses++;
            p->tensors[t].user = i;
        }
    }
    for (int32_t i = 0; i < p->graph->n_outputs; i++) p->tensors[p->outputs[i]].uses++;
}

int plan_layout(struct plan *p, struct err *e) {
    if (p->options.reference) return 0;
    struct pass a = {.p = p, .room = p->n_steps + p->n_tensors, .n_other = p->n_tensors};
    a.steps = calloc((size_t)a.room, sizeof *a.steps);
    a.other = bump_array(&p->bump, (size_t)a.n_other, sizeof *a.other);
    int rc = a.steps && a.other ? 0 : plan_out_of_memory(e);
    for (int32_t t = 0; rc == 0 && t < a.n_other; t++) a.other[t] = -1;
    for (int32_t i = 0; rc == 0 && i < p->n_steps; i++)
        if (!p->steps[i].gone) rc = settle(&a, &p->steps[i], e);
    if (rc == 0) rc = settle_outputs(&a, e);
    if (rc) {
        free(a.steps);
        return -1;
    }
    free(p->steps);
    p->steps = a.steps;
    p->n_steps = a.n;
    p->step_room = a.room;
    count_uses(p);
    return 0;
}
