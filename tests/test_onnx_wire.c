/* guard/onnx_wire: every field as sent, and no read past the end of a message. */
#include "guard/onnx_wire.h"
#include "tests/mutate.h"
#include "tests/onnx_build.h"
#include "tests/suite.h"

static void varints_round_trip(void) {
    static const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        uint8_t bytes[WIRE_VARINT_MAX];
        uint64_t got = 1;
        const size_t n = wire_put_varint(bytes, values[i]);
        CU_ASSERT_EQUAL(wire_put_varint(NULL, values[i]), n);
        struct wire w = wire_view(bytes, n);
        CU_ASSERT_EQUAL(wire_take_varint(&w, &got), WIRE_OK);
        CU_ASSERT_EQUAL(got, values[i]);
        CU_ASSERT_EQUAL(wire_left(&w), 0);
    }
}

static void overlong_varints_are_malformed(void) {
    uint8_t bytes[11];
    uint64_t v;
    memset(bytes, 0xff, sizeof bytes);
    struct wire w = wire_view(bytes, sizeof bytes);
    CU_ASSERT_EQUAL(wire_take_varint(&w, &v), WIRE_MALFORMED);
    bytes[9] = 2; /* the 65th bit */
    w = wire_view(bytes, 10);
    CU_ASSERT_EQUAL(wire_take_varint(&w, &v), WIRE_MALFORMED);
    bytes[9] = 1;
    w = wire_view(bytes, 10);
    CU_ASSERT_EQUAL(wire_take_varint(&w, &v), WIRE_OK);
    CU_ASSERT_EQUAL(v, UINT64_MAX);
}

static void every_kind_of_field(void) {
    struct pb b = {0};
    struct wire_field f;
    pb_int(&b, 3, -2);
    pb_float(&b, 4, 1.5f);
    pb_varint(&b, 5 << 3 | 1);
    pb_raw(&b, "\1\2\3\4\5\6\7\x88", 8);
    pb_text(&b, 1000, "name");
    struct wire w = wire_view(b.p, b.n);
    CU_ASSERT_EQUAL(wire_take_field(&w, &f), WIRE_OK);
    CU_ASSERT(f.number == 3 && f.type == WIRE_VARINT && f.value == (uint64_t)-2 && f.start == b.p);
    CU_ASSERT_EQUAL(wire_take_field(&w, &f), WIRE_OK);
    CU_ASSERT(f.number == 4 && f.type == WIRE_FIXED32 && f.value == 0x3fc00000);
    CU_ASSERT_EQUAL(wire_take_field(&w, &f), WIRE_OK);
    CU_ASSERT(f.number == 5 && f.type == WIRE_FIXED64 && f.value == 0x8807060504030201);
    CU_ASSERT_EQUAL(wire_take_field(&w, &f), WIRE_OK);
    CU_ASSERT(f.number == 1000 && wire_left(&f.bytes) == 4 && memcmp(f.bytes.at, "name", 4) == 0);
    CU_ASSERT_EQUAL(wire_take_field(&w, &f), WIRE_END);
    pb_free(&b);
}

/* Against a guard page: each prefix ends inside a field, and nothing behind it is touched. */
static void prefixes_are_truncated(void) {
    struct pb b = {0};
    struct mutate_room room;
    pb_text(&b, 2000, "some text that is longer than its header");
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, b.n), 0);
    for (size_t n = 1; n < b.n; n++) {
        const uint8_t *p = mutate_room_put(&room, b.p, n);
        struct wire w = wire_view(p, n);
        struct wire_field f;
        CU_ASSERT_EQUAL(wire_take_field(&w, &f), WIRE_TRUNCATED);
        CU_ASSERT_PTR_EQUAL(w.at, p);
    }
    mutate_room_close(&room);
    pb_free(&b);
}

static void what_no_writer_sends(void) {
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\0\1", 2},                   /* field 0 */
        {"\x0b", 1},                   /* a group begins */
        {"\x0c", 1},                   /* a group ends */
        {"\x0e\1", 2},                 /* wire type 6 */
        {"\x88\x80\x80\x80\x10\1", 6}, /* a tag of 33 bits */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct wire w = wire_view((const uint8_t *)bad[i].bytes, bad[i].n);
        struct wire_field f;
        CU_ASSERT_EQUAL(wire_take_field(&w, &f), WIRE_MALFORMED);
    }
    struct wire w = wire_view((const uint8_t *)"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11);
    struct wire_field f;
    CU_ASSERT_EQUAL(wire_take_field(&w, &f), WIRE_TRUNCATED); /* a length of 2^64 - 1 does not wrap */
}

SUITE(onnx_wire, {"varints round-trip", varints_round_trip},
      {"overlong varints are malformed", overlong_varints_are_malformed},
      {"every kind of field", every_kind_of_field},
      {"prefixes are truncated, nothing past the end is read", prefixes_are_truncated},
      {"what no writer sends is malformed", what_no_writer_sends});
