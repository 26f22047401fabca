/* An image of any content: what image_check lets through can be read and run, and touches
 * nothing outside; images that a clean run of the writer made are where it starts. */
#include "infer/image_internal.h"
#include "tests/fuzz/support/fuzz.h"
#include "tests/fuzz/support/run_image.h"

#include <string.h>

FUZZ_MUTATOR(fuzz_mutate_image);

/* Everything that the daemon reads of an image besides running it. */
static void read_all(const struct image *img) {
    const struct image_header *h = image_header(img);
    size_t sum = 0, n;
    for (uint32_t i = 0; i <= h->n_labels; i++) sum += image_label(img, i) ? strlen(image_label(img, i)) : 0;
    for (uint32_t i = 0; i < h->n_tensors; i++)
        sum += strlen(image_string(img, image_tensor_at(img, i)->name));
    for (uint32_t i = 0; i < h->n_steps; i++) sum += strlen(image_string(img, image_step_at(img, i)->name));
    const uint8_t *report = image_report(img, &n);
    for (size_t i = 0; i < n; i++) sum += report[i];
    FUZZ_MUST(sum < SIZE_MAX, "unreachable: keeps the reads");
}

FUZZ(image, 40000) {
    struct image *img;
    struct err e = {0};
    uint8_t *copy;
    if (posix_memalign((void **)&copy, IMAGE_ALIGN, size ? size : 1)) return 0; /* exactly so long */
    memcpy(copy, bytes, size);
    if (size >= sizeof(struct image_header)) /* the digest is no secret: whoever makes an image knows it */
        image_checksum(copy, size, ((struct image_header *)(void *)copy)->self_checksum);
    if (image_check(copy, size, &img, &e) < 0) {
        fuzz_check_refusal(&e);
    } else {
        read_all(img);
        fuzz_try_image(img);
        image_unmap(img);
    }
    free(copy);
    return 0;
}
