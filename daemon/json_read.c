/* One pass over the bytes. Numbers take a short way where a double holds them exactly, and strtof otherwise.
 */
#include "daemon/json_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_TEXT 512 /* longest number that is taken; 112 digits can decide about a float */

bool json_read_fail(struct json_read *j, const char *what) {
    if (!j->what) j->what = what;
    return false;
}

int json_read_err(const struct json_read *j, struct err *e) {
    return err_set(e, ERR_FORMAT, "JSON: %s, at byte %zu", j->what ? j->what : "not understood",
                   (size_t)(j->at - j->begin));
}

void json_read_begin(struct json_read *j, const uint8_t *bytes, size_t size) {
    *j = (struct json_read){.begin = bytes, .at = bytes, .end = bytes + size};
}

static void skip_space(struct json_read *j) {
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' || *j->at == '\r' || *j->at == '\t')) j->at++;
}

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

char json_read_kind(struct json_read *j) {
    skip_space(j);
    if (j->what || j->at == j->end) return 0;
    const char c = (char)*j->at;
    if (c == '-' || is_digit(c)) return '0';
    return c == '{' || c == '[' || c == '"' || c == 't' || c == 'f' || c == 'n' ? c : 0;
}

bool json_read_end(struct json_read *j) {
    skip_space(j);
    if (j->what) return false;
    return j->at == j->end ? true : json_read_fail(j, "something follows the end");
}

/* --- arrays and objects -------------------------------------------------------------- */

bool json_read_open(struct json_read *j, char bracket) {
    if (json_read_kind(j) != bracket)
        return json_read_fail(j,
                              bracket == '[' ? "an array should stand here" : "an object should stand here");
    if (++j->depth > JSON_READ_DEPTH) return json_read_fail(j, "it is nested deeper than 64 levels");
    j->at++;
    return true;
}

/* The bracket that was opened last is told from a comma by what stands before: it is never one itself. */
static bool is_first(const struct json_read *j) {
    const uint8_t *p = j->at;
    while (p > j->begin && (p[-1] == ' ' || p[-1] == '\n' || p[-1] == '\r' || p[-1] == '\t')) p--;
    return p > j->begin && (p[-1] == '[' || p[-1] == '{');
}

bool json_read_next(struct json_read *j, char bracket) {
    const bool first = j->what ? false : is_first(j);
    skip_space(j);
    if (j->what) return false;
    if (j->at == j->end) return json_read_fail(j, "it ends too early");
    if ((char)*j->at == bracket) {
        j->at++;
        j->depth--;
        return false;
    }
    if (first) return true;
    if (*j->at != ',')
        return json_read_fail(j, bracket == ']' ? "',' or ']' should stand here"
                                                : "',' or '}' should stand here");
    j->at++;
    skip_space(j);
    if (j->at < j->end && (*j->at == ']' || *j->at == '}')) return json_read_fail(j, "nothing follows a ','");
    return true;
}

bool json_read_key(struct json_read *j, struct json_text *key) {
    if (!json_read_text(j, key)) return false;
    skip_space(j);
    if (j->at == j->end || *j->at != ':') return json_read_fail(j, "':' should stand here");
    j->at++;
    return true;
}

/* --- text ------------------------------------------------------------------------------- */

/* Bytes of the UTF-8 character at p, 0: it is none. */
static size_t utf8(const uint8_t *p, const uint8_t *end) {
    const size_t n = p[0] < 0x80                   ? 1
                     : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                     : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                     : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                                   : 0;
    if (n == 0 || (size_t)(end - p) < n) return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (n == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0))) return 0;
    if (n == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))) return 0;
    return n;
}

static int hex(uint8_t c) {
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The four digits at p; -1: they are none. */
static int32_t unit(const uint8_t *p, const uint8_t *end) {
    int32_t v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        const int d = hex(p[i]);
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* Behind a backslash. Bytes of the whole escape without it, 0: it is none; *code is what it stands for. */
static size_t escape(const uint8_t *p, const uint8_t *end, uint32_t *code) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p == end) return 0;
    const char *simple = *p ? strchr(from, *p) : NULL;
    if (simple) {
        *code = (uint8_t)to[simple - from];
        return 1;
    }
    const int32_t high = *p == 'u' ? unit(p + 1, end) : -1;
    if (high < 0) return 0;
    *code = (uint32_t)high;
    if (high < 0xd800 || high > 0xdfff) return 5;
    const int32_t low = high < 0xdc00 && end - p >= 11 && p[5] == '\\' && p[6] == 'u' ? unit(p + 7, end) : -1;
    if (low < 0xdc00 || low > 0xdfff) return 0; /* half a character */
    *code = 0x10000u + (((uint32_t)high - 0xd800u) << 10) + ((uint32_t)low - 0xdc00u);
    return 11;
}

bool json_read_text(struct json_read *j, struct json_text *out) {
    if (json_read_kind(j) != '"') return json_read_fail(j, "a string should stand here");
    const uint8_t *p = j->at + 1;
    uint32_t code;
    while (p < j->end && *p != '"') {
        const size_t n = *p == '\\' ? escape(p + 1, j->end, &code) : *p < 0x20 ? 0 : utf8(p, j->end);
        if (n == 0) {
            j->at = p;
            return json_read_fail(j, "a string holds what no string may");
        }
        p += n + (*p == '\\');
    }
    if (p == j->end) return json_read_fail(j, "a string has no end");
    *out = (struct json_text){j->at + 1, (size_t)(p - j->at - 1)};
    j->at = p + 1;
    return true;
}

bool json_text_is(const struct json_text *t, const char *word) {
    return t->n == strlen(word) && memcmp(t->bytes, word, t->n) == 0;
}

static size_t put_utf8(uint32_t c, char out[4]) {
    if (c < 0x80) return out[0] = (char)c, 1;
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

bool json_text_copy(const struct json_text *t, char *out, size_t room) {
    const uint8_t *p = t->bytes, *end = p + t->n;
    size_t used = 0;
    while (p < end) {
        char c[4] = {(char)*p};
        size_t n = 1;
        uint32_t code = *p;
        if (*p == '\\') {
            p += escape(p + 1, end, &code);
            n = put_utf8(code, c);
        }
        p++;
        if (code == 0 || n >= room - used) return false;
        memcpy(out + used, c, n);
        used += n;
    }
    if (room == 0) return false;
    out[used] = 0;
    return true;
}

/* --- numbers ------------------------------------------------------------------------------ */

struct number { /* as it is written: digits, without sign and point, times a power of ten */
    const uint8_t *text;
    size_t n;
    uint64_t digits;
    int32_t power;
    bool negative, whole, exact; /* whole: neither point nor exponent; exact: all digits are in `digits` */
};

static void take_digit(struct number *d, int c) {
    if (d->digits > (UINT64_MAX - 9) / 10)
        d->exact = false;
    else
        d->digits = d->digits * 10 + (uint64_t)(c - '0');
}

static bool take_exponent(const uint8_t **at, const uint8_t *end, struct number *d) {
    const uint8_t *p = *at + 1;
    const bool minus = p < end && *p == '-';
    int32_t value = 0;
    if (p < end && (*p == '-' || *p == '+')) p++;
    if (p == end || !is_digit(*p)) return false;
    for (; p < end && is_digit(*p); p++)
        if (value < 100000) value = value * 10 + (*p - '0');
    d->power += minus ? -value : value;
    *at = p;
    return true;
}

/* RFC 8259's grammar. */
static bool read_number(struct json_read *j, struct number *d) {
    if (json_read_kind(j) != '0') return json_read_fail(j, "a number should stand here");
    const uint8_t *p = j->at, *const end = j->end;
    *d = (struct number){.text = p, .negative = *p == '-', .whole = true, .exact = true};
    p += d->negative;
    if (p == end || !is_digit(*p)) return json_read_fail(j, "a number without a digit");
    if (*p == '0' && p + 1 < end && is_digit(p[1])) return json_read_fail(j, "a number begins with 0");
    for (; p < end && is_digit(*p); p++) take_digit(d, *p);
    if (p < end && *p == '.') {
        d->whole = false;
        if (++p == end || !is_digit(*p)) return json_read_fail(j, "a number ends with its point");
        for (; p < end && is_digit(*p); p++, d->power--) take_digit(d, *p);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        d->whole = false;
        if (!take_exponent(&p, end, d)) return json_read_fail(j, "a number without its exponent");
    }
    d->n = (size_t)(p - d->text);
    if (d->n >= NUMBER_TEXT) return json_read_fail(j, "a number of more than 511 characters");
    j->at = p;
    return true;
}

bool json_read_u64(struct json_read *j, uint64_t *out) {
    struct number d;
    const uint8_t *at = (skip_space(j), j->at);
    if (!read_number(j, &d)) return false;
    *out = d.digits;
    if (d.whole && d.exact && !d.negative) return true;
    j->at = at;
    return json_read_fail(j, "a whole number from 0 on should stand here");
}

/* 1e0 .. 1e22 are exact doubles. */
static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Two exact doubles give one correctly rounded double, whose rounding to float is right unless it lies
 * (within one unit) half-way between two floats, or where floats are subnormal. false: take the long way. */
static bool short_way(const struct number *d, float *out) {
    if (!d->exact || d->digits > (UINT64_C(1) << 53) || d->power < -22 || d->power > 22) return false;
    const double v = d->power < 0 ? (double)d->digits / tens[-d->power] : (double)d->digits * tens[d->power];
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    const uint64_t rest = bits & ((UINT64_C(1) << 29) - 1), half = UINT64_C(1) << 28;
    if (v != 0 && (v < 0x1p-126 || v > 0x1p127 || (rest >= half - 1 && rest <= half + 1))) return false;
    *out = d->negative ? -(float)v : (float)v;
    return true;
}

bool json_read_float(struct json_read *j, float *out) {
    struct number d;
    const uint8_t *at = (skip_space(j), j->at);
    if (!read_number(j, &d)) return false;
    if (short_way(&d, out)) return true;
    char text[NUMBER_TEXT];
    memcpy(text, d.text, d.n);
    text[d.n] = 0;
    *out = strtof(text, NULL);
    if (isfinite(*out)) return true;
    j->at = at;
    return json_read_fail(j, "a number out of float32's range");
}

bool json_read_bool(struct json_read *j, bool *out) {
    const char kind = json_read_kind(j);
    const size_t n = kind == 't' ? 4 : 5;
    if ((kind != 't' && kind != 'f') || (size_t)(j->end - j->at) < n ||
        memcmp(j->at, kind == 't' ? "true" : "false", n) != 0)
        return json_read_fail(j, "true or false should stand here");
    *out = kind == 't';
    j->at += n;
    return true;
}

/* --- skipping ----------------------------------------------------------------------------- */

static bool skip_scalar(struct json_read *j) {
    struct json_text t;
    struct number d;
    bool b;
    switch (json_read_kind(j)) {
    case '"': return json_read_text(j, &t);
    case '0': return read_number(j, &d);
    case 't':
    case 'f': return json_read_bool(j, &b);
    case 'n':
        if (j->end - j->at < 4 || memcmp(j->at, "null", 4) != 0) break;
        j->at += 4;
        return true;
    default: break;
    }
    return json_read_fail(j, "a value should stand here");
}

/* Brackets are kept in a word, so that depth costs no stack: bit n is set where level n is an object. */
bool json_read_skip(struct json_read *j) {
    const uint32_t base = j->depth;
    uint64_t objects = 0;
    struct json_text key;
    for (;;) {
        const char kind = json_read_kind(j);
        if (kind == '{' || kind == '[') {
            if (!json_read_open(j, kind)) return false;
            objects = objects << 1 | (kind == '{');
        } else if (!skip_scalar(j)) {
            return false;
        }
        while (j->depth > base) { /* to the next value, through all brackets that close here */
            const bool object = objects & 1;
            if (json_read_next(j, object ? '}' : ']')) {
                if (object && !json_read_key(j, &key)) return false;
                break;
            }
            if (j->what) return false;
            objects >>= 1;
        }
        if (j->depth == base) return true;
    }
}
