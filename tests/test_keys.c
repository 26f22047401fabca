/* config/keys.c: every type takes what it says and refuses the rest with line, key, meaning and range. */
#include "config/keys.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

struct thing {
    char name[8], path[12];
    bool on;
    uint32_t count, automatic, mode, level;
    uint64_t size;
    float number, own;
};
#define AT(FIELD) KEY_AT(struct thing, FIELD)

static int take_own(void *into, const struct key_place *p, struct err *e) {
    return keys_read_number(p, p->node, &((struct thing *)into)->own, e);
}

static const struct key keys[] = {
    {"name", KEY_TEXT, false, AT(name), 0, 0, "x", "what it is called", NULL, NULL, NULL},
    {"path", KEY_PATH, false, AT(path), 0, 0, "/tmp", "where it is", NULL, NULL, NULL},
    {"on", KEY_SWITCH, false, AT(on), 0, 0, "true", "whether it runs", NULL, NULL, NULL},
    {"in.count", KEY_COUNT, false, AT(count), 2, 10, "3", "how many", NULL, NULL, NULL},
    {"in.auto", KEY_COUNT, true, AT(automatic), 1, 4, "auto", "how wide", NULL, NULL, NULL},
    {"in.mode", KEY_MODE, false, AT(mode), 0, 0777, "0640", "who may", NULL, NULL, NULL},
    {"in.deep.level", KEY_CHOICE, false, AT(level), 0, 0, "low", "how loud", NULL, "low mid high", NULL},
    {"in.deep.size", KEY_SIZE, false, AT(size), 1024, 1099511627776.0, "2K", "how large", NULL, NULL, NULL},
    {"number", KEY_NUMBER, false, AT(number), -2, 3, "1/4", "how much", NULL, NULL, NULL},
    {"own", KEY_OWN, false, AT(own), 0, 1, NULL, "its own", "0..1", NULL, take_own},
};
static const struct key_table table = {keys, sizeof keys / sizeof keys[0]};

static int apply(struct thing *t, const char *text, struct err *e) {
    struct yaml_tree *tree;
    memset(t, 0, sizeof *t);
    keys_set_defaults(&table, t);
    if (yaml_tree_read(&tree, "t.yaml", (const uint8_t *)text, strlen(text), e)) return -1;
    int rc = keys_apply(&table, "t.yaml", tree, t, e);
    yaml_tree_free(tree);
    return rc;
}

static struct thing taken(const char *text) {
    struct thing t;
    struct err e = {0};
    int rc = apply(&t, text, &e);
    CU_ASSERT_EQUAL(rc, 0);
    if (rc) fprintf(stderr, "\n  %s\n", e.text);
    return t;
}

static void refused(const char *text, const char *want) {
    struct thing t;
    struct err e = {0};
    CU_ASSERT_EQUAL(apply(&t, text, &e), -1);
    CU_ASSERT_STRING_EQUAL(e.text, want);
    if (strcmp(e.text, want) != 0) fprintf(stderr, "\n  wanted \"%s\"\n  got    \"%s\"\n", want, e.text);
}

static void defaults(void) {
    struct thing t = taken("");
    CU_ASSERT_STRING_EQUAL(t.name, "x");
    CU_ASSERT_STRING_EQUAL(t.path, "/tmp");
    CU_ASSERT_TRUE(t.on);
    CU_ASSERT_EQUAL(t.count, 3);
    CU_ASSERT_EQUAL(t.automatic, 0);
    CU_ASSERT_EQUAL(t.mode, 0640);
    CU_ASSERT_EQUAL(t.level, 0);
    CU_ASSERT_EQUAL(t.size, 2048);
    CU_ASSERT_EQUAL(t.number, 0.25f);
}

static void values(void) {
    CU_ASSERT_STRING_EQUAL(taken("name: 1.5").name, "1.5");
    CU_ASSERT_STRING_EQUAL(taken("name: \"\"").name, "");
    CU_ASSERT_STRING_EQUAL(taken("path: '/a b'").path, "/a b");
    CU_ASSERT_FALSE(taken("on: false").on);
    CU_ASSERT_FALSE(taken("on: False").on);
    CU_ASSERT_TRUE(taken("on: TRUE").on);
    CU_ASSERT_EQUAL(taken("in: {count: 10}").count, 10);
    CU_ASSERT_EQUAL(taken("in: {auto: 4}").automatic, 4);
    CU_ASSERT_EQUAL(taken("in: {auto: auto}").automatic, 0);
    CU_ASSERT_EQUAL(taken("in: {mode: 0600}").mode, 0600);
    CU_ASSERT_EQUAL(taken("in: {mode: \"0777\"}").mode, 0777);
    CU_ASSERT_EQUAL(taken("in:\n  deep:\n    level: high\n").level, 2);
    CU_ASSERT_EQUAL(taken("in: {deep: {size: 3M}}").size, 3u << 20);
    CU_ASSERT_EQUAL(taken("in: {deep: {size: 1024G}}").size, UINT64_C(1) << 40);
    CU_ASSERT_EQUAL(taken("in: {deep: {size: 1025}}").size, 1025);
    CU_ASSERT_EQUAL(taken("number: -2").number, -2.0f);
    CU_ASSERT_EQUAL(taken("number: +.5e0").number, 0.5f);
    CU_ASSERT_EQUAL(taken("number: 3/255").number, 3.0f / 255.0f);
    CU_ASSERT_EQUAL(taken("number: 1e-400").number, 0.0f);
    CU_ASSERT_EQUAL(taken("own: 0.5").own, 0.5f);
    CU_ASSERT_EQUAL(taken("in:\n  # count: 4\n").count, 3);
}

static void wrong_types(void) {
    refused("on: tRUE", "t.yaml:1: on: 'tRUE' is not true or false; whether it runs (true or false)");
    refused("on: yes", "t.yaml:1: on: 'yes' is not true or false; whether it runs (true or false)");
    refused("on: \"true\"",
            "t.yaml:1: on: 'true' is quoted, which makes a text of it: write it without the quotes; "
            "whether it runs (true or false)");
    refused("in:\n  count: many\n", "t.yaml:2: in.count: 'many' is not a whole number; how many (2..10)");
    refused("in: {count: -3}", "t.yaml:1: in.count: '-3' is not a whole number; how many (2..10)");
    refused("in: {count: 3.0}", "t.yaml:1: in.count: '3.0' is not a whole number; how many (2..10)");
    refused("in: {count: 0x3}", "t.yaml:1: in.count: '0x3' is not a whole number; how many (2..10)");
    refused("in: {count: 1_0}", "t.yaml:1: in.count: '1_0' is not a whole number; how many (2..10)");
    refused("in: {count: auto}", "t.yaml:1: in.count: 'auto' is not a whole number; how many (2..10)");
    refused("in: {count: 010}",
            "t.yaml:1: in.count: '010' begins with 0, which some read as octal; how many (2..10)");
    refused("in: {count: [3]}", "t.yaml:1: in.count: a list stands here; how many (2..10)");
    refused("in: {count: {a: 3}}",
            "t.yaml:1: in.count: keys stand below it, it takes a value; how many (2..10)");
    refused("in:\n  count:\n", "t.yaml:2: in.count: it has no value; how many (2..10)");
    refused("in: {mode: 660}",
            "t.yaml:1: in.mode: '660' is not a file mode; who may (in octal, such as \"0660\")");
    refused("in: {mode: 0o660}",
            "t.yaml:1: in.mode: '0o660' is not a file mode; who may (in octal, such as \"0660\")");
    refused("in: {mode: 0680}",
            "t.yaml:1: in.mode: '0680' is not a file mode; who may (in octal, such as \"0660\")");
    refused("in: {deep: {level: loud}}",
            "t.yaml:1: in.deep.level: 'loud' is none of them; how loud (low | mid | high)");
    refused("in: {deep: {size: 3m}}", "t.yaml:1: in.deep.size: '3m' is not a size such as 16M; how large "
                                      "(1K..1024G, K, M and G being of 1024)");
    refused("in: {deep: {size: M}}", "t.yaml:1: in.deep.size: 'M' is not a size such as 16M; how large "
                                     "(1K..1024G, K, M and G being of 1024)");
    refused("number: .inf", "t.yaml:1: number: '.inf' is not a number; how much (-2..3)");
    refused("number: nan", "t.yaml:1: number: 'nan' is not a number; how much (-2..3)");
    refused("number: 0x1p0", "t.yaml:1: number: '0x1p0' is not a number; how much (-2..3)");
    refused("number: 1/2/3", "t.yaml:1: number: '1/2/3' is not a number; how much (-2..3)");
    refused("number: 1e", "t.yaml:1: number: '1e' is not a number; how much (-2..3)");
    refused("own: no", "t.yaml:1: own: 'no' is not a number; its own (0..1)");
    refused("path: relative",
            "t.yaml:1: path: 'relative' does not begin with '/'; where it is (an absolute path of at "
            "most 11 bytes)");
    refused("path: [/a]",
            "t.yaml:1: path: a list stands here; where it is (an absolute path of at most 11 bytes)");
    refused("name: \"a\\nb\"",
            "t.yaml:1: name: 'a?b' has control characters in it; what it is called (a text)");
}

static void out_of_range(void) {
    refused("in: {count: 1}", "t.yaml:1: in.count: 1 is out of range; how many (2..10)");
    refused("in: {count: 11}", "t.yaml:1: in.count: 11 is out of range; how many (2..10)");
    refused("in: {count: 99999999999999999999999}",
            "t.yaml:1: in.count: 99999999999999999999999 is out of range; how many (2..10)");
    refused("in: {auto: 0}", "t.yaml:1: in.auto: 0 is out of range; how wide (auto or 1..4)");
    refused("in: {mode: 01777}",
            "t.yaml:1: in.mode: 01777 is out of range; who may (in octal, such as \"0660\")");
    refused("in: {deep: {size: 18446744073709551615G}}",
            "t.yaml:1: in.deep.size: 18446744073709551615G is out of range; how large (1K..1024G, K, M and G "
            "being of 1024)");
    refused("number: 3.001", "t.yaml:1: number: 3.001 is out of range; how much (-2..3)");
    refused("number: 1e999", "t.yaml:1: number: 1e999 is out of range; how much (-2..3)");
    refused("number: 1/0", "t.yaml:1: number: 1/0 is out of range; how much (-2..3)");
    refused("number: 0/0", "t.yaml:1: number: 0/0 is out of range; how much (-2..3)");
    refused("name: 12345678",
            "t.yaml:1: name: '12345678' is longer than 7 bytes; what it is called (a text)");
}

static void unknown_keys(void) {
    refused("a: 1", "t.yaml:1: a: unknown key; known: name, path, on, in, number, own");
    refused("on: true\nin:\n  cuont: 4\n",
            "t.yaml:3: in.cuont: unknown key; did you mean in.count (how many; 2..10)?");
    refused("in.count: 4",
            "t.yaml:1: in.count: keys are nested: write 'in:' and, indented below it, the rest");
    refused("in: 4",
            "t.yaml:1: in: a value stands here, where keys belong below it: count, auto, mode, deep");
    refused("in: [count]",
            "t.yaml:1: in: a value stands here, where keys belong below it: count, auto, mode, deep");
    refused("\"\": {on: true}", "t.yaml:1: a key that is empty");
    refused("in: {\"\": {count: 4}}", "t.yaml:1: a key that is empty");
    refused("- on", "t.yaml:1: keys and values are expected here, as in 'key: value'");
    refused("on", "t.yaml:1: keys and values are expected here, as in 'key: value'");
}

static void printing(void) {
    struct thing t = taken("name: \"a\\\\\\\"\"\npath: \"/ \xc3\xa9\"\nin: {mode: 0007, deep: {size: 1025, "
                           "level: mid}}\nnumber: 1/3\n"),
                 back;
    struct err e = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    keys_print(&table, &t, f);
    fclose(f);
    CU_ASSERT_STRING_EQUAL(
        text, "# what it is called (a text)\nname: \"a\\\\\\\"\"\n"
              "# where it is (an absolute path of at most 11 bytes)\npath: \"/ \xc3\xa9\"\n"
              "# whether it runs (true or false)\non: true\n"
              "in:\n  # how many (2..10)\n  count: 3\n  # how wide (auto or 1..4)\n  auto: auto\n"
              "  # who may (in octal, such as \"0660\")\n  mode: \"0007\"\n"
              "  deep:\n    # how loud (low | mid | high)\n    level: mid\n"
              "    # how large (1K..1024G, K, M and G being of 1024)\n    size: 1025\n"
              "# how much (-2..3)\nnumber: 0.333333343\n");
    CU_ASSERT_EQUAL(apply(&back, text, &e), 0);
    CU_ASSERT_EQUAL(memcmp(&t, &back, sizeof t), 0);
    free(text);
}

SUITE(keys, {"defaults", defaults}, {"every type takes what it says", values},
      {"wrong types are refused in words", wrong_types}, {"so is what is out of range", out_of_range},
      {"so are unknown keys, with the nearest", unknown_keys},
      {"what is printed reads back the same", printing});
