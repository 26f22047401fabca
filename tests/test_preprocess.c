/* Preprocessing: the formula, exactly, for every byte, channel count and order. */
#include "infer/preprocess.h"

#include "tests/suite.h"

#include <stdlib.h>

static const struct image_preprocess imagenet = {
    .scale = 1.0f / 255, .mean = {0.485f, 0.456f, 0.406f, 0.5f}, .std = {0.229f, 0.224f, 0.225f, 2}};

static void compare(uint32_t order, int64_t channels) {
    enum { IMAGES = 2, PIXELS = 300 };
    struct image_preprocess p = imagenet;
    struct preprocess ready;
    uint8_t *from = malloc((size_t)(IMAGES * PIXELS * channels));
    float *to = malloc((size_t)(IMAGES * PIXELS * channels) * sizeof *to);
    CU_ASSERT_FATAL(from && to);
    for (int64_t i = 0; i < IMAGES * PIXELS * channels; i++) from[i] = (uint8_t)(i * 7 + i / 256);
    p.channel_order = order;
    preprocess_prepare(&p, channels, &ready);
    preprocess_run(&ready, from, IMAGES, PIXELS, to);
    for (int64_t n = 0; n < IMAGES; n++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < PIXELS; i++) {
                const int64_t source = order == ORDER_BGR && channels >= 3 && c < 3 ? 2 - c : c;
                const float x = from[(n * PIXELS + i) * channels + source];
                CU_ASSERT_EQUAL(to[(n * channels + c) * PIXELS + i], (x * p.scale - p.mean[c]) / p.std[c]);
            }
    free(from);
    free(to);
}

static void test_formula(void) {
    for (uint32_t order = ORDER_RGB; order <= ORDER_BGR; order++)
        for (int64_t channels = 1; channels <= 4; channels++)
            if (preprocess_takes(channels)) compare(order, channels);
}

static void test_channels(void) {
    for (int64_t c = -1; c < 10; c++) CU_ASSERT_EQUAL(preprocess_takes(c), c == 1 || c == 3 || c == 4);
}

SUITE(preprocess, {"scale, mean, std and order, exactly", test_formula},
      {"channels that pictures have", test_channels});
