/* Interprets images; see twin.h. Each step is computed into memory of its own
 * and copied to its place after, so overlapping operands can't hide anything. */
#include "tests/twin.h"

#include "infer/function.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct run {
    const struct image *img;
    const float *const *inputs;
    char *slab;
};

struct operand {
    const struct shape *shape;
    const float *data;
};

static struct operand operand_of(const struct run *r, uint32_t index) {
    if (index == IMAGE_NO_TENSOR) return (struct operand){NULL, NULL};
    const struct image_tensor *t = image_tensor_at(r->img, index);
    const struct image_header *h = image_header(r->img);
    if (t->place == PLACE_CONSTANT) return (struct operand){&t->shape, image_constant(r->img, t)};
    if (t->place == PLACE_ARENA)
        return (struct operand){&t->shape, (const float *)(const void *)(r->slab + t->offset)};
    uint32_t k = 0;
    while (k < h->n_inputs && h->inputs[k] != index) k++;
    return (struct operand){&t->shape, r->inputs[k]};
}

/* --- operators: y has room for the output -------------------------------------------- */

static int64_t size_from(const struct shape *s, int32_t from) {
    int64_t n = 1;
    for (int32_t i = from; i < s->rank; i++) n *= s->dim[i];
    return n;
}

struct plane { /* shapes as [n, c, d, h, w] */
    int64_t n, c, d[3];
};

static struct plane plane_of(const struct shape *s) {
    struct plane p = {s->dim[0], s->dim[1], {1, 1, 1}};
    for (int32_t i = 2; i < s->rank; i++) p.d[3 - (s->rank - i)] = s->dim[i];
    return p;
}

enum window_kind { WINDOW_CONV, WINDOW_MAX, WINDOW_MEAN };

/* One output of a window: sum of products, maximum, or mean over what it covers. */
static double window_value(enum window_kind kind, const struct op_window *w, const struct plane *in,
                           const float *x, const float *weight, const int64_t *at) {
    double sum = 0, max = -INFINITY, seen = 0, padded = 0;
    for (int64_t kd = 0; kd < w->kernel[0]; kd++)
        for (int64_t kh = 0; kh < w->kernel[1]; kh++)
            for (int64_t kw = 0; kw < w->kernel[2]; kw++) {
                const int64_t k[3] = {kd, kh, kw};
                int64_t pos[3];
                bool inside = true, in_padding = true;
                for (int a = 0; a < 3; a++) {
                    pos[a] = at[a] * w->stride[a] - w->pad_begin[a] + k[a] * w->dilation[a];
                    inside &= pos[a] >= 0 && pos[a] < in->d[a];
                    in_padding &= pos[a] < in->d[a] + w->pad_end[a];
                }
                padded += in_padding;
                if (!inside) continue;
                const double v = x[(pos[0] * in->d[1] + pos[1]) * in->d[2] + pos[2]];
                sum += v * (weight ? weight[(kd * w->kernel[1] + kh) * w->kernel[2] + kw] : 1);
                max = fmax(max, v);
                seen++;
            }
    if (kind == WINDOW_CONV) return sum;
    return kind == WINDOW_MAX ? max : sum / (w->count_include_pad ? padded : seen);
}

static void run_window(enum window_kind kind, const struct op_window *w, const struct operand *in,
                       const struct shape *out, float *y) {
    const struct plane x = plane_of(in[0].shape), o = plane_of(out);
    const int64_t in_size = x.d[0] * x.d[1] * x.d[2],
                  taps = (int64_t)w->kernel[0] * w->kernel[1] * w->kernel[2];
    const int64_t per_group = kind == WINDOW_CONV ? x.c / w->groups : 1;
    for (int64_t n = 0; n < o.n; n++)
        for (int64_t m = 0; m < o.c; m++)
            for (int64_t d = 0; d < o.d[0]; d++)
                for (int64_t h = 0; h < o.d[1]; h++)
                    for (int64_t v = 0; v < o.d[2]; v++) {
                        double sum = kind == WINDOW_CONV && in[2].data ? in[2].data[m] : 0;
                        const int64_t first = kind == WINDOW_CONV ? m / (o.c / w->groups) * per_group : m;
                        for (int64_t c = 0; c < per_group; c++)
                            sum += window_value(kind, w, &x, in[0].data + (n * x.c + first + c) * in_size,
                                                kind == WINDOW_CONV ? in[1].data + (m * per_group + c) * taps
                                                                    : NULL,
                                                (int64_t[]){d, h, v});
                        *y++ = (float)sum;
                    }
}

static float broadcast_at(const struct operand *x, const struct shape *out, int64_t index) {
    int64_t at = 0, stride = 1;
    for (int32_t i = 0; i < out->rank; i++) {
        const int64_t pos = index % out->dim[out->rank - 1 - i];
        index /= out->dim[out->rank - 1 - i];
        if (i >= x->shape->rank) continue;
        const int64_t d = x->shape->dim[x->shape->rank - 1 - i];
        if (d != 1) at += pos * stride;
        stride *= d;
    }
    return x->data[at];
}

static void run_gemm(const struct op_gemm *p, const struct operand *in, const struct shape *out, float *y) {
    const int64_t m = out->dim[0], n = out->dim[1], k = in[0].shape->dim[1 - p->trans_a];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += (double)in[0].data[p->trans_a ? l * m + i : i * k + l] *
                       in[1].data[p->trans_b ? j * k + l : l * n + j];
            const double c = in[2].data ? broadcast_at(&in[2], out, i * n + j) : 0;
            y[i * n + j] = (float)(p->alpha * sum + p->beta * c);
        }
}

static void run_softmax(const struct op_axis *p, const struct shape *s, const float *x, float *y) {
    const int64_t n = p->flatten ? size_from(s, p->axis) : s->dim[p->axis],
                  inner = p->flatten ? 1 : size_from(s, p->axis + 1);
    const int64_t outer = size_from(s, 0) / (n * inner);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            double max = -INFINITY, sum = 0;
            for (int64_t k = 0; k < n; k++) max = fmax(max, x[(o * n + k) * inner + i]);
            for (int64_t k = 0; k < n; k++) sum += exp(x[(o * n + k) * inner + i] - max);
            for (int64_t k = 0; k < n; k++)
                y[(o * n + k) * inner + i] = (float)(exp(x[(o * n + k) * inner + i] - max) / sum);
        }
}

static void run_concat(int32_t axis, const struct operand *in, uint32_t n_in, const struct shape *out,
                       float *y) {
    const int64_t row = size_from(out, axis), outer = size_from(out, 0) / row;
    int64_t at = 0;
    for (uint32_t k = 0; k < n_in; k++) {
        const int64_t part = size_from(in[k].shape, axis);
        for (int64_t o = 0; o < outer; o++)
            memcpy(y + o * row + at, in[k].data + o * part, (size_t)part * sizeof *y);
        at += part;
    }
}

static void run_batch_norm(const struct operand *in, float *y) {
    const int64_t inner = size_from(in[0].shape, 2), c = in[0].shape->dim[1], n = size_from(in[0].shape, 0);
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)((double)in[0].data[i] * in[1].data[i / inner % c] + in[2].data[i / inner % c]);
}

static void run_global_pool(const struct operand *in, float *y) {
    const int64_t inner = size_from(in[0].shape, 2), n = size_from(in[0].shape, 0) / inner;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t k = 0; k < inner; k++) sum += in[0].data[i * inner + k];
        y[i] = (float)(sum / (double)inner);
    }
}

static void run_elementwise(const struct image_step *s, const struct operand *in, const struct shape *out,
                            float *y) {
    const int64_t n = size_from(out, 0);
    for (int64_t i = 0; i < n; i++) {
        const float a = broadcast_at(&in[0], out, i), b = s->n_inputs > 1 ? broadcast_at(&in[1], out, i) : 0;
        y[i] = s->op == OP_ADD    ? a + b
               : s->op == OP_MUL  ? a * b
               : s->op == OP_RELU ? fmaxf(a, 0)
                                  : fminf(fmaxf(a, s->params.clip.min), s->params.clip.max);
    }
}

static bool run_operator(const struct image_step *s, const struct operand *in, const struct shape *out,
                         float *y) {
    switch (s->op) {
    case OP_CONV: run_window(WINDOW_CONV, &s->params.window, in, out, y); return true;
    case OP_MAX_POOL: run_window(WINDOW_MAX, &s->params.window, in, out, y); return true;
    case OP_AVERAGE_POOL: run_window(WINDOW_MEAN, &s->params.window, in, out, y); return true;
    case OP_BATCH_NORM: run_batch_norm(in, y); return true;
    case OP_RELU:
    case OP_CLIP:
    case OP_ADD:
    case OP_MUL: run_elementwise(s, in, out, y); return true;
    case OP_GLOBAL_AVERAGE_POOL: run_global_pool(in, y); return true;
    case OP_IDENTITY:
    case OP_RESHAPE: memcpy(y, in[0].data, (size_t)size_from(out, 0) * sizeof *y); return true;
    case OP_GEMM: run_gemm(&s->params.gemm, in, out, y); return true;
    case OP_SOFTMAX: run_softmax(&s->params.axis, out, in[0].data, y); return true;
    case OP_CONCAT: run_concat(s->params.axis.axis, in, s->n_inputs, out, y); return true;
    default: break;
    }
    if (!op_is_function((enum op)s->op)) return false;
    function_run((enum op)s->op, &s->params.function, in[0].data, y, size_from(out, 0));
    return true;
}

/* --- steps ------------------------------------------------------------------------------- */

static void finish(const struct image_step *s, const float *residual, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++) {
        if (residual) y[i] += residual[i];
        if (s->activation == ACT_RELU) y[i] = fmaxf(y[i], 0);
        if (s->activation == ACT_CLIP) y[i] = fminf(fmaxf(y[i], s->act_min), s->act_max);
    }
    if (s->activation == ACT_FUNCTION) function_run((enum op)s->act_op, &s->act_params, y, y, n);
}

static bool run_step(const struct run *r, const struct image_step *s) {
    const struct image_tensor *out = image_tensor_at(r->img, s->output);
    const uint32_t *operands = image_operands(r->img, s);
    struct operand in[OP_MAX_INPUTS + 3] = {{0}};
    for (uint32_t i = 0; i < s->n_inputs; i++) in[i] = operand_of(r, operands[i]);
    float *y = malloc(out->bytes);
    const bool ok = y && run_operator(s, in, &out->shape, y);
    if (ok) {
        finish(s, operand_of(r, s->residual).data, size_from(&out->shape, 0), y);
        memcpy(r->slab + out->offset, y, out->bytes);
    }
    free(y);
    return ok;
}

static float *collect_outputs(const struct run *r) {
    const struct image_header *h = image_header(r->img);
    size_t bytes = 0;
    for (uint32_t i = 0; i < h->n_outputs; i++) bytes += image_tensor_at(r->img, h->outputs[i])->bytes;
    float *all = malloc(bytes), *at = all;
    for (uint32_t i = 0; all && i < h->n_outputs; i++) {
        const struct image_tensor *t = image_tensor_at(r->img, h->outputs[i]);
        memcpy(at, r->slab + t->offset, t->bytes);
        at += t->bytes / sizeof *at;
    }
    return all;
}

float *twin_run(const struct image *img, const float *const *inputs) {
    const struct image_header *h = image_header(img);
    struct run r = {img, inputs, malloc(h->slab_bytes)};
    if (!r.slab) return NULL;
    memset(r.slab, 0xff, h->slab_bytes); /* NaN */
    bool ok = true;
    for (uint32_t i = 0; ok && i < h->n_steps; i++) ok = run_step(&r, image_step_at(img, i));
    float *out = ok ? collect_outputs(&r) : NULL;
    free(r.slab);
    return out;
}
