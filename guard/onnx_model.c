/* An ONNX file as arrays of views: ModelProto, GraphProto, NodeProto, AttributeProto.
 *
 *   look at the top level -> join the graph if it came in parts
 *     -> count what the graph holds -> allocate once -> fill */
#include "guard/onnx_message.h"

#include <stdlib.h>
#include <string.h>

bool text_is(struct text t, const char *s) {
    return strlen(s) == t.n && memcmp(t.p, s, t.n) == 0;
}

bool text_equal(struct text a, struct text b) {
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

static const struct text no_text = {"", 0};

struct counts {
    size_t nodes, operands, attributes, initializers, inputs, outputs, sparse;
};

struct pools { /* what is left of the arrays that all nodes share */
    struct text *operands;
    struct onnx_attribute *attributes;
};

/* --- AttributeProto ----------------------------------------------------------- */

static void mark(struct onnx_attribute *a, enum onnx_attribute_kind kind) {
    a->present |= 1u << kind;
}

/* Where an old exporter gave no type: the one value that is there. */
static int32_t kind_by_value(const struct onnx_attribute *a) {
    for (int32_t k = 1; k < ATTR_KINDS; k++)
        if (a->present == 1u << k) return k;
    return ATTR_NONE;
}

static int join_attribute(struct onnx_model *m, struct wire body, struct onnx_attribute *a, struct err *e) {
    if (a->present & 1u << ATTR_TENSOR && message_join(m, body, 5, &a->t, e)) return -1;
    if (a->present & 1u << ATTR_FLOATS && message_join_numbers(m, body, 7, WIRE_FIXED32, &a->floats, e))
        return -1;
    return a->present & 1u << ATTR_INTS ? message_join_numbers(m, body, 8, WIRE_VARINT, &a->ints, e) : 0;
}

static int read_attribute(struct onnx_model *m, struct wire body, struct onnx_attribute *a, struct err *e) {
    *a = (struct onnx_attribute){.name = no_text, .s = no_text};
    struct message x = message_enter(m, body, "AttributeProto", e);
    while (message_next(&x)) {
        switch (x.f.number) {
        case 1: message_text(&x, &a->name); break;
        case 2:
            message_float(&x, &a->f);
            mark(a, ATTR_FLOAT);
            break;
        case 3:
            message_int64(&x, &a->i);
            mark(a, ATTR_INT);
            break;
        case 4:
            message_text(&x, &a->s);
            mark(a, ATTR_STRING);
            break;
        case 5: mark(a, ATTR_TENSOR); break;
        case 6: mark(a, ATTR_GRAPH); break;
        case 7: mark(a, ATTR_FLOATS); break;
        case 8: mark(a, ATTR_INTS); break;
        case 9: mark(a, ATTR_STRINGS); break;
        case 10: mark(a, ATTR_TENSORS); break;
        case 11: mark(a, ATTR_GRAPHS); break;
        case 14: mark(a, ATTR_TYPE); break;
        case 15: mark(a, ATTR_TYPES); break;
        case 20: message_int32(&x, &a->kind); break;
        case 21: a->is_reference = x.f.type != WIRE_BYTES || wire_left(&x.f.bytes) > 0; break;
        case 22: mark(a, ATTR_SPARSE); break;
        case 23: mark(a, ATTR_SPARSES); break;
        default: break;
        }
    }
    if (x.failed) return -1;
    if (a->kind == ATTR_NONE) a->kind = kind_by_value(a);
    return join_attribute(m, body, a, e);
}

/* --- NodeProto ---------------------------------------------------------------- */

static int count_node(struct onnx_model *m, struct wire body, struct counts *c, struct err *e) {
    struct message x = message_enter(m, body, "NodeProto", e);
    size_t attributes = 0;
    while (message_next(&x)) {
        if (x.f.number == 1 || x.f.number == 2) c->operands++;
        if (x.f.number == 5) attributes++;
    }
    if (x.failed) return -1;
    c->attributes += attributes;
    if (attributes > ONNX_MAX_NODE_ATTRIBUTES)
        return err_set(e, ERR_LIMIT, "a node has %zu attributes; at most %d are accepted", attributes,
                       ONNX_MAX_NODE_ATTRIBUTES);
    return 0;
}

/* Inputs and outputs may come interleaved: two walks, so that each list is one array. */
static void take_operands(struct onnx_model *m, struct onnx_node *node, struct pools *p, struct err *e) {
    struct message x = message_enter(m, node->body, "NodeProto", e);
    node->inputs = p->operands;
    while (message_next(&x))
        if (x.f.number == 1) message_text(&x, &p->operands[node->n_inputs++]);
    p->operands += node->n_inputs;

    x = message_enter(m, node->body, "NodeProto", e);
    node->outputs = p->operands;
    while (message_next(&x))
        if (x.f.number == 2) message_text(&x, &p->operands[node->n_outputs++]);
    p->operands += node->n_outputs;
}

static int read_node(struct onnx_model *m, struct onnx_node *node, struct pools *p, struct err *e) {
    struct message x = message_enter(m, node->body, "NodeProto", e);
    struct wire part = {0};
    struct text ignored;
    node->name = node->op_type = node->domain = no_text;
    node->attributes = p->attributes;
    while (message_next(&x)) {
        switch (x.f.number) {
        case 1:
        case 2: message_text(&x, &ignored); break; /* checked here, taken below */
        case 3: message_text(&x, &node->name); break;
        case 4: message_text(&x, &node->op_type); break;
        case 5:
            message_bytes(&x, &part);
            if (!x.failed) x.failed = read_attribute(m, part, p->attributes++, e) != 0;
            node->n_attributes++;
            break;
        case 7: message_text(&x, &node->domain); break;
        default: break;
        }
    }
    if (x.failed) return -1;
    take_operands(m, node, p, e);
    return 0;
}

/* --- GraphProto ---------------------------------------------------------------- */

static int read_named(struct onnx_model *m, struct wire body, uint32_t name_field, const char *what,
                      struct text *name, struct err *e) {
    struct message x = message_enter(m, body, what, e);
    *name = no_text;
    while (message_next(&x))
        if (x.f.number == name_field) message_text(&x, name);
    return x.failed ? -1 : 0;
}

static int read_value_info(struct onnx_model *m, struct wire body, struct onnx_value_info *v, struct err *e) {
    if (read_named(m, body, 1, "ValueInfoProto", &v->name, e)) return -1;
    return message_join(m, body, 2, &v->type, e);
}

static int count_graph(struct onnx_model *m, struct counts *c, struct err *e) {
    struct message x = message_enter(m, m->graph, "GraphProto", e);
    struct wire body = {0};
    while (message_next(&x)) {
        switch (x.f.number) {
        case 1:
            c->nodes++;
            message_bytes(&x, &body);
            if (!x.failed) x.failed = count_node(m, body, c, e) != 0;
            break;
        case 5:
            c->initializers++;
            message_bytes(&x, &body);
            break;
        case 11:
            c->inputs++;
            message_bytes(&x, &body);
            break;
        case 12:
            c->outputs++;
            message_bytes(&x, &body);
            break;
        case 15: c->sparse++; break;
        default: break;
        }
    }
    return x.failed ? -1 : 0;
}

static int check_counts(const struct counts *c, struct err *e) {
    const struct {
        const char *what;
        size_t n, most;
    } limits[] = {
        {"nodes", c->nodes, ONNX_MAX_NODES},
        {"node inputs and outputs", c->operands, ONNX_MAX_OPERANDS},
        {"attributes", c->attributes, ONNX_MAX_ATTRIBUTES},
        {"initializers", c->initializers, ONNX_MAX_INITIALIZERS},
        {"graph inputs", c->inputs, ONNX_MAX_VALUE_INFOS},
        {"graph outputs", c->outputs, ONNX_MAX_VALUE_INFOS},
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i].n > limits[i].most)
            return err_set(e, ERR_LIMIT, "%zu %s; at most %zu are accepted", limits[i].n, limits[i].what,
                           limits[i].most);
    return 0;
}

static int read_graph(struct onnx_model *m, struct err *e) {
    struct counts c = {0};
    if (count_graph(m, &c, e) || check_counts(&c, e)) return -1;
    struct pools p = {bump_array(&m->memory, c.operands, sizeof *p.operands),
                      bump_array(&m->memory, c.attributes, sizeof *p.attributes)};
    m->nodes = bump_array(&m->memory, c.nodes, sizeof *m->nodes);
    m->initializers = bump_array(&m->memory, c.initializers, sizeof *m->initializers);
    m->inputs = bump_array(&m->memory, c.inputs, sizeof *m->inputs);
    m->outputs = bump_array(&m->memory, c.outputs, sizeof *m->outputs);
    m->n_sparse = (int32_t)(c.sparse > INT32_MAX ? INT32_MAX : c.sparse);
    struct message x = message_enter(m, m->graph, "GraphProto", e);
    if (!p.operands || !p.attributes || !m->nodes || !m->initializers || !m->inputs || !m->outputs)
        message_fail_memory(&x);
    while (message_next(&x)) {
        const struct wire body = x.f.bytes;
        int r = 0;
        switch (x.f.number) {
        case 1:
            m->nodes[m->n_nodes] = (struct onnx_node){.body = body};
            r = read_node(m, &m->nodes[m->n_nodes++], &p, e);
            break;
        case 5:
            m->initializers[m->n_initializers].body = body;
            r = read_named(m, body, 8, "TensorProto", &m->initializers[m->n_initializers++].name, e);
            break;
        case 11: r = read_value_info(m, body, &m->inputs[m->n_inputs++], e); break;
        case 12: r = read_value_info(m, body, &m->outputs[m->n_outputs++], e); break;
        default: break;
        }
        x.failed = x.failed || r != 0;
    }
    return x.failed ? -1 : 0;
}

/* --- ModelProto ---------------------------------------------------------------- */

static bool looks_like_text(const uint8_t *bytes, size_t size) {
    const size_t n = size < 256 ? size : 256;
    for (size_t i = 0; i < n; i++)
        if (bytes[i] < 0x20 ? !strchr("\t\n\r", bytes[i]) || bytes[i] == 0 : bytes[i] == 0x7f) return false;
    return n >= 16;
}

/* What people copy into a model folder by mistake. 0: nothing that is known. */
static int name_foreign(const uint8_t *bytes, size_t size, struct err *e) {
    static const char lfs[] = "version https://git-lfs.github.com/spec/";
    if (size >= sizeof lfs - 1 && memcmp(bytes, lfs, sizeof lfs - 1) == 0)
        return err_set(e, ERR_FORMAT,
                       "this is a Git LFS pointer, not the model that it stands for; run `git lfs pull`");
    if (looks_like_text(bytes, size))
        return err_set(e, ERR_FORMAT, "this is a text file; an ONNX model (binary protobuf) is expected");
    if (size >= 4 && memcmp(bytes, "PK\3\4", 4) == 0)
        return err_set(e, ERR_FORMAT,
                       "this is a zip archive, as torch.save writes; export the model to ONNX");
    if (size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b)
        return err_set(e, ERR_FORMAT, "this file is compressed with gzip; unpack it first");
    return 0;
}

static int fail_top_level(const struct onnx_model *m, const struct wire *w, enum wire_result r,
                          struct err *e) {
    const size_t at = (size_t)(w->at - m->bytes);
    if (name_foreign(m->bytes, m->size, e)) return -1;
    if (r == WIRE_TRUNCATED)
        return err_set(
            e, ERR_TRUNCATED,
            "the file ends too early: a part that begins at byte %zu is longer than its %zu bytes; "
            "the copy is not finished",
            at, m->size);
    if (message_zeros_to_end(m, w->at))
        return err_set(e, ERR_TRUNCATED,
                       "the file holds nothing but zeros from byte %zu on; the copy is not finished", at);
    return err_set(e, ERR_FORMAT, "not an ONNX file: no protobuf field begins at byte %zu", at);
}

static int read_opset(struct onnx_model *m, struct wire body, struct err *e) {
    if (m->n_opsets == ONNX_MAX_OPSETS)
        return err_set(e, ERR_LIMIT, "more than %d operator sets are imported", ONNX_MAX_OPSETS);
    struct onnx_opset *o = &m->opsets[m->n_opsets++];
    struct message x = message_enter(m, body, "OperatorSetIdProto", e);
    o->domain = no_text;
    while (message_next(&x)) {
        if (x.f.number == 1) message_text(&x, &o->domain);
        if (x.f.number == 2) message_int64(&x, &o->version);
    }
    return x.failed ? -1 : 0;
}

static int read_top_field(struct message *x) {
    struct onnx_model *m = x->m;
    struct wire body = {0};
    switch (x->f.number) {
    case 1: message_int64(x, &m->ir_version); break;
    case 2: message_text(x, &m->producer); break;
    case 3: message_text(x, &m->producer_version); break;
    case 7: message_bytes(x, &m->graph); break;
    case 8:
        message_bytes(x, &body);
        if (!x->failed) return read_opset(m, body, x->e);
        break;
    case 25:
        if (m->n_functions < INT32_MAX) m->n_functions++;
        break;
    default: break;
    }
    return x->failed ? -1 : 0;
}

/* A graph in several parts is their concatenation. So that everything after this
 * may count on one graph in one file, the file is rewritten with it joined, at the end. */
static int join_graph(struct onnx_model *m, struct err *e) {
    struct wire joined = {0};
    const struct wire file = wire_view(m->bytes, m->size);
    if (message_join(m, file, 7, &joined, e)) return -1;
    const size_t bytes = wire_left(&joined);
    uint8_t *copy = bump_alloc(&m->memory, m->size + 1 + WIRE_VARINT_MAX), *at = copy;
    if (!copy) return err_set(e, ERR_LIMIT, "out of memory while reading the ONNX file");
    struct message x = message_enter(m, file, "ModelProto", e);
    while (message_next(&x)) {
        if (x.f.number == 7) continue;
        const size_t n = (size_t)(x.rest.at - x.f.start);
        memcpy(at, x.f.start, n);
        at += n;
    }
    *at++ = 7 << 3 | WIRE_BYTES;
    at += wire_put_varint(at, bytes);
    memcpy(at, joined.at, bytes);
    m->bytes = copy;
    m->size = (size_t)(at - copy) + bytes;
    m->graph = wire_view(at, bytes);
    return 0;
}

static int read_model(struct onnx_model *m, struct err *e) {
    struct message x = message_enter(m, wire_view(m->bytes, m->size), "ModelProto", e);
    int32_t graphs = 0;
    enum wire_result r;
    while ((r = wire_take_field(&x.rest, &x.f)) == WIRE_OK) {
        if (read_top_field(&x)) {
            (void)name_foreign(m->bytes, m->size, e); /* text can pass for fields for a while */
            return -1;
        }
        graphs += x.f.number == 7 && graphs < 2;
    }
    if (r != WIRE_END) return fail_top_level(m, &x.rest, r, e);
    if (graphs == 0 && m->ir_version == 0) {
        if (name_foreign(m->bytes, m->size, e)) return -1;
        return err_set(e, ERR_FORMAT, "not an ONNX file: it holds no graph and no IR version");
    }
    if (graphs == 0 || m->n_opsets == 0)
        return err_set(e, ERR_TRUNCATED,
                       "the file has no %s yet: the copy is not finished, or not an ONNX file",
                       graphs == 0 ? "graph" : "operator set");
    if (graphs > 1 && join_graph(m, e)) return -1;
    return read_graph(m, e);
}

int onnx_model_read(const uint8_t *bytes, size_t size, struct onnx_model **out, struct err *e) {
    *out = NULL;
    if (size == 0) return err_set(e, ERR_TRUNCATED, "the file is empty; the copy has not begun");
    struct onnx_model *m = calloc(1, sizeof *m);
    if (!m) return err_set(e, ERR_LIMIT, "out of memory while reading the ONNX file");
    m->bytes = bytes;
    m->size = size;
    m->producer = m->producer_version = no_text;
    if (read_model(m, e)) {
        onnx_model_free(m);
        return -1;
    }
    *out = m;
    return 0;
}

void onnx_model_free(struct onnx_model *m) {
    if (!m) return;
    bump_free(&m->memory);
    free(m);
}
