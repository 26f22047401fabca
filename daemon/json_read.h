/* Reads JSON where it lies: no tree, no allocation, no recursion into the bytes' own depth.
 * A value is asked for by kind and taken in order; what is not wanted is skipped, and
 * checked while it is. Strict RFC 8259: no NaN, no comment, no comma at the end.
 *
 * Pure: (bytes, size) in. Any thread. After the first failure every call fails; `what` says why. */
#ifndef DAEMON_JSON_READ_H
#define DAEMON_JSON_READ_H

#include "infer/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_READ_DEPTH 64 /* deeper nesting is refused */

struct json_read {
    const uint8_t *begin, *at, *end;
    const char *what; /* NULL: all is well */
    uint32_t depth;
};

struct json_text { /* between the quotes, escapes as they came; checked */
    const uint8_t *bytes;
    size_t n;
};

void json_read_begin(struct json_read *j, const uint8_t *bytes, size_t size);
/* Nothing but white space may be left. false: there is. */
bool json_read_end(struct json_read *j);

/* '{', '[', '"', 't', 'f', 'n', '0' (any number), or 0: the end, or what begins no value. */
char json_read_kind(struct json_read *j);

/* for (json_read_open(j, '['); json_read_next(j, ']');) one value each time. Of an object, json_read_key
 * first. */
bool json_read_open(struct json_read *j, char bracket);
bool json_read_next(struct json_read *j, char bracket);
bool json_read_key(struct json_read *j, struct json_text *key);

bool json_read_text(struct json_read *j, struct json_text *out);
bool json_read_bool(struct json_read *j, bool *out);
bool json_read_u64(struct json_read *j, uint64_t *out); /* a whole number; 1.0 and 1e2 are none */
bool json_read_float(struct json_read *j, float *out);  /* to the nearest; over FLT_MAX is an error */
bool json_read_skip(struct json_read *j);               /* any value */

/* Fails from now on, for a reason of the caller's. Always false. */
bool json_read_fail(struct json_read *j, const char *what);
/* "…, at byte N": -1 with `e` set. */
int json_read_err(const struct json_read *j, struct err *e);

bool json_text_is(const struct json_text *t, const char *word);
/* Escapes resolved, NUL-terminated. false: it does not fit, or holds a NUL. */
bool json_text_copy(const struct json_text *t, char *out, size_t room);

#endif
