/* guard/import: whole models, names, versions, the batch, and what each refusal says. */
#include "tests/import_case.h"
#include "tests/mutate.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Convolution, normalisation, activation, pool, classifier; the batch is `batch`. */
static struct onnx_build small(const char *batch, int ir, int opset) {
    struct onnx_build m = onnx_begin(ir, opset);
    char dims[32];
    (void)snprintf(dims, sizeof dims, "%sx3x8x8", batch);
    onnx_input(&m, "x", dims);
    onnx_output(&m, "logits");
    onnx_initializer(&m, tensor_count("conv.w", "4x3x3x3", 0.01f));
    onnx_initializer(&m, tensor_fill("gamma", "4", 1));
    onnx_initializer(&m, tensor_fill("beta", "4", 0));
    onnx_initializer(&m, tensor_fill("mean", "4", 0));
    onnx_initializer(&m, tensor_fill("var", "4", 2));
    onnx_initializer(&m, tensor_count("fc.w", "10x4", 0.1f));
    onnx_initializer(&m, tensor_count("fc.b", "10", 1));
    onnx_node(&m, "Conv", "conv", "x conv.w", "c", attr_ints("pads", 4, 1, 1, 1, 1), ATTR_END);
    onnx_node(&m, "BatchNormalization", "bn", "c gamma beta mean var", "n", attr_float("epsilon", 1e-5f),
              ATTR_END);
    onnx_node(&m, "Relu", "", "n", "r", ATTR_END);
    onnx_node(&m, "GlobalAveragePool", "pool", "r", "p", ATTR_END);
    onnx_node(&m, "Flatten", "flat", "p", "f", ATTR_END);
    onnx_node(&m, "Gemm", "fc", "f fc.w fc.b", "logits", attr_int("transB", 1), ATTR_END);
    return m;
}

static void a_small_network(void) {
    struct onnx_build m = small("N", 8, 13);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    const struct graph *g = c.g;
    CU_ASSERT(g->n_nodes == 6 && g->batch_is_dynamic && g->item_images == 1);
    CU_ASSERT(g->n_inputs == 1 && strcmp(g->values[g->inputs[0]].name, "x") == 0);
    CU_ASSERT(g->n_outputs == 1 && strcmp(g->values[g->outputs[0]].name, "logits") == 0);
    CU_ASSERT(import_case_gives(&c, "[1,10]"));
    CU_ASSERT(g->nodes[0].op == OP_CONV && strcmp(g->nodes[0].name, "conv") == 0);
    CU_ASSERT(strcmp(g->nodes[2].name, "Relu#2") == 0 && g->nodes[2].source == 2);
    const struct value *w = import_case_input(&c, &g->nodes[0], 1);
    CU_ASSERT(w->source == 0 && strcmp(w->name, "conv.w") == 0 && w->data[3] == 0.04f && !w->writable);
    CU_ASSERT(g->nodes[0].params.window.pad_end[2] == 1 && g->nodes[0].params.window.spatial == 2);
    CU_ASSERT(g->nodes[5].params.gemm.trans_b == 1 && g->nodes[5].params.gemm.alpha == 1);
    /* Weights are the file's own bytes wherever they lie aligned. */
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].data) CU_ASSERT_EQUAL((uintptr_t)g->values[i].data % 4, 0);
    import_case_free(&c);
}

static void versions(void) {
    static const int good[][2] = {{3, 7}, {3, 8}, {4, 9}, {7, 13}, {8, 14}, {9, 19}, {12, 23}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct onnx_build m = small("N", good[i][0], good[i][1]);
        CU_ASSERT(import_case_accepted(&m));
    }
    struct onnx_build m = small("N", 2, 7);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "IR version 2; accepted are 3 to 12"));
    m = small("N", 13, 7);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "IR version 13"));
    m = small("N", 8, 6);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "operator set 6; accepted are 7 to 23"));
    m = small("N", 8, 24);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "operator set 24"));
}

static void add_opset(struct onnx_build *m, const char *domain, int version) {
    struct pb o = {0};
    pb_text(&o, 1, domain);
    pb_int(&o, 2, version);
    pb_message(&m->model_rest, 8, &o);
}

static void domains(void) {
    struct onnx_build m = small("N", 8, 13);
    add_opset(&m, "com.microsoft", 1); /* imported, but used by no node */
    add_opset(&m, "ai.onnx", 13);
    CU_ASSERT(import_case_accepted(&m));
    m = small("N", 8, 13);
    add_opset(&m, "ai.onnx", 12);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "operator sets 13 and 12"));
    static const char *const others[] = {"com.microsoft", "ai.onnx.ml"};
    for (int i = 0; i < 2; i++) {
        struct pb node = {0};
        m = import_case_begin(13, "1x3");
        pb_text(&node, 1, "x");
        pb_text(&node, 2, "y");
        pb_text(&node, 3, "n");
        pb_text(&node, 4, "Relu");
        pb_text(&node, 7, others[i]);
        pb_message(&m.nodes, 1, &node);
        CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, others[i]));
    }
}

/* --- names ------------------------------------------------------------------------------ */

static void weights_are_listed_as_inputs_too(void) {
    struct onnx_build m = small("1", 3, 7);
    onnx_input(&m, "conv.w", "4x3x3x3");
    onnx_input(&m, "gamma", "4");
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT(c.g->n_inputs == 1 && !c.g->batch_is_dynamic);
    import_case_free(&c);
}

static void aliases_share_one_constant(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("w", "4", 2));
    onnx_node(&m, "Identity", "", "w", "alias", ATTR_END);
    onnx_node(&m, "Mul", "a", "x w", "t", ATTR_END);
    onnx_node(&m, "Add", "b", "t alias", "y", ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT_EQUAL(c.g->n_nodes, 2);
    CU_ASSERT_EQUAL(c.g->nodes[0].inputs[1], c.g->nodes[1].inputs[1]);
    CU_ASSERT_EQUAL(import_case_input(&c, &c.g->nodes[0], 1)->uses, 2);
    import_case_free(&c);
}

static void dead_nodes_are_left_out(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_raw("bad", 1, "4", "", 0)); /* broken, but nothing needs it */
    onnx_node(&m, "Relu", "", "x", "y", ATTR_END);
    onnx_node(&m, "NoSuchOperator", "", "x bad", "z", ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT_EQUAL(c.g->n_nodes, 1);
    import_case_free(&c);
}

static void names_that_do_not_fit(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Relu", "r", "nowhere", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "node 'r' (Relu): input 'nowhere' is defined nowhere"));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Relu", "a", "t", "y", ATTR_END);
    onnx_node(&m, "Relu", "b", "x", "t", ATTR_END);
    CU_ASSERT(
        import_case_refused(&m, ERR_FORMAT, "'t' is used before it is defined (or the graph has a cycle)"));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Relu", "a", "y", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "used before it is defined"));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Relu", "a", "x", "y", ATTR_END);
    onnx_node(&m, "Relu", "b", "x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "node 'b' (Relu): 'y' is defined twice"));
    m = import_case_begin(13, "Nx4");
    onnx_node(&m, "Relu", "a", "x", "x", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "'x' is defined twice"));
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("w", "4", 2));
    onnx_initializer(&m, tensor_fill("w", "4", 2));
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "'w' is defined twice"));
    m = import_case_begin(13, "Nx4");
    onnx_input(&m, "x", "Nx4");
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "graph input 'x' is listed twice"));
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("", "4", 2));
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "initializer 0 has no name"));
}

static void outputs_that_do_not_fit(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "graph output 'y' is defined nowhere"));
    m = onnx_begin(8, 13);
    onnx_input(&m, "x", "Nx4");
    onnx_node(&m, "Relu", "", "x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "no outputs"));
    m = import_case_begin(13, "Nx4");
    onnx_initializer(&m, tensor_fill("y", "4", 2));
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "graph output 'y' is a constant"));
    m = onnx_begin(8, 13);
    onnx_input(&m, "x", "Nx4");
    onnx_output(&m, "x");
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "graph output 'x' is an input"));
    m = import_case_begin(13, "Nx4");
    onnx_output(&m, "y");
    onnx_node(&m, "Relu", "", "x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "listed twice"));
    m = onnx_begin(8, 13);
    onnx_output(&m, "y");
    onnx_node(&m, "Constant", "", "", "y", attr_float("value_float", 1), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "no inputs"));
}

static void several_inputs_and_outputs(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_input(&m, "x2", "Nx4");
    onnx_output(&m, "z");
    onnx_node(&m, "Add", "", "x x2", "y", ATTR_END);
    onnx_node(&m, "Relu", "", "x2", "z", ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT(c.g->n_inputs == 2 && c.g->n_outputs == 2);
    CU_ASSERT_STRING_EQUAL(c.g->values[c.g->inputs[1]].name, "x2");
    CU_ASSERT_STRING_EQUAL(c.g->values[c.g->outputs[1]].name, "z");
    import_case_free(&c);
    m = import_case_begin(13, "Nx4");
    for (int i = 0; i < GRAPH_MAX_IO; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "more%d", i);
        onnx_input(&m, name, "Nx4");
    }
    onnx_node(&m, "Relu", "", "x", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_LIMIT, "more than 16 graph inputs"));
}

/* --- the input and its batch ----------------------------------------------------------------- */

static void inputs_of_other_kinds(void) {
    static const struct {
        const char *dims;
        int type;
        const char *words;
    } bad[] = {
        {"Nx3xHx8", 1, "graph input 'x': dimension 2 ('H') is not fixed"},
        {"Nx3x?x8", 1, "dimension 2 is not fixed"},
        {"Nx3x-1x8", 1, "dimension 2 is not fixed"},
        {NULL, 1, "no shape"},
        {"Nx3x8x8", 2, "its type is uint8"},
        {"Nx3x8x8", 7, "its type is int64"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct onnx_build m = onnx_begin(8, 13);
        onnx_input_typed(&m, "x", bad[i].dims, bad[i].type);
        onnx_output(&m, "y");
        onnx_node(&m, "Relu", "", "x", "y", ATTR_END);
        CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, bad[i].words));
    }
    static const int floats[] = {1, 10, 11, 16};
    for (int i = 0; i < 4; i++) {
        struct onnx_build m = onnx_begin(8, 13);
        onnx_input_typed(&m, "x", "Nx3", floats[i]);
        onnx_output(&m, "y");
        onnx_node(&m, "Relu", "", "x", "y", ATTR_END);
        CU_ASSERT(import_case_accepted(&m));
    }
}

static void batches(void) {
    static const struct {
        const char *batch;
        bool dynamic;
    } cases[] = {{"N", true}, {"?", true}, {"-1", true}, {"0", true}, {"1", false}, {"8", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct onnx_build m = small(cases[i].batch, 8, 13);
        struct import_case c = import_case_make(&m);
        CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
        CU_ASSERT_EQUAL(c.g->batch_is_dynamic, cases[i].dynamic);
        CU_ASSERT_EQUAL(c.g->item_images, 1);
        CU_ASSERT(import_case_gives(&c, "[1,10]"));
        import_case_free(&c);
    }
}

/* A reshape to [8, …] nails the batch down: then 8 images are one item. */
static void a_batch_that_cannot_be_freed(void) {
    static const int64_t target[] = {8, 12};
    static const char *const batch[] = {"8x3x4", "Nx3x4"};
    for (int i = 0; i < 2; i++) {
        struct onnx_build m = import_case_begin(13, batch[i]);
        onnx_initializer(&m, tensor_ints("shape", "2", target, 2));
        onnx_node(&m, "Reshape", "nail", "x shape", "y", ATTR_END);
        if (i == 1) {
            CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "node 'nail' (Reshape)"));
            continue;
        }
        struct import_case c = import_case_make(&m);
        CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
        CU_ASSERT(!c.g->batch_is_dynamic && c.g->item_images == 8);
        CU_ASSERT(import_case_gives(&c, "[8,12]"));
        import_case_free(&c);
    }
    static const int64_t one[] = {1, 12};
    struct onnx_build m = import_case_begin(13, "Nx3x4");
    onnx_initializer(&m, tensor_ints("shape", "2", one, 2));
    onnx_node(&m, "Reshape", "nail", "x shape", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "node 'nail' (Reshape): at batch 2"));
}

static void batches_of_several_inputs(void) {
    struct onnx_build m = import_case_begin(13, "Nx4");
    onnx_input(&m, "x2", "1x4");
    onnx_node(&m, "Add", "", "x x2", "y", ATTR_END);
    CU_ASSERT(
        import_case_refused(&m, ERR_UNSUPPORTED, "the batch of input 'x' is free and that of 'x2' is not"));
    m = import_case_begin(13, "8x4");
    onnx_input(&m, "x2", "4"); /* no batch at all: one item */
    onnx_node(&m, "Add", "", "x x2", "y", ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT(!c.g->batch_is_dynamic && c.g->item_images == 1);
    CU_ASSERT(import_case_gives(&c, "[8,4]"));
    import_case_free(&c);
}

/* --- what is refused --------------------------------------------------------------------------- */

static void weights_that_are_not_finite(void) {
    float w[108] = {0};
    struct onnx_build m = import_case_begin(13, "1x3x8x8");
    w[77] = NAN;
    onnx_initializer(&m, tensor_floats("w", "4x3x3x3", w, 108));
    onnx_node(&m, "Conv", "c", "x w", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_VALUE, "constant 'w' holds NaN at element 77"));
    w[77] = INFINITY;
    m = import_case_begin(13, "1x3x8x8");
    onnx_initializer(&m, tensor_floats("w", "4x3x3x3", w, 108));
    onnx_node(&m, "Conv", "c", "x w", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_VALUE, "infinity"));
}

static void weights_that_contradict_themselves(void) {
    struct onnx_build m = import_case_begin(13, "1x3x8x8");
    onnx_initializer(&m, tensor_raw("w", 1, "4x3x3x3", "abcd", 4));
    onnx_node(&m, "Conv", "c", "x w", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "node 'c' (Conv): initializer 'w': it holds 4 bytes"));
}

static void parts_of_onnx_that_are_not_run(void) {
    struct pb function = {0}, sparse = {0}, branch = {0}, graph = {0}, node = {0};
    struct onnx_build m = small("N", 8, 13);
    pb_text(&function, 1, "f");
    pb_message(&m.model_rest, 25, &function);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "1 functions"));
    m = small("N", 8, 13);
    pb_message(&m.graph_rest, 15, &sparse);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "sparse"));

    m = import_case_begin(13, "Nx3");
    onnx_initializer(&m, tensor_raw("cond", 9, "", "\1", 1));
    pb_text(&branch, 1, "then_branch");
    pb_int(&branch, 20, 5);
    pb_text(&graph, 2, "sub");
    pb_message(&branch, 6, &graph);
    pb_text(&node, 1, "cond");
    pb_text(&node, 2, "y");
    pb_text(&node, 3, "choice");
    pb_text(&node, 4, "If");
    pb_message(&node, 5, &branch);
    pb_message(&m.nodes, 1, &node);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED,
                                  "node 'choice' (If): attribute 'then_branch' is a sub-graph"));

    m = import_case_begin(13, "Nx3");
    onnx_node(&m, "GridSample", "q", "x", "y", ATTR_END);
    CU_ASSERT(
        import_case_refused(&m, ERR_UNSUPPORTED, "node 'q' (GridSample): this operator is not supported"));
    m = import_case_begin(13, "Nx3");
    onnx_node(&m, "Gather", "", "x x", "y", ATTR_END);
    CU_ASSERT(
        import_case_refused(&m, ERR_UNSUPPORTED, "node 0 (Gather): its indices ('x') must be constant"));
    m = import_case_begin(13, "Nx3");
    onnx_node(&m, "NonZero", "", "x", "y", ATTR_END);
    CU_ASSERT(
        import_case_refused(&m, ERR_UNSUPPORTED, "node 0 (NonZero): it is supported on constants only"));
}

static void external_weights(void) {
    static const float beside[4] = {1, 2, 3, 4};
    const struct import_options o = {
        .external = (const uint8_t *)beside, .external_bytes = sizeof beside, .external_name = "w.data"};
    for (int given = 0; given < 2; given++) {
        struct pb t = {0}, pair = {0};
        struct onnx_build m = import_case_begin(13, "Nx4");
        pb_int(&t, 1, 4);
        pb_int(&t, 2, 1);
        pb_text(&t, 8, "w");
        pb_text(&pair, 1, "location");
        pb_text(&pair, 2, "w.data");
        pb_message(&t, 13, &pair);
        pb_int(&t, 14, 1);
        onnx_initializer(&m, t);
        onnx_node(&m, "Add", "", "x w", "y", ATTR_END);
        if (!given) {
            CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED,
                                          "initializer 'w': its data lies in a second file, 'w.data'"));
            continue;
        }
        struct import_case c = import_case_make_with(&m, &o);
        CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
        CU_ASSERT_PTR_EQUAL(import_case_input(&c, &c.g->nodes[0], 1)->data, beside);
        import_case_free(&c);
    }
}

static void spoil(void *ctx, const void *at, size_t n) {
    *(size_t *)ctx += n;
    memset((void *)(uintptr_t)at, 0xff, n);
}

/* Behind names of four lengths, weights at every alignment; those that are not aligned are moved. The batch
 * of 2 is mixed, so that a second attempt has to find them. */
static void weights_are_moved(void) {
    size_t moved = 0;
    for (int i = 0; i < 4; i++)
        for (int bad = 0; bad < 2; bad++) {
            size_t given_back = 0;
            struct import_options o = {.done = spoil, .ctx = &given_back};
            struct onnx_build m = import_case_begin(12, "2x128");
            float *values = calloc(128 * 192, sizeof *values);
            CU_ASSERT_PTR_NOT_NULL_FATAL(values);
            for (int k = 0; k < 128 * 192; k++) values[k] = (float)k;
            if (bad) values[100 * 192 + 7] = NAN;
            onnx_initializer(&m, tensor_fill(&"name"[i], "1", 1));
            onnx_initializer(&m, tensor_floats("w", "128x192", values, 128 * 192));
            onnx_node(&m, "MatMul", "", "x w", "p", ATTR_END);
            onnx_node(&m, "ReduceSum", "", "p", "y", attr_ints("axes", 1, 0), ATTR_END);
            struct import_case c = import_case_make_with(&m, &o);
            if (bad) {
                CU_ASSERT(!c.g && strstr(c.e.text, "element 19207"));
            } else if (c.g) {
                const struct value *w = import_case_input(&c, &c.g->nodes[0], 1);
                CU_ASSERT_EQUAL(c.g->item_images, 2);
                CU_ASSERT_EQUAL(memcmp(w->data, values, 128 * 192 * sizeof *values), 0);
            } else {
                CU_FAIL(c.e.text);
            }
            CU_ASSERT(given_back == 0 || given_back == 128 * 192 * sizeof *values);
            moved += given_back > 0;
            import_case_free(&c);
            free(values);
        }
    CU_ASSERT_EQUAL(moved, 6);
}

static void long_names_are_cut(void) {
    char name[1000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    struct onnx_build m = onnx_begin(8, 13);
    onnx_input(&m, "x", "Nx4");
    onnx_output(&m, name);
    onnx_node(&m, "Relu", name, "x", name, ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT(strlen(c.g->nodes[0].name) < GRAPH_NAME &&
              strlen(c.g->values[c.g->outputs[0]].name) < GRAPH_NAME);
    import_case_free(&c);
}

/* --- hostile bytes --------------------------------------------------------------------------------- */

static void try_bytes(const uint8_t *bytes, size_t size) {
    struct onnx_model *m = NULL;
    struct graph *g = NULL;
    struct err e = {0};
    const int r = import_onnx(bytes, size, NULL, &m, &g, &e);
    CU_ASSERT_EQUAL_FATAL(r == 0, m != NULL && g != NULL);
    CU_ASSERT_FATAL(r == 0 || (e.code != ERR_NONE && e.code != ERR_INTERNAL && e.text[0]));
    graph_free(g);
    onnx_model_free(m);
}

static void every_prefix_is_refused(void) {
    struct onnx_build m = small("N", 8, 13);
    struct pb file = onnx_end(&m);
    struct mutate_room room;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, file.n), 0);
    for (size_t n = 0; n < file.n; n++) {
        struct onnx_model *model;
        struct graph *g;
        struct err e = {0};
        CU_ASSERT_EQUAL(import_onnx(mutate_room_put(&room, file.p, n), n, NULL, &model, &g, &e), -1);
        CU_ASSERT_EQUAL(e.code, ERR_TRUNCATED);
    }
    mutate_room_close(&room);
    pb_free(&file);
}

/* A network that uses the evaluator too, so that mutations reach it. */
static struct onnx_build varied(void) {
    static const int64_t zero[] = {0}, minus_one[] = {-1}, one[] = {1}, four[] = {4, 4};
    struct onnx_build m = small("N", 8, 13);
    onnx_output(&m, "z");
    onnx_initializer(&m, tensor_ints("zero", "1", zero, 1));
    onnx_initializer(&m, tensor_ints("one", "1", one, 1));
    onnx_initializer(&m, tensor_ints("rest", "1", minus_one, 1));
    onnx_initializer(&m, tensor_ints("four", "2", four, 2));
    onnx_node(&m, "Shape", "", "r", "s", ATTR_END);
    onnx_node(&m, "Slice", "", "s zero one zero one", "s0", ATTR_END);
    onnx_node(&m, "Concat", "", "s0 rest", "target", attr_int("axis", 0), ATTR_END);
    onnx_node(&m, "Reshape", "", "r target", "flat", ATTR_END);
    onnx_node(&m, "Softmax", "", "flat", "soft", attr_int("axis", -1), ATTR_END);
    onnx_node(&m, "ConstantOfShape", "", "four", "cst", attr_tensor("value", tensor_fill("", "1", 2)),
              ATTR_END);
    onnx_node(&m, "Gather", "", "cst zero", "row", attr_int("axis", 1), ATTR_END);
    onnx_node(&m, "Transpose", "", "row", "col", attr_ints("perm", 2, 1, 0), ATTR_END);
    onnx_node(&m, "Expand", "", "col four", "wide", ATTR_END);
    onnx_node(&m, "Mul", "", "wide cst", "prod", ATTR_END);
    onnx_node(&m, "MaxPool", "", "r", "pool2", attr_ints("kernel_shape", 2, 2, 2),
              attr_text("auto_pad", "SAME_UPPER"), ATTR_END);
    onnx_node(&m, "GlobalAveragePool", "", "pool2", "gap", ATTR_END);
    onnx_node(&m, "Squeeze", "", "gap", "sq", ATTR_END);
    onnx_node(&m, "MatMul", "", "sq prod", "mm", ATTR_END);
    onnx_node(&m, "Clip", "", "mm", "cl", ATTR_END);
    onnx_node(&m, "Concat", "", "cl sq", "z", attr_int("axis", 1), ATTR_END);
    return m;
}

static void mutations_do_no_harm(void) {
    static const char *const words[] = {"\x0a\0", "\x2a", "Shape", "\x12\1y", NULL};
    struct onnx_build m = varied();
    struct pb file = onnx_end(&m);
    struct mutate_room room;
    const size_t most = file.n + 64;
    uint8_t *copy = malloc(most);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, most), 0);
    try_bytes(file.p, file.n);
    uint64_t seed = 42;
    for (int i = 0; i < 6000; i++) {
        size_t n = file.n;
        memcpy(copy, file.p, n);
        for (size_t k = 0; k <= mutate_below(&seed, 3); k++) n = mutate_once(copy, n, most, words, &seed);
        try_bytes(mutate_room_put(&room, copy, n), n);
    }
    mutate_room_close(&room);
    free(copy);
    pb_free(&file);
}

static void the_varied_network_is_fine(void) {
    struct onnx_build m = varied();
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT(c.g->batch_is_dynamic && c.g->n_outputs == 2);
    char text[128];
    CU_ASSERT_STRING_EQUAL(shape_text(&c.g->values[c.g->outputs[1]].shape, text, sizeof text), "[1,8]");
    import_case_free(&c);
}

/* --- networks from elsewhere ---------------------------------------------------------------------------- */

static uint8_t *read_file(const char *path, size_t *size) {
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &st) != 0) return NULL;
    *size = (size_t)st.st_size;
    uint8_t *p = malloc(*size + 1);
    if (p && fread(p, 1, *size, f) != *size) *size = 0;
    (void)fclose(f);
    return p;
}

struct known {
    const char *file;
    int32_t nodes;      /* 0: not checked */
    const char *output; /* its shape; NULL: refused, since an operator is missing */
    const char *words;
};

static void import_known(const char *folder, const struct known *k) {
    char path[512], text[128];
    const char *shared = suite_shared();
    (void)snprintf(path, sizeof path, "%s/%s/%s", shared ? shared : "", folder, k->file);
    size_t size = 0;
    uint8_t *bytes = shared ? read_file(path, &size) : NULL;
    if (!bytes) {
        suite_skip(k->file, "../shared absent");
        return;
    }
    struct onnx_model *m;
    struct graph *g;
    struct err e = {0};
    const int r = import_onnx(bytes, size, NULL, &m, &g, &e);
    if (k->output) {
        if (r) fprintf(stderr, "\n%s: %s\n", k->file, e.text);
        CU_ASSERT_EQUAL_FATAL(r, 0);
        CU_ASSERT(k->nodes == 0 || g->n_nodes == k->nodes);
        CU_ASSERT_STRING_EQUAL(shape_text(&g->values[g->outputs[0]].shape, text, sizeof text), k->output);
    } else if (r) {
        CU_ASSERT_PTR_NOT_NULL(strstr(e.text, k->words));
        suite_skip(k->file, e.text);
    }
    graph_free(g);
    onnx_model_free(m);
    free(bytes);
}

static void shared_networks(void) {
    static const struct known known[] = {
        {"rn16_badnets.onnx", 68, "[1,10]", NULL},
        {"rn16_badnets.folded.onnx", 48, "[1,10]", NULL},
        {"rn32_badnets.onnx", 68, "[1,10]", NULL},
        {"rn32_badnets.folded.onnx", 48, "[1,10]", NULL},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) import_known("models", &known[i]);
}

static void classic_networks(void) {
    static const struct known known[] = {
        {"light_bvlc_alexnet.onnx", 0, NULL, "(LRN): this operator is not supported"},
        {"light_densenet121.onnx", 668, "[1,1000,1,1]", NULL},
        {"light_inception_v1.onnx", 0, NULL, "(LRN): this operator is not supported"},
        {"light_inception_v2.onnx", 371, "[1,1000]", NULL},
        {"light_resnet50.onnx", 176, "[1,1000]", NULL},
        {"light_shufflenet.onnx", 0, NULL, "(Transpose): it is supported on constants only"},
        {"light_squeezenet.onnx", 66, "[1,1000,1,1]", NULL},
        {"light_vgg19.onnx", 46, "[1,1000]", NULL},
        {"light_zfnet512.onnx", 0, NULL, "(LRN): this operator is not supported"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) import_known("onnx-light", &known[i]);
}

SUITE(import, {"a small network", a_small_network}, {"versions of the format", versions},
      {"domains of operators", domains},
      {"weights may be listed as inputs too", weights_are_listed_as_inputs_too},
      {"aliases share one constant", aliases_share_one_constant},
      {"dead nodes are left out", dead_nodes_are_left_out}, {"names that do not fit", names_that_do_not_fit},
      {"outputs that do not fit", outputs_that_do_not_fit},
      {"several inputs and outputs", several_inputs_and_outputs},
      {"inputs of other kinds", inputs_of_other_kinds}, {"batches free and fixed", batches},
      {"a batch that can't be freed is one item", a_batch_that_cannot_be_freed},
      {"batches of several inputs", batches_of_several_inputs},
      {"weights that are not finite", weights_that_are_not_finite},
      {"weights that contradict themselves", weights_that_contradict_themselves},
      {"parts of ONNX that are not run", parts_of_onnx_that_are_not_run},
      {"external weights", external_weights}, {"weights that are not aligned are moved", weights_are_moved},
      {"long names are cut", long_names_are_cut},
      {"every prefix is refused as unfinished", every_prefix_is_refused},
      {"a network that uses the evaluator", the_varied_network_is_fine},
      {"mutations do no harm", mutations_do_no_harm}, {"networks of the project", shared_networks},
      {"the classic networks of the ONNX tests", classic_networks});
