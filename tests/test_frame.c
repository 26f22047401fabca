/* Frames: what is taken, what is refused and at what price, and that no bytes do harm. */
#include "daemon/frame.h"
#include "tests/mutate.h"
#include "tests/suite.h"

static struct clpd_header good_header(void) {
    return (struct clpd_header){.magic = CLPD_MAGIC,
                                .version = CLPD_WIRE_VERSION,
                                .type = CLPD_INFER,
                                .id = 7,
                                .bytes = FRAME_INFER + 64};
}

static struct frame_verdict read_header(const struct clpd_header *h, struct clpd_header *out) {
    struct frame_verdict v;
    frame_read_header((const uint8_t *)h, out, &v);
    return v;
}

static void header_fields(void) {
    struct clpd_header out, h = good_header();
    CU_ASSERT_EQUAL(read_header(&h, &out).fate, FRAME_TAKE);
    CU_ASSERT_EQUAL(out.id, 7);
    static const struct {
        struct clpd_header change; /* magic, version, type, flags, id, bytes, reserved */
        enum frame_fate fate;
        uint32_t status;
    } cases[] = {
        {{0x44504c42, 1, CLPD_INFER, 0, 7, 200, 0}, FRAME_CLOSES, CLPD_BAD_FRAME},
        {{CLPD_MAGIC, 2, CLPD_INFER, 0, 7, 200, 0}, FRAME_CLOSES, CLPD_BAD_FRAME},
        {{CLPD_MAGIC, 0, CLPD_INFER, 0, 7, 200, 0}, FRAME_CLOSES, CLPD_BAD_FRAME},
        {{CLPD_MAGIC, 1, CLPD_INFER, 0, 7, FRAME_MAX_BODY + 1, 0}, FRAME_CLOSES, CLPD_TOO_LARGE},
        {{CLPD_MAGIC, 1, CLPD_INFER, 0, 7, UINT64_MAX, 0}, FRAME_CLOSES, CLPD_TOO_LARGE},
        {{CLPD_MAGIC, 1, CLPD_INFER, 0, 7, FRAME_MAX_BODY, 0}, FRAME_TAKE, CLPD_OK},
        {{CLPD_MAGIC, 1, CLPD_INFER, 0, 7, FRAME_INFER, 0}, FRAME_TAKE, CLPD_OK},
        {{CLPD_MAGIC, 1, CLPD_INFER, 0, 7, FRAME_INFER - 1, 0}, FRAME_SKIPS, CLPD_BAD_REQUEST},
        {{CLPD_MAGIC, 1, CLPD_INFER, 1, 7, 200, 0}, FRAME_SKIPS, CLPD_BAD_REQUEST},
        {{CLPD_MAGIC, 1, CLPD_INFER, 0, 7, 200, 1}, FRAME_SKIPS, CLPD_BAD_REQUEST},
        {{CLPD_MAGIC, 1, CLPD_STATUS, 0, 7, 0, 0}, FRAME_TAKE, CLPD_OK},
        {{CLPD_MAGIC, 1, CLPD_MODELS, 0, 7, 0, 0}, FRAME_TAKE, CLPD_OK},
        {{CLPD_MAGIC, 1, CLPD_MODELS, 0, 7, 1, 0}, FRAME_SKIPS, CLPD_BAD_REQUEST},
        {{CLPD_MAGIC, 1, CLPD_INFER_REPLY, 0, 7, 200, 0}, FRAME_SKIPS, CLPD_BAD_REQUEST},
        {{CLPD_MAGIC, 1, CLPD_JSON_REPLY, 0, 7, 200, 0}, FRAME_SKIPS, CLPD_BAD_REQUEST},
        {{CLPD_MAGIC, 1, 0, 0, 7, 0, 0}, FRAME_SKIPS, CLPD_BAD_REQUEST},
        {{CLPD_MAGIC, 1, 255, 0, 7, 9, 0}, FRAME_SKIPS, CLPD_BAD_REQUEST},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct frame_verdict v = read_header(&cases[i].change, &out);
        CU_ASSERT_EQUAL(v.fate, cases[i].fate);
        CU_ASSERT_EQUAL(v.status, cases[i].status);
        CU_ASSERT_EQUAL(v.text[0] != 0, v.fate != FRAME_TAKE); /* says why */
        CU_ASSERT_EQUAL(out.id, cases[i].change.magic == CLPD_MAGIC ? 7 : 0);
    }
}

static struct clpd_infer good_infer(void) {
    return (struct clpd_infer){.model = "signs",
                               .top_k = 5,
                               .flags = CLPD_WANT_SCORES,
                               .format = CLPD_F32_NCHW,
                               .dims = {1, 3, 4, 5}};
}

static uint32_t infer_status(const struct clpd_infer *q, const char *word) {
    struct clpd_infer out;
    struct frame_verdict v;
    frame_read_infer((const uint8_t *)q, &out, &v);
    CU_ASSERT_EQUAL(v.fate, v.status == CLPD_OK ? FRAME_TAKE : FRAME_SKIPS);
    CU_ASSERT_EQUAL(memcmp(q, &out, sizeof out), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(v.text, word));
    return v.status;
}

static void infer_fields(void) {
    struct clpd_infer q = good_infer();
    CU_ASSERT_EQUAL(infer_status(&q, ""), CLPD_OK);
    memset(q.model, 'x', sizeof q.model);
    CU_ASSERT_EQUAL(infer_status(&q, "name"), CLPD_BAD_REQUEST);
    q.model[CLPD_MODEL_NAME - 1] = 0;
    CU_ASSERT_EQUAL(infer_status(&q, ""), CLPD_OK);
    q.top_k = CLPD_MAX_TOP_K;
    CU_ASSERT_EQUAL(infer_status(&q, ""), CLPD_OK);
    q.top_k++;
    CU_ASSERT_EQUAL(infer_status(&q, "top_k"), CLPD_BAD_REQUEST);
    q = good_infer();
    q.flags = 2;
    CU_ASSERT_EQUAL(infer_status(&q, "flags"), CLPD_BAD_REQUEST);
    q = good_infer();
    q.format = 2;
    CU_ASSERT_EQUAL(infer_status(&q, "format"), CLPD_BAD_REQUEST);
}

static const struct frame_input picture = {.rank = 4, .dims = {1, 3, 4, 5}, .f32_bytes = 240, .u8_bytes = 60};

/* The items, or minus the status. */
static int64_t match(const struct frame_input *in, uint8_t format, const uint32_t dims[CLPD_MAX_RANK],
                     uint64_t bytes, const char *word) {
    struct clpd_infer q = good_infer();
    struct frame_verdict v;
    uint32_t items = 0;
    q.format = format;
    memcpy(q.dims, dims, sizeof q.dims);
    frame_match(&q, bytes, in, &items, &v);
    CU_ASSERT_PTR_NOT_NULL(strstr(v.text, word));
    return v.fate == FRAME_TAKE ? (int64_t)items : -(int64_t)v.status;
}
#define DIMS(...) ((const uint32_t[CLPD_MAX_RANK]){__VA_ARGS__})

static void shapes(void) {
    const int64_t bad = -CLPD_BAD_SHAPE;
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(1, 3, 4, 5), 240, ""), 1);
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(7, 3, 4, 5), 7 * 240, ""), 7);
    CU_ASSERT_EQUAL(match(&picture, CLPD_U8_NHWC, DIMS(2, 4, 5, 3), 120, ""), 2);
    CU_ASSERT_EQUAL(match(&picture, CLPD_U8_NHWC, DIMS(2, 3, 4, 5), 120, "u8 [N,4,5,3]"), bad);
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(1, 3, 5, 4), 240, "f32 [N,3,4,5]"), bad);
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(1, 3, 4), 48, "f32 [1,3,4]"), bad);
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(1, 3, 4, 5, 1), 240, "[1,3,4,5,1]"), bad);
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(1, 3, 4, 5, 0, 1), 240, "[1,3,4,5,0,1]"), bad);
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(0, 3, 4, 5), 0, ""), bad);
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(0), 0, "f32 []"), bad);
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(1, 3, 4, 5), 239, "239"), bad);
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(1, 3, 4, 5), 241, "240"), bad);
    CU_ASSERT_EQUAL(match(&picture, CLPD_F32_NCHW, DIMS(UINT32_MAX, 3, 4, 5), 240, ""), bad);
    const struct frame_input large = {.rank = 1, .dims = {1}, .f32_bytes = (uint64_t)1 << 33};
    CU_ASSERT_EQUAL(match(&large, CLPD_F32_NCHW, DIMS(1u << 31), 0, ""), bad); /* 2^64 bytes are not 0 */
    const struct frame_input threes = {.rank = 2, .dims = {3, 8}, .f32_bytes = 96};
    CU_ASSERT_EQUAL(match(&threes, CLPD_F32_NCHW, DIMS(6, 8), 192, ""), 2);
    CU_ASSERT_EQUAL(match(&threes, CLPD_F32_NCHW, DIMS(4, 8), 128, "[3N,8]"), bad);
    CU_ASSERT_EQUAL(match(&threes, CLPD_U8_NHWC, DIMS(3, 8), 24, "takes f32 [3N,8]; the request has u8"),
                    bad);
    CU_ASSERT_TRUE(frame_input_equal(&picture, &picture));
    CU_ASSERT_FALSE(frame_input_equal(&picture, &threes));
}

static void refusal(void) {
    uint8_t out[FRAME_REFUSAL + 1];
    char text[2 * FRAME_TEXT];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 0;
    for (int cut = 0; cut < 2; cut++) {
        out[FRAME_REFUSAL] = 0xee;
        const char *say = cut ? text : "why";
        const size_t n = frame_write_refusal(out, CLPD_ERROR, 99, CLPD_BUSY, say);
        struct clpd_header h;
        struct clpd_reply r;
        memcpy(&h, out, sizeof h);
        memcpy(&r, out + sizeof h, sizeof r);
        CU_ASSERT_EQUAL(h.magic, CLPD_MAGIC);
        CU_ASSERT_EQUAL(h.type, CLPD_ERROR);
        CU_ASSERT_EQUAL(h.id, 99);
        CU_ASSERT_EQUAL(n, FRAME_HEADER + h.bytes);
        CU_ASSERT_EQUAL(r.status, CLPD_BUSY);
        CU_ASSERT_EQUAL(h.bytes, sizeof r + r.text_bytes);
        CU_ASSERT_EQUAL(out[n - 1], 0);
        CU_ASSERT_EQUAL(strlen((char *)out + sizeof h + sizeof r) + 1, r.text_bytes);
        CU_ASSERT_EQUAL(out[FRAME_REFUSAL], 0xee);
    }
    CU_ASSERT_STRING_EQUAL(frame_status_name(CLPD_SHUTTING_DOWN), "shutting-down");
    CU_ASSERT_STRING_EQUAL(frame_status_name(12345), "unknown");
}

/* Any bytes, against a page that can't be touched: a verdict that makes sense, and no more read than there
 * is. */
static void rubbish(void) {
    struct mutate_room head, body;
    uint64_t seed = 0x1234567;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&head, FRAME_HEADER), 0);
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&body, FRAME_INFER), 0);
    for (int i = 0; i < 200000; i++) {
        struct clpd_header h = good_header(), got;
        struct clpd_infer q = good_infer(), asked;
        struct frame_verdict v;
        uint32_t items = 0;
        for (size_t k = mutate_below(&seed, 4); k > 0; k--) {
            (void)mutate_once((uint8_t *)&h, sizeof h, sizeof h, NULL, &seed);
            (void)mutate_once((uint8_t *)&q, sizeof q, sizeof q, NULL, &seed);
        }
        frame_read_header(mutate_room_put(&head, (uint8_t *)&h, sizeof h), &got, &v);
        CU_ASSERT_TRUE(memchr(v.text, 0, sizeof v.text) != NULL);
        if (v.fate == FRAME_TAKE && got.type == CLPD_INFER)
            CU_ASSERT_TRUE(got.bytes >= FRAME_INFER && got.bytes <= FRAME_MAX_BODY);
        if (v.fate == FRAME_SKIPS) CU_ASSERT_TRUE(got.bytes <= FRAME_MAX_BODY);
        frame_read_infer(mutate_room_put(&body, (uint8_t *)&q, sizeof q), &asked, &v);
        if (v.fate != FRAME_TAKE) continue;
        CU_ASSERT_TRUE(memchr(asked.model, 0, sizeof asked.model) != NULL);
        frame_match(&asked, 240, &picture, &items, &v);
        if (v.fate == FRAME_TAKE) CU_ASSERT_TRUE(items == 1 || (items == 4 && asked.format == CLPD_U8_NHWC));
    }
    mutate_room_close(&head);
    mutate_room_close(&body);
}

static void control_fields(void) {
    struct clpd_control q = {.model = "signs", .action = CLPD_ROLLBACK}, out;
    struct frame_verdict v;
    frame_read_control((const uint8_t *)&q, &out, &v);
    CU_ASSERT_EQUAL(v.fate, FRAME_TAKE);
    CU_ASSERT_STRING_EQUAL(out.model, "signs");
    q.action = 3;
    frame_read_control((const uint8_t *)&q, &out, &v);
    CU_ASSERT_EQUAL(v.status, CLPD_BAD_REQUEST);
    q.action = CLPD_ACCEPT;
    q.reserved[6] = 1;
    frame_read_control((const uint8_t *)&q, &out, &v);
    CU_ASSERT_EQUAL(v.status, CLPD_BAD_REQUEST);
    q.reserved[6] = 0;
    q.model[0] = 0;
    frame_read_control((const uint8_t *)&q, &out, &v);
    CU_ASSERT_EQUAL(v.status, CLPD_BAD_REQUEST);
    memset(q.model, 'x', sizeof q.model);
    frame_read_control((const uint8_t *)&q, &out, &v);
    CU_ASSERT_EQUAL(v.status, CLPD_BAD_REQUEST);
}

SUITE(frame, {"control: every field", control_fields}, {"header: every field", header_fields},
      {"request: every field", infer_fields}, {"tensors against a model", shapes}, {"error replies", refusal},
      {"200,000 mutated frames", rubbish});
