/* Heapsort. */
#include "infer/sort.h"

#include <string.h>

struct heap {
    char *base;
    size_t size;
    int (*compare)(const void *, const void *);
};

static void swap(const struct heap *h, size_t a, size_t b) {
    char held[SORT_RECORD];
    memcpy(held, h->base + a * h->size, h->size);
    memcpy(h->base + a * h->size, h->base + b * h->size, h->size);
    memcpy(h->base + b * h->size, held, h->size);
}

/* Lets record `at` sink below its children among the first `n`, the larger of which rises. */
static void sink(const struct heap *h, size_t at, size_t n) {
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && h->compare(h->base + child * h->size, h->base + (child + 1) * h->size) < 0)
            child++;
        if (h->compare(h->base + at * h->size, h->base + child * h->size) >= 0) return;
        swap(h, at, child);
    }
}

void sort_records(void *base, size_t n, size_t size, int (*compare)(const void *, const void *)) {
    const struct heap h = {base, size, compare};
    if (size > SORT_RECORD) return;
    for (size_t i = n / 2; i > 0; i--) sink(&h, i - 1, n);
    for (size_t i = n; i > 1; i--) {
        swap(&h, 0, i - 1);
        sink(&h, 0, i - 1);
    }
}
