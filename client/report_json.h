/* A scan report as JSON, schema 1: scripts rely on its keys. */
#ifndef CLIENT_REPORT_JSON_H
#define CLIENT_REPORT_JSON_H

#include "guard/report.h"

#include <jansson.h>
#include <stdio.h>

/* A new reference, or NULL: out of memory. `model` is the file as the user named it. */
json_t *report_json_make(const char *model, const struct report *r);
/* What stands in its place where the model was refused: {"schema":1,"model":…,"error":{"code":…,"text":…}}.
 */
json_t *report_json_make_error(const char *model, const struct err *e);

/* One document on one line; takes the reference (NULL: fails). 0 or -1: not written. */
int report_json_put(FILE *to, json_t *document);
/* Text that need not be UTF-8, cleaned. A new reference. */
json_t *report_json_string(const char *text);
/* A float so that its shortest decimal form is printed: 0.1, not 0.100000001. A new reference. */
json_t *report_json_float(float f);

#endif
