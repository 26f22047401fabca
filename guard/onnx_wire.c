/* Protobuf's wire format: every read is checked against the end of its message. */
#include "guard/onnx_wire.h"

enum wire_result wire_take_varint(struct wire *w, uint64_t *value) {
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (w->at == w->end) return WIRE_TRUNCATED;
        const uint8_t b = *w->at++;
        /* The tenth byte holds one bit; more would be lost, and no writer sends it. */
        if (shift == 63 && b > 1) return WIRE_MALFORMED;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) break;
    }
    *value = v;
    return WIRE_OK;
}

enum wire_result wire_take_fixed(struct wire *w, unsigned n, uint64_t *value) {
    if (wire_left(w) < n) return WIRE_TRUNCATED;
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++) v |= (uint64_t)w->at[i] << (8 * i);
    w->at += n;
    *value = v;
    return WIRE_OK;
}

static enum wire_result take_bytes(struct wire *w, struct wire *bytes) {
    uint64_t n;
    const enum wire_result r = wire_take_varint(w, &n);
    if (r != WIRE_OK) return r;
    if (n > wire_left(w)) return WIRE_TRUNCATED;
    *bytes = wire_view(w->at, (size_t)n);
    w->at += n;
    return WIRE_OK;
}

static enum wire_result take_payload(struct wire *w, struct wire_field *f) {
    switch (f->type) {
    case WIRE_VARINT: return wire_take_varint(w, &f->value);
    case WIRE_FIXED64: return wire_take_fixed(w, 8, &f->value);
    case WIRE_FIXED32: return wire_take_fixed(w, 4, &f->value);
    case WIRE_BYTES: return take_bytes(w, &f->bytes);
    default: return WIRE_MALFORMED;
    }
}

enum wire_result wire_take_field(struct wire *w, struct wire_field *f) {
    if (w->at == w->end) return WIRE_END;
    const uint8_t *start = w->at;
    uint64_t tag = 0;
    enum wire_result r = wire_take_varint(w, &tag);
    if (r == WIRE_OK && (tag > UINT32_MAX || tag >> 3 == 0)) r = WIRE_MALFORMED;
    if (r == WIRE_OK) {
        *f = (struct wire_field){.number = (uint32_t)tag >> 3, .type = tag & 7, .start = start};
        r = take_payload(w, f);
    }
    if (r != WIRE_OK) w->at = start;
    return r;
}

size_t wire_put_varint(uint8_t *out, uint64_t value) {
    size_t n = 0;
    do {
        const uint8_t more = value > 0x7f ? 0x80 : 0;
        if (out) out[n] = (uint8_t)((value & 0x7f) | more);
        n++;
        value >>= 7;
    } while (value);
    return n;
}
