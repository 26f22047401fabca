/* guard/onnx_model: an ONNX file as views, in every form that protobuf allows, and its limits. */
#include "guard/onnx_model.h"
#include "tests/mutate.h"
#include "tests/onnx_build.h"
#include "tests/suite.h"

static struct onnx_build small(void) {
    struct onnx_build m = onnx_begin(8, 13);
    onnx_input(&m, "x", "Nx3");
    onnx_output(&m, "y");
    onnx_initializer(&m, tensor_count("w", "2x3", 1));
    onnx_node(&m, "Gemm", "fc", "x w -", "y", attr_int("transB", 1), attr_float("alpha", 0.5f), ATTR_END);
    return m;
}

static struct onnx_model *read_it(const struct pb *file) {
    struct onnx_model *m = NULL;
    struct err e = {0};
    if (onnx_model_read(file->p, file->n, &m, &e)) fprintf(stderr, "\nrefused: %s\n", e.text);
    return m;
}

static bool refuses(struct pb *file, enum err_code code, const char *words) {
    struct onnx_model *m = NULL;
    struct err e = {0};
    const bool ok =
        onnx_model_read(file->p, file->n, &m, &e) == -1 && !m && e.code == code && strstr(e.text, words);
    if (!ok) fprintf(stderr, "\nexpected …%s…, got %s: %s\n", words, err_code_name(e.code), e.text);
    onnx_model_free(m);
    pb_free(file);
    return ok;
}

static void everything_is_a_view(void) {
    struct onnx_build b = small();
    struct pb file = onnx_end(&b);
    struct onnx_model *m = read_it(&file);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT(m->ir_version == 8 && m->n_opsets == 1 && m->opsets[0].version == 13);
    CU_ASSERT(text_is(m->producer, "clpd-tests"));
    CU_ASSERT_EQUAL_FATAL(m->n_nodes, 1);
    const struct onnx_node *n = &m->nodes[0];
    CU_ASSERT(text_is(n->op_type, "Gemm") && text_is(n->name, "fc") && n->domain.n == 0);
    CU_ASSERT(n->n_inputs == 3 && text_is(n->inputs[1], "w") && n->inputs[2].n == 0);
    CU_ASSERT(n->n_outputs == 1 && text_is(n->outputs[0], "y"));
    CU_ASSERT_EQUAL_FATAL(n->n_attributes, 2);
    CU_ASSERT(n->attributes[0].kind == ATTR_INT && n->attributes[0].i == 1);
    CU_ASSERT(n->attributes[1].kind == ATTR_FLOAT && n->attributes[1].f == 0.5f);
    CU_ASSERT(m->n_initializers == 1 && text_is(m->initializers[0].name, "w"));
    CU_ASSERT(m->n_inputs == 1 && m->n_outputs == 1 && text_is(m->outputs[0].name, "y"));
    CU_ASSERT(m->initializers[0].body.at > file.p && m->initializers[0].body.end < file.p + file.n);
    CU_ASSERT(n->op_type.p > (const char *)file.p && n->op_type.p < (const char *)file.p + file.n);
    onnx_model_free(m);
    pb_free(&file);
}

/* A singular message may come in parts, which is how protobuf merges files that were concatenated. */
static void a_graph_in_parts_is_joined(void) {
    struct onnx_build b = small();
    struct pb more = {0}, node = {0}, output = {0};
    pb_text(&node, 1, "y");
    pb_text(&node, 2, "z");
    pb_text(&node, 4, "Relu");
    pb_message(&more, 1, &node);
    pb_text(&output, 1, "z");
    pb_message(&more, 12, &output);
    pb_message(&b.model_rest, 7, &more);
    pb_text(&b.model_rest, 3, "1.0");
    struct pb file = onnx_end(&b);
    struct onnx_model *m = read_it(&file);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT(m->n_nodes == 2 && m->n_outputs == 2 && m->n_initializers == 1);
    CU_ASSERT(text_is(m->nodes[1].op_type, "Relu") && text_is(m->producer_version, "1.0"));
    CU_ASSERT(m->bytes != file.p && m->size < file.n); /* a copy, with one header fewer */
    /* and the copy says the same */
    struct pb copy = {(uint8_t *)(uintptr_t)m->bytes, m->size, 0};
    struct onnx_model *again = read_it(&copy);
    CU_ASSERT_PTR_NOT_NULL_FATAL(again);
    CU_ASSERT(again->n_nodes == 2 && again->bytes == m->bytes && again->ir_version == 8);
    onnx_model_free(again);
    onnx_model_free(m);
    pb_free(&file);
}

static void lists_may_be_packed_or_not(void) {
    struct onnx_build b = onnx_begin(8, 13);
    struct pb packed = {0}, value = {0}, node = {0};
    pb_text(&packed, 1, "pads");
    pb_varint(&value, 1);
    pb_varint(&value, 300);
    pb_message(&packed, 8, &value); /* two packed, */
    pb_int(&packed, 8, -1);         /* one not, and no type given */
    pb_message(&node, 5, &packed);
    pb_text(&node, 4, "Pad");
    pb_message(&b.nodes, 1, &node);
    struct pb file = onnx_end(&b);
    struct onnx_model *m = read_it(&file);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    const struct onnx_attribute *a = &m->nodes[0].attributes[0];
    struct wire w = a->ints;
    uint64_t v[3] = {0};
    CU_ASSERT_EQUAL(a->kind, ATTR_INTS);
    for (int i = 0; i < 3; i++) CU_ASSERT_EQUAL(wire_take_varint(&w, &v[i]), WIRE_OK);
    CU_ASSERT(v[0] == 1 && v[1] == 300 && v[2] == UINT64_MAX && wire_left(&w) == 0);
    onnx_model_free(m);
    pb_free(&file);
}

/* Fields of later versions are passed over; a known one of the wrong wire type is damage. */
static void unknown_fields_and_wrong_types(void) {
    struct onnx_build b = small();
    pb_text(&b.graph_rest, 4000, "from the future");
    pb_int(&b.model_rest, 4001, 1);
    struct pb file = onnx_end(&b);
    struct onnx_model *m = read_it(&file);
    CU_ASSERT_PTR_NOT_NULL(m);
    onnx_model_free(m);
    pb_free(&file);

    b = small();
    pb_int(&b.graph_rest, 1, 5);
    file = onnx_end(&b);
    CU_ASSERT(refuses(&file, ERR_FORMAT, "wrong wire type in a GraphProto, at byte"));
    b = small();
    struct pb node = {0};
    pb_int(&node, 4, 5);
    pb_message(&b.nodes, 1, &node);
    file = onnx_end(&b);
    CU_ASSERT(refuses(&file, ERR_FORMAT, "wrong wire type in a NodeProto"));
    b = small();
    pb_raw(&b.graph_rest, "\x2a\x7f", 2); /* an initializer of 127 bytes that are not there */
    file = onnx_end(&b);
    CU_ASSERT(refuses(&file, ERR_FORMAT, "past the end of its message"));
}

static void every_prefix_is_an_error(void) {
    struct onnx_build b = small();
    struct pb file = onnx_end(&b);
    struct mutate_room room;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, file.n), 0);
    for (size_t n = 0; n < file.n; n++) {
        struct onnx_model *m = NULL;
        struct err e = {0};
        CU_ASSERT_EQUAL(onnx_model_read(mutate_room_put(&room, file.p, n), n, &m, &e), -1);
        CU_ASSERT_EQUAL(e.code, ERR_TRUNCATED);
        CU_ASSERT_PTR_NULL(m);
    }
    mutate_room_close(&room);
    pb_free(&file);
}

static void an_unfinished_copy_of_zeros(void) {
    struct onnx_build b = small();
    struct pb file = onnx_end(&b), copy = {0};
    static const uint8_t zeros[64];
    pb_raw(&copy, file.p, 2); /* the IR version; the rest is allocated, but not written yet */
    pb_raw(&copy, zeros, sizeof zeros);
    CU_ASSERT(refuses(&copy, ERR_TRUNCATED, "nothing but zeros"));
    /* Wherever the zeros begin, inside the graph too; only the very last field can pass for one. */
    for (size_t n = 0; n + 4 < file.n; n++) {
        copy = (struct pb){0};
        pb_raw(&copy, file.p, n);
        for (size_t left = file.n - n; left; left--) pb_raw(&copy, zeros, 1);
        CU_ASSERT(refuses(&copy, ERR_TRUNCATED, ""));
    }
    pb_free(&file);
}

static bool refuses_text(const char *s, enum err_code code, const char *words) {
    struct pb file = {0};
    pb_raw(&file, s, strlen(s));
    return refuses(&file, code, words);
}

static void other_files_are_named(void) {
    CU_ASSERT(refuses_text("", ERR_TRUNCATED, "empty"));
    CU_ASSERT(refuses_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ERR_FORMAT,
                           "git lfs pull"));
    CU_ASSERT(
        refuses_text("<!DOCTYPE html><html><body>404 not found</body></html>", ERR_FORMAT, "text file"));
    CU_ASSERT(refuses_text("{\"model\": [1, 2, 3], \"name\": \"x\"}", ERR_FORMAT, "text file"));
    CU_ASSERT(refuses_text("PK\3\4\x14 and so on", ERR_FORMAT, "zip archive"));
    CU_ASSERT(refuses_text("\x1f\x8b\x08 and so on", ERR_FORMAT, "gzip"));
    CU_ASSERT(refuses_text("\x93NUMPY\x01 and so on", ERR_FORMAT, "not an ONNX file"));
    CU_ASSERT(refuses_text("\x12\x01x", ERR_FORMAT, "no graph and no IR version"));
}

static void counts_are_capped(void) {
    struct onnx_build b = small();
    for (int i = 0; i <= ONNX_MAX_NODES; i++) pb_raw(&b.nodes, "\x0a\0", 2);
    struct pb file = onnx_end(&b);
    CU_ASSERT(refuses(&file, ERR_LIMIT, "nodes; at most"));
    b = small();
    for (int i = 0; i <= ONNX_MAX_INITIALIZERS; i++) pb_raw(&b.initializers, "\x2a\0", 2);
    file = onnx_end(&b);
    CU_ASSERT(refuses(&file, ERR_LIMIT, "initializers; at most"));
    b = small();
    struct pb node = {0};
    for (int i = 0; i <= ONNX_MAX_NODE_ATTRIBUTES; i++) pb_raw(&node, "\x2a\0", 2);
    pb_message(&b.nodes, 1, &node);
    file = onnx_end(&b);
    CU_ASSERT(refuses(&file, ERR_LIMIT, "a node has 65 attributes"));
    b = small();
    for (int i = 0; i <= ONNX_MAX_OPSETS; i++) pb_raw(&b.model_rest, "\x42\0", 2);
    file = onnx_end(&b);
    CU_ASSERT(refuses(&file, ERR_LIMIT, "operator sets"));
}

SUITE(onnx_model, {"everything is a view of the file", everything_is_a_view},
      {"a graph in parts is joined", a_graph_in_parts_is_joined},
      {"lists may be packed or not", lists_may_be_packed_or_not},
      {"unknown fields pass, wrong types do not", unknown_fields_and_wrong_types},
      {"every prefix is an error, read to its end and no further", every_prefix_is_an_error},
      {"zeros behind the beginning are an unfinished copy", an_unfinished_copy_of_zeros},
      {"other kinds of files are called by name", other_files_are_named},
      {"counts are capped", counts_are_capped});
