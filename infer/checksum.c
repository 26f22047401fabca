/* The checksum of checksum.h: a block is a handful of operations on one strip of words. */
#include "infer/checksum.h"

#include "infer/digest.h"
#include "infer/simd.h"

#include <string.h>

#define ODD 0x9e3779b1u
#define MIX 0x85ebca77u

typedef uint32_t word_at __attribute__((aligned(1), may_alias));

/* K: odd, and no two alike. */
static const uint32_t keys[CHECKSUM_WORDS] = {
    0x9e3779b1u, 0x85ebca77u, 0xc2b2ae3du, 0x27d4eb2fu, 0x165667b1u, 0xd3a2646du, 0xfd7046c5u, 0xb55a4f09u,
    0x68e31da5u, 0x2545f491u, 0xcc9e2d51u, 0x1b873593u, 0xe6546b65u, 0x5bd1e995u, 0x7feb352du, 0x846ca68bu};

SIMD_CLONES static void add_blocks(uint32_t sums[CHECKSUM_WORDS], uint32_t block, const uint8_t *bytes,
                                   size_t n) {
    uint32_t sum[CHECKSUM_WORDS];
    memcpy(sum, sums, sizeof sum);
    for (; n > 0; n--, bytes += CHECKSUM_BLOCK) {
        const word_at *word = (const word_at *)bytes;
        block++;
        SIMD_EACH(j) {
            uint32_t x = (word[j] ^ block * keys[j]) * ODD;
            x = (x ^ x >> 15) * MIX;
            sum[j] += x ^ x >> 13;
        }
    }
    memcpy(sums, sum, sizeof sum);
}

void checksum_add(struct checksum *c, uint64_t at, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    const size_t whole = n / CHECKSUM_BLOCK, rest = n % CHECKSUM_BLOCK;
    add_blocks(c->sums, (uint32_t)(at / CHECKSUM_BLOCK), p, whole);
    if (rest == 0) return;
    uint8_t last[CHECKSUM_BLOCK] = {0};
    memcpy(last, p + whole * CHECKSUM_BLOCK, rest);
    add_blocks(c->sums, (uint32_t)(at / CHECKSUM_BLOCK + whole), last, 1);
}

void checksum_merge(struct checksum *into, const struct checksum *from) {
    for (int i = 0; i < CHECKSUM_WORDS; i++) into->sums[i] += from->sums[i];
}

void checksum_final(const struct checksum *c, uint64_t bytes, uint8_t out[CHECKSUM_BYTES]) {
    struct digest d;
    digest_init(&d);
    digest_update(&d, c->sums, sizeof c->sums);
    digest_update(&d, &bytes, sizeof bytes); /* tells zeros at the end from none */
    digest_final(&d, out);
}
