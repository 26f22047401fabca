/* Tables: cells collected, widths measured, rows printed. */
#include "client/table.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 2, NARROWEST = 12 };

struct cell {
    char *text; /* NULL: empty */
    enum style style;
    int width;
    bool painted;
};

struct table {
    char *align;
    size_t columns, n_cells, room;
    struct cell *cells;
};

struct table *table_new(const char *align) {
    struct table *t = calloc(1, sizeof *t);
    if (t && !(t->align = strdup(align))) {
        free(t);
        return NULL;
    }
    if (t) t->columns = strlen(align);
    return t;
}

void table_free(struct table *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n_cells; i++) free(t->cells[i].text);
    free(t->cells);
    free(t->align);
    free(t);
}

static void add(struct table *t, struct cell c) {
    if (t->n_cells == t->room) {
        size_t room = t->room ? t->room * 2 : 64;
        struct cell *more = realloc(t->cells, room * sizeof *more);
        if (!more) {
            free(c.text);
            return;
        }
        t->cells = more;
        t->room = room;
    }
    t->cells[t->n_cells++] = c;
}

void table_add(struct table *t, enum style s, const char *fmt, ...) {
    char *raw = NULL, *clean = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&raw, fmt, ap);
    va_end(ap);
    if (n >= 0) {
        clean = malloc((size_t)n + 1);
        if (clean) (void)terminal_clean(clean, (size_t)n + 1, raw);
        free(raw);
    }
    add(t, (struct cell){.text = clean, .style = s, .width = clean ? terminal_width(clean) : 0});
}

void table_add_painted(struct table *t, const char *text, int width) {
    add(t, (struct cell){.text = strdup(text), .width = width, .painted = true});
}

static void put_spaces(FILE *to, int n) {
    if (n > 0) (void)fprintf(to, "%*s", n, "");
}

/* The names of layers differ at both ends: what is left out is the middle. */
static int put_shortened(FILE *to, const char *text, int room, const struct terminal *terminal) {
    const char *dots = terminal->unicode ? "…" : "..";
    int left = room - terminal_width(dots), head = left / 2;
    size_t cut = terminal_fit(text, head);
    const char *tail = text + strlen(text);
    int tail_room = left - head;
    while (tail > text + cut) {
        const char *before = tail - 1;
        while (before > text && (*before & 0xc0) == 0x80) before--;
        if (terminal_width(before) > tail_room) break;
        tail = before;
    }
    (void)fprintf(to, "%.*s%s%s", (int)cut, text, dots, tail);
    char *head_text = strndup(text, cut);
    int width = (head_text ? terminal_width(head_text) : head) + terminal_width(dots) + terminal_width(tail);
    free(head_text);
    return width;
}

static void put_cell(const struct table *t, size_t i, int room, bool last, FILE *to,
                     const struct terminal *terminal) {
    const struct cell *c = &t->cells[i];
    int width = c->width;
    bool right = t->align[i % t->columns] == 'r';
    if (right && width < room) put_spaces(to, room - width);
    (void)fputs(terminal_begin(terminal, c->style), to);
    if (width <= room || c->painted)
        (void)fputs(c->text ? c->text : "", to);
    else
        width = put_shortened(to, c->text, room, terminal);
    (void)fputs(terminal_end(terminal, c->style), to);
    if (!last) put_spaces(to, (right ? 0 : room - width) + GAP);
}

/* Widths of the columns into room[]; returns the sum, gaps included. */
static int measure(const struct table *t, int *room) {
    int all = 0;
    for (size_t i = 0; i < t->n_cells; i++) {
        int *r = &room[i % t->columns];
        if (t->cells[i].width > *r) *r = t->cells[i].width;
    }
    for (size_t c = 0; c < t->columns; c++) all += room[c] + (c ? GAP : 0);
    return all;
}

int table_width(const struct table *t) {
    int *room = calloc(t->columns, sizeof *room), all = room ? measure(t, room) : 0;
    free(room);
    return all;
}

void table_print(const struct table *t, FILE *to, const struct terminal *terminal) {
    int *room = calloc(t->columns, sizeof *room);
    if (!room) return;
    int all = measure(t, room);
    if (terminal->columns && all > terminal->columns) {
        int first = room[0] - (all - terminal->columns);
        room[0] = first > NARROWEST ? first : room[0] > NARROWEST ? NARROWEST : room[0];
    }
    for (size_t i = 0; i + t->columns <= t->n_cells; i += t->columns) {
        size_t end = t->columns; /* no blanks behind the last word */
        while (end > 1 && t->cells[i + end - 1].width == 0) end--;
        for (size_t c = 0; c < end; c++) put_cell(t, i + c, room[c], c == end - 1, to, terminal);
        (void)fputc('\n', to);
    }
    free(room);
}
