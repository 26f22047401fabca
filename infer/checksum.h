/* A checksum of 32 bytes at the speed of memory, of pieces in any order: it finds damage, not malice.
 *
 * The bytes are cut into blocks of 64, the last one filled up with zeros. Of block b, word i of 16 becomes
 *
 *     x = (word ^ (b + 1) * K[i]) * ODD;   x = (x ^ x >> 15) * MIX;   x = x ^ x >> 13
 *
 * which is one to one, so that no change of a single word goes unseen, and b says where it stands. What
 * becomes of word i is added up over all blocks; SHA-256 over the 16 sums and the length makes 32 bytes of
 * them. Sums can be taken by several threads and merged. Where somebody may forge bytes on purpose, this is
 * the wrong function: see digest.h. Plain values, any thread. */
#ifndef INFER_CHECKSUM_H
#define INFER_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#define CHECKSUM_BYTES 32
#define CHECKSUM_WORDS 16
#define CHECKSUM_BLOCK (CHECKSUM_WORDS * sizeof(uint32_t))

struct checksum { /* all zero to begin with */
    uint32_t sums[CHECKSUM_WORDS];
};

/* `n` bytes that stand `at` so many, which is a multiple of CHECKSUM_BLOCK; so is n but at the end, or where
 * zeros follow to the end of the block. Each block goes in once. */
void checksum_add(struct checksum *c, uint64_t at, const void *bytes, size_t n);
void checksum_merge(struct checksum *into, const struct checksum *from);
void checksum_final(const struct checksum *c, uint64_t bytes, uint8_t out[CHECKSUM_BYTES]);

#endif
