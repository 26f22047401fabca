/* Geometry of the blocked convolutions; see conv_blocked.h. */
#include "infer/conv_blocked.h"
#include "infer/simd_levels.h"

#define LANES LAYOUT_LANES
/* Input of a band: a quarter of a second-level cache of 1 MiB. Large weights are read from memory once per
 * band, so there the bands are larger, where that cache is: what has AVX-512 has 1 or 2 MiB of it, others 256
 * or 512 KiB (ResNet-50 on such a one: 6 to 12 % slower with the large bands). */
#define BAND_FLOATS        (64 * 1024)
#define BAND_FLOATS_LARGE  (256 * 1024)
#define LARGE_WEIGHTS      (192 * 1024)
#define BAND_PIXELS        56 /* a flat band has a multiple of this: four tiles of 14 */
#define BAND_MAX_FLOATS    (16 * 1024 * 1024)
#define FIRST_MAX_CHANNELS 8
#define SPAN_MOST          8 /* products for one that counts */
/* Transformed tiles of a chunk and their products; see chunk_of. */
#define CHUNK_FLOATS     (160 * 1024)
#define CHUNK_MAX_FLOATS (2 * 1024 * 1024)
#define CHUNK_TILES      14

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}
static int64_t at_least(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static int64_t at_most(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* --- groups ----------------------------------------------------------------------------------- */

struct range {
    int64_t first, end; /* blocks of channels */
};

static struct range seen_by(int64_t group_channels, int64_t group_filters, int64_t filters, int64_t block) {
    const int64_t last = at_most(block * LANES + LANES, filters) - 1;
    const int64_t from = block * LANES / group_filters * group_channels,
                  to = (last / group_filters + 1) * group_channels;
    return (struct range){from / LANES, ceil_div(to, LANES)};
}

struct conv_span conv_span_of(int64_t groups, int64_t group_channels, int64_t group_filters) {
    struct conv_span s = {groups == 1 || (group_channels % LANES == 0 && group_filters % LANES == 0),
                          layout_blocks(group_channels)};
    const int64_t filters = groups * group_filters;
    for (int64_t block = 0; !s.whole && block < layout_blocks(filters); block++) {
        const struct range r = seen_by(group_channels, group_filters, filters, block);
        s.blocks = at_least(s.blocks, r.end - r.first);
    }
    return s;
}

int64_t conv_span_start(const struct conv_span *s, int64_t groups, int64_t group_channels,
                        int64_t group_filters, int64_t block) {
    const struct range r = seen_by(group_channels, group_filters, groups * group_filters, block);
    return at_most(r.first, layout_blocks(groups * group_channels) - s->blocks);
}

static struct conv_span span_of(const struct conv *c) {
    return conv_span_of(c->groups, c->group_channels, c->group_filters);
}

/* --- bands ------------------------------------------------------------------------------------ */

static bool is_flat(const struct conv *c) {
    for (int d = 1; d < OP_SPATIAL; d++)
        if (c->kernel[d] != 1 || c->stride[d] != 1 || c->pad[d] != 0 || c->in[d] != c->out[d]) return false;
    return true;
}

/* Input pixels along an axis that `n` output pixels see. */
static int64_t seen(const struct conv *c, int axis, int64_t n) {
    return (n - 1) * c->stride[axis] + (c->kernel[axis] - 1) * c->dilation[axis] + 1;
}

static bool reaches_over(const struct conv *c, int axis) {
    return c->pad[axis] > 0 || seen(c, axis, c->out[axis]) > c->in[axis];
}

static int64_t budget_of(const struct conv *c) {
    const int64_t weights = c->group_filters * c->depth;
    return weights > LARGE_WEIGHTS && simd_level() == SIMD_512 ? BAND_FLOATS_LARGE : BAND_FLOATS;
}

static void flat_band(const struct conv *c, struct conv_bands *b, int64_t channels) {
    b->flat = true;
    b->out_rows = 1;
    b->out_width = c->out_plane;
    int64_t fit = at_least(budget_of(c) / at_least(channels, 1) / BAND_PIXELS, 1) * BAND_PIXELS;
    const int64_t bands = ceil_div(c->out_plane, fit);
    fit = ceil_div(ceil_div(c->out_plane, bands), CHUNK_TILES) * CHUNK_TILES; /* of equal size */
    b->rows = at_most(fit, c->out_plane);
    b->in_rows = 1;
    b->in_width = b->rows;
}

void conv_bands_of(uint32_t algorithm, const struct conv *c, struct conv_bands *b) {
    const bool channelwise = algorithm == ALG_CONV_CHANNELWISE;
    *b = (struct conv_bands){
        .plane = algorithm == ALG_CONV_FIRST ? 1 : LANES, .out_rows = c->out[1], .out_width = c->out[2]};
    b->group_planes = algorithm == ALG_CONV_FIRST ? c->channels
                      : channelwise               ? 1
                      : span_of(c).whole          ? layout_blocks(c->group_channels)
                                                  : layout_blocks(c->channels);
    b->copy_plane = algorithm == ALG_CONV_DIRECT_BF16 ? LANES / 2 : b->plane;
    b->copied = reaches_over(c, 1) || reaches_over(c, 2) || algorithm == ALG_CONV_DIRECT_BF16;
    if (is_flat(c)) {
        flat_band(c, b, b->group_planes * b->copy_plane);
        return;
    }
    const int64_t each = b->group_planes * b->copy_plane * seen(c, 2, c->out[2]); /* of one input row */
    const int64_t rows = at_least(budget_of(c) / at_least(each, 1) / c->stride[1], 1);
    b->rows = ceil_div(c->out[1], ceil_div(c->out[1], rows));
    b->in_rows = seen(c, 1, b->rows);
    b->in_width = seen(c, 2, c->out[2]);
}

/* Every factor is at least 1, so a product that fits has factors that do. */
static bool product_within(int64_t a, int64_t b, int64_t c, int64_t d, int64_t most) {
    int64_t x;
    return !__builtin_mul_overflow(a, b, &x) && !__builtin_mul_overflow(x, c, &x) &&
           !__builtin_mul_overflow(x, d, &x) && x <= most;
}

static bool bands_fit(uint32_t algorithm, const struct conv *c) {
    struct conv_bands b;
    const int64_t channels = algorithm == ALG_CONV_DIRECT ? c->channels : c->group_channels;
    if (!product_within(layout_blocks(channels), LANES, seen(c, 2, c->out[2]), 1, BAND_MAX_FLOATS))
        return false;
    conv_bands_of(algorithm, c, &b);
    return b.flat || product_within(b.group_planes, b.plane, b.in_rows, b.in_width, BAND_MAX_FLOATS);
}

/* --- Winograd --------------------------------------------------------------------------------- */

/* A step between points that is a multiple of 4096 bytes would put all points of a tile into one set of
 * lines. */
static int64_t step_of(int64_t blocks, int64_t tiles) {
    const int64_t vectors = blocks * tiles;
    return (vectors % 2 ? vectors : vectors + 1) * LANES;
}

/* While the weights stay in the second-level cache, a chunk should leave them there;
 * where they don't, they are read again for each chunk, so it should be large. */
static int64_t chunk_of(const struct conv_winograd *w, const struct conv *c) {
    const int64_t each = w->points * (w->in_blocks + w->out_blocks) * LANES; /* floats of a tile */
    const int64_t weights = w->points * c->channels * w->out_blocks * LANES;
    const int64_t budget = weights <= LARGE_WEIGHTS ? CHUNK_FLOATS : CHUNK_MAX_FLOATS;
    return at_least(budget / each / CHUNK_TILES, 1) * CHUNK_TILES;
}

void conv_winograd_of(uint32_t algorithm, const struct conv *c, struct conv_winograd *w) {
    const int64_t m = algorithm == ALG_CONV_WINOGRAD_4 ? 4 : 2;
    *w = (struct conv_winograd){.m = m,
                                .points = (m + 2) * (m + 2),
                                .tiles_y = ceil_div(c->out[1], m),
                                .tiles_x = ceil_div(c->out[2], m),
                                .in_blocks = layout_blocks(c->channels),
                                .out_blocks = layout_blocks(c->filters)};
    w->tiles = w->tiles_y * w->tiles_x;
    w->chunk = chunk_of(w, c);
    w->in_step = step_of(w->in_blocks, w->chunk);
    w->out_step = step_of(w->out_blocks, w->chunk);
}

static bool winograd_fits(const struct conv *c) {
    for (int d = 1; d < OP_SPATIAL; d++)
        if (c->kernel[d] != 3 || c->stride[d] != 1 || c->dilation[d] != 1 || c->pad[d] > 2) return false;
    return c->groups == 1 && c->channels + c->filters <= 16384; /* a tile and its products: 2.4 MiB */
}

/* Not channel by channel, nor where the zeros would be many. */
static bool groups_fit(const struct conv *c) {
    const struct conv_span s = span_of(c);
    return s.whole || s.blocks * LANES <= SPAN_MOST * c->group_channels;
}

/* --- for the planner --------------------------------------------------------------------------- */

bool conv_blocked_fits(uint32_t algorithm, const struct conv *c) {
    if (c->in[0] != 1 || c->out[0] != 1 || c->kernel[0] != 1) return false;
    switch (algorithm) {
    case ALG_CONV_DIRECT: return groups_fit(c) && bands_fit(algorithm, c);
    case ALG_CONV_DIRECT_BF16: return span_of(c).whole && c->stride[2] <= 2 && bands_fit(algorithm, c);
    case ALG_CONV_FIRST:
        return c->groups == 1 && c->channels <= FIRST_MAX_CHANNELS && bands_fit(algorithm, c);
    case ALG_CONV_CHANNELWISE:
        return c->groups > 1 && c->group_channels == 1 && c->group_filters == 1 && bands_fit(algorithm, c);
    case ALG_CONV_WINOGRAD_2:
    case ALG_CONV_WINOGRAD_4: return winograd_fits(c);
    default: return false;
    }
}

int64_t conv_blocked_scratch_floats(uint32_t algorithm, const struct conv *c) {
    if (algorithm == ALG_CONV_WINOGRAD_2 || algorithm == ALG_CONV_WINOGRAD_4) {
        struct conv_winograd w;
        conv_winograd_of(algorithm, c, &w);
        return w.points * (w.in_step + w.out_step);
    }
    struct conv_bands b;
    conv_bands_of(algorithm, c, &b);
    return b.copied ? b.group_planes * b.copy_plane * b.in_rows * b.in_width : 0;
}
