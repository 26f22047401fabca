/* Checks the steps of an image: each by its operator's own rule, and all of them
 * for what flows between them.
 *
 * A step may read only what an earlier step of the same run has written, the
 * model's inputs, and constants. Arenas are shared by requests of all clients,
 * so an image that reads stale bytes could hand one client's data to another. */
#include "infer/algorithm.h"
#include "infer/image_internal.h"
#include "infer/layout.h"

#include <stdlib.h>
#include <string.h>

/* --- which bytes of the slab have been written ------------------------------------------ */

struct range {
    uint64_t from, to;
};

struct written { /* sorted, disjoint, not touching */
    struct range *ranges;
    size_t n;
};

/* The first range that ends at or after `offset`. */
static size_t find_range(const struct written *w, uint64_t offset) {
    size_t low = 0, high = w->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (w->ranges[middle].to < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Needs room for one range more than there are. */
static void add_written(struct written *w, uint64_t from, uint64_t to) {
    const size_t first = find_range(w, from);
    size_t last = first; /* [first, last) merge with the new one */
    for (; last < w->n && w->ranges[last].from <= to; last++) {
        if (w->ranges[last].from < from) from = w->ranges[last].from;
        if (w->ranges[last].to > to) to = w->ranges[last].to;
    }
    memmove(&w->ranges[first + 1], &w->ranges[last], (w->n - last) * sizeof *w->ranges);
    w->ranges[first] = (struct range){from, to};
    w->n = w->n - (last - first) + 1;
}

static bool is_written(const struct written *w, uint64_t from, uint64_t to) {
    const size_t i = find_range(w, to);
    return i < w->n && w->ranges[i].from <= from;
}

/* --- one step ----------------------------------------------------------------------------- */

struct step_check {
    const struct image_view *v;
    const struct image_step *s;
    const struct image_tensor *in[OP_MAX_INPUTS]; /* NULL: absent */
    struct shape shapes[OP_MAX_INPUTS];
    const struct image_tensor *out, *residual;
};

static int resolve_operands(struct step_check *c, struct err *e) {
    const struct image_header *h = c->v->h;
    for (uint32_t i = 0; i < c->s->n_inputs; i++) {
        const uint32_t t = c->v->operands[c->s->first_operand + i];
        if (t != IMAGE_NO_TENSOR && t >= h->n_tensors)
            return err_set(e, ERR_FORMAT, "input %u is tensor %u of %u", i, t, h->n_tensors);
        c->in[i] = t == IMAGE_NO_TENSOR ? NULL : &c->v->tensors[t];
        c->shapes[i] = c->in[i] ? c->in[i]->shape : (struct shape){.rank = -1};
    }
    if (c->s->output >= h->n_tensors)
        return err_set(e, ERR_FORMAT, "its output is tensor %u of %u", c->s->output, h->n_tensors);
    c->out = &c->v->tensors[c->s->output];
    if (c->out->place != PLACE_ARENA) return err_set(e, ERR_FORMAT, "its output is not in the arena");
    if (c->s->residual != IMAGE_NO_TENSOR && c->s->residual >= h->n_tensors)
        return err_set(e, ERR_FORMAT, "its residual is tensor %u of %u", c->s->residual, h->n_tensors);
    c->residual = c->s->residual == IMAGE_NO_TENSOR ? NULL : &c->v->tensors[c->s->residual];
    return 0;
}

static int check_layouts(const struct step_check *c, struct err *e) {
    uint32_t layouts[OP_MAX_INPUTS];
    for (uint32_t i = 0; i < c->s->n_inputs; i++) layouts[i] = c->in[i] ? c->in[i]->layout : LAYOUT_PLAIN;
    if (!layout_fits(c->s->algorithm, (enum op)c->s->op, &c->s->params, c->shapes, &c->out->shape,
                     &(struct layouts){layouts, (int)c->s->n_inputs, c->out->layout}))
        return err_set(e, ERR_FORMAT, "its tensors do not lie as its kernel wants them");
    if (c->residual && c->residual->layout != c->out->layout)
        return err_set(e, ERR_FORMAT, "its residual lies otherwise than its output");
    return 0;
}

static int check_operator(const struct step_check *c, struct err *e) {
    const struct image_step *s = c->s;
    const enum op op = (enum op)s->op;
    const size_t params = op_params_bytes(op);
    struct shape out;
    if (!image_all_zero(s->params.raw + params, sizeof s->params - params) ||
        !image_all_zero(s->reserved, sizeof s->reserved))
        return err_set(e, ERR_FORMAT, "reserved fields are not zero");
    if (op == OP_BATCH_NORM && s->n_inputs != 3)
        return err_set(e, ERR_FORMAT, "its mean and variance are not worked in");
    if (op_check(op, &s->params, c->shapes, (int)s->n_inputs, &out, e)) return -1;
    if (!shape_equal(&out, &c->out->shape))
        return err_set(e, ERR_FORMAT, "its output has another shape than its tensor");
    if (!algorithm_fits(s->algorithm, op, &s->params, c->shapes, (int)s->n_inputs, &out))
        return err_set(e, ERR_FORMAT, "algorithm %u (%s) does not fit", s->algorithm,
                       algorithm_name(s->algorithm));
    if (s->algorithm == ALG_CONV_DIRECT_BF16 && c->v->h->isa != ISA_AVX512_BF16)
        return err_set(e, ERR_FORMAT, "algorithm %u (%s) in an image that is compiled for %s", s->algorithm,
                       algorithm_name(s->algorithm), image_isa_name(c->v->h->isa));
    if (check_layouts(c, e)) return -1;
    if (s->multiply_adds != algorithm_multiply_adds(op, &s->params, c->shapes, (int)s->n_inputs, &out))
        return err_set(e, ERR_FORMAT, "%llu is not its number of multiply-adds",
                       (unsigned long long)s->multiply_adds);
    return 0;
}

/* A function as activation: one that there is, with parameters that it takes. */
static int check_function(const struct step_check *c, struct err *e) {
    const struct image_step *s = c->s;
    union op_params p = {.function = s->act_params};
    struct shape out;
    if (s->activation != ACT_FUNCTION)
        return s->act_op == 0 && image_all_zero((const uint8_t *)&s->act_params, sizeof s->act_params)
                   ? 0
                   : err_set(e, ERR_FORMAT, "a function is given that its activation is not");
    if (s->act_op < OP_FUNCTION_FIRST || s->act_op > OP_FUNCTION_LAST)
        return err_set(e, ERR_FORMAT, "its activation is operator %u, which is no function", s->act_op);
    return op_check((enum op)s->act_op, &p, &c->out->shape, 1, &out, e);
}

static int check_activation(const struct step_check *c, struct err *e) {
    const struct image_step *s = c->s;
    if (s->activation >= ACT_COUNT)
        return err_set(e, ERR_FORMAT, "activation %u does not exist", s->activation);
    if (s->activation != ACT_NONE && !algorithm_takes_activation((enum op)s->op))
        return err_set(e, ERR_FORMAT, "this operator takes no activation");
    if (s->activation == ACT_CLIP ? !(s->act_min <= s->act_max) : s->act_min != 0 || s->act_max != 0)
        return err_set(e, ERR_VALUE, "bounds %g and %g of its activation", (double)s->act_min,
                       (double)s->act_max);
    if (check_function(c, e)) return -1;
    if (!c->residual) return 0;
    if (s->op != OP_CONV) return err_set(e, ERR_FORMAT, "this operator takes no residual");
    if (!shape_equal(&c->residual->shape, &c->out->shape))
        return err_set(e, ERR_FORMAT, "its residual has another shape than its output");
    return 0;
}

/* A weight lies as the algorithm wants it, everything else plainly; so a constant
 * that two steps understand differently is refused at one of them. */
static int check_bytes(const struct step_check *c, const struct image_tensor *t, uint32_t slot,
                       struct err *e) {
    const enum op op = (enum op)c->s->op;
    const bool weight =
        slot == 1 && (op == OP_CONV || op == OP_GEMM || op == OP_MATMUL) && t->place == PLACE_CONSTANT;
    const uint64_t want = weight ? algorithm_weight_bytes(c->s->algorithm, op, &c->s->params, &t->shape)
                                 : layout_bytes(t->layout, &t->shape);
    if (t->bytes != want)
        return err_set(e, ERR_FORMAT, "input %u has %llu bytes where %llu are read", slot,
                       (unsigned long long)t->bytes, (unsigned long long)want);
    if (slot == 1 && op == OP_CONV && c->s->algorithm != ALG_CONV_REFERENCE && t->place != PLACE_CONSTANT)
        return err_set(e, ERR_FORMAT, "its weight is not a constant");
    return 0;
}

/* --- what it reads and writes ---------------------------------------------------------------- */

static bool overlap(const struct image_tensor *a, const struct image_tensor *b) {
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* What a step writes: its output, but of a concatenation only the slices whose inputs
 * were not computed there already. The others may even be copied from. */
static bool writes_into(const struct step_check *c, const struct image_tensor *t) {
    if (!overlap(t, c->out)) return false;
    if (c->s->op != OP_CONCAT || shape_product(&c->out->shape, 0, c->s->params.axis.axis) != 1) return true;
    uint64_t slice = c->out->offset;
    for (uint32_t i = 0; i < c->s->n_inputs; slice += c->in[i++]->bytes) {
        const bool in_place = c->in[i]->place == PLACE_ARENA && c->in[i]->offset == slice;
        if (!in_place && t->offset < slice + c->in[i]->bytes && slice < t->offset + t->bytes) return true;
    }
    return false;
}

/* Kernels take their operands as not overlapping (`restrict`). An image that
 * breaks this could only get wrong numbers out of it, but has no business to. */
static int check_operand(const struct step_check *c, const struct written *w, const struct image_tensor *t,
                         const char *what, uint32_t slot, struct err *e) {
    if (t->place == PLACE_CONSTANT) return 0;
    if (t->place == PLACE_ARENA && !is_written(w, t->offset, t->offset + t->bytes))
        return err_set(e, ERR_FORMAT, "%s %u is read before it is computed", what, slot);
    if (writes_into(c, t)) return err_set(e, ERR_FORMAT, "%s %u overlaps its output", what, slot);
    return 0;
}

static int check_flow(const struct step_check *c, struct written *w, struct err *e) {
    for (uint32_t i = 0; i < c->s->n_inputs; i++)
        if (c->in[i] && check_bytes(c, c->in[i], i, e)) return -1;
    for (uint32_t i = 0; i < c->s->n_inputs; i++)
        if (c->in[i] && check_operand(c, w, c->in[i], "input", i, e)) return -1;
    if (c->residual) {
        if (c->residual->bytes != c->out->bytes)
            return err_set(e, ERR_FORMAT, "its residual has other bytes than its output");
        if (check_operand(c, w, c->residual, "residual", 0, e)) return -1;
    }
    add_written(w, c->out->offset, c->out->offset + c->out->bytes);
    return 0;
}

/* --- all steps ---------------------------------------------------------------------------------- */

uint64_t image_step_work(enum op op, const union op_params *p, const struct shape *in, int n_in,
                         const struct shape *out) {
    const uint64_t results = (uint64_t)shape_elements(out);
    uint64_t work = results, touched = results;
    if (op == OP_MAX_POOL || op == OP_AVERAGE_POOL)
        for (int a = 0; a < OP_SPATIAL; a++) /* 2^31 results, at most 2^15 taps along an axis */
            if (__builtin_mul_overflow(work, (uint64_t)p->window.kernel[a], &work)) return UINT64_MAX;
    if (op == OP_LRN && __builtin_mul_overflow(work, (uint64_t)p->lrn.size, &work)) return UINT64_MAX;
    for (int i = 0; i < n_in; i++)
        if (in[i].rank >= 0) touched += (uint64_t)shape_elements(&in[i]);
    if (work < touched) work = touched;
    const uint64_t multiply_adds = algorithm_multiply_adds(op, p, in, n_in, out);
    return work < multiply_adds ? multiply_adds : work;
}

struct totals {
    uint64_t operands, work, multiply_adds;
    size_t scratch;
};

/* After this, the kernel of the step may run. */
static int check_step(struct step_check *c, struct written *w, struct totals *sum, struct err *e) {
    const struct image_step *s = c->s;
    if (s->op >= OP_COUNT) return err_set(e, ERR_FORMAT, "operator %u does not exist", s->op);
    if (s->n_inputs > OP_MAX_INPUTS || s->first_operand != sum->operands ||
        s->n_inputs > c->v->h->n_operands - sum->operands)
        return err_set(e, ERR_FORMAT, "operands %u to +%u are not the next ones", s->first_operand,
                       s->n_inputs);
    sum->operands += s->n_inputs;
    if (resolve_operands(c, e) || check_operator(c, e) || check_activation(c, e) || check_flow(c, w, e))
        return -1;

    const enum op op = (enum op)s->op;
    const uint64_t work = image_step_work(op, &s->params, c->shapes, (int)s->n_inputs, &c->out->shape);
    if (work > IMAGE_MAX_WORK - sum->work)
        return err_set(e, ERR_LIMIT, "an item would take more than 2^38 operations");
    sum->work += work;
    sum->multiply_adds += s->multiply_adds;
    const size_t scratch =
        algorithm_scratch_bytes(s->algorithm, op, &s->params, c->shapes, (int)s->n_inputs, &c->out->shape);
    if (scratch > sum->scratch) sum->scratch = scratch;
    return 0;
}

static int check_totals(const struct image_view *v, const struct totals *sum, const struct written *w,
                        struct err *e) {
    if (sum->operands != v->h->n_operands)
        return err_set(e, ERR_FORMAT, "operands are left over behind the last step's");
    if (sum->multiply_adds != v->h->multiply_adds)
        return err_set(e, ERR_FORMAT, "%llu is not the sum of the steps' multiply-adds",
                       (unsigned long long)v->h->multiply_adds);
    for (uint32_t i = 0; i < v->h->n_outputs; i++) {
        const struct image_tensor *t = &v->tensors[v->h->outputs[i]];
        if (!is_written(w, t->offset, t->offset + t->bytes))
            return err_set(e, ERR_FORMAT, "output %u (%s) is never computed", i, image_find_name(v, t->name));
    }
    return 0;
}

int image_check_steps(const struct image_view *v, size_t *scratch_bytes, struct err *e) {
    struct written w = {.ranges = malloc(((size_t)v->h->n_steps + 1) * sizeof *w.ranges)};
    if (!w.ranges) return err_set(e, ERR_LIMIT, "out of memory");
    struct totals sum = {0};
    int rc = 0;
    for (uint32_t i = 0; i < v->h->n_steps && !rc; i++) {
        struct step_check c = {.v = v, .s = &v->steps[i]};
        const char *name = image_find_name(v, c.s->name);
        if (!name) {
            rc = err_set(e, ERR_FORMAT, "the name of step %u lies outside the strings or is too long", i);
        } else {
            rc = check_step(&c, &w, &sum, e);
            if (rc) (void)err_prefix(e, "step %u (%s %s)", i, op_name((enum op)c.s->op), name);
        }
    }
    if (!rc) rc = check_totals(v, &sum, &w, e);
    free(w.ranges);
    *scratch_bytes = sum.scratch;
    return rc;
}
