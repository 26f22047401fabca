/* Every operator of one, two or more inputs, from ONNX to numbers through the plan
 * and the engine: which operator of the engine it becomes, and what comes out. */
#include "tests/import_run.h"
#include "tests/suite.h"

#include <math.h>

static const float x4[] = {-2, -0.5f, 0, 3};

static void functions(void) {
    static const struct {
        const char *op;
        int opset;
        float out[4];
    } rows[] = {
        {"Abs", 13, {2, 0.5f, 0, 3}},
        {"Neg", 13, {2, 0.5f, 0, -3}},
        {"Exp", 13, {0.135335283f, 0.60653066f, 1, 20.0855369f}},
        {"Floor", 13, {-2, -1, 0, 3}},
        {"Ceil", 13, {-2, 0, 0, 3}},
        {"Round", 13, {-2, 0, 0, 3}},
        {"Sign", 13, {-1, -1, 0, 1}},
        {"Sigmoid", 13, {0.119202922f, 0.377540669f, 0.5f, 0.952574127f}},
        {"Tanh", 13, {-0.96402758f, -0.462117157f, 0, 0.995054754f}},
        {"Erf", 13, {-0.995322265f, -0.520499878f, 0, 0.99997791f}},
        {"Softplus", 13, {0.126928011f, 0.474076984f, 0.693147181f, 3.04858735f}},
        {"Softsign", 13, {-0.666666667f, -0.333333333f, 0, 0.75f}},
        {"HardSigmoid", 13, {0.1f, 0.4f, 0.5f, 1}},
        {"HardSwish", 14, {-0.333333333f, -0.208333333f, 0, 3}},
        {"LeakyRelu", 13, {-0.02f, -0.005f, 0, 3}},
        {"Elu", 13, {-0.864664717f, -0.39346934f, 0, 3}},
        {"Selu", 13, {-1.52016652f, -0.691758f, 0, 3.15210307f}},
        {"Celu", 13, {-0.864664717f, -0.39346934f, 0, 3}},
        {"ThresholdedRelu", 13, {0, 0, 0, 3}},
        {"Mish", 18, {-0.252501f, -0.220741f, 0, 2.98653f}},
        {"Gelu", 20, {-0.0455002639f, -0.154268770f, 0, 2.99595031f}},
        {"Relu", 13, {0, 0, 0, 3}},
        {"Shrink", 13, {-2, 0, 0, 3}},
        {"Sin", 13, {-0.909297427f, -0.479425539f, 0, 0.141120008f}},
        {"LogSoftmax", 13, {-5.08317f, -3.58317f, -3.08317f, -0.0831682f}},
        {"Hardmax", 13, {0, 0, 0, 1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct onnx_build m = import_case_begin(rows[i].opset, "Nx4");
        onnx_node(&m, rows[i].op, rows[i].op, "x", "y", ATTR_END);
        CU_ASSERT(import_run_gives(&m, x4, 4, 1, rows[i].out, 4));
    }
}

static void parameters(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_node(&m, "HardSigmoid", "", "x", "y", attr_float("alpha", 0.5f), attr_float("beta", 0.25f),
              ATTR_END);
    CU_ASSERT(import_run_gives(&m, x4, 4, 1, (float[]){0, 0, 0.25f, 1}, 4));
    m = import_case_begin(20, "Nx4");
    onnx_node(&m, "Gelu", "", "x", "y", attr_text("approximate", "tanh"), ATTR_END);
    CU_ASSERT(import_run_gives(&m, x4, 4, 1, (float[]){-0.0454023f, -0.154286f, 0, 2.99636f}, 4));
    m = import_case_begin(20, "Nx4");
    onnx_node(&m, "Gelu", "", "x", "y", attr_text("approximate", "sinh"), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "approximate is 'sinh'; accepted are none and tanh"));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Celu", "c", "x", "y", attr_float("alpha", 0), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_VALUE, "node 'c' (Celu)"));
}

static void pairs(void) {
    static const struct {
        const char *op;
        float out[4];
    } rows[] = {
        {"Sub", {-3, -2.5f, -1, 0}},       {"Div", {-2, -0.25f, 0, 1}},
        {"Min", {-2, -0.5f, 0, 3}},        {"Max", {1, 2, 1, 3}},
        {"Pow", {-2, 0.25f, 0, 27}},       {"PRelu", {-2, -1, 0, 3}},
        {"Mean", {-0.5f, 0.75f, 0.5f, 3}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct onnx_build m = import_case_begin(13, "Nx4");
        onnx_initializer(&m, tensor_floats("c", "4", (float[]){1, 2, 1, 3}, 4));
        onnx_node(&m, rows[i].op, rows[i].op, "x c", "y", ATTR_END);
        CU_ASSERT(import_run_gives(&m, x4, 4, 1, rows[i].out, 4));
    }
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_floats("c", "", (float[]){1}, 1));
    onnx_node(&m, "Max", "m", "x c x", "y", ATTR_END);
    CU_ASSERT(import_run_gives(&m, x4, 4, 1, (float[]){1, 1, 1, 3}, 4));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Mod", "m", "x x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "fmod is 0; on floats it must be 1"));
}

/* pow(x, 2) is no call of pow. */
static void powers(void) {
    static const struct {
        float exponent;
        enum op op;
    } rows[] = {{2, OP_MUL}, {0.5f, OP_SQRT}, {-1, OP_RECIPROCAL}, {3, OP_POW}};
    for (size_t i = 0; i < 4; i++) {
        struct onnx_build m = import_case_begin(13, "Nx4");
        onnx_initializer(&m, tensor_fill("e", "", rows[i].exponent));
        onnx_node(&m, "Pow", "", "x e", "y", ATTR_END);
        struct import_case c = import_case_make(&m);
        CU_ASSERT(c.g && import_case_last(&c)->op == rows[i].op);
        import_case_free(&c);
    }
}

/* Truth is 1 and 0 while the network runs, and no answer. */
static void truth(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("zero", "", 0));
    onnx_initializer(&m, tensor_fill("nine", "", 9));
    onnx_node(&m, "Less", "", "x zero", "low", ATTR_END);
    onnx_node(&m, "Equal", "", "x zero", "none", ATTR_END);
    onnx_node(&m, "Or", "", "low none", "either", ATTR_END);
    onnx_node(&m, "Not", "", "either", "high", ATTR_END);
    onnx_node(&m, "Where", "", "high x nine", "y", ATTR_END);
    CU_ASSERT(import_run_gives(&m, x4, 4, 1, (float[]){9, 9, 9, 3}, 4));
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("zero", "", 0));
    onnx_node(&m, "Less", "", "x zero", "y", ATTR_END);
    CU_ASSERT(
        import_case_refused(&m, ERR_UNSUPPORTED, "graph output 'y' is bool; networks answer with floats"));
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("zero", "", 0));
    onnx_node(&m, "Less", "", "x zero", "low", ATTR_END);
    onnx_node(&m, "Exp", "e", "low", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "its input 0 is bool while the network runs"));
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("zero", "", 0));
    onnx_node(&m, "Greater", "", "x zero", "high", ATTR_END);
    onnx_node(&m, "Cast", "", "high", "y", attr_int("to", 1), ATTR_END);
    CU_ASSERT(import_run_gives(&m, x4, 4, 1, (float[]){0, 0, 0, 1}, 4));
}

SUITE(import_function, {"functions of one element", functions}, {"their parameters", parameters},
      {"pairs of elements", pairs}, {"powers", powers}, {"truth", truth});
