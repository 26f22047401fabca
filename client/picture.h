/* Pixels in memory, as a request carries them: decoded by decode.c, fitted to a model here.
 * A picture owns its data; plain functions, any thread. */
#ifndef CLIENT_PICTURE_H
#define CLIENT_PICTURE_H

#include "client/wire.h"
#include "infer/err.h"

#define PICTURE_MAX_SIDE   32768
#define PICTURE_MAX_PIXELS 100000000u /* of all pictures in one file together */

struct picture {
    uint32_t format;     /* enum clpd_format: CLPD_U8_NHWC or CLPD_F32_NCHW */
    uint32_t n, h, w, c; /* how many, height, width, channels; the format says in which order they lie */
    void *data;          /* dense; owned */
    size_t bytes;
};

void picture_free(struct picture *p); /* frees what it holds and empties it; an empty one is fine */

/* Makes room for a picture of `in`'s format; contents undefined. 0, or -1 with `e` set (limits, memory). */
int picture_alloc(struct picture *p, uint32_t format, uint32_t n, uint32_t h, uint32_t w, uint32_t c,
                  struct err *e);

/* `in` stretched to h x w (the aspect is not kept: crop before, where it matters), bilinear, and averaging
 * over all that a pixel covers where it shrinks, so that nothing is skipped: the same bytes as Pillow's
 * Image.resize((w, h), BILINEAR), which is what most networks were trained with. uint8 only: float32 is
 * already what the network wants. `out` is new; `in` stays as it is. */
int picture_resize(const struct picture *in, uint32_t h, uint32_t w, struct picture *out, struct err *e);

/* RGB to one channel of luma (ITU-R BT.601, as Pillow's "L"), in place, for networks that want one. */
int picture_to_gray(struct picture *p, struct err *e);

#endif
