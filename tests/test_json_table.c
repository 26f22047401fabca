/* A daemon's JSON for people: facts, rows, and nothing that a terminal would obey. */
#include "client/json_table.h"
#include "tests/report_sample.h"
#include "tests/suite.h"

static char *print(const char *json, bool rows, const struct terminal *t) {
    json_t *v = json_loads(json, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(v);
    FILE *f = tmpfile();
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    static const char *const order[] = {"name", "input", NULL};
    if (rows)
        json_table_print_rows(f, t, v, order);
    else
        json_table_print_facts(f, t, v);
    json_decref(v);
    return sample_read(f);
}

static void test_facts(void) {
    char *text = print("{\"pid\":123456,\"requests\":{\"ok\":1234567,\"by_cause\":{\"late\":7},\"share\":0."
                       "25},\"io\":\"uring\\u001b[2J\",\"up_s\":7505,"
                       "\"on\":true,\"none\":null,\"list\":[1,2]}",
                       false, &(struct terminal){0});
    CU_ASSERT_STRING_EQUAL(text, "pid         123456\n"
                                 "io          uring?[2J\n"
                                 "up          2 h 5 min\n"
                                 "on          yes\n"
                                 "none\n"
                                 "list        [1,2]\n"
                                 "requests\n"
                                 "  ok        1,234,567\n"
                                 "  share     0.25\n"
                                 "  by cause\n"
                                 "    late    7\n");
    free(text);
}

static void test_rows(void) {
    char *text = print("[{\"name\":\"a\",\"version\":3,\"input\":{\"shape\":[1,3,32,32],\"u8\":true},"
                       "\"sha256\":\"0123456789abcdef0123\"},"
                       "{\"name\":\"bb\",\"version\":12,\"verdict\":\"pruned\",\"reason\":\"it is so\"}]",
                       true, &(struct terminal){0});
    CU_ASSERT_STRING_EQUAL(text, "name  input           version  sha256        verdict\n"
                                 "a     u8 [1,3,32,32]        3  0123456789ab\n"
                                 "bb                         12                pruned\n"
                                 "  bb: it is so\n");
    free(text);
    text = print(
        "[{\"name\":\"a\",\"version\":3,\"input\":{\"shape\":[1,3,32,32]},\"sha256\":\"0123456789ab\"}]",
        true, &(struct terminal){.columns = 32});
    CU_ASSERT_STRING_EQUAL(text, "name  input            version\n"
                                 "a     f32 [1,3,32,32]        3\n"); /* what does not fit is left out */
    free(text);
    text = print("[{\"state\":\"rejected\"}]", true, &(struct terminal){.colour = true});
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\033[1;31mrejected\033[0m"));
    free(text);
}

/* What is not as expected is shown somehow, and harms nobody. */
static void test_odd(void) {
    static const char *const odd[] = {
        "[]",   "[1,\"x\",null]",  "[[[[[[1]]]]]]",
        "[{}]", "[{\"name\":{}}]", "[{\"name\":[{\"a\":{\"b\":{\"c\":[1e300,-1e-300]}}}],\"reason\":7}]"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        free(print(odd[i], true, &(struct terminal){.columns = 20}));
    free(print("{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}", false, &(struct terminal){0}));
    free(print("{}", false, &(struct terminal){0}));
}

SUITE(json_table, {"facts", test_facts}, {"rows", test_rows}, {"odd JSON", test_odd});
