/* Counters: which bucket a value belongs to, and that sums and counts agree. */
#include "daemon/metrics.h"
#include "tests/suite.h"

#include <string.h>

static void buckets(void) {
    static struct metrics_version m;
    metrics_count_batch(&m, 3, 8, 50000); /* the bound itself is below */
    metrics_count_batch(&m, 1, 9, 50001);
    metrics_count_batch(&m, 1, 2000, UINT64_C(1) << 60);
    CU_ASSERT_EQUAL(m.ok, 5);
    CU_ASSERT_EQUAL(m.pictures, 2017);
    CU_ASSERT_EQUAL(m.compute.buckets[0], 3);
    CU_ASSERT_EQUAL(m.compute.buckets[1], 1);
    CU_ASSERT_EQUAL(m.compute.buckets[METRICS_TIMES], 1);
    CU_ASSERT_EQUAL(m.batch.buckets[3], 1);
    CU_ASSERT_EQUAL(m.batch.buckets[4], 1);
    CU_ASSERT_EQUAL(m.batch.buckets[METRICS_SIZES], 1);
    CU_ASSERT_EQUAL(m.batch_ns[3], 50000);
    CU_ASSERT_EQUAL(metrics_histogram_count(&m.batch, METRICS_SIZES), 3);
    CU_ASSERT_TRUE(m.last_ns > 0);
    metrics_count_wait(&m, 0, 0);
    metrics_count_wait(&m, 100000, 50000);
    CU_ASSERT_EQUAL(m.spans[0], 1);
    CU_ASSERT_TRUE(m.queue.buckets[0] == 1 && m.queue.buckets[1] == 1 && m.queue.sum == 100000);
    metrics_count_failure(&m, 2);
    CU_ASSERT_EQUAL(m.failed, 2);
    CU_ASSERT_DOUBLE_EQUAL(metrics_time_bound(0), 5e-5, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(metrics_time_bound(METRICS_TIMES - 1), 26.2144, 1e-9);
}

/* Each value falls into the bucket whose middle is nearest, within an eighth. */
static void spans(void) {
    static struct metrics_version m;
    for (uint64_t ns = 1024; ns < UINT64_C(60000000000); ns += ns / 5) {
        memset(&m, 0, sizeof m);
        metrics_count_wait(&m, ns / 3, ns - ns / 3);
        uint32_t i = 0;
        while (i < METRICS_SPANS && m.spans[i] == 0) i++;
        CU_ASSERT_TRUE_FATAL(i < METRICS_SPANS);
        const double off = (double)metrics_span_middle(i) / (double)ns;
        if (off < 15.0 / 16 || off > 17.0 / 16) CU_FAIL("a middle more than a sixteenth off");
    }
    memset(&m, 0, sizeof m);
    metrics_count_wait(&m, UINT64_C(1) << 60, 0);
    CU_ASSERT_EQUAL(m.spans[METRICS_SPANS - 1], 1);
    CU_ASSERT_EQUAL(metrics_span_middle(0), 512);
}

SUITE(metrics, {"buckets", buckets}, {"spans: eight to the octave", spans});
