/* One row of a depthwise convolution for one level of vector instructions;
 * kernels_channelwise.c includes this once per level. */
#include "infer/kernels_level_body.h"

/* `pixels` outputs; `width` and `stride` are constants where they are not 0. */
LEVEL_INLINE void LEVEL(strip)(const struct channelwise *r, const int pixels, const int width,
                               const int stride, int64_t at, int64_t lane) {
    const int64_t taps = width ? width : r->width, s = stride ? stride : r->stride,
                  d = stride ? 1 : r->dilation;
    VEC sums[CHANNELWISE_PIXELS];
#pragma GCC unroll 8
    for (int p = 0; p < pixels; p++) sums[p] = *(const AT *)(r->bias + lane);
    for (int64_t ky = 0; ky < r->height; ky++) {
        const float *x = r->x + ky * r->line_step + at * s * LAYOUT_LANES + lane;
        const float *w = r->w + ky * taps * LAYOUT_LANES + lane;
#pragma GCC unroll 5
        for (int64_t kx = 0; kx < taps; kx++)
#pragma GCC unroll 8
            for (int p = 0; p < pixels; p++)
                sums[p] +=
                    *(const AT *)(x + (p * s + kx * d) * LAYOUT_LANES) * *(const AT *)(w + kx * LAYOUT_LANES);
    }
#pragma GCC unroll 8
    for (int p = 0; p < pixels; p++) {
        const int64_t to = (at + p) * LAYOUT_LANES + lane;
        if (r->residual) sums[p] += *(const AT *)(r->residual + to);
        if (r->bounded) LEVEL(clip)(&sums[p], r->lo, r->hi);
        *(AT *)(r->out + to) = sums[p];
    }
}

LEVEL_INLINE void LEVEL(row)(const struct channelwise *r, const int width, const int stride) {
    for (int64_t lane = 0; lane < LAYOUT_LANES; lane += LEVEL_LANES) {
        int64_t at = 0;
        for (; at + 8 <= r->count; at += 8) LEVEL(strip)(r, 8, width, stride, at, lane);
        for (; at + 7 <= r->count; at += 7) LEVEL(strip)(r, 7, width, stride, at, lane);
        for (; at + 4 <= r->count; at += 4) LEVEL(strip)(r, 4, width, stride, at, lane);
        for (; at < r->count; at++) LEVEL(strip)(r, 1, width, stride, at, lane);
    }
}

LEVEL_TARGET static void LEVEL(channelwise_row)(const struct channelwise *r) {
    const bool near = r->dilation == 1;
    if (near && r->width == 3 && r->stride == 1)
        LEVEL(row)(r, 3, 1);
    else if (near && r->width == 3 && r->stride == 2)
        LEVEL(row)(r, 3, 2);
    else if (near && r->width == 5 && r->stride == 1)
        LEVEL(row)(r, 5, 1);
    else if (near && r->width == 5 && r->stride == 2)
        LEVEL(row)(r, 5, 2);
    else
        LEVEL(row)(r, 0, 0);
}
