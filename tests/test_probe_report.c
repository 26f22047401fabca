/* The probe's record: what is written is read again; cut short or changed it is refused, or at least sound.
 */
#include "guard/probe_report.h"

#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct probe_class classes[3] = {{.covered = true,
                                         .patch = 90,
                                         .additive = -1,
                                         .wave = 4,
                                         .window = -2,
                                         .area = 1,
                                         .z = 0.1f,
                                         .patch_after = 88,
                                         .z_after = 0.2f},
                                        {.covered = true,
                                         .patch = 20,
                                         .additive = 5,
                                         .wave = 3,
                                         .window = 9,
                                         .area = 8,
                                         .z = 11,
                                         .patch_after = 80,
                                         .z_after = 1},
                                        {0}};
static struct probe_pruned pruned[2] = {{"/layer1/conv", 7}, {"/layer2/conv", 0}};
static uint8_t mask[6] = {0, 255, 3, 4, 5, 6}, pattern[18] = {1, 2, 3};

static struct probe_report sample(void) {
    return (struct probe_report){.verdict = PROBE_REPAIRED,
                                 .target = 1,
                                 .rounds = 2,
                                 .ways = 5,
                                 .success = 0.99f,
                                 .success_after = 0.02f,
                                 .drift = 0.04f,
                                 .limit = 3.5f,
                                 .seed = 9,
                                 .seconds = 61,
                                 .budget = 600,
                                 .n_classes = 3,
                                 .n_covered = 2,
                                 .classes = classes,
                                 .n_pruned = 2,
                                 .pruned = pruned,
                                 .channels = 3,
                                 .height = 2,
                                 .width = 3,
                                 .mask = mask,
                                 .pattern = pattern};
}

static void test_round_trip(void) {
    const struct probe_report r = sample();
    struct probe_report back;
    struct err e = {0};
    size_t n = 0, again = 0;
    uint8_t *bytes = probe_report_encode(&r, &n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    CU_ASSERT_EQUAL_FATAL(probe_report_decode(bytes, n, &back, &e), 0);
    CU_ASSERT_EQUAL(back.verdict, r.verdict);
    CU_ASSERT_EQUAL(back.target, 1);
    CU_ASSERT_EQUAL(memcmp(back.classes, classes, sizeof classes), 0);
    CU_ASSERT_EQUAL(memcmp(back.pruned, pruned, sizeof pruned), 0);
    CU_ASSERT_EQUAL(memcmp(back.mask, mask, sizeof mask), 0);
    uint8_t *second = probe_report_encode(&back, &again);
    CU_ASSERT(second && again == n && memcmp(bytes, second, n) == 0);
    free(second);
    free(bytes);
    probe_report_free(&back);
}

/* Every cut is refused; every changed byte is refused, or gives something that can be freed and encoded. */
static void test_damage(void) {
    const struct probe_report r = sample();
    struct err e;
    size_t n = 0;
    uint8_t *bytes = probe_report_encode(&r, &n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    for (size_t cut = 0; cut < n; cut++) {
        struct probe_report back;
        CU_ASSERT(probe_report_decode(bytes, cut, &back, &e) < 0);
    }
    for (size_t at = 0; at < n; at++)
        for (int bit = 0; bit < 8; bit += 7) {
            struct probe_report back;
            bytes[at] ^= (uint8_t)(1 << bit);
            if (probe_report_decode(bytes, n, &back, &e) == 0) {
                CU_ASSERT(back.target < back.n_classes);
                probe_report_free(&back);
            }
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    free(bytes);
}

static void test_channels(void) {
    const struct probe_report r = sample();
    size_t n = 0;
    char *text = probe_report_channels(&r, &n);
    CU_ASSERT(text && n == 30 && strncmp(text, "7 /layer1/conv\n0 /layer2/conv\n", n) == 0);
    free(text);
}

static void test_words(void) {
    CU_ASSERT_STRING_EQUAL(probe_verdict_name(PROBE_CLEAR), "clear");
    CU_ASSERT_STRING_EQUAL(probe_verdict_text(PROBE_SUSPECT), "suspect, not repaired");
    CU_ASSERT_STRING_EQUAL(probe_verdict_name((enum probe_verdict)99), "unknown");
}

SUITE(probe_report, {"is read as it was written", test_round_trip},
      {"damage is refused or harmless", test_damage}, {"lists channels for the import worker", test_channels},
      {"verdicts have names", test_words});
