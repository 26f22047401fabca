/* A checksum of 32 bytes at the speed of memory, in one go or piece by piece: it finds damage, not malice.
 *
 * 64 lanes of 32 bits each take every 64th word: lane = rotate((lane ^ word) * odd, 15), which is one to
 * one, so that no change of a single word goes unseen. SHA-256 over the lanes and the length makes 32 bytes
 * of them. Where somebody may forge bytes on purpose, this is the wrong function: see digest.h. Plain values,
 * any thread. */
#ifndef INFER_CHECKSUM_H
#define INFER_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#define CHECKSUM_BYTES 32
#define CHECKSUM_LANES 64
#define CHECKSUM_ROUND (CHECKSUM_LANES * sizeof(uint32_t)) /* bytes that go in at once */

struct checksum {
    uint32_t lanes[CHECKSUM_LANES];
    uint64_t bytes;               /* so far */
    uint8_t rest[CHECKSUM_ROUND]; /* bytes % CHECKSUM_ROUND of them: not taken in yet */
};

void checksum_init(struct checksum *c);
void checksum_update(struct checksum *c, const void *bytes, size_t n);
void checksum_final(struct checksum *c, uint8_t out[CHECKSUM_BYTES]);

#endif
