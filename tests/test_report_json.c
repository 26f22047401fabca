/* Scan report as JSON: exactly the documented keys, in their order, with short numbers and clean text. */
#include "client/report_json.h"
#include "tests/report_sample.h"
#include "tests/suite.h"

static const char digest[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static char *dump(json_t *document) {
    FILE *f = tmpfile();
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(report_json_put(f, document), 0);
    return sample_read(f);
}

static void test_keys(void) {
    struct report r = sample_report();
    r.layers[1].mean = 1.2f, r.layers[1].std = 0.2f, r.layers[1].cutoff = 1.8f;
    char *text = dump(report_json_make("models/x.onnx", &r));
    const char *head = "{\"schema\":1,\"model\":\"models/x.onnx\",\"sha256\":\"";
    CU_ASSERT_EQUAL(strncmp(text, head, strlen(head)), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, digest));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"threshold\":3.0,\"statistic\":\"mean-std\",\"verdict\":\"pruned\","
                                        "\"pruned_channels\":1,\"total_channels\":44"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"elapsed_ms\":{\"import\":1.234,\"clp\":2.0,\"plan\":0.0}"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text,
                                  "{\"name\":\"/body/Conv\",\"channels\":24,\"scored\":true,\"reason\":null,"
                                  "\"norm\":\"folded-or-none\",\"mean\":1.2,\"std\":0.2,\"cutoff\":1.8,"
                                  "\"max_attainable_z\":4.5,\"uclc\":[1.0,1.1,"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"pruned\":[7]}"));
    CU_ASSERT_EQUAL(text[strlen(text) - 1], '\n');
    free(text);
    report_free(&r);
}

static void test_unscored_has_no_figures(void) {
    struct report r = sample_report();
    json_t *o = report_json_make("x", &r);
    CU_ASSERT_PTR_NOT_NULL_FATAL(o);
    json_t *l = json_array_get(json_object_get(o, "layers"), 3);
    CU_ASSERT_PTR_NOT_NULL_FATAL(l);
    CU_ASSERT(json_is_false(json_object_get(l, "scored")));
    CU_ASSERT(json_is_null(json_object_get(l, "mean")));
    CU_ASSERT_EQUAL(json_array_size(json_object_get(l, "uclc")), 0);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(l, "reason")), "a gate <b>");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(l, "name")),
                           "</title><script>alert(1)</script>?[2J&\"'?");
    json_decref(o);
    report_free(&r);
}

static void test_floats_survive(void) {
    const float values[] = {0.1f, 1.0f / 3, 1e-30f, 3.4028235e38f, 16777215, -2.5f, 0};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        json_t *n = report_json_float(values[i]);
        char *text = json_dumps(n, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        CU_ASSERT_EQUAL(strtof(text, NULL), values[i]);
        free(text);
        json_decref(n);
    }
}

static void test_error(void) {
    struct err e = {0};
    (void)err_set(&e, ERR_UNSUPPORTED, "operator \"If\" is not run");
    char *text = dump(report_json_make_error("x.onnx", &e));
    CU_ASSERT_STRING_EQUAL(text, "{\"schema\":1,\"model\":\"x.onnx\",\"error\":{\"code\":\"unsupported\","
                                 "\"text\":\"operator \\\"If\\\" is not run\"}}\n");
    free(text);
    CU_ASSERT_EQUAL(report_json_put(stdout, NULL), -1);
}

SUITE(report_json, {"the documented keys", test_keys},
      {"an unscored layer has no figures", test_unscored_has_no_figures},
      {"floats come back as they were", test_floats_survive},
      {"a refused model is an error object", test_error});
