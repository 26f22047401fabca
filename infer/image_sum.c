/* Pieces of an image, taken in order by whoever is free. See image_sum.h. */
#include "infer/image_sum.h"

#include "infer/image_internal.h"

#include <stdatomic.h>
#include <sys/mman.h>

#define PIECE ((uint64_t)1 << 20) /* whole pages, and whole blocks of the checksum */

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

void image_sum_begin(struct image_sum *s, const struct image *img) {
    *s = (struct image_sum){.img = img, .lock = PTHREAD_MUTEX_INITIALIZER};
}

/* One call for the page tables of a piece; where there is none, faults bring them 16 pages at a time. */
static void bring_in(const struct image *img, uint64_t at, uint64_t n) {
    if (img->mapping) (void)madvise((uint8_t *)img->mapping + at, n, MADV_POPULATE_READ);
}

void image_sum_help(struct image_sum *s) {
    const struct image *img = s->img;
    struct checksum sum = {{0}};
    for (;;) {
        const uint64_t at = atomic_fetch_add_explicit(&s->next, PIECE, memory_order_relaxed);
        if (at >= img->size) break;
        const uint64_t n = img->size - at < PIECE ? img->size - at : PIECE;
        bring_in(img, at, n);
        if (at == 0)
            image_checksum_head(&sum, img->bytes, n);
        else
            checksum_add(&sum, at, img->bytes + at, n);
    }
    pthread_mutex_lock(&s->lock);
    checksum_merge(&s->sum, &sum);
    pthread_mutex_unlock(&s->lock);
}

int image_sum_end(struct image_sum *s, struct err *e) {
    uint8_t sum[CHECKSUM_BYTES];
    checksum_final(&s->sum, s->img->size, sum);
    (void)pthread_mutex_destroy(&s->lock);
    return image_compare_checksum(s->img, sum, e);
}
