/* Answers: shapes, labels, binary behind JSON, and what JSON can't say. */
#include "daemon/oip.h"
#include "tests/suite.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int write_text(const struct oip_answer *a, char **text, size_t *n, size_t *json) {
    *text = NULL;
    FILE *to = open_memstream(text, n);
    const int rc = oip_write(to, a, json);
    (void)fclose(to);
    return rc;
}

static void scores(void) {
    float f[4] = {1, 0.1f, -2.5f, 3};
    const struct clpd_result r = {.items = 2, .classes = 2, .version = 7, .scores = f};
    const struct json_text id = {(const uint8_t *)"a\\\"b", 4};
    struct oip_answer a = {
        .model = "m\"\xff", .id = &id, .output = "o", .rank = 2, .dims = {2, 2}, .result = &r};
    char *text;
    size_t n, json;
    CU_ASSERT_EQUAL(write_text(&a, &text, &n, &json), 0);
    CU_ASSERT_STRING_EQUAL(text, "{\"model_name\":\"m\\\"?\",\"model_version\":\"7\",\"id\":\"a\\\"b\","
                                 "\"outputs\":[{\"name\":\"o\",\"datatype\":\"FP32\","
                                 "\"shape\":[2,2],\"data\":[1,0.100000001,-2.5,3]}]}");
    CU_ASSERT_EQUAL(json, n);
    free(text);
    a.binary = true;
    CU_ASSERT_EQUAL(write_text(&a, &text, &n, &json), 0);
    CU_ASSERT_TRUE(n == json + sizeof f && memcmp(text + json, f, sizeof f) == 0 &&
                   strstr(text, "\"binary_data_size\":16}"));
    free(text);
    a.binary = false;
    f[1] = NAN;
    CU_ASSERT_EQUAL(write_text(&a, &text, &n, &json), -EDOM);
    free(text);
}

static void classes(void) {
    const struct clpd_top top[2] = {{.index = 1, .score = 0.5f, .label = 0},
                                    {.index = 0, .score = 0.25f, .label = CLPD_NO_LABEL}};
    const struct clpd_result r = {
        .items = 1, .classes = 2, .top_k = 2, .version = 1, .top = top, .labels = "cat", .label_bytes = 4};
    struct oip_answer a = {
        .model = "m", .output = "o", .rank = 2, .dims = {1, 2}, .classes = true, .result = &r};
    char *text;
    size_t n, json;
    CU_ASSERT_EQUAL(write_text(&a, &text, &n, &json), 0);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "\"datatype\":\"BYTES\",\"shape\":[1,2],\"data\":[\"0.5:1:cat\",\"0.25:0\"]"));
    free(text);
    a.binary = true;
    CU_ASSERT_EQUAL(write_text(&a, &text, &n, &json), 0);
    CU_ASSERT_TRUE(n == json + 23 && memcmp(text + json,
                                            "\x09\0\0\0"
                                            "0.5:1:cat\x06\0\0\0"
                                            "0.25:0",
                                            23) == 0);
    free(text);
}

SUITE(oip_write, {"scores", scores}, {"classes", classes});
