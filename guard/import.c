/* From ONNX bytes to a graph.
 *
 *   check versions -> attempt:
 *     define every name -> resolve every use -> mark what the outputs need
 *       -> inputs -> nodes in order, each evaluated or emitted -> outputs
 *       -> what was spelled out is put together (guard/import_fuse.c)
 *
 * A batch fixed at K > 1 is attempted twice: as if it were free, and where that
 * is refused as one item of K images. */
#include "guard/import.h"

#include "guard/import_fuse.h"
#include "guard/import_private.h"

#include <stdlib.h>
#include <string.h>

/* What evaluated constants may take beyond what the file itself can justify:
 * the classic nets of the ONNX tests make up to 575 MB of weights from ConstantOfShape. */
#ifndef EVALUATED_BYTES /* fuzzing is given less, so that inputs are quick */
#define EVALUATED_BYTES ((int64_t)1 << 30)
#endif

int import_out_of_memory(struct err *e) {
    return err_set(e, ERR_LIMIT, "out of memory while importing the model");
}

int import_prefix(const struct importer *im, int32_t node, struct err *e) {
    const struct onnx_node *n = &im->model->nodes[node];
    if (n->name.n) return err_prefix(e, "node '%.*s' (%.*s)", TEXT_ARGS(n->name), TEXT_ARGS(n->op_type));
    return err_prefix(e, "node %d (%.*s)", node, TEXT_ARGS(n->op_type));
}

/* --- versions ------------------------------------------------------------------------- */

static int find_opset(const struct onnx_model *m, int64_t *opset, struct err *e) {
    *opset = 0;
    for (int32_t i = 0; i < m->n_opsets; i++) {
        const struct onnx_opset *o = &m->opsets[i];
        if (o->domain.n && !text_is(o->domain, "ai.onnx")) continue; /* harmless unless a node uses it */
        if (*opset && o->version != *opset)
            return err_set(e, ERR_FORMAT, "operator sets %lld and %lld are both imported", (long long)*opset,
                           (long long)o->version);
        *opset = o->version;
    }
    if (*opset >= IMPORT_MIN_OPSET && *opset <= IMPORT_MAX_OPSET) return 0;
    return err_set(e, ERR_UNSUPPORTED, "operator set %lld; accepted are %d to %d (export with one of these)",
                   (long long)*opset, IMPORT_MIN_OPSET, IMPORT_MAX_OPSET);
}

static int check_model(const struct onnx_model *m, struct err *e) {
    if (m->ir_version < IMPORT_MIN_IR || m->ir_version > IMPORT_MAX_IR)
        return err_set(e, ERR_UNSUPPORTED, "IR version %lld; accepted are %d to %d", (long long)m->ir_version,
                       IMPORT_MIN_IR, IMPORT_MAX_IR);
    if (m->n_functions)
        return err_set(
            e, ERR_UNSUPPORTED,
            "the model defines %d functions; they are not accepted, export it with functions inlined",
            m->n_functions);
    if (m->n_sparse)
        return err_set(e, ERR_UNSUPPORTED,
                       "the model has %d sparse initializers; only dense ones are accepted", m->n_sparse);
    if (m->n_outputs == 0) return err_set(e, ERR_FORMAT, "the graph has no outputs");
    return 0;
}

/* --- names ----------------------------------------------------------------------------- */

static struct operand *define(struct importer *im, struct text name, int32_t definer, int32_t *number,
                              struct err *e) {
    const int32_t taken = names_add(&im->names, name, im->n_operands);
    if (taken >= 0) {
        (void)err_set(e, ERR_FORMAT, "'%.*s' is defined twice", TEXT_ARGS(name));
        *number = taken;
        return NULL;
    }
    *number = im->n_operands;
    struct operand *o = &im->operands[im->n_operands++];
    *o = (struct operand){.name = name, .initializer = -1, .definer = definer, .value = -1, .batch_axis = -1};
    return o;
}

/* Up to IR 3 each initializer had to be listed as an input too; that is one value. */
static int define_initializers(struct importer *im, struct err *e) {
    const struct onnx_model *m = im->model;
    int32_t number;
    for (int32_t i = 0; i < m->n_initializers; i++) {
        const struct text name = m->initializers[i].name;
        if (name.n == 0) return err_set(e, ERR_FORMAT, "initializer %d has no name", i);
        struct operand *o = define(im, name, -1, &number, e);
        if (!o) return -1;
        o->kind = OPERAND_CONSTANT;
        o->initializer = i;
    }
    return 0;
}

static int define_inputs(struct importer *im, struct err *e) {
    const struct onnx_model *m = im->model;
    struct names listed;
    int32_t number;
    if (names_init(&listed, (size_t)m->n_inputs, &im->memory)) return import_out_of_memory(e);
    for (int32_t i = 0; i < m->n_inputs; i++) {
        const struct text name = m->inputs[i].name;
        if (name.n == 0) return err_set(e, ERR_FORMAT, "graph input %d has no name", i);
        if (names_add(&listed, name, i) >= 0)
            return err_set(e, ERR_FORMAT, "graph input '%.*s' is listed twice", TEXT_ARGS(name));
        if (names_find(&im->names, name) < 0 && !define(im, name, -1, &number, e)) return -1;
    }
    return 0;
}

static int define_outputs(struct importer *im, struct err *e) {
    const struct onnx_model *m = im->model;
    size_t at = 0;
    for (int32_t i = 0; i < m->n_nodes; i++) {
        const struct onnx_node *n = &m->nodes[i];
        im->first_ref[i] = at;
        at += (size_t)n->n_inputs;
        for (int32_t j = 0; j < n->n_outputs; j++, at++) {
            im->refs[at] = -1;
            if (n->outputs[j].n && !define(im, n->outputs[j], i, &im->refs[at], e))
                return import_prefix(im, i, e);
        }
    }
    return 0;
}

static int resolve_inputs(struct importer *im, struct err *e) {
    const struct onnx_model *m = im->model;
    for (int32_t i = 0; i < m->n_nodes; i++) {
        const struct onnx_node *n = &m->nodes[i];
        for (int32_t j = 0; j < n->n_inputs; j++) {
            int32_t *ref = &im->refs[im->first_ref[i] + (size_t)j];
            *ref = -1;
            if (n->inputs[j].n == 0) continue;
            *ref = names_find(&im->names, n->inputs[j]);
            if (*ref < 0) {
                (void)err_set(e, ERR_FORMAT, "input '%.*s' is defined nowhere", TEXT_ARGS(n->inputs[j]));
                return import_prefix(im, i, e);
            }
            if (im->operands[*ref].definer >= i) {
                (void)err_set(e, ERR_FORMAT,
                              "input '%.*s' is used before it is defined (or the graph has a cycle)",
                              TEXT_ARGS(n->inputs[j]));
                return import_prefix(im, i, e);
            }
        }
    }
    return 0;
}

static int define_names(struct importer *im, struct err *e) {
    const struct onnx_model *m = im->model;
    size_t refs = 0, values = (size_t)m->n_initializers + (size_t)m->n_inputs;
    for (int32_t i = 0; i < m->n_nodes; i++) {
        refs += (size_t)m->nodes[i].n_inputs + (size_t)m->nodes[i].n_outputs;
        values += (size_t)m->nodes[i].n_outputs;
    }
    im->refs = bump_array(&im->memory, refs, sizeof *im->refs);
    im->operands = bump_array(&im->memory, values, sizeof *im->operands);
    im->first_ref = bump_array(&im->memory, (size_t)m->n_nodes, sizeof *im->first_ref);
    im->live = bump_array(&im->memory, (size_t)m->n_nodes, sizeof *im->live);
    if (!im->refs || !im->operands || !im->first_ref || !im->live ||
        names_init(&im->names, values, &im->memory))
        return import_out_of_memory(e);
    if (define_initializers(im, e) || define_inputs(im, e) || define_outputs(im, e)) return -1;
    return resolve_inputs(im, e);
}

/* --- what the outputs need ---------------------------------------------------------------- */

static int mark_live(struct importer *im, struct err *e) {
    const struct onnx_model *m = im->model;
    for (int32_t i = 0; i < m->n_outputs; i++) {
        const int32_t o = names_find(&im->names, m->outputs[i].name);
        if (o < 0)
            return err_set(e, ERR_FORMAT, "graph output '%.*s' is defined nowhere",
                           TEXT_ARGS(m->outputs[i].name));
        im->operands[o].live = true;
    }
    for (int32_t i = m->n_nodes - 1; i >= 0; i--) {
        const struct onnx_node *n = &m->nodes[i];
        const int32_t *in = &im->refs[im->first_ref[i]], *out = in + n->n_inputs;
        for (int32_t j = 0; j < n->n_outputs; j++)
            if (out[j] >= 0 && im->operands[out[j]].live) im->live[i] = true;
        for (int32_t j = 0; im->live[i] && j < n->n_inputs; j++)
            if (in[j] >= 0) im->operands[in[j]].live = true;
    }
    return 0;
}

/* --- inputs ------------------------------------------------------------------------------- */

static int check_input_type(const struct onnx_value_type *t, struct err *e) {
    if (!t->is_tensor) return err_set(e, ERR_UNSUPPORTED, "it is no tensor (a sequence or a map?)");
    if (!tensor_type_is_float(t->elem_type))
        return err_set(e, ERR_UNSUPPORTED,
                       "its type is %s; accepted is float (clpd itself scales pictures of bytes)",
                       onnx_type_name(t->elem_type));
    if (!t->has_shape) return err_set(e, ERR_UNSUPPORTED, "it has no shape; export the model with one");
    if (t->rank > SHAPE_MAX_RANK)
        return err_set(e, ERR_LIMIT, "it has %d dimensions; at most %d are accepted", t->rank,
                       SHAPE_MAX_RANK);
    return 0;
}

static int read_input_shape(const struct onnx_value_type *t, struct shape *s, struct err *e) {
    *s = (struct shape){.rank = t->rank};
    for (int32_t i = 0; i < t->rank; i++) {
        s->dim[i] = t->dims[i].value;
        if (t->dims[i].value || i == 0) continue;
        return err_set(
            e, ERR_UNSUPPORTED,
            "dimension %d%s%.*s%s is not fixed; only the first one, the batch, may be free. Export "
            "the model for one size of picture",
            i, t->dims[i].symbol.n ? " ('" : "", TEXT_ARGS(t->dims[i].symbol),
            t->dims[i].symbol.n ? "')" : "");
    }
    return 0;
}

/* The shapes of the real inputs as the file says them; a free batch is 0. */
struct inputs {
    struct operand *operand[GRAPH_MAX_IO];
    struct shape shape[GRAPH_MAX_IO];
    int32_t n;
};

static int read_inputs(struct importer *im, struct inputs *in, struct err *e) {
    const struct onnx_model *m = im->model;
    in->n = 0;
    for (int32_t i = 0; i < m->n_inputs; i++) {
        struct operand *o = &im->operands[names_find(&im->names, m->inputs[i].name)];
        struct onnx_value_type type;
        if (o->initializer >= 0) continue;
        if (in->n == GRAPH_MAX_IO) return err_set(e, ERR_LIMIT, "more than %d graph inputs", GRAPH_MAX_IO);
        if (onnx_value_type_read(im->model, m->inputs[i].type, &type, e) || check_input_type(&type, e) ||
            read_input_shape(&type, &in->shape[in->n], e))
            return err_prefix(e, "graph input '%.*s'", TEXT_ARGS(m->inputs[i].name));
        in->operand[in->n++] = o;
    }
    return in->n ? 0 : err_set(e, ERR_FORMAT, "the graph has no inputs (apart from its weights)");
}

/* 0: free; else the fixed batch, which all inputs share, or 1. */
static int find_batch(const struct inputs *in, int64_t *batch, struct err *e) {
    *batch = in->shape[0].rank ? in->shape[0].dim[0] : 1;
    for (int32_t i = 1; i < in->n; i++) {
        const int64_t other = in->shape[i].rank ? in->shape[i].dim[0] : 1;
        if ((other == 0) != (*batch == 0))
            return err_set(
                e, ERR_UNSUPPORTED,
                "the batch of input '%.*s' is %s and that of '%.*s' is not; export the model with all "
                "of them free, or with a fixed batch of 1",
                TEXT_ARGS(in->operand[0]->name), *batch ? "fixed" : "free", TEXT_ARGS(in->operand[i]->name));
        if (other != *batch) *batch = 1;
    }
    return 0;
}

static int add_inputs(struct importer *im, const struct inputs *in, struct err *e) {
    char name[GRAPH_NAME + 1];
    for (int32_t i = 0; i < in->n; i++) {
        struct operand *o = in->operand[i];
        o->kind = OPERAND_RUNTIME;
        o->type = ONNX_FLOAT;
        o->batch_outer = 1;
        o->shape[0] = o->shape[1] = in->shape[i];
        if (im->lanes == 2) {
            o->shape[0].dim[0] = 1;
            o->shape[1].dim[0] = 2;
            o->batch_axis = 0;
        }
        o->value = graph_add_input(im->g, import_c_name(o->name, name), &o->shape[0], e);
        if (o->value < 0) return -1;
    }
    return 0;
}

/* --- nodes ---------------------------------------------------------------------------------- */

#define MOVE_LEAST ((size_t)64 << 10) /* less is copied: whole pages are what can be given back */
#define MOVE_PIECE ((size_t)4 << 20)

/* The whole of the float32 in `data` to an aligned place that lives as long as the model, since a second
 * attempt finds nothing in the old one. What it takes is what the file gives back. */
static int move_weights(struct importer *im, struct onnx_initializer *x, const struct wire *data,
                        struct err *e) {
    struct onnx_model *m = im->model;
    const size_t bytes = wire_left(data), room = (bytes + 63) / 64 * 64;
    if (!m->room) {
        size_t all = 0;
        for (int32_t i = 0; i < m->n_initializers; i++) all += wire_left(&m->initializers[i].body) + 64;
        m->room = bump_alloc(&m->memory, all); /* not touched before it is used */
        m->room_left = m->room ? all : 0;
    }
    if (room > m->room_left) return import_out_of_memory(e);
    float *to = (float *)(void *)m->room;
    m->room += room;
    m->room_left -= room;
    x->bad = -1;
    for (size_t at = 0; at < bytes; at += MOVE_PIECE) {
        const size_t n = bytes - at < MOVE_PIECE ? bytes - at : MOVE_PIECE;
        const int64_t bad =
            tensor_copy_and_find_bad(to + at / sizeof *to, data->at + at, (int64_t)(n / sizeof *to));
        if (bad >= 0 && x->bad < 0) x->bad = (int64_t)(at / sizeof *to) + bad;
        im->options->done(im->options->ctx, data->at + at, n);
    }
    x->moved = to;
    return 0;
}

/* float32 inside the file, raw or packed, of whole numbers of floats and not aligned. */
static struct wire *find_unaligned(struct onnx_tensor *t) {
    struct wire *data = wire_left(&t->raw) ? &t->raw : &t->typed[TYPED_FLOAT];
    const size_t bytes = wire_left(data);
    return t->type == ONNX_FLOAT && !t->is_external && bytes >= MOVE_LEAST && bytes % sizeof(float) == 0 &&
                   (uintptr_t)data->at % _Alignof(float) != 0
               ? data
               : NULL;
}

static struct tensor *load_initializer(struct importer *im, struct onnx_initializer *x, struct err *e) {
    struct onnx_tensor t;
    struct wire *data;
    if (onnx_tensor_read(im->model, x->body, &t, e)) return NULL;
    data = im->options->done ? find_unaligned(&t) : NULL;
    if (data && !x->moved && move_weights(im, x, data, e)) return NULL;
    if (data) *data = wire_view((const uint8_t *)x->moved, wire_left(data));
    struct tensor *loaded = tensor_load(&im->tensors, &t, &im->external, e);
    if (loaded && data) {
        loaded->bad = x->bad;
        loaded->own = loaded->f == x->moved;
    }
    return loaded;
}

int import_load_operand(struct importer *im, struct operand *o, struct err *e) {
    if (o->kind != OPERAND_CONSTANT || o->constant[0]) return 0;
    if (!(o->constant[0] = load_initializer(im, &im->model->initializers[o->initializer], e)))
        return err_prefix(e, "initializer '%.*s'", TEXT_ARGS(o->name));
    o->constant[0]->source = o->initializer;
    o->constant[1] = o->constant[0];
    return 0;
}

static int evaluate_lane(struct import_node *n, int lane, struct evaluation *v) {
    struct tensor shapes[OP_MAX_INPUTS];
    v->node = n;
    v->lane = lane;
    v->n_in = n->n_in;
    v->n_out = n->onnx->n_outputs;
    v->memory = &n->im->tensors;
    v->e = n->e;
    memset(v->out, 0, (size_t)v->n_out * sizeof *v->out);
    for (int32_t i = 0; i < n->n_in; i++) {
        v->in[i] = NULL;
        if (!n->in[i]) continue;
        if (n->in[i]->kind == OPERAND_CONSTANT) {
            v->in[i] = n->in[i]->constant[lane];
            continue;
        }
        shapes[i] = (struct tensor){.shape = n->in[i]->shape[lane],
                                    .type = ONNX_FLOAT,
                                    .count = shape_elements(&n->in[i]->shape[lane])};
        v->in[i] = &shapes[i];
    }
    return n->row->evaluate(v);
}

static bool lanes_differ(const struct import_node *n) {
    for (int32_t i = 0; i < n->n_in; i++) {
        const struct operand *o = n->in[i];
        if (!o) continue;
        if (o->kind == OPERAND_CONSTANT ? o->constant[0] != o->constant[1]
                                        : !shape_equal(&o->shape[0], &o->shape[1]))
            return true;
    }
    return false;
}

static int evaluate_node(struct import_node *n) {
    struct evaluation lane[2];
    const bool differ = n->lanes == 2 && lanes_differ(n);
    if (n->onnx->n_outputs > OP_MAX_INPUTS)
        return err_set(n->e, ERR_LIMIT, "more than %d outputs", OP_MAX_INPUTS);
    if (evaluate_lane(n, 0, &lane[0]) || (differ && evaluate_lane(n, 1, &lane[1]))) return -1;
    const int32_t *out = &n->im->refs[n->im->first_ref[n->index] + (size_t)n->onnx->n_inputs];
    for (int32_t i = 0; i < n->onnx->n_outputs; i++) {
        if (out[i] < 0 || !lane[0].out[i]) continue;
        struct operand *o = &n->im->operands[out[i]];
        struct tensor *one = lane[0].out[i], *two = differ ? lane[1].out[i] : one;
        if (!two) return err_set(n->e, ERR_INTERNAL, "evaluated at one batch size only");
        if (one->name.n == 0) one->name = o->name;
        o->kind = OPERAND_CONSTANT;
        o->constant[0] = one;
        o->constant[1] = tensor_equal(one, two) ? one : two;
    }
    return 0;
}

static int gather_inputs(struct import_node *n, bool *constant) {
    const int32_t *refs = &n->im->refs[n->im->first_ref[n->index]];
    *constant = true;
    n->n_in = n->onnx->n_inputs;
    while (n->n_in > 0 && refs[n->n_in - 1] < 0) n->n_in--;
    for (int32_t i = 0; i < n->n_in; i++) {
        n->in[i] = refs[i] < 0 ? NULL : &n->im->operands[refs[i]];
        if (!n->in[i]) continue;
        if (import_load_operand(n->im, n->in[i], n->e)) return -1;
        *constant = *constant && n->in[i]->kind == OPERAND_CONSTANT;
    }
    return 0;
}

static int check_outputs(const struct import_node *n) {
    const int32_t *out = &n->im->refs[n->im->first_ref[n->index] + (size_t)n->onnx->n_inputs];
    for (int32_t i = 0; i < n->onnx->n_outputs; i++)
        if (out[i] >= 0 && n->im->operands[out[i]].live && n->im->operands[out[i]].kind == OPERAND_UNSET)
            return err_set(n->e, ERR_UNSUPPORTED,
                           "its output %d, '%.*s', is used; accepted is the use of its first output", i,
                           TEXT_ARGS(n->onnx->outputs[i]));
    return 0;
}

static int import_one(struct import_node *n) {
    bool constant;
    n->row = import_match_row(n->im, n->onnx, n->e);
    if (!n->row || gather_inputs(n, &constant)) return -1;
    int r;
    if (n->row->evaluate && (constant || n->row->shape_only))
        r = evaluate_node(n);
    else if (n->row->emit)
        r = n->row->emit(n);
    else
        r = err_set(n->e, ERR_UNSUPPORTED,
                    "it is supported on constants only, but its input is computed while "
                    "the network runs");
    return r ? -1 : check_outputs(n);
}

static int import_nodes(struct importer *im, struct err *e) {
    struct import_node *n = bump_alloc(&im->memory, sizeof *n);
    if (!n) return import_out_of_memory(e);
    for (int32_t i = 0; i < im->model->n_nodes; i++) {
        if (!im->live[i]) continue;
        n->im = im;
        n->onnx = &im->model->nodes[i];
        n->index = i;
        n->opset = im->opset;
        n->lanes = im->lanes;
        n->emitted = 0;
        n->any_type = false;
        n->gives = 0;
        n->e = e;
        if (import_one(n)) return import_prefix(im, i, e);
    }
    return 0;
}

/* --- outputs -------------------------------------------------------------------------------- */

static int add_outputs(struct importer *im, struct err *e) {
    const struct onnx_model *m = im->model;
    for (int32_t i = 0; i < m->n_outputs; i++) {
        const struct text name = m->outputs[i].name;
        const struct operand *o = &im->operands[names_find(&im->names, name)];
        for (int32_t j = 0; j < i && m->n_outputs <= GRAPH_MAX_IO; j++)
            if (text_equal(m->outputs[j].name, name))
                return err_set(e, ERR_FORMAT, "graph output '%.*s' is listed twice", TEXT_ARGS(name));
        if (o->kind != OPERAND_RUNTIME || im->g->values[o->value].is_input)
            return err_set(e, ERR_UNSUPPORTED, "graph output '%.*s' is %s: nothing is computed for it",
                           TEXT_ARGS(name), o->kind == OPERAND_RUNTIME ? "an input" : "a constant");
        if (!tensor_type_is_float(o->type))
            return err_set(e, ERR_UNSUPPORTED, "graph output '%.*s' is %s; networks answer with floats",
                           TEXT_ARGS(name), onnx_type_name(o->type));
        if (im->lanes == 2 && (o->batch_axis != 0 || o->batch_outer != 1))
            return err_set(
                e, ERR_UNSUPPORTED,
                "the batch is not the first axis of graph output '%.*s'; export the model with a fixed "
                "batch of 1",
                TEXT_ARGS(name));
        if (graph_add_output(im->g, o->value, e)) return -1;
    }
    return 0;
}

/* --- attempts ------------------------------------------------------------------------------- */

static int build(struct importer *im, bool want_free, bool *retry, struct err *e) {
    struct inputs in;
    int64_t batch;
    *retry = false;
    if (import_find_rows(im, e) || define_names(im, e) || mark_live(im, e) || read_inputs(im, &in, e) ||
        find_batch(&in, &batch, e))
        return -1;
    im->lanes = batch == 0 || (batch > 1 && want_free) ? 2 : 1;
    im->g->batch_is_dynamic = im->lanes == 2;
    im->g->item_images = im->lanes == 2 || batch > INT32_MAX ? 1 : (int32_t)batch;
    *retry = batch > 1 && want_free;
    if (add_inputs(im, &in, e) || import_nodes(im, e) || add_outputs(im, e) || import_fuse(im->g, e))
        return -1;
    return 0;
}

/* Weights that do not lie aligned in the file are copied: about as many bytes as the initializers have. */
static void reserve_weights(struct importer *im) {
    size_t bytes = 0;
    for (int32_t i = 0; i < im->model->n_initializers; i++)
        bytes += wire_left(&im->model->initializers[i].body);
    if (bytes) tensor_reserve(&im->tensors, bytes);
}

static int attempt(struct onnx_model *m, int64_t opset, const struct import_options *o, bool want_free,
                   bool *retry, struct graph **g, struct err *e) {
    struct importer im = {.model = m, .opset = opset, .options = o};
    if (o->external && o->external_name)
        im.external = (struct tensor_external){o->external, o->external_bytes, o->external_name};
    *retry = false;
    im.g = graph_new();
    if (!im.g) return import_out_of_memory(e);
    im.tensors = (struct tensor_memory){.g = im.g,
                                        .left = EVALUATED_BYTES + 4 * (int64_t)(m->size + o->external_bytes)};
    if (!o->done) reserve_weights(&im);
    const int r = build(&im, want_free, retry, e);
    bump_free(&im.memory);
    if (r)
        graph_free(im.g);
    else
        *g = im.g;
    return r;
}

int import_onnx(const uint8_t *bytes, size_t size, const struct import_options *o, struct onnx_model **model,
                struct graph **g, struct err *e) {
    static const struct import_options none;
    struct onnx_model *m;
    int64_t opset;
    bool retry;
    *model = NULL;
    *g = NULL;
    if (onnx_model_read(bytes, size, &m, e)) return -1;
    int r = check_model(m, e) || find_opset(m, &opset, e) ? -1 : 0;
    if (r == 0) {
        r = attempt(m, opset, o ? o : &none, true, &retry, g, e);
        if (r && retry) r = attempt(m, opset, o ? o : &none, false, &retry, g, e);
    }
    if (r)
        onnx_model_free(m);
    else
        *model = m;
    return r;
}
