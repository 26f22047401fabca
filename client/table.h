/* A table for people: columns as wide as their widest cell, the first one
 * shortened in its middle where the terminal is too narrow. Cells are cleaned
 * (terminal_clean). One owner. */
#ifndef CLIENT_TABLE_H
#define CLIENT_TABLE_H

#include "client/terminal.h"

struct table;

/* `align`: 'l' or 'r' for each column. NULL: out of memory. */
struct table *table_new(const char *align);
void table_free(struct table *t);

/* The next cell, row by row. A failed allocation leaves the cell empty. */
void table_add(struct table *t, enum style s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same with text that holds our own escape sequences: not cleaned, never shortened; `width` columns. */
void table_add_painted(struct table *t, const char *text, int width);

/* Columns that it takes as it is. */
int table_width(const struct table *t);
void table_print(const struct table *t, FILE *to, const struct terminal *terminal);

#endif
