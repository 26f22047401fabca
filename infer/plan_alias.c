/* Tensors that need no memory of their own, and steps that need not run.
 *
 *   Reshape, Identity      the output is another name of the input
 *   Concat                 its inputs are computed where they belong in its output
 *   Concat of what lies in a row already (DenseNet: each block's layer reads a
 *                          prefix of the block's last concatenation): a view
 *
 * A tensor in another's storage has that tensor and a shift in bytes. What is
 * referred to is always the outermost storage of that moment, so chains of them
 * stay short however long those of reshapes are. */
#include "infer/plan_internal.h"
#include "infer/sort.h"

/* --- reshapes and identities -------------------------------------------------------------- */

static int32_t resolve(const struct plan *p, int32_t tensor) {
    while (tensor >= 0 && p->tensors[tensor].same_as >= 0) tensor = p->tensors[tensor].same_as;
    return tensor;
}

/* The inputs lie with the caller, who hands in a tensor of one shape; a reshaped
 * one is a copy. So is an output of the model, which must be computed. */
static void alias_unary(struct plan *p, struct plan_step *s) {
    const bool input = p->tensors[s->inputs[0]].is_input, output = p->tensors[s->output].is_output;
    if (input && (output || s->op == OP_RESHAPE)) return;
    if (input)
        p->tensors[s->output].same_as = s->inputs[0];
    else
        p->tensors[s->output].storage = plan_storage(p, s->inputs[0], &p->tensors[s->output].shift);
    s->gone = true;
}

static bool only_renames(const struct plan *p, const struct plan_step *s) {
    if (s->algorithm == ALG_REORDER) return false;
    if (p->tensors[s->inputs[0]].data) return false; /* a constant that is an output of the model */
    return s->op == OP_RESHAPE || s->op == OP_IDENTITY || (s->op == OP_CONCAT && s->n_inputs == 1);
}

static void alias_unaries(struct plan *p) {
    for (int32_t i = 0; i < p->n_steps; i++) {
        struct plan_step *s = &p->steps[i];
        if (s->gone) continue;
        for (int32_t k = 0; k < s->n_inputs; k++) s->inputs[k] = resolve(p, s->inputs[k]);
        s->residual = resolve(p, s->residual);
        if (only_renames(p, s)) alias_unary(p, s);
    }
}

/* --- concatenations -------------------------------------------------------------------------- */

static bool is_in_arena(const struct plan *p, int32_t tensor) {
    return !p->tensors[tensor].data && !p->tensors[tensor].is_input;
}

/* Each input is one piece of memory of the output where no axis before is left to repeat. */
static bool is_sliced(const struct plan *p, const struct plan_step *s) {
    return shape_product(&p->tensors[s->output].shape, 0, s->params.axis.axis) == 1;
}

/* Whether all inputs lie in a row in one storage, in which case the output is a view of it. */
static bool alias_row(struct plan *p, const struct plan_step *s) {
    if (p->tensors[s->output].storage != s->output) return false;
    uint64_t first = 0, next = 0;
    int32_t storage = -1;
    for (int32_t i = 0; i < s->n_inputs; i++) {
        if (!is_in_arena(p, s->inputs[i])) return false;
        uint64_t shift;
        const int32_t where = plan_storage(p, s->inputs[i], &shift);
        if (i == 0) {
            storage = where;
            first = next = shift;
        }
        if (where != storage || shift != next) return false;
        next += p->tensors[s->inputs[i]].bytes;
    }
    p->tensors[s->output].storage = storage;
    p->tensors[s->output].shift = first;
    return true;
}

/* Puts `tensor` to `shift` in the storage of `output`; false where it cannot lie
 * there: one that lies in another slice or storage already is copied. */
static bool put_in_slice(struct plan *p, int32_t tensor, int32_t output, uint64_t shift) {
    if (!is_in_arena(p, tensor)) return false;
    uint64_t own_shift, base;
    const int32_t own = plan_storage(p, tensor, &own_shift), target = plan_storage(p, output, &base);
    if (own == target) return own_shift == base + shift;
    if (own_shift != 0 || p->tensors[own].bytes != p->tensors[tensor].bytes)
        return false; /* part of another storage */
    p->tensors[own].storage = target;
    p->tensors[own].shift = base + shift;
    return true;
}

static void alias_concat(struct plan *p, struct plan_step *s) {
    if (!is_sliced(p, s)) return;
    if (alias_row(p, s)) {
        s->gone = true;
        return;
    }
    uint64_t shift = 0;
    bool all = true;
    for (int32_t i = 0; i < s->n_inputs; i++) {
        all &= put_in_slice(p, s->inputs[i], s->output, shift);
        shift += p->tensors[s->inputs[i]].bytes;
    }
    s->gone = all; /* else the kernel copies what does not lie in its slice */
}

struct candidate {
    int32_t step;
    uint64_t bytes;
};

static int larger_then_later_first(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->step < y->step ? 1 : -1;
}

/* The largest first: it takes its inputs into its own memory, and what lies
 * inside of it (nested concatenations, prefixes) finds its place there. */
static int alias_concats(struct plan *p, struct err *e) {
    struct candidate *c = bump_array(&p->bump, (size_t)p->n_steps, sizeof *c);
    if (!c) return plan_out_of_memory(e);
    size_t n = 0;
    for (int32_t i = 0; i < p->n_steps; i++)
        if (!p->steps[i].gone && p->steps[i].op == OP_CONCAT)
            c[n++] = (struct candidate){i, p->tensors[p->steps[i].output].bytes};
    sort_records(c, n, sizeof *c, larger_then_later_first);
    for (size_t i = 0; i < n; i++) alias_concat(p, &p->steps[c[i].step]);
    return 0;
}

int plan_alias(struct plan *p, struct err *e) {
    if (p->options.keep) return 0;
    if (p->options.reference) return 0;
    alias_unaries(p);
    return alias_concats(p, e);
}
