/* An inference request: what is taken from it, and each way in which it can be wrong. */
#include "daemon/oip.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static int read_text(const char *text, struct oip_request *q, struct err *e) {
    *e = (struct err){0};
    return oip_read((const uint8_t *)text, strlen(text), q, e);
}

static void whole(void) {
    struct oip_request q;
    struct err e;
    float f[6];
    CU_ASSERT_EQUAL_FATAL(read_text("{\"id\":\"4\\u0032\",\"parameters\":{\"binary_data_output\":true,"
                                    "\"timeout\":250,\"x\":[1]},\"inputs\":[{\"data\":[[1,2,3],[4,5,6.5]],"
                                    "\"shape\":[2,3],\"datatype\":\"FP32\",\"name\":\"in\"}],\"outputs\":[{"
                                    "\"name\":\"o\",\"parameters\":{\"binary_data\":false,"
                                    "\"classification\":3}}]}",
                                    &q, &e),
                          0);
    CU_ASSERT_TRUE(q.has_id && json_text_is(&q.id, "4\\u0032"));
    CU_ASSERT_STRING_EQUAL(q.input, "in");
    CU_ASSERT_TRUE(q.rank == 2 && q.dims[0] == 2 && q.dims[1] == 3 && q.elements == 6 &&
                   oip_tensor_bytes(&q) == 24);
    CU_ASSERT_TRUE(q.binary_output && q.timeout_us == 250 && q.n_outputs == 1);
    CU_ASSERT_TRUE(q.outputs[0].has_binary && !q.outputs[0].binary && q.outputs[0].classes == 3);
    CU_ASSERT_EQUAL(oip_read_data(&q, f, &e), 0);
    CU_ASSERT_TRUE(f[0] == 1 && f[5] == 6.5f);
}

static void flat_bytes(void) {
    struct oip_request q;
    struct err e;
    uint8_t b[4];
    CU_ASSERT_EQUAL_FATAL(read_text("{\"inputs\":[{\"name\":\"in\",\"shape\":[1,2,2,1],\"datatype\":"
                                    "\"UINT8\",\"data\":[0,255,7,8]}]}",
                                    &q, &e),
                          0);
    CU_ASSERT_EQUAL(oip_read_data(&q, b, &e), 0);
    CU_ASSERT_TRUE(b[1] == 255 && b[3] == 8);
}

/* Wrong already as JSON or as a request. */
static void refused(void) {
#define IN(REST) "{\"inputs\":[{" REST "}]}"
#define FULL     "\"name\":\"a\",\"shape\":[2],\"datatype\":\"FP32\",\"data\":[1,2]"
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "object"},
        {"[]", "object"},
        {"{}", "without \"inputs\""},
        {"{\"inputs\":[]}", "one input"},
        {"{\"inputs\":[{" FULL "},{" FULL "}]}", "one input"},
        {IN("\"shape\":[2],\"datatype\":\"FP32\",\"data\":[1,2]"), "\"name\""},
        {IN("\"name\":\"a\",\"datatype\":\"FP32\",\"data\":[1,2]"), "\"shape\""},
        {IN("\"name\":\"a\",\"shape\":[2],\"data\":[1,2]"), "\"datatype\""},
        {IN("\"name\":\"a\",\"shape\":[2],\"datatype\":\"FP32\""), "\"data\""},
        {IN("\"name\":\"a\",\"shape\":[2],\"datatype\":\"FP64\",\"data\":[1,2]"), "FP32"},
        {IN("\"name\":\"a\",\"shape\":[0],\"datatype\":\"FP32\",\"data\":[]"), "dimension of 0"},
        {IN("\"name\":\"a\",\"shape\":[-1],\"datatype\":\"FP32\",\"data\":[]"), "whole number"},
        {IN("\"name\":\"a\",\"shape\":[1,1,1,1,1,1,1],\"datatype\":\"FP32\",\"data\":[1]"), "6 dimensions"},
        {IN("\"name\":\"a\",\"shape\":[4294967295,4294967295],\"datatype\":\"FP32\",\"data\":[1]"), "2^40"},
        {IN("\"name\":\"a\",\"shape\":[],\"datatype\":\"FP32\",\"data\":[1]"), "without dimensions"},
        {IN("\"name\":\"\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1]"), "empty"},
        {IN(FULL ",\"data\":[1,2]"), "twice"},
        {IN(FULL ",\"parameters\":{\"binary_data_size\":8}"), "both"},
        {IN("\"name\":\"a\",\"shape\":[2],\"datatype\":\"FP32\",\"parameters\":{\"binary_data_size\":4}"),
         "binary_data_size is 4"},
        {IN("\"name\":\"a\",\"shape\":[2],\"datatype\":\"FP32\",\"data\":[1,NaN]"), "value"},
        {IN("\"name\":\"a\",\"shape\":[2],\"datatype\":\"FP32\",\"data\":3"), "array"},
        {IN(FULL) "x", "follows"},
        {"{\"id\":3,\"inputs\":[{" FULL "}]}", "string"},
        {"{\"outputs\":[{}],\"inputs\":[{" FULL "}]}", "output without"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct oip_request q;
        struct err e;
        CU_ASSERT_EQUAL(read_text(rows[i].text, &q, &e), -1);
        if (!strstr(e.text, rows[i].says)) CU_FAIL(rows[i].text);
    }
}

/* Wrong only as numbers. */
static void wrong_data(void) {
    static const struct {
        const char *data, *says;
    } rows[] = {
        {"[1,2,3]", "fewer"},
        {"[1,2,3,4,5]", "more"},
        {"[[1,2],[3]]", "fewer"},
        {"[[1,2],[3,4],[5,6]]", "more rows"},
        {"[[1,2]]", "fewer rows"},
        {"[[1,2],3,4]", "array"},
        {"[[1,2],[3,[4]]]", "number"},
        {"[1,2,3,\"4\"]", "number"},
        {"[1,2,3,1e39]", "range"},
        {"[1,2,3,null]", "number"},
        {"[]", "fewer"},
        {"[[1,2,3,4]]", "more"},
    };
    char text[256];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct oip_request q;
        struct err e;
        float *f = malloc(4 * sizeof *f); /* not one more: a sanitizer would see it */
        (void)snprintf(text, sizeof text,
                       "{\"inputs\":[{\"name\":\"a\",\"shape\":[2,2],\"datatype\":\"FP32\",\"data\":%s}]}",
                       rows[i].data);
        CU_ASSERT_EQUAL(read_text(text, &q, &e), 0);
        CU_ASSERT_EQUAL(oip_read_data(&q, f, &e), -1);
        if (!strstr(e.text, rows[i].says)) CU_FAIL(rows[i].data);
        free(f);
    }
}

SUITE(oip_read, {"all of a request", whole}, {"flat bytes", flat_bytes}, {"what is refused", refused},
      {"data that do not fit", wrong_data});
