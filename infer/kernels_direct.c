/* Direct convolution of blocked tensors, and of a plain first one, tile by tile; with products of floats or
 * of bfloat16 (sums are floats).
 *
 *   per image and group: per band of output rows (conv_blocked.h):
 *     copy the band with zeros around it, where windows reach over an edge; as bfloat16, always
 *     per 1 or 2 blocks of filters: per row: per tile of up to 14 pixels
 *
 * A band is a part for a team; where there are few, some of its filters are, and smaller bands.
 *
 * Weights of the blocks and the band stay in the second-level cache; bias,
 * residual and activation meet the sums in registers. */
#include "infer/kernels_all.h"

#include "infer/conv_blocked.h"
#include "infer/kernels_bf16.h"
#include "infer/kernels_epilogue.h"
#include "infer/kernels_tile.h"

#include <string.h>

#define LANES LAYOUT_LANES

struct direct { /* one call */
    const struct kernel_call *call;
    uint32_t algorithm;
    struct conv c;
    struct conv_bands bands;
    struct bounds bounds;
    struct tile_limits limits;
    tile_fn (*find)(int blocks, int pixels, int64_t s);
    struct tile_leg legs[2]; /* whole blocks of channels; a last one that is not full */
    int n_legs;
    struct conv_span span;
    int64_t groups; /* 1 where they are not whole: then each block of filters finds its channels itself */
    int64_t depth;  /* rows of 16 weights of a block of filters */
    int64_t s;      /* floats (or words) from pixel to pixel along a row */
    int64_t in_planes, out_blocks, group_blocks; /* of one image; of one image; of one group */
    int64_t n_bands, splits;                     /* of an image; of a group's filters */
    float *scratch;                              /* of the hand that runs a part */
};

struct band { /* where its output rows find their input */
    const float *x;
    int64_t row_step, plane_step; /* floats */
    int64_t first, rows;
};

/* `channels` from plane `start` on. Planes lie `plane_step` apart and rows `row_step`. A window's columns
 * are one run of floats where nothing lies between them. */
static void set_legs(struct direct *d, int64_t start, int64_t channels, int64_t row_step,
                     int64_t plane_step) {
    const struct conv *c = &d->c;
    const int64_t lanes = d->bands.plane, words = d->bands.copy_plane, full = channels / lanes,
                  rest = channels % lanes;
    const int64_t down = c->dilation[1] * row_step, along = c->dilation[2] * words;
    const bool joined = c->dilation[2] == 1;
    d->n_legs = 0;
    if (full)
        d->legs[d->n_legs++] = (struct tile_leg){
            .at = start * plane_step,
            .n = {full, c->kernel[1], joined ? 1 : c->kernel[2]},
            .step = {plane_step, down, along},
            .run = joined ? c->kernel[2] * words : words,
        };
    if (rest)
        d->legs[d->n_legs++] = (struct tile_leg){
            .at = (start + full) * plane_step,
            .n = {1, c->kernel[1], c->kernel[2]},
            .step = {0, down, along},
            .run = words == lanes ? rest : (rest + 1) / 2,
        };
}

/* --- the band's copy ------------------------------------------------------------------------- */

static void copy_pixels(const struct direct *d, const float *from, int64_t n, int64_t channels, float *to) {
    if (d->algorithm == ALG_CONV_DIRECT_BF16)
        bf16_pack_pixels(from, n, channels, to);
    else
        memcpy(to, from, (size_t)(n * d->bands.plane) * sizeof *to);
}

static void copy_row(const struct direct *d, const float *from, bool there, int64_t channels, float *to) {
    const struct conv *c = &d->c;
    const int64_t words = d->bands.copy_plane, width = d->bands.in_width;
    int64_t left = c->pad[2] < width ? c->pad[2] : width, inside = width - left;
    if (inside > c->in[2]) inside = c->in[2];
    if (!there) left = width, inside = 0;
    memset(to, 0, (size_t)(left * words) * sizeof *to);
    copy_pixels(d, from, inside, channels, to + left * words);
    memset(to + (left + inside) * words, 0, (size_t)((width - left - inside) * words) * sizeof *to);
}

/* Channels of a plane that exist. */
static int64_t channels_of(const struct direct *d, int64_t plane) {
    const int64_t left = d->c.group_channels - plane * d->bands.plane;
    return left < d->bands.plane ? left : d->bands.plane;
}

static void copy_flat_band(const struct direct *d, const float *x, const struct band *b, float *to) {
    for (int64_t p = 0; p < d->bands.group_planes; p++)
        copy_pixels(d, x + (p * d->c.in_plane + b->first) * d->bands.plane, b->rows, channels_of(d, p),
                    to + p * b->plane_step);
}

static void copy_band(const struct direct *d, const float *x, const struct band *b, float *to) {
    const struct conv *c = &d->c;
    const int64_t row = c->in[2] * d->bands.plane, top = b->first * c->stride[1] - c->pad[1];
    const int64_t rows = (b->rows - 1) * c->stride[1] + (c->kernel[1] - 1) * c->dilation[1] + 1;
    for (int64_t p = 0; p < d->bands.group_planes; p++)
        for (int64_t y = 0; y < rows; y++) {
            const bool there = top + y >= 0 && top + y < c->in[1];
            copy_row(d, there ? x + p * c->in[1] * row + (top + y) * row : x, there, channels_of(d, p),
                     to + p * b->plane_step + y * b->row_step);
        }
}

static struct band start_band(struct direct *d, const float *x, int64_t first, int64_t rows) {
    const struct conv *c = &d->c;
    const int64_t lanes = d->bands.plane;
    struct band b = {
        .row_step = c->in[2] * lanes, .plane_step = c->in_plane * lanes, .first = first, .rows = rows};
    if (d->bands.copied) {
        b.row_step = d->bands.in_width * d->bands.copy_plane;
        b.plane_step = d->bands.in_rows * b.row_step;
        (d->bands.flat ? copy_flat_band : copy_band)(d, x, &b, d->scratch);
        b.x = d->scratch;
    } else {
        b.x = x + first * (d->bands.flat ? lanes : c->stride[1] * b.row_step);
    }
    set_legs(d, 0, c->group_channels, b.row_step, b.plane_step);
    return b;
}

/* --- tiles ------------------------------------------------------------------------------------- */

struct blocks { /* of filters, over one band */
    struct tile t;
    int n;
    const float *next;   /* weights of those that come after them */
    int64_t turn, turns; /* tiles so far, and in all */
};

static int64_t tiles_of(const struct direct *d, int64_t pixels) {
    return (pixels + d->limits.pixels - 1) / d->limits.pixels;
}

/* Pixels [from, to) of one row, in tiles of nearly equal width: their sums wait for each other less. */
static void run_row(const struct direct *d, struct blocks *b, const float *x, int64_t offset, int64_t from,
                    int64_t to, const float *residual, float *out) {
    const int64_t n = tiles_of(d, to - from);
    struct tile *t = &b->t;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = from + (to - from) * i / n, end = from + (to - from) * (i + 1) / n;
        t->x = x + at * d->s;
        t->out = out + (offset + at) * LANES;
        t->residual = residual ? residual + (offset + at) * LANES : NULL;
        tile_look_ahead(t, b->next, d->depth, b->turn++, b->turns);
        d->find(b->n, (int)(end - at), d->s)(t);
        for (int k = 0; d->bounds.function && k < b->n; k++)
            bounds_finish(&d->bounds, t->out + k * t->out_step, (end - at) * LANES);
    }
}

/* Of a block of filters in groups that are not whole. */
static void find_channels(struct direct *d, const struct band *b, int64_t block) {
    const struct conv *c = &d->c;
    const int64_t start = conv_span_start(&d->span, c->groups, c->group_channels, c->group_filters, block);
    const int64_t left = c->channels - start * LANES, most = d->span.blocks * LANES;
    set_legs(d, start, left < most ? left : most, b->row_step, b->plane_step);
}

/* Blocks [block, block + blocks) of filters, counted over all groups, of one band. */
static void run_blocks(struct direct *d, const struct band *b, uint32_t item, int64_t image, int64_t block,
                       int blocks) {
    const struct conv *c = &d->c;
    const struct view *bias = kernel_input(d->call, 2);
    const int64_t w_step = d->depth * LANES, step = c->out_plane * LANES;
    const int64_t at = (image * d->out_blocks + block) * step;
    const float *residual = d->call->residual.t ? view_item(&d->call->residual, item) + at : NULL;
    float lanes[TILE_MAX_BLOCKS * LANES] = {0}, *out = view_item(&d->call->out, item) + at;
    const int64_t left = c->filters - block * LANES;
    if (bias)
        memcpy(lanes, view_item(bias, item) + block * LANES,
               (size_t)(left < blocks * LANES ? left : blocks * LANES) * sizeof *lanes);
    if (!d->span.whole) find_channels(d, b, block);
    struct blocks f = {.t = {.s = d->s,
                             .legs = d->legs,
                             .n_legs = d->n_legs,
                             .w = view_item(&d->call->in[1], 0) + block * w_step,
                             .w_step = w_step,
                             .bias = lanes,
                             .out_step = step,
                             .bounded = d->bounds.any,
                             .lo = d->bounds.lo,
                             .hi = d->bounds.hi},
                       .n = blocks};
    f.next = f.t.w + blocks * w_step;
    f.turns = d->bands.flat ? tiles_of(d, b->rows) : b->rows * tiles_of(d, c->out[2]);
    if (d->bands.flat) {
        run_row(d, &f, b->x, b->first, 0, b->rows, residual, out);
        return;
    }
    for (int64_t y = 0; y < b->rows; y++)
        run_row(d, &f, b->x + y * c->stride[1] * b->row_step, (b->first + y) * c->out[2], 0, c->out[2],
                residual, out);
}

/* A part of the work: some of the blocks of filters of a group, over one band. */
struct part {
    uint32_t item;
    int64_t image, group, band, from, to; /* blocks */
};

static struct part part_of(const struct direct *d, int64_t index) {
    struct part p = {0};
    const int64_t split = index % d->splits, most = d->limits.blocks;
    const int64_t pairs = (d->group_blocks + most - 1) / most;
    p.from = pairs * split / d->splits * most;
    p.to = pairs * (split + 1) / d->splits * most;
    if (p.to > d->group_blocks) p.to = d->group_blocks;
    index /= d->splits;
    p.band = index % d->n_bands;
    index /= d->n_bands;
    p.group = index % d->groups;
    index /= d->groups;
    p.image = index % d->c.images;
    p.item = (uint32_t)(index / d->c.images);
    return p;
}

static void run_part(const void *work, uint32_t index, uint32_t hand) {
    struct direct d = *(const struct direct *)work;
    const struct part p = part_of(&d, index);
    const struct conv *c = &d.c;
    const float *x = view_item(&d.call->in[0], p.item) +
                     (p.image * d.in_planes + p.group * d.bands.group_planes) * c->in_plane * d.bands.plane;
    const int64_t end = d.bands.flat ? c->out_plane : c->out[1], first = p.band * d.bands.rows;
    d.scratch = kernel_scratch(d.call, hand);
    const struct band b = start_band(&d, x, first, end - first < d.bands.rows ? end - first : d.bands.rows);
    for (int64_t k = p.from; k < p.to; k += d.limits.blocks) {
        const int64_t left = p.to - k;
        run_blocks(&d, &b, p.item, p.image, p.group * d.group_blocks + k,
                   left < d.limits.blocks ? (int)left : d.limits.blocks);
    }
}

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* Bands by themselves where there are enough for all hands; else their filters are split, too; and where
 * these are too few, the bands are cut smaller, but not below some tiles or two rows. */
static void cut_parts(struct direct *d) {
    const int64_t wanted = team_parts(d->call->seat), images = d->groups * d->c.images * d->call->n_items;
    const int64_t end = d->bands.flat ? d->c.out_plane : d->c.out[1];
    const int64_t most = ceil_div(d->group_blocks, d->limits.blocks);
    d->n_bands = ceil_div(end, d->bands.rows);
    const int64_t splits = ceil_div(wanted, d->n_bands * images);
    d->splits = splits < most ? splits : most;
    if (d->n_bands * images * d->splits >= wanted) return;
    const int64_t unit = d->bands.flat ? 2 * d->limits.pixels : 2;
    const int64_t rows = ceil_div(ceil_div(end, ceil_div(wanted, images * d->splits)), unit) * unit;
    if (rows < d->bands.rows) d->bands.rows = rows;
    d->n_bands = ceil_div(end, d->bands.rows);
}

static void run(const struct kernel_call *call, uint32_t algorithm) {
    struct direct d = {.call = call, .algorithm = algorithm, .limits = tile_limits(), .find = tile_find};
    if (algorithm == ALG_CONV_DIRECT_BF16) {
        d.limits = (struct tile_limits){TILE_MAX_BLOCKS, TILE_MAX_PIXELS};
        d.find = tile_find_bf16;
    }
    conv_describe(&call->step->params.window, &call->in[0].t->shape, &call->out.t->shape, &d.c);
    conv_bands_of(algorithm, &d.c, &d.bands);
    d.bounds = bounds_of(call->step);
    d.span = conv_span_of(d.c.groups, d.c.group_channels, d.c.group_filters);
    if (!d.span.whole) d.limits.blocks = 1; /* the next one sees other channels */
    d.groups = d.span.whole ? d.c.groups : 1;
    d.depth = d.span.whole ? conv_blocked_depth(algorithm, d.c.group_channels, d.c.window)
                           : d.span.blocks * LANES * d.c.window;
    d.s = d.c.stride[2] * d.bands.copy_plane;
    d.in_planes = algorithm == ALG_CONV_FIRST ? d.c.channels : layout_blocks(d.c.channels);
    d.out_blocks = layout_blocks(d.c.filters);
    d.group_blocks = layout_blocks(d.c.filters / d.groups);
    cut_parts(&d);
    team_run_all(call->seat, run_part, &d, d.n_bands * d.groups * d.c.images * call->n_items * d.splits);
}

void kernel_conv_direct(const struct kernel_call *c) {
    run(c, ALG_CONV_DIRECT);
}
void kernel_conv_first(const struct kernel_call *c) {
    run(c, ALG_CONV_FIRST);
}
void kernel_conv_direct_bf16(const struct kernel_call *c) {
    run(c, ALG_CONV_DIRECT_BF16);
}
