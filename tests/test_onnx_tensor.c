/* guard/onnx_tensor: TensorProto and TypeProto as they stand in the file. */
#include "guard/onnx_model.h"
#include "tests/onnx_build.h"
#include "tests/suite.h"

#include <string.h>

static struct onnx_model model;
static struct err e;

static bool read_tensor(struct pb *b, struct onnx_tensor *t) {
    model = (struct onnx_model){.bytes = b->p, .size = b->n};
    e = (struct err){0};
    return onnx_tensor_read(&model, wire_view(b->p, b->n), t, &e) == 0;
}

static void end(struct pb *b) {
    bump_free(&model.memory);
    pb_free(b);
}

static void fields_of_a_tensor(void) {
    struct onnx_tensor t;
    struct pb b = tensor_raw("w", ONNX_FLOAT16, "2x300", "abcd", 4);
    CU_ASSERT(read_tensor(&b, &t));
    CU_ASSERT(text_is(t.name, "w") && t.type == ONNX_FLOAT16 && t.n_dims == 2 && t.dims[1] == 300);
    CU_ASSERT(t.has_raw && wire_left(&t.raw) == 4 && t.raw.at > b.p && !t.is_external && !t.has_strings);
    end(&b);
    b = tensor_raw("w", ONNX_FLOAT, "", "1234", 4);
    pb_bytes(&b, 9, "5678", 4); /* the last one counts, as for every singular field */
    CU_ASSERT(read_tensor(&b, &t));
    CU_ASSERT(t.n_dims == 0 && memcmp(t.raw.at, "5678", 4) == 0);
    end(&b);
}

static void dims_packed_and_too_many(void) {
    struct onnx_tensor t;
    struct pb b = {0};
    pb_bytes(&b, 1, "\2\xac\2", 3);
    pb_int(&b, 1, 7);
    CU_ASSERT(read_tensor(&b, &t));
    CU_ASSERT(t.n_dims == 3 && t.dims[0] == 2 && t.dims[1] == 300 && t.dims[2] == 7);
    for (int i = 0; i < 20; i++) pb_int(&b, 1, 1);
    CU_ASSERT(read_tensor(&b, &t));
    CU_ASSERT_EQUAL(t.n_dims, 23);
    pb_bytes(&b, 1, "\x80", 1);
    CU_ASSERT(!read_tensor(&b, &t));
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "dims of a tensor end inside a number"));
    end(&b);
}

static void entries_of_external_data(void) {
    static const char *const pairs[][2] = {
        {"location", "old"}, {"offset", "12"}, {"checksum", "x"}, {"length", "34"}, {"location", "new"}};
    struct onnx_tensor t;
    struct pb b = {0};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct pb pair = {0};
        pb_text(&pair, 1, pairs[i][0]);
        pb_text(&pair, 2, pairs[i][1]);
        pb_message(&b, 13, &pair);
    }
    CU_ASSERT(read_tensor(&b, &t));
    CU_ASSERT(!t.is_external); /* only the location's own field says so */
    pb_int(&b, 14, 1);
    CU_ASSERT(read_tensor(&b, &t));
    CU_ASSERT(t.is_external && text_is(t.location, "new") && text_is(t.offset, "12") &&
              text_is(t.length, "34"));
    end(&b);
}

static bool type_of(struct pb info, struct onnx_value_type *t) {
    struct wire w = wire_view(info.p, info.n);
    struct wire_field f;
    bool ok = false;
    model = (struct onnx_model){.bytes = info.p, .size = info.n};
    if (wire_take_field(&w, &f) == WIRE_OK) w = f.bytes; /* the ValueInfoProto */
    while (wire_take_field(&w, &f) == WIRE_OK)
        if (f.number == 2) ok = onnx_value_type_read(&model, f.bytes, t, &e) == 0;
    return ok;
}

static void types_of_inputs(void) {
    struct onnx_build m = onnx_begin(8, 13);
    struct onnx_value_type t = {0};
    onnx_input(&m, "x", "batchx3x?x-1");
    CU_ASSERT(type_of(m.inputs, &t));
    CU_ASSERT(t.is_tensor && t.has_shape && t.elem_type == ONNX_FLOAT && t.rank == 4);
    CU_ASSERT(t.dims[0].value == 0 && text_is(t.dims[0].symbol, "batch") && t.dims[1].value == 3);
    CU_ASSERT(t.dims[2].value == 0 && t.dims[2].symbol.n == 0 && t.dims[3].value == 0);
    end(&m.inputs);
    onnx_input_typed(&m, "x", NULL, ONNX_UINT8);
    CU_ASSERT(type_of(m.inputs, &t));
    CU_ASSERT(t.is_tensor && !t.has_shape && t.elem_type == ONNX_UINT8 && t.rank == 0);
    end(&m.inputs);
    onnx_input(&m, "x", "1x1x1x1x1x1x1x1x1x1");
    CU_ASSERT(type_of(m.inputs, &t));
    CU_ASSERT_EQUAL(t.rank, 10);
    end(&m.inputs);
}

static void types_that_are_no_tensors(void) {
    struct pb b = {0};
    struct onnx_value_type t;
    model = (struct onnx_model){0};
    CU_ASSERT_EQUAL(onnx_value_type_read(&model, wire_view(b.p, b.n), &t, &e), 0);
    CU_ASSERT(!t.is_tensor);
    pb_text(&b, 1, "");
    pb_text(&b, 4, ""); /* a sequence after all */
    CU_ASSERT_EQUAL(onnx_value_type_read(&model, wire_view(b.p, b.n), &t, &e), 0);
    CU_ASSERT(!t.is_tensor);
    end(&b);
}

static void names_of_types(void) {
    CU_ASSERT_STRING_EQUAL(onnx_type_name(ONNX_BFLOAT16), "bfloat16");
    CU_ASSERT_STRING_EQUAL(onnx_type_name(ONNX_FLOAT), "float");
    CU_ASSERT_STRING_EQUAL(onnx_type_name(99), "an unknown type");
    CU_ASSERT_STRING_EQUAL(onnx_type_name(-1), "an unknown type");
}

SUITE(onnx_tensor, {"fields of a tensor", fields_of_a_tensor},
      {"dims packed, and too many", dims_packed_and_too_many},
      {"entries of external data", entries_of_external_data}, {"types of inputs", types_of_inputs},
      {"types that are no tensors", types_that_are_no_tensors}, {"names of types", names_of_types});
