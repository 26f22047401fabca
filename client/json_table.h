/* A daemon's JSON as tables for people. What the daemon says decides what is
 * shown, so that a newer one's figures appear without a newer clpctl. */
#ifndef CLIENT_JSON_TABLE_H
#define CLIENT_JSON_TABLE_H

#include "client/terminal.h"

#include <jansson.h>

/* An object as "key  value" lines; objects in it as indented sections below the plain facts. */
void json_table_print_facts(FILE *to, const struct terminal *t, json_t *object);

/* An array of objects, a column for each key that occurs: those in `order` (ends
 * with NULL) first, the others behind them. Where the terminal is too narrow the
 * last columns are left out. "reason" is told below the table. */
void json_table_print_rows(FILE *to, const struct terminal *t, json_t *rows, const char *const *order);

/* "3 d 4 h", "5 min 6 s" into buf (at least 32 bytes); returns buf. */
char *json_table_duration(char *buf, long long seconds);

#endif
