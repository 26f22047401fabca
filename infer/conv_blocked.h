/* Convolutions over blocked tensors: how they are cut, what scratch they need,
 * how their weights lie. The counterpart of conv.h: planner, validator and
 * kernels compute by the same numbers. Integers only, except packing; pure. */
#ifndef INFER_CONV_BLOCKED_H
#define INFER_CONV_BLOCKED_H

#include "infer/conv.h"
#include "infer/layout.h"

/* Whether ALG_CONV_DIRECT, _DIRECT_BF16, _FIRST, _CHANNELWISE or _WINOGRAD_* can run this convolution. */
bool conv_blocked_fits(uint32_t algorithm, const struct conv *c);
/* Floats of scratch, of a convolution that fits. */
int64_t conv_blocked_scratch_floats(uint32_t algorithm, const struct conv *c);

/* --- DIRECT: groups ---------------------------------------------------------------------- */

/* Groups are whole where each is whole blocks of channels and of filters. Where they are not, a block of
 * filters sees all blocks of channels that its groups touch, and its weights are 0 where a filter does not
 * see a channel: up to eight times the products, and still many times as fast as group by group. (A NaN then
 * also shows in the groups that share its block.) */
struct conv_span {
    bool whole;
    int64_t blocks; /* of channels that one block of filters sees; where groups are whole, those of a group */
};
struct conv_span conv_span_of(int64_t groups, int64_t group_channels, int64_t group_filters);
/* The first of them; of groups that are not whole. */
int64_t conv_span_start(const struct conv_span *s, int64_t groups, int64_t group_channels,
                        int64_t group_filters, int64_t block);

/* --- DIRECT, DIRECT_BF16, FIRST, CHANNELWISE: bands of output rows ---------------------------------- */

/* A band's input stays in the second-level cache while all filters go over it.
 * Where windows reach over an edge, the band is first copied into scratch with
 * zeros around it; one for bfloat16 always is, in pairs. A 1x1 convolution of stride 1 has no rows: its plane
 * is one. */
struct conv_bands {
    int64_t rows;                /* output rows of one band; of one long row: pixels */
    int64_t out_rows, out_width; /* (out_height, out_width), or (1, all pixels) */
    bool flat;                   /* one long row: bands cut it along x */
    bool copied;                 /* into scratch, with edges */
    int64_t in_rows, in_width;   /* of a copied band */
    int64_t copy_plane;          /* floats of one pixel there: as `plane`, or 8 (DIRECT_BF16) */
    int64_t group_planes;        /* channel blocks, or channels (FIRST), of one group; of all, if not whole */
    int64_t plane;               /* floats of one pixel: 16, or 1 (FIRST) */
};
void conv_bands_of(uint32_t algorithm, const struct conv *c, struct conv_bands *b);

/* --- WINOGRAD: F(m x m, 3x3) -------------------------------------------------------------- */

/* Output tiles of m x m, the input's are (m+2)^2: so many products of [tiles, C] x [C, filters].
 * Tiles of all images are counted through and go in chunks. */
struct conv_winograd {
    int64_t m, points;               /* (m + 2)^2 */
    int64_t tiles_y, tiles_x, tiles; /* of one image */
    int64_t chunk;                   /* tiles at most */
    int64_t in_blocks, out_blocks;
    int64_t in_step, out_step; /* scratch: floats from one point to the next */
};
void conv_winograd_of(uint32_t algorithm, const struct conv *c, struct conv_winograd *w);

/* --- weights ------------------------------------------------------------------------------- */

/* As the kernels read them; `scale` one factor per filter, or NULL. Spare filters are 0.
 *   DIRECT       [blocks][C/16][kh][kw][16 channels][16 filters], a last block of channels as long as it is;
 *                groups that are not whole have [span] for [C/16], with zeros behind a last block
 *   DIRECT_BF16  as DIRECT of whole groups, two channels to a float (bf16.h); with an odd last one goes a
 * zero FIRST        [blocks][C][kh][kw][16 filters] CHANNELWISE  [blocks][kh][kw][16] WINOGRAD
 * [points][blocks][C][16 filters], transformed */
/* x 16 floats: a block's weights, of all but WINOGRAD, in whole groups. */
int64_t conv_blocked_depth(uint32_t algorithm, int64_t group_channels, int64_t taps);
uint64_t conv_blocked_weight_floats(uint32_t algorithm, const struct shape *weight, int64_t groups);
void conv_blocked_pack(uint32_t algorithm, const struct shape *weight, int64_t groups, const double *scale,
                       const float *from, float *to);

#endif
