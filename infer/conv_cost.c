/* The cost model of the blocked convolutions: arithmetic, transforms, and
 * reading the weights, which for late layers is what counts: Winograd's are
 * four times (F(4x4)) or nearly twice (F(2x2)) as large, and come from memory. */
#include "infer/conv_cost.h"

/* Zen 4 (3.6 GHz) makes one multiply-add of 16 floats a cycle, Sapphire Rapids two, so that there
 * everything else takes more of them. Of weights, Zen 4 was measured to read 1.2 meanwhile, and it
 * is less here because they also have to be written, hashed and kept: where F(4x4) is hardly faster than
 * F(2x2), it is not worth 2.25 times the image. Sapphire Rapids' five are those that fit the times in
 * tests/test_conv_cost.c best, within 17 % of the middle one of three. */
static const struct conv_rates rates[CONV_HOSTS] = {
    [CONV_HOST_ZEN4] = {260, 230, 75, 60, 0.8},
    [CONV_HOST_SAPPHIRE_RAPIDS] = {420, 880, 130, 200, 0.75},
};
#define ROUND                                                                                                \
    2.0 /* a vector to bfloat16; its products go as fast as floats', two at a time: see image_bf16_pays */
#define LEAST_PIXELS 3.0 /* narrower tiles wait for their own sums */

const struct conv_rates *conv_rates_of(enum conv_host host) {
    return &rates[host];
}

enum conv_host conv_host(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_is("intel") && __builtin_cpu_supports("avx512f")) return CONV_HOST_SAPPHIRE_RAPIDS;
#endif
    return CONV_HOST_ZEN4;
}

/* Streaming and arithmetic overlap, mostly. */
static double together(double a, double b) {
    return a > b ? a + 0.3 * b : b + 0.3 * a;
}

static double cost_of_winograd(const struct conv_rates *r, uint32_t algorithm, const struct conv *c) {
    struct conv_winograd w;
    conv_winograd_of(algorithm, c, &w);
    const double tiles = (double)(w.tiles * c->images), used = tiles < LEAST_PIXELS ? LEAST_PIXELS : tiles;
    const double filters = (double)w.out_blocks, channels = (double)c->channels;
    const double products = (double)w.points * used * channels * filters;
    const double weights = (double)w.points * channels * filters * LAYOUT_LANES / r->floats;
    const bool four = algorithm == ALG_CONV_WINOGRAD_4;
    return together(products, weights) + tiles * (double)w.in_blocks * (four ? r->forward_4 : r->forward_2) +
           tiles * filters * (four ? r->back_4 : r->back_2);
}

static double cost_of_direct(const struct conv_rates *r, uint32_t algorithm, const struct conv *c) {
    const bool bf16 = algorithm == ALG_CONV_DIRECT_BF16;
    const double blocks = (double)(layout_blocks(c->group_filters) * c->groups);
    const double depth = (double)conv_blocked_depth(algorithm, c->group_channels, c->window);
    const double rounded = bf16 ? (double)(layout_blocks(c->channels) * c->in_plane * c->images) : 0;
    double pixels = (double)(c->out_plane * c->images);
    if ((double)c->out[2] < LEAST_PIXELS && c->kernel[2] > 1) pixels *= LEAST_PIXELS / (double)c->out[2];
    const double weights = blocks * depth * LAYOUT_LANES / r->floats;
    return together(blocks * depth * pixels, weights) + rounded * ROUND;
}

double conv_cost(const struct conv_rates *r, uint32_t algorithm, const struct conv *c) {
    return algorithm == ALG_CONV_DIRECT || algorithm == ALG_CONV_DIRECT_BF16
               ? cost_of_direct(r, algorithm, c)
               : cost_of_winograd(r, algorithm, c);
}
