/* guard/splice: replacements land where they belong, everything else stays. */
#include "guard/splice.h"
#include "tests/suite.h"

#include <stdbool.h>
#include <string.h>

struct sink {
    char text[8192];
    size_t n, most;
};

static int take(void *ctx, const void *bytes, size_t n, struct err *e) {
    struct sink *s = ctx;
    if (s->most && s->n + n > s->most) return err_set(e, ERR_SYSTEM, "no room");
    memcpy(s->text + s->n, bytes, n);
    s->n += n;
    return 0;
}

static bool gives(struct splices *s, const char *from, const char *want) {
    struct sink out = {0};
    struct err e;
    const int r = splice_write(s, (const uint8_t *)from, strlen(from), take, &out, &e);
    splice_free(s);
    return r == 0 && out.n == strlen(want) && memcmp(out.text, want, out.n) == 0;
}

static void nothing_to_do(void) {
    struct splices s = {0};
    CU_ASSERT(gives(&s, "as it is", "as it is"));
    CU_ASSERT(gives(&s, "", ""));
}

static void in_any_order(void) {
    struct splices s = {0};
    CU_ASSERT_EQUAL(splice_add(&s, 8, 0, "!", 1), 0); /* at the very end */
    CU_ASSERT_EQUAL(splice_add(&s, 4, 2, "", 0), 0);
    CU_ASSERT_EQUAL(splice_add(&s, 0, 1, "ABC", 3), 0);
    CU_ASSERT_EQUAL(splice_add(&s, 4, 0, "<", 1), 0);
    CU_ASSERT_EQUAL(splice_growth(&s, 0, 8), 2);
    CU_ASSERT_EQUAL(splice_growth(&s, 1, 7), (size_t)-1);
    struct sink out = {0};
    struct err e;
    /* An insertion after a removal at the same place overlaps with it: order matters. */
    CU_ASSERT_EQUAL(splice_write(&s, (const uint8_t *)"abcdefgh", 8, take, &out, &e), -1);
    splice_free(&s);
    CU_ASSERT_EQUAL(splice_add(&s, 8, 0, "!", 1), 0);
    CU_ASSERT_EQUAL(splice_add(&s, 4, 0, "<", 1), 0);
    CU_ASSERT_EQUAL(splice_add(&s, 4, 0, ">", 1), 0);
    CU_ASSERT_EQUAL(splice_add(&s, 4, 2, "", 0), 0);
    CU_ASSERT_EQUAL(splice_add(&s, 0, 1, "ABC", 3), 0);
    CU_ASSERT(gives(&s, "abcdefgh", "ABCbcd<>gh!"));
}

static void zeros_of_any_length(void) {
    struct splices s = {0};
    struct sink out = {0};
    struct err e;
    char from[6000];
    memset(from, 'x', sizeof from);
    CU_ASSERT_EQUAL(splice_add(&s, 1, 5000, NULL, 5000), 0);
    CU_ASSERT_EQUAL(splice_write(&s, (const uint8_t *)from, sizeof from, take, &out, &e), 0);
    CU_ASSERT_EQUAL(out.n, sizeof from);
    CU_ASSERT(out.text[0] == 'x' && out.text[1] == 0 && out.text[5000] == 0 && out.text[5001] == 'x');
    splice_free(&s);
}

static void overlaps_and_strays_are_refused(void) {
    static const size_t bad[][4] = {{2, 4, 3, 1}, {0, 9, 9, 0}, {9, 0, 9, 0}, {4, 5, 9, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct splices s = {0};
        struct sink out = {0};
        struct err e = {0};
        CU_ASSERT_EQUAL(splice_add(&s, bad[i][0], bad[i][1], "x", 1), 0);
        CU_ASSERT_EQUAL(splice_add(&s, bad[i][2], bad[i][3], "y", 1), 0);
        CU_ASSERT_EQUAL(splice_write(&s, (const uint8_t *)"abcdefgh", 8, take, &out, &e), -1);
        CU_ASSERT_EQUAL(e.code, ERR_INTERNAL);
        splice_free(&s);
    }
}

static void a_failing_writer_ends_it(void) {
    struct splices s = {0};
    struct sink out = {.most = 3};
    struct err e = {0};
    CU_ASSERT_EQUAL(splice_add(&s, 2, 1, "XYZ", 3), 0);
    CU_ASSERT_EQUAL(splice_write(&s, (const uint8_t *)"abcdefgh", 8, take, &out, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_SYSTEM);
    splice_free(&s);
}

SUITE(splice, {"nothing to do", nothing_to_do}, {"replacements may be noted in any order", in_any_order},
      {"zeros of any length", zeros_of_any_length},
      {"overlaps and strays are refused", overlaps_and_strays_are_refused},
      {"a failing writer ends it", a_failing_writer_ends_it});
