/* Pictures to network input: uint8 [H,W,C] to float32 [C,H,W],
 * (x * scale - mean[c]) / std[c]. Pure functions, any thread.
 *
 * Pictures come as R, G, B (, A). `c` counts the network's channels: with
 * ORDER_BGR, mean[0] and std[0] are those of blue. */
#ifndef INFER_PREPROCESS_H
#define INFER_PREPROCESS_H

#include "infer/image.h"

struct preprocess { /* ready to use: a byte has only 256 values */
    int32_t channels;
    int32_t source[4]; /* channel of the picture that the network's channel c takes */
    float value[4][256];
};

/* Whether pictures of so many channels can be taken: 1, 3 or 4. */
bool preprocess_takes(int64_t channels);

void preprocess_prepare(const struct image_preprocess *p, int64_t channels, struct preprocess *out);

/* from: `images` pictures of `pixels` each, one behind the other; to: the same as planes. */
void preprocess_run(const struct preprocess *p, const uint8_t *from, int64_t images, int64_t pixels,
                    float *to);

#endif
