/* Spoilt copies of a good input, laid against a guard page: what every parser's test throws at it.
 * Deterministic: the same seed gives the same copies. */
#ifndef TESTS_MUTATE_H
#define TESTS_MUTATE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static inline uint64_t mutate_random(uint64_t *seed) { /* xorshift64*, Vigna 2016 */
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * UINT64_C(2685821657736338717);
}

static inline size_t mutate_below(uint64_t *seed, size_t n) {
    return n ? (size_t)(mutate_random(seed) % n) : 0;
}

/* One change: a bit, a byte, a cut, a repeated stretch, a number at an edge, or a word of `words` (ends with
 * NULL). */
static inline size_t mutate_once(uint8_t *b, size_t size, size_t room, const char *const *words,
                                 uint64_t *seed) {
    static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, '\n', '\t', ' ', '"'};
    size_t at = mutate_below(seed, size), n = 1 + mutate_below(seed, 16), kind = mutate_below(seed, 7),
           n_words = 0;
    while (words && words[n_words]) n_words++;
    if (size == 0) return size;
    if (n > size - at) n = size - at;
    switch (kind) {
    case 0: b[at] ^= (uint8_t)(1u << mutate_below(seed, 8)); return size;
    case 1: b[at] = (uint8_t)mutate_random(seed); return size;
    case 2: memset(b + at, edges[mutate_below(seed, sizeof edges)], n); return size;
    case 3: memmove(b + at, b + at + n, size - at - n); return size - n;
    case 4: return mutate_below(seed, 4) ? size : at;
    case 5:
        if (size + n > room) return size;
        memmove(b + at + n, b + at, size - at);
        return size + n;
    default: break;
    }
    if (n_words == 0) return size;
    const char *word = words[mutate_below(seed, n_words)];
    n = strlen(word);
    if (size + n > room) return size;
    memmove(b + at + n, b + at, size - at);
    memcpy(b + at, word, n);
    return size + n;
}

/* Memory whose last byte is followed by a page that can't be touched. */
struct mutate_room {
    uint8_t *map;
    size_t bytes, page;
};

static inline int mutate_room_open(struct mutate_room *r, size_t bytes) {
    r->page = (size_t)sysconf(_SC_PAGESIZE);
    r->bytes = (bytes + r->page - 1) / r->page * r->page;
    r->map = mmap(NULL, r->bytes + r->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return r->map == MAP_FAILED ? -1 : mprotect(r->map + r->bytes, r->page, PROT_NONE);
}

static inline uint8_t *mutate_room_put(struct mutate_room *r, const uint8_t *b, size_t size) {
    return memcpy(r->map + r->bytes - size, b, size);
}

static inline void mutate_room_close(struct mutate_room *r) {
    munmap(r->map, r->bytes + r->page);
}

#endif
