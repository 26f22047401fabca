/* The key table: one row per key holds its name, type, range, default and
 * meaning, and everything else follows from the rows: reading, refusing with
 * the meaning and the nearest key, defaults, printing.
 * Plain data and pure functions; any thread.
 *
 * Types as they stand in YAML:
 *   KEY_TEXT    any scalar, as written
 *   KEY_PATH    an absolute path
 *   KEY_SWITCH  true | false, also True and TRUE (YAML 1.2; yes, no, on and off are refused)
 *   KEY_COUNT   a whole number, decimal; `automatic`: also `auto`, stored as 0
 *   KEY_SIZE    a whole number of bytes, or with K, M, G (of 1024)
 *   KEY_NUMBER  a finite number, or a fraction such as 1/255
 *   KEY_MODE    file mode in octal with its leading 0, such as "0660"
 *   KEY_CHOICE  one of `choices`, stored as its index
 *   KEY_OWN     `take` reads it; no default here, and not printed */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include "config/yaml.h"

#include <stdio.h>

enum key_type {
    KEY_TEXT,
    KEY_PATH,
    KEY_SWITCH,
    KEY_COUNT,
    KEY_SIZE,
    KEY_NUMBER,
    KEY_MODE,
    KEY_CHOICE,
    KEY_OWN
};

struct key;
struct key_place { /* where in a file a value stands, for messages */
    const char *name;
    const struct key *key;
    const struct yaml_tree_node *node;
};

struct key {
    const char *path; /* "engine.threads": the groups that it is nested in, then the key */
    enum key_type type;
    bool automatic;
    size_t offset, size;  /* of the field: KEY_AT */
    double min, max;      /* KEY_COUNT, KEY_SIZE, KEY_NUMBER, KEY_MODE */
    const char *fallback; /* the default, as one would write it */
    const char *meaning;  /* for people; no full stop */
    const char *accepts;  /* in words, where the type and range don't say it all; or NULL */
    const char *choices;  /* KEY_CHOICE: "debug info warning error" */
    int (*take)(void *into, const struct key_place *p, struct err *e); /* KEY_OWN */
};

#define KEY_AT(STRUCT, FIELD) offsetof(STRUCT, FIELD), sizeof(((STRUCT *)0)->FIELD)

struct key_table {
    const struct key *keys; /* keys of one group stand together */
    size_t n;
};

/* Sets every field that has a default to it. */
void keys_set_defaults(const struct key_table *t, void *into);

/* Sets what the tree has; unknown keys, wrong types and values out of range are refused. */
int keys_apply(const struct key_table *t, const char *name, const struct yaml_tree *tree, void *into,
               struct err *e);

/* The same with the keys below one node of the place's. */
int keys_apply_below(const struct key_table *t, const struct key_place *p, const struct yaml_tree_node *node,
                     void *into, struct err *e);

/* Every row with its value and its meaning, as YAML that keys_apply reads back to the same. */
void keys_print(const struct key_table *t, const void *from, FILE *to);

/* Calls `each` with the path of every row whose value is another in `b` than in `a`; KEY_OWN rows are left
 * out. */
void keys_differences(const struct key_table *t, const void *a, const void *b,
                      void (*each)(void *arg, const char *path), void *arg);

/* For KEY_OWN. `node` is the place's own or one below it. */
int keys_read_number(const struct key_place *p, const struct yaml_tree_node *node, float *out, struct err *e);
int keys_read_choice(const struct key_place *p, uint32_t *out, struct err *e);

/* "name:line: key: <what>; <meaning> (<accepted>)"; -1. */
int keys_refuse(const struct key_place *p, uint32_t line, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* "auto or 1..256": the row's own words, or made from its type and range into `room`. */
#define KEY_ACCEPTED 160
const char *keys_accepted(const struct key *k, char room[KEY_ACCEPTED]);

#endif
