/* Whole plans: what the passes make of a network computes what the network computes. */
#include "infer/plan.h"

#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static void a_residual_network_keeps_its_results(void) {
    struct graph *g = fixture_resnet();
    CU_ASSERT(fixture_difference(g) < 1e-5);
    struct compiled fast = fixture_compile(g, false), plain = fixture_compile(g, true);
    /* Six convolutions, pool, mean, Gemm, Softmax: no normalisation, no sum, no Relu is left. */
    CU_ASSERT_EQUAL(image_header(fast.img)->n_steps, 10);
    CU_ASSERT_EQUAL(fixture_count_steps(fast.img, OP_CONV), 6);
    CU_ASSERT_EQUAL(fixture_count_steps(plain.img, OP_BATCH_NORM), 6);
    CU_ASSERT_EQUAL(image_header(plain.img)->n_steps, 24);
    fixture_discard(&fast);
    fixture_discard(&plain);
    graph_free(g);
}

static void random_networks_keep_their_results(void) {
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct graph *g = fixture_random_graph(seed, 5 + (int32_t)(seed % 120));
        const double d = fixture_difference(g);
        if (!(d < 1e-4)) fprintf(stderr, "\nseed %llu: %g\n", (unsigned long long)seed, d);
        CU_ASSERT_FATAL(d < 1e-4);
        graph_free(g);
    }
}

/* Graphs are planned more than once: a reference plan beside the fast one. */
static void planning_leaves_the_graph_alone(void) {
    struct graph *g = fixture_resnet();
    struct compiled first = fixture_compile(g, false), second = fixture_compile(g, false);
    CU_ASSERT_EQUAL_FATAL(first.size, second.size);
    CU_ASSERT_EQUAL(memcmp(first.bytes, second.bytes, first.size), 0);
    for (int32_t i = 0; i < g->n_nodes; i++) CU_ASSERT_FALSE(g->nodes[i].dead);
    fixture_discard(&first);
    fixture_discard(&second);
    graph_free(g);
}

static void nodes_without_use_do_not_run(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 4, 4));
    const int32_t used = fixture_relu(g, x);
    (void)fixture_conv(g, fixture_relu(g, used), 64, fixture_window(3, 1, 1, 1), true);
    fixture_output(g, used);
    struct compiled c = fixture_compile(g, false);
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 1);
    CU_ASSERT_EQUAL(image_header(c.img)->sections[SECTION_CONSTANTS].bytes,
                    0); /* nor are their weights kept */
    CU_ASSERT_EQUAL(image_header(c.img)->parameters, 0);
    fixture_discard(&c);
    graph_free(g);
}

static void outputs_are_always_computed(void) {
    struct graph *g = fixture_graph();
    const float numbers[] = {1, 2, 3};
    const int32_t x = fixture_input(g, SHAPE(1, 2, 6, 6)), k = fixture_constant(g, SHAPE(3), numbers);
    fixture_output(g, x);                      /* the input itself */
    fixture_output(g, k);                      /* a constant */
    fixture_output(g, fixture_identity(g, x)); /* other names of both */
    fixture_output(g, fixture_reshape(g, k, SHAPE(1, 3)));
    fixture_output(g, fixture_reshape(g, fixture_identity(g, x), SHAPE(1, 72)));
    CU_ASSERT_EQUAL(fixture_difference(g), 0);
    struct compiled c = fixture_compile(g, false);
    for (uint32_t i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(image_tensor_at(c.img, image_header(c.img)->outputs[i])->place, PLACE_ARENA);
    fixture_discard(&c);
    graph_free(g);
}

static void a_taken_out_producer_is_an_error(void) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    struct plan *p;
    const int32_t y = fixture_relu(g, fixture_input(g, SHAPE(1, 2)));
    fixture_output(g, fixture_relu(g, y));
    g->nodes[0].dead = true;
    CU_ASSERT_EQUAL(plan_make(g, &(struct plan_options){.isa = ISA_GENERIC}, &p, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_INTERNAL);
    CU_ASSERT_PTR_NULL(p);
    graph_free(g);
}

static void endless_work_is_refused(void) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    struct plan *p;
    /* 2^26 positions, a kernel of 2^9 x 2^9: 2^38 products for one filter, and four of those. */
    const int32_t x = fixture_input(g, SHAPE(1, 1, 8192, 8192));
    fixture_output(g, fixture_conv(g, x, 4, fixture_window(511, 1, 255, 1), false));
    CU_ASSERT_EQUAL(plan_make(g, &(struct plan_options){.isa = ISA_GENERIC}, &p, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    graph_free(g);
}

SUITE(plan, {"a residual network keeps its results", a_residual_network_keeps_its_results},
      {"random networks keep their results", random_networks_keep_their_results},
      {"planning leaves the graph alone, and is reproducible", planning_leaves_the_graph_alone},
      {"nodes without use do not run", nodes_without_use_do_not_run},
      {"outputs are always computed", outputs_are_always_computed},
      {"a taken out producer is an error", a_taken_out_producer_is_an_error},
      {"endless work is refused", endless_work_is_refused});
