/* Counters: which bucket a value belongs to, and that sums and counts agree. */
#include "daemon/metrics.h"
#include "tests/suite.h"

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
    metrics_count_wait(&m, 0);
    metrics_count_wait(&m, 100000);
    CU_ASSERT_TRUE(m.queue.buckets[0] == 1 && m.queue.buckets[1] == 1 && m.queue.sum == 100000);
    metrics_count_failure(&m, 2);
    CU_ASSERT_EQUAL(m.failed, 2);
    CU_ASSERT_DOUBLE_EQUAL(metrics_time_bound(0), 5e-5, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(metrics_time_bound(METRICS_TIMES - 1), 26.2144, 1e-9);
}

SUITE(metrics, {"buckets", buckets});
