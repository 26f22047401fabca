/* Counts of a load run: versions in order, merging, and the documented JSON. */
#include "client/clpd.h"
#include "client/load_report.h"
#include "tests/report_sample.h"
#include "tests/suite.h"

static struct load_counts a, b, sum;

static void test_versions(void) {
    memset(&a, 0, sizeof a);
    static const uint64_t seen[] = {5, 5, 7, 5, 2, 7};
    for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++) load_count_version(&a, seen[i]);
    CU_ASSERT_EQUAL_FATAL(a.n_versions, 3);
    CU_ASSERT_EQUAL(a.versions[0].version, 2);
    CU_ASSERT_EQUAL(a.versions[1].answers, 3);
    CU_ASSERT_EQUAL(a.versions[2].version, 7);
    for (uint64_t v = 100; v < 300; v++) load_count_version(&a, v); /* more than there is room for */
    CU_ASSERT_EQUAL(a.n_versions, LOAD_VERSIONS);
    uint64_t all = 0;
    for (uint32_t i = 0; i < a.n_versions; i++) all += a.versions[i].answers;
    CU_ASSERT_EQUAL(all, 206);
}

static void fill(struct load_counts *c) {
    memset(c, 0, sizeof *c);
    for (uint64_t i = 1; i <= 1000; i++) histogram_record(&c->latency, i * 1000);
    load_count_version(c, 2);
    c->sent = 1010;
    c->busy = 3;
    c->lost = 2;
    c->by_status[CLPD_DEADLINE] = 5;
    c->reconnects = 1;
    c->finished = 9;
    strcpy(c->example, "too late\033");
}

static void test_merge_and_json(void) {
    fill(&a);
    fill(&b);
    load_count_version(&b, 1);
    load_counts_merge(&a, &b);
    CU_ASSERT_EQUAL(load_errors(&a), 14);
    memset(&sum, 0, sizeof sum);
    load_counts_merge(&sum, &a); /* 2,000 answers */
    load_counts_merge(&sum, &b); /* 1,000 */
    CU_ASSERT_EQUAL(sum.fewest, 1000);
    CU_ASSERT_EQUAL(sum.most, 2000);
    const struct load_settings s = {
        .transport = "stream", .model = "m", .clients = 2, .inflight = 4, .seconds = 2};
    json_t *o = load_report_json(&s, &a);
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_EQUAL(
        strncmp(text,
                "{\"transport\":\"stream\",\"requests\":2020,\"errors\":14,\"rps\":1000.0,\"p50_us\":", 70),
        0);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"max_us\":1000.0,\"versions\":[1,2]"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"busy\":6"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"by_status\":{\"deadline\":10}"));
    CU_ASSERT_DOUBLE_EQUAL(json_real_value(json_object_get(o, "p99_us")), 990, 990 * 0.008);
    free(text);
    json_decref(o);
}

static void test_print(void) {
    fill(&a);
    a.unsent = 7;
    const struct load_settings s = {
        .transport = "stream", .model = "m", .clients = 1, .inflight = 64, .rate = 500, .seconds = 2};
    FILE *f = tmpfile();
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    load_report_print(f, &(struct terminal){0}, &s, &a);
    char *text = sample_read(f);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "open loop"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "requests  1,010 in 2.0 s (500/s wanted)   500.0/s answered"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "errors    7   deadline 5   lost 2   (1 reconnects)   busy 3"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "too late?"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "unsent    7"));
    free(text);
}

SUITE(load_report, {"versions in order", test_versions}, {"merging and JSON", test_merge_and_json},
      {"the same for people", test_print});
