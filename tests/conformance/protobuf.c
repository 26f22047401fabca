/* Reads a case's tensors, and writes tensors into a model without understanding it. */
#include "tests/conformance/conformance.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int read_bytes(const char *path, struct bytes *out, struct err *e) {
    *out = (struct bytes){0};
    FILE *f = fopen(path, "re");
    if (!f) return err_set(e, ERR_SYSTEM, "%s: %s", path, strerror(errno));
    long n = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    rewind(f);
    if (n >= 0) out->at = malloc((size_t)n + 1);
    if (out->at) out->n = fread(out->at, 1, (size_t)n, f);
    (void)fclose(f);
    if (out->at && out->n == (size_t)n) return 0;
    free(out->at);
    *out = (struct bytes){0};
    return err_set(e, ERR_SYSTEM, "%s: can't be read", path);
}

struct tensor *read_tensor(struct tensor_memory *m, struct onnx_model *memory, struct bytes file,
                           int32_t declared, struct err *e) {
    struct onnx_tensor t;
    if (onnx_tensor_read(memory, wire_view(file.at, file.n), &t, e)) return NULL;
    if (t.type == ONNX_UINT16 && declared == ONNX_BFLOAT16) t.type = declared;
    return tensor_load(m, &t, NULL, e);
}

static size_t put_header(uint8_t *out, uint32_t field, size_t bytes) {
    size_t n = wire_put_varint(out, (uint64_t)field << 3 | WIRE_BYTES);
    return n + wire_put_varint(out + n, bytes);
}

/* ModelProto.graph (7) { GraphProto.initializer (5) { the tensor's fields, then name (8): the last one counts
 * } } */
int bind_tensor(struct bytes *model, struct text name, struct bytes tensor) {
    uint8_t named[16], inner[16], outer[16];
    const size_t n_named = put_header(named, 8, name.n);
    const size_t body = tensor.n + n_named + name.n;
    const size_t n_inner = put_header(inner, 5, body);
    const size_t n_outer = put_header(outer, 7, n_inner + body);
    uint8_t *at = realloc(model->at, model->n + n_outer + n_inner + body);
    if (!at) return -1;
    model->at = at;
    const struct {
        const void *from;
        size_t n;
    } pieces[] = {
        {outer, n_outer}, {inner, n_inner}, {tensor.at, tensor.n}, {named, n_named}, {name.p, name.n}};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        if (pieces[i].n) memcpy(model->at + model->n, pieces[i].from, pieces[i].n);
        model->n += pieces[i].n;
    }
    return 0;
}

/* ModelProto.opset_import (8) { OperatorSetIdProto.version (2) } */
bool raise_opset(struct bytes model) {
    struct wire whole = wire_view(model.at, model.n);
    struct wire_field import, field;
    bool raised = false;
    while (wire_take_field(&whole, &import) == WIRE_OK) {
        if (import.number != 8 || import.type != WIRE_BYTES) continue;
        while (wire_take_field(&import.bytes, &field) == WIRE_OK) {
            if (field.number != 2 || field.value < 1 || field.value > 6) continue;
            model.at[import.bytes.at - model.at - 1] = 7;
            raised = true;
        }
    }
    return raised;
}

/* ValueInfoProto { name (1), type (2) { TypeProto.tensor_type (1) { elem_type (1) } } }: *type is where that
 * is. */
static bool find_element_type(struct bytes model, struct wire info, struct text *name, uint8_t **type) {
    struct wire_field field, inner, last;
    *type = NULL;
    while (wire_take_field(&info, &field) == WIRE_OK) {
        if (field.number == 1) *name = (struct text){(const char *)field.bytes.at, wire_left(&field.bytes)};
        while (field.number == 2 && wire_take_field(&field.bytes, &inner) == WIRE_OK)
            while (inner.number == 1 && wire_take_field(&inner.bytes, &last) == WIRE_OK)
                if (last.number == 1) *type = model.at + (inner.bytes.at - model.at - 1);
    }
    return *type && name->n > 0;
}

/* ModelProto.graph (7) { GraphProto.node (1) { input (1), output (2), op_type (4), attribute (5): to = FLOAT
 * } } */
static int append_cast(struct bytes *model, struct text from, struct text to) {
    static const uint8_t rest[] = {0x22, 4,   'C', 'a',  's', 't',  0x2a, 9, 0x0a,
                                   2,    't', 'o', 0x18, 1,   0xa0, 1,    2};
    uint8_t piece[1024];
    size_t n = 0;
    if (from.n > 120 || to.n > 120) return -1;
    const size_t body = 4 + from.n + to.n + sizeof rest;
    n += put_header(piece, 7, body + (body < 128 ? 2 : 3));
    n += put_header(piece + n, 1, body);
    n += put_header(piece + n, 1, from.n);
    memcpy(piece + n, from.p, from.n);
    n += from.n;
    n += put_header(piece + n, 2, to.n);
    memcpy(piece + n, to.p, to.n);
    n += to.n;
    memcpy(piece + n, rest, sizeof rest);
    n += sizeof rest;
    uint8_t *at = realloc(model->at, model->n + n);
    if (!at) return -1;
    model->at = at;
    memcpy(at + model->n, piece, n);
    model->n += n;
    return 0;
}

/* The output is renamed in its place, by one letter, so that nothing else of the file moves. */
int cast_truth(struct bytes *model) {
    struct wire whole = wire_view(model->at, model->n);
    struct wire_field graph, output;
    char names[CASE_OUTPUTS][128];
    size_t lengths[CASE_OUTPUTS];
    int n = 0;
    while (wire_take_field(&whole, &graph) == WIRE_OK)
        while (graph.number == 7 && graph.type == WIRE_BYTES &&
               wire_take_field(&graph.bytes, &output) == WIRE_OK) {
            struct text name = {0};
            uint8_t *type;
            if (output.number != 12 || !find_element_type(*model, output.bytes, &name, &type)) continue;
            if (*type != ONNX_BOOL || name.n > 120 || n == CASE_OUTPUTS) continue;
            memcpy(names[n], name.p, name.n);
            lengths[n++] = name.n;
            *type = ONNX_FLOAT;
            model->at[(const uint8_t *)name.p - model->at] ^= 0x20; /* the other case of a letter */
        }
    for (int i = 0; i < n; i++) {
        char to[128];
        memcpy(to, names[i], lengths[i]);
        to[0] ^= 0x20;
        if (append_cast(model, (struct text){names[i], lengths[i]}, (struct text){to, lengths[i]})) return -1;
    }
    return n;
}
