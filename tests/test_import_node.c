/* guard/import_node: how operators get at their inputs, and what the graph gets from them. */
#include "tests/import_case.h"

#include <math.h>

static void nodes_without_names(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Sum", "", "x x x", "y", ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT_STRING_EQUAL(c.g->nodes[0].name, "Add#0");
    CU_ASSERT_STRING_EQUAL(c.g->nodes[1].name, "Add#1");
    CU_ASSERT_STRING_EQUAL(c.g->values[c.g->nodes[0].output].name, "y#0");
    import_case_free(&c);
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Relu", "", "x", "r", ATTR_END);
    onnx_node(&m, "Softmax", "", "r", "y", attr_int("axis", 7), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "node 1 (Softmax): axis 7 is none of the 2"));
}

/* Names come from hostile files and end up on terminals. */
static void names_with_odd_bytes(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Softmax", "\033[31m\n", "x", "y", attr_int("axis", 7), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "node '?[31m?' (Softmax)"));
    struct pb node = {0};
    m = import_case_begin(13, "Nx4");
    pb_text(&node, 1, "x");
    pb_bytes(&node, 2, "a\0b", 3); /* two names that are one as C strings */
    pb_text(&node, 4, "Relu");
    pb_message(&m.nodes, 1, &node);
    pb_bytes(&node, 1, "a\0b", 3);
    pb_text(&node, 2, "a");
    pb_text(&node, 4, "Relu");
    pb_message(&m.nodes, 1, &node);
    onnx_node(&m, "Add", "", "a a", "y", ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT(c.g->n_nodes == 3 && c.g->nodes[2].inputs[0] == c.g->nodes[1].output);
    import_case_free(&c);
}

/* One value however often it is used, so that editing it for one node can copy it. */
static void constants_enter_the_graph_once(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("w", "4", 2));
    onnx_initializer(&m, tensor_fill("unused", "4", 2));
    onnx_node(&m, "Add", "", "x w", "a", ATTR_END);
    onnx_node(&m, "Mul", "", "a w", "y", ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT_EQUAL(c.g->n_values, 4);
    CU_ASSERT_EQUAL(c.g->nodes[0].inputs[1], c.g->nodes[1].inputs[1]);
    import_case_free(&c);
}

/* Two shapes of one tensor, of which one is looked at before the other exists. */
static void every_view_of_bad_weights_is_refused(void) {
    static const float bad[] = {1, NAN, 3, 4};
    for (int shift = 0; shift < 4; shift++) { /* seen while copied, and in place */
        struct onnx_build m = import_case_begin(11, "Nx4");
        for (int i = 0; i < shift; i++) pb_raw(&m.initializers, "\xa2\x06\0", 3); /* field 100, empty */
        onnx_initializer(&m, tensor_floats("w", "4", bad, 4));
        onnx_node(&m, "Unsqueeze", "", "w", "v", attr_ints("axes", 1, 0), ATTR_END);
        onnx_node(&m, "Add", "", "x v", "y", ATTR_END);
        CU_ASSERT(import_case_refused(&m, ERR_VALUE, "constant 'w' holds NaN at element 1"));
    }
}

static void lists_must_be_constant_integers(void) {
    struct onnx_build m = import_case_begin(13, "1x4");
    onnx_initializer(&m, tensor_ints("axes", "1x1", (int64_t[]){0}, 1));
    onnx_node(&m, "Squeeze", "s", "x axes", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "'axes' must be a list of integers"));
    m = import_case_begin(13, "1x4");
    onnx_initializer(&m, tensor_ints("axes", "", (int64_t[]){0}, 1)); /* a single number will do */
    onnx_node(&m, "Squeeze", "s", "x axes", "y", ATTR_END);
    CU_ASSERT(import_case_accepted(&m));
}

SUITE(import_node, {"nodes without names are numbered", nodes_without_names},
      {"names with odd bytes", names_with_odd_bytes},
      {"constants enter the graph once", constants_enter_the_graph_once},
      {"every view of bad weights is refused", every_view_of_bad_weights_is_refused},
      {"lists must be constant integers", lists_must_be_constant_integers});
