/* guard/import_fuse: what exporters spell out is one operator again, and only that. */
#include "tests/import_run.h"
#include "tests/suite.h"

/* The live nodes of the graph; the operator that gives the output. */
static int live_nodes(const struct graph *g) {
    int n = 0;
    for (int32_t i = 0; g && i < g->n_nodes; i++) n += !g->nodes[i].dead;
    return n;
}

static bool becomes(struct onnx_build *m, enum op op, int nodes) {
    struct import_case c = import_case_make(m);
    const bool ok = c.g && import_case_last(&c)->op == op && live_nodes(c.g) == nodes;
    if (!ok)
        fprintf(stderr, "\n%s of %d nodes %s\n", c.g ? op_name(import_case_last(&c)->op) : "nothing",
                live_nodes(c.g), c.e.text);
    import_case_free(&c);
    return ok;
}

static struct onnx_build gated(const char *gate, const char *other) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Relu", "", "x", "h", ATTR_END);
    onnx_node(&m, gate, "", "h", "g", ATTR_END);
    onnx_node(&m, "Mul", "", other, "y", ATTR_END);
    return m;
}

static void activations(void) {
    struct onnx_build m = gated("Sigmoid", "h g");
    CU_ASSERT(becomes(&m, OP_SILU, 2));
    m = gated("Sigmoid", "g h");
    CU_ASSERT(becomes(&m, OP_SILU, 2));
    m = gated("Sigmoid", "g x");
    CU_ASSERT(becomes(&m, OP_MUL, 3));
    m = gated("HardSigmoid", "h g");
    CU_ASSERT(becomes(&m, OP_HARD_SWISH, 2));
    for (int spelling = 0; spelling < 3; spelling++) {
        m = import_case_begin(13, "Nx4");
        onnx_initializer(&m, tensor_fill("root", "", spelling == 2 ? 1.5f : 1.41421354f));
        onnx_initializer(&m, tensor_fill("one", "", 1));
        onnx_initializer(&m, tensor_fill("half", "", 0.5f));
        onnx_node(&m, "Div", "", "x root", "a", ATTR_END);
        onnx_node(&m, "Erf", "", "a", "b", ATTR_END);
        onnx_node(&m, "Add", "", spelling ? "one b" : "b one", "c", ATTR_END);
        onnx_node(&m, "Mul", "", spelling ? "c x" : "x c", "d", ATTR_END);
        onnx_node(&m, "Mul", "", "d half", "y", ATTR_END);
        CU_ASSERT(becomes(&m, spelling == 2 ? OP_MUL : OP_GELU, spelling == 2 ? 5 : 1));
    }
}

/* affine: 0 none, 1 scale, 2 scale and bias, 3 a bias of another shape. */
static struct onnx_build layer_norm(const char *dims, int axis, int affine, int64_t last) {
    struct onnx_build m = import_case_begin(13, dims);
    char text[8];
    (void)snprintf(text, sizeof text, "%lld", (long long)last);
    onnx_initializer(&m, tensor_fill("two", "", 2));
    onnx_initializer(&m, tensor_fill("epsilon", "", 1e-5f));
    onnx_initializer(&m, tensor_count("scale", text, 1));
    onnx_initializer(&m, tensor_fill("bias", affine == 3 ? "" : text, 0.5f));
    onnx_node(&m, "ReduceMean", "", "x", "mean", attr_ints("axes", 1, axis), ATTR_END);
    onnx_node(&m, "Sub", "", "x mean", "d", ATTR_END);
    onnx_node(&m, "Pow", "", "d two", "sq", ATTR_END);
    onnx_node(&m, "ReduceMean", "", "sq", "var", attr_ints("axes", 1, axis), ATTR_END);
    onnx_node(&m, "Add", "", "var epsilon", "ve", ATTR_END);
    onnx_node(&m, "Sqrt", "", "ve", "sd", ATTR_END);
    onnx_node(&m, "Div", "", "d sd", affine ? "n" : "y", ATTR_END);
    if (affine) onnx_node(&m, "Mul", "", "n scale", affine > 1 ? "s" : "y", ATTR_END);
    if (affine > 1) onnx_node(&m, "Add", "", "s bias", "y", ATTR_END);
    return m;
}

static void layer_norms(void) {
    for (int affine = 0; affine < 3; affine++) {
        struct onnx_build m = layer_norm("Nx2x3", -1, affine, 3);
        CU_ASSERT(becomes(&m, OP_LAYER_NORM, 1));
    }
    struct onnx_build m = layer_norm("Nx2x3", -1, 3, 3);
    CU_ASSERT(becomes(&m, OP_ADD, 2));
    m = layer_norm("Nx4x2x3", 1, 0, 4); /* not the last axes */
    CU_ASSERT(becomes(&m, OP_DIV, 7));
    m = layer_norm("Nx2x3", -1, 2, 3);
    CU_ASSERT(import_run_gives(&m, (float[]){0, 1, 2, 5, 5, 5}, 6, 1,
                               (float[]){-0.72473561f, 0.5f, 4.17420684f, 0.5f, 0.5f, 0.5f}, 6));
}

/* What somebody else reads stays, and is computed once more. */
static void shared_parts_stay(void) {
    struct onnx_build m = gated("Sigmoid", "h g");
    onnx_output(&m, "g");
    struct import_case c = import_case_make(&m);
    CU_ASSERT(c.g && live_nodes(c.g) == 3 && import_case_last(&c)->op == OP_SILU);
    import_case_free(&c);
}

SUITE(import_fuse, {"activations", activations}, {"LayerNormalization", layer_norms},
      {"parts that others use stay", shared_parts_stay});
