/* guard/probe_record: comes back as it was, and damage is refused. */
#include "guard/probe_record.h"

#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static struct probe_class classes[4] = {{.covered = true, .z = 9}};
static struct probe_pruned pruned[1] = {{"/conv", 3}};

static struct probe_record sample(bool known) {
    struct probe_record r = {.model = "net", .digests = {.model = {7}}, .known = known, .declined = true};
    strcpy(r.why, known ? "" : "it crashed");
    if (known)
        r.report = (struct probe_report){.verdict = PROBE_REPAIRED,
                                         .n_classes = 4,
                                         .n_covered = 4,
                                         .classes = classes,
                                         .n_pruned = 1,
                                         .pruned = pruned};
    return r;
}

static void test_round_trip(void) {
    for (int known = 0; known < 2; known++) {
        const struct probe_record r = sample(known);
        struct probe_record back;
        struct err e = {0};
        size_t n = 0;
        uint8_t *bytes = probe_record_encode(&r, &n);
        CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
        CU_ASSERT_EQUAL_FATAL(probe_record_decode(bytes, n, &back, &e), 0);
        CU_ASSERT(strcmp(back.model, "net") == 0 && back.digests.model[0] == 7);
        CU_ASSERT(back.known == known && back.declined && strcmp(back.why, r.why) == 0);
        CU_ASSERT_EQUAL(probe_record_repairs(&back), known);
        CU_ASSERT_STRING_EQUAL(probe_record_words(&back), known ? "repaired" : "it crashed");
        probe_record_free(&back);
        free(bytes);
    }
}

static void test_damage(void) {
    const struct probe_record r = sample(true);
    struct probe_record back;
    struct err e;
    size_t n = 0;
    uint8_t *bytes = probe_record_encode(&r, &n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    for (size_t cut = 0; cut < n; cut += 7) CU_ASSERT(probe_record_decode(bytes, cut, &back, &e) < 0);
    for (size_t at = 0; at < n; at += 3) {
        bytes[at] ^= 4;
        CU_ASSERT(probe_record_decode(bytes, n, &back, &e) < 0);
        bytes[at] ^= 4;
    }
    free(bytes);
}

/* The digest is right, and what it covers is not. */
static void test_lies(void) {
    struct probe_record r = sample(false), back;
    struct err e;
    size_t n = 0;
    strcpy(r.model, "../net");
    uint8_t *bytes = probe_record_encode(&r, &n);
    CU_ASSERT(bytes && probe_record_decode(bytes, n, &back, &e) < 0);
    free(bytes);
    r = sample(false);
    strcpy(r.why, "red \x1b[31m");
    bytes = probe_record_encode(&r, &n);
    CU_ASSERT(bytes && probe_record_decode(bytes, n, &back, &e) < 0);
    free(bytes);
}

SUITE(probe_record, {"comes back as it was", test_round_trip}, {"damage is refused", test_damage},
      {"so is what can't be", test_lies});
