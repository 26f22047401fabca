/* What clpd and its picture decoder (clp-picture) say to each other, over a socketpair: one question, one
 * answer, and the decoder ends. The decoder reads hostile pictures, so what it answers is checked as if it
 * were taken over. */
#ifndef CLIENT_PICTURE_WIRE_H
#define CLIENT_PICTURE_WIRE_H

#include <stdint.h>

#define PICTURE_WIRE_MAGIC 0x50504c43u /* "CLPP" */

struct picture_question { /* then `bytes` of a JPEG or PNG file */
    uint32_t magic;
    uint32_t h, w, c; /* what the model takes: stretched to h x w; c is 3 (RGB) or 1 (grey) */
    uint64_t bytes;
};
struct picture_reply { /* then h * w * c bytes of pixels, where it worked */
    uint32_t magic;
    uint32_t ok;    /* 1 or 0 */
    char text[240]; /* why not; NUL-terminated */
};
_Static_assert(sizeof(struct picture_question) == 24 && sizeof(struct picture_reply) == 248, "picture wire");

#endif
