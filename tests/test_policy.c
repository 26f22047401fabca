/* guard/policy: what follows from settings, files and a report. */
#include "guard/policy.h"

#include "guard/canary.h"
#include "infer/image.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct config c;

static void settings(const char *yaml) {
    struct err e = {0};
    CU_ASSERT_EQUAL_FATAL(config_parse(&c, "c.yaml", (const uint8_t *)yaml, strlen(yaml), &e), 0);
}

static enum policy_action judge_sampled(const char *yaml, const struct report *r, uint32_t canary,
                                        const char *want) {
    struct err e = {0};
    settings(yaml);
    struct policies *p = policies_load(&c, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    enum policy_action action = policies_judge(p, "signs", r, canary, &e);
    CU_ASSERT_EQUAL((action == POLICY_SERVE), (e.code == ERR_NONE));
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, want));
    policies_free(p);
    return action;
}

static enum policy_action judge(const char *yaml, const struct report *r, const char *want) {
    return judge_sampled(yaml, r, 0, want);
}

static void by_the_samples(void) {
    const struct report r = {.threshold = 3, .verdict = VERDICT_PRUNED};
    const uint32_t nine = canary_share(&(struct agree){.samples = 10, .agreed = 9}),
                   eight = canary_share(&(struct agree){.samples = 10, .agreed = 8});
    CU_ASSERT_EQUAL(judge_sampled("", &r, nine, ""), POLICY_SERVE);
    CU_ASSERT_EQUAL(judge_sampled("", &r, eight, "8 of 10"), POLICY_HOLD);
    CU_ASSERT_EQUAL(judge_sampled("guard: {min_agreement: 0.8}", &r, eight, ""), POLICY_SERVE);
    CU_ASSERT_EQUAL(judge_sampled("guard: {min_agreement: 0.95, on_disagreement: reject}", &r, nine,
                                  "guard.min_agreement"),
                    POLICY_REJECT);
    CU_ASSERT_EQUAL(judge_sampled("guard: {on_disagreement: serve}", &r, eight, ""), POLICY_SERVE);
    CU_ASSERT_EQUAL(judge_sampled("guard: {overrides: {signs: {min_agreement: 0}}}", &r, eight, ""),
                    POLICY_SERVE);
}

static void by_the_report(void) {
    struct report_layer layers[2] = {{.name = (char *)(uintptr_t) "a", .channels = 10, .n_pruned = 1},
                                     {.name = (char *)(uintptr_t) "b", .channels = 10, .n_pruned = 4}};
    struct report r = {.threshold = 3, .verdict = VERDICT_PRUNED, .layers = layers, .n_layers = 2};
    CU_ASSERT_EQUAL(judge("", &r, "4 of 10 channels of b"), POLICY_HOLD);
    CU_ASSERT_EQUAL(judge("guard: {max_pruned: 0.4}", &r, ""), POLICY_SERVE);
    CU_ASSERT_EQUAL(judge("guard: {max_pruned: 0.3, on_excess: reject}", &r, "guard.max_pruned"),
                    POLICY_REJECT);
    CU_ASSERT_EQUAL(judge("guard: {on_excess: serve}", &r, ""), POLICY_SERVE);
    CU_ASSERT_EQUAL(judge("guard: {overrides: {signs: {on_excess: serve}}}", &r, ""), POLICY_SERVE);
    CU_ASSERT_EQUAL(judge("guard: {overrides: {other: {on_excess: serve}}}", &r, "of b"), POLICY_HOLD);
    struct report none = {.threshold = 3, .verdict = VERDICT_NOT_APPLICABLE};
    CU_ASSERT_EQUAL(judge("", &none, ""), POLICY_SERVE);
    CU_ASSERT_EQUAL(judge("guard: {on_inapplicable: hold}", &none, "guard.on_inapplicable"), POLICY_HOLD);
    CU_ASSERT_EQUAL(judge("guard: {on_inapplicable: reject}", &none, "guard.on_inapplicable"), POLICY_REJECT);
}

/* A worker that was taken over says what suits it. */
static void reports_that_lie(void) {
    struct report r = {.threshold = 5, .verdict = VERDICT_UNCHANGED};
    CU_ASSERT_EQUAL(judge("", &r, "did not measure"), POLICY_REJECT);
    CU_ASSERT_EQUAL(judge("guard: {sidecar: anything}", &r, ""), POLICY_SERVE);
    r.threshold = 3;
    CU_ASSERT_EQUAL(judge("guard: {statistic: median-mad}", &r, "did not measure"), POLICY_REJECT);
    r.verdict = VERDICT_GUARD_OFF;
    CU_ASSERT_EQUAL(judge("", &r, "did not measure"), POLICY_REJECT);
}

static uint64_t digest_of(const char *yaml) {
    struct err e = {0};
    settings(yaml);
    struct policies *p = policies_load(&c, &e);
    uint64_t d = policies_digest(p);
    policies_free(p);
    return d;
}

/* Another precision compiles anew, where the CPU gains by it; and decides nothing. */
static void precision_is_of_the_build(void) {
    settings("");
    const uint64_t plain = policy_build(&c), digest = digest_of("");
    settings("engine: {precision: bf16}");
    CU_ASSERT_EQUAL(policy_build(&c) != plain, image_bf16_pays());
    CU_ASSERT_EQUAL(policy_bf16(&c), image_bf16_pays());
    CU_ASSERT_EQUAL(digest_of("engine: {precision: bf16}"), digest);
}

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

static void every_setting_counts(void) {
    static const char *const yaml[] = {"",
                                       "guard: {threshold: 2}",
                                       "guard: {statistic: median-mad}",
                                       "guard: {max_pruned: 0.5}",
                                       "guard: {on_excess: serve}",
                                       "guard: {on_inapplicable: hold}",
                                       "guard: {sidecar: nothing}",
                                       "guard: {allowed_digests: /x}",
                                       "guard: {signature_key: /x}",
                                       "guard: {signature_key: /y}",
                                       "guard: {overrides: {a: {threshold: 3}}}",
                                       "guard: {overrides: {b: {threshold: 3}}}",
                                       "guard: {overrides: {a: {threshold: 2}}}"};
    enum { N = sizeof yaml / sizeof *yaml };
    uint64_t d[N];
    for (int i = 0; i < N; i++) {
        d[i] = digest_of(yaml[i]);
        for (int k = 0; k < i; k++) CU_ASSERT_NOT_EQUAL(d[i], d[k]);
    }
    CU_ASSERT_EQUAL(digest_of("guard: {settle_ms: 50}\nlog: {level: debug}"),
                    d[0]); /* these decide nothing */
    /* The contents of a file that is named count, too. */
    char path[] = "/tmp/clpd-policy-XXXXXX", text[96];
    (void)close(mkstemp(path));
    (void)snprintf(text, sizeof text, "guard: {allowed_digests: %s}", path);
    const uint64_t empty = digest_of(text);
    write_text(path, "abababababababababababababababababababababababababababababababab\n");
    CU_ASSERT_NOT_EQUAL(digest_of(text), empty);
    (void)unlink(path);
}

static void by_the_bytes(void) {
    char path[] = "/tmp/clpd-policy-XXXXXX", text[128];
    struct spawn_digests d = {{0}, {0}, {0}, {0}};
    struct err e = {0};
    memset(d.model, 0xab, sizeof d.model);
    (void)close(mkstemp(path));
    write_text(path, "abababababababababababababababababababababababababababababababab\n");
    (void)snprintf(text, sizeof text, "guard: {allowed_digests: %s}", path);
    settings(text);
    struct policies *p = policies_load(&c, &e);
    CU_ASSERT_EQUAL(policies_admit(p, "a", -1, "a.onnx", NULL, NULL, &d, &e), 0);
    CU_ASSERT_EQUAL(policies_admit(p, "a", -1, "a.onnx", "a.onnx.data", NULL, &d, &e),
                    -1); /* weights count */
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "a.onnx.data"));
    d.model[0] ^= 1;
    CU_ASSERT_EQUAL(policies_admit(p, "a", -1, "a.onnx", NULL, NULL, &d, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "SHA-256 of a.onnx"));
    policies_free(p);
    (void)unlink(path);
    p = policies_load(&c, &e); /* the list is gone */
    CU_ASSERT_EQUAL(policies_admit(p, "a", -1, "a.onnx", NULL, NULL, &d, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "nothing is allowed"));
    policies_free(p);
    (void)unsetenv("CREDENTIALS_DIRECTORY");
    settings("guard: {signature_key: models.pub}");
    e = (struct err){0};
    p = policies_load(&c, &e);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "LoadCredential=models.pub"));
    CU_ASSERT_EQUAL(policies_admit(p, "a", -1, "a.onnx", NULL, NULL, &d, &e), -1);
    policies_free(p);
}

SUITE(policy, {"precision", precision_is_of_the_build}, {"samples that keep their class", by_the_samples},
      {"by the report", by_the_report}, {"reports that lie", reports_that_lie},
      {"every setting counts", every_setting_counts}, {"by the bytes", by_the_bytes});
