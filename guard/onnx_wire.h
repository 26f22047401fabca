/* Protobuf's wire format as far as ONNX needs it: tags, varints and
 * length-delimited views, each step bounded by the end of its message.
 *
 * Nothing is copied and nothing recurses: a message is a view, its fields are
 * taken one after the other, and a field that is a message is a view again.
 * Groups (deprecated, in no ONNX schema) are refused, so a skipped field never
 * nests. Pure functions, any thread. */
#ifndef GUARD_ONNX_WIRE_H
#define GUARD_ONNX_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire { /* the unread rest of a message */
    const uint8_t *at, *end;
};

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

enum wire_result {
    WIRE_MALFORMED = -2, /* no writer produces this */
    WIRE_TRUNCATED = -1, /* the message ends inside a field */
    WIRE_END = 0,
    WIRE_OK = 1
};

struct wire_field {
    uint32_t number;      /* 1 … 2^29 - 1 */
    uint32_t type;        /* enum wire_type */
    uint64_t value;       /* of a varint or a fixed field */
    struct wire bytes;    /* of a length-delimited one */
    const uint8_t *start; /* the first byte of its tag */
};

static inline struct wire wire_view(const uint8_t *bytes, size_t size) {
    return (struct wire){bytes, bytes + size};
}
static inline size_t wire_left(const struct wire *w) {
    return (size_t)(w->end - w->at);
}

enum wire_result wire_take_varint(struct wire *w, uint64_t *value);
/* Little-endian, `n` bytes: 4 or 8. */
enum wire_result wire_take_fixed(struct wire *w, unsigned n, uint64_t *value);
/* The next field, or WIRE_END. After an error w->at is where the field began. */
enum wire_result wire_take_field(struct wire *w, struct wire_field *f);

#define WIRE_VARINT_MAX 10
/* Writes a varint, returns its length; `out` may be NULL. */
size_t wire_put_varint(uint8_t *out, uint64_t value);

#endif
