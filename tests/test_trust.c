/* guard/trust: keys, lists and signatures, and what is none. */
#include "guard/trust.h"
#include "tests/suite.h"

#include <nettle/eddsa.h>
#include <string.h>

/* RFC 8032, 7.1, test 1, and its key as openssl writes it. */
static const uint8_t secret[32] = {0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a,
                                   0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32,
                                   0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60};
#define PEM                                                                                                  \
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"             \
    "-----END PUBLIC KEY-----\n"
#define RSA                                                                                                  \
    "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4\n" \
    "-----END PUBLIC KEY-----\n"

static int read_keys(const char *text, struct trust_keys *k) {
    struct err e = {0};
    return trust_read_keys((const uint8_t *)text, strlen(text), k, &e);
}

static void keys(void) {
    struct trust_keys k;
    uint8_t public[32];
    ed25519_sha512_public_key(public, secret);
    CU_ASSERT_EQUAL(read_keys("# ours\n" PEM "the vendor's:\n" PEM, &k), 0);
    CU_ASSERT_EQUAL(k.n, 2);
    CU_ASSERT_EQUAL(memcmp(k.key[0], public, 32), 0);
    CU_ASSERT_EQUAL(memcmp(k.key[1], public, 32), 0);
    CU_ASSERT_EQUAL(read_keys("", &k), -1);
    CU_ASSERT_EQUAL(read_keys("-----BEGIN PUBLIC KEY-----\nMCow", &k), -1);
    CU_ASSERT_EQUAL(read_keys("-----BEGIN PUBLIC KEY-----\n????\n-----END PUBLIC KEY-----\n", &k), -1);
    CU_ASSERT_EQUAL(read_keys(PEM RSA, &k), -1);
    char many[TRUST_KEYS * sizeof PEM + sizeof PEM] = "";
    for (int i = 0; i <= TRUST_KEYS; i++) strcat(many, PEM);
    CU_ASSERT_EQUAL(read_keys(many, &k), -1);
}

static void digests(void) {
    struct trust_digests d;
    struct err e = {0};
    uint8_t want[32] = {0}, other[32] = {1};
    memset(want, 0xab, sizeof want);
#define AB16 "abababababababab"
#define AB   AB16 AB16 AB16 AB16
    static const char *const good[] = {AB "  x.onnx\n", "\n# c\n  \n" AB "\n" AB, "\\" AB " *a\\nb\r\n",
                                       "ABABABABABABABAB" AB16 AB16 AB16 "\r\n"};
    static const char *const bad[] = {AB "0\n", "abab\n", AB16 AB16 AB16 "ababababababababx", AB "\nx"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CU_ASSERT_EQUAL(trust_read_digests("l", (const uint8_t *)good[i], strlen(good[i]), &d, &e), 0);
        CU_ASSERT_TRUE(trust_allows(&d, want));
        CU_ASSERT_FALSE(trust_allows(&d, other));
        trust_free_digests(&d);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(trust_read_digests("l", (const uint8_t *)bad[i], strlen(bad[i]), &d, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "l:2: "));
    CU_ASSERT_EQUAL(trust_read_digests("l", NULL, 0, &d, &e), 0); /* an empty list allows nothing */
    CU_ASSERT_FALSE(trust_allows(&d, want));
}

static void signatures(void) {
    struct trust_keys k;
    struct spawn_digests d = {.model = {0xab}, .sidecar = {2}, .external = {3}};
    char message[TRUST_MESSAGE], another[TRUST_MESSAGE];
    uint8_t signature[TRUST_SIGNATURE], public[32];
    CU_ASSERT_EQUAL(read_keys(PEM, &k), 0);
    ed25519_sha512_public_key(public, secret);
    size_t n = trust_message(&d, "a.onnx", NULL, "a.yaml", message);
    CU_ASSERT_EQUAL(n, 2 * (64 + 2 + 6 + 1));
    CU_ASSERT_EQUAL(strncmp(message, "ab00", 4), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(message, "00  a.onnx\n02"));
    ed25519_sha512_sign(public, secret, n, (const uint8_t *)message, signature);
    CU_ASSERT_TRUE(trust_verify(&k, message, n, signature));
    /* Another name, another set of files, other contents. */
    size_t m = trust_message(&d, "b.onnx", NULL, "a.yaml", another);
    CU_ASSERT_FALSE(trust_verify(&k, another, m, signature));
    m = trust_message(&d, "a.onnx", "a.onnx.data", "a.yaml", another);
    CU_ASSERT_FALSE(trust_verify(&k, another, m, signature));
    d.sidecar[0] ^= 1;
    m = trust_message(&d, "a.onnx", NULL, "a.yaml", another);
    CU_ASSERT_FALSE(trust_verify(&k, another, m, signature));
    for (int i = 0; i < TRUST_SIGNATURE; i++) {
        signature[i] ^= 1;
        CU_ASSERT_FALSE(trust_verify(&k, message, n, signature));
        signature[i] ^= 1;
    }
    k.n = 0;
    CU_ASSERT_FALSE(trust_verify(&k, message, n, signature));
    /* Names too long for the message: nothing is signed by that. */
    char longest[TRUST_MESSAGE];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    CU_ASSERT_EQUAL(trust_message(&d, longest, NULL, NULL, another), 0);
    CU_ASSERT_FALSE(trust_verify(&k, another, 0, signature));
}

SUITE(trust, {"keys", keys}, {"lists of digests", digests}, {"signatures", signatures});
