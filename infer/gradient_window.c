/* Pools backwards: a maximum's slope goes to the first tap that holds it, a
 * mean's to all taps alike. Any layout. */
#include "infer/gradient_internal.h"

#include "infer/conv.h"

#include <math.h>

struct taps { /* of one output place that lie on the input */
    int64_t first[OP_SPATIAL], end[OP_SPATIAL], start[OP_SPATIAL];
};

static struct taps taps_at(const struct conv *c, int64_t p) {
    const int64_t at[OP_SPATIAL] = {p / (c->out[1] * c->out[2]), p / c->out[2] % c->out[1], p % c->out[2]};
    struct taps t;
    for (int a = 0; a < OP_SPATIAL; a++) {
        const int64_t start = t.start[a] = at[a] * c->stride[a] - c->pad[a], d = c->dilation[a];
        t.first[a] = start < 0 ? (-start + d - 1) / d : 0;
        t.end[a] = start >= c->in[a] ? 0 : (c->in[a] - start + d - 1) / d;
        if (t.end[a] > c->kernel[a]) t.end[a] = c->kernel[a];
    }
    return t;
}

/* Place of a tap on the input's plane. */
static int64_t place(const struct conv *c, const struct taps *t, int64_t z, int64_t y, int64_t x) {
    return ((t->start[0] + z * c->dilation[0]) * c->in[1] + t->start[1] + y * c->dilation[1]) * c->in[2] +
           t->start[2] + x * c->dilation[2];
}

#define EACH_TAP(t)                                                                                          \
    for (int64_t z = (t).first[0]; z < (t).end[0]; z++)                                                      \
        for (int64_t y = (t).first[1]; y < (t).end[1]; y++)                                                  \
            for (int64_t x = (t).first[2]; x < (t).end[2]; x++)

static void max_place(const struct conv *c, int64_t p, int64_t step, const float *in, float slope,
                      float *din) {
    const struct taps t = taps_at(c, p);
    int64_t best = -1;
    EACH_TAP(t) {
        const int64_t at = place(c, &t, z, y, x);
        if (best < 0 || in[at * step] > in[best * step]) best = at;
    }
    if (best >= 0) din[best * step] += slope;
}

/* As the forward kernel counts: taps on the input, or up to the end of the padding. */
static int64_t count(const struct op_window *w, const struct conv *c, const struct taps *t) {
    int64_t n = 1;
    for (int a = 0; a < OP_SPATIAL; a++) {
        const int64_t room = c->in[a] + w->pad_end[a] - t->start[a], d = c->dilation[a];
        int64_t all = room <= 0 ? 0 : (room + d - 1) / d;
        if (all > c->kernel[a]) all = c->kernel[a];
        n *= w->count_include_pad ? all : t->end[a] > t->first[a] ? t->end[a] - t->first[a] : 0;
    }
    return n > 0 ? n : 1;
}

static void mean_place(const struct op_window *w, const struct conv *c, int64_t p, int64_t step, float slope,
                       float *din) {
    const struct taps t = taps_at(c, p);
    const float each = slope / (float)count(w, c, &t);
    EACH_TAP(t) din[place(c, &t, z, y, x) * step] += each;
}

static void run(const struct gradient_call *call, bool mean) {
    const struct op_window *w = &call->step->params.window;
    const struct spread_shape in = spread_of(call->in[0].t), out = spread_of(call->out.t);
    struct conv c;
    conv_describe(w, &call->in[0].t->shape, &call->out.t->shape, &c);
    for (uint32_t i = 0; i < call->n_items; i++)
        for (int64_t n = 0; n < in.images; n++)
            for (int64_t k = 0; k < in.channels; k++) {
                const float *x = view_item(&call->in[0], i) + spread_at(&in, n, k),
                            *slope = view_item(&call->dout, i) + spread_at(&out, n, k);
                float *to = view_item(&call->din[0], i) + spread_at(&in, n, k);
                for (int64_t p = 0; p < out.plane; p++, slope += out.step)
                    if (mean)
                        mean_place(w, &c, p, in.step, *slope, to);
                    else
                        max_place(&c, p, in.step, x, *slope, to);
            }
}

void gradient_of_max_pool(const struct gradient_call *c) {
    run(c, false);
}
void gradient_of_average_pool(const struct gradient_call *c) {
    run(c, true);
}

void gradient_of_global_average_pool(const struct gradient_call *call) {
    const struct spread_shape in = spread_of(call->in[0].t), out = spread_of(call->out.t);
    for (uint32_t i = 0; i < call->n_items; i++)
        for (int64_t n = 0; n < in.images; n++)
            for (int64_t k = 0; k < in.channels; k++) {
                const float each = view_item(&call->dout, i)[spread_at(&out, n, k)] / (float)in.plane;
                float *to = view_item(&call->din[0], i) + spread_at(&in, n, k);
                for (int64_t p = 0; p < in.plane; p++) to[p * in.step] += each;
            }
}
