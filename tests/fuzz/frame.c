/* Frames of any content, as they arrive at the daemon: a 32-byte header, the fields of a
 * request, then how many bytes of tensor (8) and the model that they are held against. */
#include "daemon/frame.h"
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

static void check(const struct frame_verdict *v) {
    FUZZ_MUST(memchr(v->text, 0, sizeof v->text), "unterminated");
    FUZZ_MUST((v->fate == FRAME_TAKE) == (v->status == CLPD_OK), "%u", v->status);
    uint8_t *out = malloc(FRAME_REFUSAL);
    if (!out) return;
    const size_t n = frame_write_refusal(out, CLPD_ERROR, 1, v->status, v->text);
    FUZZ_MUST(n <= FRAME_REFUSAL && frame_status_name(v->status), "%zu", n);
    free(out);
}

static void match(const struct clpd_infer *q, uint64_t tensor, uint32_t model) {
    static const struct frame_input models[] = {
        {.rank = 4, .dims = {1, 3, 48, 48}, .f32_bytes = 27648, .u8_bytes = 6912},
        {.rank = 4, .dims = {8, 1, 2, 2}, .f32_bytes = 128, .u8_bytes = 32},
        {.rank = 2, .dims = {1, 4}, .f32_bytes = 16},
        {.rank = 6, .dims = {1, 65535, 65535, UINT32_MAX, UINT32_MAX, UINT32_MAX}, .f32_bytes = UINT64_MAX},
    };
    const struct frame_input *in = &models[model % (sizeof models / sizeof *models)];
    struct frame_verdict v;
    uint32_t items = 0;
    frame_match(q, tensor, in, &items, &v);
    check(&v);
    if (v.fate != FRAME_TAKE) return;
    const uint64_t each = q->format == CLPD_U8_NHWC ? in->u8_bytes : in->f32_bytes;
    FUZZ_MUST(items > 0 && tensor / each == items && tensor % each == 0, "%u items", items);
}

FUZZ(frame, 512) {
    struct clpd_header h;
    struct clpd_infer q;
    struct frame_verdict v;
    uint64_t tensor;
    if (size < FRAME_HEADER) return 0;
    frame_read_header(bytes, &h, &v);
    check(&v);
    if (size >= FRAME_HEADER + sizeof(struct clpd_control)) {
        struct clpd_control control;
        frame_read_control(bytes + FRAME_HEADER, &control, &v);
        check(&v);
        FUZZ_MUST(v.fate != FRAME_TAKE ||
                      (control.model[0] && memchr(control.model, 0, sizeof control.model)),
                  "model");
    }
    if (size < FRAME_HEADER + FRAME_INFER + sizeof tensor + 1) return 0;
    frame_read_infer(bytes + FRAME_HEADER, &q, &v);
    check(&v);
    memcpy(&tensor, bytes + FRAME_HEADER + FRAME_INFER, sizeof tensor);
    if (v.fate == FRAME_TAKE) match(&q, tensor, bytes[FRAME_HEADER + FRAME_INFER + sizeof tensor]);
    return 0;
}
