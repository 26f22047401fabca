/* Which ways into a class are pruned against together: the plain ones, whatever they are. */
#include "guard/probe_internal.h"

#include "tests/suite.h"

struct found {
    enum trigger_kind kind;
    float z;
};

/* How many of them are plain; those that come first have to be as plain as the last. */
static uint32_t plain(const struct found *f, uint32_t n) {
    struct trigger triggers[WAYS] = {0};
    struct probe p = {.n_ways = n};
    for (uint32_t i = 0; i < n; i++) {
        triggers[i].kind = f[i].kind;
        p.ways[i] = &triggers[i];
        p.way_z[i] = f[i].z;
    }
    const uint32_t first = probe_plain_ways(&p);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < n; k++)
            if (p.ways[i] == &triggers[k]) CU_ASSERT_EQUAL(p.way_z[i], f[k].z);
    for (uint32_t i = 0; i < first; i++)
        CU_ASSERT(p.way_z[i] >= (trigger_is_added(p.ways[i]->kind) ? LIMIT : PLAIN * f[0].z));
    return first;
}

/* rn32_badnets, seed 1: patches in the middle of the picture are how the class is by nature, and dear. */
static void test_kinds(void) {
    const struct found f[] = {{TRIGGER_WINDOW, 8.2f}, {TRIGGER_PATCH, 3.7f}, {TRIGGER_PATCH, 4.7f},
                              {TRIGGER_PATCH, 6.4f},   {TRIGGER_AREA, 4.6f},  {TRIGGER_WINDOW, 8.1f}};
    CU_ASSERT_EQUAL(plain(f, 6), 3);
}

/* Areas have their turn where nothing smaller is left. */
static void test_areas(void) {
    const struct found both[] = {{TRIGGER_PATCH, 4.6f}, {TRIGGER_AREA, 19}},
                       areas[] = {{TRIGGER_AREA, 19}, {TRIGGER_AREA, 8}, {TRIGGER_AREA, 11}};
    CU_ASSERT_EQUAL(plain(both, 2), 1);
    CU_ASSERT_EQUAL(plain(areas, 3), 2);
}

/* What is added is not vouched for before it was pruned against, so that is done at once. */
static void test_added(void) {
    const struct found f[] = {{TRIGGER_WINDOW, 15}, {TRIGGER_PATCH, 4},           {TRIGGER_ADDITIVE, LIMIT},
                              {TRIGGER_WAVE, 3.9f}, {TRIGGER_WAVE, LIMIT - 0.1f}, {TRIGGER_AREA, 15}};
    CU_ASSERT_EQUAL(plain(f, 6), 3);
}

SUITE(probe_ways, {"what stands out far less than the plainest waits", test_kinds},
      {"what is added does not", test_added}, {"so do areas, while there is anything smaller", test_areas});
