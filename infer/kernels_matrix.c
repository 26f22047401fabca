/* Matrix products: Gemm and MatMul.
 *
 * In a classifier the second matrix is a constant of many megabytes and the
 * first one row per item, so that reading the weights is all the work there is.
 * Rows of several items therefore go into one product, which reads them
 * once: items lie a fixed distance apart, and that distance is the product's
 * leading dimension. A few rows go through kernels_vectors.h where the weights lie
 * row by row; elsewhere up to four are matrix-vector products each, since BLAS copies
 * the weights into its own order first, and that costs more than reading them so often. */
#include "infer/kernels_all.h"

#include "infer/blas.h"
#include "infer/kernels_epilogue.h"
#include "infer/kernels_vectors.h"

#include <string.h>

enum { FEW_ITEMS = 4 };

struct matrices { /* one product per item: out [m,n] = alpha * A * B + out */
    int64_t m, n, k;
    bool trans_a, trans_b;
    float alpha;
};

/* Floats from item to item, where that is the same for all and fits BLAS; else 0. */
static int64_t distance(const struct view *v, uint32_t n_items) {
    if (!v->items) return v->stride <= INT32_MAX ? (int64_t)v->stride : 0;
    if (n_items < 2) return 0;
    const uintptr_t first = (uintptr_t)v->items[0], step = (uintptr_t)v->items[1] - first;
    if (step % sizeof(float) != 0 || step / sizeof(float) > INT32_MAX) return 0;
    for (uint32_t i = 2; i < n_items; i++)
        if ((uintptr_t)v->items[i] - first != step * i) return 0;
    return (int64_t)(step / sizeof(float));
}

static void multiply_item(struct team_seat *seat, const struct matrices *x, const float *a, const float *b,
                          float *out) {
    if (x->m == 1) {
        blas_sgemv(!x->trans_b, x->n, x->k, x->alpha, b, a, 1, out);
        return;
    }
    blas_sgemm_shared(seat, &(struct blas_product){.trans_a = x->trans_a,
                                                   .trans_b = x->trans_b,
                                                   .m = x->m,
                                                   .n = x->n,
                                                   .k = x->k,
                                                   .alpha = x->alpha,
                                                   .beta = 1,
                                                   .a = a,
                                                   .lda = x->trans_a ? x->m : x->k,
                                                   .b = b,
                                                   .ldb = x->trans_b ? x->k : x->n,
                                                   .c = out,
                                                   .ldc = x->n});
}

/* The rows of all items' A, a few, with the rows of a common B; false where they lie otherwise. */
static bool multiply_few(const struct kernel_call *c, const struct matrices *x, int64_t da, int64_t dout) {
    const int64_t rows = x->m * c->n_items;
    if (x->trans_a || !x->trans_b || !vectors_are_few(rows)) return false;
    if (x->m > 1 && c->n_items > 1 && (da != x->m * x->k || dout != x->m * x->n)) return false;
    const bool apart = x->m == 1 && c->n_items > 1;
    if (apart && (da < x->k || dout < x->n)) return false;
    vectors_multiply(c->seat, &(struct vectors_product){.w = view_item(&c->in[1], 0),
                                                        .x = view_item(&c->in[0], 0),
                                                        .out = view_item(&c->out, 0),
                                                        .rows = x->n,
                                                        .depth = x->k,
                                                        .vectors = rows,
                                                        .x_step = apart ? da : x->k,
                                                        .out_step = apart ? dout : x->n,
                                                        .alpha = x->alpha});
    return true;
}

/* Every item's product with its own or a common B; `out` holds what is added to. */
static void multiply_items(const struct kernel_call *c, const struct matrices *x) {
    const struct view *a = &c->in[0], *b = &c->in[1];
    const int64_t da = distance(a, c->n_items), dout = distance(&c->out, c->n_items);
    const bool common = !b->items && b->stride == 0;
    if (common && multiply_few(c, x, da, dout)) return;
    if (c->n_items > FEW_ITEMS && common && x->m == 1 && da >= x->k && dout >= x->n) {
        blas_sgemm_shared(c->seat, &(struct blas_product){.trans_b = x->trans_b,
                                                          .m = c->n_items,
                                                          .n = x->n,
                                                          .k = x->k,
                                                          .alpha = x->alpha,
                                                          .beta = 1,
                                                          .a = view_item(a, 0),
                                                          .lda = da,
                                                          .b = view_item(b, 0),
                                                          .ldb = x->trans_b ? x->k : x->n,
                                                          .c = view_item(&c->out, 0),
                                                          .ldc = dout});
        return;
    }
    for (uint32_t i = 0; i < c->n_items; i++)
        multiply_item(c->seat, x, view_item(a, i), view_item(b, i), view_item(&c->out, i));
}

static void bound_items(const struct kernel_call *c) {
    const struct bounds b = bounds_of(c->step);
    const int64_t n = shape_elements(&c->out.t->shape);
    for (uint32_t i = 0; i < c->n_items; i++) {
        float *out = view_item(&c->out, i);
        epilogue_bound(&b, &(struct bound){out, out, 1, n, 0, 0});
    }
}

/* --- Gemm ---------------------------------------------------------------------------- */

/* out: [m,n] = beta * C, broadcast; C: rank 0 to 2. */
static void fill_with_c(const struct view *c, uint32_t item, float beta, float *out, int64_t m, int64_t n) {
    const struct shape *s = &c->t->shape;
    const float *from = view_item(c, item);
    const int64_t cols = s->rank > 0 ? s->dim[s->rank - 1] : 1, rows = s->rank > 1 ? s->dim[s->rank - 2] : 1;
    for (int64_t r = 0; r < m; r++) {
        const float *row = from + (rows == 1 ? 0 : r * cols);
        for (int64_t k = 0; k < n; k++) out[r * n + k] = beta * row[cols == 1 ? 0 : k];
    }
}

void kernel_gemm(const struct kernel_call *c) {
    const struct op_gemm *p = &c->step->params.gemm;
    const struct shape *a = &c->in[0].t->shape, *out = &c->out.t->shape;
    const struct view *sum = kernel_input(c, 2);
    const struct matrices x = {out->dim[0],     out->dim[1],     a->dim[p->trans_a ? 0 : 1],
                               p->trans_a != 0, p->trans_b != 0, p->alpha};
    for (uint32_t i = 0; i < c->n_items; i++) {
        float *to = view_item(&c->out, i);
        if (sum && p->beta != 0)
            fill_with_c(sum, i, p->beta, to, x.m, x.n);
        else
            memset(to, 0, (size_t)(x.m * x.n) * sizeof *to);
    }
    multiply_items(c, &x);
    bound_items(c);
}

/* --- MatMul -------------------------------------------------------------------------- */

struct stack { /* the axes before the matrices, of the result and as the operands advance along them */
    int32_t rank;
    int64_t n[SHAPE_MAX_RANK], step_a[SHAPE_MAX_RANK], step_b[SHAPE_MAX_RANK];
};

/* Axis `i` of the stack, counted from the matrices outwards; 1 where there is none. */
static int64_t stack_dim(const struct shape *s, int32_t i) {
    return s->rank - 3 - i >= 0 ? s->dim[s->rank - 3 - i] : 1;
}

static void describe_stack(const struct shape *a, const struct shape *b, const struct matrices *x,
                           struct stack *s) {
    const int32_t rank = (a->rank > b->rank ? a->rank : b->rank) - 2;
    int64_t size_a = x->m * x->k, size_b = x->k * x->n;
    s->rank = rank > 0 ? rank : 0;
    for (int32_t i = 0; i < s->rank; i++) {
        const int64_t na = stack_dim(a, i), nb = stack_dim(b, i);
        s->n[i] = na == 1 ? nb : na;
        s->step_a[i] = na == 1 ? 0 : size_a;
        s->step_b[i] = nb == 1 ? 0 : size_b;
        size_a *= na;
        size_b *= nb;
    }
}

static void multiply_stack(struct team_seat *seat, const struct matrices *x, const struct stack *s,
                           const float *a, const float *b, float *out) {
    int64_t at[SHAPE_MAX_RANK] = {0};
    for (int32_t d = -1; d < s->rank; out += x->m * x->n) {
        multiply_item(seat, x, a, b, out);
        for (d = 0; d < s->rank; d++) { /* odometer */
            a += s->step_a[d];
            b += s->step_b[d];
            if (++at[d] < s->n[d]) break;
            a -= s->step_a[d] * at[d];
            b -= s->step_b[d] * at[d];
            at[d] = 0;
        }
    }
}

/* A vector on the left is a row, on the right a column. */
void kernel_matmul(const struct kernel_call *c) {
    const struct shape *a = &c->in[0].t->shape, *b = &c->in[1].t->shape;
    struct matrices x = {.m = a->rank > 1 ? a->dim[a->rank - 2] : 1,
                         .n = b->rank > 1 ? b->dim[b->rank - 1] : 1,
                         .k = a->dim[a->rank - 1],
                         .alpha = 1};
    const size_t bytes = (size_t)shape_elements(&c->out.t->shape) * sizeof(float);
    for (uint32_t i = 0; i < c->n_items; i++) memset(view_item(&c->out, i), 0, bytes);
    if (b->rank <= 2) { /* one B for all of A's rows: one product */
        x.m = shape_elements(a) / x.k;
        multiply_items(c, &x);
    } else {
        struct stack s;
        describe_stack(a, b, &x, &s);
        for (uint32_t i = 0; i < c->n_items; i++)
            multiply_stack(c->seat, &x, &s, view_item(&c->in[0], i), view_item(&c->in[1], i),
                           view_item(&c->out, i));
    }
    bound_items(c);
}
