/* Runs every suite that is linked in; exit status 1 if anything failed. A name
 * as argument runs only that suite. */
#include "tests/suite.h"

#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

extern const struct suite *const __start_suites[], *const __stop_suites[];
static unsigned skipped;

void suite_skip(const char *test, const char *why) {
    skipped++;
    fprintf(stderr, "\n*** SKIP %s: %s\n", test, why);
}

const char *suite_shared(void) {
    const char *dir = getenv("CLPD_SHARED");
    struct stat st;
    if (!dir) dir = "../shared";
    return stat(dir, &st) == 0 && S_ISDIR(st.st_mode) ? dir : NULL;
}

int main(int argc, char **argv) {
    if (CU_initialize_registry() != CUE_SUCCESS) return 2;
    for (const struct suite *const *s = __start_suites; s < __stop_suites; s++) {
        if (argc > 1 && strcmp(argv[1], (*s)->name) != 0) continue;
        CU_pSuite suite = CU_add_suite((*s)->name, NULL, NULL);
        for (const struct suite_test *t = (*s)->tests; suite && t->name; t++)
            if (!CU_add_test(suite, t->name, t->run)) return 2;
    }
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    if (skipped) fprintf(stderr, "*** %u skipped, see above\n", skipped);
    if (ran == 0) fprintf(stderr, "no test of that name\n");
    return failed || ran == 0;
}
