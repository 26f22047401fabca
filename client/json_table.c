/* JSON to tables: facts and rows, cells by the kind of their value. */
#include "client/json_table.h"
#include "client/table.h"

#include <math.h>
#include <string.h>

enum { MAX_COLUMNS = 24, CELL = 160, DEPTH = 4 };

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static void append(char *buf, const char *text) {
    size_t used = strlen(buf);
    (void)snprintf(buf + used, CELL - used, "%s", text);
}

static void real_text(double d, char *buf, size_t cap) {
    (void)snprintf(buf, cap,
                   fabs(d) >= 1e15 || (d != 0 && fabs(d) < 1e-3) ? "%.3g"
                   : d == floor(d)                               ? "%.0f"
                                                                 : "%.4g",
                   d);
}

static void value_text(const char *key, json_t *v, char buf[CELL]);

static void array_text(json_t *a, char buf[CELL]) {
    size_t i;
    json_t *v;
    append(buf, "[");
    json_array_foreach(a, i, v) {
        char one[CELL] = "";
        value_text("", v, one);
        if (i) append(buf, ",");
        append(buf, one);
    }
    append(buf, "]");
}

/* An input is its shape and what it takes. */
static void object_text(json_t *o, char buf[CELL]) {
    json_t *shape = json_object_get(o, "shape"), *v;
    const char *key;
    if (shape) {
        append(buf, json_is_true(json_object_get(o, "u8")) ? "u8 " : "f32 ");
        array_text(shape, buf);
        return;
    }
    json_object_foreach(o, key, v) {
        char one[CELL] = "";
        value_text(key, v, one);
        if (buf[0]) append(buf, " ");
        append(buf, key);
        append(buf, "=");
        append(buf, one);
    }
}

static void value_text(const char *key, json_t *v, char buf[CELL]) {
    char number[64];
    switch (json_typeof(v)) {
    case JSON_STRING:
        (void)snprintf(buf, CELL, ends_with(key, "sha256") ? "%.12s" : "%s", json_string_value(v));
        break;
    case JSON_INTEGER:
        if (fabs((double)json_integer_value(v)) < 10000 || ends_with(key, "pid") || ends_with(key, "version"))
            (void)snprintf(buf, CELL, "%lld", (long long)json_integer_value(v));
        else
            (void)snprintf(buf, CELL, "%s", terminal_count(number, json_integer_value(v)));
        break;
    case JSON_REAL: real_text(json_real_value(v), buf, CELL); break;
    case JSON_TRUE: (void)snprintf(buf, CELL, "yes"); break;
    case JSON_FALSE: (void)snprintf(buf, CELL, "no"); break;
    case JSON_NULL: break;
    case JSON_ARRAY: array_text(v, buf); break;
    case JSON_OBJECT: object_text(v, buf); break;
    }
}

static enum style style_of(const char *key, const char *text) {
    static const struct {
        const char *text;
        enum style style;
    } words[] = {{"serving", STYLE_GREEN},   {"rejected", STYLE_RED},     {"pruned", STYLE_YELLOW},
                 {"settling", STYLE_YELLOW}, {"importing", STYLE_YELLOW}, {"not-applicable", STYLE_YELLOW},
                 {"off", STYLE_YELLOW},      {"superseded", STYLE_DIM}};
    if (strcmp(key, "name") == 0) return STYLE_BOLD;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(text, words[i].text) == 0) return words[i].style;
    return STYLE_PLAIN;
}

/* --- facts --------------------------------------------------------------------------------- */

static void add_facts(struct table *table, const char *prefix, json_t *object, int depth) {
    const char *key;
    json_t *v;
    json_object_foreach(object, key, v) {
        char name[CELL], text[CELL] = "";
        (void)snprintf(name, sizeof name, "%s%s", prefix, key);
        if (json_is_object(v) && json_object_size(v) && depth < DEPTH && !json_object_get(v, "shape")) {
            append(name, ".");
            add_facts(table, name, v, depth + 1);
            continue;
        }
        value_text(key, v, text);
        table_add(table, STYLE_DIM, "%s", name);
        table_add(table, style_of(key, text), "%s", text);
    }
}

void json_table_print_facts(FILE *to, const struct terminal *t, json_t *object) {
    struct table *table = table_new("ll");
    if (!table) return;
    add_facts(table, "", object, 0);
    table_print(table, to, t);
    table_free(table);
}

/* --- rows ---------------------------------------------------------------------------------- */

struct columns {
    const char *keys[MAX_COLUMNS];
    bool numbers[MAX_COLUMNS];
    size_t n;
};

static bool is_in(const char *key, const char *const *list) {
    for (; list && *list; list++)
        if (strcmp(key, *list) == 0) return true;
    return false;
}

static void find_columns(json_t *rows, const char *const *skip, struct columns *c) {
    size_t i;
    json_t *row, *v;
    const char *key;
    json_array_foreach(rows, i, row) {
        json_object_foreach(row, key, v) {
            size_t k = 0;
            while (k < c->n && strcmp(c->keys[k], key) != 0) k++;
            if (k == c->n) {
                if (c->n == MAX_COLUMNS || is_in(key, skip) || strcmp(key, "reason") == 0) continue;
                c->keys[c->n++] = key;
                c->numbers[k] = true;
            }
            c->numbers[k] = c->numbers[k] && (json_is_number(v) || json_is_null(v));
        }
    }
}

static void print_reasons(FILE *to, const struct terminal *t, json_t *rows, const char *first) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const char *reason = json_string_value(json_object_get(row, "reason"));
        const char *name = json_string_value(json_object_get(row, first));
        char line[1024], clean[1024];
        if (!reason || !*reason) continue;
        (void)snprintf(line, sizeof line, "%s: %s", name ? name : "", reason);
        terminal_wrap(to, t, 2, terminal_clean(clean, sizeof clean, line));
    }
}

void json_table_print_rows(FILE *to, const struct terminal *t, json_t *rows, const char *const *skip) {
    struct columns c = {0};
    char align[MAX_COLUMNS + 1] = "";
    size_t i;
    json_t *row;
    find_columns(rows, skip, &c);
    for (size_t k = 0; k < c.n; k++) align[k] = c.numbers[k] ? 'r' : 'l';
    struct table *table = c.n ? table_new(align) : NULL;
    if (!table) return;
    for (size_t k = 0; k < c.n; k++) {
        char head[CELL];
        (void)snprintf(head, sizeof head, "%s", c.keys[k]);
        for (char *s = head; *s; s++)
            if (*s == '_') *s = ' ';
        table_add(table, STYLE_DIM, "%s", head);
    }
    json_array_foreach(rows, i, row) {
        for (size_t k = 0; k < c.n; k++) {
            char text[CELL] = "";
            json_t *v = json_object_get(row, c.keys[k]);
            if (v) value_text(c.keys[k], v, text);
            table_add(table, style_of(c.keys[k], text), "%s", text);
        }
    }
    table_print(table, to, t);
    print_reasons(to, t, rows, c.keys[0]);
    table_free(table);
}
