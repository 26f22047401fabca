/* guard/evaluate: arithmetic, casts and sources of constants, as ONNX defines them. */
#include "tests/evaluate_case.h"

/* `op` on two constants of integers. */
static struct onnx_build on_ints(const char *op, struct pb attribute) {
    struct onnx_build m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "a", "2x2", 4, 7, -7, 6, -6);
    evaluate_case_ints(&m, "b", "2", 2, 3, -4);
    onnx_node(&m, op, "n", "a b", "r", attribute, ATTR_END);
    return m;
}

static struct onnx_build on_floats(const char *op) {
    struct onnx_build m = evaluate_case_begin(13);
    evaluate_case_floats(&m, "a", "2x1", 2, 1.5, -3.0);
    evaluate_case_floats(&m, "b", "3", 3, 2.0, 0.5, -3.0);
    onnx_node(&m, op, "n", "a b", "r", ATTR_END);
    return m;
}

static void integers(void) {
    struct onnx_build m = on_ints("Add", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 10.0, -11.0, 9.0, -10.0));
    m = on_ints("Sub", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 4.0, -3.0, 3.0, -2.0));
    m = on_ints("Mul", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 21.0, 28.0, 18.0, 24.0));
    m = on_ints("Div", ATTR_END); /* towards zero */
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 2.0, 1.0, 2.0, 1.0));
    m = on_ints("Mod", ATTR_END); /* the sign of the divisor */
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 1.0, -3.0, 0.0, -2.0));
    m = on_ints("Mod", attr_int("fmod", 1)); /* of the dividend */
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 1.0, -3.0, 0.0, -2.0));
    m = on_ints("Less", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 0.0, 1.0, 0.0, 1.0));
    m = on_ints("Greater", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 1.0, 0.0, 1.0, 0.0));
    m = on_ints("Equal", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 0.0, 0.0, 0.0, 0.0));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "a", "2", 2, -7, 7);
    evaluate_case_ints(&m, "b", "2", 2, 3, -3);
    onnx_node(&m, "Mod", "", "a b", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2]", 2, 2.0, -2.0));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "a", "2", 2, -7, 7);
    evaluate_case_ints(&m, "b", "2", 2, 3, -3);
    onnx_node(&m, "Mod", "", "a b", "r", attr_int("fmod", 1), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2]", 2, -1.0, 1.0));
}

static void floats(void) {
    struct onnx_build m = on_floats("Add");
    CU_ASSERT(evaluate_case_gives(&m, "[2,3]", 6, 3.5, 2.0, -1.5, -1.0, -2.5, -6.0));
    m = on_floats("Sub");
    CU_ASSERT(evaluate_case_gives(&m, "[2,3]", 6, -0.5, 1.0, 4.5, -5.0, -3.5, 0.0));
    m = on_floats("Mul");
    CU_ASSERT(evaluate_case_gives(&m, "[2,3]", 6, 3.0, 0.75, -4.5, -6.0, -1.5, 9.0));
    m = on_floats("Div");
    CU_ASSERT(evaluate_case_gives(&m, "[2,3]", 6, 0.75, 3.0, -0.5, -1.5, -6.0, 1.0));
    m = on_floats("Less");
    CU_ASSERT(evaluate_case_gives(&m, "[2,3]", 6, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0));
    m = on_floats("Equal");
    CU_ASSERT(evaluate_case_gives(&m, "[2,3]", 6, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0));
}

static void one_input(void) {
    static const struct {
        const char *op;
        double want[3];
    } cases[] = {
        {"Neg", {2.5, -1.25, -4}}, {"Abs", {2.5, 1.25, 4}}, {"Floor", {-3, 1, 4}}, {"Ceil", {-2, 2, 4}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct onnx_build m = evaluate_case_begin(13);
        evaluate_case_floats(&m, "a", "3", 3, -2.5, 1.25, 4.0);
        onnx_node(&m, cases[i].op, "", "a", "r", ATTR_END);
        CU_ASSERT(evaluate_case_gives(&m, "[3]", 3, cases[i].want[0], cases[i].want[1], cases[i].want[2]));
    }
    struct onnx_build m = evaluate_case_begin(13);
    evaluate_case_floats(&m, "a", "2", 2, 2.25, 16.0);
    onnx_node(&m, "Sqrt", "", "a", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2]", 2, 1.5, 4.0));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "a", "2", 2, -5, 5);
    onnx_node(&m, "Abs", "", "a", "b", ATTR_END);
    onnx_node(&m, "Neg", "", "b", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2]", 2, -5.0, -5.0));
}

static void booleans(void) {
    struct onnx_build m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_raw("a", 9, "4", "\0\0\1\1", 4));
    onnx_initializer(&m, tensor_raw("b", 9, "4", "\0\1\0\1", 4));
    onnx_node(&m, "And", "", "a b", "c", ATTR_END);
    onnx_node(&m, "Not", "", "c", "d", ATTR_END);
    onnx_node(&m, "Or", "", "c a", "e", ATTR_END);
    evaluate_case_ints(&m, "one", "1", 1, 1);
    evaluate_case_ints(&m, "list", "4", 4, 10, 20, 30, 40);
    onnx_node(&m, "Where", "", "d list one", "f", ATTR_END);
    onnx_node(&m, "Where", "", "e f list", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[4]", 4, 10.0, 20.0, 30.0, 1.0));
}

static void numbers_that_do_not_exist(void) {
    static const struct {
        const char *op;
        int64_t a, b;
    } bad[] = {{"Div", 1, 0},         {"Div", INT64_MIN, -1}, {"Mod", 1, 0},
               {"Add", INT64_MAX, 1}, {"Sub", INT64_MIN, 1},  {"Mul", INT64_MAX, 2}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct onnx_build m = evaluate_case_begin(13);
        onnx_initializer(&m, tensor_ints("a", "", &bad[i].a, 1));
        onnx_initializer(&m, tensor_ints("b", "", &bad[i].b, 1));
        onnx_node(&m, bad[i].op, "n", "a b", "r", ATTR_END);
        CU_ASSERT(evaluate_case_refused(&m, ERR_VALUE, "have no result that fits int64"));
    }
    struct onnx_build m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_raw("a", 6, "", "\xff\xff\xff\x7f", 4));
    onnx_node(&m, "Add", "n", "a a", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_VALUE, "no result that fits int32"));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_ints("a", "", (int64_t[]){INT64_MIN}, 1));
    onnx_node(&m, "Neg", "n", "a", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_VALUE, "has no result"));
    /* Floats may overflow on the way; what the network would use may not. */
    m = evaluate_case_begin(13);
    evaluate_case_floats(&m, "a", "", 1, 3e38);
    onnx_node(&m, "Add", "n", "a a", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_VALUE, "constant 'r' holds infinity at element 0"));
}

static void types_that_do_not_fit(void) {
    struct onnx_build m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "a", "1", 1, 1);
    evaluate_case_floats(&m, "b", "1", 1, 1.0);
    onnx_node(&m, "Add", "n", "a b", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "of different types, int64 and float"));
    m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_raw("a", 9, "1", "\1", 1));
    onnx_node(&m, "Add", "n", "a a", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_UNSUPPORTED, "not supported on constants of type bool"));
    m = evaluate_case_begin(13);
    evaluate_case_floats(&m, "a", "1", 1, 1.0);
    onnx_node(&m, "Not", "n", "a", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "its input is float; it must be bool"));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "a", "2", 2, 1, 2);
    evaluate_case_ints(&m, "b", "3", 3, 1, 2, 3);
    onnx_node(&m, "Add", "n", "a b", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "[2] and [3] do not broadcast"));
}

static void casts(void) {
    struct onnx_build m = evaluate_case_begin(13);
    evaluate_case_floats(&m, "a", "4", 4, 2.75, -2.75, 0.0, 7.0);
    onnx_node(&m, "Cast", "", "a", "r", attr_int("to", 7), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[4]", 4, 2.0, -2.0, 0.0, 7.0));
    m = evaluate_case_begin(13);
    evaluate_case_floats(&m, "a", "3", 3, 0.5, -1.0, 0.0);
    onnx_node(&m, "Cast", "", "a", "b", attr_int("to", 9), ATTR_END);
    onnx_node(&m, "Cast", "", "b", "r", attr_int("to", 6), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[3]", 3, 1.0, 1.0, 0.0));
    m = evaluate_case_begin(13);
    evaluate_case_floats(&m, "a", "1", 1, 3e9);
    onnx_node(&m, "Cast", "n", "a", "r", attr_int("to", 6), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_VALUE, "3e+09 does not fit int32"));
    m = evaluate_case_begin(13);
    evaluate_case_floats(&m, "a", "1", 1, 1e30);
    onnx_node(&m, "Cast", "n", "a", "r", attr_int("to", 7), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_VALUE, "does not fit int64"));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "a", "1", 1, 300);
    onnx_node(&m, "Cast", "n", "a", "r", attr_int("to", 2), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_VALUE, "300 does not fit uint8"));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "a", "1", 1, 300);
    onnx_node(&m, "Cast", "n", "a", "r", attr_int("to", 8), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_UNSUPPORTED, "it casts to string"));
}

static void constants(void) {
    struct onnx_build m = evaluate_case_begin(13);
    onnx_node(&m, "Constant", "", "", "r", attr_float("value_float", 2.5f), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[]", 1, 2.5));
    m = evaluate_case_begin(13);
    onnx_node(&m, "Constant", "", "", "r", attr_int("value_int", -3), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[]", 1, -3.0));
    m = evaluate_case_begin(13);
    onnx_node(&m, "Constant", "", "", "r", attr_ints("value_ints", 3, 1, 300, -1), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[3]", 3, 1.0, 300.0, -1.0));
    struct pb floats_attr = {0};
    pb_text(&floats_attr, 1, "value_floats");
    pb_int(&floats_attr, 20, 6);
    pb_float(&floats_attr, 7, 1.5f);
    pb_float(&floats_attr, 7, -2);
    m = evaluate_case_begin(13);
    onnx_node(&m, "Constant", "", "", "r", floats_attr, ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2]", 2, 1.5, -2.0));
    m = evaluate_case_begin(9);
    onnx_node(&m, "Constant", "", "", "r", attr_tensor("value", tensor_count("t", "2x2", 0.5f)), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,2]", 4, 0.5, 1.0, 1.5, 2.0));
    m = evaluate_case_begin(13);
    onnx_node(&m, "Constant", "n", "", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "it has 0 attributes"));
    m = evaluate_case_begin(13);
    onnx_node(&m, "Constant", "n", "", "r", attr_text("value_string", "x"), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_UNSUPPORTED, "attribute 'value_string' is not known"));
    m = evaluate_case_begin(13);
    onnx_node(&m, "Constant", "n", "", "r", attr_tensor("value", tensor_raw("t", 1, "2", "", 0)), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "attribute 'value': it holds 0 bytes"));
}

static void constants_of_a_shape(void) {
    struct onnx_build m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "s", "2", 2, 2, 3);
    onnx_node(&m, "ConstantOfShape", "", "s", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2,3]", 6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "s", "1", 1, 2);
    onnx_node(&m, "ConstantOfShape", "", "s", "r",
              attr_tensor("value", tensor_ints("", "1", (int64_t[]){-7}, 1)), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[2]", 2, -7.0, -7.0));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "s", "0", 0);
    onnx_node(&m, "ConstantOfShape", "", "s", "r", attr_tensor("value", tensor_fill("", "1", 4)), ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[]", 1, 4.0));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "s", "2", 2, 65536, 65536);
    onnx_node(&m, "ConstantOfShape", "n", "s", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_LIMIT, "cannot have shape [65536,65536]"));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "s", "1", 1, -1);
    onnx_node(&m, "ConstantOfShape", "n", "s", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_LIMIT, "cannot have shape [-1]"));
    m = evaluate_case_begin(13); /* more than the budget for computed constants */
    evaluate_case_ints(&m, "s", "2", 2, 32768, 32768);
    onnx_node(&m, "ConstantOfShape", "n", "s", "r", ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_LIMIT, "too much memory"));
    m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "s", "1", 1, 2);
    onnx_node(&m, "ConstantOfShape", "n", "s", "r", attr_tensor("value", tensor_fill("", "2", 4)), ATTR_END);
    CU_ASSERT(evaluate_case_refused(&m, ERR_FORMAT, "must have one element"));
}

static struct onnx_build range(int start, int limit, int delta) {
    struct onnx_build m = evaluate_case_begin(13);
    evaluate_case_ints(&m, "a", "", 1, start);
    evaluate_case_ints(&m, "b", "", 1, limit);
    evaluate_case_ints(&m, "c", "", 1, delta);
    onnx_node(&m, "Range", "n", "a b c", "r", ATTR_END);
    return m;
}

static void ranges(void) {
    struct onnx_build m = range(2, 9, 3);
    CU_ASSERT(evaluate_case_gives(&m, "[3]", 3, 2.0, 5.0, 8.0));
    m = range(5, -1, -2);
    CU_ASSERT(evaluate_case_gives(&m, "[3]", 3, 5.0, 3.0, 1.0));
    m = range(0, 5, 0);
    CU_ASSERT(evaluate_case_refused(&m, ERR_VALUE, "in steps of 0"));
    m = evaluate_case_begin(13);
    evaluate_case_floats(&m, "a", "", 1, 1.0);
    evaluate_case_floats(&m, "b", "", 1, 2.0);
    evaluate_case_floats(&m, "c", "", 1, 0.25);
    onnx_node(&m, "Range", "", "a b c", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[4]", 4, 1.0, 1.25, 1.5, 1.75));
}

static void shapes(void) {
    static const struct {
        int opset;
        int start, end;
        bool given;
        const char *shape;
        int n;
        double want[3];
    } cases[] = {{13, 0, 0, false, "[3]", 3, {2, 3, 4}},
                 {15, 1, 3, true, "[2]", 2, {3, 4}},
                 {15, -2, 99, true, "[2]", 2, {3, 4}},
                 {15, -9, -1, true, "[2]", 2, {2, 3}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct onnx_build m = evaluate_case_begin(cases[i].opset);
        onnx_initializer(&m, tensor_count("t", "2x3x4", 1));
        onnx_node(&m, "Shape", "", "t", "r", cases[i].given ? attr_int("start", cases[i].start) : ATTR_END,
                  cases[i].given ? attr_int("end", cases[i].end) : ATTR_END, ATTR_END);
        CU_ASSERT(evaluate_case_gives(&m, cases[i].shape, cases[i].n, cases[i].want[0], cases[i].want[1],
                                      cases[i].want[2]));
    }
    struct onnx_build m = evaluate_case_begin(13);
    onnx_initializer(&m, tensor_count("t", "2x3x4", 1));
    onnx_node(&m, "Size", "", "t", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[]", 1, 24.0));
    m = evaluate_case_begin(13); /* of a value that is not constant itself */
    onnx_node(&m, "Relu", "", "x", "relu", ATTR_END);
    onnx_node(&m, "Shape", "", "relu", "r", ATTR_END);
    CU_ASSERT(evaluate_case_gives(&m, "[1]", 1, 1.0));
}

SUITE(evaluate, {"integers", integers}, {"floats, broadcast", floats}, {"one input", one_input},
      {"booleans", booleans}, {"numbers that do not exist", numbers_that_do_not_exist},
      {"types that do not fit", types_that_do_not_fit}, {"casts", casts}, {"Constant", constants},
      {"ConstantOfShape", constants_of_a_shape}, {"Range", ranges}, {"Shape and Size", shapes});
