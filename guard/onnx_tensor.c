/* TensorProto and TypeProto: read where something uses them. */
#include "guard/onnx_message.h"

#include <string.h>

const char *onnx_type_name(int32_t type) {
    static const char *const names[ONNX_TYPES] = {
        "no type", "float",   "uint8",  "int8",   "uint16", "int16",     "int32",      "int64",   "string",
        "bool",    "float16", "double", "uint32", "uint64", "complex64", "complex128", "bfloat16"};
    return type >= 0 && type < ONNX_TYPES ? names[type] : "an unknown type";
}

static void take_dim(struct onnx_tensor *t, int64_t d) {
    if (t->n_dims < SHAPE_MAX_RANK) t->dims[t->n_dims] = d;
    if (t->n_dims < INT32_MAX) t->n_dims++;
}

static void take_dims(struct message *x, struct onnx_tensor *t) {
    if (x->f.type == WIRE_VARINT) {
        take_dim(t, (int64_t)x->f.value);
        return;
    }
    struct wire packed = {0};
    message_bytes(x, &packed);
    while (!x->failed && packed.at != packed.end) {
        uint64_t v;
        if (wire_take_varint(&packed, &v) != WIRE_OK) {
            x->failed = true;
            (void)err_set(x->e, ERR_FORMAT, "damaged ONNX file: dims of a tensor end inside a number");
            return;
        }
        take_dim(t, (int64_t)v);
    }
}

static void take_external(struct message *x, struct onnx_tensor *t) { /* StringStringEntryProto */
    struct wire body = {0};
    struct text key = {"", 0}, value = {"", 0};
    message_bytes(x, &body);
    if (x->failed) return;
    struct message entry = message_enter(x->m, body, "StringStringEntryProto", x->e);
    while (message_next(&entry)) {
        if (entry.f.number == 1) message_text(&entry, &key);
        if (entry.f.number == 2) message_text(&entry, &value);
    }
    x->failed = entry.failed;
    if (text_is(key, "location")) t->location = value;
    if (text_is(key, "offset")) t->offset = value;
    if (text_is(key, "length")) t->length = value;
}

static const struct {
    uint32_t number;
    enum wire_type scalar;
} typed_fields[TYPED_COUNT] = {
    [TYPED_FLOAT] = {4, WIRE_FIXED32},   [TYPED_INT32] = {5, WIRE_VARINT},   [TYPED_INT64] = {7, WIRE_VARINT},
    [TYPED_DOUBLE] = {10, WIRE_FIXED64}, [TYPED_UINT64] = {11, WIRE_VARINT},
};

int onnx_tensor_read(struct onnx_model *m, struct wire body, struct onnx_tensor *out, struct err *e) {
    const struct text none = {"", 0};
    *out = (struct onnx_tensor){.name = none, .location = none, .offset = none, .length = none};
    struct message x = message_enter(m, body, "TensorProto", e);
    unsigned seen = 0;
    int32_t place = 0;
    while (message_next(&x)) {
        switch (x.f.number) {
        case 1: take_dims(&x, out); break;
        case 2: message_int32(&x, &out->type); break;
        case 3: out->has_segment = true; break;
        case 4: seen |= 1u << TYPED_FLOAT; break;
        case 5: seen |= 1u << TYPED_INT32; break;
        case 6: out->has_strings = true; break;
        case 7: seen |= 1u << TYPED_INT64; break;
        case 8: message_text(&x, &out->name); break;
        case 9:
            message_bytes(&x, &out->raw);
            out->has_raw = true;
            break;
        case 10: seen |= 1u << TYPED_DOUBLE; break;
        case 11: seen |= 1u << TYPED_UINT64; break;
        case 13: take_external(&x, out); break;
        case 14: message_int32(&x, &place); break;
        default: break;
        }
    }
    if (x.failed) return -1;
    out->is_external = place != 0;
    for (unsigned i = 0; i < TYPED_COUNT; i++)
        if (seen & 1u << i &&
            message_join_numbers(m, body, typed_fields[i].number, typed_fields[i].scalar, &out->typed[i], e))
            return -1;
    return 0;
}

static void take_dimension(struct message *x, struct onnx_value_type *t) {
    struct wire body = {0};
    int64_t value = 0;
    struct text symbol = {"", 0};
    message_bytes(x, &body);
    if (x->failed) return;
    struct message d = message_enter(x->m, body, "Dimension", x->e);
    while (message_next(&d)) { /* one of the two; the last counts */
        if (d.f.number == 1) {
            message_int64(&d, &value);
            symbol = (struct text){"", 0};
        } else if (d.f.number == 2) {
            message_text(&d, &symbol);
            value = 0;
        }
    }
    x->failed = d.failed;
    if (t->rank < SHAPE_MAX_RANK) {
        t->dims[t->rank].value = value > 0 ? value : 0; /* -1 is how some exporters say "any" */
        t->dims[t->rank].symbol = symbol;
    }
    if (t->rank < INT32_MAX) t->rank++;
}

int onnx_value_type_read(struct onnx_model *m, struct wire body, struct onnx_value_type *out, struct err *e) {
    *out = (struct onnx_value_type){0};
    struct wire tensor = {0}, shape = {0};
    struct message x = message_enter(m, body, "TypeProto", e);
    bool other = false;
    while (message_next(&x)) {
        if (x.f.number == 1) out->is_tensor = true;
        if (x.f.number == 4 || x.f.number == 5 || x.f.number == 8 || x.f.number == 9) other = true;
    }
    if (x.failed || message_join(m, body, 1, &tensor, e)) return -1;
    if (other) out->is_tensor = false;

    x = message_enter(m, tensor, "TypeProto.Tensor", e);
    while (message_next(&x)) {
        if (x.f.number == 1) message_int32(&x, &out->elem_type);
        if (x.f.number == 2) out->has_shape = true;
    }
    if (x.failed || message_join(m, tensor, 2, &shape, e)) return -1;

    x = message_enter(m, shape, "TensorShapeProto", e);
    while (message_next(&x))
        if (x.f.number == 1) take_dimension(&x, out);
    return x.failed ? -1 : 0;
}
