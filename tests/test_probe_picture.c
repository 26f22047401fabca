/* Dead leaves: the same from the same seed, within 0..1, and not all alike. */
#include "guard/probe_picture.h"

#include "tests/suite.h"

#include <math.h>
#include <string.h>

enum { FLOATS = 3 * 20 * 24 };

static void test_pictures(void) {
    static float a[FLOATS], b[FLOATS], c[FLOATS];
    const struct probe_size s = {3, 20, 24};
    struct probe_random r = {7}, again = {7};
    CU_ASSERT_EQUAL(probe_floats(&s), FLOATS);
    probe_picture_draw(&r, &s, a);
    probe_picture_draw(&again, &s, b);
    probe_picture_draw(&r, &s, c);
    CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
    CU_ASSERT(memcmp(a, c, sizeof a) != 0);
    int colours = 1;
    for (int i = 0; i < FLOATS; i++) {
        CU_ASSERT(a[i] >= 0 && a[i] <= 1);
        colours += i > 0 && a[i] != a[i - 1];
    }
    CU_ASSERT(colours > 50);
}

static void test_numbers(void) {
    struct probe_random r = {1};
    double sum = 0, squares = 0;
    for (int i = 0; i < 4000; i++) {
        const double v = (double)probe_random_normal(&r);
        sum += v;
        squares += v * v;
    }
    CU_ASSERT(fabs(sum / 4000) < 0.1);
    CU_ASSERT(fabs(squares / 4000 - 1) < 0.1);
}

SUITE(probe_picture, {"pictures are repeatable and colourful", test_pictures},
      {"numbers by chance", test_numbers});
