/* guard/import_window: attributes of convolutions and pools as the engine will see them. */
#include "tests/import_case.h"

static struct onnx_build conv(const char *x, const char *w) {
    struct onnx_build m = import_case_begin(13, x);
    onnx_initializer(&m, tensor_count("w", w, 0.5f));
    return m;
}

/* The window of the only node; its output has this shape. Frees the case. */
static struct op_window window_of(struct onnx_build *m, const char *shape) {
    struct op_window w = {0};
    struct import_case c = import_case_make(m);
    CU_ASSERT(import_case_gives(&c, shape));
    if (c.g) w = import_case_last(&c)->params.window;
    import_case_free(&c);
    return w;
}

static void defaults(void) {
    struct onnx_build m = conv("Nx3x8x9", "4x3x3x2");
    onnx_node(&m, "Conv", "", "x w", "y", ATTR_END);
    const struct op_window w = window_of(&m, "[1,4,6,8]");
    CU_ASSERT(w.spatial == 2 && w.groups == 1 && w.kernel[0] == 1 && w.kernel[1] == 3 && w.kernel[2] == 2);
    CU_ASSERT(w.stride[1] == 1 && w.dilation[2] == 1 && w.pad_begin[1] == 0 && w.pad_end[2] == 0);
}

static void everything_given(void) {
    struct onnx_build m = conv("Nx4x9x10", "6x2x3x2");
    onnx_node(&m, "Conv", "", "x w", "y", attr_ints("kernel_shape", 2, 3, 2), attr_ints("strides", 2, 2, 3),
              attr_ints("dilations", 2, 2, 1), attr_ints("pads", 4, 1, 2, 3, 4), attr_int("group", 2),
              ATTR_END);
    const struct op_window w = window_of(&m, "[1,6,5,5]");
    CU_ASSERT(w.groups == 2 && w.stride[1] == 2 && w.stride[2] == 3 && w.dilation[1] == 2);
    CU_ASSERT(w.pad_begin[1] == 1 && w.pad_begin[2] == 2 && w.pad_end[1] == 3 && w.pad_end[2] == 4);
}

static void one_and_three_axes(void) {
    struct onnx_build m = conv("Nx2x9", "4x2x3");
    onnx_node(&m, "Conv", "", "x w", "y", attr_ints("pads", 2, 1, 0), ATTR_END);
    struct op_window w = window_of(&m, "[1,4,8]");
    CU_ASSERT(w.spatial == 1 && w.kernel[2] == 3 && w.kernel[1] == 1 && w.pad_begin[2] == 1);
    m = conv("Nx2x5x6x7", "4x2x3x2x1");
    onnx_node(&m, "Conv", "", "x w", "y", ATTR_END);
    w = window_of(&m, "[1,4,3,5,7]");
    CU_ASSERT(w.spatial == 3 && w.kernel[0] == 3 && w.kernel[1] == 2 && w.kernel[2] == 1);
}

static void padding_by_itself(void) {
    static const struct {
        const char *mode;
        int stride;
        const char *shape;
        int begin, end;
    } cases[] = {
        {"SAME_UPPER", 1, "[1,4,8,8]", 1, 2}, {"SAME_LOWER", 1, "[1,4,8,8]", 2, 1},
        {"SAME_UPPER", 2, "[1,4,4,4]", 1, 1}, {"SAME_LOWER", 3, "[1,4,3,3]", 1, 1},
        {"VALID", 1, "[1,4,5,5]", 0, 0},      {"VALID", 3, "[1,4,2,2]", 0, 0},
        {"NOTSET", 1, "[1,4,5,5]", 0, 0},     {"", 1, "[1,4,5,5]", 0, 0},
        {"SAME_UPPER", 8, "[1,4,1,1]", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct onnx_build m = conv("Nx3x8x8", "4x3x4x4");
        onnx_node(&m, "Conv", "", "x w", "y", attr_text("auto_pad", cases[i].mode),
                  attr_ints("strides", 2, cases[i].stride, cases[i].stride), ATTR_END);
        const struct op_window w = window_of(&m, cases[i].shape);
        CU_ASSERT(w.pad_begin[1] == cases[i].begin && w.pad_end[1] == cases[i].end);
        CU_ASSERT(w.pad_begin[2] == cases[i].begin && w.pad_end[2] == cases[i].end);
    }
    struct onnx_build m = conv("Nx3x8x8", "4x3x3x3"); /* a dilated window reaches further */
    onnx_node(&m, "Conv", "", "x w", "y", attr_text("auto_pad", "SAME_UPPER"),
              attr_ints("dilations", 2, 2, 2), ATTR_END);
    const struct op_window w = window_of(&m, "[1,4,8,8]");
    CU_ASSERT(w.pad_begin[1] == 2 && w.pad_end[1] == 2);
}

static void pools(void) {
    struct onnx_build m = import_case_begin(13, "Nx3x8x8");
    onnx_node(&m, "MaxPool", "", "x", "y", attr_ints("kernel_shape", 2, 3, 3), attr_ints("strides", 2, 2, 2),
              attr_int("ceil_mode", 1), ATTR_END);
    struct op_window w = window_of(&m, "[1,3,4,4]");
    CU_ASSERT(w.ceil_mode == 1 && w.groups == 1);
    m = import_case_begin(13, "Nx3x8x8");
    onnx_node(&m, "AveragePool", "", "x", "y", attr_ints("kernel_shape", 2, 3, 3),
              attr_ints("pads", 4, 1, 1, 1, 1), attr_int("count_include_pad", 1), ATTR_END);
    w = window_of(&m, "[1,3,8,8]");
    CU_ASSERT(w.count_include_pad == 1 && w.ceil_mode == 0);
    m = import_case_begin(13, "Nx3x8x8"); /* auto_pad says how many outputs there are: ceil_mode has no say */
    onnx_node(&m, "MaxPool", "", "x", "y", attr_ints("kernel_shape", 2, 3, 3), attr_ints("strides", 2, 2, 2),
              attr_int("ceil_mode", 1), attr_text("auto_pad", "VALID"), attr_int("storage_order", 1),
              ATTR_END);
    w = window_of(&m, "[1,3,3,3]");
    CU_ASSERT_EQUAL(w.ceil_mode, 0);
    m = import_case_begin(13, "Nx3x8x8");
    onnx_node(&m, "GlobalAveragePool", "", "x", "y", ATTR_END);
    (void)window_of(&m, "[1,3,1,1]");
}

static void indices_of_a_pool(void) {
    struct onnx_build m = import_case_begin(13, "Nx3x8x8");
    onnx_node(&m, "MaxPool", "p", "x", "y unused", attr_ints("kernel_shape", 2, 3, 3), ATTR_END);
    CU_ASSERT(import_case_accepted(&m));
    m = import_case_begin(13, "Nx3x8x8");
    onnx_output(&m, "indices");
    onnx_node(&m, "MaxPool", "p", "x", "y indices", attr_ints("kernel_shape", 2, 3, 3), ATTR_END);
    CU_ASSERT(
        import_case_refused(&m, ERR_UNSUPPORTED, "node 'p' (MaxPool): its output 1, 'indices', is used"));
}

/* A convolution of [N,3,8,8] with [4,3,3,3] and this one attribute. */
static bool refuses(struct pb attribute, enum err_code code, const char *words) {
    struct onnx_build m = conv("Nx3x8x8", "4x3x3x3");
    onnx_node(&m, "Conv", "c", "x w", "y", attribute, ATTR_END);
    return import_case_refused(&m, code, words);
}

static void attributes_that_do_not_fit(void) {
    CU_ASSERT(refuses(attr_ints("strides", 1, 2), ERR_FORMAT,
                      "'strides' has 1 values; the input has 2 spatial axes"));
    CU_ASSERT(refuses(attr_ints("strides", 2, 1, 0), ERR_LIMIT, "'strides' is 0"));
    CU_ASSERT(refuses(attr_ints("strides", 2, 1, 40000), ERR_LIMIT, "'strides' is 40000"));
    CU_ASSERT(refuses(attr_ints("dilations", 2, -1, 1), ERR_LIMIT, "'dilations' is -1"));
    CU_ASSERT(refuses(attr_ints("pads", 2, 1, 1), ERR_FORMAT, "'pads' has 2 values; 4 are needed"));
    CU_ASSERT(refuses(attr_ints("pads", 4, 1, 1, 1, -1), ERR_LIMIT, "accepted are 0 to"));
    CU_ASSERT(refuses(attr_ints("pads", 7, 1, 1, 1, 1, 1, 1, 1), ERR_LIMIT, "more than 6 values"));
    CU_ASSERT(refuses(attr_ints("kernel_shape", 2, 3, 2), ERR_FORMAT, "contradicts weight [4,3,3,3]"));
    CU_ASSERT(refuses(attr_int("group", 2), ERR_FORMAT, "2 groups"));
    CU_ASSERT(refuses(attr_int("group", 0), ERR_FORMAT, "'group' is 0"));
    CU_ASSERT(refuses(attr_int("group", INT64_MAX), ERR_FORMAT, "'group'"));
    CU_ASSERT(refuses(attr_text("auto_pad", "SAME"), ERR_FORMAT, "auto_pad is 'SAME'"));
    struct onnx_build m = conv("Nx3x8x8", "4x3x3x3");
    onnx_node(&m, "Conv", "c", "x w", "y", attr_ints("pads", 4, 1, 1, 1, 1),
              attr_text("auto_pad", "SAME_UPPER"), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "contradict each other"));
    m = import_case_begin(13, "Nx3x8x8");
    onnx_node(&m, "MaxPool", "p", "x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "attribute 'kernel_shape' is missing"));
    m = import_case_begin(13, "Nx3x8x8");
    onnx_node(&m, "MaxPool", "p", "x", "y", attr_ints("kernel_shape", 2, 2, 2), attr_int("ceil_mode", 2),
              ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "'ceil_mode' is 2"));
}

static void weights_that_do_not_fit(void) {
    struct onnx_build m = conv("Nx3x8x8", "4x5x3x3");
    onnx_node(&m, "Conv", "c", "x w", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT,
                                  "node 'c' (Conv): weight [4,5,3,3] does not go with input [1,3,8,8]"));
    m = conv("Nx3x8x8", "4x3x3");
    onnx_node(&m, "Conv", "c", "x w", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "its weight has 3 dimensions and its input has 4"));
    m = import_case_begin(13, "Nx3x8x8");
    onnx_node(&m, "Conv", "c", "x x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "its parameters depend on the image"));
    m = import_case_begin(13, "Nx3");
    onnx_node(&m, "MaxPool", "p", "x", "y", attr_ints("kernel_shape", 2, 2, 2), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "its input is [1,3]"));
}

SUITE(import_window, {"defaults", defaults}, {"everything given", everything_given},
      {"one and three axes", one_and_three_axes}, {"auto_pad is resolved", padding_by_itself},
      {"pools", pools}, {"indices of a pool may be listed, not used", indices_of_a_pool},
      {"attributes that do not fit", attributes_that_do_not_fit},
      {"weights that do not fit", weights_that_do_not_fit});
