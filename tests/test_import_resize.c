/* Resize becomes picks and products with small matrices. */
#include "tests/import_run.h"
#include "tests/suite.h"

static const float x6[] = {0, 1, 2, 3, 4, 5};

static void resized(void) {
    static const struct {
        const char *mode, *coordinates;
        float want[8];
    } rows[] = {
        {"nearest", "asymmetric", {0, 0, 1, 1, 2, 2}},
        {"linear", "half_pixel", {0, 0.25f, 0.75f, 1.25f, 1.75f, 2}},
        {"linear", "align_corners", {0, 0.4f, 0.8f, 1.2f, 1.6f, 2}},
    };
    for (size_t i = 0; i < 3; i++) {
        struct onnx_build m = import_case_begin(13, "Nx1x3");
        onnx_initializer(&m, tensor_floats("scales", "3", (float[]){1, 1, 2}, 3));
        onnx_node(&m, "Resize", "", "x - scales", "y", attr_text("mode", rows[i].mode),
                  attr_text("coordinate_transformation_mode", rows[i].coordinates),
                  attr_text("nearest_mode", "floor"), ATTR_END);
        CU_ASSERT(import_run_gives(&m, x6, 3, 2,
                                   (float[]){rows[i].want[0], rows[i].want[1], rows[i].want[2],
                                             rows[i].want[3], rows[i].want[4], rows[i].want[5],
                                             rows[i].want[0] + 3, rows[i].want[1] + 3, rows[i].want[2] + 3,
                                             rows[i].want[3] + 3, rows[i].want[4] + 3, rows[i].want[5] + 3},
                                   12));
    }
}

/* What lies outside of the picture is one value; a crop of the whole is the picture. */
static void cropped(void) {
    static const struct {
        const char *mode;
        float begin, end, want[4];
    } rows[] = {
        {"nearest", 0, 1, {0, 1, 2, 3}},
        {"linear", 0.5f, 1, {1.5f, 2, 2.5f, 3}},
        {"linear", -1, 2, {9, 0, 3, 9}},
        {"nearest", 0, 2, {0, 2, 9, 9}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct onnx_build m = import_case_begin(13, "1x1x4");
        onnx_initializer(&m, tensor_floats("roi", "6", (float[]){0, 0, rows[i].begin, 1, 1, rows[i].end}, 6));
        onnx_initializer(&m, tensor_ints("sizes", "3", (int64_t[]){1, 1, 4}, 3));
        onnx_node(&m, "Resize", "", "x roi - sizes", "y", attr_text("mode", rows[i].mode),
                  attr_text("coordinate_transformation_mode", "tf_crop_and_resize"),
                  attr_float("extrapolation_value", 9), ATTR_END);
        CU_ASSERT(import_run_gives(&m, x6, 4, 1, rows[i].want, 4));
    }
    struct onnx_build m = import_case_begin(13, "Nx1x4");
    onnx_initializer(&m, tensor_floats("scales", "3", (float[]){1, 1, 0.5f}, 3));
    onnx_node(&m, "Resize", "", "x - scales", "y",
              attr_text("coordinate_transformation_mode", "tf_half_pixel_for_nn"), ATTR_END);
    CU_ASSERT(import_run_gives(&m, x6, 4, 1, (float[]){1, 3}, 2));
    m = import_case_begin(13, "Nx1x4");
    onnx_initializer(&m, tensor_floats("roi", "4", (float[]){0, 0, 1, 1}, 4));
    onnx_initializer(&m, tensor_ints("sizes", "3", (int64_t[]){1, 1, 4}, 3));
    onnx_node(&m, "Resize", "r", "x roi - sizes", "y",
              attr_text("coordinate_transformation_mode", "tf_crop_and_resize"), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "a roi of 6 values"));
    m = import_case_begin(13, "Nx1x4");
    onnx_initializer(&m, tensor_floats("scales", "3", (float[]){1, 1, 2}, 3));
    onnx_node(&m, "Resize", "r", "x - scales", "y", attr_text("coordinate_transformation_mode", "other"),
              ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "accepted are half_pixel"));
}

SUITE(import_resize, {"Resize", resized}, {"crops and what lies outside of them", cropped});
