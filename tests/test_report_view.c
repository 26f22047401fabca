/* What the views share: z, words for each verdict, the order of interest. */
#include "client/report_view.h"
#include "tests/report_sample.h"
#include "tests/suite.h"

static void test_z(void) {
    struct report r = sample_report();
    CU_ASSERT_DOUBLE_EQUAL(report_view_max_z(&r.layers[1]), 6.5, 1e-5);
    CU_ASSERT_EQUAL(report_view_max_z(&r.layers[3]), 0);
    r.layers[0].std = 0;
    CU_ASSERT_EQUAL(report_view_max_z(&r.layers[0]), 0);
    CU_ASSERT_EQUAL(report_view_scored_layers(&r), 3);
    CU_ASSERT_EQUAL(report_view_pruned_layers(&r), 1);
    report_free(&r);
}

static void test_order(void) {
    struct report r = sample_report();
    int32_t order[4];
    report_view_sort(&r, order);
    const int32_t want[4] = {1, 0, 2, 3};
    CU_ASSERT_EQUAL(memcmp(order, want, sizeof want), 0);
    report_free(&r);
}

static void test_words(void) {
    char text[160];
    struct report r = {.verdict = VERDICT_UNCHANGED, .total_channels = 4800};
    CU_ASSERT_STRING_EQUAL(report_view_summary(text, sizeof text, &r),
                           "none of 4,800 channels in 0 layers stands out");
    r.verdict = VERDICT_NOT_APPLICABLE; /* never called clean */
    CU_ASSERT_PTR_NOT_NULL(strstr(report_view_summary(text, sizeof text, &r), "says nothing"));
    r.verdict = VERDICT_GUARD_OFF;
    CU_ASSERT_STRING_EQUAL(report_view_summary(text, sizeof text, &r), "guard off: not scanned");
}

SUITE(report_view, {"z of a layer", test_z}, {"what a person wants to see first", test_order},
      {"words for each verdict", test_words});
