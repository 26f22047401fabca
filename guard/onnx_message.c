/* Walking one protobuf message, with errors that say where in the file they are. */
#include "guard/onnx_message.h"

#include <string.h>

struct message message_enter(struct onnx_model *m, struct wire body, const char *name, struct err *e) {
    return (struct message){.m = m, .whole = body, .rest = body, .name = name, .e = e};
}

bool message_zeros_to_end(const struct onnx_model *m, const uint8_t *at) {
    const uint8_t *end = m->bytes + m->size;
    if ((uintptr_t)at < (uintptr_t)m->bytes || (uintptr_t)at >= (uintptr_t)end) return false;
    while (at < end && *at == 0) at++;
    return at == end;
}

/* Some tools give a file its whole length first and fill it later; the zeros
 * then begin anywhere. Joined parts lie outside the file: no position then. */
static void fail_at(struct message *x, const uint8_t *at, const char *what) {
    x->failed = true;
    const uintptr_t offset = (uintptr_t)at - (uintptr_t)x->m->bytes;
    if (message_zeros_to_end(x->m, at)) {
        (void)err_set(x->e, ERR_TRUNCATED,
                      "the file holds nothing but zeros from byte %zu on; the copy is not finished",
                      (size_t)offset);
        return;
    }
    if (offset <= x->m->size)
        (void)err_set(x->e, ERR_FORMAT, "damaged ONNX file: %s in a %s, at byte %zu", what, x->name,
                      (size_t)offset);
    else
        (void)err_set(x->e, ERR_FORMAT, "damaged ONNX file: %s in a %s", what, x->name);
}

void message_fail_memory(struct message *x) {
    x->failed = true;
    (void)err_set(x->e, ERR_LIMIT, "out of memory while reading the ONNX file");
}

bool message_next(struct message *x) {
    if (x->failed) return false;
    switch (wire_take_field(&x->rest, &x->f)) {
    case WIRE_OK: return true;
    case WIRE_END: return false;
    /* The message itself was there in full, so this is no unfinished copy. */
    case WIRE_TRUNCATED: fail_at(x, x->rest.at, "a field runs past the end of its message"); return false;
    default: fail_at(x, x->rest.at, "no field that protobuf knows"); return false;
    }
}

static bool expect(struct message *x, enum wire_type type) {
    if (x->f.type == (uint32_t)type) return true;
    fail_at(x, x->f.start, "a field of the wrong wire type");
    return false;
}

void message_bytes(struct message *x, struct wire *out) {
    if (expect(x, WIRE_BYTES)) *out = x->f.bytes;
}

void message_text(struct message *x, struct text *out) {
    if (expect(x, WIRE_BYTES)) *out = (struct text){(const char *)x->f.bytes.at, wire_left(&x->f.bytes)};
}

void message_int64(struct message *x, int64_t *out) {
    if (expect(x, WIRE_VARINT)) *out = (int64_t)x->f.value;
}

void message_int32(struct message *x, int32_t *out) {
    int64_t v = 0;
    message_int64(x, &v);
    if (v < INT32_MIN || v > INT32_MAX)
        fail_at(x, x->f.start, "a number out of range");
    else
        *out = (int32_t)v;
}

void message_float(struct message *x, float *out) {
    if (!expect(x, WIRE_FIXED32)) return;
    const uint32_t bits = (uint32_t)x->f.value;
    memcpy(out, &bits, sizeof *out);
}

/* What one occurrence adds to the joined bytes. */
static struct wire part_of(struct message *x, bool numbers, enum wire_type scalar) {
    if (x->f.type == WIRE_BYTES) return x->f.bytes;
    if (numbers && x->f.type == (uint32_t)scalar) {
        struct wire w = {x->f.start, x->rest.at};
        uint64_t tag;
        (void)wire_take_varint(&w, &tag); /* read once already */
        return w;
    }
    fail_at(x, x->f.start, "a field of the wrong wire type");
    return (struct wire){x->f.start, x->f.start};
}

static int join(struct onnx_model *m, struct wire body, uint32_t number, bool numbers, enum wire_type scalar,
                struct wire *out, struct err *e) {
    struct message x = message_enter(m, body, "message", e);
    size_t parts = 0, bytes = 0;
    while (message_next(&x)) {
        if (x.f.number != number) continue;
        *out = part_of(&x, numbers, scalar);
        bytes += wire_left(out); /* at most the size of the file */
        parts++;
    }
    if (x.failed) return -1;
    if (parts <= 1) return 0;

    uint8_t *copy = bump_alloc(&m->memory, bytes), *at = copy;
    if (!copy) {
        message_fail_memory(&x);
        return -1;
    }
    for (x.rest = body; message_next(&x);) {
        if (x.f.number != number) continue;
        const struct wire part = part_of(&x, numbers, scalar);
        memcpy(at, part.at, wire_left(&part));
        at += wire_left(&part);
    }
    *out = wire_view(copy, bytes);
    return 0;
}

int message_join(struct onnx_model *m, struct wire body, uint32_t number, struct wire *out, struct err *e) {
    return join(m, body, number, false, WIRE_BYTES, out, e);
}

int message_join_numbers(struct onnx_model *m, struct wire body, uint32_t number, enum wire_type scalar,
                         struct wire *out, struct err *e) {
    return join(m, body, number, true, scalar, out, e);
}
