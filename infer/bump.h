/* Bump memory: many small allocations, freed all at once. For building graphs
 * and plans; never on the request path. One owner, one thread. */
#ifndef INFER_BUMP_H
#define INFER_BUMP_H

#include <stddef.h>

struct bump_chunk;
struct bump { /* all zero: empty */
    struct bump_chunk *chunks;
    size_t used, capacity; /* of the newest chunk */
};

/* 64-byte aligned, zeroed; lives until bump_free. NULL: out of memory. */
void *bump_alloc(struct bump *b, size_t bytes);
/* The same for `n` things of `size` bytes; NULL also where the product overflows. */
void *bump_array(struct bump *b, size_t n, size_t size);
void bump_free(struct bump *b);

#endif
