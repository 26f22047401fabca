/* Packs the weights of blocked convolutions; see conv_blocked.h for how they lie.
 * Products with folded scales, and Winograd's transform, are computed in double
 * and rounded once. Runs in the import worker, once per model. */
#include "infer/bf16.h"
#include "infer/conv_blocked.h"
#include "infer/simd.h"

#include <string.h>

#define LANES LAYOUT_LANES

static bool is_winograd(uint32_t algorithm) {
    return algorithm == ALG_CONV_WINOGRAD_2 || algorithm == ALG_CONV_WINOGRAD_4;
}

static int64_t points_of(uint32_t algorithm) {
    return algorithm == ALG_CONV_WINOGRAD_4 ? 36 : 16;
}

int64_t conv_blocked_depth(uint32_t algorithm, int64_t group_channels, int64_t taps) {
    return taps * (algorithm == ALG_CONV_DIRECT_BF16 ? (group_channels + 1) / 2 : group_channels);
}

static struct conv_span span_of(const struct shape *weight, int64_t groups) {
    return conv_span_of(groups, weight->dim[1], weight->dim[0] / groups);
}

uint64_t conv_blocked_weight_floats(uint32_t algorithm, const struct shape *weight, int64_t groups) {
    const uint64_t filters = (uint64_t)layout_blocks(weight->dim[0]) * LANES;
    if (is_winograd(algorithm)) return filters * (uint64_t)weight->dim[1] * (uint64_t)points_of(algorithm);
    const struct conv_span span = span_of(weight, groups);
    if (algorithm == ALG_CONV_DIRECT && !span.whole)
        return filters * (uint64_t)(span.blocks * LANES * shape_product(weight, 2, weight->rank));
    return filters *
           (uint64_t)conv_blocked_depth(algorithm, weight->dim[1], shape_product(weight, 2, weight->rank));
}

struct source { /* W: [filters][channels][taps] */
    const float *from;
    const double *scale;
    int64_t filters, channels, taps;
};

#define AHEAD                                                                                                \
    512 /* bytes of each row that are asked for in advance: 16 rows are more than a CPU keeps an eye on */

/* All nine taps of one channel: row by row, since rows lie far apart, often in the same sets of the cache
 * (512 channels of 3x3: 18,432 bytes), and a line of them holds all nine. Of filters that do not exist `raw`
 * stays as it is. */
static void load_taps(const struct source *s, int64_t first, int64_t channel, float raw[9][LANES]) {
    const int64_t step = s->channels * 9, n = s->filters - first < LANES ? s->filters - first : LANES;
    const float *x = s->from + first * step + channel * 9;
    for (int64_t j = 0; j < n; j++, x += step) {
        __builtin_prefetch((const void *)((uintptr_t)x + AHEAD));
        for (int tap = 0; tap < 9; tap++) raw[tap][j] = x[tap];
    }
}

SIMD_CLONES static void scale_taps(float raw[9][LANES], const double scale[LANES], double taps[9][LANES]) {
    for (int tap = 0; tap < 9; tap++)
        for (int j = 0; j < LANES; j++) taps[tap][j] = (double)raw[tap][j] * scale[j];
}

/* Channels [channel, channel + n) with all their taps; channels lie side by side below each tap then. */
static float *pack_strip(const struct source *s, int64_t first, int64_t channel, int64_t n, float *to) {
    for (int64_t j = 0; j < LANES; j++) {
        const int64_t f = first + j;
        const bool there = f < s->filters;
        const float *x = s->from + ((there ? f : 0) * s->channels + channel) * s->taps;
        const double scale = there && s->scale ? s->scale[f] : 1;
        for (int64_t c = 0; c < n; c++)
            for (int64_t tap = 0; tap < s->taps; tap++, x++)
                to[(tap * n + c) * LANES + j] = there ? (float)((double)*x * scale) : 0;
    }
    return to + n * s->taps * LANES;
}

/* Filters [first, first + 16) of one channel and tap; those that do not exist are 0. */
static void load_lanes(const struct source *s, int64_t first, int64_t channel, int64_t tap, double *lanes) {
    const int64_t step = s->channels * s->taps;
    const float *x = s->from + (first * s->channels + channel) * s->taps + tap;
    if (first + LANES <= s->filters) { /* all of them, nearly always: without a question for each */
        for (int64_t j = 0; j < LANES; j++) lanes[j] = (double)x[j * step];
        for (int64_t j = 0; s->scale && j < LANES; j++) lanes[j] *= s->scale[first + j];
        return;
    }
    for (int64_t j = 0; j < LANES; j++) {
        const int64_t f = first + j;
        lanes[j] = 0;
        if (f >= s->filters) continue;
        lanes[j] = (double)x[j * step];
        if (s->scale) lanes[j] *= s->scale[f];
    }
}

static float *store_lanes(const double *lanes, float *to) {
    for (int j = 0; j < LANES; j++) to[j] = (float)lanes[j];
    return to + LANES;
}

/* Channels of a block side by side, below each tap: as a blocked tensor has them. */
static void pack_direct(const struct source *s, int64_t block, float *to) {
    for (int64_t f = 0; f < s->filters; f += LANES)
        for (int64_t c = 0; c < s->channels; c += block)
            to = pack_strip(s, f, c, s->channels - c < block ? s->channels - c : block, to);
}

/* Filters [first, first + 16), each with 0 for a channel (of all) that its group does not have. */
static void load_grouped(const struct source *s, int64_t group_filters, int64_t first, int64_t channel,
                         int64_t tap, double *lanes) {
    for (int64_t j = 0; j < LANES; j++) {
        const int64_t f = first + j, c = channel - f / group_filters * s->channels;
        lanes[j] = 0;
        if (f >= s->filters || c < 0 || c >= s->channels) continue;
        lanes[j] = (double)s->from[(f * s->channels + c) * s->taps + tap];
        if (s->scale) lanes[j] *= s->scale[f];
    }
}

/* The same of groups that are not whole: each block of filters has its span of channels. */
static void pack_spans(const struct source *s, int64_t groups, const struct conv_span *span, float *to) {
    const int64_t group_filters = s->filters / groups, channels = groups * s->channels;
    const int64_t step = span->blocks * s->taps * LANES * LANES;
    double lanes[LANES];
    for (int64_t f = 0; f < s->filters; f += LANES, to += step) {
        const int64_t start = conv_span_start(span, groups, s->channels, group_filters, f / LANES) * LANES;
        float *at = to;
        memset(to, 0, (size_t)step * sizeof *to);
        for (int64_t c0 = start; c0 < start + span->blocks * LANES; c0 += LANES)
            for (int64_t tap = 0; tap < s->taps; tap++)
                for (int64_t c = c0; c < c0 + LANES && c < channels; c++) {
                    load_grouped(s, group_filters, f, c, tap, lanes);
                    at = store_lanes(lanes, at);
                }
    }
}

/* The same order, two channels to a word. */
static void pack_pairs(const struct source *s, float *to) {
    double even[LANES], odd[LANES];
    for (int64_t f = 0; f < s->filters; f += LANES)
        for (int64_t c0 = 0; c0 < s->channels; c0 += LANES)
            for (int64_t tap = 0; tap < s->taps; tap++)
                for (int64_t c = c0; c < c0 + LANES && c < s->channels; c += 2, to += LANES) {
                    const bool paired = c + 1 < s->channels;
                    load_lanes(s, f, c, tap, even);
                    if (paired) load_lanes(s, f, c + 1, tap, odd);
                    for (int j = 0; j < LANES; j++)
                        to[j] = bf16_pair((float)even[j], paired ? (float)odd[j] : 0);
                }
}

/* --- Winograd ---------------------------------------------------------------------------------- */

/* G of F(4x4,3x3) with the points 0, +-5/8, +-3/2 and infinity, as the kernel has them; of all that
 * were tried these have the smallest error (1.3e-6 of the result's size over 256 channels; 0, +-1,
 * +-2: 2.5e-6), and everything the transforms of input and output multiply by is exact in float.
 * Row i is (1, p, p^2) / prod(p - q) over the other points q. */
#define A2 (25.0 / 64)
#define B2 (9.0 / 4)
#define NA (2 * A2 * (A2 - B2)) /* of +-5/8 */
#define NB (2 * B2 * (B2 - A2)) /* of +-3/2 */
static const double transform_4[6][3] = {
    {1 / (A2 * B2), 0, 0},       {1 / NA, 0.625 / NA, A2 / NA}, {1 / NA, -0.625 / NA, A2 / NA},
    {1 / NB, 1.5 / NB, B2 / NB}, {1 / NB, -1.5 / NB, B2 / NB},  {0, 0, 1},
};
/* Points 0, 1, -1 and infinity. */
static const double transform_2[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};

/* to[point]: [16] = G g G^T for 16 filters at once. */
SIMD_CLONES static void transform_filters(const double (*g)[3], int64_t n, double taps[9][LANES], float *to,
                                          int64_t step) {
    double half[6][3][LANES];
    for (int64_t i = 0; i < n; i++)
        for (int x = 0; x < 3; x++)
            for (int j = 0; j < LANES; j++)
                half[i][x][j] = g[i][0] * taps[x][j] + g[i][1] * taps[3 + x][j] + g[i][2] * taps[6 + x][j];
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++, to += step)
            for (int j = 0; j < LANES; j++)
                to[j] = (float)(g[k][0] * half[i][0][j] + g[k][1] * half[i][1][j] + g[k][2] * half[i][2][j]);
}

static void pack_winograd(const struct source *s, uint32_t algorithm, float *to) {
    const int64_t step = layout_blocks(s->filters) * LANES * s->channels;
    const bool four = algorithm == ALG_CONV_WINOGRAD_4;
    double taps[9][LANES], scale[LANES];
    for (int64_t f = 0; f < s->filters; f += LANES) {
        float raw[9][LANES] = {{0}};
        for (int64_t j = 0; j < LANES; j++) scale[j] = s->scale && f + j < s->filters ? s->scale[f + j] : 1;
        for (int64_t c = 0; c < s->channels; c++, to += LANES) {
            load_taps(s, f, c, raw);
            scale_taps(raw, scale, taps);
            transform_filters(four ? transform_4 : transform_2, four ? 6 : 4, taps, to, step);
        }
    }
}

/* Where groups are whole blocks, filters of all groups lie one behind the other. */
void conv_blocked_pack(uint32_t algorithm, const struct shape *weight, int64_t groups, const double *scale,
                       const float *from, float *to) {
    const struct conv_span span = span_of(weight, groups);
    const struct source s = {from, scale, weight->dim[0], weight->dim[1],
                             shape_product(weight, 2, weight->rank)};
    if (is_winograd(algorithm))
        pack_winograd(&s, algorithm, to);
    else if (algorithm == ALG_CONV_DIRECT && !span.whole)
        pack_spans(&s, groups, &span, to);
    else if (algorithm == ALG_CONV_DIRECT_BF16)
        pack_pairs(&s, to);
    else
        pack_direct(&s, algorithm == ALG_CONV_FIRST ? 1 : LANES, to);
}
