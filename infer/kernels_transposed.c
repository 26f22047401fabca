/* ConvTranspose, plainly: each input row is added, tap by tap, to the output rows it is spread over. */
#include "infer/kernels_all.h"

#include <string.h>

struct transposed {
    int64_t images, channels, filters, group_channels, group_filters;
    int64_t in[OP_SPATIAL], out[OP_SPATIAL], in_plane, out_plane, taps;
    const struct op_window *w;
};

static void describe(const struct kernel_call *c, struct transposed *t) {
    const struct shape *x = &c->in[0].t->shape, *out = &c->out.t->shape;
    t->w = &c->step->params.conv_transpose.window;
    t->images = x->dim[0];
    t->channels = x->dim[1];
    t->filters = out->dim[1];
    t->group_channels = t->channels / t->w->groups;
    t->group_filters = t->filters / t->w->groups;
    t->in_plane = t->out_plane = t->taps = 1;
    for (int a = 0; a < OP_SPATIAL; a++) {
        const int s = a - (OP_SPATIAL - t->w->spatial);
        t->in[a] = s < 0 ? 1 : x->dim[2 + s];
        t->out[a] = s < 0 ? 1 : out->dim[2 + s];
        t->in_plane *= t->in[a];
        t->out_plane *= t->out[a];
        t->taps *= t->w->kernel[a];
    }
}

/* out[x * stride + shift] += weight * in[x], as far as that lies inside. */
static void spread_row(const float *restrict in, int64_t n, float weight, float *restrict out, int64_t n_out,
                       int64_t stride, int64_t shift) {
    const int64_t first = shift < 0 ? (-shift + stride - 1) / stride : 0;
    int64_t end = n_out > shift ? (n_out - shift + stride - 1) / stride : 0;
    if (end > n) end = n;
    for (int64_t x = first; x < end; x++) out[x * stride + shift] += weight * in[x];
}

static void spread_plane(const struct transposed *t, const float *in, const float *weight, float *out) {
    const struct op_window *w = t->w;
    for (int64_t tap = 0; tap < t->taps; tap++) {
        const int64_t kx = tap % w->kernel[2], ky = tap / w->kernel[2] % w->kernel[1],
                      kz = tap / w->kernel[2] / w->kernel[1];
        for (int64_t z = 0; z < t->in[0]; z++)
            for (int64_t y = 0; y < t->in[1]; y++) {
                const int64_t oz = z * w->stride[0] + kz * w->dilation[0] - w->pad_begin[0];
                const int64_t oy = y * w->stride[1] + ky * w->dilation[1] - w->pad_begin[1];
                if (oz < 0 || oz >= t->out[0] || oy < 0 || oy >= t->out[1]) continue;
                spread_row(in + (z * t->in[1] + y) * t->in[2], t->in[2], weight[tap],
                           out + (oz * t->out[1] + oy) * t->out[2], t->out[2], w->stride[2],
                           kx * w->dilation[2] - w->pad_begin[2]);
            }
    }
}

static void run_image(const struct transposed *t, const float *x, const float *weight, const float *bias,
                      float *out) {
    for (int64_t m = 0; m < t->filters; m++) {
        float *plane = out + m * t->out_plane;
        const int64_t group = m / t->group_filters;
        for (int64_t i = 0; i < t->out_plane; i++) plane[i] = bias ? bias[m] : 0;
        for (int64_t k = 0; k < t->group_channels; k++) {
            const int64_t c = group * t->group_channels + k;
            spread_plane(t, x + c * t->in_plane,
                         weight + (c * t->group_filters + m % t->group_filters) * t->taps, plane);
        }
    }
}

void kernel_conv_transpose(const struct kernel_call *c) {
    const struct view *bias = kernel_input(c, 2);
    struct transposed t;
    describe(c, &t);
    for (uint32_t i = 0; i < c->n_items; i++)
        for (int64_t n = 0; n < t.images; n++)
            run_image(&t, view_item(&c->in[0], i) + n * t.channels * t.in_plane, view_item(&c->in[1], i),
                      bias ? view_item(bias, i) : NULL, view_item(&c->out, i) + n * t.filters * t.out_plane);
}
