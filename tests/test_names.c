/* guard/names: each name its number, whatever the bytes. */
#include "guard/names.h"
#include "tests/suite.h"

#include <stdio.h>
#include <string.h>

static struct text text(const char *s) {
    return (struct text){s, strlen(s)};
}

static void finds_what_was_added(void) {
    enum { COUNT = 5000 };
    static char names[COUNT][24];
    struct bump memory = {0};
    struct names n;
    CU_ASSERT_EQUAL_FATAL(names_init(&n, COUNT, &memory), 0);
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(names[i], sizeof names[i], "value%d", i);
        CU_ASSERT_EQUAL(names_add(&n, text(names[i]), i), -1);
    }
    for (int i = 0; i < COUNT; i++) CU_ASSERT_EQUAL(names_find(&n, text(names[i])), i);
    CU_ASSERT_EQUAL(names_find(&n, text("value5000")), -1);
    CU_ASSERT_EQUAL(names_find(&n, text("")), -1);
    bump_free(&memory);
}

static void first_number_stays(void) {
    struct bump memory = {0};
    struct names n;
    CU_ASSERT_EQUAL_FATAL(names_init(&n, 4, &memory), 0);
    CU_ASSERT_EQUAL(names_add(&n, text("a"), 7), -1);
    CU_ASSERT_EQUAL(names_add(&n, text("a"), 8), 7);
    CU_ASSERT_EQUAL(names_find(&n, text("a")), 7);
    bump_free(&memory);
}

/* Every length around the hash's words of eight, and zero bytes inside. */
static void lengths_and_zero_bytes_count(void) {
    static const char zeros[40];
    struct bump memory = {0};
    struct names n;
    CU_ASSERT_EQUAL_FATAL(names_init(&n, 40, &memory), 0);
    for (int32_t i = 0; i < 40; i++) CU_ASSERT_EQUAL(names_add(&n, (struct text){zeros, (size_t)i}, i), -1);
    for (int32_t i = 0; i < 40; i++) CU_ASSERT_EQUAL(names_find(&n, (struct text){zeros, (size_t)i}), i);
    bump_free(&memory);
}

SUITE(names, {"finds what was added, and nothing else", finds_what_was_added},
      {"a name keeps its first number", first_number_stays},
      {"lengths and zero bytes count", lengths_and_zero_bytes_count});
