/* SHA-256 against the examples of FIPS 180-4, in one go and in pieces. */
#include "infer/digest.h"

#include "tests/suite.h"

#include <string.h>

static void known_digests(void) {
    uint8_t d[DIGEST_BYTES];
    char text[2 * DIGEST_BYTES + 1];
    digest_sha256("", 0, d);
    CU_ASSERT_STRING_EQUAL(digest_text(d, text),
                           "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest_sha256("abc", 3, d);
    CU_ASSERT_STRING_EQUAL(digest_text(d, text),
                           "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void pieces_give_the_same(void) {
    uint8_t bytes[1000], whole[DIGEST_BYTES], parts[DIGEST_BYTES];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 7);
    digest_sha256(bytes, sizeof bytes, whole);
    struct digest d;
    digest_init(&d);
    for (int round = 0; round < 2;
         round++) { /* the second one checks that the first has left nothing behind */
        for (size_t at = 0, n = 1; at < sizeof bytes; at += n, n = n * 3 % 101) {
            if (n > sizeof bytes - at) n = sizeof bytes - at;
            digest_update(&d, bytes + at, n);
        }
        digest_final(&d, parts);
        CU_ASSERT_EQUAL(memcmp(whole, parts, sizeof whole), 0);
    }
}

SUITE(digest, {"known digests", known_digests}, {"pieces give the same", pieces_give_the_same});
