/* Operators that move single elements by constant indices while the network runs: GatherElements,
 * GatherND, ScatterElements, ScatterND, Trilu; and CumSum and OneHot on computed inputs.
 *
 * Where each element comes from is found by letting the import-time evaluator move
 * their numbers in place of the elements; what is left at run time is one Gather:
 *
 *   data [, updates] -> flat, one behind the other -> Gather by number -> result
 *
 * A flat tensor knows no batch, so these need the batch to be fixed. */
#include "guard/evaluate.h"

#include <string.h>

#define MAX_LAYERS 32 /* of updates to one element */

/* The numbers 0, 1, … under a shape, for the evaluator to move about. */
static struct tensor *number_elements(struct import_node *n, const struct shape *s, int64_t first) {
    int64_t *i;
    struct tensor *t = import_new_integers(n, s, &i);
    for (int64_t k = 0; t && k < t->count; k++) i[k] = first + k;
    return t;
}

static const struct tensor *constant_integers(const struct import_node *n, int32_t slot, const char *what) {
    const struct operand *o = n->in[slot];
    if (o->kind == OPERAND_CONSTANT && o->constant[0] == o->constant[1] && o->constant[0]->i)
        return o->constant[0];
    (void)err_set(n->e, ERR_UNSUPPORTED,
                  "its %s ('%.*s') must be constant integers, the same for every batch size", what,
                  TEXT_ARGS(o->name));
    return NULL;
}

static int need_one_batch(const struct import_node *n) {
    if (n->lanes == 1) return 0;
    return err_set(n->e, ERR_UNSUPPORTED,
                   "with a free batch it is supported on constants only; export the model with a batch of 1");
}

static struct operand *flatten(struct import_node *n, struct operand *in) {
    const struct shape *s = import_shape(in, 0);
    struct shape flat[2];
    if (s->rank == 1) return in;
    flat[0] = flat[1] = (struct shape){.rank = 1, .dim = {shape_elements(s)}};
    return import_emit_reshape(n, -1, in, flat);
}

/* An operand with these elements of `flat`, in this shape. */
static struct operand *gather(struct import_node *n, int32_t output, struct operand *flat,
                              const struct shape *s, const int64_t *from) {
    float *f;
    struct operand *const in[2] = {flat, import_new_constant(n, s, &f)};
    if (!flat || !in[1]) return NULL;
    for (int64_t k = 0; k < shape_elements(s); k++)
        if (import_index(n, from[k], &f[k])) return NULL;
    return import_emit(n, output, OP_GATHER, &(union op_params){.axis = {.axis = 0}}, NULL, in, 2);
}

/* Where the elements of the result are in the data: `evaluate` on their numbers. */
static const struct tensor *find_sources(struct import_node *n, int (*evaluate)(struct evaluation *v),
                                         int64_t first) {
    struct evaluation v = {.node = n, .n_in = n->n_in, .n_out = 1, .memory = import_memory(n), .e = n->e};
    v.in[0] = number_elements(n, import_shape(n->in[0], 0), first);
    for (int32_t i = 1; i < n->n_in; i++) v.in[i] = n->in[i] ? n->in[i]->constant[0] : NULL;
    return v.in[0] && evaluate(&v) == 0 ? v.out[0] : NULL;
}

static int emit_gathered(struct import_node *n, int (*evaluate)(struct evaluation *v)) {
    if (need_one_batch(n) || !constant_integers(n, 1, "indices")) return -1;
    const struct tensor *from = find_sources(n, evaluate, 0);
    if (!from) return -1;
    if (from->count < 1) return err_set(n->e, ERR_UNSUPPORTED, "its result is empty, which cannot run");
    return gather(n, 0, flatten(n, n->in[0]), &from->shape, from->i) ? 0 : -1;
}
int import_emit_gather_elements(struct import_node *n) {
    return emit_gathered(n, evaluate_gather_elements);
}
int import_emit_gather_nd(struct import_node *n) {
    return emit_gathered(n, evaluate_gather_nd);
}

/* Element 0 of what is gathered from is the zero that the other triangle becomes. */
int import_emit_trilu(struct import_node *n) {
    if (need_one_batch(n) || (n->n_in > 1 && !constant_integers(n, 1, "diagonal"))) return -1;
    const struct tensor *from = find_sources(n, evaluate_trilu, 1);
    float *zero;
    struct operand *const in[2] = {import_new_constant(n, &(struct shape){.rank = 1, .dim = {1}}, &zero),
                                   flatten(n, n->in[0])};
    if (!from || !in[0] || !in[1]) return -1;
    *zero = 0;
    struct operand *all = import_emit(n, -1, OP_CONCAT, &(union op_params){.axis = {.axis = 0}}, NULL, in, 2);
    return gather(n, 0, all, &from->shape, from->i) ? 0 : -1;
}

/* --- scattering ---------------------------------------------------------------------------- */

static int read_reduction(const struct import_node *n, enum op *op, float *neutral) {
    static const struct {
        const char *name;
        enum op op;
        float neutral;
    } known[] = {{"none", OP_IDENTITY, 0},
                 {"add", OP_ADD, 0},
                 {"mul", OP_MUL, 1},
                 {"max", OP_MAX, 0},
                 {"min", OP_MIN, 0}};
    const struct text how = import_text(n, "reduction", "none");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!text_is(how, known[i].name)) continue;
        *op = known[i].op;
        *neutral = known[i].neutral;
        return 0;
    }
    return err_set(n->e, ERR_UNSUPPORTED, "reduction is '%.*s'; accepted are none, add, mul, max and min",
                   TEXT_ARGS(how));
}

/* Takes, for each element of the data, the next update that is for it: from[] is its number behind
 * the `before` others, else `rest`, or its own where that is negative. Updates that were taken are -1 in
 * `to`. False: none was left. */
static bool take_layer(int64_t *to, int64_t n_to, int64_t before, int64_t rest, int64_t *from, int64_t n) {
    bool any = false;
    for (int64_t k = 0; k < n; k++) from[k] = rest < 0 ? k : rest;
    for (int64_t u = 0; u < n_to; u++) {
        if (to[u] < 0 || from[to[u]] >= before) continue;
        from[to[u]] = before + u;
        to[u] = -1;
        any = true;
    }
    return any;
}

/* Data and updates in a row, or, for sums and products, what changes nothing and the updates. */
static struct operand *gather_from(struct import_node *n, struct operand *first, struct operand *updates) {
    struct operand *const in[2] = {first, updates};
    if (!first || !updates) return NULL;
    return import_emit(n, -1, OP_CONCAT, &(union op_params){.axis = {.axis = 0}}, NULL, in, 2);
}

/* Each layer holds one update of an element at the most, so that they are combined one after the other. */
static int emit_layers(struct import_node *n, enum op op, float neutral, int64_t *to, int64_t n_to) {
    const struct shape *s = import_shape(n->in[0], 0);
    const int64_t count = shape_elements(s);
    const bool own = op == OP_MAX || op == OP_MIN; /* with itself: for these that changes nothing */
    float *f;
    int64_t *from;
    struct operand *x = flatten(n, n->in[0]), *updates = flatten(n, n->in[2]);
    struct operand *rest = own ? x : import_new_constant(n, &(struct shape){.rank = 1, .dim = {1}}, &f);
    const struct shape flat = {.rank = 1, .dim = {count}};
    if (!x || !updates || !rest || !import_new_integers(n, &flat, &from)) return -1;
    if (!own) *f = neutral;
    struct operand *all = gather_from(n, rest, updates);
    for (int layer = 0; all && take_layer(to, n_to, own ? count : 1, own ? -1 : 0, from, count); layer++) {
        if (layer == MAX_LAYERS)
            return err_set(n->e, ERR_LIMIT, "more than %d updates of one element", MAX_LAYERS);
        x = import_emit_two(n, -1, op, x, gather(n, -1, all, &flat, from));
        if (!x) return -1;
    }
    const struct shape shapes[2] = {*s, *s};
    return all && import_emit_reshape(n, 0, x, shapes) ? 0 : -1;
}

/* Without a reduction the last update of an element counts, as in the evaluator. */
static int emit_last(struct import_node *n, const int64_t *to, int64_t n_to) {
    const struct shape *s = import_shape(n->in[0], 0);
    const struct tensor *numbers = number_elements(n, s, 0);
    int64_t *from;
    const struct tensor *t = import_new_integers(n, s, &from);
    if (!numbers || !t) return -1;
    memcpy(from, numbers->i, (size_t)t->count * sizeof *from);
    for (int64_t u = 0; u < n_to; u++) from[to[u]] = t->count + u;
    return gather(n, 0, gather_from(n, flatten(n, n->in[0]), flatten(n, n->in[2])), s, from) ? 0 : -1;
}

static int emit_scattered(struct import_node *n, int (*find)(struct evaluation *v)) {
    enum op op = OP_IDENTITY;
    float neutral = 0;
    int64_t *to;
    const struct shape *updates = import_shape(n->in[2], 0);
    if (need_one_batch(n) || read_reduction(n, &op, &neutral) || !constant_integers(n, 1, "indices"))
        return -1;
    n->n_in = 2; /* of the operator that gathers by the same indices */
    const struct tensor *where = find_sources(n, find, 0);
    n->n_in = 3;
    if (!where) return -1;
    if (!shape_equal(&where->shape, updates) || where->count < 1)
        return err_set(n->e, ERR_FORMAT, "its updates do not go with its indices");
    if (!tensor_type_is_float(import_type(n->in[0])) || !tensor_type_is_float(import_type(n->in[2])))
        return err_set(n->e, ERR_UNSUPPORTED, "it puts %s into %s; floats are accepted",
                       onnx_type_name(import_type(n->in[2])), onnx_type_name(import_type(n->in[0])));
    if (!import_new_integers(n, &where->shape, &to)) return -1;
    memcpy(to, where->i, (size_t)where->count * sizeof *to);
    return op == OP_IDENTITY ? emit_last(n, to, where->count) : emit_layers(n, op, neutral, to, where->count);
}
int import_emit_scatter_elements(struct import_node *n) {
    return emit_scattered(n, evaluate_gather_elements);
}
int import_emit_scatter_nd(struct import_node *n) {
    return emit_scattered(n, evaluate_gather_nd);
}

/* --- CumSum ----------------------------------------------------------------------------------- */

/* `in` moved by `by` elements along the axis, zeros behind it. */
static struct operand *shift(struct import_node *n, struct operand *in, int32_t axis, int64_t by, bool down) {
    union op_params cut[2] = {0}, pad[2] = {0};
    for (int lane = 0; in && lane < n->lanes; lane++) {
        const struct shape *s = import_shape(in, lane);
        for (int32_t i = 0; i < s->rank; i++) {
            cut[lane].slice.step[i] = 1;
            cut[lane].slice.count[i] = (int32_t)s->dim[i];
        }
        cut[lane].slice.start[axis] = down ? (int32_t)by : 0;
        (down ? pad[lane].pad.end : pad[lane].pad.begin)[axis] = (int32_t)by;
    }
    const bool two = n->lanes == 2;
    struct operand *longer = in ? import_emit(n, -1, OP_PAD, &pad[0], two ? &pad[1] : NULL, &in, 1) : NULL;
    return longer ? import_emit(n, -1, OP_SLICE, &cut[0], two ? &cut[1] : NULL, &longer, 1) : NULL;
}

/* Sums of 2, 4, 8 … neighbours: x += x moved by 1, by 2, by 4 … */
int import_emit_cum_sum(struct import_node *n) {
    const struct shape *s = import_shape(n->in[0], 0);
    const struct tensor *given = constant_integers(n, 1, "axis");
    int32_t axis, exclusive, reverse;
    if (!given) return -1;
    if (given->count != 1) return err_set(n->e, ERR_FORMAT, "its axis must be one number");
    if (import_axis(given->i[0], s->rank, &axis, n->e) || import_flag(n, "exclusive", 0, &exclusive) ||
        import_flag(n, "reverse", 0, &reverse))
        return -1;
    const int64_t length = s->dim[axis];
    if (n->lanes == 2 && length != import_shape(n->in[0], 1)->dim[axis])
        return err_set(n->e, ERR_UNSUPPORTED,
                       "it sums over the images of a batch. clpd runs each image by itself; export the model "
                       "with a fixed batch of 1");
    if (length > OP_MAX_PAD)
        return err_set(n->e, ERR_LIMIT, "%lld elements along its axis; accepted are 1 to %d",
                       (long long)length, OP_MAX_PAD);
    struct operand *x = exclusive ? shift(n, n->in[0], axis, 1, reverse) : n->in[0];
    for (int64_t by = 1; by < length && x; by *= 2)
        x = import_emit_two(n, -1, OP_ADD, x, shift(n, x, axis, by, reverse));
    return import_emit_one(n, 0, OP_IDENTITY, NULL, x) ? 0 : -1;
}

/* --- OneHot ------------------------------------------------------------------------------------- */

/* The whole part: sign(x) * floor(|x|). */
static struct operand *truncate(struct import_node *n, struct operand *x) {
    struct operand *size = import_emit_one(n, -1, OP_FLOOR, NULL, import_emit_one(n, -1, OP_ABS, NULL, x));
    return import_emit_two(n, -1, OP_MUL, import_emit_one(n, -1, OP_SIGN, NULL, x), size);
}

/* An index k is class k, or class k + depth where it is negative. */
int import_emit_one_hot(struct import_node *n) {
    struct operand *in = n->in[0], *choices = import_as_float(n, n->in[2]);
    struct shape s[2], classes = {.rank = import_shape(in, 0)->rank + 1};
    float depth, *up, *down, *on, *off;
    int32_t axis;
    if (!choices || import_scalar_input(n, n->in[1], "the depth", &depth)) return -1;
    if (choices->kind != OPERAND_CONSTANT || choices->constant[0]->count != 2 || in->kind == OPERAND_CONSTANT)
        return err_set(n->e, ERR_UNSUPPORTED, "its values must be two constants");
    if (!(depth >= 1 && depth <= OP_MAX_WINDOW) || classes.rank > SHAPE_MAX_RANK)
        return err_set(n->e, ERR_LIMIT, "its depth is %g; accepted are 1 to %d", (double)depth,
                       OP_MAX_WINDOW);
    if (import_axis(import_int(n, "axis", -1), classes.rank, &axis, n->e)) return -1;
    for (int lane = 0; lane < n->lanes; lane++) {
        s[lane] = (struct shape){.rank = classes.rank};
        for (int32_t d = 0, from = 0; d < classes.rank; d++)
            s[lane].dim[d] = d == axis ? 1 : import_shape(in, lane)->dim[from++];
    }
    for (int32_t d = 0; d < classes.rank; d++) classes.dim[d] = d == axis ? (int64_t)depth : 1;
    struct operand *const numbers[2] = {import_new_constant(n, &classes, &up),
                                        import_new_constant(n, &classes, &down)},
                          *const values[2] = {import_new_constant(n, &(struct shape){0}, &on),
                                              import_new_constant(n, &(struct shape){0}, &off)};
    if (!numbers[0] || !numbers[1] || !values[0] || !values[1]) return -1;
    for (int64_t k = 0; k < (int64_t)depth; k++) {
        up[k] = (float)k;
        down[k] = (float)k - depth;
    }
    *off = choices->constant[0]->f[0];
    *on = choices->constant[0]->f[1];
    struct operand *index = import_emit_reshape(n, -1, truncate(n, in), s);
    struct operand *const where[3] = {import_emit_two(n, -1, OP_MAX,
                                                      import_emit_two(n, -1, OP_EQUAL, index, numbers[0]),
                                                      import_emit_two(n, -1, OP_EQUAL, index, numbers[1])),
                                      values[0], values[1]};
    return where[0] && import_emit(n, 0, OP_WHERE, NULL, NULL, where, 3) ? 0 : -1;
}
