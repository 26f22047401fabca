/* Elementwise operators. Sums and products broadcast as NumPy does: axes that
 * behave alike are merged, so that what is left is a few long runs. The
 * activation is applied on the way. */
#include "infer/kernels_all.h"

#include "infer/kernels_blocked.h"
#include "infer/kernels_epilogue.h"
#include "infer/simd.h"

#include <string.h>

/* --- two operands ------------------------------------------------------------------ */

struct axis {
    int64_t n;
    bool a, b; /* whether the operand advances along it */
};

struct merged { /* axes[0] is the innermost */
    struct axis axes[SHAPE_MAX_RANK];
    int32_t rank;
};

static int64_t dim_from_end(const struct shape *s, int32_t i) {
    return i < s->rank ? s->dim[s->rank - 1 - i] : 1;
}

static void merge_axes(const struct shape *a, const struct shape *b, const struct shape *out,
                       struct merged *m) {
    m->rank = 0;
    for (int32_t i = 0; i < out->rank; i++) {
        const struct axis x = {dim_from_end(out, i), dim_from_end(a, i) != 1, dim_from_end(b, i) != 1};
        struct axis *last = m->rank ? &m->axes[m->rank - 1] : NULL;
        if (x.n == 1) continue;
        if (last && last->a == x.a && last->b == x.b)
            last->n *= x.n;
        else
            m->axes[m->rank++] = x;
    }
    if (m->rank == 0) m->axes[m->rank++] = (struct axis){1, true, true};
}

enum operation { OPERATION_ADD, OPERATION_MUL };

SIMD_INLINE float operate(enum operation o, float a, float b, const struct bounds *bd) {
    return simd_clip(o == OPERATION_ADD ? a + b : a * b, bd->lo, bd->hi);
}

SIMD_INLINE void operate_runs(enum operation o, const float *a, const float *b, float *out, int64_t n,
                              const struct bounds *bd) {
    int64_t i = 0;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) {
        float strip[SIMD_LANES];
        SIMD_EACH(j) strip[j] = operate(o, a[i + j], b[i + j], bd);
        memcpy(out + i, strip, sizeof strip);
    }
    for (; i < n; i++) out[i] = operate(o, a[i], b[i], bd);
}

SIMD_INLINE void operate_one(enum operation o, const float *a, float b, float *out, int64_t n,
                             const struct bounds *bd) {
    int64_t i = 0;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) {
        float strip[SIMD_LANES];
        SIMD_EACH(j) strip[j] = operate(o, a[i + j], b, bd);
        memcpy(out + i, strip, sizeof strip);
    }
    for (; i < n; i++) out[i] = operate(o, a[i], b, bd);
}

/* Both operations commute (also in IEEE arithmetic), so the one that stands still can come second. */
SIMD_INLINE void operate_inner(enum operation o, const struct axis *x, const float *a, const float *b,
                               float *out, const struct bounds *bd) {
    if (x->a && x->b)
        operate_runs(o, a, b, out, x->n, bd);
    else if (x->a)
        operate_one(o, a, *b, out, x->n, bd);
    else
        operate_one(o, b, *a, out, x->n, bd);
}

SIMD_CLONES static void operate_add(const struct axis *x, const float *a, const float *b, float *out,
                                    const struct bounds *bd) {
    operate_inner(OPERATION_ADD, x, a, b, out, bd);
}

SIMD_CLONES static void operate_mul(const struct axis *x, const float *a, const float *b, float *out,
                                    const struct bounds *bd) {
    operate_inner(OPERATION_MUL, x, a, b, out, bd);
}

static void operate_all(enum operation o, const struct merged *m, const float *a, const float *b, float *out,
                        const struct bounds *bd) {
    int64_t at[SHAPE_MAX_RANK] = {0}, step_a[SHAPE_MAX_RANK], step_b[SHAPE_MAX_RANK], size_a = 1, size_b = 1;
    for (int32_t d = 0; d < m->rank; d++) {
        step_a[d] = m->axes[d].a ? size_a : 0;
        step_b[d] = m->axes[d].b ? size_b : 0;
        if (m->axes[d].a) size_a *= m->axes[d].n;
        if (m->axes[d].b) size_b *= m->axes[d].n;
    }
    for (int32_t d = 0; d < m->rank; out += m->axes[0].n) {
        (o == OPERATION_ADD ? operate_add : operate_mul)(&m->axes[0], a, b, out, bd);
        for (d = 1; d < m->rank; d++) { /* odometer over the outer axes */
            a += step_a[d];
            b += step_b[d];
            if (++at[d] < m->axes[d].n) break;
            a -= step_a[d] * at[d];
            b -= step_b[d] * at[d];
            at[d] = 0;
        }
    }
}

static void run_operation(const struct kernel_call *c, enum operation o) {
    const struct bounds bd = bounds_of(c->step);
    struct merged m;
    if (kernel_is_blocked(c)) {
        if (!shape_equal(&c->in[0].t->shape, &c->in[1].t->shape)) {
            kernel_blocked_per_channel(c, o == OPERATION_MUL);
            return;
        }
        m = (struct merged){{{kernel_floats(&c->out), true, true}}, 1};
    } else {
        merge_axes(&c->in[0].t->shape, &c->in[1].t->shape, &c->out.t->shape, &m);
    }
    for (uint32_t i = 0; i < c->n_items; i++) {
        operate_all(o, &m, view_item(&c->in[0], i), view_item(&c->in[1], i), view_item(&c->out, i), &bd);
        bounds_finish(&bd, view_item(&c->out, i), kernel_floats(&c->out));
    }
}

void kernel_add(const struct kernel_call *c) {
    run_operation(c, OPERATION_ADD);
}
void kernel_mul(const struct kernel_call *c) {
    run_operation(c, OPERATION_MUL);
}

/* --- one operand ------------------------------------------------------------------- */

static void run_bounds(const struct kernel_call *c, float lo, float hi) {
    const struct bounds b = {true, lo, hi, NULL};
    const int64_t n = kernel_floats(&c->out);
    for (uint32_t i = 0; i < c->n_items; i++)
        epilogue_bound(&b, &(struct bound){view_item(&c->in[0], i), view_item(&c->out, i), 1, n, 0, 0});
}

void kernel_relu(const struct kernel_call *c) {
    run_bounds(c, 0, __builtin_inff());
}
void kernel_clip(const struct kernel_call *c) {
    run_bounds(c, c->step->params.clip.min, c->step->params.clip.max);
}

SIMD_CLONES static void scale_shift(const float *x, float *out, int64_t n, float scale, float shift,
                                    const struct bounds *bd) {
    int64_t i = 0;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) {
        float strip[SIMD_LANES];
        SIMD_EACH(j) strip[j] = simd_clip(x[i + j] * scale + shift, bd->lo, bd->hi);
        memcpy(out + i, strip, sizeof strip);
    }
    for (; i < n; i++) out[i] = simd_clip(x[i] * scale + shift, bd->lo, bd->hi);
}

void kernel_batch_norm(const struct kernel_call *c) {
    if (kernel_is_blocked(c)) {
        kernel_blocked_batch_norm(c);
        return;
    }
    const struct shape *s = &c->in[0].t->shape;
    const struct bounds bd = bounds_of(c->step);
    const int64_t channels = s->dim[1], planes = s->dim[0] * channels, plane = shape_product(s, 2, s->rank);
    for (uint32_t i = 0; i < c->n_items; i++) {
        const float *x = view_item(&c->in[0], i), *scale = view_item(&c->in[1], i),
                    *shift = view_item(&c->in[2], i);
        float *out = view_item(&c->out, i);
        for (int64_t p = 0; p < planes; p++) {
            scale_shift(x + p * plane, out + p * plane, plane, scale[p % channels], shift[p % channels], &bd);
            bounds_finish(&bd, out + p * plane, plane);
        }
    }
}

void kernel_copy(const struct kernel_call *c) {
    const size_t bytes = (size_t)kernel_floats(&c->out) * sizeof(float);
    for (uint32_t i = 0; i < c->n_items; i++) {
        const float *from = view_item(&c->in[0], i);
        float *to = view_item(&c->out, i);
        if (from != to) memcpy(to, from, bytes);
    }
}
