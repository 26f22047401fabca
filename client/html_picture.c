/* PNG with stored (not compressed) blocks: signature, IHDR, one IDAT, IEND. RFC 1950, 1951, 2083. */
#include "client/html_picture.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 65535u /* bytes of a stored block */

static void put_base64(FILE *to, const uint8_t *p, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        const uint32_t v =
            (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0u);
        (void)fputc(digits[v >> 18], to);
        (void)fputc(digits[v >> 12 & 63], to);
        (void)fputc(i + 1 < n ? digits[v >> 6 & 63] : '=', to);
        (void)fputc(i + 2 < n ? digits[v & 63] : '=', to);
    }
}

static uint32_t crc(const uint8_t *p, size_t n) {
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
    }
    return ~c;
}

static uint32_t adler(const uint8_t *p, size_t n) {
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < n; i++) {
        a = (a + p[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static uint8_t *put_number(uint8_t *at, uint32_t v) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(v >> (24 - 8 * i));
    return at + 4;
}

static uint8_t *put_bytes(uint8_t *at, const void *from, size_t n) {
    if (n) memcpy(at, from, n);
    return at + n;
}

/* Length, name, body, checksum of both; the body may be there already. */
static uint8_t *end_chunk(uint8_t *begin, const char *name, size_t n) {
    (void)put_number(begin, (uint32_t)n);
    memcpy(begin + 4, name, 4);
    return put_number(begin + 8 + n, crc(begin + 4, n + 4));
}

/* zlib's frame around stored blocks; `raw` is what the picture's rows come to. */
static size_t put_stored(uint8_t *to, const uint8_t *raw, size_t n) {
    uint8_t *at = to;
    *at++ = 0x78;
    *at++ = 0x01;
    for (size_t done = 0; done < n;) {
        const size_t some = n - done < BLOCK ? n - done : BLOCK;
        *at++ = done + some == n;
        *at++ = (uint8_t)some;
        *at++ = (uint8_t)(some >> 8);
        *at++ = (uint8_t)~some;
        *at++ = (uint8_t)(~some >> 8);
        at = put_bytes(at, raw + done, some);
        done += some;
    }
    return (size_t)(put_number(at, adler(raw, n)) - to);
}

void html_picture_put(FILE *to, const uint8_t *rgba, uint32_t width, uint32_t height) {
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    const size_t row = 1 + 4 * (size_t)width, n = row * height;
    uint8_t *raw = malloc(n + 1), *png = malloc(n + n / BLOCK * 5 + 256), *at = png;
    if (raw && png && n) {
        for (uint32_t y = 0; y < height; y++) {
            raw[y * row] = 0; /* no filter */
            memcpy(raw + y * row + 1, rgba + y * (row - 1), row - 1);
        }
        at = put_bytes(at, signature, sizeof signature);
        (void)put_bytes(put_number(put_number(at + 8, width), height), "\x08\x06\0\0", 5); /* 8 bits, RGBA */
        at = end_chunk(at, "IHDR", 13);
        at = end_chunk(at, "IDAT", put_stored(at + 8, raw, n));
        at = end_chunk(at, "IEND", 0);
        (void)fputs("data:image/png;base64,", to);
        put_base64(to, png, (size_t)(at - png));
    }
    free(raw);
    free(png);
}
