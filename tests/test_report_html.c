/* The report page: complete, self-contained, and safe whatever a layer is called. */
#include "client/report_html.h"
#include "tests/report_sample.h"
#include "tests/suite.h"

static char *page(const struct report *r, const char *model) {
    FILE *f = tmpfile();
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(report_html_write(f, model, r, 1763834400), 0);
    return sample_read(f);
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

static void test_contents(void) {
    struct report r = sample_report();
    char *text = page(&r, "models/cam.onnx");
    CU_ASSERT_EQUAL(strncmp(text, "<!doctype html>", 15), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "<title>cam.onnx: pruned</title>"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "1 of 44 channels, in 1 of 3 layers"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "mean + 3 std"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "2025-11-22"));
    CU_ASSERT_EQUAL(count(text, "<svg class=strip"), 3);
    CU_ASSERT_EQUAL(count(text, "<path class=p"), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "<title>channel 7: 2.5, z 6.50</title>"));
    CU_ASSERT_EQUAL(count(text, "h.1"), 44); /* a dot for every channel */
    /* by interest: what was pruned comes first, what can never fire last */
    CU_ASSERT(strstr(text, "id=l1 ") < strstr(text, "id=l0 "));
    CU_ASSERT(strstr(text, "id=l0 ") < strstr(text, "id=l2 "));
    free(text);
    report_free(&r);
}

static void test_hostile_names(void) {
    struct report r = sample_report();
    char *text = page(&r, "models/" SAMPLE_EVIL);
    CU_ASSERT_PTR_NULL(strstr(text, "<script"));
    CU_ASSERT_PTR_NULL(strchr(text, '\033'));
    CU_ASSERT_PTR_NULL(strchr(text, '\xff'));
    CU_ASSERT_PTR_NULL(strstr(text, "<b>&"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "default-src 'none'"));
    CU_ASSERT_PTR_NULL(strstr(text, "http://"));
    CU_ASSERT_PTR_NULL(strstr(text, "https://"));
    free(text);
    report_free(&r);
}

static void test_other_verdicts(void) {
    struct report empty = {.threshold = 3, .verdict = VERDICT_NOT_APPLICABLE};
    char *text = page(&empty, "vit.onnx");
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "Not applicable"));
    CU_ASSERT_PTR_NULL(strstr(text, "Layer by layer"));
    CU_ASSERT_PTR_NULL(strstr(text, "nan"));
    free(text);

    /* a layer without spread, far outliers, and a threshold of 0: every place stays on the page */
    struct report r = sample_report();
    r.threshold = 0;
    r.layers[0].std = 0;
    r.layers[1].uclc[7] = 1e30f;
    r.layers[1].uclc[8] = -1e30f;
    text = page(&r, "x.onnx");
    CU_ASSERT_PTR_NULL(strstr(text, "nan"));
    CU_ASSERT_PTR_NULL(strstr(text, "inf"));
    CU_ASSERT_PTR_NULL(strstr(text, "M-"));
    CU_ASSERT_EQUAL(count(text, "h.1"), 44);
    free(text);
    report_free(&r);
}

SUITE(report_html, {"verdict, facts, a dot per channel", test_contents},
      {"hostile names are only text", test_hostile_names},
      {"empty and extreme reports", test_other_verdicts});
