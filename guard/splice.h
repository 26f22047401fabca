/* A byte range rewritten without being copied first: replacements are noted,
 * then the range is written out with them in place. The bytes and what replaces
 * them are borrowed until splice_free. One owner, one thread. */
#ifndef GUARD_SPLICE_H
#define GUARD_SPLICE_H

#include "infer/err.h"

#include <stddef.h>
#include <stdint.h>

struct splice;
struct splices { /* all zero: none */
    struct splice *items;
    size_t n, room;
};

/* Takes `n` bytes; 0, or -1 with `e` set, which ends the writing. */
typedef int (*splice_write_fn)(void *ctx, const void *bytes, size_t n, struct err *e);

/* At offset `at`, `drop` bytes give way to `n` others; put NULL: zeros.
 * Insertions at one offset keep their order. -1: out of memory. */
int splice_add(struct splices *s, size_t at, size_t drop, const void *put, size_t n);
/* By how much the bytes from `from` up to and including offset `to` grow (or shrink, modulo 2^64). */
size_t splice_growth(const struct splices *s, size_t from, size_t to);
/* Replacements that overlap or lie outside are a mistake of the caller: ERR_INTERNAL. */
int splice_write(struct splices *s, const uint8_t *bytes, size_t size, splice_write_fn write, void *ctx,
                 struct err *e);
void splice_free(struct splices *s);

#endif
