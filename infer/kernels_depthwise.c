/* Depthwise convolution: every filter sees one channel, so there is no matrix
 * product in it, and it is done directly.
 *
 * A channel's plane is first copied into scratch with its padding, the columns
 * of each row sorted by phase (x % stride):
 *
 *   stride 2:   row y   | even columns … | odd columns … |
 *
 * Every tap of every output row then is a run of consecutive floats, whatever
 * the stride and dilation, and the inner loop has no edges. */
#include "infer/kernels_all.h"

#include "infer/conv.h"
#include "infer/kernels_epilogue.h"
#include "infer/simd.h"

#include <string.h>

struct plane { /* one channel, ready */
    const struct conv *c;
    struct conv_phases phases;
    float *rows;
    int64_t tap_at[CONV_DEPTHWISE_MAX_WIDTH]; /* of tap kx: offset within a row */
};

static void plane_prepare(struct plane *p, const struct conv *c, float *scratch) {
    p->c = c;
    p->phases = conv_phases_of(c);
    p->rows = scratch;
    for (int64_t kx = 0; kx < c->kernel[2]; kx++) {
        const int64_t at = kx * c->dilation[2];
        p->tap_at[kx] = at % c->stride[2] * p->phases.length + at / c->stride[2];
    }
}

/* Columns of phase `phase`: input column j * stride + phase - pad, or 0 outside. */
SIMD_INLINE void load_phase(const struct conv *c, const float *from, int64_t phase, float *to,
                            int64_t length) {
    const int64_t s = c->stride[2], w = c->in[2], shift = phase - c->pad[2];
    int64_t lo = shift >= 0 ? 0 : (-shift + s - 1) / s, hi = shift >= w ? 0 : (w - shift + s - 1) / s;
    lo = lo < length ? lo : length;
    hi = hi < length ? hi : length;
    hi = hi > lo ? hi : lo;
    for (int64_t j = 0; j < lo; j++) to[j] = 0;
    if (hi > lo && s == 1)
        memcpy(to + lo, from + lo + shift, (size_t)(hi - lo) * sizeof *to);
    else
        for (int64_t j = lo; j < hi; j++) to[j] = from[j * s + shift];
    for (int64_t j = hi; j < length; j++) to[j] = 0;
}

SIMD_CLONES static void plane_load(struct plane *p, const float *x) {
    const struct conv *c = p->c;
    for (int64_t y = 0; y < c->in[1]; y++)
        for (int64_t phase = 0; phase < c->stride[2]; phase++)
            load_phase(c, x + y * c->in[2], phase, p->rows + y * p->phases.row + phase * p->phases.length,
                       p->phases.length);
}

struct row {                     /* one output row of one filter */
    const float *lines, *filter; /* first row of the window that exists, and the filter's row for it */
    int64_t height, line_step;   /* how many of the window's rows exist; floats from one to the next */
    const int64_t *tap_at;
    const float *residual; /* of this row, or NULL; may be `out` */
    float *out;
    int64_t count; /* floats of the row */
    float bias, lo, hi;
};

SIMD_INLINE void strip_start(const struct row *r, int64_t at, simd_f *sum) {
    simd_f residual = {0};
    if (r->residual) {
        const int64_t left = r->count - at;
        if (left >= SIMD_LANES)
            residual = *(const simd_f_at *)(r->residual + at);
        else
            memcpy(&residual, r->residual + at, (size_t)left * sizeof(float));
    }
    *sum = residual + r->bias;
}

SIMD_INLINE void strip_finish(const struct row *r, int64_t at, const simd_f *sum) {
    float strip[SIMD_LANES];
    memcpy(strip, sum, sizeof strip);
    for (int j = 0; j < SIMD_LANES; j++) strip[j] = simd_clip(strip[j], r->lo, r->hi);
    const int64_t left = r->count - at;
    if (left >= SIMD_LANES)
        memcpy(r->out + at, strip, sizeof strip);
    else
        memcpy(r->out + at, strip, (size_t)left * sizeof strip[0]);
}

/* Two strips per pass: each weight is loaded once for both, and their sums do not wait for each other. */
SIMD_INLINE void convolve_pair(const struct row *r, int64_t width, int64_t at) {
    simd_f a, b;
    strip_start(r, at, &a);
    strip_start(r, at + SIMD_LANES, &b);
    for (int64_t ky = 0; ky < r->height; ky++) {
        const float *line = r->lines + ky * r->line_step + at, *w = r->filter + ky * width;
        for (int64_t kx = 0; kx < width; kx++) {
            const float *x = line + r->tap_at[kx];
            a += *(const simd_f_at *)x * w[kx];
            b += *(const simd_f_at *)(x + SIMD_LANES) * w[kx];
        }
    }
    strip_finish(r, at, &a);
    strip_finish(r, at + SIMD_LANES, &b);
}

SIMD_INLINE void convolve_strip(const struct row *r, int64_t width, int64_t at) {
    simd_f a;
    strip_start(r, at, &a);
    for (int64_t ky = 0; ky < r->height; ky++) {
        const float *line = r->lines + ky * r->line_step + at, *w = r->filter + ky * width;
        for (int64_t kx = 0; kx < width; kx++) a += *(const simd_f_at *)(line + r->tap_at[kx]) * w[kx];
    }
    strip_finish(r, at, &a);
}

SIMD_INLINE void convolve_width(const struct row *r, int64_t width) {
    int64_t at = 0;
    for (; at + SIMD_LANES < r->count; at += 2 * SIMD_LANES) convolve_pair(r, width, at);
    for (; at < r->count; at += SIMD_LANES) convolve_strip(r, width, at);
}

/* The usual widths as constants, so that their taps are unrolled. */
SIMD_CLONES static void convolve_row(const struct row *r, int64_t width) {
    if (width == 3)
        convolve_width(r, 3);
    else if (width == 5)
        convolve_width(r, 5);
    else
        convolve_width(r, width);
}

/* The part of the window above output row `y` that lies on the plane. */
static void set_lines(struct row *r, const struct plane *p, const float *filter, int64_t y) {
    const struct conv *c = p->c;
    const int64_t top = y * c->stride[1] - c->pad[1], d = c->dilation[1];
    const int64_t skip = top < 0 ? (-top + d - 1) / d : 0;
    int64_t end = top >= c->in[1] ? 0 : (c->in[1] - top + d - 1) / d;
    if (end > c->kernel[1]) end = c->kernel[1];
    r->height = 0;
    if (end <= skip) return;
    r->height = end - skip;
    r->lines = p->rows + (top + skip * d) * p->phases.row;
    r->line_step = d * p->phases.row;
    r->filter = filter + skip * c->kernel[2];
}

static void run_filter(const struct kernel_call *call, const struct plane *p, uint32_t item, int64_t image,
                       int64_t filter) {
    const struct conv *c = p->c;
    const struct view *bias = kernel_input(call, 2);
    const struct bounds b = bounds_of(call->step);
    const int64_t at = (image * c->filters + filter) * c->out_plane;
    const float *residual = call->residual.t ? view_item(&call->residual, item) + at : NULL;
    float *out = view_item(&call->out, item) + at;
    struct row r = {.tap_at = p->tap_at,
                    .count = c->out[2],
                    .bias = bias ? view_item(bias, item)[filter] : 0,
                    .lo = b.lo,
                    .hi = b.hi};
    for (int64_t y = 0; y < c->out[1]; y++) {
        set_lines(&r, p, view_item(&call->in[1], 0) + filter * c->window, y);
        r.out = out + y * r.count;
        r.residual = residual ? residual + y * r.count : NULL;
        convolve_row(&r, c->kernel[2]);
    }
}

void kernel_conv_depthwise(const struct kernel_call *call) {
    struct conv c;
    struct plane p;
    conv_describe(&call->step->params.window, &call->in[0].t->shape, &call->out.t->shape, &c);
    plane_prepare(&p, &c, call->scratch);
    for (uint32_t item = 0; item < call->n_items; item++)
        for (int64_t plane = 0; plane < c.images * c.channels; plane++) {
            const int64_t image = plane / c.channels, channel = plane % c.channels;
            plane_load(&p, view_item(&call->in[0], item) + plane * c.in_plane);
            for (int64_t f = 0; f < c.group_filters; f++)
                run_filter(call, &p, item, image, channel * c.group_filters + f);
        }
}
