/* Text from others is harmless once cleaned; counts, wrapping and table columns come out right. */
#include "client/table.h"
#include "tests/report_sample.h"
#include "tests/suite.h"

static void test_clean(void) {
    static const char *const cases[][2] = {
        {"plain /l/l.0/Conv", "plain /l/l.0/Conv"},
        {"größe ✓ 猫 🐈", "größe ✓ 猫 🐈"},
        {"a\033[2Jb\nc\x7f", "a?[2Jb?c?"},
        {"\xc2\x9b"
         "31m",
         "?31m"}, /* CSI as C1 */
        {"\xe2\x80\xae"
         "x",
         "?x"}, /* right-to-left override */
        {"\xff\xfe\x80", "???"},
        {"\xc0\xaf", "??"},           /* overlong */
        {"\xed\xa0\x80", "???"},      /* surrogate */
        {"\xe2\x82", "??"},           /* cut off */
        {"\xf4\x90\x80\x80", "????"}, /* past U+10FFFF */
    };
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CU_ASSERT_STRING_EQUAL(terminal_clean(out, sizeof out, cases[i][0]), cases[i][1]);
    CU_ASSERT_STRING_EQUAL(terminal_clean(out, 4, "a猫"), "a"); /* never half a character */
    CU_ASSERT_STRING_EQUAL(terminal_clean(out, 5, "a猫"), "a猫");
}

static void test_counts(void) {
    char b[32];
    CU_ASSERT_STRING_EQUAL(terminal_count(b, 0), "0");
    CU_ASSERT_STRING_EQUAL(terminal_count(b, 999), "999");
    CU_ASSERT_STRING_EQUAL(terminal_count(b, 1000), "1,000");
    CU_ASSERT_STRING_EQUAL(terminal_count(b, -123456), "-123,456");
    CU_ASSERT_STRING_EQUAL(terminal_count(b, 1234567890123), "1,234,567,890,123");
}

static void test_wrap(void) {
    struct terminal t = {.columns = 12};
    FILE *f = tmpfile();
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    terminal_wrap(f, &t, 2, "one two three averyverylongword x");
    char *text = sample_read(f);
    CU_ASSERT_STRING_EQUAL(text, "  one two\n  three\n  averyverylongword\n  x\n");
    free(text);
}

static char *print(const struct table *table, const struct terminal *t) {
    FILE *f = tmpfile();
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    table_print(table, f, t);
    return sample_read(f);
}

static void test_table(void) {
    struct table *table = table_new("lrl");
    CU_ASSERT_PTR_NOT_NULL_FATAL(table);
    table_add(table, STYLE_PLAIN, "name");
    table_add(table, STYLE_PLAIN, "n");
    table_add(table, STYLE_PLAIN, "what");
    table_add(table, STYLE_PLAIN, "/features/denseblock/layer");
    table_add(table, STYLE_RED, "%d", 1234);
    table_add(table, STYLE_PLAIN, "bad\n");
    char *text = print(table, &(struct terminal){0});
    CU_ASSERT_STRING_EQUAL(text, "name                           n  what\n"
                                 "/features/denseblock/layer  1234  bad?\n");
    free(text);
    text = print(table, &(struct terminal){.columns = 30});
    CU_ASSERT_STRING_EQUAL(text, "name                   n  what\n"
                                 "/feature..ck/layer  1234  bad?\n");
    free(text);
    text = print(table, &(struct terminal){.colour = true});
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\033[1;31m1234\033[0m"));
    free(text);
    table_free(table);
}

SUITE(terminal, {"hostile text is made harmless", test_clean}, {"thousands are grouped", test_counts},
      {"words wrap", test_wrap}, {"tables align and shorten", test_table});
