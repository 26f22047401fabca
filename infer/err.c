/* Error values: formatting, and making hostile bytes harmless to a terminal. */
#include "infer/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Names in messages come from files that anyone may have written: escape
 * sequences must not reach a terminal or a log. UTF-8 passes. */
static void clean(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
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
