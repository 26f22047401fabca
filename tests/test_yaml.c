/* config/yaml.c: the tree has what the text has, with lines; what is not wanted is refused where it stands.
 */
#include "config/yaml.h"
#include "tests/mutate.h"
#include "tests/suite.h"

static struct yaml_tree *read_text(const char *text, struct err *e) {
    struct yaml_tree *t = NULL;
    return yaml_tree_read(&t, "x.yaml", (const uint8_t *)text, strlen(text), e) ? NULL : t;
}

/* Refused, and the message has all of `want`. */
static void refused_bytes(const void *bytes, size_t size, enum err_code code, const char *want) {
    struct err e = {0};
    struct yaml_tree *t = NULL;
    int rc = yaml_tree_read(&t, "x.yaml", bytes, size, &e);
    CU_ASSERT_EQUAL(rc, -1);
    CU_ASSERT_EQUAL(e.code, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, want));
    if (rc != -1 || !strstr(e.text, want)) fprintf(stderr, "\n  wanted \"%s\", got \"%s\"\n", want, e.text);
    yaml_tree_free(rc ? NULL : t);
}

static void refused(const char *text, enum err_code code, const char *want) {
    refused_bytes(text, strlen(text), code, want);
}

static void tree_has_lines(void) {
    struct yaml_tree *t = read_text("# about\na: 1\nb:\n  c: \"x y\"\n  d: [p, q]\n\ne:\n", NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    const struct yaml_tree_node *root = yaml_tree_root(t), *a = root->first, *b = a->next, *e = b->next;
    CU_ASSERT_EQUAL(root->kind, YAML_TREE_MAP);
    CU_ASSERT_EQUAL(root->n, 3);
    CU_ASSERT_STRING_EQUAL(a->key, "a");
    CU_ASSERT_STRING_EQUAL(a->text, "1");
    CU_ASSERT_EQUAL(a->line, 2);
    CU_ASSERT_FALSE(a->quoted);
    CU_ASSERT_EQUAL(b->key_line, 3);
    const struct yaml_tree_node *c = b->first, *d = c->next;
    CU_ASSERT_TRUE(c->quoted);
    CU_ASSERT_STRING_EQUAL(c->text, "x y");
    CU_ASSERT_EQUAL(c->bytes, 3);
    CU_ASSERT_EQUAL(c->line, 4);
    CU_ASSERT_EQUAL(d->kind, YAML_TREE_LIST);
    CU_ASSERT_EQUAL(d->n, 2);
    CU_ASSERT_STRING_EQUAL(d->first->next->text, "q");
    CU_ASSERT_PTR_NULL(d->first->key);
    CU_ASSERT_PTR_NULL(e->next);
    CU_ASSERT_TRUE(yaml_tree_is_empty(e));
    CU_ASSERT_FALSE(yaml_tree_is_empty(a));
    yaml_tree_free(t);
}

static void nothing_is_a_tree(void) {
    static const char *const empty[] = {"", "# only a comment\n", "\n\n", "\xef\xbb\xbf"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        struct yaml_tree *t = read_text(empty[i], NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(t);
        CU_ASSERT_PTR_NULL(yaml_tree_root(t));
        yaml_tree_free(t);
    }
    struct yaml_tree *t = NULL;
    CU_ASSERT_EQUAL(yaml_tree_read(&t, "x", NULL, 0, NULL), 0);
    yaml_tree_free(t);
    yaml_tree_free(NULL);
}

static void ordinary_forms_are_taken(void) {
    static const char *const fine[] = {"---\na: 1\n...\n",
                                       "%YAML 1.2\n---\na: 1\n",
                                       "{a: 1, b: {c: [1, 2]}}",
                                       "a: |\n  x\n  y\n",
                                       ("\xef\xbb\xbf"
                                        "a: 1\n"),
                                       "a: 1\r\nb: 2\r\n",
                                       "a: 'it''s'\n",
                                       "gr\xc3\xbc\xc3\x9f: \xe2\x82\xac\n"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        struct err e = {0};
        struct yaml_tree *t = read_text(fine[i], &e);
        CU_ASSERT_PTR_NOT_NULL(t);
        if (!t) fprintf(stderr, "\n  %s\n", e.text);
        yaml_tree_free(t);
    }
}

static void decorations_are_refused(void) {
    refused("a: &x 1\nb: *x\n", ERR_UNSUPPORTED, "x.yaml:1: anchors and aliases are not taken ('&x')");
    refused("a: 1\nb: *x\n", ERR_UNSUPPORTED, "x.yaml:2: anchors and aliases are not taken ('*x')");
    refused("a: &x [1]\n", ERR_UNSUPPORTED, "'&x'");
    refused("&x a: 1\n", ERR_UNSUPPORTED, "'&x'");
    refused("a: !!str 1\n", ERR_UNSUPPORTED, "x.yaml:1: tags are not taken");
    refused("a: !mine {b: 1}\n", ERR_UNSUPPORTED, "'!mine'");
    refused("%TAG ! tag:x,2000:\n---\na: 1\n", ERR_UNSUPPORTED, "tags are not taken");
    refused("# x\r%TAG !a! b\n%TAG !a! b\n---\na: 1\n", ERR_UNSUPPORTED, "tags are not taken (%TAG)");
    refused("<<: *x\n", ERR_UNSUPPORTED, "'*x'");
}

static void one_document_only(void) {
    refused("a: 1\n---\nb: 2\n", ERR_UNSUPPORTED, "x.yaml:2: a second document");
    refused("---\n---\n", ERR_UNSUPPORTED, "a second document");
}

static void keys_are_words_and_single(void) {
    refused("a: 1\nb: 2\na: 3\n", ERR_FORMAT,
            "x.yaml:3: 'a' is here for the second time (the first is in line 1)");
    refused("x: {a: 1, \"a\": 2}\n", ERR_FORMAT, "'a' is here for the second time");
    refused("? [a, b]\n: 1\n", ERR_UNSUPPORTED, "a key has to be one word");
    refused("{{a: 1}: 2}\n", ERR_UNSUPPORTED, "a key has to be one word");
}

static void bounds_hold(void) {
    struct err e;
    struct yaml_tree *t = read_text("[[[[[[[[x]]]]]]]]", &e);
    CU_ASSERT_PTR_NOT_NULL(t);
    yaml_tree_free(t);
    refused("[[[[[[[[[x]]]]]]]]]", ERR_LIMIT, "nested more than 8 deep");
    refused("a:\n b:\n  c:\n   d:\n    e:\n     f:\n      g:\n       h:\n        i: 1\n", ERR_LIMIT,
            "x.yaml:9: nested");
    size_t deep = 1 << 20;
    char *text = malloc(deep + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, '[', deep);
    text[deep] = 0;
    refused(text, ERR_LIMIT, "nested more than 8 deep");
    size_t n = 0;
    for (int i = 0; i < 257; i++) n += (size_t)sprintf(text + n, "k%d: 1\n", i);
    refused(text, ERR_LIMIT, "x.yaml:257: more than 256 keys");
    n = 0;
    for (int i = 0; i < 199999; i++) n += (size_t)sprintf(text + n, "- x\n");
    CU_ASSERT_PTR_NOT_NULL(t = read_text(text, &e)); /* with the list itself that is the most */
    yaml_tree_free(t);
    strcpy(text + n, "- x\n");
    refused(text, ERR_LIMIT, "x.yaml:200000: more than 200000 keys and values");
    free(text);
}

static void syntax_errors_have_a_line(void) {
    refused("a: 1\n b: 2\n", ERR_FORMAT, "x.yaml:2: not YAML: ");
    refused("a: 1\nb:\n\tc: 2\n", ERR_FORMAT,
            "x.yaml:3: not YAML: found character that cannot start any token");
    refused("a: 1\nb:\n\tc: 2\n", ERR_FORMAT, "indent with spaces");
    refused("a: [1, 2\n", ERR_FORMAT, "that began in line 1");
    refused("a: \"x\n", ERR_FORMAT, "x.yaml:2: not YAML: ");
    refused("a: 1\nb: \xff\n", ERR_FORMAT, "x.yaml:2: not YAML in UTF-8: ");
    refused("a: \xed\xa0\x80\n", ERR_FORMAT, "not YAML in UTF-8");
    refused("a: \x1b[31m\n", ERR_FORMAT, "control characters are not allowed");
    refused_bytes("a: 1\0b: 2\n", 10, ERR_FORMAT, "x.yaml:1: ");
    refused_bytes("\xff\xfe"
                  "a\0:\0 \0"
                  "1\0",
                  10, ERR_FORMAT, "not YAML in UTF-8");
    refused("a: \"x\\0y\"\n", ERR_VALUE, "NUL");
    refused("%YAML 3.0\n---\na: 1\n", ERR_FORMAT, "not YAML");
}

static void quotes_are_short_and_harmless(void) {
    char room[YAML_TREE_QUOTE];
    CU_ASSERT_STRING_EQUAL(yaml_tree_quote(room, "engine"), "engine");
    CU_ASSERT_STRING_EQUAL(yaml_tree_quote(room, "a\x1b[1m\n\xc2\x9b\x7f"), "a?[1m???");
    CU_ASSERT_STRING_EQUAL(yaml_tree_quote(room, "0123456789012345678901234567890123456789"),
                           "0123456789012345678901234567890123456789");
    CU_ASSERT_STRING_EQUAL(yaml_tree_quote(room, "01234567890123456789012345678901234567890"),
                           "0123456789012345678901234567890123456789...");
    CU_ASSERT_STRING_EQUAL(yaml_tree_quote(room, "012345678901234567890123456789012345678\xe2\x82\xac"),
                           "012345678901234567890123456789012345678...");
    CU_ASSERT_STRING_EQUAL(yaml_tree_quote(room, "\xff\xe2\x82"), "???");
    CU_ASSERT_TRUE(yaml_tree_is_printable("Stra\xc3\x9f"
                                          "e \xf0\x9f\x90\x88"));
    static const char *const bad[] = {"\t",           "a\nb",         "\x7f",         "\xc2\x85",
                                      "\xe2\x80\xa8", "\xef\xbb\xbf", "\xef\xbf\xbe", "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CU_ASSERT_FALSE(yaml_tree_is_printable(bad[i]));
}

static size_t count_below(const struct yaml_tree_node *n) {
    size_t total = 1, here = 0;
    for (const struct yaml_tree_node *c = n->first; c; c = c->next, here++) total += count_below(c);
    CU_ASSERT_EQUAL(here, n->n);
    return total;
}

static void mutants_do_no_harm(void) {
    static const char good[] =
        "# t\na: 1\nb:\n  c: \"x \\u00e9 y\"\n  d: [p, q, {r: s}]\n  e: |\n    t\n    u\nf: 'g'\n? h\n: i\n";
    static const char *const words[] = {
        "&a ", "*a", "!!x ", "\n---\n", "...",         "? ",    ": ",           "- ",       "[",  "{", "}",
        "]",   "\"", "|\n",  ">-",      "%YAML 1.1\n", "\\x00", "\xef\xbb\xbf", "\xc2\x85", "\t", "#", NULL};
    struct mutate_room room;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, 4096), 0);
    uint64_t seed = 17;
    size_t taken = 0;
    for (int i = 0; i < 8000; i++) {
        uint8_t b[1024];
        size_t size = sizeof good - 1;
        memcpy(b, good, size);
        for (size_t k = 1 + mutate_below(&seed, 6); k > 0; k--)
            size = mutate_once(b, size, sizeof b, words, &seed);
        struct err e = {0};
        struct yaml_tree *t = NULL;
        if (yaml_tree_read(&t, "x.yaml", mutate_room_put(&room, b, size), size, &e)) {
            CU_ASSERT_TRUE(e.code != ERR_NONE && strncmp(e.text, "x.yaml:", 7) == 0);
            continue;
        }
        taken++;
        CU_ASSERT_TRUE(!yaml_tree_root(t) || count_below(yaml_tree_root(t)) <= YAML_TREE_MAX_NODES);
        yaml_tree_free(t);
    }
    CU_ASSERT_TRUE(taken > 200 && taken < 7800); /* both ways are walked */
    mutate_room_close(&room);
}

SUITE(yaml, {"a tree has texts, kinds and lines", tree_has_lines},
      {"nothing is a tree without a root", nothing_is_a_tree},
      {"documents, flow, blocks, byte order mark, CRLF", ordinary_forms_are_taken},
      {"anchors, aliases and tags are refused", decorations_are_refused},
      {"a second document is refused", one_document_only},
      {"keys are words, and single", keys_are_words_and_single},
      {"depth, number and keys are bounded", bounds_hold},
      {"syntax errors say the line", syntax_errors_have_a_line},
      {"quotes are short and harmless", quotes_are_short_and_harmless},
      {"8000 mutants do no harm", mutants_do_no_harm});
