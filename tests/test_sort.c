/* Sorting: every order of small arrays, large ones, and no more than was given. */
#include "infer/sort.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <string.h>

struct record {
    uint32_t key;
    char rest[12];
};

static int by_key(const void *a, const void *b) {
    const struct record *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

/* Sorted, and the same records as before: each carries its key twice. */
static void check(struct record *r, size_t n) {
    uint64_t before = 0, after = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(r[i].rest, &r[i].key, sizeof r[i].key);
        before += r[i].key * 31ull * r[i].key;
    }
    sort_records(r, n, sizeof *r, by_key);
    for (size_t i = 0; i < n; i++) {
        after += r[i].key * 31ull * r[i].key;
        CU_ASSERT_FATAL(i == 0 || r[i - 1].key <= r[i].key);
        CU_ASSERT_FATAL(memcmp(r[i].rest, &r[i].key, sizeof r[i].key) == 0);
    }
    CU_ASSERT_EQUAL(before, after);
}

static void arrays_come_out_sorted(void) {
    static struct record r[5000 + 1];
    uint64_t seed = 1;
    for (size_t n = 0; n <= 5000; n = n < 20 ? n + 1 : n * 3)
        for (uint32_t range = 1; range < 100000; range *= 7) { /* many equal ones, and few */
            for (size_t i = 0; i < n; i++) r[i].key = fixture_random(&seed, range);
            r[n].key = 12345;
            check(r, n);
            CU_ASSERT_EQUAL(r[n].key, 12345);
        }
    for (uint32_t i = 0; i < 5000; i++) r[i].key = i;
    check(r, 5000);
    for (uint32_t i = 0; i < 5000; i++) r[i].key = 5000 - i;
    check(r, 5000);
}

SUITE(sort, {"arrays come out sorted", arrays_come_out_sorted});
