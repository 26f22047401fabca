/* guard/import_batch: the batch is followed through every operator, and an
 * operator that mixes images is refused. */
#include "guard/import_batch.h"
#include "tests/import_case.h"

/* One operator on [N,…] and perhaps a constant c. */
static struct onnx_build one(const char *op, const char *x, const char *inputs, const char *c,
                             struct pb attribute) {
    struct onnx_build m = import_case_begin(13, x);
    if (c) onnx_initializer(&m, tensor_count("c", c, 1));
    onnx_node(&m, op, "node", inputs, "y", attribute, ATTR_END);
    return m;
}

static bool mixes(struct onnx_build m, const char *how) {
    return import_case_refused(&m, ERR_UNSUPPORTED, how);
}

static bool keeps_apart(struct onnx_build m) {
    return import_case_accepted(&m);
}

static void every_operator_has_a_rule(void) {
    for (int op = 0; op < OP_COUNT; op++) {
        union op_params p[2] = {{.axis = {.axis = 1}}, {.axis = {.axis = 1}}};
        const struct batch_value in[3] = {
            {{{.rank = 4, .dim = {1, 2, 3, 3}}, {.rank = 4, .dim = {2, 2, 3, 3}}}, 0, 1},
            {{{.rank = 4, .dim = {1, 2, 3, 3}}, {.rank = 4, .dim = {1, 2, 3, 3}}}, -1, 1},
            {{{.rank = -1}, {.rank = -1}}, -1, 1}};
        struct batch_value out = {.shape = {in[0].shape[0], in[0].shape[1]}};
        struct err e = {0};
        (void)import_batch_follow((enum op)op, p, in, 3, &out, &e);
        CU_ASSERT_NOT_EQUAL(e.code, ERR_INTERNAL);
    }
}

static void softmax_and_concat(void) {
    CU_ASSERT(mixes(one("Softmax", "Nx3", "x", NULL, attr_int("axis", 0)), "it normalises along the batch"));
    CU_ASSERT(keeps_apart(one("Softmax", "Nx3", "x", NULL, attr_int("axis", 1))));
    CU_ASSERT(
        mixes(one("Concat", "Nx3", "x x", NULL, attr_int("axis", 0)), "it concatenates along the batch"));
    CU_ASSERT(keeps_apart(one("Concat", "Nx3", "x x", NULL, attr_int("axis", 1))));
    struct onnx_build m = import_case_begin(11, "Nx3"); /* the older Softmax: all axes from this one on */
    onnx_node(&m, "Softmax", "node", "x", "y", attr_int("axis", 0), ATTR_END);
    CU_ASSERT(mixes(m, "node 'node' (Softmax): it mixes the images of a batch"));
    m = import_case_begin(17, "Nx3");
    onnx_initializer(&m, tensor_fill("c", "2x3", 1));
    onnx_node(&m, "LayerNormalization", "node", "x c", "y", attr_int("axis", 0), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "LayerNormalization"));
}

static void matrix_products(void) {
    CU_ASSERT(keeps_apart(one("MatMul", "Nx3", "x c", "3x5", ATTR_END)));
    CU_ASSERT(keeps_apart(one("MatMul", "Nx3x3", "x x", NULL, ATTR_END)));
    CU_ASSERT(keeps_apart(one("Gemm", "Nx3", "x c", "3x5", ATTR_END)));
    CU_ASSERT(mixes(one("Gemm", "Nx3", "x x", NULL, attr_int("transA", 1)), "it sums over the batch"));
    CU_ASSERT(mixes(one("Gemm", "Nx3", "x x", NULL, attr_int("transB", 1)),
                    "each image of one input meets every image"));

    struct onnx_build m = import_case_begin(13, "Nx1"); /* one number per image: their dot product */
    onnx_initializer(&m, tensor_ints("row", "1", (int64_t[]){-1}, 1));
    onnx_node(&m, "Reshape", "", "x row", "a", ATTR_END);
    onnx_node(&m, "MatMul", "node", "a a", "y", ATTR_END);
    CU_ASSERT(mixes(m, "it sums over the batch"));
}

static void broadcasting(void) {
    CU_ASSERT(keeps_apart(one("Add", "Nx3", "x c", "3", ATTR_END)));
    CU_ASSERT(keeps_apart(one("Add", "Nx3", "x c", "1x3", ATTR_END)));
    CU_ASSERT(mixes(one("Add", "Nx3", "x c", "1x1x3", ATTR_END), "not the first axis of graph output"));
    CU_ASSERT(mixes(one("Add", "Nx3", "x c", "2x3", ATTR_END), "no axis is the batch"));
    struct onnx_build m = import_case_begin(13, "Nx3"); /* [N,1] + [N] is [N,N] */
    onnx_initializer(&m, tensor_ints("row", "1", (int64_t[]){-1}, 1));
    onnx_initializer(&m, tensor_ints("column", "2", (int64_t[]){-1, 1}, 2));
    onnx_node(&m, "Reshape", "", "x row", "a", ATTR_END);
    onnx_node(&m, "Reshape", "", "x column", "b", ATTR_END);
    onnx_node(&m, "Mul", "node", "a b", "y", ATTR_END);
    CU_ASSERT(mixes(m, "each image of one input meets every image of the other"));
}

static void the_batch_must_lead_the_output(void) {
    struct onnx_build m = import_case_begin(13, "Nx3");
    onnx_initializer(&m, tensor_ints("lead", "1", (int64_t[]){0}, 1));
    onnx_node(&m, "Unsqueeze", "node", "x lead", "y", ATTR_END);
    CU_ASSERT(mixes(m, "the batch is not the first axis of graph output 'y'"));
}

static void reshapes(void) {
    static const struct {
        int64_t target[3];
        int n;
        bool fine;
    } cases[] = {
        {{0, -1}, 2, true},  {{-1, 12}, 2, true},    {{-1, 3}, 2, true},
        {{-1}, 1, true},     {{3, -1, 4}, 3, false}, /* three images' parts side by side */
        {{4, -1}, 2, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char dims[4];
        struct onnx_build m = import_case_begin(13, "Nx3x4");
        (void)snprintf(dims, sizeof dims, "%d", cases[i].n);
        onnx_initializer(&m, tensor_ints("t", dims, cases[i].target, (size_t)cases[i].n));
        onnx_node(&m, "Reshape", "node", "x t", "y", ATTR_END);
        CU_ASSERT(cases[i].fine ? keeps_apart(m) : mixes(m, "its new shape takes the batch apart"));
    }
}

/* The batch away from the front and back again, as long as nothing uses it as channels. */
static void a_detour(void) {
    struct onnx_build m = import_case_begin(11, "Nx3x4");
    onnx_node(&m, "Unsqueeze", "", "x", "a", attr_ints("axes", 1, 0), ATTR_END);
    onnx_node(&m, "Relu", "", "a", "b", ATTR_END);
    onnx_node(&m, "Squeeze", "", "b", "y", attr_ints("axes", 1, 0), ATTR_END);
    CU_ASSERT(keeps_apart(m));
    m = import_case_begin(11, "Nx3x4"); /* [1,N,3,4]: the images would be channels */
    onnx_node(&m, "Unsqueeze", "", "x", "a", attr_ints("axes", 1, 0), ATTR_END);
    onnx_node(&m, "GlobalAveragePool", "node", "a", "b", ATTR_END);
    onnx_node(&m, "Squeeze", "", "b", "y", attr_ints("axes", 1, 0), ATTR_END);
    CU_ASSERT(mixes(m, "the batch is not the first axis of its input"));
}

/* cls_token.expand(N, -1, -1) of vision transformers: the same constant for each image. */
static void a_constant_repeated_for_each_image(void) {
    for (int kind = 0; kind < 3; kind++) {
        struct onnx_build m = import_case_begin(13, "Nx3x4");
        onnx_initializer(&m, tensor_count("token", "1x1x4", 1));
        onnx_initializer(&m, tensor_ints("zero", "1", (int64_t[]){0}, 1));
        onnx_initializer(&m, tensor_ints("rest", "2", (int64_t[]){1, 4}, 2));
        onnx_node(&m, "Shape", "", "x", "s", ATTR_END);
        onnx_node(&m, "Gather", "", "s zero", "n", ATTR_END);
        onnx_node(&m, "Concat", "", "n rest", "target", attr_int("axis", 0), ATTR_END);
        if (kind == 0) {
            onnx_node(&m, "Expand", "", "token target", "tokens", ATTR_END);
            onnx_node(&m, "Concat", "node", "tokens x", "y", attr_int("axis", 1), ATTR_END);
            struct import_case c = import_case_make(&m);
            CU_ASSERT(import_case_gives(&c, "[1,4,4]"));
            CU_ASSERT(c.g && c.g->batch_is_dynamic && c.g->n_nodes == 1);
            import_case_free(&c);
            continue;
        }
        if (kind == 1) { /* a number that is the size of the batch */
            onnx_node(&m, "Cast", "", "n", "f", attr_int("to", 1), ATTR_END);
            onnx_node(&m, "Mul", "node", "x f", "y", ATTR_END);
        } else { /* each image another constant */
            onnx_initializer(&m, tensor_ints("start", "", (int64_t[]){0}, 1));
            onnx_initializer(&m, tensor_ints("step", "", (int64_t[]){1}, 1));
            onnx_node(&m, "Squeeze", "", "n", "count", ATTR_END);
            onnx_node(&m, "Range", "", "start count step", "range", ATTR_END);
            onnx_node(&m, "Cast", "", "range", "f", attr_int("to", 1), ATTR_END);
            onnx_initializer(&m, tensor_ints("column", "3", (int64_t[]){-1, 1, 1}, 3));
            onnx_node(&m, "Reshape", "", "f column", "each", ATTR_END);
            onnx_node(&m, "Mul", "node", "x each", "y", ATTR_END);
        }
        CU_ASSERT(mixes(m, "a constant among its inputs depends on the size of the batch"));
    }
}

SUITE(import_batch, {"every run-time operator has a rule", every_operator_has_a_rule},
      {"Softmax and Concat", softmax_and_concat}, {"matrix products", matrix_products},
      {"broadcasting", broadcasting}, {"the batch must lead the output", the_batch_must_lead_the_output},
      {"reshapes", reshapes}, {"the batch may wander", a_detour},
      {"a constant repeated for each image", a_constant_repeated_for_each_image});
