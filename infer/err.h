/* One error for a person to read: what was wrong, where, and what to do.
 * Plain value type: no ownership, any thread. */
#ifndef INFER_ERR_H
#define INFER_ERR_H

#define ERR_TEXT 480

enum err_code {
    ERR_NONE = 0,
    ERR_FORMAT,      /* the bytes are not what they claim to be */
    ERR_TRUNCATED,   /* they end too early: a copy that is not finished */
    ERR_UNSUPPORTED, /* well-formed, but outside what is run */
    ERR_VALUE,       /* a value that may not be (NaN weight, variance <= 0) */
    ERR_LIMIT,       /* over a limit of size, count, time or memory */
    ERR_SYSTEM,      /* the operating system refused */
    ERR_INTERNAL,    /* a mistake of ours */
    ERR_CODES
};

struct err {
    enum err_code code;
    char text[ERR_TEXT]; /* one line, no newline, valid as a C string always */
};

/* Writes the message and returns -1, so that callers can `return err_set(...)`.
 * `e` may be NULL. Control characters and invalid bytes that came in through
 * the arguments are replaced by '?', since names come from hostile files. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of what is there already; returns -1. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "format", "unsupported", … for JSON and logs. */
const char *err_code_name(enum err_code code);

#endif
