/* Histogram: percentiles within half a percent over the whole range, merging, extremes. */
#include "client/histogram.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct histogram a, b;

static void test_empty(void) {
    memset(&a, 0, sizeof a);
    CU_ASSERT_EQUAL(histogram_value_at(&a, 0.5), 0);
    CU_ASSERT_EQUAL(histogram_value_at(&a, 1), 0);
}

static void test_small_values_exact(void) {
    memset(&a, 0, sizeof a);
    for (uint64_t v = 0; v < 256; v++) histogram_record(&a, v);
    for (uint64_t v = 1; v < 255; v++) CU_ASSERT_EQUAL(histogram_value_at(&a, (double)(v + 1) / 256), v);
    CU_ASSERT_EQUAL(histogram_value_at(&a, 0), 0);
    CU_ASSERT_EQUAL(histogram_value_at(&a, 1), 255);
}

static void test_error_bound(void) {
    for (int bit = 1; bit < 64; bit++) {
        for (uint64_t k = 0; k < 300; k++) {
            uint64_t v = ((uint64_t)1 << bit) + (((uint64_t)1 << bit) / 300) * k;
            memset(&a, 0, sizeof a);
            histogram_record(&a, 0);
            histogram_record(&a, v);
            histogram_record(&a, UINT64_MAX);
            double got = (double)histogram_value_at(&a, 0.6);
            if (fabs(got - (double)v) > 0.004 * (double)v) CU_FAIL("more than 0.4 % off");
        }
    }
    CU_ASSERT_EQUAL(histogram_value_at(&a, 1), UINT64_MAX);
}

static void test_percentiles_of_a_ramp(void) {
    memset(&a, 0, sizeof a);
    for (uint64_t v = 1; v <= 100000; v++) histogram_record(&a, v * 1000);
    CU_ASSERT_DOUBLE_EQUAL((double)histogram_value_at(&a, 0.5), 50e6, 50e6 * 0.008);
    CU_ASSERT_DOUBLE_EQUAL((double)histogram_value_at(&a, 0.99), 99e6, 99e6 * 0.008);
    CU_ASSERT_DOUBLE_EQUAL((double)histogram_value_at(&a, 0.999), 99.9e6, 99.9e6 * 0.008);
    CU_ASSERT_EQUAL(a.max, 100000000);
    CU_ASSERT_EQUAL(a.min, 1000);
}

static void test_merge(void) {
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    histogram_merge(&a, &b);
    CU_ASSERT_EQUAL(a.total, 0);
    histogram_record(&b, 7);
    histogram_merge(&a, &b);
    histogram_record(&b, 3);
    histogram_merge(&a, &b);
    CU_ASSERT_EQUAL(a.total, 3);
    CU_ASSERT_EQUAL(a.min, 3);
    CU_ASSERT_EQUAL(a.max, 7);
}

SUITE(histogram, {"an empty one answers 0", test_empty}, {"small values are exact", test_small_values_exact},
      {"every value within 0.4 %", test_error_bound}, {"percentiles of a ramp", test_percentiles_of_a_ramp},
      {"merging keeps counts and extremes", test_merge});
