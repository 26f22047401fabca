/* The checksum of checksum.h: a round is four multiplications of vectors. */
#include "infer/checksum.h"

#include "infer/digest.h"
#include "infer/simd.h"

#include <string.h>

#define ODD    0x9e3779b1u /* 2^32 / the golden ratio, made odd */
#define VECTOR (CHECKSUM_LANES / 4)

typedef uint32_t words __attribute__((vector_size(VECTOR * sizeof(uint32_t))));
typedef uint32_t words_at __attribute__((vector_size(VECTOR * sizeof(uint32_t)), aligned(1), may_alias));

SIMD_CLONES static void take_rounds(uint32_t lanes[CHECKSUM_LANES], const uint8_t *bytes, size_t rounds) {
    words v[4];
    memcpy(v, lanes, sizeof v);
    for (; rounds > 0; rounds--, bytes += CHECKSUM_ROUND)
        for (int i = 0; i < 4; i++) {
            const words x = (v[i] ^ *(const words_at *)(bytes + (size_t)i * sizeof(words))) * ODD;
            v[i] = x << 15 | x >> 17;
        }
    memcpy(lanes, v, sizeof v);
}

void checksum_init(struct checksum *c) {
    memset(c, 0, sizeof *c);
    for (uint32_t i = 0; i < CHECKSUM_LANES; i++) c->lanes[i] = (i + 1) * ODD; /* zeros are not nothing */
}

void checksum_update(struct checksum *c, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    const size_t have = c->bytes % CHECKSUM_ROUND;
    c->bytes += n;
    if (have) {
        const size_t more = n < CHECKSUM_ROUND - have ? n : CHECKSUM_ROUND - have;
        memcpy(c->rest + have, p, more);
        if (have + more < CHECKSUM_ROUND) return;
        take_rounds(c->lanes, c->rest, 1);
        p += more;
        n -= more;
    }
    take_rounds(c->lanes, p, n / CHECKSUM_ROUND);
    if (n % CHECKSUM_ROUND) memcpy(c->rest, p + n / CHECKSUM_ROUND * CHECKSUM_ROUND, n % CHECKSUM_ROUND);
}

void checksum_final(struct checksum *c, uint8_t out[CHECKSUM_BYTES]) {
    struct digest d;
    const size_t have = c->bytes % CHECKSUM_ROUND;
    memset(c->rest + have, 0, CHECKSUM_ROUND - have);
    if (have) take_rounds(c->lanes, c->rest, 1);
    digest_init(&d);
    digest_update(&d, c->lanes, sizeof c->lanes);
    digest_update(&d, &c->bytes, sizeof c->bytes); /* tells zeros at the end from none */
    digest_final(&d, out);
}
