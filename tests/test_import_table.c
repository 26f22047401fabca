/* guard/import_table: rows by operator set, and attributes held against them. */
#include "guard/import_node.h"
#include "tests/import_case.h"
#include "tests/suite.h"

static struct onnx_build relu(struct pb attribute) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Flatten", "f", "x", "y", attribute, ATTR_END);
    return m;
}

static struct pb attribute_of(int kind, uint32_t field) {
    struct pb b = {0};
    pb_text(&b, 1, "axis");
    pb_int(&b, 20, kind);
    if (field == 2) pb_float(&b, 2, 1);
    if (field == 3) pb_int(&b, 3, 1);
    if (field > 3) pb_text(&b, field, "");
    return b;
}

static void attributes_of_wrong_kinds(void) {
    struct onnx_build m = relu(attr_float("axis", 1));
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT,
                                  "node 'f' (Flatten): attribute 'axis' is a float; it must be an int"));
    m = relu(attr_ints("axis", 1, 1));
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "attribute 'axis' is a list of ints; it must be an int"));
    m = relu(attr_text("axis", "1"));
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "is a string"));
    m = relu(attr_tensor("axis", tensor_fill("", "1", 1)));
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "is a tensor"));
    m = relu(attribute_of(2, 4)); /* says int, holds a string */
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "holds several values"));
    m = relu(attribute_of(2, 5));
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "holds several values"));
    m = relu(attribute_of(13, 0));
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "of no accepted kind"));
}

static void attributes_that_are_fine(void) {
    struct pb bare = {0};
    pb_text(&bare, 1, "axis"); /* no type: what the value says */
    pb_int(&bare, 3, 1);
    struct onnx_build m = relu(bare);
    CU_ASSERT(import_case_accepted(&m));
    m = relu(attribute_of(2, 0)); /* a zero that a writer left out */
    struct import_case c = import_case_make(&m);
    CU_ASSERT(!c.g && strstr(c.e.text, "not the first axis")); /* so it was read as 0 */
    import_case_free(&c);
}

static void attributes_that_are_not_known(void) {
    struct onnx_build m = relu(attr_int("aXis", 1));
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED,
                                  "attribute 'aXis' is not known; this operator may have: axis"));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Flatten", "f", "x", "y", attr_int("axis", 1), attr_int("axis", 1), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "attribute 'axis' is given twice"));
    struct pb reference = {0};
    pb_text(&reference, 1, "axis");
    pb_int(&reference, 20, 2);
    pb_text(&reference, 21, "outer");
    m = relu(reference);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "refers to a function's"));
}

static void numbers_of_inputs(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Relu", "r", "x x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "it has 2 inputs; accepted are 1 to 1"));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Relu", "r", "x - -", "y", ATTR_END); /* absent ones at the end are none */
    CU_ASSERT(import_case_accepted(&m));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Relu", "r", "", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "it has 0 inputs"));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Add", "a", "- x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "its input 0 is missing"));
}

static void rows_follow_the_operator_set(void) {
    struct onnx_build m = import_case_begin(12, "Nx4x1");
    onnx_node(&m, "Squeeze", "s", "x", "y", attr_ints("axes", 1, 2), ATTR_END);
    CU_ASSERT(import_case_accepted(&m));
    m = import_case_begin(13, "Nx4x1");
    onnx_node(&m, "Squeeze", "s", "x", "y", attr_ints("axes", 1, 2), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "attribute 'axes' is not known"));
    m = import_case_begin(12, "Nx4x1");
    onnx_initializer(&m, tensor_ints("a", "1", (int64_t[]){2}, 1));
    onnx_node(&m, "Squeeze", "s", "x a", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "it has 2 inputs"));
    m = import_case_begin(8, "Nx4");
    onnx_initializer(&m, tensor_ints("s", "1", (int64_t[]){4}, 1));
    onnx_node(&m, "ConstantOfShape", "c", "s", "z", ATTR_END);
    onnx_node(&m, "Add", "", "x z", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "not part of operator set 8"));
}

/* docs/operators.md names each operator, and says of those that are evaluated only that they are. */
static void the_page_names_every_operator(void) {
    static const struct import_row *const families[] = {
        import_rows_window, import_rows_elementwise, import_rows_norm,   import_rows_shape,
        import_rows_matrix, import_rows_function,    import_rows_pair,   import_rows_reduce,
        import_rows_move,   import_rows_space,       import_rows_resize, import_rows_quantize,
        evaluate_rows,      evaluate_rows_scatter};
    FILE *f = fopen("docs/operators.md", "re");
    static char page[1 << 15];
    if (!f) {
        suite_skip("import_table", "docs/operators.md is not here; run the tests in the root of the sources");
        return;
    }
    const size_t n = fread(page, 1, sizeof page - 1, f);
    (void)fclose(f);
    page[n] = 0;
    char *constants = strstr(page, "## On constants only");
    CU_ASSERT_PTR_NOT_NULL_FATAL(constants);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        for (const struct import_row *r = families[i]; r->name; r++) {
            char word[64];
            (void)snprintf(word, sizeof word, "`%s`", r->name);
            const char *at = strstr(page, word);
            if (!at || (at > constants) != !r->emit) {
                fprintf(stderr, "\ndocs/operators.md: %s %s\n", r->name,
                        r->emit ? "runs" : "is evaluated only");
                CU_FAIL("an operator is missing from the page");
            }
        }
}

SUITE(import_table, {"docs/operators.md names every operator", the_page_names_every_operator},
      {"attributes of the wrong kind", attributes_of_wrong_kinds},
      {"attributes that are fine", attributes_that_are_fine},
      {"attributes that are not known", attributes_that_are_not_known},
      {"numbers of inputs", numbers_of_inputs},
      {"rows follow the operator set", rows_follow_the_operator_set});
