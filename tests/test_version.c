/* Versions: what of an image is served, what is refused, and who lets go last. */
#include "daemon/version.h"
#include "tests/daemon_case.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <string.h>

static uint32_t n_retired;

static void on_retire(struct version *v) {
    n_retired++;
    version_free(v);
}

static struct version *make(struct graph *g, uint32_t max_batch, uint64_t request_bytes, struct err *e) {
    static struct compiled c; /* its bytes have to outlive the image */
    fixture_discard(&c);
    c = fixture_compile_with(g, false, &(struct plan_metadata){0});
    struct link_message offer = case_offer("m", 1, "x", c.size);
    memset(offer.sha256, 0, sizeof offer.sha256);
    struct image *img = c.img;
    c.img = NULL; /* taken */
    struct version *v = version_new(img, &offer, max_batch, request_bytes, e);
    if (v) v->retire = on_retire;
    graph_free(g);
    return v;
}

static struct graph *relu(struct shape s) {
    struct graph *g = fixture_graph();
    fixture_output(g, fixture_relu(g, fixture_input(g, s)));
    return g;
}

static void served(void) {
    struct err e = {0};
    struct version *v = make(relu(SHAPE(1, 3, 4, 5)), 8, 1000, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(v);
    CU_ASSERT_TRUE(v->input.rank == 4 && v->input.dims[1] == 3 && v->input.dims[4] == 0);
    CU_ASSERT_TRUE(v->input.f32_bytes == 240 && v->input.u8_bytes == 60);
    CU_ASSERT_TRUE(v->classes == 60 && v->pictures == 1 && v->max_items == 8);
    version_get(v);
    n_retired = 0;
    version_put(v);
    CU_ASSERT_EQUAL(n_retired, 0);
    version_put(v);
    CU_ASSERT_EQUAL(n_retired, 1);
    v = make(relu(SHAPE(1, 7)), 8, 1000, &e); /* no picture */
    CU_ASSERT_TRUE_FATAL(v && v->input.u8_bytes == 0 && v->classes == 7);
    struct version *other = make(relu(SHAPE(1, 8)), 8, 1000, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(other);
    CU_ASSERT_TRUE(version_same_signature(v, v));
    CU_ASSERT_FALSE(version_same_signature(v, other));
    version_put(v);
    version_put(other);
}

/* A network that takes pictures in fives while batches have eight: it runs one item at a time. */
static void fixed_batch(void) {
    struct err e = {0};
    struct graph *g = relu(SHAPE(5, 3, 2, 2));
    g->item_images = 5;
    struct version *v = make(g, 8, 1000, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(v);
    CU_ASSERT_TRUE(v->pictures == 5 && v->classes == 12 && v->max_items == 1);
    version_put(v);
    g = relu(SHAPE(5, 3, 2, 2));
    g->item_images = 5;
    v = make(g, 3, 1000, &e); /* even where that is more than the largest batch */
    CU_ASSERT_TRUE_FATAL(v && v->max_items == 1);
    version_put(v);
}

static void refused(void) {
    struct err e = {0};
    struct graph *two = fixture_graph();
    const int32_t a = fixture_input(two, SHAPE(1, 4)), b = fixture_input(two, SHAPE(1, 4));
    fixture_output(two, fixture_add(two, a, b));
    CU_ASSERT_PTR_NULL(make(two, 8, 1000, &e));
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "2 inputs"));
    CU_ASSERT_PTR_NULL(make(relu(SHAPE(1, 1, 1, 1, 1, 1, 2)), 8, 1000, &e));
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "rank 7"));
    CU_ASSERT_PTR_NULL(make(relu(SHAPE(1, 300)), 8, 1000, &e));
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "limits.request_bytes"));
    struct version *v = make(relu(SHAPE(1, 3, 10, 10)), 8, 1000, &e); /* as a picture it fits */
    CU_ASSERT_PTR_NOT_NULL_FATAL(v);
    version_put(v);
}

SUITE(version, {"what is served", served}, {"a fixed batch", fixed_batch}, {"what is refused", refused});
