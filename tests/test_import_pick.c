/* Elements that are moved by constant indices while the network runs, sums along an axis, one-hot. */
#include "tests/import_run.h"
#include "tests/suite.h"

#include <math.h>

static const float x6[] = {0, 1, 2, 3, 4, 5}; /* [1,2,3] */

static struct onnx_build begin_indices(const char *dims, const int64_t *indices, size_t n) {
    struct onnx_build m = import_case_begin(18, "1x2x3");
    onnx_initializer(&m, tensor_ints("i", dims, indices, n));
    return m;
}

static void gathered(void) {
    struct onnx_build m = begin_indices("1x2x2", (int64_t[]){2, 0, -1, 1}, 4);
    onnx_node(&m, "GatherElements", "", "x i", "y", attr_int("axis", 2), ATTR_END);
    CU_ASSERT(import_run_gives(&m, x6, 6, 1, (float[]){2, 0, 5, 4}, 4));
    m = begin_indices("2x3", (int64_t[]){0, 1, 2, 0, 0, -3}, 6);
    onnx_node(&m, "GatherND", "", "x i", "y", ATTR_END);
    CU_ASSERT(import_run_gives(&m, x6, 6, 1, (float[]){5, 0}, 2));
    m = import_case_begin(18, "1x2x3");
    onnx_node(&m, "Trilu", "", "x", "y", attr_int("upper", 0), ATTR_END);
    CU_ASSERT(import_run_gives(&m, x6, 6, 1, (float[]){0, 0, 0, 3, 4, 0}, 6));
    m = begin_indices("1x2x1", (int64_t[]){3, 0}, 2);
    onnx_node(&m, "GatherElements", "", "x i", "y", attr_int("axis", 2), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_VALUE, "index 3 is none of the 3"));
    m = import_case_begin(18, "Nx2x3"); /* it would mix the images of a batch */
    onnx_initializer(&m, tensor_ints("i", "1x2x1", (int64_t[]){1, 0}, 2));
    onnx_node(&m, "GatherElements", "", "x i", "y", attr_int("axis", 2), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "with a batch of 1"));
}

/* Twice to the first element, once to the last. */
static void scattered(void) {
    static const struct {
        const char *how;
        float first, last;
    } rows[] = {{"none", 20, 30}, {"add", 30, 35}, {"mul", 0, 150}, {"max", 20, 30}, {"min", 0, 5}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int nd = 0; nd < 2; nd++) {
            struct onnx_build m = nd ? begin_indices("3x3", (int64_t[]){0, 0, 0, 0, 0, 0, 0, 1, 2}, 9)
                                     : begin_indices("3", (int64_t[]){0, 0, 5}, 3);
            onnx_initializer(&m, tensor_floats("u", "3", (float[]){10, 20, 30}, 3));
            onnx_initializer(&m, tensor_ints("flat", "1", (int64_t[]){-1}, 1));
            onnx_node(&m, "Reshape", "", "x flat", "f", ATTR_END);
            onnx_node(&m, nd ? "ScatterND" : "ScatterElements", "", nd ? "x i u" : "f i u", "s",
                      attr_text("reduction", rows[i].how), ATTR_END);
            onnx_node(&m, "Reshape", "", "s flat", "y", ATTR_END);
            CU_ASSERT(import_run_gives(&m, x6, 6, 1, (float[]){rows[i].first, 1, 2, 3, 4, rows[i].last}, 6));
        }
    struct onnx_build m = begin_indices("1x1x1", (int64_t[]){0}, 1);
    onnx_initializer(&m, tensor_floats("u", "1x1x1", (float[]){1}, 1));
    onnx_node(&m, "ScatterElements", "s", "x i u", "y", attr_text("reduction", "mean"), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "accepted are none, add, mul, max and min"));
    m = begin_indices("1x1x1", (int64_t[]){0}, 1);
    onnx_initializer(&m, tensor_floats("u", "1x1x2", (float[]){1, 2}, 2));
    onnx_node(&m, "ScatterElements", "s", "x i u", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "updates do not go with its indices"));
}

static void summed(void) {
    static const struct {
        int64_t axis;
        int exclusive, reverse;
        float want[6];
    } rows[] = {{2, 0, 0, {0, 1, 3, 3, 7, 12}},
                {-1, 1, 0, {0, 0, 1, 0, 3, 7}},
                {2, 0, 1, {3, 3, 2, 12, 9, 5}},
                {1, 1, 1, {3, 4, 5, 0, 0, 0}},
                {1, 0, 0, {0, 1, 2, 3, 5, 7}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct onnx_build m = import_case_begin(13, "Nx2x3");
        onnx_initializer(&m, tensor_ints("a", "", &rows[i].axis, 1));
        onnx_node(&m, "CumSum", "", "x a", "y", attr_int("exclusive", rows[i].exclusive),
                  attr_int("reverse", rows[i].reverse), ATTR_END);
        CU_ASSERT(import_run_gives(&m, x6, 6, 1, rows[i].want, 6));
    }
    struct onnx_build m = import_case_begin(13, "Nx1"); /* nothing comes before the only one */
    onnx_initializer(&m, tensor_ints("a", "", (int64_t[]){1}, 1));
    onnx_node(&m, "CumSum", "", "x a", "y", attr_int("exclusive", 1), ATTR_END);
    CU_ASSERT(import_run_gives(&m, (float[]){NAN}, 1, 1, (float[]){0}, 1));
    m = import_case_begin(13, "Nx2");
    onnx_initializer(&m, tensor_ints("a", "", (int64_t[]){0}, 1));
    onnx_node(&m, "CumSum", "c", "x a", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "images of a batch"));
}

/* Negative ones count from the end, what is no class is none, and fractions are cut off. */
static void one_hot(void) {
    struct onnx_build m = import_case_begin(13, "Nx5");
    onnx_initializer(&m, tensor_ints("d", "", (int64_t[]){3}, 1));
    onnx_initializer(&m, tensor_floats("v", "2", (float[]){-1, 7}, 2));
    onnx_node(&m, "OneHot", "", "x d v", "y", attr_int("axis", 1), ATTR_END);
    CU_ASSERT(import_run_gives(&m, (float[]){0, -1, 3, 1.9f, -0.5f}, 5, 1,
                               (float[]){7, -1, -1, -1, 7, -1, -1, -1, 7, -1, -1, 7, -1, -1, -1}, 15));
    m = import_case_begin(13, "Nx5");
    onnx_initializer(&m, tensor_ints("d", "", (int64_t[]){0}, 1));
    onnx_initializer(&m, tensor_floats("v", "2", (float[]){-1, 7}, 2));
    onnx_node(&m, "OneHot", "o", "x d v", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_LIMIT, "its depth is 0"));
}

SUITE(import_pick, {"elements picked by constant indices", gathered},
      {"elements put somewhere, with every reduction", scattered}, {"sums along an axis", summed},
      {"one-hot of a computed index", one_hot});
