/* Models of bytes: constants are dequantised at import, activations exactly as they say. */
#include "tests/import_run.h"
#include "tests/suite.h"

static void scheme(struct onnx_build *m, float scale, int type, const void *zero) {
    onnx_initializer(m, tensor_fill("s", "", scale));
    onnx_initializer(m, tensor_raw("z", type, "", zero, 1));
}

static void activations(void) {
    const float x[] = {0.24f, 0.25f, 0.75f, 1000, -1000, -0.25f};
    struct onnx_build m = import_case_begin(13, "Nx6");
    scheme(&m, 0.5f, 2, "\x03"); /* uint8 */
    onnx_node(&m, "QuantizeLinear", "", "x s z", "q", ATTR_END);
    onnx_node(&m, "DequantizeLinear", "", "q s z", "y", ATTR_END);
    CU_ASSERT(import_run_gives(&m, x, 6, 1, (float[]){0, 0, 1, 126, -1.5f, 0}, 6));
    m = import_case_begin(13, "Nx6");
    scheme(&m, 0.5f, 3, "\xfd"); /* int8, -3 */
    onnx_node(&m, "QuantizeLinear", "", "x s z", "q", ATTR_END);
    onnx_node(&m, "DequantizeLinear", "", "q s z", "y", ATTR_END);
    CU_ASSERT(import_run_gives(&m, x, 6, 1, (float[]){0, 0, 1, 65, -62.5f, 0}, 6));
}

static void weights_per_channel(void) {
    for (int per_channel = 0; per_channel < 2; per_channel++) {
        struct onnx_build m = import_case_begin(13, "Nx2x1x1");
        const int8_t w[] = {1, -2, 3, 4}, z[] = {0, 1};
        const int32_t b[] = {10, -20};
        const float s[] = {0.5f, 2}, x[] = {1, 10};
        onnx_initializer(&m, tensor_raw("w8", 3, "2x2x1x1", w, 4));
        onnx_initializer(&m, tensor_raw("z", 3, per_channel ? "2" : "", z, per_channel ? 2 : 1));
        onnx_initializer(&m, tensor_floats("s", per_channel ? "2" : "", s, per_channel ? 2 : 1));
        onnx_initializer(&m, tensor_raw("b32", 6, "2", b, 8));
        onnx_node(&m, "DequantizeLinear", "", "w8 s z", "w", attr_int("axis", 0), ATTR_END);
        onnx_node(&m, "DequantizeLinear", "", "b32 s", "b", attr_int("axis", 0), ATTR_END);
        onnx_node(&m, "Conv", "", "x w b", "y", ATTR_END);
        const float one[] = {0.5f - 10 + 5, 1.5f + 20 - 10}, each[] = {0.5f - 10 + 5, 4 + 60 - 40};
        CU_ASSERT(import_run_gives(&m, x, 2, 1, per_channel ? each : one, 2));
    }
}

static void refusals(void) {
    struct onnx_build m = import_case_begin(13, "Nx6");
    scheme(&m, 0.5f, 2, "\x03");
    onnx_node(&m, "QuantizeLinear", "", "x s z", "q", ATTR_END);
    onnx_node(&m, "Relu", "r", "q", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "node 'r' (Relu): its input 0 is uint8"));
    m = import_case_begin(13, "Nx6");
    scheme(&m, 0.5f, 2, "\x03");
    onnx_node(&m, "QuantizeLinear", "", "x s z", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "graph output 'y' is uint8"));
    m = import_case_begin(13, "Nx6");
    scheme(&m, -1, 2, "\x03");
    onnx_node(&m, "QuantizeLinear", "", "x s z", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_VALUE, "it must be positive"));
    m = import_case_begin(13, "Nx6");
    scheme(&m, 1, 2, "\x03");
    onnx_node(&m, "DequantizeLinear", "d", "x s z", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "it must come from QuantizeLinear"));
}

SUITE(import_quantize, {"activations", activations},
      {"weights, per tensor and per channel", weights_per_channel}, {"what is refused", refusals});
