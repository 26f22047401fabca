/* client/probe_html: every verdict has its words, what comes from a report or a model is escaped, and the
 * page fetches nothing. */
#include "client/probe_html.h"

#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static struct probe_class classes[5];
static struct probe_pruned pruned[1] = {{"<script>conv", 3}};
static uint8_t mask[16], pattern[48];

static char *page_of_target(enum probe_verdict v, bool picture, int32_t target) {
    struct probe_report r = {.verdict = v,
                             .target = target,
                             .limit = 3.5f,
                             .success = 0.98f,
                             .n_classes = 5,
                             .n_covered = 5,
                             .classes = classes,
                             .n_pruned = v == PROBE_REPAIRED,
                             .pruned = pruned};
    if (picture) r.channels = 3, r.height = r.width = 4, r.mask = mask, r.pattern = pattern;
    for (int k = 0; k < 5; k++)
        classes[k] =
            (struct probe_class){.covered = true, .patch = 60, .z = k == 2 ? 12.5f : 0.1f, .patch_after = 60};
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    probe_html(f, &(struct probe_shown){.report = &r, .service = "It serves."});
    (void)fclose(f);
    return text;
}

static char *page_of(enum probe_verdict v, bool picture) {
    return page_of_target(v, picture, 2);
}

static void test_words(void) {
    static const char *const titles[PROBE_VERDICTS] = {"No class stands out", "<b>Repaired</b>",
                                                       "Suspect, not repaired", "Not known"};
    for (int v = 0; v < PROBE_VERDICTS; v++) {
        char *page = page_of((enum probe_verdict)v, true);
        const bool found = v == PROBE_REPAIRED || v == PROBE_SUSPECT;
        CU_ASSERT_PTR_NOT_NULL(strstr(page, titles[v]));
        CU_ASSERT_PTR_NOT_NULL(strstr(page, "It serves."));
        CU_ASSERT_EQUAL(strstr(page, "data:image/png;base64,") != NULL, found);
        CU_ASSERT_EQUAL(strstr(page, "<rect class=p") != NULL, found);
        CU_ASSERT_PTR_NULL(strstr(page, "<script"));
        CU_ASSERT_PTR_NULL(strstr(page, "http"));
        free(page);
    }
}

/* A backdoor with many targets: it is a place that stands out, and no class is named for it. */
static void test_place(void) {
    char *page = page_of_target(PROBE_REPAIRED, true, -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(page, "a place did"));
    CU_ASSERT_PTR_NULL(strstr(page, "One class"));
    free(page);
    page = page_of_target(PROBE_SUSPECT, true, -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(page, "a place does"));
    free(page);
    page = page_of_target(PROBE_UNKNOWN, true, -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(page, "neither that"));
    free(page);
}

/* A report that says little: no picture, nothing covered, no target. */
static void test_little(void) {
    char *page = page_of(PROBE_SUSPECT, false);
    CU_ASSERT_PTR_NULL(strstr(page, "<img"));
    free(page);
    const struct probe_report none = {.verdict = PROBE_UNKNOWN, .target = -1};
    size_t n = 0;
    page = NULL;
    FILE *f = open_memstream(&page, &n);
    probe_html(f, &(struct probe_shown){.report = &none});
    (void)fclose(f);
    CU_ASSERT_PTR_NOT_NULL(strstr(page, "Not known"));
    free(page);
}

SUITE(probe_html, {"words, picture, charts", test_words}, {"a place instead of a class", test_place},
      {"a report that says little", test_little});
