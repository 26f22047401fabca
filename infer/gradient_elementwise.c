/* Slopes of what works on elements one by one or in pairs, of scales and norms. */
#include "infer/gradient_internal.h"

#include "infer/function.h"

#include <math.h>
#include <string.h>

/* --- activations ---------------------------------------------------------------------------- */

/* Past an activation's edge nothing changes: the slope ends there. */
static void bound(const float *out, float lo, float hi, const float *from, float *to, int64_t n, bool add) {
    for (int64_t i = 0; i < n; i++) {
        const float s = out[i] > lo && out[i] < hi ? from[i] : 0;
        to[i] = add ? to[i] + s : s;
    }
}

void gradient_activation(const struct gradient_call *c) {
    const struct image_step *s = c->step;
    if (s->activation == ACT_NONE) return;
    const bool clip = s->activation == ACT_CLIP;
    for (uint32_t i = 0; i < c->n_items; i++) {
        float *slope = view_item(&c->dout, i);
        bound(view_item(&c->out, i), clip ? s->act_min : 0, clip ? s->act_max : INFINITY, slope, slope,
              floats_of(c->out.t), false);
    }
}

void gradient_of_relu(const struct gradient_call *c) {
    for (uint32_t i = 0; i < c->n_items; i++)
        bound(view_item(&c->out, i), 0, INFINITY, view_item(&c->dout, i), view_item(&c->din[0], i),
              floats_of(c->out.t), true);
}

void gradient_of_clip(const struct gradient_call *c) {
    const struct op_clip *p = &c->step->params.clip;
    for (uint32_t i = 0; i < c->n_items; i++)
        bound(view_item(&c->out, i), p->min, p->max, view_item(&c->dout, i), view_item(&c->din[0], i),
              floats_of(c->out.t), true);
}

/* --- functions ------------------------------------------------------------------------------ */

static float sigmoid(float x) {
    return 1 / (1 + expf(-x));
}

static float line_slope(const struct op_function *p, float x) { /* of clip(alpha x + beta, 0, 1) */
    const float v = p->alpha * x + p->beta;
    return v > 0 && v < 1 ? p->alpha : 0;
}

static float mish_slope(float x) {
    const float t = tanhf(x > 20 ? x : log1pf(expf(x)));
    return t + x * (1 - t * t) * sigmoid(x);
}

static float gelu_tanh_slope(float x) {
    const float t = tanhf(0.797884561f * (x + 0.044715f * x * x * x));
    return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.797884561f * (1 + 3 * 0.044715f * x * x);
}

/* y = op(x), so that what y tells need not be computed again. */
static float function_slope(enum op op, const struct op_function *p, float x, float y) {
    float s;
    switch ((int)op) {
    case OP_ABS: return x > 0 ? 1.0f : x < 0 ? -1.0f : 0;
    case OP_NEG: return -1;
    case OP_SQRT: return 0.5f / y;
    case OP_EXP: return y;
    case OP_LOG: return 1 / x;
    case OP_RECIPROCAL: return -y * y;
    case OP_SIGMOID: return y * (1 - y);
    case OP_TANH: return 1 - y * y;
    case OP_ERF: return 1.12837917f * expf(-x * x);
    case OP_GELU: return 0.5f * (1 + erff(x * 0.707106781f)) + x * 0.398942280f * expf(-0.5f * x * x);
    case OP_GELU_TANH: return gelu_tanh_slope(x);
    case OP_SILU: s = sigmoid(x); return s * (1 + x * (1 - s));
    case OP_MISH: return mish_slope(x);
    case OP_SOFTPLUS: return sigmoid(x);
    case OP_SOFTSIGN: s = 1 / (1 + fabsf(x)); return s * s;
    case OP_HARD_SIGMOID: return line_slope(p, x);
    case OP_HARD_SWISH:
        s = p->alpha * x + p->beta;
        return (s <= 0 ? 0 : s >= 1 ? 1 : s) + x * line_slope(p, x);
    case OP_LEAKY_RELU: return x < 0 ? p->alpha : 1;
    case OP_ELU: return x < 0 ? p->alpha * expf(x) : 1;
    case OP_SELU: return p->beta * (x < 0 ? p->alpha * expf(x) : 1);
    case OP_CELU: return x < 0 ? expf(x / p->alpha) : 1;
    default: return 0;
    }
}

bool gradient_knows_function(enum op op) {
    static const enum op known[] = {
        OP_ABS,      OP_NEG,          OP_SQRT,       OP_EXP,        OP_LOG,  OP_RECIPROCAL, OP_SIGMOID,
        OP_TANH,     OP_ERF,          OP_GELU,       OP_GELU_TANH,  OP_SILU, OP_MISH,       OP_SOFTPLUS,
        OP_SOFTSIGN, OP_HARD_SIGMOID, OP_HARD_SWISH, OP_LEAKY_RELU, OP_ELU,  OP_SELU,       OP_CELU};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i] == op) return true;
    return false;
}

void gradient_of_function(const struct gradient_call *c) {
    const int64_t n = floats_of(c->out.t);
    for (uint32_t i = 0; i < c->n_items; i++) {
        const float *x = view_item(&c->in[0], i), *y = view_item(&c->out, i), *slope = view_item(&c->dout, i);
        float *to = view_item(&c->din[0], i);
        for (int64_t k = 0; k < n; k++)
            to[k] += slope[k] * function_slope((enum op)c->step->op, &c->step->params.function, x[k], y[k]);
    }
}

/* --- pairs ---------------------------------------------------------------------------------- */

/* Slopes with respect to a and b. */
static void pair_slopes(enum op op, float a, float b, float s, float *da, float *db) {
    switch ((int)op) {
    case OP_ADD: *da = s, *db = s; return;
    case OP_SUB: *da = s, *db = -s; return;
    case OP_MUL: *da = s * b, *db = s * a; return;
    case OP_DIV: *da = s / b, *db = -s * a / (b * b); return;
    case OP_MIN: *da = a < b ? s : 0, *db = a < b ? 0 : s; return;
    case OP_MAX: *da = a > b ? s : 0, *db = a > b ? 0 : s; return;
    default: *da = a < 0 ? s * b : s, *db = a < 0 ? s * a : 0; return; /* PRelu: b is its slope */
    }
}

struct walk { /* one operand along the output's axes, last first */
    int64_t step[SHAPE_MAX_RANK];
};

static struct walk walk_of(const struct image_tensor *t, const struct image_tensor *out) {
    struct walk w = {{0}};
    int64_t size = 1;
    for (int32_t i = 0; i < t->shape.rank && i < out->shape.rank; i++) {
        const int64_t n = t->shape.dim[t->shape.rank - 1 - i];
        w.step[i] = n == 1 ? 0 : size;
        size *= n;
    }
    return w;
}

/* Per channel over blocks, as kernel_blocked_per_channel has it. */
static struct walk blocked_walk(const struct image_tensor *t, const struct image_tensor *out,
                                struct shape *axes) {
    const struct shape *s = &out->shape;
    const int64_t plane = s->dim[2] * s->dim[3], blocks = layout_blocks(s->dim[1]);
    const bool whole = shape_equal(&t->shape, s);
    *axes = (struct shape){.rank = 3, .dim = {s->dim[0] * blocks, plane, LAYOUT_LANES}};
    return (struct walk){{1, whole ? LAYOUT_LANES : 0, whole ? plane * LAYOUT_LANES : LAYOUT_LANES}};
}

struct operand {
    const float *x;
    float *slope;
    struct walk walk;
};

static void walk_pair(enum op op, const struct shape *axes, struct operand a, struct operand b,
                      const float *slope) {
    int64_t at[SHAPE_MAX_RANK] = {0}, n = shape_product(axes, 0, axes->rank), ia = 0, ib = 0;
    for (; n > 0; n--) {
        float da, db;
        pair_slopes(op, a.x[ia], b.x[ib], *slope++, &da, &db);
        if (a.slope) a.slope[ia] += da;
        if (b.slope) b.slope[ib] += db;
        for (int32_t d = 0; d < axes->rank; d++) { /* odometer */
            const int64_t size = axes->dim[axes->rank - 1 - d];
            ia += a.walk.step[d];
            ib += b.walk.step[d];
            if (++at[d] < size) break;
            ia -= a.walk.step[d] * size;
            ib -= b.walk.step[d] * size;
            at[d] = 0;
        }
    }
}

/* The common case, sums of residual networks: nothing to walk. */
static bool add_whole(const struct gradient_call *c) {
    if (c->step->op != OP_ADD) return false;
    for (int k = 0; k < 2; k++)
        if (!shape_equal(&c->in[k].t->shape, &c->out.t->shape)) return false;
    const int64_t n = floats_of(c->out.t);
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int k = 0; k < 2; k++) {
            if (!c->din[k].base) continue;
            const float *slope = view_item(&c->dout, i);
            float *to = view_item(&c->din[k], i);
            for (int64_t j = 0; j < n; j++) to[j] += slope[j];
        }
    return true;
}

void gradient_of_pair(const struct gradient_call *c) {
    if (add_whole(c)) return;
    struct shape axes = c->out.t->shape;
    struct operand o[2];
    for (int k = 0; k < 2; k++)
        o[k].walk = c->out.t->layout == LAYOUT_BLOCKED ? blocked_walk(c->in[k].t, c->out.t, &axes)
                                                       : walk_of(c->in[k].t, c->out.t);
    for (uint32_t i = 0; i < c->n_items; i++) {
        for (int k = 0; k < 2; k++) {
            o[k].x = view_item(&c->in[k], i);
            o[k].slope = c->din[k].base ? view_item(&c->din[k], i) : NULL;
        }
        walk_pair((enum op)c->step->op, &axes, o[0], o[1], view_item(&c->dout, i));
    }
}

/* --- scales, norms, Softmax ------------------------------------------------------------------ */

void gradient_of_batch_norm(const struct gradient_call *c) {
    const struct spread_shape s = spread_of(c->out.t);
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int64_t n = 0; n < s.images; n++)
            for (int64_t k = 0; k < s.channels; k++) {
                const float scale = view_item(&c->in[1], i)[k];
                const float *slope = view_item(&c->dout, i) + spread_at(&s, n, k);
                float *to = view_item(&c->din[0], i) + spread_at(&s, n, k);
                for (int64_t p = 0; p < s.plane; p++) to[p * s.step] += scale * slope[p * s.step];
            }
}

/* y = (x - mean) f w + b with f = 1 / sqrt(var + eps); with u = s w:
 * dx = f (u - mean(u) - z mean(u z)), z = (x - mean) f. */
static void norm_row(const float *x, const float *w, const float *slope, float epsilon, float *to,
                     int64_t n) {
    double mean = 0, var = 0, mu = 0, muz = 0;
    for (int64_t i = 0; i < n; i++) mean += (double)x[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) var += ((double)x[i] - mean) * ((double)x[i] - mean);
    const double f = 1 / sqrt(var / (double)n + (double)epsilon);
    for (int64_t i = 0; i < n; i++) {
        const double u = (double)slope[i] * (double)w[i];
        mu += u / (double)n;
        muz += u * ((double)x[i] - mean) * f / (double)n;
    }
    for (int64_t i = 0; i < n; i++)
        to[i] += (float)(f * ((double)slope[i] * (double)w[i] - mu - ((double)x[i] - mean) * f * muz));
}

void gradient_of_layer_norm(const struct gradient_call *c) {
    const struct shape *s = &c->in[0].t->shape;
    const struct op_norm *p = &c->step->params.norm;
    const int64_t rows = shape_product(s, 0, p->axis), n = shape_product(s, p->axis, s->rank);
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int64_t r = 0; r < rows; r++)
            norm_row(view_item(&c->in[0], i) + r * n, view_item(&c->in[1], i), view_item(&c->dout, i) + r * n,
                     p->epsilon, view_item(&c->din[0], i) + r * n, n);
}

void gradient_of_softmax(const struct gradient_call *c) {
    const struct shape *s = &c->out.t->shape;
    const struct op_axis *p = &c->step->params.axis;
    const int32_t end = p->flatten ? s->rank : p->axis + 1;
    const int64_t outer = shape_product(s, 0, p->axis), n = shape_product(s, p->axis, end),
                  inner = shape_product(s, end, s->rank);
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int64_t o = 0; o < outer * inner; o++) {
            const int64_t at = o / inner * n * inner + o % inner;
            const float *y = view_item(&c->out, i) + at, *slope = view_item(&c->dout, i) + at;
            float *to = view_item(&c->din[0], i) + at;
            double sum = 0;
            for (int64_t k = 0; k < n; k++) sum += (double)y[k * inner] * (double)slope[k * inner];
            for (int64_t k = 0; k < n; k++) to[k * inner] += y[k * inner] * (slope[k * inner] - (float)sum);
        }
}
