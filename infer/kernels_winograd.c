/* Winograd's convolution of blocked tensors (Lavin & Gray, CVPR 2016): F(4x4,3x3)
 * multiplies a quarter as often as the window says, F(2x2,3x3) less than half.
 *
 *   per chunk of tiles (of all images, counted through):
 *     x         -> transformed tiles  [points][blocks of C][tiles][16]
 *     products     per point: [tiles, C] x [C, filters], by the tiles of kernels_tile.h
 *     products  -> out, with bias, residual and activation
 *
 * The chunk's two buffers are the scratch. */
#include "infer/kernels_all.h"

#include "infer/conv_blocked.h"
#include "infer/kernels_epilogue.h"
#include "infer/kernels_tile.h"
#include "infer/simd_levels.h"

#include <string.h>

#define LANES LAYOUT_LANES

struct winograd_out { /* one tile of one block */
    const float *bias;
    const float *residual; /* or NULL; may be out */
    float *out;
    int64_t row;           /* floats from row to row */
    int64_t rows, columns; /* that exist */
    bool bounded;
    float lo, hi;
};

#define LEVEL(name) name##_128
#define LEVEL_TARGET
#define LEVEL_BYTES 16
#include "infer/kernels_winograd_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES

#if defined(__x86_64__)
#define LEVEL(name)  name##_256
#define LEVEL_TARGET SIMD_TARGET_256
#define LEVEL_BYTES  32
#include "infer/kernels_winograd_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES

#define LEVEL(name)  name##_512
#define LEVEL_TARGET SIMD_TARGET_512
#define LEVEL_BYTES  64
#include "infer/kernels_winograd_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES
#endif

typedef void (*forward_fn)(const float *x, int64_t row, float *to, int64_t step);
typedef void (*back_fn)(const float *from, int64_t step, const struct winograd_out *o);

struct winograd { /* one call */
    const struct kernel_call *call;
    struct conv c;
    struct conv_winograd w;
    struct bounds bounds;
    struct tile_limits limits;
    forward_fn forward;
    back_fn back;
    float *tiles, *products;
    int64_t first, n; /* tiles of the chunk */
    int64_t end, chunks;
    int64_t part_tiles;
};

static void set_transforms(struct winograd *g) {
    const bool four = g->w.m == 4;
    g->forward = four ? forward_4_128 : forward_2_128;
    g->back = four ? back_4_128 : back_2_128;
#if defined(__x86_64__)
    if (simd_level() == SIMD_256) {
        g->forward = four ? forward_4_256 : forward_2_256;
        g->back = four ? back_4_256 : back_2_256;
    }
    if (simd_level() == SIMD_512) {
        g->forward = four ? forward_4_512 : forward_2_512;
        g->back = four ? back_4_512 : back_2_512;
    }
#endif
}

struct place { /* of a tile */
    uint32_t item;
    int64_t image, y, x; /* first output pixel */
};

static struct place place_of(const struct winograd *g, int64_t tile) {
    const int64_t image = tile / g->w.tiles, t = tile % g->w.tiles;
    return (struct place){(uint32_t)(image / g->c.images), image % g->c.images, t / g->w.tiles_x * g->w.m,
                          t % g->w.tiles_x * g->w.m};
}

/* --- input ----------------------------------------------------------------------------------- */

/* A tile that reaches over an edge, with zeros there. */
static void patch_load(const struct conv *c, const float *plane, int64_t y, int64_t x, int64_t n, float *to) {
    const int64_t from = x < 0 ? -x : 0, end = x + n > c->in[2] ? c->in[2] - x : n;
    memset(to, 0, (size_t)(n * n * LANES) * sizeof *to);
    for (int64_t i = 0; i < n; i++)
        if (y + i >= 0 && y + i < c->in[1] && end > from)
            memcpy(to + (i * n + from) * LANES, plane + ((y + i) * c->in[2] + x + from) * LANES,
                   (size_t)((end - from) * LANES) * sizeof *to);
}

static void transform_tile(const struct winograd *g, const struct place *p, float *to) {
    const struct conv *c = &g->c;
    const int64_t n = g->w.m + 2, y = p->y - c->pad[1], x = p->x - c->pad[2], step = g->w.in_step;
    const float *plane =
        view_item(&g->call->in[0], p->item) + p->image * g->w.in_blocks * c->in_plane * LANES;
    const bool inside = y >= 0 && x >= 0 && y + n <= c->in[1] && x + n <= c->in[2];
    float patch[6 * 6 * LANES] __attribute__((aligned(64)));
    for (int64_t k = 0; k < g->w.in_blocks; k++, plane += c->in_plane * LANES, to += g->w.chunk * LANES) {
        if (!inside) patch_load(c, plane, y, x, n, patch);
        if (inside)
            g->forward(plane + (y * c->in[2] + x) * LANES, c->in[2] * LANES, to, step);
        else
            g->forward(patch, n * LANES, to, step);
    }
}

/* --- products ---------------------------------------------------------------------------------- */

static void multiply(const struct winograd *g, int64_t point, int64_t tiles) {
    const struct conv *c = &g->c;
    const int64_t full = c->channels / LANES, rest = c->channels % LANES, plane = g->w.chunk * LANES;
    const int64_t w_step = c->channels * LANES, most = g->limits.pixels, n = (tiles + most - 1) / most;
    const struct tile_leg legs[2] = {{.n = {full, 1, 1}, .step = {plane}, .run = LANES},
                                     {.at = full * plane, .n = {1, 1, 1}, .run = rest}};
    struct tile t = {.legs = full ? legs : legs + 1,
                     .n_legs = (full > 0) + (rest > 0),
                     .w_step = w_step,
                     .out_step = plane};
    const float *x = g->tiles + point * g->w.in_step;
    float *out = g->products + point * g->w.out_step;
    const float *weights = view_item(&g->call->in[1], 0) + point * g->w.out_blocks * w_step;
    for (int64_t k = 0; k < g->w.out_blocks; k += g->limits.blocks) {
        const int64_t left = g->w.out_blocks - k;
        const int blocks = left < g->limits.blocks ? (int)left : g->limits.blocks;
        t.w = weights + k * w_step;
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = tiles * i / n, end = tiles * (i + 1) / n;
            t.x = x + at * LANES;
            t.out = out + k * plane + at * LANES;
            tile_look_ahead(&t, t.w + blocks * w_step, c->channels, i, n); /* those of the next point, too */
            tile_find(blocks, (int)(end - at), LANES)(&t);
        }
    }
}

/* --- output ------------------------------------------------------------------------------------- */

static void transform_back(const struct winograd *g, const struct place *p, const float *from) {
    const struct conv *c = &g->c;
    const struct view *bias = kernel_input(g->call, 2);
    const float *numbers = bias ? view_item(bias, p->item) : NULL;
    const int64_t plane = c->out_plane * LANES, down = c->out[1] - p->y, right = c->out[2] - p->x;
    int64_t at = p->image * g->w.out_blocks * plane + (p->y * c->out[2] + p->x) * LANES;
    float *out = view_item(&g->call->out, p->item);
    const float *residual = g->call->residual.t ? view_item(&g->call->residual, p->item) : NULL;
    struct winograd_out o = {.row = c->out[2] * LANES,
                             .rows = down < g->w.m ? down : g->w.m,
                             .columns = right < g->w.m ? right : g->w.m,
                             .bounded = g->bounds.any,
                             .lo = g->bounds.lo,
                             .hi = g->bounds.hi};
    for (int64_t k = 0; k < g->w.out_blocks; k++, at += plane, from += g->w.chunk * LANES) {
        const int64_t left = c->filters - k * LANES;
        float lanes[LANES] = {0};
        if (numbers)
            memcpy(lanes, numbers + k * LANES, (size_t)(left < LANES ? left : LANES) * sizeof *lanes);
        o.bias = lanes;
        o.out = out + at;
        o.residual = residual ? residual + at : NULL;
        g->back(from, g->w.out_step, &o);
        for (int64_t y = 0; g->bounds.function && y < o.rows; y++)
            bounds_finish(&g->bounds, o.out + y * o.row, o.columns * LANES);
    }
}

/* --- parts for a team --------------------------------------------------------------------------- */

enum { PART_TILES = 14 };
/* Weights of which each hand can have a copy in its second-level cache: then it is better to share out the
 * tiles, all that a hand does with them being its own; else the points. */
#define OWN_WEIGHTS (192 * 1024)
#define OWN_TILES   8 /* of a hand at least: fewer would use each weight too seldom */

static int64_t part_end(const struct winograd *g, uint32_t part) {
    const int64_t end = ((int64_t)part + 1) * g->part_tiles;
    return end < g->n ? end : g->n;
}

static void forward_part(const void *work, uint32_t part, uint32_t hand) {
    const struct winograd *g = work;
    (void)hand;
    for (int64_t i = (int64_t)part * g->part_tiles; i < part_end(g, part); i++) {
        const struct place p = place_of(g, g->first + i);
        transform_tile(g, &p, g->tiles + i * LANES);
    }
}

static void multiply_part(const void *work, uint32_t point, uint32_t hand) {
    const struct winograd *g = work;
    (void)hand;
    multiply(g, point, g->n);
}

static void back_part(const void *work, uint32_t part, uint32_t hand) {
    const struct winograd *g = work;
    (void)hand;
    for (int64_t i = (int64_t)part * g->part_tiles; i < part_end(g, part); i++) {
        const struct place p = place_of(g, g->first + i);
        transform_back(g, &p, g->products + i * LANES);
    }
}

static void chunk_part(const void *work, uint32_t part, uint32_t hand) {
    struct winograd g = *(const struct winograd *)work;
    g.first = g.end * part / g.chunks;
    g.n = g.end * (part + 1) / g.chunks - g.first;
    g.tiles = kernel_scratch(g.call, hand);
    g.products = g.tiles + g.w.points * g.w.in_step;
    for (int64_t at = 0; at < g.n; at += PART_TILES) forward_part(&g, (uint32_t)(at / PART_TILES), hand);
    for (int64_t point = 0; point < g.w.points; point++) multiply(&g, point, g.n);
    for (int64_t at = 0; at < g.n; at += PART_TILES) back_part(&g, (uint32_t)(at / PART_TILES), hand);
}

static void run(const struct kernel_call *call, uint32_t algorithm) {
    struct winograd g = {
        .call = call, .bounds = bounds_of(call->step), .limits = tile_limits(), .part_tiles = PART_TILES};
    conv_describe(&call->step->params.window, &call->in[0].t->shape, &call->out.t->shape, &g.c);
    conv_winograd_of(algorithm, &g.c, &g.w);
    set_transforms(&g);
    g.tiles = call->scratch;
    g.products = call->scratch + g.w.points * g.w.in_step;
    g.end = g.w.tiles * g.c.images * call->n_items;
    const int64_t hands = team_hands(call->seat),
                  weights = g.w.points * g.c.channels * g.w.out_blocks * LANES;
    if (hands > 1 && weights <= OWN_WEIGHTS && g.end >= hands * OWN_TILES) {
        g.chunks = (g.end + g.w.chunk - 1) / g.w.chunk;
        g.chunks = (g.chunks + hands - 1) / hands * hands;
        team_run_all(call->seat, chunk_part, &g, g.chunks);
        return;
    }
    for (; g.first < g.end; g.first += g.n) {
        const int64_t chunks = (g.end - g.first + g.w.chunk - 1) / g.w.chunk; /* of nearly equal size */
        g.n = (g.end - g.first + chunks - 1) / chunks;
        const int64_t share = (g.n + team_parts(call->seat) - 1) / team_parts(call->seat);
        g.part_tiles = share < PART_TILES ? share : PART_TILES;
        const int64_t parts = (g.n + g.part_tiles - 1) / g.part_tiles;
        team_run_all(call->seat, forward_part, &g, parts);
        team_run_all(call->seat, multiply_part, &g, g.w.points);
        team_run_all(call->seat, back_part, &g, parts);
    }
}

void kernel_conv_winograd_2(const struct kernel_call *c) {
    run(c, ALG_CONV_WINOGRAD_2);
}
void kernel_conv_winograd_4(const struct kernel_call *c) {
    run(c, ALG_CONV_WINOGRAD_4);
}
