/* How long to look: long waits teach not to, short ones to look again, and a try finds out that it would pay.
 */
#include "client/spin.h"
#include "tests/suite.h"

#define MOST 50000u

static uint32_t full_looks(struct spin *s, uint32_t waits) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < waits; i++) n += spin_limit(s) >= MOST;
    return n;
}

static void learning(void) {
    struct spin s = {.most = MOST};
    CU_ASSERT_EQUAL(spin_limit(&s), MOST);
    for (int i = 0; i < 20; i++) spin_learn(&s, 1000, true);
    CU_ASSERT_TRUE(s.gap <= 1000);
    for (int i = 0; i < 20; i++) spin_learn(&s, UINT64_MAX / 2, false);
    CU_ASSERT_TRUE(s.gap > s.most && s.gap <= 4 * s.most);
    for (int i = 0; i < 30; i++) spin_learn(&s, 1000, false);
    CU_ASSERT_TRUE(s.gap < s.most);
}

/* What comes after 30 us is waited for awake again, though waking made 60 of it. */
static void trying(void) {
    struct spin s = {.most = MOST};
    for (int i = 0; i < 40; i++) spin_learn(&s, 60000, false);
    CU_ASSERT_EQUAL(full_looks(&s, 10 * SPIN_TRY + 1), 21); /* two a try, and the first */
    spin_learn(&s, 30000, true);
    CU_ASSERT_EQUAL(full_looks(&s, 100), 100);
    spin_learn(&s, 60000, false); /* one that is late is not the end of it */
    CU_ASSERT_EQUAL(spin_limit(&s), MOST);
}

static void no_looking(void) {
    struct spin never = {.most = 0}, little = {.most = 1000};
    spin_learn(&never, 1000, false);
    CU_ASSERT_EQUAL(spin_limit(&never), 0);
    for (int i = 0; i < 20; i++) spin_learn(&little, 9000, false);
    CU_ASSERT_EQUAL(spin_limit(&little), 1000);
}

SUITE(spin, {"long waits end it, short ones bring it back", learning},
      {"a try finds what sleeping hides", trying}, {"never, or never long", no_looking});
