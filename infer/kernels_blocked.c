/* Operators over blocked tensors that are no convolutions: reordering, pools,
 * sums and products, scale and shift. A vector is one pixel of 16 channels. */
#include "infer/kernels_blocked.h"

#include "infer/conv.h"
#include "infer/kernels_epilogue.h"
#include "infer/layout.h"
#include "infer/simd.h"

#include <math.h>
#include <string.h>

#define LANES LAYOUT_LANES

/* --- from one layout to the other ----------------------------------------------------------- */

/* to: [16] side by side from 16 planes, of which `channels` exist. */
SIMD_CLONES static void block_planes(const float *from, int64_t channels, int64_t plane, float *to) {
    if (channels == LANES) {
        for (int64_t p = 0; p < plane; p++)
            for (int j = 0; j < LANES; j++) to[p * LANES + j] = from[j * plane + p];
        return;
    }
    for (int64_t p = 0; p < plane; p++)
        for (int64_t j = 0; j < LANES; j++) to[p * LANES + j] = j < channels ? from[j * plane + p] : 0;
}

SIMD_CLONES static void unblock_planes(const float *from, int64_t channels, int64_t plane, float *to) {
    for (int64_t j = 0; j < channels; j++)
        for (int64_t p = 0; p < plane; p++) to[j * plane + p] = from[p * LANES + j];
}

void kernel_reorder(const struct kernel_call *c) {
    const struct shape *s = &c->out.t->shape;
    const int64_t plane = s->dim[2] * s->dim[3], channels = s->dim[1];
    const bool to_blocks = c->out.t->layout == LAYOUT_BLOCKED;
    for (uint32_t i = 0; i < c->n_items; i++) {
        const float *from = view_item(&c->in[0], i);
        float *to = view_item(&c->out, i);
        for (int64_t image = 0; image < s->dim[0]; image++)
            for (int64_t at = 0; at < channels; at += LANES) {
                const int64_t n = channels - at < LANES ? channels - at : LANES;
                (to_blocks ? block_planes : unblock_planes)(from, n, plane, to);
                from += (to_blocks ? n : LANES) * plane;
                to += (to_blocks ? LANES : n) * plane;
            }
    }
}

/* --- pools ------------------------------------------------------------------------------------ */

struct window {                  /* the taps of one output pixel that lie on the plane */
    int64_t y, x, rows, columns; /* first, and how many */
    float divisor;
};

static void taps_inside(const struct conv *c, int a, int64_t start, int64_t *first, int64_t *count) {
    const int64_t d = c->dilation[a], skip = start < 0 ? (-start + d - 1) / d : 0;
    int64_t end = start >= c->in[a] ? 0 : (c->in[a] - start + d - 1) / d;
    if (end > c->kernel[a]) end = c->kernel[a];
    *first = start + skip * d;
    *count = end > skip ? end - skip : 0;
}

/* What a mean divides by along an axis: see kernels_pool.c. */
static int64_t taps_counted(const struct op_window *w, const struct conv *c, int a, int64_t start,
                            int64_t inside) {
    if (!w->count_include_pad) return inside;
    const int64_t room = c->in[a] + w->pad_end[a] - start, d = c->dilation[a];
    const int64_t end = room <= 0 ? 0 : (room + d - 1) / d;
    return end < c->kernel[a] ? end : c->kernel[a];
}

SIMD_INLINE void max_window(const struct conv *c, const struct window *w, const float *plane, float *out) {
    float most[LANES];
    SIMD_EACH(j) most[j] = -INFINITY;
    for (int64_t i = 0; i < w->rows; i++)
        for (int64_t j = 0; j < w->columns; j++) {
            const float *x =
                plane + ((w->y + i * c->dilation[1]) * c->in[2] + w->x + j * c->dilation[2]) * LANES;
            SIMD_EACH(l) most[l] = x[l] > most[l] ? x[l] : most[l]; /* passes a NaN over */
        }
    memcpy(out, most, sizeof most);
}

SIMD_INLINE void mean_window(const struct conv *c, const struct window *w, const float *plane, float *out) {
    float sum[LANES] = {0};
    for (int64_t i = 0; i < w->rows; i++)
        for (int64_t j = 0; j < w->columns; j++) {
            const float *x =
                plane + ((w->y + i * c->dilation[1]) * c->in[2] + w->x + j * c->dilation[2]) * LANES;
            SIMD_EACH(l) sum[l] += x[l];
        }
    SIMD_EACH(l) out[l] = sum[l] / w->divisor;
}

SIMD_CLONES static void pool_block(bool mean, const struct op_window *p, const struct conv *c,
                                   const float *plane, float *out) {
    struct window w;
    for (int64_t oy = 0; oy < c->out[1]; oy++) {
        const int64_t y = oy * c->stride[1] - c->pad[1];
        taps_inside(c, 1, y, &w.y, &w.rows);
        const int64_t high = taps_counted(p, c, 1, y, w.rows);
        for (int64_t ox = 0; ox < c->out[2]; ox++, out += LANES) {
            const int64_t x = ox * c->stride[2] - c->pad[2];
            taps_inside(c, 2, x, &w.x, &w.columns);
            w.divisor = (float)(high * taps_counted(p, c, 2, x, w.columns));
            if (mean)
                mean_window(c, &w, plane, out);
            else
                max_window(c, &w, plane, out);
        }
    }
}

struct pool { /* one call */
    const struct kernel_call *call;
    struct conv c;
    bool mean;
};

/* A block of an image of an item; the same in what follows. */
static void pool_part(const void *work, uint32_t part, uint32_t hand) {
    const struct pool *p = work;
    const int64_t blocks = p->c.images * layout_blocks(p->c.channels), b = part % blocks;
    const uint32_t item = (uint32_t)(part / blocks);
    (void)hand;
    pool_block(p->mean, &p->call->step->params.window, &p->c,
               view_item(&p->call->in[0], item) + b * p->c.in_plane * LANES,
               view_item(&p->call->out, item) + b * p->c.out_plane * LANES);
}

void kernel_blocked_pool(const struct kernel_call *call, bool mean) {
    struct pool p = {.call = call, .mean = mean};
    conv_describe(&call->step->params.window, &call->in[0].t->shape, &call->out.t->shape, &p.c);
    team_run_all(call->seat, pool_part, &p, call->n_items * p.c.images * layout_blocks(p.c.channels));
}

/* In chunks, so that a large plane's sum loses no more than a small one's. */
SIMD_CLONES static void mean_block(const float *x, int64_t plane, float *out) {
    double sum[LANES] = {0};
    for (int64_t done = 0; done < plane;) {
        const int64_t end = plane - done < 64 ? plane : done + 64;
        float part[LANES] = {0};
        for (; done < end; done++) SIMD_EACH(j) part[j] += x[done * LANES + j];
        for (int j = 0; j < LANES; j++) sum[j] += (double)part[j];
    }
    for (int j = 0; j < LANES; j++) out[j] = (float)(sum[j] / (double)plane);
}

static int64_t blocks_of(const struct shape *s) {
    return s->dim[0] * layout_blocks(s->dim[1]);
}

static void mean_part(const void *work, uint32_t part, uint32_t hand) {
    const struct kernel_call *c = work;
    const struct shape *s = &c->in[0].t->shape;
    const int64_t blocks = blocks_of(s), plane = s->dim[2] * s->dim[3], b = part % blocks;
    const uint32_t item = (uint32_t)(part / blocks);
    (void)hand;
    mean_block(view_item(&c->in[0], item) + b * plane * LANES, plane, view_item(&c->out, item) + b * LANES);
}

void kernel_blocked_mean(const struct kernel_call *c) {
    team_run_all(c->seat, mean_part, c, c->n_items * blocks_of(&c->in[0].t->shape));
}

/* --- elementwise ------------------------------------------------------------------------------- */

/* out[p] = bounded(x[p] * scale + shift), channel by channel. */
SIMD_CLONES static void scale_pixels(const float *x, float *out, int64_t plane, const float *scale,
                                     const float *shift, const struct bounds *b) {
    for (int64_t p = 0; p < plane * LANES; p += LANES)
        SIMD_EACH(j) out[p + j] = simd_clip(x[p + j] * scale[j] + shift[j], b->lo, b->hi);
}

static void scale_block(const float *x, float *out, int64_t plane, const float *scale, const float *shift,
                        const struct bounds *b) {
    scale_pixels(x, out, plane, scale, shift, b);
    bounds_finish(b, out, plane * LANES);
}

static void load_lanes(const float *from, int64_t left, float lanes[LANES]) {
    memset(lanes, 0, LANES * sizeof *lanes);
    memcpy(lanes, from, (size_t)(left < LANES ? left : LANES) * sizeof *lanes);
}

static void norm_part(const void *work, uint32_t part, uint32_t hand) {
    const struct kernel_call *c = work;
    const struct shape *s = &c->out.t->shape;
    const struct bounds bounds = bounds_of(c->step);
    const int64_t all = blocks_of(s), plane = s->dim[2] * s->dim[3], b = part % all;
    const int64_t channel = b % layout_blocks(s->dim[1]) * LANES, left = s->dim[1] - channel;
    const uint32_t item = (uint32_t)(part / all);
    float scale[LANES], shift[LANES];
    (void)hand;
    load_lanes(view_item(&c->in[1], item) + channel, left, scale);
    load_lanes(view_item(&c->in[2], item) + channel, left, shift);
    scale_block(view_item(&c->in[0], item) + b * plane * LANES, view_item(&c->out, item) + b * plane * LANES,
                plane, scale, shift, &bounds);
}

void kernel_blocked_batch_norm(const struct kernel_call *c) {
    team_run_all(c->seat, norm_part, c, c->n_items * blocks_of(&c->out.t->shape));
}

struct per_channel { /* one call */
    const struct kernel_call *call;
    uint32_t wide; /* the operand that has whole planes */
    bool product;
};

static void per_channel_part(const void *work, uint32_t part, uint32_t hand) {
    static const float zero[LANES], one[LANES] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const struct per_channel *p = work;
    const struct shape *s = &p->call->out.t->shape;
    const struct bounds bounds = bounds_of(p->call->step);
    const int64_t blocks = blocks_of(s), plane = s->dim[2] * s->dim[3], b = part % blocks;
    const uint32_t item = (uint32_t)(part / blocks);
    const float *number = view_item(&p->call->in[1 - p->wide], item) + b * LANES;
    (void)hand;
    scale_block(view_item(&p->call->in[p->wide], item) + b * plane * LANES,
                view_item(&p->call->out, item) + b * plane * LANES, plane, p->product ? number : one,
                p->product ? zero : number, &bounds);
}

/* One operand has one number per channel; the other, and the output, whole planes. */
void kernel_blocked_per_channel(const struct kernel_call *c, bool product) {
    const struct shape *s = &c->out.t->shape;
    const struct per_channel p = {c, shape_equal(&c->in[0].t->shape, s) ? 0 : 1, product};
    team_run_all(c->seat, per_channel_part, &p, c->n_items * blocks_of(s));
}
