/* SHA-256 through nettle. */
#include "infer/digest.h"

void digest_init(struct digest *d) {
    sha256_init(&d->sha);
}

void digest_update(struct digest *d, const void *bytes, size_t n) {
    sha256_update(&d->sha, n, bytes);
}

void digest_final(struct digest *d, uint8_t out[DIGEST_BYTES]) {
    sha256_digest(&d->sha, DIGEST_BYTES, out);
}

void digest_sha256(const void *bytes, size_t n, uint8_t out[DIGEST_BYTES]) {
    struct digest d;
    digest_init(&d);
    digest_update(&d, bytes, n);
    digest_final(&d, out);
}

char *digest_text(const uint8_t digest[DIGEST_BYTES], char buf[2 * DIGEST_BYTES + 1]) {
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < DIGEST_BYTES; i++) {
        buf[2 * i] = hex[digest[i] >> 4];
        buf[2 * i + 1] = hex[digest[i] & 15];
    }
    buf[2 * DIGEST_BYTES] = 0;
    return buf;
}
