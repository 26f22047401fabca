/* Slopes of what only moves numbers, sums them up, or multiplies matrices. */
#include "infer/gradient_internal.h"

#include "infer/blas.h"

#include <stdlib.h>
#include <string.h>

static void add(const float *from, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}

void gradient_of_copy(const struct gradient_call *c) {
    for (uint32_t i = 0; i < c->n_items; i++)
        add(view_item(&c->dout, i), view_item(&c->din[0], i), floats_of(c->out.t));
}

void gradient_of_reorder(const struct gradient_call *c) {
    const struct spread_shape in = spread_of(c->in[0].t), out = spread_of(c->out.t);
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int64_t n = 0; n < in.images; n++)
            for (int64_t k = 0; k < in.channels; k++) {
                const float *from = view_item(&c->dout, i) + spread_at(&out, n, k);
                float *to = view_item(&c->din[0], i) + spread_at(&in, n, k);
                for (int64_t p = 0; p < in.plane; p++) to[p * in.step] += from[p * out.step];
            }
}

void gradient_of_concat(const struct gradient_call *c) {
    const int64_t outer = shape_product(&c->out.t->shape, 0, c->step->params.axis.axis),
                  whole = floats_of(c->out.t) / outer;
    int64_t at = 0;
    for (uint32_t k = 0; k < c->n_inputs; k++) {
        const int64_t part = floats_of(c->in[k].t) / outer;
        for (uint32_t i = 0; i < c->n_items && c->din[k].base; i++)
            for (int64_t o = 0; o < outer; o++)
                add(view_item(&c->dout, i) + at + o * whole, view_item(&c->din[k], i) + o * part, part);
        at += part;
    }
}

/* --- moves ------------------------------------------------------------------------------------ */

/* The forward kernel itself tells: it is given 1, 2, 3, … to move, and 0 where it fills in. */
int32_t *gradient_sources(const struct image *img, const struct image_step *s) {
    const uint32_t *operands = image_operands(img, s);
    const struct image_tensor *x = image_tensor_at(img, operands[0]), *out = image_tensor_at(img, s->output);
    const int64_t n = shape_elements(&x->shape), m = shape_elements(&out->shape);
    float *numbers = malloc((size_t)n * sizeof *numbers), *moved = malloc((size_t)m * sizeof *moved);
    int32_t *source = malloc((size_t)m * sizeof *source);
    struct image_step step = *s;
    if (s->op == OP_PAD) step.params.pad.value = 0;
    if (numbers && moved && source) {
        struct view in[2] = {{.t = x, .base = numbers}, {0}};
        if (s->op == OP_GATHER) {
            const struct image_tensor *index = image_tensor_at(img, operands[1]);
            in[1] = (struct view){.t = index, .base = (float *)(uintptr_t)image_constant(img, index)};
        }
        for (int64_t i = 0; i < n; i++) numbers[i] = (float)(i + 1);
        kernel_find(s->op, s->algorithm)(&(struct kernel_call){.step = &step,
                                                               .n_items = 1,
                                                               .n_inputs = s->op == OP_GATHER ? 2 : 1,
                                                               .in = in,
                                                               .out = {.t = out, .base = moved}});
        for (int64_t i = 0; i < m; i++) source[i] = (int32_t)moved[i] - 1;
    } else {
        free(source);
        source = NULL;
    }
    free(numbers);
    free(moved);
    return source;
}

void gradient_of_move(const struct gradient_call *c) {
    const int64_t n = shape_elements(&c->out.t->shape);
    for (uint32_t i = 0; i < c->n_items; i++) {
        const float *from = view_item(&c->dout, i);
        float *to = view_item(&c->din[0], i);
        for (int64_t k = 0; k < n; k++)
            if (c->own->source[k] >= 0) to[c->own->source[k]] += from[k];
    }
}

/* --- means and sums ---------------------------------------------------------------------------- */

/* Where each input element went, by the odometer; axes that are summed up do not count. */
void gradient_of_mean(const struct gradient_call *c) {
    const struct shape *s = &c->in[0].t->shape;
    const uint32_t axes = c->step->params.reduce.axes;
    int64_t step[SHAPE_MAX_RANK] = {0}, size = 1, summed = 1;
    for (int32_t d = s->rank - 1; d >= 0; d--) {
        const bool gone = axes >> d & 1;
        step[d] = gone ? 0 : size;
        if (gone)
            summed *= s->dim[d];
        else
            size *= s->dim[d];
    }
    const float part = c->step->op == OP_REDUCE_MEAN ? 1.0f / (float)summed : 1;
    for (uint32_t i = 0; i < c->n_items; i++) {
        const float *from = view_item(&c->dout, i);
        float *to = view_item(&c->din[0], i);
        int64_t at[SHAPE_MAX_RANK] = {0}, where = 0;
        for (int64_t k = 0, n = shape_elements(s); k < n; k++) {
            to[k] += part * from[where];
            for (int32_t d = s->rank - 1; d >= 0; d--) {
                where += step[d];
                if (++at[d] < s->dim[d]) break;
                where -= step[d] * s->dim[d];
                at[d] = 0;
            }
        }
    }
}

/* --- matrices ------------------------------------------------------------------------------------ */

/* dA [m,k] += alpha * slope [m,n] * op(B)^T, or its transpose where A is read so. */
static void back_through(const float *slope, int64_t ld, const float *b, bool trans_b, bool trans_a,
                         float alpha, int64_t m, int64_t n, int64_t k, float *to, int64_t to_ld) {
    if (trans_a) /* dA [k,m] = B slope^T */
        blas_sgemm(&(struct blas_product){.trans_a = trans_b,
                                          .trans_b = true,
                                          .m = k,
                                          .n = m,
                                          .k = n,
                                          .alpha = alpha,
                                          .beta = 1,
                                          .a = b,
                                          .lda = trans_b ? k : n,
                                          .b = slope,
                                          .ldb = ld,
                                          .c = to,
                                          .ldc = to_ld});
    else
        blas_sgemm(&(struct blas_product){.trans_b = !trans_b,
                                          .m = m,
                                          .n = k,
                                          .k = n,
                                          .alpha = alpha,
                                          .beta = 1,
                                          .a = slope,
                                          .lda = ld,
                                          .b = b,
                                          .ldb = trans_b ? k : n,
                                          .c = to,
                                          .ldc = to_ld});
}

void gradient_of_gemm(const struct gradient_call *c) {
    const struct op_gemm *p = &c->step->params.gemm;
    const struct shape *a = &c->in[0].t->shape, *out = &c->out.t->shape;
    const int64_t m = out->dim[0], n = out->dim[1], k = a->dim[p->trans_a ? 0 : 1];
    const float *b = view_item(&c->in[1], 0);
    if (m == 1 && !p->trans_a) { /* rows of all items in one product: the weights are read once */
        back_through(c->dout.base, (int64_t)c->dout.stride, b, p->trans_b, false, p->alpha, c->n_items, n, k,
                     c->din[0].base, (int64_t)c->din[0].stride);
        return;
    }
    for (uint32_t i = 0; i < c->n_items; i++)
        back_through(view_item(&c->dout, i), n, b, p->trans_b, p->trans_a, p->alpha, m, n, k,
                     view_item(&c->din[0], i), p->trans_a ? m : k);
}

/* B is one constant matrix (gradient_find sees to it). */
void gradient_of_matmul(const struct gradient_call *c) {
    const struct shape *a = &c->in[0].t->shape, *b = &c->in[1].t->shape;
    const int64_t k = a->dim[a->rank - 1], m = shape_elements(a) / k, n = b->rank > 1 ? b->dim[1] : 1;
    for (uint32_t i = 0; i < c->n_items; i++)
        back_through(view_item(&c->dout, i), n, view_item(&c->in[1], 0), false, false, 1, m, n, k,
                     view_item(&c->din[0], i), k);
}
