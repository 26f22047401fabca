/* Slice, Split, Gather, Pad, Tile and the like in all their forms, run through the
 * engine; and that none of them picks some of a batch's images. */
#include "tests/import_run.h"
#include "tests/suite.h"

static const float x6[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}; /* two items of [2,3] */

static struct onnx_build begin(int opset) {
    return import_case_begin(opset, "Nx2x3");
}

static void ints(struct onnx_build *m, const char *name, const char *dims, int n, const int64_t *v) {
    onnx_initializer(m, tensor_ints(name, dims, v, (size_t)n));
}

static bool gives(struct onnx_build *m, const float *want, size_t n) {
    return import_run_gives(m, x6, 6, 2, want, n);
}

static void transposed(void) {
    struct onnx_build m = begin(13);
    onnx_node(&m, "Transpose", "", "x", "y", attr_ints("perm", 3, 0, 2, 1), ATTR_END);
    CU_ASSERT(gives(&m, (float[]){0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11}, 12));
    m = begin(13); /* the batch may wander, if it comes back */
    onnx_node(&m, "Transpose", "", "x", "h", attr_ints("perm", 3, 2, 0, 1), ATTR_END);
    onnx_node(&m, "Transpose", "", "h", "y", attr_ints("perm", 3, 1, 2, 0), ATTR_END);
    CU_ASSERT(gives(&m, x6, 12));
    m = begin(13);
    onnx_node(&m, "Transpose", "", "x", "y", ATTR_END);
    CU_ASSERT(
        import_case_refused(&m, ERR_UNSUPPORTED, "the batch is not the first axis of graph output 'y'"));
}

static void sliced(void) {
    struct onnx_build m = begin(9);
    onnx_node(&m, "Slice", "", "x", "y", attr_ints("starts", 1, -2), attr_ints("ends", 1, 9),
              attr_ints("axes", 1, 2), ATTR_END);
    CU_ASSERT(gives(&m, (float[]){1, 2, 4, 5, 7, 8, 10, 11}, 8));
    m = begin(13);
    ints(&m, "start", "1", 1, (int64_t[]){-1});
    ints(&m, "end", "1", 1, (int64_t[]){INT64_MIN});
    ints(&m, "axis", "1", 1, (int64_t[]){-1});
    ints(&m, "step", "1", 1, (int64_t[]){-2});
    onnx_node(&m, "Slice", "", "x start end axis step", "y", ATTR_END);
    CU_ASSERT(gives(&m, (float[]){2, 0, 5, 3, 8, 6, 11, 9}, 8));
    static const struct {
        int64_t start, end;
        bool ok;
    } batch[] = {{0, 1, false}, {0, 2, false}, {0, 3, false}, {1, INT64_MAX, false}, {0, INT64_MAX, true}};
    for (size_t i = 0; i < sizeof batch / sizeof *batch; i++) {
        m = begin(13);
        ints(&m, "start", "1", 1, &batch[i].start);
        ints(&m, "end", "1", 1, &batch[i].end);
        onnx_node(&m, "Slice", "", "x start end", "y", ATTR_END);
        if (batch[i].ok)
            CU_ASSERT(gives(&m, x6, 12))
        else
            CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, ""));
    }
}

static void split(void) {
    for (int form = 0; form < 4; form++) {
        struct onnx_build m = begin(form == 0 ? 11 : form == 3 ? 18 : 13);
        ints(&m, "parts", "2", 2, (int64_t[]){2, 1});
        if (form == 0)
            onnx_node(&m, "Split", "", "x", "a b", attr_int("axis", 2), attr_ints("split", 2, 2, 1),
                      ATTR_END);
        else if (form == 1)
            onnx_node(&m, "Split", "", "x parts", "a b", attr_int("axis", -1), ATTR_END);
        else if (form == 3)
            onnx_node(&m, "Split", "", "x", "a b", attr_int("axis", 2), attr_int("num_outputs", 2), ATTR_END);
        else
            onnx_node(&m, "Split", "s", "x", "a b", attr_int("axis", 2), ATTR_END);
        onnx_node(&m, "Concat", "", "b a", "y", attr_int("axis", 2), ATTR_END);
        if (form == 2)
            CU_ASSERT(import_case_refused(&m, ERR_FORMAT, "3 elements cannot be split into 2 equal parts"))
        else
            CU_ASSERT(gives(&m, (float[]){2, 0, 1, 5, 3, 4, 8, 6, 7, 11, 9, 10}, 12));
    }
    struct onnx_build m = begin(13);
    onnx_node(&m, "Split", "", "x", "y", attr_int("axis", 0), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "batch"));
}

static void gathered(void) {
    static const struct {
        const char *dims;
        int n;
        int64_t index[3];
        size_t results;
        float want[12];
        enum op op;
    } rows[] = {
        {"", 1, {-1}, 4, {2, 5, 8, 11}, OP_RESHAPE},
        {"2", 2, {2, 0}, 8, {2, 0, 5, 3, 8, 6, 11, 9}, OP_SLICE},
        {"3", 3, {2, 0, 0}, 12, {2, 0, 0, 5, 3, 3, 8, 6, 6, 11, 9, 9}, OP_GATHER},
    };
    for (size_t i = 0; i < 3; i++) {
        for (int pass = 0; pass < 2; pass++) {
            struct onnx_build m = begin(13);
            ints(&m, "i", rows[i].dims, rows[i].n, rows[i].index);
            onnx_node(&m, "Gather", "", "x i", "y", attr_int("axis", 2), ATTR_END);
            if (pass) {
                CU_ASSERT(gives(&m, rows[i].want, rows[i].results));
                continue;
            }
            struct import_case c = import_case_make(&m);
            CU_ASSERT(c.g && import_case_last(&c)->op == rows[i].op);
            import_case_free(&c);
        }
    }
    struct onnx_build m = begin(13);
    ints(&m, "i", "1", 1, (int64_t[]){3});
    onnx_node(&m, "Gather", "g", "x i", "y", attr_int("axis", 2), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_VALUE, "index 3 is none of the 3"));
    m = begin(13);
    ints(&m, "i", "1", 1, (int64_t[]){0});
    onnx_node(&m, "Gather", "g", "x i", "y", attr_int("axis", 0), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "batch"));
}

static void padded(void) {
    const float want[] = {7, 0, 1, 7, 3, 4, 7, 6, 7, 7, 9, 10}; /* one more in front, one less behind */
    for (int form = 0; form < 3; form++) {
        struct onnx_build m = begin(form == 0 ? 10 : form == 1 ? 13 : 18);
        const int64_t all[] = {0, 0, 1, 0, 0, -1}, last[] = {1, -1};
        ints(&m, "all", "6", 6, all);
        ints(&m, "last", "2", 2, last);
        ints(&m, "axis", "1", 1, (int64_t[]){2});
        onnx_initializer(&m, tensor_fill("seven", "", 7));
        if (form == 0)
            onnx_node(&m, "Pad", "", "x", "y", attr_ints("pads", 6, 0, 0, 1, 0, 0, -1),
                      attr_float("value", 7), ATTR_END);
        else
            onnx_node(&m, "Pad", "", form == 1 ? "x all seven" : "x last seven axis", "y", ATTR_END);
        CU_ASSERT(gives(&m, want, 12));
    }
    struct onnx_build m = begin(13);
    ints(&m, "pads", "6", 6, (int64_t[]){0, 0, 2, 0, 0, 1});
    onnx_node(&m, "Pad", "", "x pads", "y", attr_text("mode", "reflect"), ATTR_END);
    CU_ASSERT(gives(
        &m, (float[]){2, 1, 0, 1, 2, 1, 5, 4, 3, 4, 5, 4, 8, 7, 6, 7, 8, 7, 11, 10, 9, 10, 11, 10}, 24));
    m = begin(13);
    ints(&m, "pads", "6", 6, (int64_t[]){1, 0, 0, 0, 0, 0});
    onnx_node(&m, "Pad", "", "x pads", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "it pads the batch"));
}

static void repeated(void) {
    struct onnx_build m = begin(13);
    ints(&m, "r", "3", 3, (int64_t[]){1, 1, 2});
    onnx_node(&m, "Tile", "", "x r", "y", ATTR_END);
    CU_ASSERT(
        gives(&m, (float[]){0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8, 6, 7, 8, 9, 10, 11, 9, 10, 11}, 24));
    m = begin(13);
    ints(&m, "s", "4", 4, (int64_t[]){2, 1, 2, 3});
    onnx_node(&m, "Expand", "e", "x s", "y", ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "batch"));
}

static void blocks(void) {
    const float in[] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const struct {
        const char *op, *mode, *dims;
        float want[8];
    } rows[] = {
        {"DepthToSpace", "DCR", "Nx8x1x1", {0, 2, 4, 6, 1, 3, 5, 7}},
        {"DepthToSpace", "CRD", "Nx8x1x1", {0, 1, 2, 3, 4, 5, 6, 7}},
        {"SpaceToDepth", NULL, "Nx1x2x4", {0, 2, 1, 3, 4, 6, 5, 7}},
    };
    for (size_t i = 0; i < 3; i++) {
        struct onnx_build m = import_case_begin(13, rows[i].dims);
        if (rows[i].mode)
            onnx_node(&m, rows[i].op, "", "x", "y", attr_int("blocksize", 2), attr_text("mode", rows[i].mode),
                      ATTR_END);
        else
            onnx_node(&m, rows[i].op, "", "x", "y", attr_int("blocksize", 2), ATTR_END);
        CU_ASSERT(import_run_gives(&m, in, 8, 1, rows[i].want, 8));
    }
}

/* ViT's attention: [N,S,E] becomes [S,N,E], then [S*N,E] for a Gemm, and then comes back. */
static void batch_inside_an_axis(void) {
    for (int good = 0; good < 2; good++) {
        struct onnx_build m = begin(13);
        ints(&m, "flat", "2", 2, (int64_t[]){-1, 3});
        ints(&m, "back", "3", 3, (int64_t[]){2, -1, 3});
        ints(&m, "wrong", "3", 3, (int64_t[]){-1, 2, 3});
        onnx_initializer(&m, tensor_fill("w", "3x3", 1));
        onnx_node(&m, "Transpose", "", "x", "t", attr_ints("perm", 3, 1, 0, 2), ATTR_END);
        onnx_node(&m, "Reshape", "", "t flat", "f", ATTR_END);
        onnx_node(&m, "Gemm", "", "f w", "g", ATTR_END);
        onnx_node(&m, "Reshape", "", good ? "g back" : "g wrong", "b", ATTR_END);
        onnx_node(&m, "Transpose", "", "b", "y", attr_ints("perm", 3, good ? 1 : 0, good ? 0 : 1, 2),
                  ATTR_END);
        if (good)
            CU_ASSERT(gives(&m, (float[]){3, 3, 3, 12, 12, 12, 21, 21, 21, 30, 30, 30}, 12))
        else
            CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "batch"));
    }
}

SUITE(import_move, {"Transpose", transposed}, {"Slice in both forms", sliced}, {"Split in all forms", split},
      {"Gather", gathered}, {"Pad in all forms", padded}, {"Tile and Expand", repeated},
      {"DepthToSpace and SpaceToDepth", blocks}, {"the batch inside an axis", batch_inside_an_axis});
