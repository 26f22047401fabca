/* clpctl top's screen: it never leaves its rows and columns, whatever they are; what it shows first, and the
 * order. */
#include "client/top_view.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct top_model three[] = {{.name = "b",
                                    .guard = "unchanged",
                                    .rate = 5,
                                    .p50 = 2e-3,
                                    .p99 = 9e-3,
                                    .wait = 1e-4,
                                    .batch = 1,
                                    .version = 3},
                                   {.name = "a-model-with-a-name-that-is-long",
                                    .guard = "pruned 1,234",
                                    .rate = 12345,
                                    .p50 = 1e-3,
                                    .p99 = 5.25,
                                    .wait = 0,
                                    .batch = 12.5,
                                    .version = 12},
                                   {.name = "c",
                                    .guard = "not-applicable",
                                    .p50 = NAN,
                                    .p99 = NAN,
                                    .wait = NAN,
                                    .batch = NAN,
                                    .version = 1}};
static struct top_file bad[] = {
    {.path = "x.onnx", .state = "rejected", .reason = "not a model, but a long story of it"},
    {.path = "y.onnx", .state = "settling", .reason = "the copy is not finished"}};

static struct top_data data(void) {
    struct top_data d = {.version = "1.2",
                         .io = "io_uring",
                         .guard = "up",
                         .uptime_s = 3661,
                         .threads = 2,
                         .known = true,
                         .rate = 12350,
                         .p99 = 5.25,
                         .models = three,
                         .n_models = 3,
                         .files = bad,
                         .n_files = 2,
                         .n_history = 3,
                         .rates = {1, 500, 12350},
                         .p99s = {0, 1e-3, 5.25}};
    return d;
}

static char *draw(struct top_view *v, const struct top_data *d, int columns, bool unicode) {
    const struct terminal t = {.columns = columns, .rows = v->rows, .unicode = unicode};
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(to);
    top_view_print(v, d, to, &t);
    (void)fclose(to);
    return text;
}

/* Lines, and that none is wider than `columns`. */
static int count_lines(const char *text, int columns) {
    int n = 0;
    for (const char *at = text; *at; n++) {
        char line[1024];
        const size_t length = strcspn(at, "\n");
        (void)snprintf(line, sizeof line, "%.*s", (int)length, at);
        if (columns && terminal_width(line) > columns) CU_FAIL("a line that is too wide");
        at += length + (at[length] == '\n');
    }
    return n;
}

static void fits(void) {
    const struct top_data d = data(), none = {.version = "1.2", .guard = "down"};
    for (int columns = 40; columns <= 200; columns += 7)
        for (int rows = 10; rows <= 40; rows += 3) {
            struct top_view v = {.rows = rows};
            char *text = draw(&v, &d, columns, columns % 2 == 0);
            CU_ASSERT_EQUAL(count_lines(text, columns), rows);
            CU_ASSERT_PTR_NOT_NULL(strstr(text, "q quit"));
            free(text);
            text = draw(&v, &none, columns, false);
            CU_ASSERT_EQUAL(count_lines(text, columns), rows);
            CU_ASSERT_PTR_NOT_NULL(strstr(text, "No model is served"));
            CU_ASSERT_PTR_NOT_NULL(strstr(text, "guard down"));
            free(text);
        }
}

static void all_is_there(void) {
    const struct top_data d = data();
    struct top_view v = {.rows = 24};
    char *text = draw(&v, &d, 100, false);
    static const char *const words[] = {"clpd 1.2", "1 h 1 min",    "guard up",
                                        "12,350",   "5.25 s",       "12.5",
                                        "100 us",   "rejected",     "x.onnx: not a model",
                                        "settling", "pruned 1,234", "s sort: requests/s",
                                        "version"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strstr(text, words[i])) {
            fprintf(stderr, "\nno \"%s\" in\n%s\n", words[i], text);
            CU_FAIL("something is missing");
        }
    free(text);
    v.notice = "no answer: trying again";
    v.rows = 0; /* not a terminal: no keys, no limit */
    text = draw(&v, &d, 0, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "no answer"));
    CU_ASSERT_PTR_NULL(strstr(text, "quit"));
    free(text);
}

static void order(void) {
    const struct top_data d = data();
    struct top_view v = {.rows = 24};
    for (v.order = TOP_BY_RATE; v.order < TOP_ORDERS; v.order++) {
        char *text = draw(&v, &d, 100, false);
        const char *a = strstr(text, "\na-model"), *b = strstr(text, "\nb "), *c = strstr(text, "\nc ");
        CU_ASSERT_TRUE_FATAL(a && b && c);
        CU_ASSERT_TRUE(v.order == TOP_BY_P50 || v.order == TOP_BY_WAIT ? b < a && a < c : a < b && b < c);
        free(text);
    }
    v.order = TOP_BY_NAME;
    v.reverse = true;
    char *text = draw(&v, &d, 100, false);
    CU_ASSERT_TRUE(strstr(text, "\nc ") < strstr(text, "\na-model"));
    free(text);
}

static void scrolls(void) {
    const struct top_data d = data();
    struct top_view v = {.rows = 10, .first = 99, .order = TOP_BY_NAME};
    char *text = draw(&v, &d, 100, false);
    CU_ASSERT_EQUAL(v.first, 2); /* as far as it goes */
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nc "));
    CU_ASSERT_PTR_NULL(strstr(text, "\nb "));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "3-3 of 3"));
    free(text);
}

static void times(void) {
    static const struct {
        double s;
        const char *text;
    } cases[] = {{0, "0 us"},          {5.04e-6, "5.0 us"}, {123e-6, "123 us"},
                 {9999e-7, "1.00 ms"}, {0.0123, "12.3 ms"}, {0.25, "250 ms"},
                 {0.9999, "1.00 s"},   {61.04, "61.0 s"},   {NAN, "-"}};
    char buf[16];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CU_ASSERT_STRING_EQUAL(top_view_time(buf, cases[i].s), cases[i].text);
}

SUITE(top_view, {"every size of terminal", fits}, {"all is there", all_is_there}, {"order", order},
      {"scrolling ends", scrolls}, {"times", times});
