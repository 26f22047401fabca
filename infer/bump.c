/* Bump memory: a list of chunks, of which the newest is filled. */
#include "infer/bump.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 64
#define CHUNK ((size_t)64 << 10)

struct bump_chunk { /* its memory starts ALIGN bytes in */
    struct bump_chunk *next;
};

void *bump_alloc(struct bump *b, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (b->chunks && bytes <= b->capacity - b->used) {
        void *p = (char *)b->chunks + ALIGN + b->used;
        b->used += bytes;
        return memset(p, 0, bytes);
    }
    const size_t capacity = bytes > CHUNK / 4 ? bytes : CHUNK;
    struct bump_chunk *c = aligned_alloc(ALIGN, ALIGN + capacity);
    if (!c) return NULL;
    if (capacity == CHUNK || !b->chunks) { /* becomes the one to fill */
        c->next = b->chunks;
        b->chunks = c;
        b->used = bytes;
        b->capacity = capacity;
    } else { /* a large one goes behind: the newest stays in use */
        c->next = b->chunks->next;
        b->chunks->next = c;
    }
    return memset((char *)c + ALIGN, 0, bytes);
}

void *bump_array(struct bump *b, size_t n, size_t size) {
    size_t bytes;
    return __builtin_mul_overflow(n, size, &bytes) ? NULL : bump_alloc(b, bytes);
}

void bump_free(struct bump *b) {
    for (struct bump_chunk *c = b->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *b = (struct bump){0};
}
