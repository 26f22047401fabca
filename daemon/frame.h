/* Reads and writes the frames of client/wire.h. Pure: (bytes, size) in, no
 * descriptor, no global; every field is checked before anything relies on it.
 *
 * What a bad field costs is decided here: CLOSES where the stream's framing can't
 * be trusted any more, SKIPS where the body can be dropped and the stream goes on. */
#ifndef DAEMON_FRAME_H
#define DAEMON_FRAME_H

#include "client/ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER   sizeof(struct clpd_header)
#define FRAME_INFER    sizeof(struct clpd_infer)
#define FRAME_MAX_BODY (((uint64_t)1 << 30) + FRAME_INFER) /* limits.request_bytes goes up to 1 GiB */
#define FRAME_TEXT     320                                 /* of an error reply, with the NUL */
#define FRAME_REFUSAL  (FRAME_HEADER + sizeof(struct clpd_reply) + FRAME_TEXT)
#define FRAME_MAX_RANK CLPD_MAX_RANK

enum frame_fate { FRAME_TAKE, FRAME_SKIPS, FRAME_CLOSES };

struct frame_verdict {
    enum frame_fate fate;
    uint32_t status; /* enum clpd_status; CLPD_OK with FRAME_TAKE */
    char text[FRAME_TEXT];
};

/* Fills in a refusal; false, for who answers by it. */
bool frame_refuse(struct frame_verdict *v, enum frame_fate fate, uint32_t status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Checks a header. `bytes` holds FRAME_HEADER of them or more; *h is set even
 * where the verdict is bad, since the reply needs the id. */
void frame_read_header(const uint8_t *bytes, struct clpd_header *h, struct frame_verdict *v);

/* Checks the fields of a request that need no model. `bytes` holds FRAME_INFER of them or more. */
void frame_read_infer(const uint8_t *bytes, struct clpd_infer *q, struct frame_verdict *v);
/* `bytes` holds a whole clpd_control. */
void frame_read_control(const uint8_t *bytes, struct clpd_control *q, struct frame_verdict *v);
void frame_check_infer(const struct clpd_infer *q, struct frame_verdict *v); /* the same of a copy */

/* What a model takes; one item as the engine counts them. */
struct frame_input {
    uint32_t rank;                 /* 1 .. FRAME_MAX_RANK */
    uint32_t dims[FRAME_MAX_RANK]; /* of one item; dims[0] is 1, or K where pictures come in Ks */
    uint64_t f32_bytes, u8_bytes;  /* of one item; u8_bytes 0: no pictures, F32 alone */
};
bool frame_input_equal(const struct frame_input *a, const struct frame_input *b);

/* Holds dims, format and length of the tensor against the model. *items is set with FRAME_TAKE. */
void frame_match(const struct clpd_infer *q, uint64_t tensor_bytes, const struct frame_input *in,
                 uint32_t *items, struct frame_verdict *v);

/* Writes a header, or a whole error reply (`out` has FRAME_REFUSAL bytes); give back its size. */
size_t frame_write_header(uint8_t *out, uint8_t type, uint64_t id, uint64_t bytes);
size_t frame_write_refusal(uint8_t *out, uint8_t type, uint64_t id, uint32_t status, const char *text);

/* A whole frame that waits to be sent; embedded in what owns the bytes. */
struct frame_out {
    struct frame_out *next;
    const uint8_t *bytes;
    size_t n;
    uint8_t kind; /* the transport's */
};

/* "busy", "bad-shape", …: for logs and counters. */
const char *frame_status_name(uint32_t status);

#endif
