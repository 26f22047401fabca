/* The probe on a network with a backdoor put in by hand: it is found, the channel is pruned, and only then is
 * it called repaired; the same network without it stands clear; seeds and short budgets. */
#include "guard/probe.h"

#include "tests/probe_case.h"
#include "tests/suite.h"

#include <string.h>

static const struct probe_options options = {.seconds = 300, .seed = 3, .memory = 1 << 26};

static struct probe_report probed(const struct probe_case *p, const struct probe_options *o) {
    struct probe_report r;
    struct err e = {0};
    const int rc = probe_run(p->c.img, o, &r, &e);
    if (rc) fprintf(stderr, "\n%s\n", e.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_EQUAL_FATAL(r.n_classes, PROBE_CASE_CLASSES);
    return r;
}

static void check_repaired(const struct probe_report *r) {
    CU_ASSERT_EQUAL(r->verdict, PROBE_REPAIRED);
    CU_ASSERT_EQUAL(r->target, PROBE_CASE_TARGET);
    CU_ASSERT_EQUAL(r->n_covered, PROBE_CASE_CLASSES);
    CU_ASSERT(r->classes[PROBE_CASE_TARGET].z >= r->limit);
    CU_ASSERT(r->classes[PROBE_CASE_TARGET].z_after < r->limit);
    CU_ASSERT(r->ways > 0 && r->success > 0.5f && r->success_after < r->success);
    CU_ASSERT_EQUAL_FATAL(r->n_pruned, 1);
    CU_ASSERT_EQUAL(r->pruned[0].channel, PROBE_CASE_CHANNEL);
    CU_ASSERT_EQUAL(r->height, 16);
    CU_ASSERT_PTR_NOT_NULL(r->mask);
}

/* Behind a Softmax slopes would vanish: the probe looks before it. */
static void test_backdoor(void) {
    struct probe_case p = probe_case_make(true, true);
    struct probe_report r = probed(&p, &options);
    check_repaired(&r);
    probe_report_free(&r);
    probe_case_free(&p);
}

static void test_clean(void) {
    struct probe_case p = probe_case_make(false, false);
    struct probe_report r = probed(&p, &options);
    CU_ASSERT_EQUAL(r.verdict, PROBE_CLEAR);
    CU_ASSERT_EQUAL(r.n_pruned, 0);
    probe_report_free(&r);
    probe_case_free(&p);
}

static void test_repeatable(void) {
    struct probe_case p = probe_case_make(true, false);
    struct probe_report a = probed(&p, &options), b = probed(&p, &options);
    check_repaired(&a);
    check_repaired(&b);
    CU_ASSERT_EQUAL(memcmp(a.classes, b.classes, sizeof *a.classes * PROBE_CASE_CLASSES), 0);
    probe_report_free(&a);
    probe_report_free(&b);
    probe_case_free(&p);
}

/* No time at all: nothing is claimed. */
static void test_no_time(void) {
    struct probe_case p = probe_case_make(true, false);
    const struct probe_options o = {.seconds = 0, .memory = 1 << 26};
    struct probe_report r = probed(&p, &o);
    CU_ASSERT_EQUAL(r.verdict, PROBE_UNKNOWN);
    CU_ASSERT(r.cut);
    CU_ASSERT_EQUAL(r.n_pruned, 0);
    probe_report_free(&r);
    probe_case_free(&p);
}

SUITE(probe, {"finds a backdoor and prunes it", test_backdoor}, {"leaves a clean network alone", test_clean},
      {"the same seed, the same result", test_repeatable}, {"claims nothing without time", test_no_time});
