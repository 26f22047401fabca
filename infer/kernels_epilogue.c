/* Bias, residual and activation over blocks of rows; see kernels_epilogue.h. */
#include "infer/kernels_epilogue.h"

#include "infer/function.h"
#include "infer/simd.h"

#include <math.h>
#include <string.h>

struct bounds bounds_of(const struct image_step *s) {
    if (s->activation == ACT_RELU) return (struct bounds){true, 0, INFINITY, NULL};
    if (s->activation == ACT_CLIP) return (struct bounds){true, s->act_min, s->act_max, NULL};
    return (struct bounds){false, -INFINITY, INFINITY, s->activation == ACT_FUNCTION ? s : NULL};
}

void bounds_finish(const struct bounds *b, float *at, int64_t n) {
    if (b->function) function_run((enum op)b->function->act_op, &b->function->act_params, at, at, n);
}

SIMD_INLINE void fill_row(float *out, float bias, int64_t n) {
    int64_t i = 0;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) SIMD_EACH(j) out[i + j] = bias;
    for (; i < n; i++) out[i] = bias;
}

SIMD_INLINE void add_row(float *out, const float *residual, float bias, int64_t n) {
    int64_t i = 0;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) {
        float strip[SIMD_LANES];
        SIMD_EACH(j) strip[j] = residual[i + j] + bias;
        memcpy(out + i, strip, sizeof strip);
    }
    for (; i < n; i++) out[i] = residual[i] + bias;
}

SIMD_CLONES void epilogue_fill(const struct fill *f) {
    for (int64_t r = 0; r < f->rows; r++) {
        const float bias = f->bias ? f->bias[r] : 0;
        if (f->residual)
            add_row(f->out + r * f->out_ld, f->residual + r * f->residual_ld, bias, f->cols);
        else
            fill_row(f->out + r * f->out_ld, bias, f->cols);
    }
}

SIMD_INLINE void bound_row(const float *from, float *to, float lo, float hi, int64_t n) {
    int64_t i = 0;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) {
        float strip[SIMD_LANES];
        SIMD_EACH(j) strip[j] = simd_clip(from[i + j], lo, hi);
        memcpy(to + i, strip, sizeof strip);
    }
    for (; i < n; i++) to[i] = simd_clip(from[i], lo, hi);
}

SIMD_CLONES static void bound_rows(const struct bounds *b, const struct bound *m) {
    for (int64_t r = 0; r < m->rows; r++)
        bound_row(m->from + r * m->from_ld, m->to + r * m->to_ld, b->lo, b->hi, m->cols);
}

void epilogue_bound(const struct bounds *b, const struct bound *m) {
    if (b->any || m->from != m->to) bound_rows(b, m);
    for (int64_t r = 0; b->function && r < m->rows; r++) bounds_finish(b, m->to + r * m->to_ld, m->cols);
}
