/* Files to what an engine takes: .npy arrays and pictures, checked against one
 * input of a model and cut into its items. A feed owns its bytes; one thread. */
#ifndef CLIENT_FEED_H
#define CLIENT_FEED_H

#include "infer/engine.h"

struct feed {
    uint32_t format; /* enum input_format */
    int64_t rows;    /* pictures (or rows) in the file */
    int64_t images;  /* rows in one item of the model */
    int64_t items;   /* rows / images, rounded up; the last one filled with zeros */
    size_t item_bytes;
    uint8_t *data; /* items * item_bytes, 64-byte aligned */
};

/* float32 (or any other number) as the model's input is, the batch first, a
 * missing batch axis counting as 1; uint8 as [N,]H,W,C, for models of one input
 * of pictures; JPEG and PNG, stretched to the model's size. 0, to be freed with
 * feed_free; or -1 with `e` set. */
int feed_load(const struct image *img, uint32_t input, const char *path, struct feed *out, struct err *e);
void feed_free(struct feed *f);

/* Values for measuring: any, but always the same. 0 or -1 with `e` set. */
int feed_make(const struct image *img, uint32_t input, int64_t items, struct feed *out, struct err *e);

#endif
