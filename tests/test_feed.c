/* Inputs from files: what fits is laid out in items, what does not is refused with the shape that would. */
#include "client/feed.h"
#include "infer/npy.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/report_sample.h"
#include "tests/suite.h"

#include <unistd.h>

static struct compiled picture_model(void) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_input(g, SHAPE(1, 3, 8, 6));
    fixture_output(g, fixture_conv(g, x, 4, fixture_window(3, 1, 1, 1), true));
    struct compiled c = fixture_compile(g, true);
    graph_free(g);
    return c;
}

static char path[] = "/tmp/clpd-test-feed-XXXXXX";

/* An .npy file with that header entry and so many bytes counting up. */
static void write_file(const char *type, const char *shape, size_t bytes) {
    char header[128];
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    int n = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type,
                     shape);
    fprintf(f, "\x93NUMPY%c%c%c%c%-117s\n", 1, 0, 118, 0, header);
    CU_ASSERT_FATAL(n < 117);
    for (size_t i = 0; i < bytes; i++) (void)fputc((int)(i & 255), f);
    (void)fclose(f);
}

static int load(const struct compiled *c, struct feed *f, struct err *e) {
    *e = (struct err){0};
    return feed_load(c->img, 0, path, f, e);
}

static void test_float32(void) {
    struct compiled c = picture_model();
    struct feed f;
    struct err e;
    const size_t each = 3 * 8 * 6 * 4;
    write_file("<f4", "(5, 3, 8, 6)", 5 * each);
    CU_ASSERT_EQUAL_FATAL(load(&c, &f, &e), 0);
    CU_ASSERT_EQUAL(f.format, INPUT_F32_NCHW);
    CU_ASSERT_EQUAL(f.rows, 5);
    CU_ASSERT_EQUAL(f.items, 5);
    CU_ASSERT_EQUAL(f.item_bytes, each);
    CU_ASSERT_EQUAL(f.data[each + 3], (each + 3) & 255);
    feed_free(&f);
    write_file("<f4", "(3, 8, 6)", each); /* one without the batch */
    CU_ASSERT_EQUAL_FATAL(load(&c, &f, &e), 0);
    CU_ASSERT_EQUAL(f.rows, 1);
    feed_free(&f);
    write_file("<f8", "(1, 3, 8, 6)", 2 * each);
    CU_ASSERT_EQUAL_FATAL(load(&c, &f, &e), 0);
    CU_ASSERT_EQUAL(f.item_bytes, each);
    feed_free(&f);
    fixture_discard(&c);
}

static void test_uint8(void) {
    struct compiled c = picture_model();
    struct feed f;
    struct err e;
    write_file("|u1", "(2, 8, 6, 3)", 2 * 144);
    CU_ASSERT_EQUAL_FATAL(load(&c, &f, &e), 0);
    CU_ASSERT_EQUAL(f.format, INPUT_U8_NHWC);
    CU_ASSERT_EQUAL(f.items, 2);
    CU_ASSERT_EQUAL(f.item_bytes, 144);
    CU_ASSERT_EQUAL(f.data[150], 150);
    feed_free(&f);
    write_file("|u1", "(8, 6, 3)", 144);
    CU_ASSERT_EQUAL_FATAL(load(&c, &f, &e), 0);
    CU_ASSERT_EQUAL(f.rows, 1);
    feed_free(&f);
    fixture_discard(&c);
}

static void test_refusals(void) {
    static const struct {
        const char *type, *shape;
        size_t bytes;
        const char *says;
    } bad[] = {
        {"<f4", "(1, 3, 6, 8)", 576, "[1,3,8,6]"}, {"<f4", "(0, 3, 8, 6)", 0, "[1,3,8,6]"},
        {"<f4", "(3, 8, 6, 1)", 576, "[1,3,8,6]"}, {"<f4", "()", 4, "[1,3,8,6]"},
        {"|u1", "(1, 6, 8, 3)", 144, "height 6"},  {"|u1", "(1, 3, 8, 6)", 144, "channels"},
        {"|u1", "(144,)", 144, "[N,H,W,C]"},       {"|u1", "(0, 8, 6, 3)", 0, "dimension"},
        {"<f4", "(1, 3, 8, 6)", 575, ""},
    };
    struct compiled c = picture_model();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct feed f;
        struct err e;
        write_file(bad[i].type, bad[i].shape, bad[i].bytes);
        CU_ASSERT_EQUAL(load(&c, &f, &e), -1);
        CU_ASSERT_PTR_NULL(f.data);
        if (!strstr(e.text, bad[i].says)) fprintf(stderr, "\n%s %s: %s\n", bad[i].type, bad[i].shape, e.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(e.text, bad[i].says));
        CU_ASSERT_PTR_NOT_NULL(strstr(e.text, path));
    }
    struct feed f;
    struct err e = {0};
    CU_ASSERT_EQUAL(feed_load(c.img, 0, "/nonexistent/x.npy", &f, &e), -1);
    CU_ASSERT_EQUAL(feed_load(c.img, 0, "/tmp", &f, &e), -1);
    FILE *empty = fopen(path, "w");
    (void)fclose(empty);
    CU_ASSERT_EQUAL(load(&c, &f, &e), -1);
    fixture_discard(&c);
}

/* A batch that the exporter fixed at 4: rows are cut into items of 4, the last one filled up. */
static void test_fixed_batch(void) {
    struct graph *g = fixture_graph();
    g->item_images = 4;
    int32_t x = fixture_input(g, SHAPE(4, 3, 8, 6));
    fixture_output(g, fixture_relu(g, x));
    struct compiled c = fixture_compile(g, true);
    graph_free(g);
    struct feed f;
    struct err e;
    write_file("|u1", "(6, 8, 6, 3)", 6 * 144);
    CU_ASSERT_EQUAL_FATAL(load(&c, &f, &e), 0);
    CU_ASSERT_EQUAL(f.rows, 6);
    CU_ASSERT_EQUAL(f.items, 2);
    CU_ASSERT_EQUAL(f.item_bytes, 4 * 144);
    CU_ASSERT_EQUAL(f.data[6 * 144 - 1], (6 * 144 - 1) & 255);
    CU_ASSERT_EQUAL(f.data[6 * 144], 0);
    feed_free(&f);
    fixture_discard(&c);
}

static void test_made(void) {
    struct compiled c = picture_model();
    struct feed f, again;
    struct err e = {0};
    CU_ASSERT_EQUAL_FATAL(feed_make(c.img, 0, 3, &f, &e), 0);
    CU_ASSERT_EQUAL_FATAL(feed_make(c.img, 0, 3, &again, &e), 0);
    CU_ASSERT_EQUAL(f.items, 3);
    CU_ASSERT_EQUAL(memcmp(f.data, again.data, 3 * f.item_bytes), 0);
    const float *v = (const float *)(const void *)f.data;
    for (size_t i = 0; i < 3 * 144; i++) CU_ASSERT(v[i] >= 0 && v[i] < 1);
    feed_free(&f);
    feed_free(&again);
    fixture_discard(&c);
}

static void with_file(void (*run)(void)) {
    int fd = mkstemp(strcpy(path, "/tmp/clpd-test-feed-XXXXXX"));
    CU_ASSERT_FATAL(fd >= 0);
    (void)close(fd);
    run();
    (void)unlink(path);
}
static void float32(void) {
    with_file(test_float32);
}
static void uint8(void) {
    with_file(test_uint8);
}
static void refusals(void) {
    with_file(test_refusals);
}
static void fixed_batch(void) {
    with_file(test_fixed_batch);
}

SUITE(feed, {"numbers as the network wants them", float32}, {"pictures as bytes", uint8},
      {"what does not fit", refusals}, {"a batch fixed by the exporter", fixed_batch},
      {"made inputs", test_made});
