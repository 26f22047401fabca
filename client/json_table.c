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

char *json_table_duration(char *buf, long long s) {
    long long d = s / 86400, h = s / 3600 % 24, m = s / 60 % 60;
    if (d)
        (void)snprintf(buf, 32, "%lld d %lld h", d, h);
    else if (h)
        (void)snprintf(buf, 32, "%lld h %lld min", h, m);
    else if (m)
        (void)snprintf(buf, 32, "%lld min %lld s", m, s % 60);
    else
        (void)snprintf(buf, 32, "%lld s", s);
    return buf;
}

/* Keys are words with underscores; "_s" is told by the value. */
static void key_text(const char *key, char buf[CELL]) {
    (void)snprintf(buf, CELL, "%s", key);
    if (ends_with(buf, "_s")) buf[strlen(buf) - 2] = 0;
    for (char *s = buf; *s; s++)
        if (*s == '_') *s = ' ';
}

static bool is_section(json_t *v, int depth) {
    return json_is_object(v) && json_object_size(v) && depth < DEPTH && !json_object_get(v, "shape");
}

static void add_facts(struct table *table, json_t *object, int depth) {
    const char *key;
    json_t *v;
    char name[CELL];
    json_object_foreach(object, key, v) {
        char text[CELL] = "";
        if (is_section(v, depth)) continue;
        key_text(key, name);
        if (ends_with(key, "_s") && json_is_integer(v))
            (void)json_table_duration(text, json_integer_value(v));
        else
            value_text(key, v, text);
        table_add(table, STYLE_DIM, "%*s%s", 2 * depth, "", name);
        table_add(table, style_of(key, text), "%s", text);
    }
    json_object_foreach(object, key, v) {
        if (!is_section(v, depth)) continue;
        key_text(key, name);
        table_add(table, STYLE_BOLD, "%*s%s", 2 * depth, "", name);
        table_add(table, STYLE_PLAIN, "%s", "");
        add_facts(table, v, depth + 1);
    }
}

void json_table_print_facts(FILE *to, const struct terminal *t, json_t *object) {
    struct table *table = table_new("ll");
    if (!table) return;
    add_facts(table, object, 0);
    table_print(table, to, t);
    table_free(table);
}

/* --- rows ---------------------------------------------------------------------------------- */

struct columns {
    const char *keys[MAX_COLUMNS];
    bool numbers[MAX_COLUMNS];
    size_t n;
};

static void note_column(struct columns *c, const char *key, json_t *v) {
    size_t k = 0;
    while (k < c->n && strcmp(c->keys[k], key) != 0) k++;
    if (k == c->n) {
        if (c->n == MAX_COLUMNS || strcmp(key, "reason") == 0) return;
        c->keys[c->n++] = key;
        c->numbers[k] = true;
    }
    c->numbers[k] = c->numbers[k] && (json_is_number(v) || json_is_null(v));
}

static void find_columns(json_t *rows, const char *const *order, struct columns *c) {
    size_t i;
    json_t *row, *v;
    const char *key;
    for (; order && *order; order++)
        json_array_foreach(rows, i, row) if ((v = json_object_get(row, *order))) note_column(c, *order, v);
    json_array_foreach(rows, i, row) json_object_foreach(row, key, v) note_column(c, key, v);
}

static struct table *make_table(json_t *rows, const struct columns *c, size_t n) {
    char align[MAX_COLUMNS + 1] = "";
    size_t i;
    json_t *row;
    for (size_t k = 0; k < n; k++) align[k] = c->numbers[k] ? 'r' : 'l';
    struct table *table = n ? table_new(align) : NULL;
    if (!table) return NULL;
    for (size_t k = 0; k < n; k++) {
        char head[CELL];
        key_text(c->keys[k], head);
        table_add(table, STYLE_DIM, "%s", head);
    }
    json_array_foreach(rows, i, row) {
        for (size_t k = 0; k < n; k++) {
            char text[CELL] = "";
            json_t *v = json_object_get(row, c->keys[k]);
            if (v) value_text(c->keys[k], v, text);
            table_add(table, style_of(c->keys[k], text), "%s", text);
        }
    }
    return table;
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

void json_table_print_rows(FILE *to, const struct terminal *t, json_t *rows, const char *const *order) {
    struct columns c = {0};
    find_columns(rows, order, &c);
    struct table *table = make_table(rows, &c, c.n);
    for (size_t n = c.n; table && n > 2 && t->columns && table_width(table) > t->columns; n--) {
        table_free(table);
        table = make_table(rows, &c, n - 1);
    }
    if (!table) return;
    table_print(table, to, t);
    print_reasons(to, t, rows, c.keys[0]);
    table_free(table);
}
