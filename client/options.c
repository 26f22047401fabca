/* Options: one pass over argv, each argument an option of the table or an operand. */
#include "client/options.h"
#include "client/terminal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool takes_value(const struct option_spec *o) {
    return o->kind != OPTION_FLAG;
}

static const struct option_spec *find(const struct option_spec *table, const char *name, size_t length) {
    for (; table->name; table++)
        if (strncmp(table->name, name, length) == 0 && table->name[length] == 0) return table;
    return NULL;
}

static const struct option_spec *find_letter(const struct option_spec *table, char letter) {
    for (; table->name; table++)
        if (table->letter == letter) return table;
    return NULL;
}

static int set_number(const struct option_spec *o, const char *value, struct err *e) {
    char *end;
    errno = 0;
    double n = strtod(value, &end);
    bool whole = o->kind == OPTION_REAL || n == floor(n);
    if (end == value || *end || errno || !isfinite(n) || n < o->min || n > o->max || !whole)
        return err_set(e, ERR_VALUE, "--%s takes a %snumber from %g to %g, not \"%s\"", o->name,
                       o->kind == OPTION_COUNT ? "whole " : "", o->min, o->max, value);
    if (o->kind == OPTION_REAL)
        *(double *)o->to = n;
    else
        *(uint32_t *)o->to = (uint32_t)n;
    return 0;
}

static int set(const struct option_spec *o, const char *value, struct err *e) {
    struct option_list *list;
    switch (o->kind) {
    case OPTION_FLAG: *(bool *)o->to = true; return 0;
    case OPTION_TEXT: *(const char **)o->to = value; return 0;
    case OPTION_LIST:
        list = o->to;
        if (list->n == OPTION_LIST_MAX)
            return err_set(e, ERR_LIMIT, "--%s: at most %d", o->name, OPTION_LIST_MAX);
        list->items[list->n++] = value;
        return 0;
    case OPTION_SWITCH:
        if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
            return err_set(e, ERR_VALUE, "--%s takes on or off, not \"%s\"", o->name, value);
        *(bool *)o->to = strcmp(value, "on") == 0;
        return 0;
    default: return set_number(o, value, e);
    }
}

/* The option at argv[*at]; advances over its value. */
static int parse_one(const struct option_spec *table, int argc, char **argv, int *at, struct err *e) {
    const char *word = argv[*at], *value = NULL;
    const struct option_spec *o;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        o = find(table, word + 2, length);
        if (word[2 + length]) value = word + 3 + length;
    } else {
        o = find_letter(table, word[1]);
        if (word[2]) value = word + 2 + (word[2] == '=');
    }
    if (!o) return err_set(e, ERR_VALUE, "there is no option %s", word);
    if (!takes_value(o) && value) return err_set(e, ERR_VALUE, "--%s takes no value", o->name);
    if (takes_value(o) && !value) {
        if (*at + 1 >= argc) return err_set(e, ERR_VALUE, "--%s wants a value: %s", o->name, o->value);
        value = argv[++*at];
    }
    return set(o, value, e);
}

const struct option_spec *options_wanting(const struct option_spec *table, const char *word) {
    const struct option_spec *o = NULL;
    if (word[0] == '-' && word[1] == '-' && !strchr(word, '='))
        o = find(table, word + 2, strlen(word + 2));
    else if (word[0] == '-' && word[1] && !word[2])
        o = find_letter(table, word[1]);
    return o && takes_value(o) ? o : NULL;
}

const struct option_spec *options_given(const struct option_spec *table, const char *word) {
    const size_t length = strcspn(word, "=");
    if (strncmp(word, "--", 2) != 0 || !word[length]) return NULL;
    const struct option_spec *o = find(table, word + 2, length - 2);
    return o && takes_value(o) ? o : NULL;
}

int options_parse(const struct option_spec *table, bool stop_at_operand, int argc, char **argv,
                  struct err *e) {
    int operands = 0, at = 0;
    for (; at < argc; at++) {
        const char *word = argv[at];
        if (strcmp(word, "--") == 0) {
            at++;
            break;
        }
        if (word[0] != '-' || !word[1]) {
            if (stop_at_operand) break;
            argv[operands++] = argv[at];
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return OPTIONS_HELP;
        if (parse_one(table, argc, argv, &at, e) < 0) return -1;
    }
    for (; at < argc; at++) argv[operands++] = argv[at];
    return operands;
}

static int left_width(const struct option_spec *o, char *buf, size_t cap) {
    const char *value = o->kind == OPTION_SWITCH ? "on|off" : o->value ? o->value : "";
    char letter[8] = "    ";
    if (o->letter) (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
    return snprintf(buf, cap, "%s--%s%s%s", letter, o->name, takes_value(o) ? " " : "",
                    takes_value(o) ? value : "");
}

void options_print(const struct option_spec *table, FILE *to) {
    char left[80];
    int width = 0;
    for (const struct option_spec *o = table; o->name; o++) {
        int w = left_width(o, left, sizeof left);
        width = w > width ? w : width;
    }
    for (const struct option_spec *o = table; o->name; o++) {
        (void)left_width(o, left, sizeof left);
        (void)fprintf(to, "  %-*s  %s\n", width, left, o->meaning);
    }
}
