/* Options: every kind, mixed with operands, and a helpful no to everything else. */
#include "client/options.h"
#include "tests/report_sample.h"
#include "tests/suite.h"

struct values {
    bool flag, on;
    const char *text;
    struct option_list list;
    uint32_t count;
    double real;
};

enum { NOTHING = -100 };

/* Parses the words; returns the operands' number, *v and *e filled;  */
static int parse(struct values *v, struct err *e, bool stop, int argc, char **argv) {
    const struct option_spec table[] = {
        {.name = "flag", .letter = 'f', .kind = OPTION_FLAG, .to = &v->flag, .meaning = "a flag"},
        {.name = "guard", .kind = OPTION_SWITCH, .to = &v->on, .meaning = "a switch"},
        {.name = "text",
         .letter = 't',
         .kind = OPTION_TEXT,
         .to = &v->text,
         .value = "X",
         .meaning = "a text"},
        {.name = "input",
         .letter = 'i',
         .kind = OPTION_LIST,
         .to = &v->list,
         .value = "X",
         .meaning = "a list"},
        {.name = "count",
         .letter = 'c',
         .kind = OPTION_COUNT,
         .to = &v->count,
         .min = 1,
         .max = 10,
         .value = "N",
         .meaning = "a count"},
        {.name = "real",
         .kind = OPTION_REAL,
         .to = &v->real,
         .min = 0.5,
         .max = 2,
         .value = "R",
         .meaning = "a real"},
        {0},
    };
    *v = (struct values){0};
    *e = (struct err){0};
    if (argc == NOTHING) {
        FILE *f = tmpfile();
        CU_ASSERT_PTR_NOT_NULL_FATAL(f);
        options_print(table, f);
        char *text = sample_read(f);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "  -f, --flag          a flag\n"));
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "      --guard on|off  a switch\n"));
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "  -t, --text X        a text\n"));
        free(text);
        return 0;
    }
    return options_parse(table, stop, argc, argv, e);
}

static char *words[32]; /* of the last parse: operands first */

#define PARSE(stop, ...) parse_words(&v, &e, stop, (const char *const[]){__VA_ARGS__, NULL})
static int parse_words(struct values *v, struct err *e, bool stop, const char *const *list) {
    int n = 0;
    for (; list[n]; n++) words[n] = (char *)(uintptr_t)list[n];
    return parse(v, e, stop, n, words);
}

static void test_all_kinds(void) {
    struct values v;
    struct err e;
    CU_ASSERT_EQUAL(PARSE(false, "a", "--flag", "--guard", "on", "--text=x y", "b", "-i", "1", "--input", "2",
                          "-c7", "--real", "1.5", "--", "-f"),
                    3);
    CU_ASSERT(v.flag && v.on);
    CU_ASSERT_STRING_EQUAL(v.text, "x y");
    CU_ASSERT_EQUAL_FATAL(v.list.n, 2);
    CU_ASSERT_STRING_EQUAL(v.list.items[1], "2");
    CU_ASSERT_EQUAL(v.count, 7);
    CU_ASSERT_EQUAL(v.real, 1.5);
    CU_ASSERT_STRING_EQUAL(words[0], "a");
    CU_ASSERT_STRING_EQUAL(words[1], "b");
    CU_ASSERT_STRING_EQUAL(words[2], "-f");
}

static void test_edges(void) {
    struct values v;
    struct err e;
    CU_ASSERT_EQUAL(PARSE(true, "--flag", "scan", "--unknown"),
                    2); /* what follows a command is the command's */
    CU_ASSERT_STRING_EQUAL(words[1], "--unknown");
    CU_ASSERT_EQUAL(PARSE(false, "-"), 1); /* a lone dash is an operand */
    CU_ASSERT_EQUAL(PARSE(false, "x", "--help", "--bad"), OPTIONS_HELP);
    CU_ASSERT_EQUAL(PARSE(false, "-h"), OPTIONS_HELP);
    CU_ASSERT_EQUAL(PARSE(false, "-c=3"), 0);
    CU_ASSERT_EQUAL(v.count, 3);
    (void)parse(&v, &e, false, NOTHING, NULL);
}

static void test_refusals(void) {
    static const char *const bad[][2] = {
        {"--flags", NULL}, {"--fla", NULL},     {"-x", NULL},      {"--flag=1", NULL}, {"--text", NULL},
        {"-c", "0"},       {"-c", "11"},        {"-c", "1.5"},     {"-c", "3x"},       {"-c", ""},
        {"-c", "nan"},     {"--real", "0.4"},   {"--real", "inf"}, {"--guard", "yes"}, {"--guard", "ON"},
        {"--real", "1,5"}, {"--count", "1e99"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct values v;
        struct err e;
        char *pair[2] = {(char *)(uintptr_t)bad[i][0], (char *)(uintptr_t)bad[i][1]};
        int rc = parse(&v, &e, false, bad[i][1] ? 2 : 1, pair);
        if (rc != -1) fprintf(stderr, "\n%s %s: %d\n", bad[i][0], bad[i][1] ? bad[i][1] : "", rc);
        CU_ASSERT_EQUAL(rc, -1);
        CU_ASSERT(strlen(e.text) > 10);
    }
    struct values v;
    struct err e;
    char *many[2 * (OPTION_LIST_MAX + 1)];
    for (int i = 0; i < 2 * (OPTION_LIST_MAX + 1); i++) many[i] = (char *)(uintptr_t)(i % 2 ? "x" : "-i");
    CU_ASSERT_EQUAL(parse(&v, &e, false, 2 * (OPTION_LIST_MAX + 1), many), -1);
    CU_ASSERT_EQUAL(v.list.n, OPTION_LIST_MAX);
}

SUITE(options, {"every kind, mixed with operands", test_all_kinds}, {"edges and help", test_edges},
      {"a no that helps", test_refusals});
