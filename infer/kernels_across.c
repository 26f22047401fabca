/* LRN, InstanceNormalization, Hardmax. */
#include "infer/kernels_all.h"

#include "infer/kernels_math.h"

#include <math.h>

/* --- LRN: x / (bias + alpha / size * sum of squares of the channels around) ^ beta ------------- */

struct lrn {
    const struct op_lrn *p;
    int64_t channels, plane;
};

/* Channel `c`, a strip of `n` positions from `x`, which is channel 0's. */
SIMD_INLINE void lrn_strip(const struct lrn *l, const float *x, int64_t c, int64_t n, float *out) {
    const int64_t before = (l->p->size - 1) / 2, after = l->p->size - 1 - before;
    const int64_t first = c < before ? 0 : c - before,
                  last = c + after < l->channels ? c + after : l->channels - 1;
    const size_t bytes = (size_t)n * sizeof *x;
    float sum[SIMD_LANES] = {0}, v[SIMD_LANES] = {0};
    for (int64_t k = first; k <= last; k++) {
        memcpy(v, x + k * l->plane, bytes);
        for (int j = 0; j < SIMD_LANES; j++) sum[j] += v[j] * v[j];
    }
    const float factor = l->p->alpha / (float)l->p->size;
    for (int j = 0; j < SIMD_LANES; j++) sum[j] = l->p->bias + factor * sum[j];
    simd_log(sum);
    for (int j = 0; j < SIMD_LANES; j++) sum[j] *= -l->p->beta;
    simd_exp(sum);
    memcpy(v, x + c * l->plane, bytes);
    for (int j = 0; j < SIMD_LANES; j++) v[j] *= sum[j];
    memcpy(out + c * l->plane, v, bytes);
}

SIMD_CLONES static void lrn_image(const struct lrn *l, const float *x, float *out) {
    for (int64_t c = 0; c < l->channels; c++)
        for (int64_t i = 0; i < l->plane; i += SIMD_LANES)
            lrn_strip(l, x + i, c, l->plane - i < SIMD_LANES ? l->plane - i : SIMD_LANES, out + i);
}

void kernel_lrn(const struct kernel_call *c) {
    const struct shape *s = &c->in[0].t->shape;
    const struct lrn l = {&c->step->params.lrn, s->dim[1], shape_product(s, 2, s->rank)};
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int64_t n = 0; n < s->dim[0]; n++)
            lrn_image(&l, view_item(&c->in[0], i) + n * l.channels * l.plane,
                      view_item(&c->out, i) + n * l.channels * l.plane);
}

/* --- InstanceNormalization: each channel of each image by itself -------------------------------- */

SIMD_CLONES static void normalise(const float *x, float scale, float shift, float epsilon, float *out,
                                  int64_t n) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    const double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    const float factor = (float)((double)scale / sqrt(squares / (double)n + (double)epsilon));
    const float m = (float)mean;
    for (int64_t i = 0; i < n; i++) out[i] = (x[i] - m) * factor + shift;
}

void kernel_instance_norm(const struct kernel_call *c) {
    const struct shape *s = &c->in[0].t->shape;
    const int64_t channels = s->dim[1], rows = s->dim[0] * channels, n = shape_product(s, 2, s->rank);
    for (uint32_t i = 0; i < c->n_items; i++) {
        const float *scale = view_item(&c->in[1], i), *shift = view_item(&c->in[2], i);
        for (int64_t r = 0; r < rows; r++)
            normalise(view_item(&c->in[0], i) + r * n, scale[r % channels], shift[r % channels],
                      c->step->params.batch_norm.epsilon, view_item(&c->out, i) + r * n, n);
    }
}

/* --- Hardmax: 1 where the first of the largest is, else 0 ---------------------------------------- */

static void hardmax(const float *x, float *out, int64_t n, int64_t step) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i * step] > x[best * step]) best = i;
    for (int64_t i = 0; i < n; i++) out[i * step] = i == best ? 1 : 0;
}

void kernel_hardmax(const struct kernel_call *c) {
    const struct shape *s = &c->in[0].t->shape;
    const struct op_axis *p = &c->step->params.axis;
    const int32_t end = p->flatten ? s->rank : p->axis + 1;
    const int64_t outer = shape_product(s, 0, p->axis), n = shape_product(s, p->axis, end),
                  inner = shape_product(s, end, s->rank);
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int64_t o = 0; o < outer; o++)
            for (int64_t k = 0; k < inner; k++)
                hardmax(view_item(&c->in[0], i) + o * n * inner + k,
                        view_item(&c->out, i) + o * n * inner + k, n, inner);
}
