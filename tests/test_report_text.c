/* Scan report for the terminal: the figures, no escape codes where there is no colour, nothing hostile. */
#include "client/report_text.h"
#include "tests/report_sample.h"
#include "tests/suite.h"

static char *text_of(const struct report *r, const struct terminal *t, bool line) {
    FILE *f = tmpfile();
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    if (line)
        report_text_print_line(f, "models/cam.onnx", 20, r, t);
    else
        report_text_print(f, "models/cam.onnx", r, t);
    return sample_read(f);
}

static void test_plain(void) {
    struct report r = sample_report();
    struct terminal plain = {0};
    char *text = text_of(&r, &plain, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "models/cam.onnx\npruned  1 of 44 channels, in 1 of 3 layers\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "sha256 000102"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "/body/Conv        24   1.2      1.8   6.50  7\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "1 layer not scored: a gate <b>"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "1 layer without effect: too few"));
    CU_ASSERT_PTR_NULL(strchr(text, '\033'));
    CU_ASSERT_PTR_NULL(strchr(text, '\xff'));
    free(text);
    report_free(&r);
}

static void test_colour_and_strip(void) {
    struct report r = sample_report();
    struct terminal rich = {.is_terminal = true, .colour = true, .unicode = true, .columns = 120};
    char *text = text_of(&r, &rich, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\033[1;31mpruned\033[0m"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "distribution"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "█"));
    CU_ASSERT_PTR_NULL(strstr(text, "\033[2J")); /* the layer's name, not ours */
    free(text);
    report_free(&r);
}

static void test_line(void) {
    struct report r = sample_report();
    struct terminal plain = {0};
    char *text = text_of(&r, &plain, true);
    CU_ASSERT_STRING_EQUAL(
        text, "models/cam.onnx       pruned  1 of 44 channels, in 1 of 3 layers\n    /body/Conv: 7\n");
    free(text);
    report_free(&r);
}

static void test_many_pruned(void) {
    struct report r = sample_report();
    struct report_layer *l = &r.layers[1];
    free(l->uclc);
    free(l->pruned);
    l->channels = 4000;
    l->uclc = calloc(4000, sizeof *l->uclc);
    l->pruned = calloc(4000, sizeof *l->pruned);
    for (int32_t i = 0; i < 3999; i++) l->pruned[i] = i;
    l->n_pruned = 3999;
    struct terminal narrow = {.columns = 60};
    char *text = text_of(&r, &narrow, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "0 1 2 3"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " more\n"));
    free(text);
    text = text_of(&r, &narrow, true);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "13 14 15 and 3983 more\n"));
    free(text);
    report_free(&r);
}

SUITE(report_text, {"the figures, plainly", test_plain},
      {"colour and distributions on a terminal", test_colour_and_strip}, {"one line per model", test_line},
      {"thousands of pruned channels", test_many_pruned});
