/* Plans for this host, with blocked tensors, against plans of plain loops. */
#include "infer/plan.h"

#include "infer/engine.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"
#include "tests/twin.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *some_floats(size_t n, uint64_t seed) {
    float *x = malloc(n * sizeof *x);
    CU_ASSERT_PTR_NOT_NULL_FATAL(x);
    for (size_t i = 0; i < n; i++) x[i] = fixture_float(&seed, -1, 1);
    return x;
}

static double difference(const float *a, const float *b, size_t n) {
    double worst = 0, largest = 1e-30;
    for (size_t i = 0; i < n; i++) {
        const double d = a[i] == b[i] ? 0 : fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

enum { ITEMS = 3 };

/* Every item of a batch against the plain plan; the largest difference. */
static double compare(struct graph *g) {
    struct compiled fast = fixture_compile_here(g), plain = fixture_compile(g, true);
    struct engine *en = engine_new();
    struct engine_item items[ITEMS] = {0};
    struct err e = {0};
    const struct image_header *h = image_header(fast.img);
    CU_ASSERT_PTR_NOT_NULL_FATAL(en);
    CU_ASSERT_EQUAL_FATAL(engine_reserve(en, fast.img, ITEMS, &e), 0);
    for (uint32_t i = 0; i < ITEMS; i++)
        for (uint32_t k = 0; k < h->n_inputs; k++)
            items[i].inputs[k] =
                some_floats(image_tensor_at(fast.img, h->inputs[k])->bytes / 4, 7 + i * 16 + k);
    CU_ASSERT_EQUAL_FATAL(engine_run(en, fast.img, ITEMS, items), 0);
    double worst = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        float *expected = twin_run(plain.img, (const float *const *)items[i].inputs), *at = expected;
        for (uint32_t k = 0; k < h->n_outputs; k++) {
            const size_t n = image_tensor_at(fast.img, h->outputs[k])->bytes / 4;
            worst = fmax(worst, difference(engine_output(en, i, k), at, n));
            at += n;
        }
        free(expected);
        for (uint32_t k = 0; k < h->n_inputs; k++) free((void *)(uintptr_t)items[i].inputs[k]);
    }
    engine_free(en);
    fixture_discard(&fast);
    fixture_discard(&plain);
    return worst;
}

static uint32_t count_reorders(const struct image *img) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < image_header(img)->n_steps; i++)
        n += image_step_at(img, i)->algorithm == ALG_REORDER;
    return n;
}

static bool has_blocked(void) {
    if (image_host_isa() != ISA_GENERIC) return true;
    suite_skip("blocked plans", "this host has no wide vectors, so plans here are plain");
    return false;
}

static void a_residual_network_is_blocked_throughout(void) {
    if (!has_blocked()) return;
    struct graph *g = fixture_resnet();
    CU_ASSERT(compare(g) < 1e-4);
    struct compiled c = fixture_compile_here(g);
    CU_ASSERT_EQUAL(count_reorders(c.img), 1); /* before the Gemm */
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 11);
    fixture_discard(&c);
    graph_free(g);
}

static void random_networks_keep_their_results(void) {
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct graph *g = fixture_random_graph(seed, 5 + (int32_t)(seed % 120));
        const double d = compare(g);
        if (!(d < 1e-4)) fprintf(stderr, "\nseed %llu: %g\n", (unsigned long long)seed, d);
        CU_ASSERT_FATAL(d < 1e-4);
        graph_free(g);
    }
}

/* A tensor that several plain steps read is reordered once; outputs are plain. */
static void reordered_once(void) {
    if (!has_blocked()) return;
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 3, 8, 8));
    const int32_t y = fixture_conv(g, x, 32, fixture_window(3, 1, 1, 1), true);
    fixture_output(g, fixture_reshape(g, y, SHAPE(1, 2048)));
    fixture_output(g, fixture_reshape(g, y, SHAPE(2, 1024)));
    fixture_output(g, y);
    CU_ASSERT(compare(g) < 1e-4);
    struct compiled c = fixture_compile_here(g);
    CU_ASSERT_EQUAL(count_reorders(c.img), 1);
    fixture_discard(&c);
    graph_free(g);
}

/* Concatenations of whole blocks cost nothing, as plain ones do; others are made of plain tensors. */
static void concatenations(void) {
    if (!has_blocked()) return;
    for (int64_t filters = 16; filters <= 24; filters += 8) {
        struct graph *g = fixture_graph();
        const int32_t x = fixture_input(g, SHAPE(1, 3, 8, 8));
        const int32_t parts[] = {fixture_conv(g, x, filters, fixture_window(3, 1, 1, 1), true),
                                 fixture_conv(g, x, 20, fixture_window(1, 1, 0, 1), true)};
        fixture_output(g,
                       fixture_conv(g, fixture_concat(g, 1, 2, parts), 8, fixture_window(1, 1, 0, 1), true));
        CU_ASSERT(compare(g) < 1e-4);
        struct compiled c = fixture_compile_here(g);
        CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_CONCAT), 0);
        CU_ASSERT_EQUAL(count_reorders(c.img), filters == 16 ? 1 : 4);
        fixture_discard(&c);
        graph_free(g);
    }
}

/* Whether the image is refused with tensor or step `field`s changed so, and says `text`. */
static bool refused(struct compiled *c, uint32_t *field, uint32_t value, const char *text) {
    struct err e = {0};
    struct image *img;
    const uint32_t before = *field;
    *field = value;
    fixture_reseal(c->bytes, c->size);
    const bool no = image_check(c->bytes, c->size, &img, &e) && strstr(e.text, text);
    if (!no) fprintf(stderr, "\nexpected \"%s\", got \"%s\"\n", text, e.text);
    *field = before;
    return no;
}

static void the_check_knows_layouts(void) {
    if (!has_blocked()) return;
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile_here(g);
    struct image_step *conv = fixture_step(c.bytes, fixture_find_step(c.img, OP_CONV, 1)),
                      *last = fixture_step(c.bytes, image_header(c.img)->n_steps - 1);
    const uint32_t input = fixture_header(c.bytes)->inputs[0];
    CU_ASSERT_EQUAL(fixture_tensor(c.bytes, conv->output)->layout, LAYOUT_BLOCKED);
    CU_ASSERT_TRUE(
        refused(&c, &fixture_tensor(c.bytes, conv->output)->layout, LAYOUT_COUNT, "does not exist"));
    CU_ASSERT_TRUE(refused(&c, &fixture_tensor(c.bytes, input)->layout, LAYOUT_BLOCKED, "only plain"));
    CU_ASSERT_TRUE(refused(&c, &fixture_tensor(c.bytes, last->output)->layout, LAYOUT_BLOCKED, "plain"));
    CU_ASSERT_TRUE(refused(&c, &conv->algorithm, ALG_CONV_IM2COL, "do not lie as"));
    CU_ASSERT_TRUE(refused(&c, &conv->algorithm, ALG_REORDER, "does not fit"));
    CU_ASSERT_TRUE(refused(&c, &conv->algorithm, ALG_CONV_REFERENCE, "do not lie as"));
    const uint32_t reorder = fixture_find_step(c.img, OP_IDENTITY, 0);
    CU_ASSERT_NOT_EQUAL_FATAL(reorder, UINT32_MAX);
    CU_ASSERT_TRUE(refused(&c, &fixture_step(c.bytes, reorder)->algorithm, ALG_DEFAULT, "do not lie as"));
    fixture_discard(&c);
    graph_free(g);
}

SUITE(plan_layout, {"the check knows layouts", the_check_knows_layouts},
      {"a residual network is blocked throughout", a_residual_network_is_blocked_throughout},
      {"random networks keep their results", random_networks_keep_their_results},
      {"reordered once", reordered_once}, {"concatenations", concatenations});
