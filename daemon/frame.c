/* The structures of client/wire.h are the wire on little-endian machines, the only ones we build for. */
#include "daemon/frame.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are read as they lie");

bool frame_refuse(struct frame_verdict *v, enum frame_fate fate, uint32_t status, const char *fmt, ...) {
    va_list args;
    v->fate = fate;
    v->status = status;
    va_start(args, fmt);
    (void)vsnprintf(v->text, sizeof v->text, fmt, args);
    va_end(args);
    return false;
}

static void pass(struct frame_verdict *v) {
    v->fate = FRAME_TAKE;
    v->status = CLPD_OK;
    v->text[0] = 0;
}

/* --- reading -------------------------------------------------------------------------- */

void frame_read_header(const uint8_t *bytes, struct clpd_header *h, struct frame_verdict *v) {
    memcpy(h, bytes, sizeof *h);
    if (h->magic != CLPD_MAGIC) {
        h->id = 0; /* not an id of this protocol */
        (void)frame_refuse(v, FRAME_CLOSES, CLPD_BAD_FRAME,
                           "a frame begins with the bytes \"CLPD\", not with %02x %02x %02x %02x", bytes[0],
                           bytes[1], bytes[2], bytes[3]);
    } else if (h->version != CLPD_WIRE_VERSION) {
        (void)frame_refuse(v, FRAME_CLOSES, CLPD_BAD_FRAME,
                           "protocol version %u; this daemon speaks version %d", h->version,
                           CLPD_WIRE_VERSION);
    } else if (h->bytes > FRAME_MAX_BODY) {
        (void)frame_refuse(v, FRAME_CLOSES, CLPD_TOO_LARGE,
                           "a body of %" PRIu64 " bytes; no frame has more than %" PRIu64, h->bytes,
                           FRAME_MAX_BODY);
    } else if (h->flags != 0 || h->reserved != 0) {
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST,
                           "flags and reserved of the header have to be 0 in version %d", CLPD_WIRE_VERSION);
    } else if (h->type != CLPD_INFER && h->type != CLPD_STATUS && h->type != CLPD_MODELS &&
               h->type != CLPD_RING_OPEN && h->type != CLPD_CONTROL) {
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST, "frames of type %u are not for the daemon",
                           h->type);
    } else if (h->type == CLPD_RING_OPEN && h->bytes != sizeof(struct clpd_ring_open)) {
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST,
                           "a RING_OPEN frame has %zu bytes; this one has %" PRIu64,
                           sizeof(struct clpd_ring_open), h->bytes);
    } else if (h->type == CLPD_CONTROL && h->bytes != sizeof(struct clpd_control)) {
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST,
                           "a CONTROL frame has %zu bytes; this one has %" PRIu64,
                           sizeof(struct clpd_control), h->bytes);
    } else if (h->type == CLPD_INFER && h->bytes < FRAME_INFER) {
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST,
                           "an INFER frame has %zu bytes and then the tensor; this one has %" PRIu64,
                           FRAME_INFER, h->bytes);
    } else if (h->type != CLPD_INFER && h->type != CLPD_RING_OPEN && h->type != CLPD_CONTROL &&
               h->bytes != 0) {
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST, "frames of type %u have no body", h->type);
    } else {
        pass(v);
    }
}

void frame_read_infer(const uint8_t *bytes, struct clpd_infer *q, struct frame_verdict *v) {
    memcpy(q, bytes, sizeof *q);
    frame_check_infer(q, v);
}

void frame_check_infer(const struct clpd_infer *q, struct frame_verdict *v) {
    if (!memchr(q->model, 0, sizeof q->model))
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST, "the model's name does not end within %d bytes",
                           CLPD_MODEL_NAME);
    else if (q->top_k > CLPD_MAX_TOP_K)
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST, "top_k %u is more than %d", q->top_k,
                           CLPD_MAX_TOP_K);
    else if (q->flags & ~CLPD_WANT_SCORES)
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST, "flags 0x%02x: only 0x%02x (scores) is known",
                           q->flags, CLPD_WANT_SCORES);
    else if (q->format != CLPD_F32_NCHW && q->format != CLPD_U8_NHWC)
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST, "format %u: 0 is float32 NCHW, 1 is uint8 NHWC",
                           q->format);
    else
        pass(v);
}

void frame_read_control(const uint8_t *bytes, struct clpd_control *q, struct frame_verdict *v) {
    static const uint32_t zeros[7];
    memcpy(q, bytes, sizeof *q);
    if (!memchr(q->model, 0, sizeof q->model) || !q->model[0])
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST,
                           "a CONTROL frame names a model, in less than %d bytes", CLPD_MODEL_NAME);
    else if (q->action != CLPD_ROLLBACK && q->action != CLPD_ACCEPT)
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST, "action %u: 1 is rollback, 2 is accept",
                           q->action);
    else if (memcmp(q->reserved, zeros, sizeof zeros) != 0)
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST, "the reserved fields of CONTROL have to be 0");
    else
        pass(v);
}

/* --- the tensor against the model ------------------------------------------------------- */

bool frame_input_equal(const struct frame_input *a, const struct frame_input *b) {
    return a->rank == b->rank && memcmp(a->dims, b->dims, sizeof a->dims) == 0 &&
           a->f32_bytes == b->f32_bytes && a->u8_bytes == b->u8_bytes;
}

/* The model's dimensions in the order that `format` has them, the batch first. */
static void wanted_dims(const struct frame_input *in, uint32_t format, uint32_t out[CLPD_MAX_RANK]) {
    memcpy(out, in->dims, sizeof in->dims);
    if (format != CLPD_U8_NHWC) return;
    out[1] = in->dims[2]; /* C, H, W -> H, W, C */
    out[2] = in->dims[3];
    out[3] = in->dims[1];
}

/* "f32 [N,3,48,48]"; N of any size, "4N" where it has to be a multiple of 4; then the dimensions as they are.
 */
static void print_dims(char *out, size_t room, uint32_t format, const uint32_t *dims, uint32_t rank,
                       bool any_batch) {
    int n = snprintf(out, room, "%s [", format == CLPD_U8_NHWC ? "u8" : "f32");
    for (uint32_t i = 0; i < rank && n > 0 && (size_t)n < room; i++) {
        char first[16] = "N";
        if (dims[0] > 1) (void)snprintf(first, sizeof first, "%uN", dims[0]);
        const char *comma = i ? "," : "";
        if (i == 0 && any_batch)
            n += snprintf(out + n, room - (size_t)n, "%s", first);
        else
            n += snprintf(out + n, room - (size_t)n, "%s%u", comma, dims[i]);
    }
    if (n > 0 && (size_t)n < room) (void)snprintf(out + n, room - (size_t)n, "]");
}

static void refuse_shape(struct frame_verdict *v, const struct clpd_infer *q, const struct frame_input *in) {
    char takes[96], pictures[96] = "", got[96];
    uint32_t want[CLPD_MAX_RANK], rank = CLPD_MAX_RANK;
    wanted_dims(in, CLPD_F32_NCHW, want);
    print_dims(takes, sizeof takes, CLPD_F32_NCHW, want, in->rank, true);
    if (in->u8_bytes) {
        wanted_dims(in, CLPD_U8_NHWC, want);
        (void)snprintf(pictures, sizeof pictures, " or ");
        print_dims(pictures + 4, sizeof pictures - 4, CLPD_U8_NHWC, want, in->rank, true);
    }
    while (rank > 0 && q->dims[rank - 1] == 0) rank--;
    print_dims(got, sizeof got, q->format, q->dims, rank, false);
    (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_SHAPE, "this model takes %s%s; the request has %s", takes,
                       pictures, got);
}

void frame_match(const struct clpd_infer *q, uint64_t tensor_bytes, const struct frame_input *in,
                 uint32_t *items, struct frame_verdict *v) {
    const bool pictures = q->format == CLPD_U8_NHWC;
    const uint64_t item_bytes = pictures ? in->u8_bytes : in->f32_bytes;
    uint32_t want[CLPD_MAX_RANK] = {0};
    if (item_bytes) wanted_dims(in, q->format, want); /* 0: a model that takes no pictures */
    bool same = item_bytes != 0 && q->dims[0] != 0 && q->dims[0] % in->dims[0] == 0;
    for (uint32_t i = 1; i < CLPD_MAX_RANK; i++) same = same && q->dims[i] == (i < in->rank ? want[i] : 0);
    if (!same) {
        refuse_shape(v, q, in);
        return;
    }
    const uint64_t n = q->dims[0] / in->dims[0];
    uint64_t bytes;
    if (__builtin_mul_overflow(n, item_bytes, &bytes)) bytes = UINT64_MAX;
    if (bytes != tensor_bytes) {
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BAD_SHAPE,
                           "these dimensions make %" PRIu64 " bytes, and the frame brings %" PRIu64, bytes,
                           tensor_bytes);
        return;
    }
    *items = (uint32_t)n;
    pass(v);
}

/* --- writing ------------------------------------------------------------------------------ */

size_t frame_write_header(uint8_t *out, uint8_t type, uint64_t id, uint64_t bytes) {
    const struct clpd_header h = {
        .magic = CLPD_MAGIC, .version = CLPD_WIRE_VERSION, .type = type, .id = id, .bytes = bytes};
    memcpy(out, &h, sizeof h);
    return sizeof h;
}

size_t frame_write_refusal(uint8_t *out, uint8_t type, uint64_t id, uint32_t status, const char *text) {
    size_t n = strnlen(text, FRAME_TEXT - 1);
    const struct clpd_reply r = {.status = status, .text_bytes = (uint32_t)n + 1};
    uint8_t *at = out + frame_write_header(out, type, id, sizeof r + n + 1);
    memcpy(at, &r, sizeof r);
    memcpy(at + sizeof r, text, n);
    at[sizeof r + n] = 0;
    return FRAME_HEADER + sizeof r + n + 1;
}

const char *frame_status_name(uint32_t status) {
    static const char *const names[] = {"ok",        "busy",          "deadline",  "no-model",
                                        "bad-shape", "bad-request",   "too-large", "bad-frame",
                                        "internal",  "shutting-down", "forbidden"};
    return status < sizeof names / sizeof names[0] ? names[status] : "unknown";
}
