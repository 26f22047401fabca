/* guard/evaluate_move: picking and moving elements of constants, as ONNX defines it. */
#include "tests/evaluate_case.h"

static void gather(void) {
    struct onnx_build m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x3", 1));
    evaluate_case_ints(&m, "i", "2x1", 2, -1, 0);
    onnx_node(&m, "Gather", "", "t i", "r", attr_int("axis", 1), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,2,1]", 4, 3.0, 1.0, 6.0, 4.0));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x3", 1));
    evaluate_case_ints(&m, "i", "", 1, 1);
    onnx_node(&m, "Gather", "", "t i", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[3]", 3, 4.0, 5.0, 6.0));
    static const int bad[] = {2, -3};
    for (int k = 0; k < 2; k++) {
        m = evaluate_case_begin(13);
        onnx_initializer(&m, tensor_count("t", "2x3", 1));
        evaluate_case_ints(&m, "i", "", 1, bad[k]);
        onnx_node(&m, "Gather", "n", "t i", "r", ATTR_END);
        CU_ASSERT(evaluate_case_refused(&m, ERR_VALUE, "is none of the 2"));
    }
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "1x1x1x1x1", 1));
    evaluate_case_ints(&m, "i", "1x1x1x1x1", 1, 0);
    onnx_node(&m, "Gather", "n", "t i", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_LIMIT, "more than 8 dimensions"));
}

/* 0 … 4 sliced along the only axis. */
static struct onnx_build slice(int64_t start, int64_t end, int64_t step) {
    struct onnx_build m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "t", "5", 5, 0, 1, 2, 3, 4);
    onnx_initializer(&m, tensor_ints("s", "1", &start, 1));
    onnx_initializer(&m, tensor_ints("e", "1", &end, 1));
    evaluate_case_ints(&m, "a", "1", 1, 0);
    onnx_initializer(&m, tensor_ints("d", "1", &step, 1));
    onnx_node(&m, "Slice", "n", "t s e a d", "r", ATTR_END);
    return m;
}

static void slices(void) {
    struct onnx_build m = slice(1, 4, 1);
    CU_ASSERT(evaluate_case_gives(&m, "[3]", 3, 1.0, 2.0, 3.0));
    m = slice(-2, INT64_MAX, 1);
    CU_ASSERT(evaluate_case_gives(&m, "[2]", 2, 3.0, 4.0));
    m = slice(0, 5, 3);
    CU_ASSERT(evaluate_case_gives(&m, "[2]", 2, 0.0, 3.0));
    m = slice(-1, INT64_MIN, -2);
    CU_ASSERT(evaluate_case_gives(&m, "[3]", 3, 4.0, 2.0, 0.0));
    m = slice(99, 0, -1);
    CU_ASSERT(evaluate_case_gives(&m, "[4]", 4, 4.0, 3.0, 2.0, 1.0));
    m = slice(3, -99, INT64_MIN);
    CU_ASSERT(evaluate_case_gives(&m, "[1]", 1, 3.0));
    m = slice(INT64_MIN, INT64_MAX, INT64_MAX);
    CU_ASSERT(evaluate_case_gives(&m, "[1]", 1, 0.0));
    m = slice(0, 5, 0);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "a step is 0"));
    m = slice(4, 1, 1); /* nothing: which no network can use */
    CU_ASSERT(evaluate_case_refused(&m, ERR_LIMIT, "[0]"));
}

static void slices_of_several_axes(void) {
    struct onnx_build m = evaluate_case_begin(9);
    onnx_initializer(&m, tensor_count("t", "3x4", 1));
    onnx_node(&m, "Slice", "", "t", "r", attr_ints("starts", 2, 1, 0), attr_ints("ends", 2, 3, -2), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 5.0, 6.0, 9.0, 10.0));
    m = evaluate_case_begin(9);
    onnx_initializer(&m, tensor_count("t", "3x4", 1));
    onnx_node(&m, "Slice", "", "t", "r", attr_ints("axes", 1, -1), attr_ints("starts", 1, 3),
              attr_ints("ends", 1, 4), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[3,1]", 3, 4.0, 8.0, 12.0));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "3x4", 1));
    evaluate_case_ints(&m, "s", "2", 2, 2, 3);
    evaluate_case_ints(&m, "e", "2", 2, -99, -99);
    evaluate_case_ints(&m, "d", "2", 2, -1, -2);
    onnx_node(&m, "Slice", "", "t s e - d", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[3,2]", 6, 12.0, 10.0, 8.0, 6.0, 4.0, 2.0));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "3x4", 1));
    evaluate_case_ints(&m, "s", "2", 2, 0, 0);
    evaluate_case_ints(&m, "e", "1", 1, 2);
    onnx_node(&m, "Slice", "n", "t s e", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "not of one length"));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "3x4", 1));
    evaluate_case_ints(&m, "s", "2", 2, 0, 0);
    evaluate_case_ints(&m, "a", "2", 2, 1, -1);
    onnx_node(&m, "Slice", "n", "t s s a", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "axis 1 is given twice"));
}

static void transpose(void) {
    struct onnx_build m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x3", 1));
    onnx_node(&m, "Transpose", "", "t", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[3,2]", 6, 1.0, 4.0, 2.0, 5.0, 3.0, 6.0));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "1x2x3", 1));
    onnx_node(&m, "Transpose", "", "t", "r", attr_ints("perm", 3, 2, 0, 1), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[3,1,2]", 6, 1.0, 4.0, 2.0, 5.0, 3.0, 6.0));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x3", 1));
    onnx_node(&m, "Transpose", "n", "t", "r", attr_ints("perm", 2, 1, 1), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "perm has axis 1 twice"));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x3", 1));
    onnx_node(&m, "Transpose", "n", "t", "r", attr_ints("perm", 1, 0), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "perm has 1 axes"));
}

static void expand(void) {
    struct onnx_build m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x1", 1));
    evaluate_case_ints(&m, "s", "3", 3, 2, 1, 3);
    onnx_node(&m, "Expand", "", "t s", "r", ATTR_END);
    CU_ASSERT(
        evaluate_case_gives(&m, "[2,2,3]", 12, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x1", 1));
    evaluate_case_ints(&m, "s", "1", 1, -1);
    onnx_node(&m, "Expand", "n", "t s", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "[2,1] does not expand to [-1]"));
}

static void concat(void) {
    struct onnx_build m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x2", 1));
    onnx_initializer(&m, tensor_count("u", "2x1", 10));
    onnx_node(&m, "Concat", "", "t u", "r", attr_int("axis", -1), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,3]", 6, 1.0, 2.0, 10.0, 3.0, 4.0, 20.0));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "none", "0", 0);
    evaluate_case_ints(&m, "some", "2", 2, 5, 6);
    onnx_node(&m, "Concat", "", "none some none", "r", attr_int("axis", 0), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2]", 2, 5.0, 6.0));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x2", 1));
    evaluate_case_ints(&m, "u", "2x2", 4, 1, 2, 3, 4);
    onnx_node(&m, "Concat", "n", "t u", "r", attr_int("axis", 0), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "its input 1 does not go with the first"));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x2", 1));
    onnx_node(&m, "Concat", "n", "t - t", "r", attr_int("axis", 0), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "its input 1 is missing"));
}

static void other_shapes_of_constants(void) {
    struct onnx_build m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x3", 1));
    evaluate_case_ints(&m, "s", "2", 2, -1, 2);
    evaluate_case_ints(&m, "axes", "1", 1, 0);
    onnx_node(&m, "Reshape", "", "t s", "a", ATTR_END);
    onnx_node(&m, "Unsqueeze", "", "a axes", "b", ATTR_END);
    onnx_node(&m, "Squeeze", "", "b", "c", ATTR_END);
    onnx_node(&m, "Flatten", "", "c", "d", attr_int("axis", 0), ATTR_END);
    onnx_node(&m, "Identity", "", "d", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[1,6]", 6, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0));
}

SUITE(evaluate_move, {"Gather", gather}, {"Slice", slices},
      {"Slice along several axes", slices_of_several_axes}, {"Transpose", transpose}, {"Expand", expand},
      {"Concat", concat}, {"other shapes of constants are views", other_shapes_of_constants});
