/* Softmax: exp(x - max) / sum, over one axis, or over all from it on. A NaN
 * anywhere makes its whole vector NaN. */
#include "infer/kernels_all.h"

#include "infer/kernels_math.h"

#include <math.h>

/* The largest; NaNs are passed over, their difference to it will show them. */
SIMD_INLINE float largest(const float *x, int64_t n) {
    float lanes[SIMD_LANES], max = -INFINITY;
    int64_t i = 0;
    SIMD_EACH(j) lanes[j] = max;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES)
        SIMD_EACH(j) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (int j = 0; j < SIMD_LANES; j++) max = lanes[j] > max ? lanes[j] : max;
    for (; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

/* One vector of n consecutive floats. */
SIMD_CLONES static void softmax_row(const float *x, float *out, int64_t n) {
    const float max = largest(x, n);
    float lanes[SIMD_LANES] = {0};
    int64_t i = 0;
    for (; i < n; i += SIMD_LANES) {
        const int64_t left = n - i < SIMD_LANES ? n - i : SIMD_LANES;
        float strip[SIMD_LANES];
        SIMD_EACH(j) strip[j] = -INFINITY;
        memcpy(strip, x + i, (size_t)left * sizeof *x);
        SIMD_EACH(j) strip[j] -= max;
        simd_exp(strip);
        SIMD_EACH(j) lanes[j] += strip[j];
        memcpy(out + i, strip, (size_t)left * sizeof *out);
    }
    const float scale = (float)(1 / simd_sum(lanes));
    for (i = 0; i + SIMD_LANES <= n; i += SIMD_LANES) SIMD_EACH(j) out[i + j] *= scale;
    for (; i < n; i++) out[i] *= scale;
}

/* Up to SIMD_LANES neighbouring vectors, each of n floats that are `step` apart. */
SIMD_CLONES static void softmax_columns(const float *x, float *out, int64_t n, int64_t step, int64_t width) {
    const size_t bytes = (size_t)width * sizeof *x;
    float max[SIMD_LANES], sum[SIMD_LANES] = {0}, strip[SIMD_LANES] = {0};
    SIMD_EACH(j) max[j] = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        memcpy(strip, x + i * step, bytes);
        SIMD_EACH(j) max[j] = strip[j] > max[j] ? strip[j] : max[j];
    }
    for (int64_t i = 0; i < n; i++) {
        memcpy(strip, x + i * step, bytes);
        SIMD_EACH(j) strip[j] -= max[j];
        simd_exp(strip);
        SIMD_EACH(j) sum[j] += strip[j];
        memcpy(out + i * step, strip, bytes);
    }
    SIMD_EACH(j) sum[j] = 1 / sum[j];
    for (int64_t i = 0; i < n; i++) {
        memcpy(strip, out + i * step, bytes);
        SIMD_EACH(j) strip[j] *= sum[j];
        memcpy(out + i * step, strip, bytes);
    }
}

static void softmax_outer(const float *x, float *out, int64_t n, int64_t inner) {
    if (inner == 1) {
        softmax_row(x, out, n);
        return;
    }
    for (int64_t at = 0; at < inner; at += SIMD_LANES)
        softmax_columns(x + at, out + at, n, inner, inner - at < SIMD_LANES ? inner - at : SIMD_LANES);
}

void kernel_softmax(const struct kernel_call *c) {
    const struct shape *s = &c->in[0].t->shape;
    const struct op_axis *p = &c->step->params.axis;
    const int32_t end = p->flatten ? s->rank : p->axis + 1;
    const int64_t outer = shape_product(s, 0, p->axis), n = shape_product(s, p->axis, end);
    const int64_t inner = shape_product(s, end, s->rank);
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int64_t o = 0; o < outer; o++)
            softmax_outer(view_item(&c->in[0], i) + o * n * inner, view_item(&c->out, i) + o * n * inner, n,
                          inner);
}
