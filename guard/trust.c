/* PEM and lists by hand, since each is a few lines; the arithmetic is nettle's. */
#include "guard/trust.h"

#include "guard/model_file.h"
#include "infer/digest.h"

#include <nettle/base64.h>
#include <nettle/eddsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN  "-----BEGIN PUBLIC KEY-----"
#define END    "-----END PUBLIC KEY-----"
#define DER    44  /* bytes of an Ed25519 key as X.509 has it */
#define ARMOUR 256 /* base64 of it, with line ends: 60 are usual */

/* --- keys ------------------------------------------------------------------------------------ */

static const uint8_t *find(const uint8_t *bytes, size_t n, const char *word) {
    return memmem(bytes, n, word, strlen(word));
}

static int read_key(const uint8_t *armour, size_t n, uint8_t key[TRUST_KEY], struct err *e) {
    /* SEQUENCE { SEQUENCE { OID 1.3.101.112 } BIT STRING of 32 bytes } */
    static const uint8_t prefix[DER - TRUST_KEY] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                                    0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
    struct base64_decode_ctx ctx;
    uint8_t der[BASE64_DECODE_LENGTH(ARMOUR)];
    size_t bytes = sizeof der;
    if (n <= ARMOUR) {
        base64_decode_init(&ctx);
        if (base64_decode_update(&ctx, &bytes, der, n, (const char *)armour) && base64_decode_final(&ctx) &&
            bytes == DER && memcmp(der, prefix, sizeof prefix) == 0) {
            memcpy(key, der + sizeof prefix, TRUST_KEY);
            return 0;
        }
    }
    return err_set(e, ERR_FORMAT,
                   "a public key in it is not Ed25519; make one with: openssl genpkey -algorithm ed25519");
}

int trust_read_keys(const uint8_t *bytes, size_t size, struct trust_keys *out, struct err *e) {
    const uint8_t *at = bytes, *const end = bytes + size;
    *out = (struct trust_keys){0};
    for (const uint8_t *begin; (begin = find(at, (size_t)(end - at), BEGIN));) {
        const uint8_t *armour = begin + strlen(BEGIN);
        const uint8_t *stop = find(armour, (size_t)(end - armour), END);
        if (!stop) return err_set(e, ERR_FORMAT, "a public key in it has no end");
        if (out->n == TRUST_KEYS) return err_set(e, ERR_LIMIT, "more than %d public keys", TRUST_KEYS);
        if (read_key(armour, (size_t)(stop - armour), out->key[out->n], e) < 0) return -1;
        out->n++;
        at = stop + strlen(END);
    }
    return out->n ? 0 : err_set(e, ERR_FORMAT, "there is no public key in it (%s)", BEGIN);
}

/* --- digests ---------------------------------------------------------------------------------- */

static int hex_digit(uint8_t c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The digest at the start of a line; sha256sum puts a backslash before it where the name has one. */
static bool read_digest(const uint8_t *line, size_t n, uint8_t out[32]) {
    if (n && *line == '\\') line++, n--;
    if (n < 64 || (n > 64 && line[64] != ' ' && line[64] != '\t' && line[64] != '\r')) return false;
    for (int i = 0; i < 32; i++) {
        const int high = hex_digit(line[2 * i]), low = hex_digit(line[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static int by_bytes(const void *a, const void *b) {
    return memcmp(a, b, 32);
}

static bool is_blank(const uint8_t *line, size_t n) {
    size_t i = 0;
    while (i < n && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r')) i++;
    return i == n || line[i] == '#';
}

int trust_read_digests(const char *name, const uint8_t *bytes, size_t size, struct trust_digests *out,
                       struct err *e) {
    const uint8_t *const end = bytes + size;
    unsigned number = 0;
    *out = (struct trust_digests){0};
    for (const uint8_t *line = bytes, *next; line < end; line = next) {
        const uint8_t *stop = memchr(line, '\n', (size_t)(end - line));
        const size_t n = (size_t)((stop ? stop : end) - line);
        next = stop ? stop + 1 : end;
        number++;
        if (is_blank(line, n)) continue;
        void *bigger = out->n % 1024 ? out->list : realloc(out->list, (out->n + 1024) * sizeof *out->list);
        if (!bigger || out->n == TRUST_DIGESTS) {
            trust_free_digests(out);
            return err_set(e, ERR_LIMIT, "%s: more than %d digests, or no memory for them", name,
                           TRUST_DIGESTS);
        }
        out->list = bigger;
        if (read_digest(line, n, out->list[out->n])) {
            out->n++;
            continue;
        }
        trust_free_digests(out);
        return err_set(e, ERR_FORMAT,
                       "%s:%u: a line begins with 64 hexadecimal digits, as sha256sum writes it", name,
                       number);
    }
    if (out->n) qsort(out->list, out->n, sizeof *out->list, by_bytes);
    return 0;
}

void trust_free_digests(struct trust_digests *d) {
    free(d->list);
    *d = (struct trust_digests){0};
}

bool trust_allows(const struct trust_digests *d, const uint8_t sha256[32]) {
    return d->n && bsearch(sha256, d->list, d->n, sizeof *d->list, by_bytes);
}

/* --- signatures --------------------------------------------------------------------------------- */

size_t trust_message(const struct spawn_digests *d, const char *model, const char *external,
                     const char *sidecar, char out[TRUST_MESSAGE]) {
    const struct {
        const uint8_t *digest;
        const char *name;
    } lines[] = {{d->model, model}, {d->external, external}, {d->sidecar, sidecar}};
    size_t used = 0;
    for (int i = 0; i < 3; i++) {
        char hex[2 * DIGEST_BYTES + 1];
        if (!lines[i].name) continue;
        const int n = snprintf(out + used, TRUST_MESSAGE - used, "%s  %s\n",
                               digest_text(lines[i].digest, hex), lines[i].name);
        if (n < 0 || (size_t)n >= TRUST_MESSAGE - used)
            return 0; /* names that are too long: nothing verifies */
        used += (size_t)n;
    }
    return used;
}

bool trust_verify(const struct trust_keys *k, const char *message, size_t n,
                  const uint8_t signature[TRUST_SIGNATURE]) {
    for (uint32_t i = 0; n && i < k->n; i++)
        if (ed25519_sha512_verify(k->key[i], n, (const uint8_t *)message, signature)) return true;
    return false;
}
