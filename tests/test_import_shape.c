/* guard/import_shape: targets resolved at both batch sizes; Concat. */
#include "tests/import_case.h"

static struct onnx_build reshape(int opset, const char *x, int n, const int64_t *target,
                                 struct pb attribute) {
    char dims[8];
    struct onnx_build m = import_case_begin(opset, x);
    (void)snprintf(dims, sizeof dims, "%d", n);
    onnx_initializer(&m, tensor_ints("target", dims, target, (size_t)n));
    onnx_node(&m, "Reshape", "r", "x target", "y", attribute, ATTR_END);
    return m;
}

static bool gives(struct onnx_build *m, const char *shape) {
    struct import_case c = import_case_make(m);
    const bool ok = import_case_gives(&c, shape);
    import_case_free(&c);
    return ok;
}

static void reshape_targets(void) {
    struct onnx_build m = reshape(13, "Nx3x4", 2, (int64_t[]){0, -1}, ATTR_END);
    CU_ASSERT(gives(&m, "[1,12]"));
    m = reshape(13, "Nx3x4", 3, (int64_t[]){-1, 6, 2}, ATTR_END);
    CU_ASSERT(gives(&m, "[1,6,2]"));
    m = reshape(13, "Nx3x4", 2, (int64_t[]){-1, 2}, ATTR_END); /* the batch and more in one axis */
    CU_ASSERT(gives(&m, "[6,2]"));
    m = reshape(13, "1x3x4", 1, (int64_t[]){12}, ATTR_END);
    CU_ASSERT(gives(&m, "[12]"));
    m = reshape(13, "1x1", 0, NULL, ATTR_END);
    CU_ASSERT(gives(&m, "[]"));
    m = reshape(14, "Nx3x4", 3, (int64_t[]){0, 4, 3}, attr_int("allowzero", 0));
    CU_ASSERT(gives(&m, "[1,4,3]"));
}

static void reshapes_that_do_not_fit(void) {
    struct onnx_build m = reshape(13, "1x3x4", 2, (int64_t[]){5, -1}, ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "[1,3,4] does not divide"));
    m = reshape(13, "1x3x4", 2, (int64_t[]){-1, -1}, ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "more than one -1"));
    m = reshape(13, "1x3x4", 2, (int64_t[]){-2, 6}, ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "target dimension 0 is -2"));
    m = reshape(13, "1x3x4", 4, (int64_t[]){1, 3, 4, 0}, ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "dimension 3 is to be kept, but there is none"));
    m = reshape(13, "1x3x4", 2, (int64_t[]){3, 5}, ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "[1,3,4] cannot become [3,5]"));
    m = reshape(14, "1x3x4", 2, (int64_t[]){0, 12}, attr_int("allowzero", 1));
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "cannot become [0,12]"));
    m = reshape(13, "1x3x4", 2, (int64_t[]){INT64_MAX, INT64_MAX}, ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "cannot become"));
    m = reshape(13, "1x3x4", 3, (int64_t[]){INT64_MAX, INT64_MAX, -1}, ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "does not divide"));
    m = reshape(13, "1x3x4", 9, (int64_t[]){1, 1, 1, 1, 1, 1, 1, 3, 4}, ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_LIMIT, "more than 8 values"));
    m = import_case_begin(13, "1x3");
    onnx_node(&m, "Reshape", "r", "x x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "'x') is computed while the network runs"));
    m = import_case_begin(13, "1x3");
    onnx_initializer(&m, tensor_fill("t", "2", 1));
    onnx_node(&m, "Reshape", "r", "x t", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "'t' must be a list of integers"));
}

/* As exporters spell x.view(x.size(0), -1): constant once the batch is known. */
static void a_target_computed_from_the_input(void) {
    static const int64_t zero[] = {0}, rest[] = {-1};
    struct onnx_build m = import_case_begin(13, "Nx3x4");
    onnx_initializer(&m, tensor_ints("zero", "", zero, 1));
    onnx_initializer(&m, tensor_ints("axes", "1", zero, 1));
    onnx_initializer(&m, tensor_ints("rest", "1", rest, 1));
    onnx_node(&m, "Shape", "", "x", "s", ATTR_END);
    onnx_node(&m, "Gather", "", "s zero", "n", attr_int("axis", 0), ATTR_END);
    onnx_node(&m, "Unsqueeze", "", "n axes", "n1", ATTR_END);
    onnx_node(&m, "Concat", "", "n1 rest", "target", attr_int("axis", 0), ATTR_END);
    onnx_node(&m, "Reshape", "", "x target", "y", ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT(c.g->n_nodes == 1 && c.g->batch_is_dynamic);
    CU_ASSERT(import_case_gives(&c, "[1,12]"));
    import_case_free(&c);
}

static void flatten(void) {
    static const struct {
        int64_t axis;
        const char *x, *shape;
    } cases[] = {{1, "Nx3x4", "[1,12]"},
                 {2, "1x3x4", "[3,4]"},
                 {0, "1x3x4", "[1,12]"},
                 {3, "1x3x4", "[12,1]"},
                 {-1, "1x3x4", "[3,4]"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct onnx_build m = import_case_begin(13, cases[i].x);
        onnx_node(&m, "Flatten", "", "x", "y", attr_int("axis", cases[i].axis), ATTR_END);
        CU_ASSERT(gives(&m, cases[i].shape));
    }
    struct onnx_build m = import_case_begin(13, "1x3x4");
    onnx_node(&m, "Flatten", "f", "x", "y", attr_int("axis", 4), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "axis 4"));
}

static void squeeze(void) {
    struct onnx_build m = import_case_begin(11, "Nx3x1x1");
    onnx_node(&m, "Squeeze", "", "x", "y", attr_ints("axes", 2, 2, -1), ATTR_END);
    CU_ASSERT(gives(&m, "[1,3]"));
    m = import_case_begin(13, "Nx3x1x1");
    onnx_initializer(&m, tensor_ints("a", "2", (int64_t[]){3, 2}, 2));
    onnx_node(&m, "Squeeze", "", "x a", "y", ATTR_END);
    CU_ASSERT(gives(&m, "[1,3]"));
    m = import_case_begin(13, "Nx3x1x1"); /* without axes: what is 1 at every batch size */
    onnx_node(&m, "Squeeze", "", "x", "y", ATTR_END);
    CU_ASSERT(gives(&m, "[1,3]"));
    m = import_case_begin(13, "1x3x1x1");
    onnx_node(&m, "Squeeze", "", "x", "y", ATTR_END);
    CU_ASSERT(gives(&m, "[3]"));
    m = import_case_begin(11, "1x3x1");
    onnx_node(&m, "Squeeze", "s", "x", "y", attr_ints("axes", 1, 1), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "axis 1 has 3 elements"));
    m = import_case_begin(11, "1x3x1");
    onnx_node(&m, "Squeeze", "s", "x", "y", attr_ints("axes", 2, 2, -1), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "given twice"));
    m = import_case_begin(11, "Nx3x1"); /* takes the batch itself away */
    onnx_node(&m, "Squeeze", "s", "x", "y", attr_ints("axes", 1, 0), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "axis 0 has 2 elements"));
}

static void unsqueeze(void) {
    struct onnx_build m = import_case_begin(11, "Nx3");
    onnx_node(&m, "Unsqueeze", "", "x", "y", attr_ints("axes", 2, -1, 2), ATTR_END);
    CU_ASSERT(gives(&m, "[1,3,1,1]"));
    m = import_case_begin(13, "Nx3");
    onnx_initializer(&m, tensor_ints("a", "1", (int64_t[]){0}, 1));
    onnx_node(&m, "Unsqueeze", "", "x a", "t", ATTR_END);
    onnx_initializer(&m, tensor_ints("b", "1", (int64_t[]){0}, 1));
    onnx_node(&m, "Squeeze", "", "t b", "y", ATTR_END);
    CU_ASSERT(gives(&m, "[1,3]"));
    m = import_case_begin(11, "1x3");
    onnx_node(&m, "Unsqueeze", "u", "x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "its axes are missing"));
    m = import_case_begin(11, "1x1x1x1x1x1x1x3");
    onnx_node(&m, "Unsqueeze", "u", "x", "y", attr_ints("axes", 1, 0), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_LIMIT, "more than 8 dimensions"));
    m = import_case_begin(11, "1x3");
    onnx_node(&m, "Unsqueeze", "u", "x", "y", attr_ints("axes", 1, 3), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "axis 3 is none of the 3"));
}

static void concat(void) {
    struct onnx_build m = import_case_begin(13, "Nx3x4");
    onnx_node(&m, "Concat", "", "x x x", "y", attr_int("axis", -1), ATTR_END);
    CU_ASSERT(gives(&m, "[1,3,12]"));
    m = import_case_begin(13, "1x3x4");
    onnx_initializer(&m, tensor_fill("c", "1x2x4", 1));
    onnx_node(&m, "Concat", "", "x c", "y", attr_int("axis", 1), ATTR_END);
    CU_ASSERT(gives(&m, "[1,5,4]"));
    m = import_case_begin(13, "Nx3x4");
    onnx_node(&m, "Concat", "c", "x x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "attribute 'axis' is missing"));
    m = import_case_begin(13, "1x3x4");
    onnx_initializer(&m, tensor_fill("c", "1x2x5", 1));
    onnx_node(&m, "Concat", "c", "x c", "y", attr_int("axis", 1), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "does not go with [1,3,4] along axis 1"));
}

SUITE(import_shape, {"targets of Reshape", reshape_targets},
      {"reshapes that do not fit", reshapes_that_do_not_fit},
      {"a target computed from the input", a_target_computed_from_the_input}, {"Flatten", flatten},
      {"Squeeze", squeeze}, {"Unsqueeze", unsqueeze}, {"Concat", concat});
