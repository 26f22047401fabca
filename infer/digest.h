/* SHA-256 through nettle, in one go or piece by piece. Plain values, any thread. */
#ifndef INFER_DIGEST_H
#define INFER_DIGEST_H

#include <nettle/sha2.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES 32

struct digest {
    struct sha256_ctx sha;
};

void digest_init(struct digest *d);
void digest_update(struct digest *d, const void *bytes, size_t n);
void digest_final(struct digest *d, uint8_t out[DIGEST_BYTES]); /* and starts anew */

void digest_sha256(const void *bytes, size_t n, uint8_t out[DIGEST_BYTES]);
/* 64 hexadecimal digits and a NUL into buf; returns buf. */
char *digest_text(const uint8_t digest[DIGEST_BYTES], char buf[2 * DIGEST_BYTES + 1]);

#endif
