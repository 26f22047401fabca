/* A daemon's JSON as tables for people. What the daemon says decides what is
 * shown, so that a newer one's figures appear without a newer clpctl. */
#ifndef CLIENT_JSON_TABLE_H
#define CLIENT_JSON_TABLE_H

#include "client/terminal.h"

#include <jansson.h>

/* An object as "key  value" lines; what is inside of it as "key.key". */
void json_table_print_facts(FILE *to, const struct terminal *t, json_t *object);

/* An array of objects, a column for each key that occurs, in their order; keys
 * in `skip` (ends with NULL) are left out, "reason" is told under its row. */
void json_table_print_rows(FILE *to, const struct terminal *t, json_t *rows, const char *const *skip);

#endif
