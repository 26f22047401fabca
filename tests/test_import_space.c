/* Einsum becomes products and moves; reductions in both forms. */
#include "tests/import_run.h"
#include "tests/suite.h"

static const float x6[] = {0, 1, 2, 3, 4, 5}; /* [2,3] */

static void einsum(void) {
    static const struct {
        const char *equation, *dims;
        size_t n;
        float want[12];
    } rows[] = {
        {"nij,jk->nik", "3x2", 4, {13, 16, 40, 52}}, /* c = 1 … 6 */
        {"nij,kj->nki", "2x3", 4, {8, 26, 17, 62}},
        {"nij,j->ni", "3", 2, {8, 26}},
        {"...j,j", "3", 2, {8, 26}},
        {"nij,ij->n", "2x3", 1, {70}},
        {"nij,ij->nij", "2x3", 6, {0, 2, 6, 12, 20, 30}},
        {"nij,k->nkji", "2", 12, {0, 3, 1, 4, 2, 5, 0, 6, 2, 8, 4, 10}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct onnx_build m = import_case_begin(13, "Nx2x3");
        onnx_initializer(&m, tensor_count("c", rows[i].dims, 1));
        onnx_node(&m, "Einsum", "", "x c", "y", attr_text("equation", rows[i].equation), ATTR_END);
        CU_ASSERT(import_run_gives(&m, x6, 6, 1, rows[i].want, rows[i].n));
    }
    struct onnx_build m = import_case_begin(13, "Nx2x3");
    onnx_node(&m, "Einsum", "", "x", "y", attr_text("equation", "nij -> nj"), ATTR_END);
    CU_ASSERT(import_run_gives(&m, x6, 6, 1, (float[]){3, 5, 7}, 3));
    static const struct {
        const char *equation, *words;
    } bad[] = {{"nij,ij->nii", "an axis is repeated"},
               {"nij,jk->nz", "an axis that no input has"},
               {"nij", "number of inputs"},
               {"nij,j1->n", "axes must be letters"},
               {"ni,jk->nk", "another number of axes"},
               {"nij,mjk->ik", "batch"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        m = import_case_begin(13, "Nx2x3");
        onnx_initializer(&m, tensor_count("c", i == 5 ? "1x3x2" : "3x2", 1));
        onnx_node(&m, "Einsum", "e", "x c", "y", attr_text("equation", bad[i].equation), ATTR_END);
        CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, bad[i].words));
    }
}

/* Trace and diagonals, one of them summed by a product. */
static void diagonals(void) {
    static const float x8[] = {0, 1, 2, 3, 4, 5, 6, 7}; /* [2,2,2] */
    static const struct {
        const char *equation;
        bool two;
        size_t n;
        float want[4];
    } rows[] = {
        {"nii->ni", false, 4, {0, 3, 4, 7}},
        {"...ii->...i", false, 4, {0, 3, 4, 7}},
        {"nii->n", false, 2, {3, 11}},
        {"nii", false, 2, {3, 11}},
        {"nii,ij->nj", true, 4, {9, 12, 25, 36}},
        {"nij,jj->ni", true, 4, {4, 14, 24, 34}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct onnx_build m = import_case_begin(13, "Nx2x2");
        onnx_initializer(&m, tensor_count("c", "2x2", 1));
        onnx_node(&m, "Einsum", "", rows[i].two ? "x c" : "x", "y", attr_text("equation", rows[i].equation),
                  ATTR_END);
        CU_ASSERT(import_run_gives(&m, x8, 4, 2, rows[i].want, rows[i].n));
    }
    struct onnx_build m = import_case_begin(13, "Nx2x3");
    onnx_node(&m, "Einsum", "", "x", "y", attr_text("equation", "nii->ni"), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "same length twice"));
    m = import_case_begin(13, "Nx2x2");
    onnx_node(&m, "Einsum", "", "x", "y", attr_text("equation", "nij->nii"), ATTR_END);
    CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "repeated in the result"));
}

static void reduced(void) {
    for (int form = 0; form < 4; form++) {
        struct onnx_build m = import_case_begin(form == 0 ? 13 : 18, "Nx2x3");
        onnx_initializer(&m, tensor_ints("axes", "1", (int64_t[]){-1}, 1));
        if (form == 0)
            onnx_node(&m, "ReduceMax", "", "x", "y", attr_ints("axes", 1, 2), attr_int("keepdims", 0),
                      ATTR_END);
        else if (form == 1)
            onnx_node(&m, "ReduceMax", "", "x axes", "y", attr_int("keepdims", 1), ATTR_END);
        else if (form == 2)
            onnx_node(&m, "ReduceMax", "", "x", "y", attr_int("noop_with_empty_axes", 1), ATTR_END);
        else
            onnx_node(&m, "ReduceMax", "", "x", "y", ATTR_END);
        if (form == 3)
            CU_ASSERT(import_case_refused(&m, ERR_UNSUPPORTED, "it reduces along the batch"))
        else
            CU_ASSERT(import_run_gives(&m, x6, 6, 1, form == 2 ? x6 : (float[]){2, 5}, form == 2 ? 6 : 2));
    }
    struct onnx_build m = import_case_begin(13, "Nx2x1x3"); /* what exporters write for a global pool */
    onnx_node(&m, "ReduceMean", "", "x", "y", attr_ints("axes", 2, 2, 3), attr_int("keepdims", 0), ATTR_END);
    struct import_case c = import_case_make(&m);
    CU_ASSERT(import_case_gives(&c, "[1,2]") && c.g->nodes[0].op == OP_GLOBAL_AVERAGE_POOL);
    import_case_free(&c);
}

SUITE(import_space, {"Einsum", einsum}, {"Einsum along diagonals", diagonals},
      {"reductions in both forms", reduced});
