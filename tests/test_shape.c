/* Shapes: products, comparison, broadcasting and text. */
#include "infer/op.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <string.h>

static void elements_do_not_overflow(void) {
    CU_ASSERT_EQUAL(shape_elements(&(struct shape){0}), 1); /* a scalar */
    CU_ASSERT_EQUAL(shape_elements(&SHAPE(2, 3, 4)), 24);
    CU_ASSERT_EQUAL(shape_elements(&SHAPE(2, 0, 4)), 0);
    CU_ASSERT_EQUAL(shape_elements(&SHAPE(2, -1)), -1);
    CU_ASSERT_EQUAL(shape_elements(&SHAPE(1LL << 31)), 1LL << 31);
    CU_ASSERT_EQUAL(shape_elements(&SHAPE((1LL << 31) + 1)), -1);
    CU_ASSERT_EQUAL(shape_elements(&SHAPE(1LL << 32, 1LL << 32)), -1); /* wraps to 0 in 64 bits */
    CU_ASSERT_EQUAL(shape_elements(&SHAPE(INT64_MAX, INT64_MAX, 1)), -1);
    CU_ASSERT_EQUAL(shape_elements(&SHAPE(0, INT64_MAX, INT64_MAX)), -1); /* empty, but absurd */
    CU_ASSERT_EQUAL(shape_elements(&(struct shape){.rank = 9}), -1);
    CU_ASSERT_EQUAL(shape_elements(&(struct shape){.rank = -1}), -1);
}

static void validity(void) {
    CU_ASSERT_TRUE(shape_valid(&(struct shape){0}));
    CU_ASSERT_TRUE(shape_valid(&SHAPE(1, 2, 3, 4, 5, 6, 7, 8)));
    CU_ASSERT_TRUE(shape_valid(&SHAPE(INT32_MAX)));
    CU_ASSERT_FALSE(shape_valid(&SHAPE(1LL << 31)));
    CU_ASSERT_FALSE(shape_valid(&SHAPE(3, 0)));
    CU_ASSERT_FALSE(shape_valid(&SHAPE(3, -3)));
    CU_ASSERT_FALSE(shape_valid(&SHAPE(65536, 65536)));
    CU_ASSERT_FALSE(shape_valid(&(struct shape){.rank = -1}));
    CU_ASSERT_FALSE(shape_valid(&(struct shape){.rank = 9}));
    CU_ASSERT_FALSE(shape_valid(&(struct shape){.rank = INT32_MIN}));
    struct shape s = SHAPE(3, 3);
    s.dim[5] = 1; /* past the rank */
    CU_ASSERT_FALSE(shape_valid(&s));
}

static void equality_looks_at_rank_and_dimensions(void) {
    struct shape a = SHAPE(2, 3), b = SHAPE(2, 3);
    CU_ASSERT_TRUE(shape_equal(&a, &b));
    b.dim[2] = 9;
    CU_ASSERT_TRUE(shape_equal(&a, &b)); /* not a dimension */
    CU_ASSERT_FALSE(shape_equal(&a, &SHAPE(2, 3, 1)));
    CU_ASSERT_FALSE(shape_equal(&a, &SHAPE(3, 2)));
    struct shape absent = {.rank = -1};
    CU_ASSERT_FALSE(shape_equal(&absent, &absent));
}

static void broadcasting_is_numpys(void) {
    static const struct {
        struct shape a, b, out;
        bool fits;
    } rows[] = {
        {{.rank = 0}, {.rank = 2, .dim = {2, 3}}, {.rank = 2, .dim = {2, 3}}, true},
        {{.rank = 1, .dim = {3}}, {.rank = 2, .dim = {2, 1}}, {.rank = 2, .dim = {2, 3}}, true},
        {{.rank = 4, .dim = {1, 5, 1, 1}},
         {.rank = 3, .dim = {5, 4, 4}},
         {.rank = 4, .dim = {1, 5, 4, 4}},
         true},
        {{.rank = 2, .dim = {2, 3}}, {.rank = 1, .dim = {2}}, {.rank = 0}, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct shape ab, ba;
        CU_ASSERT_EQUAL(shape_broadcast(&rows[i].a, &rows[i].b, &ab), rows[i].fits);
        CU_ASSERT_EQUAL(shape_broadcast(&rows[i].b, &rows[i].a, &ba), rows[i].fits);
        if (rows[i].fits) CU_ASSERT_TRUE(shape_equal(&ab, &rows[i].out) && shape_equal(&ba, &rows[i].out));
    }
    CU_ASSERT_EQUAL(shape_product(&SHAPE(2, 3, 4), 1, 3), 12);
    CU_ASSERT_EQUAL(shape_product(&SHAPE(2, 3, 4), 1, 1), 1);
}

static void text_fits_every_buffer(void) {
    char buf[64];
    CU_ASSERT_STRING_EQUAL(shape_text(&SHAPE(1, 3, 224, 224), buf, sizeof buf), "[1,3,224,224]");
    CU_ASSERT_STRING_EQUAL(shape_text(&(struct shape){0}, buf, sizeof buf), "[]");
    CU_ASSERT_STRING_EQUAL(shape_text(&(struct shape){.rank = -1}, buf, sizeof buf), "absent");
    const struct shape large = SHAPE(INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN);
    for (int cap = 0; cap <= 64; cap++) {
        memset(buf, 'x', sizeof buf);
        (void)shape_text(&large, buf, cap);
        if (cap > 0) CU_ASSERT(strlen(buf) < (size_t)cap);
        if (cap < 64) CU_ASSERT_EQUAL(buf[cap], 'x');
    }
}

SUITE(shape, {"elements do not overflow", elements_do_not_overflow}, {"validity", validity},
      {"equality looks at rank and dimensions", equality_looks_at_rank_and_dimensions},
      {"broadcasting is NumPy's", broadcasting_is_numpys},
      {"text fits every buffer", text_fits_every_buffer});
