/* Runs of the size that pays: simulated networks, of which larger runs are better, worse, or best in between.
 */
#include "daemon/pace.h"
#include "tests/suite.h"

#define MOST 64

/* ns of a run of n items. */
static uint64_t together(uint32_t n) {
    return 100000 + 10000ull * n;
}
static uint64_t apart(uint32_t n) {
    return n < 4 ? 50000ull * n : 60000ull * n;
}
static uint64_t between(uint32_t n) {
    return 100000 + (n <= 8 ? 50000ull * n : 90000ull * n);
}

/* How many of 640 runs had each limit, after 640 that taught. */
static uint32_t count(uint64_t (*network)(uint32_t), uint64_t waiting, uint32_t limit) {
    struct pace p = {.runs = 0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < 1280; i++) {
        const uint32_t items = pace_items(&p, MOST, waiting),
                       real = items < waiting ? items : (uint32_t)waiting;
        pace_learn(&p, real, network(real));
        n += i >= 640 && items == limit;
    }
    return n;
}

static void the_best_wins(void) {
    CU_ASSERT_TRUE(count(together, 1000, MOST) >= 630);
    CU_ASSERT_TRUE(count(apart, 1000, 1) >= 630);
    CU_ASSERT_TRUE(count(between, 1000, 8) >= 630);
}

/* Few that wait are not held back to a power of two where more is better. */
static void few(void) {
    CU_ASSERT_TRUE(count(together, 5, MOST) >= 630);
    CU_ASSERT_TRUE(count(apart, 5, 1) >= 630);
    CU_ASSERT_TRUE(count(apart, 1, MOST) >= 630); /* no limit is needed */
}

/* Requests of eight items never make a run of 4, or of 1. */
static void large_requests(void) {
    struct pace p = {.runs = 0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < 1280; i++) {
        const uint32_t items = pace_items(&p, MOST, 1000), real = items < 8 ? 8 : items / 8 * 8;
        pace_learn(&p, real, together(real));
        n += i >= 640 && items == MOST;
    }
    CU_ASSERT_TRUE(n >= 630);
}

/* A host that changes is followed. */
static void changes(void) {
    struct pace p = {.runs = 0};
    uint32_t items = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        items = pace_items(&p, MOST, 1000);
        pace_learn(&p, items, (i < 1000 ? apart : together)(items));
    }
    CU_ASSERT_EQUAL(items, MOST);
}

static void every_size(void) {
    struct pace p = {.runs = 0};
    uint32_t tried = 0;
    for (uint32_t i = 0; i < 7 * PACE_TRY + 7; i++) {
        const uint32_t items = pace_items(&p, MOST, UINT64_MAX);
        pace_learn(&p, items, together(items));
        tried |= items;
    }
    CU_ASSERT_EQUAL(tried, 2 * MOST - 1);
    CU_ASSERT_EQUAL(pace_items(&(struct pace){.runs = 0}, 1, UINT64_MAX), 1);
    pace_learn(&p, 5000, 1000000); /* larger than any size: counts as the largest */
    CU_ASSERT_TRUE(p.item_ns[PACE_SIZES - 1] > 0);
}

SUITE(pace, {"the size that pays is the limit", the_best_wins}, {"few are not held back", few},
      {"what can't be tried is not asked for again", large_requests},
      {"what changes is learned anew", changes}, {"every size is tried", every_size});
