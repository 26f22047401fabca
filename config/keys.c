/* The key table at work: each value of a tree to the field that its row names.
 *
 *   apply_map walks the tree with the path so far ("guard.worker");
 *   a path that is a row  -> read_value -> the field;
 *   a path that is the beginning of rows -> apply_map again;
 *   anything else is refused, with the nearest row. */
#include "config/keys.h"
#include "config/nearest.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 160

/* --- words ------------------------------------------------------------------------ */

static void format_size(uint64_t v, char *room, size_t bytes) {
    static const char units[] = {'G', 'M', 'K'};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t unit = (uint64_t)1 << (30 - 10 * i);
        if (v == 0 || v % unit) continue;
        (void)snprintf(room, bytes, "%llu%c", (unsigned long long)(v / unit), units[i]);
        return;
    }
    (void)snprintf(room, bytes, "%llu", (unsigned long long)v);
}

static void format_choices(const char *choices, char *room, size_t bytes) {
    size_t n = 0;
    for (; *choices && n + 4 < bytes; choices++) {
        if (*choices != ' ') {
            room[n++] = *choices;
            continue;
        }
        memcpy(room + n, " | ", 3);
        n += 3;
    }
    room[n] = 0;
}

const char *keys_accepted(const struct key *k, char room[KEY_ACCEPTED]) {
    const size_t bytes = KEY_ACCEPTED;
    char low[32], high[32];
    if (k->accepts) return k->accepts;
    switch (k->type) {
    case KEY_SWITCH: (void)snprintf(room, bytes, "true or false"); break;
    case KEY_COUNT:
        (void)snprintf(room, bytes, "%s%.0f..%.0f", k->automatic ? "auto or " : "", k->min, k->max);
        break;
    case KEY_SIZE:
        format_size((uint64_t)k->min, low, sizeof low);
        format_size((uint64_t)k->max, high, sizeof high);
        (void)snprintf(room, bytes, "%s..%s, K, M and G being of 1024", low, high);
        break;
    case KEY_NUMBER: (void)snprintf(room, bytes, "%g..%g", k->min, k->max); break;
    case KEY_MODE: (void)snprintf(room, bytes, "in octal, such as \"0660\""); break;
    case KEY_CHOICE: format_choices(k->choices, room, bytes); break;
    case KEY_PATH: (void)snprintf(room, bytes, "an absolute path of at most %zu bytes", k->size - 1); break;
    case KEY_TEXT:
    case KEY_OWN: (void)snprintf(room, bytes, "a text"); break;
    }
    return room;
}

int keys_refuse(const struct key_place *p, uint32_t line, struct err *e, const char *fmt, ...) {
    char what[160], room[KEY_ACCEPTED];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return err_set(e, ERR_VALUE, "%s:%u: %s: %s; %s (%s)", p->name, line, p->key->path, what, p->key->meaning,
                   keys_accepted(p->key, room));
}

/* --- texts to values ---------------------------------------------------------------- */

enum reading { READ_OK, READ_NOT, READ_QUOTED, READ_ZERO, READ_RANGE };

/* Decimal digits only: no sign, no leading zero (which YAML 1.1 takes for octal), no underscores. */
static enum reading read_digits(const char *s, size_t n, uint64_t *out) {
    uint64_t v = 0;
    if (n == 0) return READ_NOT;
    for (size_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9') return READ_NOT;
    if (n > 1 && s[0] == '0') return READ_ZERO;
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (unsigned)(s[i] - '0'), &v))
            return READ_RANGE;
    *out = v;
    return READ_OK;
}

static enum reading check_range(const struct key *k, uint64_t v) {
    return (double)v >= k->min && (double)v <= k->max ? READ_OK : READ_RANGE;
}

static enum reading read_count(const struct key *k, const char *s, uint64_t *out) {
    if (k->automatic && strcmp(s, "auto") == 0) {
        *out = 0;
        return READ_OK;
    }
    enum reading r = read_digits(s, strlen(s), out);
    return r ? r : check_range(k, *out);
}

static enum reading read_size(const struct key *k, const char *s, uint64_t *out) {
    size_t n = strlen(s);
    unsigned shift = 0;
    if (n > 0 && strchr("KMG", s[n - 1])) shift = s[n - 1] == 'K' ? 10 : s[n - 1] == 'M' ? 20 : 30;
    enum reading r = read_digits(s, shift ? n - 1 : n, out);
    if (r) return r;
    if (*out > UINT64_MAX >> shift) return READ_RANGE;
    *out <<= shift;
    return check_range(k, *out);
}

static enum reading read_mode(const struct key *k, const char *s, uint64_t *out) {
    size_t n = strlen(s);
    if (s[0] != '0' || n < 2 || n > 5) return READ_NOT;
    *out = 0;
    for (size_t i = 1; i < n; i++) {
        if (s[i] < '0' || s[i] > '7') return READ_NOT;
        *out = *out << 3 | (uint64_t)(s[i] - '0');
    }
    return check_range(k, *out);
}

/* [+-]digits[.digits][e[+-]digits], so that nothing of strtod's own (hex, inf, nan) gets in. */
static bool is_decimal(const char *s, size_t n) {
    size_t i = 0, digits = 0;
    if (i < n && (s[i] == '+' || s[i] == '-')) i++;
    for (; i < n && s[i] >= '0' && s[i] <= '9'; i++) digits++;
    if (i < n && s[i] == '.') i++;
    for (; i < n && s[i] >= '0' && s[i] <= '9'; i++) digits++;
    if (digits == 0) return false;
    if (i == n) return true;
    if (s[i] != 'e' && s[i] != 'E') return false;
    i++;
    if (i < n && (s[i] == '+' || s[i] == '-')) i++;
    size_t exponent = i;
    while (i < n && s[i] >= '0' && s[i] <= '9') i++;
    return i == n && i > exponent;
}

static bool read_decimal(const char *s, size_t n, double *out) {
    char room[64], *end;
    if (n >= sizeof room || !is_decimal(s, n)) return false;
    memcpy(room, s, n);
    room[n] = 0;
    *out = strtod(room, &end);
    return *end == 0;
}

static enum reading read_number(const struct key *k, const char *s, float *out) {
    const char *slash = strchr(s, '/');
    double above, below = 1;
    if (!read_decimal(s, slash ? (size_t)(slash - s) : strlen(s), &above)) return READ_NOT;
    if (slash && !read_decimal(slash + 1, strlen(slash + 1), &below)) return READ_NOT;
    double v = above / below;
    if (!isfinite(v) || fabs(v) > FLT_MAX) return READ_RANGE;
    *out = (float)v;
    return (double)*out >= (double)(float)k->min && (double)*out <= (double)(float)k->max ? READ_OK
                                                                                          : READ_RANGE;
}

static enum reading read_choice(const char *choices, const char *s, uint64_t *out) {
    size_t n = strlen(s);
    *out = 0;
    for (const char *c = choices; n > 0; (*out)++) {
        const char *end = strchrnul(c, ' ');
        if ((size_t)(end - c) == n && memcmp(c, s, n) == 0) return READ_OK;
        if (*end == 0) break;
        c = end + 1;
    }
    return READ_NOT;
}

/* What YAML 1.2's core schema has for a switch, and not what 1.1 had besides (the country code no). */
static enum reading read_switch(const char *s, uint64_t *out) {
    enum reading r = read_choice("false true False True FALSE TRUE", s, out);
    *out &= 1;
    return r;
}

static const char *wanted(enum key_type type) {
    switch (type) {
    case KEY_SWITCH: return "true or false";
    case KEY_COUNT: return "a whole number";
    case KEY_SIZE: return "a size such as 16M";
    case KEY_NUMBER: return "a number";
    case KEY_MODE: return "a file mode";

    default: return "what is wanted";
    }
}

static int refuse_reading(const struct key_place *p, const struct yaml_tree_node *n, enum reading r,
                          struct err *e) {
    char word[YAML_TREE_QUOTE];
    const char *text = yaml_tree_quote(word, n->text);
    enum key_type type = p->key->type == KEY_OWN ? KEY_NUMBER : p->key->type;
    switch (r) {
    case READ_QUOTED:
        return keys_refuse(p, n->line, e,
                           "'%s' is quoted, which makes a text of it: write it without the quotes", text);
    case READ_ZERO: return keys_refuse(p, n->line, e, "'%s' begins with 0, which some read as octal", text);
    case READ_RANGE: return keys_refuse(p, n->line, e, "%s is out of range", text);
    default:
        if (type == KEY_CHOICE) return keys_refuse(p, n->line, e, "'%s' is none of them", text);
        return keys_refuse(p, n->line, e, "'%s' is not %s", text, wanted(type));
    }
}

static int check_scalar(const struct key_place *p, const struct yaml_tree_node *n, struct err *e) {
    if (n->kind == YAML_TREE_LIST) return keys_refuse(p, n->line, e, "a list stands here");
    if (n->kind == YAML_TREE_MAP) return keys_refuse(p, n->line, e, "keys stand below it, it takes a value");
    if (yaml_tree_is_empty(n)) return keys_refuse(p, n->line, e, "it has no value");
    return 0;
}

int keys_read_number(const struct key_place *p, const struct yaml_tree_node *node, float *out,
                     struct err *e) {
    if (check_scalar(p, node, e)) return -1;
    enum reading r = node->quoted ? READ_QUOTED : read_number(p->key, node->text, out);
    return r ? refuse_reading(p, node, r, e) : 0;
}

int keys_read_choice(const struct key_place *p, uint32_t *out, struct err *e) {
    uint64_t v;
    char word[YAML_TREE_QUOTE];
    if (check_scalar(p, p->node, e)) return -1;
    if (read_choice(p->key->choices, p->node->text, &v))
        return keys_refuse(p, p->node->line, e, "'%s' is none of them", yaml_tree_quote(word, p->node->text));
    *out = (uint32_t)v;
    return 0;
}

/* --- values to fields ----------------------------------------------------------------- */

static void store_unsigned(const struct key *k, void *into, uint64_t v) {
    unsigned char *at = (unsigned char *)into + k->offset;
    if (k->size == sizeof(uint64_t))
        memcpy(at, &v, sizeof v);
    else if (k->size == sizeof(uint32_t))
        memcpy(at, &(uint32_t){(uint32_t)v}, sizeof(uint32_t));
    else
        *at = (unsigned char)v; /* bool */
}

static uint64_t load_unsigned(const struct key *k, const void *from) {
    const unsigned char *at = (const unsigned char *)from + k->offset;
    uint64_t wide;
    uint32_t narrow;
    if (k->size == sizeof wide) return memcpy(&wide, at, sizeof wide), wide;
    if (k->size == sizeof narrow) return memcpy(&narrow, at, sizeof narrow), narrow;
    return *at;
}

static enum reading read_scalar(const struct key *k, const char *text, void *into) {
    uint64_t v = 0;
    enum reading r = READ_OK;
    float f;
    switch (k->type) {
    case KEY_SWITCH: r = read_switch(text, &v); break;
    case KEY_COUNT: r = read_count(k, text, &v); break;
    case KEY_SIZE: r = read_size(k, text, &v); break;
    case KEY_MODE: r = read_mode(k, text, &v); break;
    case KEY_CHOICE: r = read_choice(k->choices, text, &v); break;
    case KEY_NUMBER:
        r = read_number(k, text, &f);
        if (r == READ_OK) memcpy((unsigned char *)into + k->offset, &f, sizeof f);
        return r;
    default: return READ_NOT;
    }
    if (r == READ_OK) store_unsigned(k, into, v);
    return r;
}

static int take_text(void *into, const struct key_place *p, struct err *e) {
    const struct key *k = p->key;
    const struct yaml_tree_node *n = p->node;
    char word[YAML_TREE_QUOTE];
    if (!yaml_tree_is_printable(n->text))
        return keys_refuse(p, n->line, e, "'%s' has control characters in it",
                           yaml_tree_quote(word, n->text));
    if (n->bytes >= k->size)
        return keys_refuse(p, n->line, e, "'%s' is longer than %zu bytes", yaml_tree_quote(word, n->text),
                           k->size - 1);
    if (k->type == KEY_PATH && n->text[0] != '/')
        return keys_refuse(p, n->line, e, "'%s' does not begin with '/'", yaml_tree_quote(word, n->text));
    memset((char *)into + k->offset, 0, k->size);
    memcpy((char *)into + k->offset, n->text, n->bytes);
    return 0;
}

static int take_value(void *into, const struct key_place *p, struct err *e) {
    const struct key *k = p->key;
    if (k->type == KEY_OWN) return k->take(into, p, e);
    if (check_scalar(p, p->node, e)) return -1;
    if (k->type == KEY_TEXT || k->type == KEY_PATH) return take_text(into, p, e);
    bool text_is_fine = k->type == KEY_MODE || k->type == KEY_CHOICE;
    enum reading r = p->node->quoted && !text_is_fine ? READ_QUOTED : read_scalar(k, p->node->text, into);
    return r ? refuse_reading(p, p->node, r, e) : 0;
}

/* --- the walk ------------------------------------------------------------------------- */

struct walk {
    const struct key_table *table;
    const char *name;
    void *into;
    struct err *e;
};

static const struct key *find_key(const struct key_table *t, const char *path) {
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->keys[i].path, path) == 0) return &t->keys[i];
    return NULL;
}

static bool is_group(const struct key_table *t, const char *path) {
    char names[8];
    return nearest_list(t, path, names, sizeof names);
}

static int refuse_unknown(const struct walk *w, const char *path, uint32_t line) {
    char hint[256];
    nearest_hint(w->table, path, hint, sizeof hint);
    return err_set(w->e, ERR_VALUE, "%s:%u: %s: unknown key; %s", w->name, line, path, hint);
}

static int apply_map(const struct walk *w, const char *group, const struct yaml_tree_node *map);

static int apply_group(const struct walk *w, const char *path, const struct yaml_tree_node *n) {
    char names[160];
    if (yaml_tree_is_empty(n)) return 0; /* `engine:` with all below it commented out */
    if (n->kind == YAML_TREE_MAP) return apply_map(w, path, n);
    nearest_list(w->table, path, names, sizeof names);
    return err_set(w->e, ERR_VALUE, "%s:%u: %s: a value stands here, where keys belong below it: %s", w->name,
                   n->line, path, names);
}

static int apply_key(const struct walk *w, const char *group, const struct yaml_tree_node *n) {
    char path[PATH_BYTES], word[YAML_TREE_QUOTE];
    if (!*n->key) return err_set(w->e, ERR_VALUE, "%s:%u: a key that is empty", w->name, n->key_line);
    yaml_tree_quote(word, n->key);
    (void)snprintf(path, sizeof path, "%s%s%s", group, *group ? "." : "", word);
    if (strchr(n->key, '.'))
        return err_set(w->e, ERR_VALUE,
                       "%s:%u: %s: keys are nested: write '%.*s:' and, indented below it, the rest", w->name,
                       n->key_line, path, (int)strcspn(word, "."), word);
    const struct key *k = find_key(w->table, path);
    if (k) return take_value(w->into, &(struct key_place){.name = w->name, .key = k, .node = n}, w->e);
    if (is_group(w->table, path)) return apply_group(w, path, n);
    return refuse_unknown(w, path, n->key_line);
}

static int apply_map(const struct walk *w, const char *group, const struct yaml_tree_node *map) {
    for (const struct yaml_tree_node *n = map->first; n; n = n->next)
        if (apply_key(w, group, n)) return -1;
    return 0;
}

int keys_apply(const struct key_table *t, const char *name, const struct yaml_tree *tree, void *into,
               struct err *e) {
    const struct yaml_tree_node *root = yaml_tree_root(tree);
    struct walk w = {.table = t, .name = name, .into = into, .e = e};
    if (!root || yaml_tree_is_empty(root)) return 0;
    if (root->kind != YAML_TREE_MAP)
        return err_set(e, ERR_FORMAT, "%s:%u: keys and values are expected here, as in 'key: value'", name,
                       root->line);
    return apply_map(&w, "", root);
}

int keys_apply_below(const struct key_table *t, const struct key_place *p, const struct yaml_tree_node *node,
                     void *into, struct err *e) {
    struct walk w = {.table = t, .name = p->name, .into = into, .e = e};
    if (yaml_tree_is_empty(node)) return 0;
    if (node->kind != YAML_TREE_MAP) return keys_refuse(p, node->line, e, "a value stands where keys belong");
    return apply_map(&w, "", node);
}

void keys_set_defaults(const struct key_table *t, void *into) {
    for (size_t i = 0; i < t->n; i++) {
        const struct key *k = &t->keys[i];
        if (!k->fallback) continue;
        if (k->type == KEY_TEXT || k->type == KEY_PATH)
            (void)snprintf((char *)into + k->offset, k->size, "%s", k->fallback);
        else
            (void)read_scalar(k, k->fallback, into); /* the tests hold every default against its own row */
    }
}

/* --- printing --------------------------------------------------------------------------- */

static void print_text(const char *s, FILE *to) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
    bool quote = s[0] == '-' || s[0] == 0 || s[strspn(s, plain)] != 0;
    if (quote) (void)fputc('"', to);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') (void)fputc('\\', to);
        (void)fputc(*s, to);
    }
    if (quote) (void)fputc('"', to);
}

static void print_value(const struct key *k, const void *from, FILE *to) {
    char room[64];
    float f;
    if (k->type == KEY_TEXT || k->type == KEY_PATH) {
        print_text((const char *)from + k->offset, to);
        return;
    }
    if (k->type == KEY_NUMBER) {
        memcpy(&f, (const char *)from + k->offset, sizeof f);
        (void)snprintf(room, sizeof room, "%g", (double)f);
        if (strtof(room, NULL) != f) (void)snprintf(room, sizeof room, "%.9g", (double)f);
        (void)fputs(room, to);
        return;
    }
    uint64_t v = load_unsigned(k, from);
    const char *choices = k->type == KEY_SWITCH ? "false true" : k->choices;
    switch (k->type) {
    case KEY_SIZE: format_size(v, room, sizeof room); break;
    case KEY_MODE: (void)snprintf(room, sizeof room, "\"%04o\"", (unsigned)v); break;
    case KEY_SWITCH:
    case KEY_CHOICE:
        for (; v > 0; v--) choices = strchr(choices, ' ') + 1;
        (void)snprintf(room, sizeof room, "%.*s", (int)strcspn(choices, " "), choices);
        break;
    default: (void)snprintf(room, sizeof room, "%llu", (unsigned long long)v); break;
    }
    (void)fputs(k->automatic && v == 0 ? "auto" : room, to);
}

/* How many leading groups two paths share. */
static unsigned shared_groups(const char *a, const char *b) {
    unsigned n = 0;
    for (; *a && *a == *b; a++, b++) n += *a == '.';
    return n;
}

void keys_print(const struct key_table *t, const void *from, FILE *to) {
    const char *before = "";
    char room[KEY_ACCEPTED];
    for (size_t i = 0; i < t->n; i++) {
        const struct key *k = &t->keys[i];
        if (k->type == KEY_OWN) continue;
        unsigned shared = shared_groups(before, k->path), level = 0;
        const char *word = k->path;
        for (const char *dot; (dot = strchr(word, '.')); word = dot + 1, level++)
            if (level >= shared) (void)fprintf(to, "%*s%.*s:\n", (int)level * 2, "", (int)(dot - word), word);
        (void)fprintf(to, "%*s# %s (%s)\n", (int)level * 2, "", k->meaning, keys_accepted(k, room));
        (void)fprintf(to, "%*s%s: ", (int)level * 2, "", word);
        print_value(k, from, to);
        (void)fputc('\n', to);
        before = k->path;
    }
}

void keys_differences(const struct key_table *t, const void *a, const void *b,
                      void (*each)(void *arg, const char *path), void *arg) {
    for (size_t i = 0; i < t->n; i++) {
        const struct key *k = &t->keys[i];
        const char *x = (const char *)a + k->offset, *y = (const char *)b + k->offset;
        const bool is_text =
            k->type == KEY_TEXT || k->type == KEY_PATH; /* what is behind its end is nobody's */
        if (k->type == KEY_OWN) continue;
        if (is_text ? strcmp(x, y) != 0 : memcmp(x, y, k->size) != 0) each(arg, k->path);
    }
}
