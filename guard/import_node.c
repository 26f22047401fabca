/* What operators use while they are imported: their attributes and inputs, and
 * emitting run-time nodes at both batch sizes. */
#include "guard/import_batch.h"
#include "guard/import_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- attributes --------------------------------------------------------------------- */

const struct onnx_attribute *import_attribute(const struct import_node *n, const char *name) {
    for (int32_t i = 0; i < n->onnx->n_attributes; i++)
        if (text_is(n->onnx->attributes[i].name, name)) return &n->onnx->attributes[i];
    return NULL;
}

int64_t import_int(const struct import_node *n, const char *name, int64_t absent) {
    const struct onnx_attribute *a = import_attribute(n, name);
    return a ? a->i : absent;
}

float import_float(const struct import_node *n, const char *name, float absent) {
    const struct onnx_attribute *a = import_attribute(n, name);
    return a ? a->f : absent;
}

struct text import_text(const struct import_node *n, const char *name, const char *absent) {
    const struct onnx_attribute *a = import_attribute(n, name);
    return a ? a->s : (struct text){absent, strlen(absent)};
}

int import_flag(const struct import_node *n, const char *name, int absent, int32_t *out) {
    const int64_t v = import_int(n, name, absent);
    if (v != 0 && v != 1)
        return err_set(n->e, ERR_FORMAT, "attribute '%s' is %lld; it must be 0 or 1", name, (long long)v);
    *out = (int32_t)v;
    return 0;
}

int import_ints(const struct import_node *n, const char *name, int64_t *out, int most) {
    const struct onnx_attribute *a = import_attribute(n, name);
    if (!a) return 0;
    struct wire w = a->ints;
    int count = 0;
    while (w.at != w.end) {
        uint64_t v;
        if (wire_take_varint(&w, &v) != WIRE_OK)
            return err_set(n->e, ERR_FORMAT, "attribute '%s' ends inside a number", name);
        if (count == most)
            return err_set(n->e, ERR_LIMIT, "attribute '%s' has more than %d values", name, most);
        out[count++] = (int64_t)v;
    }
    return count;
}

/* --- inputs ------------------------------------------------------------------------- */

struct operand *import_input(const struct import_node *n, int32_t i) {
    return i < n->n_in ? n->in[i] : NULL;
}

const struct shape *import_shape(const struct operand *o, int lane) {
    return o->kind == OPERAND_CONSTANT ? &o->constant[lane]->shape : &o->shape[lane];
}

static int not_constant(const struct import_node *n, const struct operand *o, const char *what) {
    return err_set(n->e, ERR_UNSUPPORTED,
                   "%s ('%.*s') is computed while the network runs; it must be a constant", what,
                   TEXT_ARGS(o->name));
}

int import_int_input(const struct import_node *n, const struct operand *o, int lane, int64_t *out, int most) {
    if (o->kind != OPERAND_CONSTANT) return not_constant(n, o, "a list of axes or sizes");
    const struct tensor *t = o->constant[lane];
    if (!t->i || t->shape.rank > 1)
        return err_set(n->e, ERR_FORMAT, "'%.*s' must be a list of integers", TEXT_ARGS(o->name));
    if (t->count > most)
        return err_set(n->e, ERR_LIMIT, "'%.*s' has more than %d values", TEXT_ARGS(o->name), most);
    if (t->count) memcpy(out, t->i, (size_t)t->count * sizeof *out);
    return (int)t->count;
}

int import_scalar_input(const struct import_node *n, const struct operand *o, const char *what, float *out) {
    if (o->kind != OPERAND_CONSTANT) return not_constant(n, o, what);
    const struct tensor *t = o->constant[0];
    if (t->count != 1 || t != o->constant[1])
        return err_set(n->e, ERR_UNSUPPORTED, "%s ('%.*s') must be one constant number", what,
                       TEXT_ARGS(o->name));
    *out = t->f ? t->f[0] : (float)t->i[0];
    return 0;
}

int import_index(const struct import_node *n, int64_t index, float *out) {
    *out = (float)index;
    if (index >= 0 && index <= 1 << 24) return 0;
    return err_set(n->e, ERR_LIMIT, "it picks element %lld; accepted are those up to %d", (long long)index,
                   1 << 24);
}

const struct tensor *import_weights(const struct import_node *n, int32_t i, const char *what) {
    const struct operand *o = import_input(n, i);
    if (o->kind != OPERAND_CONSTANT) {
        (void)not_constant(n, o, what);
        return NULL;
    }
    const struct tensor *t = o->constant[0];
    if (t->f && t == o->constant[1]) return t;
    (void)err_set(n->e, ERR_UNSUPPORTED, "%s ('%.*s') must be one constant float tensor", what,
                  TEXT_ARGS(o->name));
    return NULL;
}

struct tensor *import_tensor(const struct import_node *n, const char *name) {
    const struct onnx_attribute *a = import_attribute(n, name);
    struct onnx_tensor t;
    if (!a) {
        (void)err_set(n->e, ERR_FORMAT, "attribute '%s' is missing", name);
        return NULL;
    }
    struct tensor *out = NULL;
    if (!onnx_tensor_read(n->im->model, a->t, &t, n->e))
        out = tensor_load(&n->im->tensors, &t, &n->im->external, n->e);
    if (!out) (void)err_prefix(n->e, "attribute '%s'", name);
    return out;
}

int import_axis(int64_t given, int32_t rank, int32_t *axis, struct err *e) {
    if (given < -(int64_t)rank || given >= rank)
        return err_set(e, ERR_FORMAT, "axis %lld is none of the %d that there are", (long long)given, rank);
    *axis = (int32_t)(given < 0 ? given + rank : given);
    return 0;
}

int import_axes(const struct import_node *n, int32_t slot, int lane, int32_t rank, unsigned *set,
                bool *given) {
    int64_t axes[SHAPE_MAX_RANK];
    const struct operand *input = import_input(n, slot);
    *given = input || import_attribute(n, "axes");
    const int count = input ? import_int_input(n, input, lane, axes, SHAPE_MAX_RANK)
                            : import_ints(n, "axes", axes, SHAPE_MAX_RANK);
    *set = 0;
    for (int i = 0; i < count; i++) {
        int32_t axis = 0;
        if (import_axis(axes[i], rank, &axis, n->e)) return -1;
        if (*set & 1u << axis)
            return err_set(n->e, ERR_FORMAT, "axis %lld is given twice", (long long)axes[i]);
        *set |= 1u << axis;
    }
    return count < 0 ? -1 : 0;
}

int import_perm(const struct import_node *n, int32_t rank, int32_t perm[SHAPE_MAX_RANK]) {
    int64_t given[SHAPE_MAX_RANK];
    unsigned seen = 0;
    const int count = import_ints(n, "perm", given, SHAPE_MAX_RANK);
    if (count < 0) return -1;
    if (count && count != rank)
        return err_set(n->e, ERR_FORMAT, "perm has %d axes; its input has %d", count, rank);
    for (int32_t i = 0; i < rank; i++) {
        perm[i] = rank - 1 - i;
        if (count && import_axis(given[i], rank, &perm[i], n->e)) return -1;
        if (seen >> perm[i] & 1) return err_set(n->e, ERR_FORMAT, "perm has axis %d twice", perm[i]);
        seen |= 1u << perm[i];
    }
    return 0;
}

int32_t import_type(const struct operand *o) {
    return o->kind == OPERAND_CONSTANT ? o->constant[0]->type : o->type;
}

/* --- constants into the graph ---------------------------------------------------------- */

const char *import_c_name(struct text t, char *buf) {
    const size_t n = t.n < GRAPH_NAME ? t.n : GRAPH_NAME;
    memcpy(buf, t.p, n);
    buf[n] = 0;
    return buf;
}

static int check_finite(struct tensor *t, const struct operand *o, struct err *e) {
    const int64_t bad = tensor_first_bad(t);
    if (bad < 0) return 0;
    return err_set(
        e, ERR_VALUE, "constant '%.*s' holds %s at element %lld; every weight must be a finite number",
        TEXT_ARGS(t->name.n ? t->name : o->name), isnan(t->f[bad]) ? "NaN" : "infinity", (long long)bad);
}

/* A constant becomes a value of the graph when the first run-time node uses it. */
static int32_t constant_value(struct import_node *n, const struct operand *o) {
    struct tensor *t = o->constant[0];
    char name[GRAPH_NAME + 1];
    if (t->value >= 0) return t->value;
    if (!t->f)
        return err_set(n->e, ERR_UNSUPPORTED, "input '%.*s' is of type %s; networks run on floats only",
                       TEXT_ARGS(o->name), onnx_type_name(t->type));
    if (!shape_valid(&t->shape))
        return err_set(n->e, ERR_UNSUPPORTED, "constant '%.*s' has no elements", TEXT_ARGS(o->name));
    if (check_finite(t, o, n->e)) return -1;
    t->value = graph_add_constant(n->im->g, import_c_name(t->name.n ? t->name : o->name, name), &t->shape,
                                  t->f, t->source, n->e);
    if (t->value >= 0) n->im->g->values[t->value].writable = t->own;
    return t->value;
}

/* --- results ---------------------------------------------------------------------------- */

static int batch_value(const struct import_node *n, const struct operand *o, struct batch_value *v) {
    if (!o) {
        *v = (struct batch_value){.shape = {{.rank = -1}, {.rank = -1}}, .axis = -1, .outer = 1};
        return 0;
    }
    *v = (struct batch_value){
        .shape = {*import_shape(o, 0), *import_shape(o, n->lanes - 1)}, .axis = -1, .outer = 1};
    if (o->kind == OPERAND_CONSTANT)
        return import_batch_of_constant(o->constant[0], o->constant[1], &v->axis, n->e);
    v->axis = o->batch_axis;
    v->outer = o->batch_outer;
    return 0;
}

/* Both lanes' shapes and the batch axis of what `op` makes of these inputs. */
static int infer(struct import_node *n, enum op op, const union op_params p[2], struct operand *const *in,
                 int32_t n_in, struct batch_value *out) {
    struct batch_value values[OP_MAX_INPUTS];
    struct shape shapes[OP_MAX_INPUTS];
    *out = (struct batch_value){.axis = -1, .outer = 1};
    for (int32_t i = 0; i < n_in; i++)
        if (batch_value(n, in[i], &values[i])) return -1;
    for (int lane = 0; lane < n->lanes; lane++) {
        for (int32_t i = 0; i < n_in; i++) shapes[i] = values[i].shape[lane];
        if (!op_check(op, &p[lane], shapes, n_in, &out->shape[lane], n->e)) continue;
        return lane == 0
                   ? -1
                   : err_prefix(n->e, "at batch 2 (the model's batch is free, but fixed from here on; export "
                                      "it with a batch of 1, or free throughout)");
    }
    return n->lanes == 2 ? import_batch_follow(op, p, values, n_in, out, n->e) : 0;
}

static struct operand *result_operand(struct import_node *n, int32_t output) {
    const struct importer *im = n->im;
    if (output >= 0 && output < n->onnx->n_outputs) {
        const int32_t ref = im->refs[im->first_ref[n->index] + (size_t)n->onnx->n_inputs + (size_t)output];
        if (ref >= 0) return &im->operands[ref];
    }
    struct operand *o = bump_alloc(&n->im->memory, sizeof *o);
    if (o)
        *o = (struct operand){.name = {"", 0}, .initializer = -1, .definer = n->index};
    else
        (void)import_out_of_memory(n->e);
    return o;
}

/* Operators that become several nodes: the later ones and values are numbered. */
static void name_parts(const struct import_node *n, const struct operand *o, char *node, char *value,
                       size_t cap) {
    char whole[GRAPH_NAME + 1];
    const char *name = import_c_name(n->onnx->name, whole);
    if (n->emitted == 0 || !*name)
        (void)snprintf(node, cap, "%s", name);
    else
        (void)snprintf(node, cap, "%.200s#%d", name, n->emitted);
    if (o->name.n)
        (void)import_c_name(o->name, value);
    else
        (void)snprintf(value, cap, "%.*s#%d",
                       TEXT_ARGS(n->onnx->n_outputs ? n->onnx->outputs[0] : n->onnx->name), n->emitted);
}

/* What only moves or compares elements does so with truth and bytes too. */
static bool keeps_type(enum op op) {
    switch ((int)op) {
    case OP_RESHAPE:
    case OP_IDENTITY:
    case OP_CONCAT:
    case OP_TRANSPOSE:
    case OP_SLICE:
    case OP_EXPAND:
    case OP_PAD:
    case OP_GATHER:
    case OP_MAX_POOL:
    case OP_MIN:
    case OP_MAX:
    case OP_REDUCE_MAX:
    case OP_REDUCE_MIN: return true;
    default: return false;
    }
}

static int check_types(const struct import_node *n, enum op op, struct operand *const *in, int32_t n_in) {
    int32_t first = 0;
    for (int32_t i = 0; i < n_in && !n->any_type; i++) {
        if (!in[i] || in[i]->kind != OPERAND_RUNTIME) continue;
        const int32_t type = import_type(in[i]);
        if (tensor_type_is_float(type) && (!first || tensor_type_is_float(first))) {
            first = type;
        } else if (!keeps_type(op) || (first && first != type)) {
            return err_set(n->e, ERR_UNSUPPORTED,
                           "its input %d is %s while the network runs; floats are accepted there", i,
                           onnx_type_name(type));
        } else {
            first = type;
        }
    }
    return 0;
}

static int32_t result_type(const struct import_node *n, enum op op, struct operand *const *in) {
    if (n->gives) return n->gives;
    return keeps_type(op) && in[0]->kind == OPERAND_RUNTIME ? in[0]->type : ONNX_FLOAT;
}

struct operand *import_emit(struct import_node *n, int32_t output, enum op op, const union op_params *p0,
                            const union op_params *p1, struct operand *const *in, int32_t n_in) {
    static const union op_params none;
    const union op_params p[2] = {p0 ? *p0 : none, p1 ? *p1 : p0 ? *p0 : none};
    int32_t values[OP_MAX_INPUTS];
    char node_name[GRAPH_NAME + 1], value_name[GRAPH_NAME + 1];
    struct batch_value result;
    struct operand *o = result_operand(n, output);
    if (!o || check_types(n, op, in, n_in) || infer(n, op, p, in, n_in, &result)) return NULL;
    for (int32_t i = 0; i < n_in; i++) {
        values[i] = -1;
        if (!in[i]) continue;
        values[i] = in[i]->kind == OPERAND_CONSTANT ? constant_value(n, in[i]) : in[i]->value;
        if (values[i] < 0) return NULL;
    }
    name_parts(n, o, node_name, value_name, sizeof node_name);
    const int32_t node =
        graph_add_node(n->im->g, node_name, op, &p[0], values, n_in, value_name, n->index, n->e);
    if (node < 0) return NULL;
    n->emitted++;
    o->kind = OPERAND_RUNTIME;
    o->value = n->im->g->nodes[node].output;
    o->shape[0] = result.shape[0];
    o->shape[1] = result.shape[n->lanes - 1];
    o->batch_axis = result.axis;
    o->batch_outer = result.outer;
    o->type = result_type(n, op, in);
    return o;
}

static struct operand *new_operand(struct import_node *n, struct tensor *t) {
    struct operand *o = t ? bump_alloc(&n->im->memory, sizeof *o) : NULL;
    if (o)
        *o = (struct operand){.name = n->onnx->n_outputs ? n->onnx->outputs[0] : n->onnx->name,
                              .kind = OPERAND_CONSTANT,
                              .constant = {t, t},
                              .value = -1,
                              .batch_axis = -1,
                              .initializer = -1,
                              .definer = n->index};
    else if (t)
        (void)import_out_of_memory(n->e);
    return o;
}

struct operand *import_new_constant(struct import_node *n, const struct shape *s, float **data) {
    return new_operand(n, tensor_new(&n->im->tensors, ONNX_FLOAT, s, data, NULL, n->e));
}

struct tensor_memory *import_memory(const struct import_node *n) {
    return &n->im->tensors;
}

struct tensor *import_new_integers(struct import_node *n, const struct shape *s, int64_t **data) {
    return tensor_new(&n->im->tensors, ONNX_INT64, s, NULL, data, n->e);
}

struct operand *import_new_number(struct import_node *n, float number) {
    float *data;
    struct operand *o = import_new_constant(n, &(struct shape){0}, &data);
    if (o) *data = number;
    return o;
}

struct operand *import_as_float(struct import_node *n, struct operand *o) {
    float *data;
    if (o->kind != OPERAND_CONSTANT || !o->constant[0]->i) return o;
    struct tensor *lanes[2];
    for (int lane = 0; lane < 2; lane++) {
        const struct tensor *t = o->constant[lane];
        if (lane == 1 && t == o->constant[0]) {
            lanes[1] = lanes[0];
            break;
        }
        lanes[lane] = tensor_new(&n->im->tensors, ONNX_FLOAT, &t->shape, &data, NULL, n->e);
        if (!lanes[lane]) return NULL;
        for (int64_t i = 0; i < t->count; i++) data[i] = (float)t->i[i];
    }
    struct operand *out = new_operand(n, lanes[0]);
    if (out) out->constant[1] = lanes[1];
    return out;
}

struct operand *import_emit_one(struct import_node *n, int32_t output, enum op op, const union op_params *p,
                                struct operand *in) {
    return in ? import_emit(n, output, op, p, NULL, &in, 1) : NULL;
}

struct operand *import_emit_two(struct import_node *n, int32_t output, enum op op, struct operand *a,
                                struct operand *b) {
    struct operand *const in[2] = {a, b};
    return a && b ? import_emit(n, output, op, NULL, NULL, in, 2) : NULL;
}

struct operand *import_emit_reshape(struct import_node *n, int32_t output, struct operand *in,
                                    const struct shape s[2]) {
    union op_params p[2] = {0};
    if (!in) return NULL;
    for (int lane = 0; lane < n->lanes; lane++) p[lane].reshape.target = s[lane];
    return import_emit(n, output, OP_RESHAPE, &p[0], n->lanes == 2 ? &p[1] : NULL, &in, 1);
}

int import_emit_simple(struct import_node *n, enum op op, const union op_params *p, int32_t n_in) {
    struct operand *in[OP_MAX_INPUTS];
    for (int32_t i = 0; i < n_in; i++) in[i] = import_input(n, i);
    return import_emit(n, 0, op, p, NULL, in, n_in) ? 0 : -1;
}
