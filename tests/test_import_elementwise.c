/* guard/import_elementwise: Relu, Clip in both forms, sums, and what passes its input on. */
#include "tests/import_case.h"

#include <math.h>

static struct op_clip clip_of(struct onnx_build *m) {
    struct op_clip p = {NAN, NAN};
    struct import_case c = import_case_make(m);
    CU_ASSERT(import_case_gives(&c, "[1,4]"));
    if (c.g) p = import_case_last(&c)->params.clip;
    import_case_free(&c);
    return p;
}

static void clip_by_attributes(void) {
    struct onnx_build m = import_case_begin(9, "Nx4");
    onnx_node(&m, "Clip", "", "x", "y", attr_float("min", 0), attr_float("max", 6), ATTR_END);
    struct op_clip p = clip_of(&m);
    CU_ASSERT(p.min == 0 && p.max == 6);
    m = import_case_begin(9, "Nx4");
    onnx_node(&m, "Clip", "", "x", "y", attr_float("max", 6), ATTR_END);
    p = clip_of(&m);
    CU_ASSERT(p.min == -INFINITY && p.max == 6);
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Clip", "c", "x", "y", attr_float("max", 6), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED,
                                  "attribute 'max' is not known; this operator may have: none"));
}

static void clip_by_inputs(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("six", "", 6));
    onnx_node(&m, "Clip", "", "x - six", "y", ATTR_END);
    struct op_clip p = clip_of(&m);
    CU_ASSERT(p.min == -INFINITY && p.max == 6);
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("low", "1", -1));
    onnx_node(&m, "Clip", "", "x low -", "y", ATTR_END);
    p = clip_of(&m);
    CU_ASSERT(p.min == -1 && p.max == INFINITY);
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Clip", "c", "x x", "y", ATTR_END); /* a bound that is computed while the network runs */
    struct import_case c = import_case_make(&m);
    CU_ASSERT(c.g && import_case_last(&c)->op == OP_MAX);
    import_case_free(&c);
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("low", "2", -1));
    onnx_node(&m, "Clip", "c", "x low", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "must be one constant number"));
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("low", "", 7));
    onnx_initializer(&m, tensor_fill("high", "", 6));
    onnx_node(&m, "Clip", "c", "x low high", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_VALUE, "bounds 7 and 6 are not in order"));
}

static void sums_become_a_chain(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("a", "4", 1));
    onnx_initializer(&m, tensor_fill("b", "1", 2));
    onnx_node(&m, "Sum", "s", "x a b x", "y", ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT_EQUAL_FATAL(c.g->n_nodes, 3);
    for (int i = 0; i < 3; i++) CU_ASSERT(c.g->nodes[i].op == OP_ADD && c.g->nodes[i].source == 0);
    CU_ASSERT_STRING_EQUAL(c.g->nodes[0].name, "s");
    CU_ASSERT_STRING_EQUAL(c.g->nodes[2].name, "s#2");
    CU_ASSERT_STRING_EQUAL(c.g->values[c.g->outputs[0]].name, "y");
    CU_ASSERT_EQUAL(c.g->nodes[2].inputs[1], c.g->inputs[0]);
    CU_ASSERT_EQUAL(c.g->nodes[1].inputs[0], c.g->nodes[0].output);
    import_case_free(&c);
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Sum", "s", "x", "y", ATTR_END);
    c = import_case_make(&m);
    CU_ASSERT(c.g && c.g->n_nodes == 1 && c.g->nodes[0].op == OP_IDENTITY);
    import_case_free(&c);
}

static void dropout_is_nothing(void) {
    struct onnx_build m = import_case_begin(7, "Nx4");
    onnx_node(&m, "Dropout", "d", "x", "y mask", attr_float("ratio", 0.5f), ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT(c.g && c.g->n_nodes == 1 && c.g->nodes[0].op == OP_IDENTITY);
    import_case_free(&c);
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("ratio", "", 0.5f));
    onnx_initializer(&m, tensor_raw("off", 9, "", "\0", 1));
    onnx_node(&m, "Dropout", "d", "x ratio off", "y", attr_int("seed", 1), ATTR_END);
    CU_ASSERT(import_case_accepted(&m));
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_raw("on", 9, "", "\1", 1));
    onnx_node(&m, "Dropout", "d", "x - on", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "training_mode is true"));
    m = import_case_begin(13, "Nx4");
    onnx_output(&m, "mask");
    onnx_node(&m, "Dropout", "d", "x", "y mask", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "its output 1, 'mask', is used"));
}

static void casts_between_floats(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Cast", "", "x", "h", attr_int("to", 10), ATTR_END);
    onnx_node(&m, "Cast", "", "h", "y", attr_int("to", 1), ATTR_END);
    CU_ASSERT(import_case_accepted(&m));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Cast", "c", "x", "y", attr_int("to", 7), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "it casts to int64 while the network runs"));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Cast", "c", "x", "y", attr_int("to", INT64_MIN), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "unknown type"));
}

static void integers_do_not_run(void) {
    static const int64_t one[] = {1};
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_ints("one", "1", one, 1));
    onnx_node(&m, "Add", "a", "x one", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED,
                                  "input 'one' is of type int64; networks run on floats only"));
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_raw("none", 1, "0", "", 0));
    onnx_node(&m, "Add", "a", "x none", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_LIMIT, "has shape [0]"));
}

SUITE(import_elementwise, {"Clip by attributes", clip_by_attributes}, {"Clip by inputs", clip_by_inputs},
      {"Sum becomes a chain of Add", sums_become_a_chain}, {"Dropout is nothing", dropout_is_nothing},
      {"casts between floats are nothing", casts_between_floats},
      {"integers and empty tensors do not run", integers_do_not_run});
