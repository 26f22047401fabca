/* Picture files to pixels: JPEG and PNG to RGB of 8 bits, .npy as it is.
 *
 * Pixels come as Pillow's convert("RGB") gives them, which is what most
 * networks were trained with: no gamma and no colour profile is applied, alpha
 * is dropped (not blended), 16 bits are rounded to 8, CMYK is converted plainly.
 * EXIF orientation is not applied: a camera that notes a turn must turn the
 * picture itself. A file that ends too early is refused, not half shown.
 * Plain functions; any thread. */
#ifndef CLIENT_DECODE_H
#define CLIENT_DECODE_H

#include "client/picture.h"

#define DECODE_MAX_BYTES ((size_t)1 << 30) /* of a file */

/* By content, not by name. .npy: uint8 [H,W,C] or [N,H,W,C] with C of 1, 3 or 4;
 * float32 [C,H,W] or [N,C,H,W]. 0 and *out, to be freed with picture_free; or -1 with `e` set. */
int decode_file(const char *path, struct picture *out, struct err *e);

/* The same over bytes; `name` is for messages. */
int decode_bytes(const char *name, const uint8_t *bytes, size_t size, struct picture *out, struct err *e);

/* One format each, for decode.c; messages without the name. */
int decode_jpeg(const uint8_t *bytes, size_t size, struct picture *out, struct err *e);
int decode_png(const uint8_t *bytes, size_t size, struct picture *out, struct err *e);

#endif
