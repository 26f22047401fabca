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
            if (field.number != 2 || field.value != 6) continue;
            model.at[import.bytes.at - model.at - 1] = 7;
            raised = true;
        }
    }
    return raised;
}
