/* A picture file of any content (JPEG, PNG, .npy): what is decoded has all its pixels, and can be fitted to a
 * model. */
#include "client/decode.h"
#include "tests/fuzz/support/fuzz.h"

static uint64_t elements(const struct picture *p) {
    return (uint64_t)p->n * p->h * p->w * p->c;
}

static void fit(struct picture *p) {
    struct picture small = {0};
    struct err e = {0};
    uint32_t sum = 0;
    for (size_t i = 0; i < p->bytes; i++) sum += ((const uint8_t *)p->data)[i];
    FUZZ_MUST(p->bytes == elements(p) * (p->format == CLPD_F32_NCHW ? 4u : 1u), "%zu bytes, sum %u", p->bytes,
              sum);
    if (p->format != CLPD_U8_NHWC || elements(p) > 1 << 18) return;
    if (picture_resize(p, 5, 7, &small, &e) == 0) {
        if (small.c == 3 && picture_to_gray(&small, &e) < 0) fuzz_check_refusal(&e);
    } else {
        fuzz_check_refusal(&e);
    }
    picture_free(&small);
}

FUZZ(picture, 8192) {
    struct picture p;
    struct err e = {0};
    if (decode_bytes("camera", bytes, size, &p, &e) == 0)
        fit(&p);
    else
        fuzz_check_refusal(&e);
    picture_free(&p);
    return 0;
}
