/* The last pass: which tensors go into the image, in which order, and where its
 * constants lie. Constants are only referred to here; their bytes stay in the
 * model's file until image_write copies or packs them, each once. They lie in
 * the order in which the steps read them, and what no step reads is not written. */
#include "infer/algorithm.h"
#include "infer/image_internal.h"
#include "infer/plan_internal.h"
#include "infer/sort.h"

#include <string.h>

/* --- equal constants, stored once --------------------------------------------------------- */

/* Exporters alias equal tensors, so two values may be views of the same bytes. */
struct table {
    int32_t *slots; /* index into constants + 1; 0: free */
    size_t mask;
};

static bool same_constant(const struct plan_constant *a, const struct plan_constant *b) {
    if (a->data != b->data || a->bytes != b->bytes || a->pick != b->pick) return false;
    if (a->packed_for == b->packed_for) return true;
    const struct plan_step *x = a->packed_for, *y = b->packed_for;
    return x && y && !x->scale && !y->scale && x->op == y->op && x->algorithm == y->algorithm &&
           shape_equal(&a->shape, &b->shape) && memcmp(&x->params, &y->params, sizeof x->params) == 0;
}

static size_t hash_pointer(const void *p) {
    uint64_t x = (uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15u;
    return (size_t)(x >> 20);
}

static int32_t add_constant(struct plan *p, struct table *t, const struct plan_constant *c) {
    size_t slot = hash_pointer(c->data) & t->mask;
    for (; t->slots[slot]; slot = (slot + 1) & t->mask)
        if (same_constant(&p->constants[t->slots[slot] - 1], c)) return t->slots[slot] - 1;
    struct plan_constant *fresh = &p->constants[p->n_constants];
    *fresh = *c;
    fresh->offset = image_align(p->constant_bytes);
    p->constant_bytes = fresh->offset + fresh->bytes;
    p->parameters += (uint64_t)shape_elements(&fresh->shape);
    t->slots[slot] = p->n_constants + 1;
    return p->n_constants++;
}

/* --- whose bytes are whose ------------------------------------------------------------------- */

size_t plan_source_bytes(const struct plan_constant *c) {
    if (!c->pick) return (size_t)shape_elements(&c->shape) * sizeof(float);
    int64_t rows = c->pick->rows ? 0 : c->shape.dim[0];
    for (int64_t r = 0; c->pick->rows && r < c->shape.dim[0]; r++)
        if (c->pick->rows[r] >= rows) rows = c->pick->rows[r] + 1;
    return (size_t)(rows * c->pick->all_columns * shape_product(&c->shape, 2, c->shape.rank)) * sizeof(float);
}

static int by_address(const void *a, const void *b) {
    const struct plan_constant *const *x = a, *const *y = b;
    return ((*x)->data > (*y)->data) - ((*x)->data < (*y)->data);
}

/* Views of one weight may overlap: what one constant was made of another may still need. */
static int find_lone(struct plan *p, struct err *e) {
    struct plan_constant **sorted = bump_array(&p->bump, (size_t)p->n_constants, sizeof *sorted);
    struct plan_constant *longest = NULL; /* of those so far, the one that reaches furthest */
    if (!sorted) return plan_out_of_memory(e);
    for (int32_t i = 0; i < p->n_constants; i++) {
        sorted[i] = &p->constants[i];
        sorted[i]->alone = true;
    }
    sort_records(sorted, (size_t)p->n_constants, sizeof *sorted, by_address);
    for (int32_t i = 0; i < p->n_constants; i++) {
        struct plan_constant *c = sorted[i];
        const uintptr_t begin = (uintptr_t)c->data;
        const uintptr_t reach = longest ? (uintptr_t)longest->data + plan_source_bytes(longest) : 0;
        if (begin < reach) c->alone = longest->alone = false;
        if (!longest || begin + plan_source_bytes(c) > reach) longest = c;
    }
    return 0;
}

/* --- tensors of the image -------------------------------------------------------------------- */

static void add_to_image(struct plan *p, int32_t tensor) {
    if (tensor < 0 || p->tensors[tensor].index != IMAGE_NO_TENSOR) return;
    p->tensors[tensor].index = p->n_image_tensors;
    p->order[p->n_image_tensors++] = tensor;
}

/* A weight gets a tensor of its own per step, since each step may want it packed differently. */
static int add_weight(struct plan *p, struct table *table, struct plan_step *s, struct err *e) {
    const struct plan_tensor *value = &p->tensors[s->inputs[1]];
    const int32_t packed = plan_add_tensor(p, value->name, &value->shape, value->data, e);
    if (packed < 0) return -1;
    struct plan_tensor *t = &p->tensors[packed];
    t->bytes = algorithm_weight_bytes(s->algorithm, s->op, &s->params, &t->shape);
    t->constant = add_constant(
        p, table,
        &(struct plan_constant){
            .data = t->data, .shape = t->shape, .pick = value->pick, .packed_for = s, .bytes = t->bytes});
    t->offset = p->constants[t->constant].offset;
    s->inputs[1] = packed;
    return 0;
}

static void add_plain(struct plan *p, struct table *table, int32_t tensor) {
    struct plan_tensor *t = &p->tensors[tensor];
    if (!t->data || t->constant >= 0) return;
    t->constant = add_constant(
        p, table, &(struct plan_constant){.data = t->data, .shape = t->shape, .bytes = t->bytes});
    t->offset = p->constants[t->constant].offset;
}

static int add_step_tensors(struct plan *p, struct table *table, struct plan_step *s, struct err *e) {
    for (int32_t k = 0; k < s->n_inputs; k++) {
        if (s->inputs[k] < 0) continue;
        if (plan_is_weight(p, s, k) && add_weight(p, table, s, e)) return -1;
        if (!plan_is_weight(p, s, k)) add_plain(p, table, s->inputs[k]);
        add_to_image(p, s->inputs[k]);
    }
    if (s->residual >= 0) add_plain(p, table, s->residual);
    add_to_image(p, s->residual);
    add_to_image(p, s->output);
    p->n_image_operands += (uint32_t)s->n_inputs;
    p->n_image_steps++;
    return 0;
}

static int check_limits(const struct plan *p, struct err *e) {
    if (p->n_image_tensors > IMAGE_MAX_TENSORS || p->n_image_operands > IMAGE_MAX_OPERANDS ||
        p->n_image_steps > IMAGE_MAX_STEPS)
        return err_set(e, ERR_LIMIT, "%u tensors, %u operands and %u steps are too many", p->n_image_tensors,
                       p->n_image_operands, p->n_image_steps);
    if (p->constant_bytes > IMAGE_MAX_BYTES / 2) return err_set(e, ERR_LIMIT, "more than 8 GiB of weights");
    return 0;
}

int plan_constants(struct plan *p, struct err *e) {
    size_t operands = 0, slots = 16;
    for (int32_t i = 0; i < p->n_steps; i++)
        operands += p->steps[i].gone ? 0 : (size_t)p->steps[i].n_inputs + 1;
    while (slots < 2 * operands) slots *= 2;
    struct table table = {bump_array(&p->bump, slots, sizeof *table.slots), slots - 1};
    p->constants = bump_array(&p->bump, operands, sizeof *p->constants);
    p->order = bump_array(&p->bump, (size_t)p->tensor_room, sizeof *p->order);
    if (!table.slots || !p->constants || !p->order) return plan_out_of_memory(e);

    for (int32_t i = 0; i < p->graph->n_inputs; i++) add_to_image(p, p->inputs[i]);
    for (int32_t i = 0; i < p->n_steps; i++)
        if (!p->steps[i].gone && add_step_tensors(p, &table, &p->steps[i], e)) return -1;
    for (int32_t i = 0; i < p->graph->n_outputs; i++)
        add_to_image(p, p->outputs[i]); /* in place, or a view */
    return find_lone(p, e) ? -1 : check_limits(p, e);
}

void plan_measure(const struct plan *p, struct plan_sizes *sizes) {
    *sizes = (struct plan_sizes){.parameters = p->parameters, .multiply_adds = plan_multiply_adds(p)};
    sizes->parameters_before = sizes->parameters + p->removed_parameters;
    sizes->multiply_adds_before = sizes->multiply_adds + p->removed_multiply_adds;
}
