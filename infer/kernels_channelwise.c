/* Depthwise convolution of blocked tensors: a vector holds one pixel of 16
 * channels, and every channel has its own filter, so there is nothing to
 * broadcast and nothing to sort.
 *
 *   per block of 16 channels: per band of output rows:
 *     copy the band with zeros around it, where windows reach over an edge
 *     per row: 8 pixels at a time, each tap one multiply-add */
#include "infer/kernels_all.h"

#include "infer/conv_blocked.h"
#include "infer/kernels_epilogue.h"
#include "infer/simd_levels.h"

#include <string.h>

#define CHANNELWISE_PIXELS 8

struct channelwise { /* one output row of one block */
    const float *x;  /* first float of the window of its first pixel */
    const float *w, *bias;
    int64_t height, width, stride, dilation, line_step; /* taps; floats from window row to window row */
    const float *residual;                              /* or NULL; may be out */
    float *out;
    int64_t count; /* pixels */
    bool bounded;
    float lo, hi;
};

#define LEVEL(name) name##_128
#define LEVEL_TARGET
#define LEVEL_BYTES 16
#include "infer/kernels_channelwise_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES

#if defined(__x86_64__)
#define LEVEL(name)  name##_256
#define LEVEL_TARGET SIMD_TARGET_256
#define LEVEL_BYTES  32
#include "infer/kernels_channelwise_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES

#define LEVEL(name)  name##_512
#define LEVEL_TARGET SIMD_TARGET_512
#define LEVEL_BYTES  64
#include "infer/kernels_channelwise_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES
#endif

typedef void (*row_fn)(const struct channelwise *r);

static row_fn find_row(void) {
#if defined(__x86_64__)
    if (simd_level() == SIMD_512) return channelwise_row_512;
    if (simd_level() == SIMD_256) return channelwise_row_256;
#endif
    return channelwise_row_128;
}

struct depthwise { /* one call */
    const struct kernel_call *call;
    struct conv c;
    struct conv_bands bands;
    struct bounds bounds;
    row_fn row;
    int64_t cuts;   /* parts of a block, each some of its rows */
    float *scratch; /* of the hand that runs a part */
};

/* Input rows [top, top + rows) of one block, zeros where there are none. */
static void copy_band(const struct depthwise *d, const float *x, int64_t top, int64_t rows, float *to) {
    const struct conv *c = &d->c;
    const int64_t width = d->bands.in_width, left = c->pad[2] < width ? c->pad[2] : width;
    const int64_t inside = width - left < c->in[2] ? width - left : c->in[2], right = width - left - inside;
    for (int64_t y = top; y < top + rows; y++, to += width * LAYOUT_LANES) {
        if (y < 0 || y >= c->in[1]) {
            memset(to, 0, (size_t)(width * LAYOUT_LANES) * sizeof *to);
            continue;
        }
        memset(to, 0, (size_t)(left * LAYOUT_LANES) * sizeof *to);
        memcpy(to + left * LAYOUT_LANES, x + y * c->in[2] * LAYOUT_LANES,
               (size_t)(inside * LAYOUT_LANES) * sizeof *to);
        memset(to + (left + inside) * LAYOUT_LANES, 0, (size_t)(right * LAYOUT_LANES) * sizeof *to);
    }
}

static void run_band(const struct depthwise *d, struct channelwise *r, const float *x, const float *residual,
                     float *out, int64_t first, int64_t rows) {
    const struct conv *c = &d->c;
    const int64_t width = d->bands.copied ? d->bands.in_width : c->in[2], row = width * LAYOUT_LANES;
    const int64_t top = first * c->stride[1] - c->pad[1];
    const float *from = x + top * row;
    if (d->bands.copied) {
        copy_band(d, x, top, (rows - 1) * c->stride[1] + (c->kernel[1] - 1) * c->dilation[1] + 1, d->scratch);
        from = d->scratch;
    }
    r->line_step = c->dilation[1] * row;
    for (int64_t y = 0; y < rows; y++) {
        const int64_t at = (first + y) * c->out[2] * LAYOUT_LANES;
        r->x = from + y * c->stride[1] * row;
        r->out = out + at;
        r->residual = residual ? residual + at : NULL;
        d->row(r);
        bounds_finish(&d->bounds, r->out, c->out[2] * LAYOUT_LANES);
    }
}

/* Output rows [from, to) of a block. */
static void run_block(const struct depthwise *d, uint32_t item, int64_t image, int64_t block, int64_t from,
                      int64_t to) {
    const struct conv *c = &d->c;
    const struct view *bias = kernel_input(d->call, 2);
    const int64_t index = image * layout_blocks(c->channels) + block,
                  left = c->channels - block * LAYOUT_LANES;
    const int64_t at = index * c->out_plane * LAYOUT_LANES;
    const float *x = view_item(&d->call->in[0], item) + index * c->in_plane * LAYOUT_LANES;
    float lanes[LAYOUT_LANES] = {0};
    if (bias)
        memcpy(lanes, view_item(bias, item) + block * LAYOUT_LANES,
               (size_t)(left < LAYOUT_LANES ? left : LAYOUT_LANES) * sizeof *lanes);
    struct channelwise r = {.w = view_item(&d->call->in[1], 0) + block * c->window * LAYOUT_LANES,
                            .bias = lanes,
                            .height = c->kernel[1],
                            .width = c->kernel[2],
                            .stride = c->stride[2],
                            .dilation = c->dilation[2],
                            .count = c->out[2],
                            .bounded = d->bounds.any,
                            .lo = d->bounds.lo,
                            .hi = d->bounds.hi};
    for (int64_t first = from, rows; first < to; first += rows) {
        rows = to - first < d->bands.rows ? to - first : d->bands.rows;
        run_band(d, &r, x, d->call->residual.t ? view_item(&d->call->residual, item) + at : NULL,
                 view_item(&d->call->out, item) + at, first, rows);
    }
}

static void run_part(const void *work, uint32_t part, uint32_t hand) {
    struct depthwise d = *(const struct depthwise *)work;
    const int64_t blocks = layout_blocks(d.c.channels), cut = part % d.cuts, index = part / d.cuts,
                  image = index / blocks;
    d.scratch = kernel_scratch(d.call, hand);
    run_block(&d, (uint32_t)(image / d.c.images), image % d.c.images, index % blocks,
              d.c.out[1] * cut / d.cuts, d.c.out[1] * (cut + 1) / d.cuts);
}

void kernel_conv_channelwise(const struct kernel_call *call) {
    struct depthwise d = {.call = call, .bounds = bounds_of(call->step), .row = find_row()};
    conv_describe(&call->step->params.window, &call->in[0].t->shape, &call->out.t->shape, &d.c);
    conv_bands_of(ALG_CONV_CHANNELWISE, &d.c, &d.bands);
    const int64_t blocks = call->n_items * d.c.images * layout_blocks(d.c.channels);
    const int64_t cuts = (team_parts(call->seat) + blocks - 1) / blocks, most = (d.c.out[1] + 3) / 4;
    d.cuts = cuts < most ? cuts : most; /* of four rows at least */
    team_run_all(call->seat, run_part, &d, blocks * d.cuts);
}
