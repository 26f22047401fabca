/* The bar's line; and a thread that comes and goes, with nothing drawn before a second, or for nobody. */
#include "client/progress.h"
#include "tests/suite.h"

#include <string.h>

static void lines(void) {
    const struct terminal t = {.is_terminal = true}, u = {.is_terminal = true, .unicode = true};
    char buf[256];
    progress_line(buf, sizeof buf, &t, "x", "", -1, 3.2);
    CU_ASSERT_STRING_EQUAL(buf, "x   3 s");
    progress_line(buf, sizeof buf, &t, "x", "on", -1, 61);
    CU_ASSERT_STRING_EQUAL(buf, "x   61 s   on");
    progress_line(buf, sizeof buf, &t, "x", "", 0.5, 10);
    CU_ASSERT_STRING_EQUAL(buf, "x   ##########..........  50 %   10 s left");
    progress_line(buf, sizeof buf, &t, "x", "7/s", 1.7, 10);
    CU_ASSERT_STRING_EQUAL(buf, "x   #################### 100 %   7/s");
    progress_line(buf, sizeof buf, &u, "x", "", 0, 0);
    CU_ASSERT_EQUAL(terminal_width(buf), 30);
    progress_line(buf, 8, &t, "a long name", "", 0.5, 10);
    CU_ASSERT_EQUAL(strlen(buf), 7);
}

static void begins_and_ends(void) {
    const struct terminal nobody = {0};
    struct progress p;
    progress_begin(&p, &nobody, 0, "x");
    CU_ASSERT_FALSE(p.running);
    progress_set(&p, 0.5, "y");
    progress_end(&p);
    const struct terminal t = {.is_terminal = true};
    for (int i = 0; i < 50; i++) { /* it ends at once, not after its second */
        progress_begin(&p, &t, 0, "x%d", i);
        CU_ASSERT_TRUE(p.running);
        CU_ASSERT_STRING_EQUAL(p.note, "");
        progress_set(&p, 0.5, "y");
        CU_ASSERT_STRING_EQUAL(p.note, "y");
        progress_end(&p);
        CU_ASSERT_FALSE(p.running);
    }
}

SUITE(progress, {"lines", lines}, {"begins and ends", begins_and_ends});
