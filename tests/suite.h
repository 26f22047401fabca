/* Every tests/test_<source>.c declares its tests with SUITE(<source>, {"name", function}, …),
 * which adds one CUnit suite; tests/main.c finds it through a linker section, so that a
 * new test file needs no list to be edited. */
#ifndef TESTS_SUITE_H
#define TESTS_SUITE_H

#include <CUnit/CUnit.h>
#include <stdio.h>

struct suite_test {
    const char *name;
    CU_TestFunc run;
};
struct suite {
    const char *name;
    const struct suite_test *tests; /* ends with a NULL name */
};

#define SUITE(NAME, ...)                                                                                     \
    static const struct suite_test suite_tests_##NAME[] = {__VA_ARGS__, {NULL, NULL}};                       \
    static const struct suite suite_##NAME = {#NAME, suite_tests_##NAME};                                    \
    __attribute__((used, section("suites"))) static const struct suite *const suite_ref_##NAME = &suite_##NAME

/* Says loudly that something could not be tested here, and counts it. */
void suite_skip(const char *test, const char *why);

/* The folder of shared networks and data beside a checkout, or NULL where it is absent. */
const char *suite_shared(void);

#endif
