/* Bytes to a small tree of YAML, with the line of every key and value.
 *
 * libyaml does the reading; this refuses what configuration has no use for and
 * what hostile files live from: aliases, anchors, tags, several documents,
 * duplicate keys, keys that are not plain words, great depth and great number.
 * Scalars stay text: what a text means is for the key table (keys.h) to say.
 * Pure: bytes in, tree out; one owner, one thread.
 * The prefix is yaml_tree_, since yaml_ alone belongs to libyaml. */
#ifndef CONFIG_YAML_H
#define CONFIG_YAML_H

#include "infer/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define YAML_TREE_MAX_DEPTH 8
#define YAML_TREE_MAX_NODES 200000 /* keys and values together */
#define YAML_TREE_MAX_KEYS  256    /* in one mapping */

enum yaml_tree_kind { YAML_TREE_SCALAR, YAML_TREE_LIST, YAML_TREE_MAP };

struct yaml_tree_node { /* all pointers belong to the tree */
    enum yaml_tree_kind kind;
    bool quoted;             /* scalars: "4" is text, 4 is a number */
    uint32_t line, key_line; /* from 1 */
    uint32_t n;              /* lists and maps: how many below */
    size_t bytes;            /* scalars: length of text */
    const char *text;        /* scalars: UTF-8 without NUL, ends with one */
    const char *key;         /* below a map: the key; else NULL */
    struct yaml_tree_node *first, *next;
};

struct yaml_tree;

/* `name` is for messages and borrowed. 0 and *out, or -1 with `e` set as "name:line: …". */
int yaml_tree_read(struct yaml_tree **out, const char *name, const uint8_t *bytes, size_t size,
                   struct err *e);
void yaml_tree_free(struct yaml_tree *t); /* NULL is fine */

/* NULL where there is nothing but comments. */
const struct yaml_tree_node *yaml_tree_root(const struct yaml_tree *t);

/* `key:` with nothing behind it. */
bool yaml_tree_is_empty(const struct yaml_tree_node *n);

/* At most 40 bytes of `text` for a message, whole characters only, "..." where
 * it was cut, control characters as '?'. Returns `room`. */
#define YAML_TREE_QUOTE 48
const char *yaml_tree_quote(char room[YAML_TREE_QUOTE], const char *text);

/* Whether a text has only characters that one line of a terminal or a log can
 * bear: no control characters (C0, DEL, C1), no line or paragraph separators. */
bool yaml_tree_is_printable(const char *text);

#endif
