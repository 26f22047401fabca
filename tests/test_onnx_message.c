/* guard/onnx_message: walking a message, and fields that come in parts. */
#include "guard/onnx_message.h"
#include "tests/onnx_build.h"
#include "tests/suite.h"

#include <string.h>

static struct onnx_model model;
static struct err e;

static struct wire begin(const struct pb *b) {
    model = (struct onnx_model){.bytes = b->p, .size = b->n};
    e = (struct err){0};
    return wire_view(b->p, b->n);
}

static void end(struct pb *b) {
    bump_free(&model.memory);
    pb_free(b);
}

static void fields_by_their_types(void) {
    struct pb b = {0};
    pb_text(&b, 1, "name");
    pb_int(&b, 2, -7);
    pb_float(&b, 3, 2.5f);
    struct message x = message_enter(&model, begin(&b), "Test", &e);
    struct text name = {"", 0};
    int64_t wide = 0;
    float f = 0;
    CU_ASSERT(message_next(&x));
    message_text(&x, &name);
    CU_ASSERT(message_next(&x));
    message_int64(&x, &wide);
    CU_ASSERT(message_next(&x));
    message_float(&x, &f);
    CU_ASSERT(!message_next(&x) && !x.failed);
    CU_ASSERT(text_is(name, "name") && wide == -7 && f == 2.5f);
    end(&b);
}

static void the_first_error_ends_the_walk(void) {
    struct pb b = {0};
    pb_int(&b, 1, 5);
    pb_int(&b, 2, (int64_t)1 << 40);
    pb_int(&b, 3, 1);
    struct message x = message_enter(&model, begin(&b), "Test", &e);
    struct text name;
    CU_ASSERT(message_next(&x));
    message_text(&x, &name); /* it is a number */
    CU_ASSERT(x.failed && !message_next(&x));
    CU_ASSERT(e.code == ERR_FORMAT && strstr(e.text, "a field of the wrong wire type in a Test, at byte 0"));
    x = message_enter(&model, wire_view(b.p, b.n), "Test", &e);
    int32_t narrow = 0;
    CU_ASSERT(message_next(&x) && message_next(&x));
    message_int32(&x, &narrow);
    CU_ASSERT(x.failed && strstr(e.text, "a number out of range in a Test, at byte 2"));
    end(&b);
}

static void one_part_is_a_view(void) {
    struct pb b = {0};
    struct wire out = {0};
    pb_text(&b, 1, "before");
    pb_text(&b, 7, "the part");
    const struct wire w = begin(&b);
    CU_ASSERT_EQUAL(message_join(&model, w, 7, &out, &e), 0);
    CU_ASSERT(wire_left(&out) == 8 && out.at > b.p && out.end == b.p + b.n);
    out = (struct wire){0};
    CU_ASSERT_EQUAL(message_join(&model, w, 8, &out, &e), 0);
    CU_ASSERT(wire_left(&out) == 0);
    CU_ASSERT_PTR_NULL(model.memory.chunks);
    end(&b);
}

static void several_parts_are_joined(void) {
    struct pb b = {0};
    struct wire out = {0};
    pb_text(&b, 7, "one,");
    pb_text(&b, 1, "between");
    pb_text(&b, 7, "");
    pb_text(&b, 7, "two");
    CU_ASSERT_EQUAL(message_join(&model, begin(&b), 7, &out, &e), 0);
    CU_ASSERT(wire_left(&out) == 7 && memcmp(out.at, "one,two", 7) == 0);
    end(&b);
}

static void numbers_alone_and_packed(void) {
    struct pb b = {0};
    struct wire out = {0};
    pb_int(&b, 8, 300);
    pb_bytes(&b, 8, "\1\2", 2);
    pb_int(&b, 8, 3);
    CU_ASSERT_EQUAL(message_join_numbers(&model, begin(&b), 8, WIRE_VARINT, &out, &e), 0);
    CU_ASSERT(wire_left(&out) == 5 && memcmp(out.at, "\xac\2\1\2\3", 5) == 0);
    pb_float(&b, 8, 1);
    CU_ASSERT_EQUAL(message_join_numbers(&model, wire_view(b.p, b.n), 8, WIRE_VARINT, &out, &e), -1);
    CU_ASSERT(e.code == ERR_FORMAT);
    end(&b);
}

static void zeros_to_the_end(void) {
    struct pb b = {0};
    pb_raw(&b, "\1\0\2\0\0", 5);
    (void)begin(&b);
    CU_ASSERT(message_zeros_to_end(&model, b.p + 3) && message_zeros_to_end(&model, b.p + 4));
    CU_ASSERT(!message_zeros_to_end(&model, b.p + 1) && !message_zeros_to_end(&model, b.p + 5));
    CU_ASSERT(!message_zeros_to_end(&model, (const uint8_t *)&model));
    end(&b);
}

SUITE(onnx_message, {"fields by their types", fields_by_their_types},
      {"the first error ends the walk", the_first_error_ends_the_walk},
      {"one part is a view", one_part_is_a_view}, {"several parts are joined", several_parts_are_joined},
      {"numbers alone and packed", numbers_alone_and_packed},
      {"zeros to the end of the file", zeros_to_the_end});
