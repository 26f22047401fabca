/* im2col, every block of every position against a plain loop, exactly. */
#include "infer/kernels_unfold.h"

#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static float pixel(const struct conv *c, const float *x, int64_t row, int64_t position) {
    const int64_t kx = row % c->kernel[2], ky = row / c->kernel[2] % c->kernel[1], channel = row / c->window;
    const int64_t y = position / c->out[2] * c->stride[1] - c->pad[1] + ky * c->dilation[1];
    const int64_t i = position % c->out[2] * c->stride[2] - c->pad[2] + kx * c->dilation[2];
    if (y < 0 || y >= c->in[1] || i < 0 || i >= c->in[2]) return 0;
    return x[channel * c->in_plane + y * c->in[2] + i];
}

static bool block_is_right(const struct conv *c, const float *x, int64_t first, int64_t count) {
    const int64_t ld = count + 3;
    float *got = malloc((size_t)(c->depth * ld) * sizeof *got);
    bool right = got != NULL;
    for (int64_t i = 0; got && i < c->depth * ld; i++) got[i] = -7;
    if (got) unfold(c, x, first, count, got, ld);
    for (int64_t row = 0; right && row < c->depth; row++)
        for (int64_t p = 0; right && p < ld; p++) /* nothing behind the block's columns is touched */
            right = got[row * ld + p] == (p < count ? pixel(c, x, row, first + p) : -7);
    free(got);
    return right;
}

static void test_blocks(void) {
    static const int64_t cases[][11] = {
        /* h  w  kh kw sh sw dh dw ph pw  pads behind are as in front */
        {5, 6, 3, 3, 1, 1, 1, 1, 1, 1, 0},  {7, 5, 3, 3, 2, 2, 1, 1, 1, 1, 0},
        {9, 40, 3, 5, 1, 2, 1, 1, 0, 2, 0}, {6, 6, 1, 1, 1, 1, 1, 1, 0, 0, 0},
        {6, 7, 2, 3, 3, 1, 2, 3, 2, 5, 0},  {4, 70, 1, 7, 1, 3, 1, 1, 0, 3, 0},
        {3, 3, 5, 5, 1, 1, 1, 1, 2, 2, 0},  {2, 2, 3, 3, 1, 1, 3, 3, 3, 3, 0},
        {1, 67, 1, 3, 1, 2, 1, 1, 0, 0, 0},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const int64_t *g = cases[k];
        struct conv c = {.images = 1,
                         .channels = 2,
                         .group_channels = 2,
                         .groups = 1,
                         .in = {1, g[0], g[1]},
                         .kernel = {1, g[2], g[3]},
                         .stride = {1, g[4], g[5]},
                         .dilation = {1, g[6], g[7]},
                         .pad = {0, g[8], g[9]}};
        for (int d = 1; d < 3; d++)
            c.out[d] = (c.in[d] + 2 * c.pad[d] - (c.kernel[d] - 1) * c.dilation[d] - 1) / c.stride[d] + 1;
        c.in_plane = c.in[1] * c.in[2];
        c.out_plane = c.out[1] * c.out[2];
        c.window = c.kernel[1] * c.kernel[2];
        c.depth = 2 * c.window;
        float *x = malloc((size_t)(2 * c.in_plane) * sizeof *x); /* exactly: ASan sees a read beyond */
        for (int64_t i = 0; x && i < 2 * c.in_plane; i++) x[i] = (float)(i + 1);
        for (int64_t first = 0; x && first < c.out_plane; first++)
            for (int64_t count = 1; first + count <= c.out_plane; count += 1 + count / 3)
                CU_ASSERT(block_is_right(&c, x, first, count));
        free(x);
    }
}

SUITE(kernels_unfold, {"every block of every convolution", test_blocks});
