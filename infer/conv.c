/* Geometry, blocks and scratch of a convolution; see conv.h. */
#include "infer/conv.h"

#include "infer/simd.h"

/* What one product reads and writes should stay in a second-level cache of
 * 1 MiB, with room for BLAS's packed panels in the shared one. */
#define BLOCK_FLOATS (256 * 1024)
/* Below this OpenBLAS falls off (49 columns: 73 GF/s, 200: 95); above it nothing is gained. */
#define BLOCK_MIN_COLUMNS 192
#define BLOCK_MAX_COLUMNS 1024
/* … unless filters are so large (a classifier as a 7x7 convolution) that these would need much. */
#define BLOCK_MAX_FLOATS  (1024 * 1024)
#define FILTER_MAX_FLOATS (2 * 1024 * 1024)
#define PHASES_MAX_FLOATS (16 * 1024 * 1024)

static int64_t at_most(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t at_least(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}
static int64_t round_up(int64_t a, int64_t to) {
    return ceil_div(a, to) * to;
}

void conv_describe(const struct op_window *w, const struct shape *x, const struct shape *out,
                   struct conv *c) {
    int absent = OP_SPATIAL - w->spatial;
    *c = (struct conv){.images = x->dim[0],
                       .channels = x->dim[1],
                       .filters = out->dim[1],
                       .groups = w->groups,
                       .in_plane = 1,
                       .out_plane = 1,
                       .window = 1};
    for (int d = 0; d < OP_SPATIAL; d++) {
        c->in[d] = d < absent ? 1 : x->dim[2 + d - absent];
        c->out[d] = d < absent ? 1 : out->dim[2 + d - absent];
        c->kernel[d] = w->kernel[d];
        c->stride[d] = w->stride[d];
        c->dilation[d] = w->dilation[d];
        c->pad[d] = w->pad_begin[d];
        c->in_plane *= c->in[d];
        c->out_plane *= c->out[d];
        c->window *= c->kernel[d];
    }
    c->group_channels = c->channels / c->groups;
    c->group_filters = c->filters / c->groups;
    c->depth = c->group_channels * c->window;
}

static int64_t columns_that_fit(const struct conv *c) {
    const int64_t each = c->depth + c->group_filters;
    int64_t fit = at_least(BLOCK_FLOATS / each, BLOCK_MIN_COLUMNS);
    fit = at_most(at_most(fit, BLOCK_MAX_FLOATS / each), BLOCK_MAX_COLUMNS);
    return fit >= SIMD_LANES ? fit / SIMD_LANES * SIMD_LANES : at_least(fit, 1);
}

struct conv_block conv_block_of(const struct conv *c) {
    const int64_t fit = columns_that_fit(c);
    struct conv_block b = {c->out_plane, 1};
    if (c->out_plane > fit) { /* blocks of equal size rather than a small one at the end */
        b.columns = ceil_div(c->out_plane, ceil_div(c->out_plane, fit));
        if (fit >= SIMD_LANES) b.columns = round_up(b.columns, SIMD_LANES);
    } else if (c->out_plane <= fit / 2) {
        b.images = fit / c->out_plane;
        b.columns = b.images * c->out_plane;
    }
    return b;
}

struct conv_phases conv_phases_of(const struct conv *c) {
    int64_t reach = (c->kernel[2] - 1) * c->dilation[2] / c->stride[2];
    struct conv_phases p = {.length = round_up(reach + round_up(c->out[2], SIMD_LANES), SIMD_LANES)};
    p.row = p.length * c->stride[2];
    return p;
}

static int64_t floats_for_phases(const struct conv *c) {
    int64_t all;
    return __builtin_mul_overflow(c->in[1], conv_phases_of(c).row, &all) ? INT64_MAX : all;
}

static bool is_point(const struct conv *c) {
    for (int d = 0; d < OP_SPATIAL; d++)
        if (c->kernel[d] != 1 || c->stride[d] != 1 || c->pad[d] != 0 || c->in[d] != c->out[d]) return false;
    return true;
}

bool conv_fits(uint32_t algorithm, const struct conv *c) {
    const bool flat = c->in[0] == 1 && c->out[0] == 1 && c->kernel[0] == 1;
    const bool product = c->out_plane <= INT32_MAX && c->depth + c->group_filters <= FILTER_MAX_FLOATS;
    switch (algorithm) {
    case ALG_CONV_REFERENCE: return true;
    case ALG_CONV_IM2COL: return flat && product;
    case ALG_CONV_POINTWISE: return flat && product && is_point(c);
    case ALG_CONV_DEPTHWISE:
        return flat && c->groups > 1 && c->group_channels == 1 && c->kernel[2] <= CONV_DEPTHWISE_MAX_WIDTH &&
               floats_for_phases(c) <= PHASES_MAX_FLOATS;
    default: return false;
    }
}

int64_t conv_scratch_floats(uint32_t algorithm, const struct conv *c) {
    if (algorithm == ALG_CONV_DEPTHWISE) return floats_for_phases(c);
    const struct conv_block b = conv_block_of(c);
    if (algorithm == ALG_CONV_IM2COL && b.images == 1) return c->depth * b.columns;
    if (algorithm != ALG_CONV_IM2COL && (algorithm != ALG_CONV_POINTWISE || b.images == 1)) return 0;
    return conv_product_at(c) + c->group_filters * b.columns;
}

int64_t conv_product_at(const struct conv *c) {
    return round_up(c->depth * conv_block_of(c).columns, SIMD_LANES);
}
