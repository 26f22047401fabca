/* Who has vouched for a model: the list of allowed digests, and Ed25519 signatures.
 *
 * What is signed is a text, the one that this prints in the model's folder (the
 * second and third name only where there is such a file):
 *
 *   sha256sum NAME.onnx NAME.onnx.data NAME.yaml
 *
 * so a signature holds for these contents under these names, and for nothing
 * else. It covers the digests that the import worker took of the very bytes it then
 * read, so there is no moment at which the file could be exchanged.
 * The parsers are pure: bytes in, no file, no global. Any thread. */
#ifndef GUARD_TRUST_H
#define GUARD_TRUST_H

#include "guard/spawn.h"

#define TRUST_KEYS      16
#define TRUST_KEY       32
#define TRUST_SIGNATURE 64
#define TRUST_MESSAGE   1024 /* three lines of 64 digits, two spaces and a name */

struct trust_keys {
    uint32_t n;
    uint8_t key[TRUST_KEYS][TRUST_KEY];
};

/* "-----BEGIN PUBLIC KEY-----" and so on (RFC 8410), one or more; text between them is passed over. 0, or -1
 * with `e` set: none, too many, or one that is not Ed25519. */
int trust_read_keys(const uint8_t *bytes, size_t size, struct trust_keys *out, struct err *e);

struct trust_digests { /* sorted; zero it, free it with trust_free_digests */
    uint8_t (*list)[32];
    size_t n;
};
#define TRUST_DIGESTS 100000
/* Lines as sha256sum writes them; empty lines and those that begin with # are passed over. `name` is for
 * messages. */
int trust_read_digests(const char *name, const uint8_t *bytes, size_t size, struct trust_digests *out,
                       struct err *e);
void trust_free_digests(struct trust_digests *d);
bool trust_allows(const struct trust_digests *d, const uint8_t sha256[32]);

/* The signed text; its length. The names are those in the folder; external NULL: no data file was handed in.
 */
size_t trust_message(const struct spawn_digests *d, const char *model, const char *external,
                     const char *sidecar, char out[TRUST_MESSAGE]);
bool trust_verify(const struct trust_keys *k, const char *message, size_t n,
                  const uint8_t signature[TRUST_SIGNATURE]);

#endif
