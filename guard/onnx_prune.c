/* ONNX in, repaired ONNX out.
 *
 *   edits -> targets (a node's input tensor and which of its rows go)
 *         -> in place: zeros over the rows      | the tensor is plain and its own
 *         -> or a new initializer, and the node's input renamed
 *         -> lengths of node and graph put right, metadata appended -> splice_write */
#include "guard/onnx_prune.h"

#include "guard/names.h"
#include "guard/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct name_info {
    int32_t initializer, producer; /* index, or -1 */
    int32_t uses;                  /* by nodes and as graph output */
};

struct target {
    int32_t node, slot; /* of the ONNX model */
    const struct value *value;
    int64_t rows, row_elements;
    uint8_t *pruned;   /* [rows] */
    struct text fresh; /* name of the initializer that replaces it; empty: in place */
};

struct pruner {
    struct onnx_model *m;
    const struct graph *g;
    struct bump memory;
    struct splices splices;
    struct names names;
    struct name_info *info;
    int32_t n_names;
    struct target *targets;
    int32_t n_targets;
    int32_t (*target_of)[2]; /* per ONNX node, for slots 1 and 2: index + 1 */
    struct err *e;
};

static int out_of_memory(struct pruner *p) {
    return err_set(p->e, ERR_LIMIT, "out of memory while writing the repaired model");
}

/* --- names ---------------------------------------------------------------------------- */

static struct name_info *note_name(struct pruner *p, struct text name) {
    const int32_t known = names_add(&p->names, name, p->n_names);
    if (known >= 0) return &p->info[known];
    p->info[p->n_names] = (struct name_info){-1, -1, 0};
    return &p->info[p->n_names++];
}

static int note_names(struct pruner *p, int32_t fresh) {
    const struct onnx_model *m = p->m;
    size_t most = (size_t)m->n_initializers + (size_t)m->n_inputs + (size_t)m->n_outputs + (size_t)fresh;
    for (int32_t i = 0; i < m->n_nodes; i++)
        most += (size_t)m->nodes[i].n_inputs + (size_t)m->nodes[i].n_outputs;
    p->info = bump_array(&p->memory, most, sizeof *p->info);
    if (!p->info || names_init(&p->names, most, &p->memory)) return out_of_memory(p);
    for (int32_t i = 0; i < m->n_initializers; i++) note_name(p, m->initializers[i].name)->initializer = i;
    for (int32_t i = 0; i < m->n_inputs; i++) (void)note_name(p, m->inputs[i].name);
    for (int32_t i = 0; i < m->n_outputs; i++) note_name(p, m->outputs[i].name)->uses++;
    for (int32_t i = 0; i < m->n_nodes; i++) {
        const struct onnx_node *n = &m->nodes[i];
        for (int32_t j = 0; j < n->n_inputs; j++) note_name(p, n->inputs[j])->uses++;
        for (int32_t j = 0; j < n->n_outputs; j++) note_name(p, n->outputs[j])->producer = i;
    }
    return 0;
}

static const struct name_info *find_name(const struct pruner *p, struct text name) {
    return &p->info[names_find(&p->names, name)];
}

/* --- targets ---------------------------------------------------------------------------- */

static struct target *find_target(struct pruner *p, int32_t graph_node, int32_t slot) {
    const struct node *n = &p->g->nodes[graph_node];
    int32_t *number = &p->target_of[n->source][slot - 1];
    if (*number) return &p->targets[*number - 1];
    const struct value *v = &p->g->values[n->inputs[slot]];
    const int64_t elements = shape_elements(&v->shape), rows = v->shape.rank ? v->shape.dim[0] : 0;
    if (!v->data || rows < 1) {
        (void)err_set(p->e, ERR_INTERNAL, "input %d of %s is no constant with channels", slot, n->name);
        return NULL;
    }
    struct target *t = &p->targets[p->n_targets++];
    *number = p->n_targets;
    *t = (struct target){.node = n->source,
                         .slot = slot,
                         .value = v,
                         .rows = rows,
                         .row_elements = elements / rows,
                         .fresh = {"", 0}};
    t->pruned = bump_array(&p->memory, (size_t)rows, 1);
    if (t->pruned) return t;
    (void)out_of_memory(p);
    return NULL;
}

static int add_target(struct pruner *p, int32_t graph_node, int32_t slot, const struct prune_edit *edit) {
    struct target *t = find_target(p, graph_node, slot);
    if (!t) return -1;
    for (int32_t i = 0; i < edit->n; i++) {
        const int32_t c = edit->channels[i];
        if (c < 0 || c >= t->rows)
            return err_set(p->e, ERR_INTERNAL, "%s has no channel %d", p->g->nodes[graph_node].name, c);
        t->pruned[c] = 1;
    }
    return 0;
}

static bool is_node(const struct pruner *p, int32_t node, enum op op, int32_t least_inputs) {
    if (node < 0 || node >= p->g->n_nodes) return false;
    const struct node *n = &p->g->nodes[node];
    return n->op == op && n->n_inputs >= least_inputs && n->source >= 0 && n->source < p->m->n_nodes &&
           p->m->nodes[n->source].n_inputs >= n->n_inputs;
}

static int add_edit(struct pruner *p, const struct prune_edit *edit) {
    if (!is_node(p, edit->conv, OP_CONV, 2) || (edit->norm >= 0 && !is_node(p, edit->norm, OP_BATCH_NORM, 5)))
        return err_set(p->e, ERR_INTERNAL,
                       "an edit names nodes that are no convolution and its normalisation");
    const int32_t node = edit->norm >= 0 ? edit->norm : edit->conv;
    const struct node *n = &p->g->nodes[node];
    if (edit->n == 0) return 0;
    if (add_target(p, node, 1, edit)) return -1;
    return n->n_inputs > 2 && n->inputs[2] >= 0 ? add_target(p, node, 2, edit) : 0;
}

/* --- where a tensor's bytes are ------------------------------------------------------------ */

static size_t float_bytes(int32_t type) {
    return type == ONNX_DOUBLE ? 8 : type == ONNX_FLOAT ? 4 : 2;
}

/* The elements of an initializer as the file has them, row by row; false where
 * they lie elsewhere or in a form without rows (halves among int32_data). */
static bool find_bytes(struct pruner *p, const struct target *t, int32_t initializer, int32_t *type,
                       struct wire *bytes) {
    struct onnx_tensor tensor;
    if (initializer < 0 || onnx_tensor_read(p->m, p->m->initializers[initializer].body, &tensor, p->e))
        return false;
    if (tensor.is_external || !tensor_type_is_float(tensor.type)) return false;
    *type = tensor.type;
    *bytes = tensor.raw;
    if (wire_left(bytes) == 0 && tensor.type == ONNX_FLOAT) *bytes = tensor.typed[TYPED_FLOAT];
    if (wire_left(bytes) == 0 && tensor.type == ONNX_DOUBLE) *bytes = tensor.typed[TYPED_DOUBLE];
    return wire_left(bytes) == (size_t)(t->rows * t->row_elements) * float_bytes(*type);
}

static bool lies_in_file(const struct onnx_model *m, struct wire w) {
    return (uintptr_t)w.at >= (uintptr_t)m->bytes && (uintptr_t)w.end <= (uintptr_t)m->bytes + m->size;
}

/* The type that a value has in the file, through what passes types on. Each hop
 * goes to an earlier node, so it ends. */
static int32_t declared_type(struct pruner *p, struct text name) {
    for (;;) {
        const struct name_info *i = find_name(p, name);
        struct onnx_tensor t = {.type = ONNX_FLOAT};
        if (i->initializer >= 0) {
            (void)onnx_tensor_read(p->m, p->m->initializers[i->initializer].body, &t, p->e);
            return t.type;
        }
        if (i->producer < 0) return ONNX_FLOAT;
        const struct onnx_node *n = &p->m->nodes[i->producer];
        for (int32_t a = 0; a < n->n_attributes; a++) {
            if (text_is(n->attributes[a].name, "to")) return (int32_t)n->attributes[a].i;
            if (text_is(n->attributes[a].name, "value") &&
                onnx_tensor_read(p->m, n->attributes[a].t, &t, p->e) == 0)
                return t.type;
        }
        if (n->n_inputs == 0 || text_is(n->op_type, "ConstantOfShape")) return ONNX_FLOAT;
        name = n->inputs[0];
    }
}

/* Exact, for a value that was a float16 before it was widened. */
static uint16_t narrow_to_half(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const uint32_t exponent = bits >> 23 & 0xff, mantissa = bits >> 13 & 0x3ff;
    if (exponent >= 113) return (uint16_t)(sign | (exponent - 112) << 10 | mantissa);
    return (uint16_t)(sign | (uint16_t)(f < 0 ? -f * 0x1p24f : f * 0x1p24f)); /* subnormal, or 0 */
}

static void encode(int32_t type, float f, uint8_t *to) {
    const double wide = (double)f;
    uint32_t bits;
    uint16_t half;
    memcpy(&bits, &f, sizeof bits);
    half = type == ONNX_FLOAT16 ? narrow_to_half(f) : (uint16_t)(bits >> 16);
    if (type == ONNX_FLOAT)
        memcpy(to, &f, sizeof f);
    else if (type == ONNX_DOUBLE)
        memcpy(to, &wide, sizeof wide);
    else
        memcpy(to, &half, sizeof half);
}

/* --- writing messages ----------------------------------------------------------------------- */

static uint8_t *put_number(uint8_t *at, uint32_t field, uint64_t value) {
    at += wire_put_varint(at, field << 3 | WIRE_VARINT);
    return at + wire_put_varint(at, value);
}

/* Tag and length of a field whose `n` bytes come next. */
static uint8_t *put_length(uint8_t *at, uint32_t field, size_t n) {
    at += wire_put_varint(at, field << 3 | WIRE_BYTES);
    return at + wire_put_varint(at, n);
}

static uint8_t *put_text(uint8_t *at, uint32_t field, struct text t) {
    at = put_length(at, field, t.n);
    if (t.n) memcpy(at, t.p, t.n);
    return at + t.n;
}

#define FIELD_MAX (2 * (size_t)WIRE_VARINT_MAX) /* tag and length, or tag and number */

static int insert(struct pruner *p, const uint8_t *at, size_t drop, const uint8_t *put, size_t n) {
    return splice_add(&p->splices, (size_t)(at - p->m->bytes), drop, put, n) ? out_of_memory(p) : 0;
}

/* --- in place --------------------------------------------------------------------------------- */

static int zero_rows(struct pruner *p, const struct target *t, struct wire bytes) {
    const size_t row = wire_left(&bytes) / (size_t)t->rows;
    for (int64_t r = 0; r < t->rows; r++)
        if (t->pruned[r] && insert(p, bytes.at + (size_t)r * row, row, NULL, row)) return -1;
    return 0;
}

/* --- a new initializer -------------------------------------------------------------------------- */

static int choose_name(struct pruner *p, struct target *t, struct text old) {
    const size_t room = old.n + 24;
    char *name = bump_alloc(&p->memory, room);
    if (!name) return out_of_memory(p);
    memcpy(name, old.p, old.n);
    for (int32_t k = 1;; k++) {
        const int n = snprintf(name + old.n, room - old.n, k == 1 ? ".clpd" : ".clpd%d", k);
        t->fresh = (struct text){name, old.n + (size_t)n};
        if (names_find(&p->names, t->fresh) >= 0) continue;
        (void)note_name(p, t->fresh);
        return 0;
    }
}

static void fill_tensor(const struct target *t, int32_t type, const struct wire *bytes, uint8_t *to) {
    const size_t width = float_bytes(type), row = (size_t)t->row_elements * width;
    for (int64_t r = 0; r < t->rows; r++, to += row) {
        if (t->pruned[r]) {
            memset(to, 0, row);
        } else if (wire_left(bytes)) {
            memcpy(to, bytes->at + (size_t)r * row, row);
        } else {
            const float *from = t->value->data + r * t->row_elements;
            for (int64_t i = 0; i < t->row_elements; i++) encode(type, from[i], to + (size_t)i * width);
        }
    }
}

static int insert_tensor(struct pruner *p, const struct target *t, int32_t type, const struct wire *bytes) {
    const struct shape *s = &t->value->shape;
    const size_t data = (size_t)(t->rows * t->row_elements) * float_bytes(type);
    uint8_t body[(SHAPE_MAX_RANK + 2) * FIELD_MAX], *at = body;
    for (int32_t d = 0; d < s->rank; d++) at = put_number(at, 1, (uint64_t)s->dim[d]);
    at = put_number(at, 2, (uint64_t)type);
    const size_t fixed = (size_t)(at - body);
    uint8_t *field = bump_alloc(&p->memory, FIELD_MAX * 3 + fixed + t->fresh.n + data);
    if (!field) return out_of_memory(p);
    uint8_t length[FIELD_MAX];
    const size_t inner = fixed + (size_t)(put_length(length, 8, t->fresh.n) - length) + t->fresh.n +
                         (size_t)(put_length(length, 9, data) - length) + data;
    uint8_t *to = put_length(field, 5, inner);
    memcpy(to, body, fixed);
    to = put_text(to + fixed, 8, t->fresh);
    to = put_length(to, 9, data);
    fill_tensor(t, type, bytes, to);
    return insert(p, p->m->graph.end, 0, field, (size_t)(to - field) + data);
}

/* Up to IR 3 each initializer must be listed among the graph's inputs. */
static int insert_input(struct pruner *p, const struct target *t, int32_t type) {
    const struct shape *s = &t->value->shape;
    uint8_t shape[SHAPE_MAX_RANK * 2 * FIELD_MAX], tensor[sizeof shape + 2 * FIELD_MAX],
        whole[sizeof tensor + FIELD_MAX], dim[FIELD_MAX], *at = shape;
    for (int32_t d = 0; d < s->rank; d++) {
        const size_t n = (size_t)(put_number(dim, 1, (uint64_t)s->dim[d]) - dim);
        at = put_text(at, 1, (struct text){(const char *)dim, n});
    }
    const struct text dims = {(const char *)shape, (size_t)(at - shape)};
    at = put_text(put_number(tensor, 1, (uint64_t)type), 2, dims);
    const struct text typed = {(const char *)tensor, (size_t)(at - tensor)};
    at = put_text(whole, 1, typed);
    const struct text value_type = {(const char *)whole, (size_t)(at - whole)};

    uint8_t length[FIELD_MAX];
    const size_t inner = (size_t)(put_length(length, 1, t->fresh.n) - length) + t->fresh.n +
                         (size_t)(put_length(length, 2, value_type.n) - length) + value_type.n;
    uint8_t *field = bump_alloc(&p->memory, inner + FIELD_MAX);
    if (!field) return out_of_memory(p);
    at = put_text(put_text(put_length(field, 11, inner), 1, t->fresh), 2, value_type);
    return insert(p, p->m->graph.end, 0, field, (size_t)(at - field));
}

static int place_target(struct pruner *p, struct target *t) {
    const struct text name = p->m->nodes[t->node].inputs[t->slot];
    const struct name_info *i = find_name(p, name);
    struct wire bytes = {0};
    int32_t type;
    const bool plain = find_bytes(p, t, i->initializer, &type, &bytes);
    if (plain && i->uses == 1 && lies_in_file(p->m, bytes)) return zero_rows(p, t, bytes);
    if (!plain) {
        bytes = (struct wire){0};
        type = declared_type(p, name);
        if (!tensor_type_is_float(type)) type = ONNX_FLOAT;
    }
    if (choose_name(p, t, name) || insert_tensor(p, t, type, &bytes)) return -1;
    return p->m->ir_version < 4 ? insert_input(p, t, type) : 0;
}

/* --- renamed inputs ------------------------------------------------------------------------------ */

/* Puts the fresh names into a node, then its length right. */
static int rewrite_node(struct pruner *p, int32_t index, const struct wire_field *node) {
    struct wire rest = node->bytes;
    struct wire_field f;
    size_t length = wire_left(&node->bytes);
    for (int32_t slot = 0; wire_take_field(&rest, &f) == WIRE_OK;) {
        if (f.number != 1) continue;
        const int32_t number = slot == 1 || slot == 2 ? p->target_of[index][slot - 1] : 0;
        slot++;
        if (number == 0 || p->targets[number - 1].fresh.n == 0) continue;
        const struct text fresh = p->targets[number - 1].fresh;
        uint8_t *put = bump_alloc(&p->memory, FIELD_MAX + fresh.n);
        if (!put) return out_of_memory(p);
        const size_t old = (size_t)(rest.at - f.start), n = (size_t)(put_text(put, 1, fresh) - put);
        if (insert(p, f.start, old, put, n)) return -1;
        length = length - old + n;
    }
    uint8_t *head = bump_alloc(&p->memory, FIELD_MAX);
    if (!head) return out_of_memory(p);
    const size_t n = (size_t)(put_length(head, 1, length) - head);
    return insert(p, node->start, (size_t)(node->bytes.at - node->start), head, n);
}

static bool has_fresh_input(const struct pruner *p, int32_t node) {
    for (int slot = 0; slot < 2; slot++)
        if (p->target_of[node][slot] && p->targets[p->target_of[node][slot] - 1].fresh.n) return true;
    return false;
}

static int rewrite_nodes(struct pruner *p) {
    struct wire rest = p->m->graph;
    struct wire_field f;
    for (int32_t index = 0; wire_take_field(&rest, &f) == WIRE_OK;) {
        if (f.number != 1) continue;
        if (has_fresh_input(p, index) && rewrite_node(p, index, &f)) return -1;
        index++;
    }
    return 0;
}

/* --- the top level ------------------------------------------------------------------------------- */

static bool is_our_metadata(struct wire entry) {
    struct wire_field f;
    while (wire_take_field(&entry, &f) == WIRE_OK) {
        const struct text key = {(const char *)f.bytes.at, wire_left(&f.bytes)};
        if (f.number == 1 && f.type == WIRE_BYTES &&
            (text_is(key, "clpd.source_sha256") || text_is(key, "clpd.threshold") ||
             text_is(key, "clpd.pruned")))
            return true;
    }
    return false;
}

/* The graph's length, and entries that an earlier repair left. */
static int rewrite_top_level(struct pruner *p) {
    const struct onnx_model *m = p->m;
    struct wire rest = wire_view(m->bytes, m->size);
    struct wire_field f;
    while (wire_take_field(&rest, &f) == WIRE_OK) {
        const size_t head = (size_t)(f.bytes.at - f.start);
        if (f.number == 14 && f.type == WIRE_BYTES && is_our_metadata(f.bytes) &&
            insert(p, f.start, (size_t)(rest.at - f.start), (const uint8_t *)"", 0))
            return -1;
        if (f.number != 7 || f.type != WIRE_BYTES) continue;
        const size_t growth =
            splice_growth(&p->splices, (size_t)(f.bytes.at - m->bytes), (size_t)(f.bytes.end - m->bytes));
        uint8_t *put = bump_alloc(&p->memory, FIELD_MAX);
        if (!put) return out_of_memory(p);
        if (growth &&
            insert(p, f.start, head, put, (size_t)(put_length(put, 7, wire_left(&f.bytes) + growth) - put)))
            return -1;
    }
    return 0;
}

static int append_metadata(struct pruner *p, const char *key, struct text value) {
    const struct text k = {key, strlen(key)};
    uint8_t length[FIELD_MAX];
    const size_t inner = (size_t)(put_length(length, 1, k.n) - length) + k.n +
                         (size_t)(put_length(length, 2, value.n) - length) + value.n;
    uint8_t *field = bump_alloc(&p->memory, inner + FIELD_MAX);
    if (!field) return out_of_memory(p);
    const uint8_t *end = put_text(put_text(put_length(field, 14, inner), 1, k), 2, value);
    return insert(p, p->m->bytes + p->m->size, 0, field, (size_t)(end - field));
}

/* "layer:3,17;layer2:5", malloc'ed. */
static char *list_pruned(const struct pruner *p, const struct prune_edit *edits, int32_t n, size_t *bytes) {
    char *text = NULL;
    FILE *f = open_memstream(&text, bytes);
    if (!f) return NULL;
    for (int32_t i = 0; i < n; i++) {
        if (edits[i].n == 0) continue;
        if (ftell(f) > 0) (void)fputc(';', f);
        for (const char *s = p->g->nodes[edits[i].conv].name; *s; s++)
            (void)fprintf(f, strchr("%:;,", *s) || (unsigned char)*s < 0x20 || *s == 0x7f ? "%%%02X" : "%c",
                          (unsigned char)*s);
        for (int32_t c = 0; c < edits[i].n; c++)
            (void)fprintf(f, "%c%d", c ? ',' : ':', edits[i].channels[c]);
    }
    const int failed = ferror(f);
    if (fclose(f) == 0 && !failed) return text;
    free(text);
    return NULL;
}

static int note_metadata(struct pruner *p, const struct prune_edit *edits, int32_t n,
                         const struct prune_notes *notes) {
    char digest[65], threshold[32];
    for (int i = 0; i < 32; i++) (void)snprintf(digest + 2 * i, 3, "%02x", notes->source_sha256[i]);
    const int length = snprintf(threshold, sizeof threshold, "%g", notes->threshold);
    size_t bytes = 0;
    char *list = list_pruned(p, edits, n, &bytes);
    if (!list) return out_of_memory(p);
    const int r = append_metadata(p, "clpd.source_sha256", (struct text){digest, 64}) ||
                  append_metadata(p, "clpd.threshold", (struct text){threshold, (size_t)length}) ||
                  append_metadata(p, "clpd.pruned", (struct text){list, bytes});
    free(list);
    return r ? -1 : 0;
}

static int prepare(struct pruner *p, const struct prune_edit *edits, int32_t n_edits,
                   const struct prune_notes *notes) {
    p->targets = bump_array(&p->memory, 2 * (size_t)n_edits, sizeof *p->targets);
    p->target_of = bump_array(&p->memory, (size_t)p->m->n_nodes, sizeof *p->target_of);
    if (!p->targets || !p->target_of) return out_of_memory(p);
    if (note_names(p, 2 * n_edits)) return -1;
    for (int32_t i = 0; i < n_edits; i++)
        if (add_edit(p, &edits[i])) return -1;
    for (int32_t i = 0; i < p->n_targets; i++)
        if (place_target(p, &p->targets[i])) return -1;
    if (rewrite_nodes(p) || rewrite_top_level(p)) return -1;
    return note_metadata(p, edits, n_edits, notes);
}

int onnx_prune(struct onnx_model *m, const struct graph *g, const struct prune_edit *edits, int32_t n_edits,
               const struct prune_notes *notes, splice_write_fn write, void *ctx, struct err *e) {
    struct pruner p = {.m = m, .g = g, .e = e};
    int r = prepare(&p, edits, n_edits, notes);
    if (r == 0) r = splice_write(&p.splices, m->bytes, m->size, write, ctx, e);
    splice_free(&p.splices);
    bump_free(&p.memory);
    return r;
}
