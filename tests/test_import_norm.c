/* guard/import_norm: batch normalisation in all its forms, layer normalisation, both kinds of Softmax. */
#include "tests/import_case.h"

static struct onnx_build batch_norm(int opset, float variance, struct pb attribute, const char *outputs) {
    struct onnx_build m = import_case_begin(opset, "Nx3x4x4");
    onnx_initializer(&m, tensor_fill("g", "3", 1));
    onnx_initializer(&m, tensor_fill("v", "3", variance));
    onnx_node(&m, "BatchNormalization", "bn", "x g g g v", outputs, attribute, ATTR_END);
    return m;
}

static void batch_norm_forms(void) {
    struct onnx_build m = batch_norm(7, 1, attr_int("spatial", 1), "y");
    CU_ASSERT(import_case_accepted(&m));
    m = batch_norm(9, 1, attr_float("momentum", 0.9f), "y m v2 sm sv");
    CU_ASSERT(import_case_accepted(&m));
    m = batch_norm(15, 1, attr_int("training_mode", 0), "y");
    CU_ASSERT(import_case_accepted(&m));
    m = batch_norm(13, 1, attr_float("epsilon", 0.125f), "y");
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT_EQUAL(import_case_last(&c)->params.batch_norm.epsilon, 0.125f);
    CU_ASSERT_EQUAL(import_case_last(&c)->n_inputs, 5);
    import_case_free(&c);
    m = batch_norm(13, 1, ATTR_END, "y");
    c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT_EQUAL(import_case_last(&c)->params.batch_norm.epsilon, 1e-5f);
    import_case_free(&c);
}

static void batch_norm_refusals(void) {
    struct onnx_build m = batch_norm(15, 1, attr_int("training_mode", 1), "y");
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "node 'bn' (BatchNormalization): training_mode is 1"));
    m = batch_norm(7, 1, attr_int("spatial", 0), "y");
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "spatial is 0"));
    m = batch_norm(9, 1, attr_int("spatial", 0), "y");
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "attribute 'spatial' is not known"));
    m = batch_norm(13, 0, ATTR_END, "y");
    CU_ASSERT(import_case_refused(&m, ERR_VALUE, "variance 'v' is 0 in channel 0; it must be more than 0"));
    m = batch_norm(13, -1, ATTR_END, "y");
    CU_ASSERT(import_case_refused(&m, ERR_VALUE, "variance 'v' is -1"));
    m = batch_norm(9, 1, ATTR_END, "y mean");
    onnx_output(&m, "mean");
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "its output 1, 'mean', is used"));
    m = import_case_begin(13, "Nx3x4x4");
    onnx_initializer(&m, tensor_fill("g", "4", 1));
    onnx_node(&m, "BatchNormalization", "bn", "x g g g g", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "has 3 channels"));
    m = import_case_begin(13, "Nx3x4x4");
    onnx_initializer(&m, tensor_fill("g", "3", 1));
    onnx_node(&m, "BatchNormalization", "bn", "x g g - g", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "its input 3 is missing"));
    m = import_case_begin(13, "Nx3x4x4");
    onnx_initializer(&m, tensor_fill("g", "3", 1));
    onnx_node(&m, "BatchNormalization", "bn", "x g g g", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "it has 4 inputs; accepted are 5 to 5"));
}

static void layer_norm(void) {
    struct onnx_build m = import_case_begin(17, "Nx3x4");
    onnx_initializer(&m, tensor_fill("g", "4", 1));
    onnx_node(&m, "LayerNormalization", "ln", "x g g", "y", attr_float("epsilon", 0.5f),
              attr_int("stash_type", 1), ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT(import_case_last(&c)->params.norm.axis == 2 &&
              import_case_last(&c)->params.norm.epsilon == 0.5f);
    import_case_free(&c);
    m = import_case_begin(17, "Nx3x4");
    onnx_initializer(&m, tensor_fill("g", "3x4", 1));
    onnx_node(&m, "LayerNormalization", "ln", "x g", "y", attr_int("axis", 1), ATTR_END);
    CU_ASSERT(import_case_accepted(&m));
    m = import_case_begin(17, "Nx3x4");
    onnx_initializer(&m, tensor_fill("g", "1", 1));
    onnx_node(&m, "LayerNormalization", "ln", "x g", "y", attr_int("axis", 0), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "LayerNormalization"));
    m = import_case_begin(16, "Nx3x4");
    onnx_initializer(&m, tensor_fill("g", "4", 1));
    onnx_node(&m, "LayerNormalization", "ln", "x g", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "not part of operator set 16"));
}

static struct op_axis softmax(int opset, struct pb attribute) {
    struct op_axis a = {-1, -1};
    struct onnx_build m = import_case_begin(opset, "Nx3x4x5");
    onnx_node(&m, "Softmax", "s", "x", "y", attribute, ATTR_END);
    struct import_case c = import_case_make(&m);
    if (c.g) a = import_case_last(&c)->params.axis;
    import_case_free(&c);
    return a;
}

/* Before operator set 13 everything from the axis on is one distribution. */
static void both_kinds_of_softmax(void) {
    struct op_axis a = softmax(9, ATTR_END);
    CU_ASSERT(a.axis == 1 && a.flatten == 1);
    a = softmax(11, attr_int("axis", -2));
    CU_ASSERT(a.axis == 2 && a.flatten == 1);
    a = softmax(13, ATTR_END);
    CU_ASSERT(a.axis == 3 && a.flatten == 0);
    a = softmax(13, attr_int("axis", 1));
    CU_ASSERT(a.axis == 1 && a.flatten == 0);
    struct onnx_build m = import_case_begin(13, "Nx3");
    onnx_node(&m, "Softmax", "s", "x", "y", attr_int("axis", 2), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "axis 2 is none of the 2"));
}

SUITE(import_norm, {"batch normalisation in all its forms", batch_norm_forms},
      {"batch normalisations that are refused", batch_norm_refusals}, {"layer normalisation", layer_norm},
      {"both kinds of Softmax", both_kinds_of_softmax});
