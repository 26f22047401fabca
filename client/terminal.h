/* What the place that we print to can show: colour, Unicode, how many columns;
 * and text made harmless, since names come from files and daemons that anyone
 * may have written. Plain values; any thread after terminal_init. */
#ifndef CLIENT_TERMINAL_H
#define CLIENT_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

enum style {
    STYLE_PLAIN,
    STYLE_DIM,
    STYLE_BOLD,
    STYLE_RED,
    STYLE_GREEN,
    STYLE_YELLOW,
    STYLE_CYAN,
    STYLE_COUNT
};

struct terminal {
    bool is_terminal; /* a person may be watching: progress makes sense */
    bool colour;      /* NO_COLOR (no-color.org) and TERM=dumb switch it off */
    bool unicode;
    int columns, rows; /* 0: no limit */
};

void terminal_init(void); /* the user's locale; once, at the start */
struct terminal terminal_of(FILE *f);

/* Escape sequences to begin and end a style; "" where there is no colour. */
const char *terminal_begin(const struct terminal *t, enum style s);
const char *terminal_end(const struct terminal *t, enum style s);

/* Columns that UTF-8 text takes. */
int terminal_width(const char *text);
/* Bytes from the start of UTF-8 text that take at most `width` columns. */
size_t terminal_fit(const char *text, int width);

/* Copies `text` into `to` (cap bytes, always ended): control characters, C1
 * codes, direction overrides and bytes that are no UTF-8 become '?'. Returns `to`. */
char *terminal_clean(char *to, size_t cap, const char *text);

/* Prints text and a newline, broken between words where the terminal ends; every line `indent` columns in. */
void terminal_wrap(FILE *f, const struct terminal *t, int indent, const char *text);

/* One line that is overwritten by the next; nothing where `f` is no terminal. NULL erases it. */
void terminal_progress(FILE *f, const struct terminal *t, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* "1,234,567" into buf (at least 32 bytes); returns buf. */
char *terminal_count(char *buf, long long n);

#endif
