/* LayerNormalization: (x - mean) / sqrt(variance + epsilon) * scale + shift,
 * over the axes from params.norm.axis on. Mean first, then variance about it:
 * the one-pass formula loses all digits where the mean is large. */
#include "infer/kernels_all.h"

#include "infer/simd.h"

#include <math.h>
#include <string.h>

/* Sum of x - about, or of its square. */
SIMD_INLINE double sum_about(const float *x, int64_t n, float about, bool square) {
    float lanes[SIMD_LANES] = {0};
    int64_t i = 0;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) {
        SIMD_EACH(j) {
            const float d = x[i + j] - about;
            lanes[j] += square ? d * d : d;
        }
    }
    double sum = simd_sum(lanes);
    for (; i < n; i++) {
        const float d = x[i] - about;
        sum += (double)(square ? d * d : d);
    }
    return sum;
}

SIMD_CLONES static void normalise(const float *x, const float *scale, const float *shift, float epsilon,
                                  float *out, int64_t n) {
    const double mean = sum_about(x, n, 0, false) / (double)n;
    const double variance = sum_about(x, n, (float)mean, true) / (double)n;
    const float m = (float)mean, factor = (float)(1 / sqrt(variance + (double)epsilon));
    int64_t i = 0;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) {
        float strip[SIMD_LANES];
        SIMD_EACH(j) strip[j] = (x[i + j] - m) * factor * scale[i + j];
        if (shift) SIMD_EACH(j) strip[j] += shift[i + j];
        memcpy(out + i, strip, sizeof strip);
    }
    for (; i < n; i++) out[i] = (x[i] - m) * factor * scale[i] + (shift ? shift[i] : 0);
}

void kernel_layer_norm(const struct kernel_call *c) {
    const struct shape *s = &c->in[0].t->shape;
    const struct op_norm *p = &c->step->params.norm;
    const int64_t rows = shape_product(s, 0, p->axis), n = shape_product(s, p->axis, s->rank);
    const struct view *shift = kernel_input(c, 2);
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int64_t r = 0; r < rows; r++)
            normalise(view_item(&c->in[0], i) + r * n, view_item(&c->in[1], i),
                      shift ? view_item(shift, i) : NULL, p->epsilon, view_item(&c->out, i) + r * n, n);
}
