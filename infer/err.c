/* Error values: formatting, and making hostile bytes harmless to a terminal. */
#include "infer/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the printable UTF-8 character at `s`; 0: it is none (RFC 3629, no C0 or C1 controls).
 * The terminating NUL ends a sequence that was cut. */
static int character(const unsigned char *s) {
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    const int n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xc2 && s[1] < 0xa0) return 0;                                    /* C1 controls */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90)) return 0; /* longer than need be */
    if ((s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0; /* surrogates, past the end */
    return n;
}

/* Names in messages come from files that anyone may have written: escape
 * sequences must not reach a terminal or a log, nor half a character JSON. */
static void clean(char *s) {
    while (*s) {
        const int n = character((const unsigned char *)s);
        if (n == 0) *s = '?';
        s += n ? n : 1;
    }
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...) {
    if (!e) return -1;
    va_list ap;
    va_start(ap, fmt);
    e->code = code;
    (void)vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    clean(e->text);
    return -1;
}

int err_prefix(struct err *e, const char *fmt, ...) {
    if (!e) return -1;
    char head[ERR_TEXT / 2], whole[sizeof head + 2 + ERR_TEXT];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    (void)snprintf(whole, sizeof whole, "%s: %s", head, e->text);
    memcpy(e->text, whole, sizeof e->text - 1);
    e->text[sizeof e->text - 1] = 0;
    clean(e->text);
    return -1;
}

const char *err_code_name(enum err_code code) {
    static const char *const names[ERR_CODES] = {"none",  "format", "truncated", "unsupported",
                                                 "value", "limit",  "system",    "internal"};
    return (unsigned)code < ERR_CODES ? names[code] : "unknown";
}
