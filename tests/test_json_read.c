/* JSON taken strictly: what is refused, and that every float comes out to the last bit. */
#include "daemon/json_read.h"
#include "tests/suite.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool skips(const char *text) {
    struct json_read j;
    json_read_begin(&j, (const uint8_t *)text, strlen(text));
    return json_read_skip(&j) && json_read_end(&j);
}

static void grammar(void) {
    static const char *const good[] = {"{}",
                                       "[]",
                                       " [ ] ",
                                       "[[],{}]",
                                       "{\"a\":[1,2,{\"b\":null}],\"c\":true}",
                                       "0",
                                       "-0.0e+0",
                                       "\"\\u00e4\\ud83d\\ude00\"",
                                       "\"\xc3\xa4\xf0\x9f\x98\x80\"",
                                       "[1,[2,[3]],4]",
                                       "false"};
    static const char *const bad[] = {"",
                                      "{",
                                      "[",
                                      "[1",
                                      "[1,]",
                                      "[,1]",
                                      "{\"a\":1,}",
                                      "{\"a\"}",
                                      "{a:1}",
                                      "[1 2]",
                                      "01",
                                      "1.",
                                      ".5",
                                      "-",
                                      "1e",
                                      "+1",
                                      "NaN",
                                      "Infinity",
                                      "nul",
                                      "tru",
                                      "\"",
                                      "\"\\x\"",
                                      "\"\\ud800\"",
                                      "\"\x01\"",
                                      "\"\xc0\x80\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"\xff\"",
                                      "[]]",
                                      "{}x",
                                      "[1}",
                                      "{\"a\":1]",
                                      "'a'",
                                      "// x\n1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!skips(good[i])) CU_FAIL(good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (skips(bad[i])) CU_FAIL(bad[i]);
    CU_PASS("said");
}

static void depth(void) {
    char text[2 * 10000 + 1];
    memset(text, '[', 10000);
    memset(text + 10000, ']', 10000);
    text[20000] = 0;
    CU_ASSERT_FALSE(skips(text));
    CU_ASSERT_TRUE(skips(text + 10000 - 64 + 0) == false); /* 64 open, 10,000 closed */
    char fits[129];
    memset(fits, '[', 64);
    memset(fits + 64, ']', 64);
    fits[128] = 0;
    CU_ASSERT_TRUE(skips(fits));
}

static float number(const char *text, bool *ok) {
    struct json_read j;
    float f = 0;
    json_read_begin(&j, (const uint8_t *)text, strlen(text));
    *ok = json_read_float(&j, &f) && json_read_end(&j);
    return f;
}

static void check_float(const char *text) {
    bool ok;
    const float got = number(text, &ok), want = strtof(text, NULL);
    if (!ok || memcmp(&got, &want, sizeof got) != 0) CU_FAIL(text);
}

static void floats(void) {
    static const char *const hard[] = {"0",
                                       "-0",
                                       "0.1",
                                       "1e-45",
                                       "1.4e-45",
                                       "7e-46",
                                       "1.17549435e-38",
                                       "1.1754942e-38",
                                       "3.4028235e38",
                                       "16777217",
                                       "16777217.0000000000000000001",
                                       "0.500000059604644775390625",
                                       "0.50000005960464477539062500001",
                                       "1e-300",
                                       "9007199254740993",
                                       "123456789012345678901234567890",
                                       "8388608.5",
                                       "8388609.5",
                                       "1e22",
                                       "33554435e-22"};
    uint64_t seed = 7;
    char text[64];
    bool ok;
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) check_float(hard[i]);
    for (int i = 0; i < 200000; i++) { /* any finite bits, in several spellings */
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const uint32_t bits = (uint32_t)(seed >> 32);
        float f;
        memcpy(&f, &bits, sizeof f);
        if (!isfinite(f)) continue;
        (void)snprintf(text, sizeof text, i % 3 == 0 ? "%.9g" : i % 3 == 1 ? "%.17g" : "%.7e", (double)f);
        check_float(text);
        (void)snprintf(text, sizeof text, "%.9g", (double)f);
        const float back = number(text, &ok);
        if (memcmp(&back, &f, sizeof f) != 0) CU_FAIL(text);
    }
    (void)number("1e39", &ok);
    CU_ASSERT_FALSE(ok);
    (void)number("-3.5e38", &ok);
    CU_ASSERT_FALSE(ok);
}

static void whole_numbers(void) {
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } rows[] = {{"0", true, 0},
                {"18446744073709551609", true, UINT64_MAX - 6},
                {"18446744073709551616", false, 0},
                {"1.0", false, 0},
                {"1e2", false, 0},
                {"-1", false, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct json_read j;
        uint64_t v = 0;
        json_read_begin(&j, (const uint8_t *)rows[i].text, strlen(rows[i].text));
        CU_ASSERT_EQUAL(json_read_u64(&j, &v), rows[i].ok);
        if (rows[i].ok) CU_ASSERT_EQUAL(v, rows[i].value);
    }
}

static void texts(void) {
    static const char text[] = "\"a\\n\\u00e4\\ud83d\\ude00\\\"\"";
    struct json_read j;
    struct json_text t;
    char out[32];
    json_read_begin(&j, (const uint8_t *)text, sizeof text - 1);
    CU_ASSERT_TRUE_FATAL(json_read_text(&j, &t));
    CU_ASSERT_TRUE(json_text_copy(&t, out, sizeof out));
    CU_ASSERT_STRING_EQUAL(out, "a\n\xc3\xa4\xf0\x9f\x98\x80\"");
    CU_ASSERT_TRUE(json_text_copy(&t, out, 10));
    CU_ASSERT_FALSE(json_text_copy(&t, out, 9));
    CU_ASSERT_FALSE(json_text_copy(&t, out, 0));
    json_read_begin(&j, (const uint8_t *)"\"\\u0000\"", 8);
    CU_ASSERT_TRUE(json_read_text(&j, &t));
    CU_ASSERT_FALSE(json_text_copy(&t, out, sizeof out));
}

SUITE(json_read, {"grammar", grammar}, {"depth is bounded", depth}, {"floats to the last bit", floats},
      {"whole numbers", whole_numbers}, {"texts", texts});
