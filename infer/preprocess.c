/* Preprocessing by table: exactly the formula, at one load per value. */
#include "infer/preprocess.h"

bool preprocess_takes(int64_t channels) {
    return channels == 1 || channels == 3 || channels == 4;
}

void preprocess_prepare(const struct image_preprocess *p, int64_t channels, struct preprocess *out) {
    const bool reverse = p->channel_order == ORDER_BGR && channels >= 3;
    out->channels = (int32_t)channels;
    for (int32_t c = 0; c < out->channels; c++) {
        out->source[c] = reverse && c < 3 ? 2 - c : c; /* alpha stays last */
        for (int v = 0; v < 256; v++) out->value[c][v] = ((float)v * p->scale - p->mean[c]) / p->std[c];
    }
}

/* One channel of one picture. Channel by channel, each picture is read up to
 * four times, but from cache, and every plane is written in one run. */
static void fill_plane(const float value[256], const uint8_t *from, int64_t step, int64_t pixels, float *to) {
    for (int64_t i = 0; i < pixels; i++) to[i] = value[from[i * step]];
}

void preprocess_run(const struct preprocess *p, const uint8_t *from, int64_t images, int64_t pixels,
                    float *to) {
    for (int64_t i = 0; i < images; i++, from += pixels * p->channels)
        for (int32_t c = 0; c < p->channels; c++, to += pixels)
            fill_plane(p->value[c], from + p->source[c], p->channels, pixels, to);
}
