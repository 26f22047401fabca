/* What image_*.c share: the mapped image itself, and the check in progress.
 * Nobody else includes this. */
#ifndef INFER_IMAGE_INTERNAL_H
#define INFER_IMAGE_INTERNAL_H

#include "infer/checksum.h"
#include "infer/image.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images are little-endian and used as they lie"
#endif

#define IMAGE_MAX_BYTES ((uint64_t)16 << 30)

struct image {
    const uint8_t *bytes;
    size_t size;
    void *mapping; /* == bytes where image_unmap has to unmap; NULL where the caller keeps them */
    size_t scratch_bytes;
    uint32_t *labels; /* offset into strings, per label */
};

/* An image whose section table has been checked, so that the pointers may be used. */
struct image_view {
    const uint8_t *bytes;
    size_t size;
    const struct image_header *h;
    const struct image_tensor *tensors;
    const uint32_t *operands;
    const struct image_step *steps;
    const char *strings;
};

static inline uint64_t image_align(uint64_t offset) {
    return (offset + IMAGE_ALIGN - 1) / IMAGE_ALIGN * IMAGE_ALIGN;
}

static inline const uint8_t *image_section(const uint8_t *bytes, int section) {
    return bytes + ((const struct image_header *)(const void *)bytes)->sections[section].offset;
}

/* Of the whole, with its own field taken as zero. */
void image_checksum(const uint8_t *bytes, size_t size, uint8_t out[32]);
/* The first `size` bytes of it, the whole header at least. */
void image_checksum_head(struct checksum *c, const uint8_t *bytes, size_t size);

/* Whether that is the one that the image states. */
int image_compare_checksum(const struct image *img, const uint8_t sum[CHECKSUM_BYTES], struct err *e);

/* Whether numbers for preprocessing can be used; the writer refuses what the check would. */
int image_check_preprocess(const struct image_preprocess *p, struct err *e);

/* The name at `offset` of strings that end with NUL; NULL where it is outside or too long. */
const char *image_find_name(const struct image_view *v, uint32_t offset);

/* All steps, and that every byte read has been written before; gives the scratch they need. */
int image_check_steps(const struct image_view *v, size_t *scratch_bytes, struct err *e);

/* Multiply-adds of one step, or how many elements it touches where that is more. */
uint64_t image_step_work(enum op op, const union op_params *p, const struct shape *in, int n_in,
                         const struct shape *out);

bool image_all_zero(const void *bytes, size_t n);

#endif
