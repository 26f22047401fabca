/* Gemm and MatMul against plain loops in double. Entries are in [-1, 1); sums of
 * up to 600 terms differ by less than 5e-5 of max(1, |value|). */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>

#define TOLERANCE 5e-5f

enum source { COMPUTED, CONSTANT, CALLER };

static void add(struct kernel_case *f, enum source from, struct shape s) {
    if (from == CALLER) case_add_caller(f, s);
    if (from == CONSTANT) case_add_constant(f, s);
    if (from == COMPUTED) case_add(f, s);
}

struct gemm {
    int64_t m, n, k;
    struct op_gemm p;
    enum source a, b;
    int c_rank; /* -1: none */
    int64_t c[2];
    uint32_t activation;
};

static float plain_gemm(const struct kernel_case *f, const struct gemm *g, uint32_t item, int64_t r,
                        int64_t c) {
    const float *a = case_input(f, 0, item), *b = case_input(f, 1, item);
    double sum = 0;
    for (int64_t k = 0; k < g->k; k++)
        sum += (double)a[g->p.trans_a ? k * g->m + r : r * g->k + k] *
               b[g->p.trans_b ? c * g->k + k : k * g->n + c];
    sum *= (double)g->p.alpha;
    if (g->c_rank >= 0) {
        const int64_t rows = g->c_rank > 1 ? g->c[0] : 1, cols = g->c_rank > 0 ? g->c[g->c_rank - 1] : 1;
        sum += (double)g->p.beta * case_input(f, 2, item)[(rows == 1 ? 0 : r) * cols + (cols == 1 ? 0 : c)];
    }
    return (float)(g->activation == ACT_RELU && sum < 0 ? 0 : sum);
}

static void compare_gemm(const struct gemm *g, uint32_t items, size_t which) {
    char what[80];
    struct kernel_case *f = case_new(OP_GEMM, items);
    f->step.params.gemm = g->p;
    f->step.activation = g->activation;
    add(f, g->a, g->p.trans_a ? SHAPE(g->k, g->m) : SHAPE(g->m, g->k));
    add(f, g->b, g->p.trans_b ? SHAPE(g->n, g->k) : SHAPE(g->k, g->n));
    if (g->c_rank >= 0)
        case_add_constant(f,
                          (struct shape){.rank = g->c_rank, .dim = {g->c[0], g->c_rank > 1 ? g->c[1] : 0}});
    if (g->c_rank == 0) f->shapes[2].dim[0] = 0;
    CU_ASSERT_FATAL(case_finish(f, false));
    float *got = case_run(f, ALG_DEFAULT), *expected = malloc((size_t)case_outputs(f) * sizeof *expected),
          *at = expected;
    for (uint32_t i = 0; at && i < items; i++)
        for (int64_t r = 0; r < g->m; r++)
            for (int64_t c = 0; c < g->n; c++) *at++ = plain_gemm(f, g, i, r, c);
    (void)snprintf(what, sizeof what, "Gemm %zu, %u items", which, items);
    CU_ASSERT(case_close(what, got, expected, case_outputs(f), TOLERANCE));
    free(got);
    free(expected);
    case_free(f);
}

static void test_gemm(void) {
    static const struct gemm gemms[] = {
        {1, 10, 512, {1, 1, 0, 1}, COMPUTED, CONSTANT, 1, {10, 0}, ACT_NONE}, /* PyTorch's Linear */
        {1, 33, 65, {1, 1, 0, 1}, CALLER, CONSTANT, 1, {33, 0}, ACT_RELU},
        {1, 33, 65, {1, 1, 0, 0}, COMPUTED, CONSTANT, 2, {1, 33}, ACT_NONE},
        {1, 33, 65, {0.5f, 2, 1, 0}, COMPUTED, CONSTANT, 0, {0, 0}, ACT_RELU},
        {1, 33, 65, {1, 1, 0, 1}, COMPUTED, COMPUTED, -1, {0, 0}, ACT_NONE},
        {5, 7, 9, {1.5f, 0, 0, 0}, COMPUTED, CONSTANT, 2, {5, 7}, ACT_NONE},
        {5, 7, 9, {1, -1, 1, 1}, COMPUTED, CONSTANT, 2, {5, 1}, ACT_NONE},
        {5, 7, 9, {1, 1, 1, 0}, CONSTANT, COMPUTED, 2, {1, 7}, ACT_NONE},
        {5, 7, 9, {1, 1, 0, 1}, CALLER, CALLER, 1, {1, 0}, ACT_NONE},
        {1, 1, 1, {1, 1, 0, 0}, COMPUTED, CONSTANT, 1, {1, 0}, ACT_NONE},
        {64, 80, 600, {1, 1, 0, 1}, COMPUTED, CONSTANT, 1, {80, 0}, ACT_NONE},
    };
    for (size_t i = 0; i < sizeof gemms / sizeof *gemms; i++)
        for (uint32_t items = 1; items <= 7; items += 3) compare_gemm(&gemms[i], items, i);
}

/* Pointers of the caller that happen to lie evenly: rows of one product. */
static void test_even_pointers(void) {
    for (int backwards = 0; backwards < 2; backwards++) {
        struct kernel_case *f = case_new(OP_GEMM, 5);
        f->step.params.gemm = (struct op_gemm){1, 1, 0, 1};
        case_add_caller(f, SHAPE(1, 48));
        case_add_constant(f, SHAPE(9, 48));
        CU_ASSERT_FATAL(case_finish(f, false));
        if (!backwards)
            for (int i = 0; i < 2; i++) { /* the case gives them backwards */
                const float *p = f->pointers[0][i];
                f->pointers[0][i] = f->pointers[0][4 - i];
                f->pointers[0][4 - i] = p;
            }
        const struct gemm g = {1, 9, 48, {1, 1, 0, 1}, CALLER, CONSTANT, -1, {0, 0}, ACT_NONE};
        float *got = case_run(f, ALG_DEFAULT), expected[45];
        for (uint32_t i = 0; i < 45; i++) expected[i] = plain_gemm(f, &g, i / 9, 0, i % 9);
        CU_ASSERT(case_close("even pointers", got, expected, 45, TOLERANCE));
        free(got);
        case_free(f);
    }
}

/* Entry (batch, r, c) of NumPy's a @ b, computed from indices alone. */
static int64_t matrix_offset(const struct shape *s, const struct shape *stack, int64_t batch,
                             int64_t matrix) {
    int64_t at = 0, step = matrix;
    for (int32_t d = 0; d < stack->rank; d++) {
        const int64_t n = stack->dim[stack->rank - 1 - d], k = batch % n;
        batch /= n;
        const int32_t mine = s->rank - 3 - d;
        if (mine < 0) continue;
        at += s->dim[mine] == 1 ? 0 : k * step;
        step *= s->dim[mine];
    }
    return at;
}

static void compare_matmul(struct shape a, struct shape b, enum source from_a, enum source from_b,
                           uint32_t items) {
    struct kernel_case *f = case_new(OP_MATMUL, items);
    add(f, from_a, a);
    add(f, from_b, b);
    CU_ASSERT_FATAL(case_finish(f, false));
    const int64_t m = a.rank > 1 ? a.dim[a.rank - 2] : 1, k = a.dim[a.rank - 1],
                  n = b.rank > 1 ? b.dim[b.rank - 1] : 1;
    struct shape stack = f->out.t->shape;
    stack.rank -= (a.rank > 1) + (b.rank > 1);
    const int64_t per_item = case_outputs(f) / items;
    float *got = case_run(f, ALG_DEFAULT), *expected = malloc((size_t)case_outputs(f) * sizeof *expected);
    for (int64_t i = 0; expected && i < case_outputs(f); i++) {
        const int64_t at = i % per_item, batch = at / (m * n), r = at / n % m, c = at % n;
        const float *x =
            case_input(f, 0, (uint32_t)(i / per_item)) + matrix_offset(&a, &stack, batch, m * k) + r * k;
        const float *y =
            case_input(f, 1, (uint32_t)(i / per_item)) + matrix_offset(&b, &stack, batch, k * n) + c;
        double sum = 0;
        for (int64_t t = 0; t < k; t++) sum += (double)x[t] * y[t * n];
        expected[i] = (float)sum;
    }
    CU_ASSERT(case_close("MatMul", got, expected, case_outputs(f), TOLERANCE));
    free(got);
    free(expected);
    case_free(f);
}

static void test_matmul(void) {
    const struct shape pairs[][2] = {
        {SHAPE(1, 20), SHAPE(20, 30)},
        {SHAPE(1, 49, 96), SHAPE(96, 70)},
        {SHAPE(5, 7), SHAPE(7)},
        {SHAPE(7), SHAPE(7, 5)},
        {SHAPE(7), SHAPE(7)},
        {SHAPE(7), SHAPE(3, 7, 5)},
        {SHAPE(3, 5, 7), SHAPE(7)},
        {SHAPE(1, 12, 19, 8), SHAPE(1, 12, 8, 19)},
        {SHAPE(2, 1, 4, 6), SHAPE(3, 6, 5)},
        {SHAPE(4, 6), SHAPE(2, 3, 6, 5)},
        {SHAPE(2, 1, 3, 1, 4, 6), SHAPE(1, 2, 1, 3, 6, 2)},
        {SHAPE(1, 1), SHAPE(1, 1)},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (uint32_t items = 1; items <= 4; items += 3) {
            compare_matmul(pairs[i][0], pairs[i][1], COMPUTED, CONSTANT, items);
            compare_matmul(pairs[i][0], pairs[i][1], COMPUTED, COMPUTED, items);
            compare_matmul(pairs[i][0], pairs[i][1], CONSTANT, CALLER, items);
        }
}

SUITE(kernels_matrix, {"Gemm equals the plain loops", test_gemm},
      {"inputs of the caller that lie evenly, or not", test_even_pointers},
      {"MatMul broadcasts as NumPy does", test_matmul});
