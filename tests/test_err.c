/* infer/err: one clean line, whatever came in. */
#include "infer/err.h"
#include "tests/suite.h"

#include <string.h>

static const char *cleaned(const char *in) {
    static struct err e;
    CU_ASSERT_EQUAL(err_set(&e, ERR_FORMAT, "%s", in), -1);
    return e.text;
}

static void control_characters(void) {
    CU_ASSERT_STRING_EQUAL(cleaned("a\x1b[31mb\n\x7f"), "a?[31mb??");
    CU_ASSERT_STRING_EQUAL(cleaned("\xc2\x9b"
                                   "31m"),
                           "??31m"); /* C1: CSI in one character */
}

static void utf8_passes_and_nothing_else(void) {
    static const char *const good[] = {"\xc3\xb6\xc3\x9f", "\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\x9b\x91",
                                       "\xc2\xa0", "\xef\xbf\xbd"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) CU_ASSERT_STRING_EQUAL(cleaned(good[i]), good[i]);
    CU_ASSERT_STRING_EQUAL(cleaned("\xc3"), "?");
    CU_ASSERT_STRING_EQUAL(cleaned("\xe6\x97"), "??");
    CU_ASSERT_STRING_EQUAL(cleaned("\xc0\xaf"), "??"); /* overlong */
    CU_ASSERT_STRING_EQUAL(cleaned("\xe0\x80\xaf"), "???");
    CU_ASSERT_STRING_EQUAL(cleaned("\xed\xa0\x80"), "???");      /* surrogate */
    CU_ASSERT_STRING_EQUAL(cleaned("\xf4\x90\x80\x80"), "????"); /* past U+10FFFF */
    CU_ASSERT_STRING_EQUAL(cleaned("\xff\x80x"), "??x");
}

static void a_cut_is_clean(void) {
    char in[ERR_TEXT + 9];
    for (int shift = 0; shift < 3; shift++) {
        memset(in, 'x', sizeof in);
        for (size_t i = (size_t)shift; i + 3 < sizeof in; i += 3) memcpy(in + i, "\xe6\x97\xa5", 3);
        in[sizeof in - 1] = 0;
        const char *out = cleaned(in);
        CU_ASSERT_EQUAL(strlen(out), ERR_TEXT - 1);
        CU_ASSERT_STRING_EQUAL(cleaned(out), out);
    }
}

static void prefixes(void) {
    struct err e;
    (void)err_set(&e, ERR_LIMIT, "too long");
    CU_ASSERT_EQUAL(err_prefix(&e, "layer %d\n", 3), -1);
    CU_ASSERT_STRING_EQUAL(e.text, "layer 3?: too long");
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    CU_ASSERT_EQUAL(err_set(NULL, ERR_LIMIT, "x"), -1);
    CU_ASSERT_EQUAL(err_prefix(NULL, "x"), -1);
    CU_ASSERT_STRING_EQUAL(err_code_name(ERR_TRUNCATED), "truncated");
    CU_ASSERT_STRING_EQUAL(err_code_name(ERR_CODES), "unknown");
}

SUITE(err, {"control characters", control_characters},
      {"UTF-8 passes, and nothing else", utf8_passes_and_nothing_else}, {"a cut is clean", a_cut_is_clean},
      {"prefixes", prefixes});
