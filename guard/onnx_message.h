/* Walking one protobuf message with errors for people: what onnx_model.c and
 * onnx_tensor.c share. The first error sticks and ends the walk.
 *
 *     struct message x = message_enter(m, body, "NodeProto", e);
 *     while (message_next(&x)) switch (x.f.number) { case 3: message_text(&x, &name); … }
 *     return x.failed ? -1 : 0;
 */
#ifndef GUARD_ONNX_MESSAGE_H
#define GUARD_ONNX_MESSAGE_H

#include "guard/onnx_model.h"

struct message {
    struct onnx_model *m;
    struct wire whole, rest;
    const char *name;    /* of the message, for errors */
    struct wire_field f; /* the current field */
    bool failed;
    struct err *e;
};

struct message message_enter(struct onnx_model *m, struct wire body, const char *name, struct err *e);
bool message_next(struct message *x);

/* Take the current field; the wire type must be the one that the schema gives it. */
void message_bytes(struct message *x, struct wire *out);
void message_text(struct message *x, struct text *out);
void message_int64(struct message *x, int64_t *out);
void message_int32(struct message *x, int32_t *out);
void message_float(struct message *x, float *out);
void message_fail_memory(struct message *x);
/* The file holds nothing but zeros from here on. */
bool message_zeros_to_end(const struct onnx_model *m, const uint8_t *at);

/* Field `number` of a message, which may have come in several parts: joined. A
 * singular message in parts means their concatenation; and repeated numbers
 * (`scalar` is their wire type) may come packed, one by one, or mixed.
 * A view where there is one part, as nearly always; else memory of the model. */
int message_join(struct onnx_model *m, struct wire body, uint32_t number, struct wire *out, struct err *e);
int message_join_numbers(struct onnx_model *m, struct wire body, uint32_t number, enum wire_type scalar,
                         struct wire *out, struct err *e);

#endif
