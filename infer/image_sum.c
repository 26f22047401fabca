/* Pieces of an image, taken in order by whoever is free. See image_sum.h. */
#include "infer/image_sum.h"

#include "infer/image_internal.h"

#include <stdatomic.h>

#define PIECE ((uint64_t)1 << 20) /* whole blocks of the checksum */

void image_sum_begin(struct image_sum *s, const struct image *img) {
    *s = (struct image_sum){.img = img, .lock = PTHREAD_MUTEX_INITIALIZER};
}

void image_sum_help(struct image_sum *s) {
    const struct image *img = s->img;
    struct checksum sum = {{0}};
    for (;;) {
        const uint64_t at = atomic_fetch_add_explicit(&s->next, PIECE, memory_order_relaxed);
        if (at >= img->size) break;
        const uint64_t n = img->size - at < PIECE ? img->size - at : PIECE;
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
