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

/* Input columns of one phase: j * stride + shift for j in [lo, hi); the rest is padding. */
struct span {
    int64_t shift, lo, hi;
};

static struct span span_of(const struct plane *p, int64_t phase) {
    const struct conv *c = p->c;
    const int64_t s = c->stride[2], w = c->in[2], length = p->phases.length;
    struct span r = {.shift = phase - c->pad[2]};
    r.lo = r.shift >= 0 ? 0 : (-r.shift + s - 1) / s;
    r.hi = r.shift >= w ? 0 : (w - r.shift + s - 1) / s;
    if (r.hi > length) r.hi = length;
    if (r.hi < r.lo) r.hi = r.lo;
    return r;
}

/* Padding is zeroed here, once for all channels: they fill the same places. */
static void plane_prepare(struct plane *p, const struct conv *c, float *scratch) {
    p->c = c;
    p->phases = conv_phases_of(c);
    p->rows = scratch;
    memset(scratch, 0, (size_t)(c->in[1] * p->phases.row) * sizeof *scratch);
    for (int64_t kx = 0; kx < c->kernel[2]; kx++) {
        const int64_t at = kx * c->dilation[2];
        p->tap_at[kx] = at % c->stride[2] * p->phases.length + at / c->stride[2];
    }
}

SIMD_CLONES static void plane_load(const struct plane *p, const float *x) {
    const struct conv *c = p->c;
    const int64_t s = c->stride[2];
    for (int64_t phase = 0; phase < s; phase++) {
        const struct span r = span_of(p, phase);
        if (r.hi == r.lo) continue;
        float *to = p->rows + phase * p->phases.length + r.lo;
        const float *from = x + r.lo * s + r.shift;
        for (int64_t y = 0; y < c->in[1]; y++, to += p->phases.row, from += c->in[2])
            if (s == 1)
                memcpy(to, from, (size_t)(r.hi - r.lo) * sizeof *to);
            else
                simd_gather(from, s, to, r.hi - r.lo);
    }
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
    SIMD_EACH(j) strip[j] = simd_clip(strip[j], r->lo, r->hi);
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

/* The part of the window above output row `y` that lies on the plane. */
SIMD_INLINE void set_lines(struct row *r, const struct plane *p, const float *filter, int64_t y) {
    const struct conv *c = p->c;
    const int64_t top = y * c->stride[1] - c->pad[1], d = c->dilation[1];
    int64_t first = 0, end = c->kernel[1];
    while (first < end && top + first * d < 0) first++;
    while (end > first && top + (end - 1) * d >= c->in[1]) end--;
    r->height = end - first;
    if (first == end) return;
    r->lines = p->rows + (top + first * d) * p->phases.row;
    r->line_step = d * p->phases.row;
    r->filter = filter + first * c->kernel[2];
}

/* `r` by value: a copy of its own, which stores through `out` can't change, stays in registers. */
SIMD_INLINE void convolve_rows(struct row r, const struct plane *p, const float *filter, int64_t width) {
    int64_t tap_at[CONV_DEPTHWISE_MAX_WIDTH];
    for (int64_t kx = 0; kx < width; kx++) tap_at[kx] = p->tap_at[kx];
    r.tap_at = tap_at;
    for (int64_t y = 0; y < p->c->out[1]; y++) {
        set_lines(&r, p, filter, y);
        convolve_width(&r, width);
        r.out += r.count;
        if (r.residual) r.residual += r.count;
    }
}

/* One filter over the plane; the usual widths as constants, so that their taps are unrolled.
 * `r` comes with its first row's residual and output. */
SIMD_CLONES static void convolve_plane(const struct row *r, const struct plane *p, const float *filter) {
    if (p->c->kernel[2] == 3)
        convolve_rows(*r, p, filter, 3);
    else if (p->c->kernel[2] == 5)
        convolve_rows(*r, p, filter, 5);
    else
        convolve_rows(*r, p, filter, p->c->kernel[2]);
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
                    .residual = residual,
                    .out = out,
                    .count = c->out[2],
                    .bias = bias ? view_item(bias, item)[filter] : 0,
                    .lo = b.lo,
                    .hi = b.hi};
    convolve_plane(&r, p, view_item(&call->in[1], 0) + filter * c->window);
    bounds_finish(&b, out, c->out_plane);
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
