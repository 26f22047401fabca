/* The cost model of the blocked convolutions: arithmetic, transforms, and
 * reading the weights, which for late layers is what counts: Winograd's are
 * four times (F(4x4)) or nearly twice (F(2x2)) as large, and come from memory. */
#include "infer/conv_cost.h"

/* Measured on Zen 4 (AVX-512, 3.6 GHz): cycles, that is multiply-adds of 16 floats, per tile and block. */
#define FORWARD_4 260.0
#define BACK_4    230.0
#define FORWARD_2 75.0
#define BACK_2    60.0
/* Of weights, from the shared cache or memory; measured 1.2, and less here because they also have to
 * be written, hashed and kept: where F(4x4) is hardly faster than F(2x2), it is not worth 2.25 times the
 * image. */
#define FLOATS_PER_CYCLE 0.8
#define LEAST_PIXELS     3.0 /* narrower tiles wait for their own sums */

/* Streaming and arithmetic overlap, mostly. */
static double together(double a, double b) {
    return a > b ? a + 0.3 * b : b + 0.3 * a;
}

static double cost_of_winograd(uint32_t algorithm, const struct conv *c) {
    struct conv_winograd w;
    conv_winograd_of(algorithm, c, &w);
    const double tiles = (double)(w.tiles * c->images), used = tiles < LEAST_PIXELS ? LEAST_PIXELS : tiles;
    const double filters = (double)w.out_blocks, channels = (double)c->channels;
    const double products = (double)w.points * used * channels * filters;
    const double weights = (double)w.points * channels * filters * LAYOUT_LANES / FLOATS_PER_CYCLE;
    const bool four = algorithm == ALG_CONV_WINOGRAD_4;
    return together(products, weights) + tiles * (double)w.in_blocks * (four ? FORWARD_4 : FORWARD_2) +
           tiles * filters * (four ? BACK_4 : BACK_2);
}

static double cost_of_direct(const struct conv *c) {
    const double blocks = (double)(layout_blocks(c->group_filters) * c->groups), depth = (double)c->depth;
    double pixels = (double)(c->out_plane * c->images);
    if ((double)c->out[2] < LEAST_PIXELS && c->kernel[2] > 1) pixels *= LEAST_PIXELS / (double)c->out[2];
    const double weights = blocks * depth * LAYOUT_LANES / FLOATS_PER_CYCLE;
    return together(blocks * depth * pixels, weights);
}

double conv_cost(uint32_t algorithm, const struct conv *c) {
    return algorithm == ALG_CONV_DIRECT ? cost_of_direct(c) : cost_of_winograd(algorithm, c);
}
