/* Graphs: building, what is refused, editing constants, and who uses what. */
#include "infer/graph.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <string.h>

static void nodes_get_shapes_names_and_uses(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 3, 8, 8));
    const int32_t y = fixture_conv(g, x, 4, fixture_window(3, 2, 1, 1), true);
    const int32_t z = fixture_add(g, y, y);
    fixture_output(g, z);
    CU_ASSERT_TRUE(g->values[x].is_input);
    CU_ASSERT_EQUAL(g->values[x].producer, -1);
    CU_ASSERT_TRUE(shape_equal(&g->values[y].shape, &SHAPE(1, 4, 4, 4)));
    CU_ASSERT_EQUAL(g->values[y].producer, 0);
    CU_ASSERT_EQUAL(g->values[y].uses, 2); /* one node, two inputs */
    CU_ASSERT_EQUAL(g->values[z].uses, 1); /* the output of the graph */
    CU_ASSERT_STRING_EQUAL(g->nodes[0].name, "Conv#0");
    CU_ASSERT_STRING_EQUAL(g->nodes[1].name, "Add#1");
    CU_ASSERT_EQUAL(g->item_images, 1);
    graph_free(g);
    graph_free(NULL);
}

static void mistakes_are_refused_with_a_reason(void) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    const int32_t x = fixture_input(g, SHAPE(1, 3)), before = g->n_values;
    CU_ASSERT_EQUAL(graph_add_input(g, "bad", &SHAPE(0, 3), &e), -1);
    CU_ASSERT_EQUAL(graph_add_constant(g, "bad", &SHAPE(2), NULL, 0, &e), -1);
    CU_ASSERT_EQUAL(graph_add_constant(g, "bad", &SHAPE(1LL << 32), &(float){0}, 0, &e), -1);
    CU_ASSERT_EQUAL(graph_add_node(g, "n", OP_ADD, NULL, (int32_t[]){x, 99}, 2, "y", 0, &e), -1);
    CU_ASSERT_EQUAL(graph_add_node(g, "n", OP_ADD, NULL, (int32_t[]){x, -2}, 2, "y", 0, &e), -1);
    CU_ASSERT_EQUAL(graph_add_node(g, "n", OP_ADD, NULL, (int32_t[]){x, -1}, 2, "y", 0, &e), -1);
    CU_ASSERT_EQUAL(graph_add_node(g, "n", OP_CONCAT, NULL, NULL, OP_MAX_INPUTS + 1, "y", 0, &e), -1);
    CU_ASSERT_EQUAL(graph_add_node(g, "n", OP_CONCAT, NULL, NULL, -1, "y", 0, &e), -1);
    CU_ASSERT_EQUAL(graph_add_node(g, "n", OP_COUNT, NULL, &x, 1, "y", 0, &e), -1);
    CU_ASSERT_EQUAL(graph_add_output(g, 99, &e), -1);
    CU_ASSERT_EQUAL(graph_add_node(g, "/head/fc", OP_GEMM, NULL, (int32_t[]){x, x}, 2, "y", 0, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "Gemm /head/fc: "));
    CU_ASSERT_EQUAL(g->n_values, before);
    CU_ASSERT_EQUAL(g->n_nodes, 0);
    CU_ASSERT_EQUAL(g->values[x].uses, 0);
    graph_free(g);
}

/* Only images know the normalisation whose mean and variance are folded in. */
static void a_normalisation_needs_its_statistics(void) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    const int32_t c = fixture_constant(g, SHAPE(3), NULL), x = fixture_input(g, SHAPE(1, 3, 2, 2));
    CU_ASSERT_EQUAL(graph_add_node(g, "bn", OP_BATCH_NORM, NULL, (int32_t[]){x, c, c}, 3, "y", 0, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "variance"));
    CU_ASSERT(graph_add_node(g, "bn", OP_BATCH_NORM, NULL, (int32_t[]){x, c, c, c, c}, 5, "y", 0, &e) >= 0);
    graph_free(g);
}

static void long_names_are_cut_between_characters(void) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    char name[600];
    for (size_t i = 0; i + 2 < sizeof name; i += 2) memcpy(name + i, "\xc3\xa4", 2); /* two bytes each */
    name[598] = 0;
    const int32_t even = graph_add_input(g, name, &SHAPE(1), &e),
                  odd = graph_add_input(g, name + 1, &SHAPE(1), &e);
    CU_ASSERT_EQUAL(strlen(g->values[even].name), 254);
    CU_ASSERT_EQUAL(strlen(g->values[odd].name), 255);
    const int32_t none = graph_add_input(g, NULL, &SHAPE(1), &e);
    CU_ASSERT_STRING_EQUAL(g->values[none].name, "");
    graph_free(g);
}

static void limits_hold_and_arrays_grow(void) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    int32_t v = fixture_input(g, SHAPE(1)), last = v, n = 0;
    for (; n <= GRAPH_MAX_NODES && v >= 0; n++) {
        last = v;
        const int32_t node = graph_add_node(g, NULL, OP_RELU, NULL, &v, 1, "y", n, &e);
        v = node < 0 ? -1 : g->nodes[node].output;
    }
    CU_ASSERT_EQUAL(g->n_nodes, GRAPH_MAX_NODES);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    while (v >= 0 || graph_add_constant(g, "k", &SHAPE(1), &(float){0}, 0, &e) >= 0) v = -1;
    CU_ASSERT_EQUAL(g->n_values, GRAPH_MAX_VALUES);
    int outputs = 0;
    while (graph_add_output(g, last, &e) == 0) outputs++;
    CU_ASSERT_EQUAL(outputs, GRAPH_MAX_IO);
    graph_free(g);
}

static void editing_makes_a_private_copy_once(void) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    const float file[4] = {1, 2, 3, 4};
    const int32_t x = fixture_input(g, SHAPE(4)), k = graph_add_constant(g, "k", &SHAPE(4), file, 7, &e);
    (void)fixture_mul(g, x, k);
    float *edit = graph_edit_input(g, 0, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(edit);
    CU_ASSERT_PTR_NOT_EQUAL(edit, file);
    CU_ASSERT_EQUAL(edit[2], 3);
    edit[2] = 0;
    CU_ASSERT_EQUAL(file[2], 3);
    CU_ASSERT_PTR_EQUAL(graph_edit_input(g, 0, 1), edit);
    CU_ASSERT_EQUAL(g->nodes[0].inputs[1], k); /* it was the only user */
    CU_ASSERT_TRUE(g->values[k].writable);
    CU_ASSERT_PTR_NULL(graph_edit_input(g, 0, 0)); /* no constant */
    CU_ASSERT_PTR_NULL(graph_edit_input(g, 0, 2));
    CU_ASSERT_PTR_NULL(graph_edit_input(g, 0, -1));
    graph_free(g);
}

static void editing_a_shared_constant_leaves_the_others(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(4)), k = fixture_constant(g, SHAPE(4), (float[]){1, 2, 3, 4});
    (void)fixture_mul(g, x, k);
    (void)fixture_add(g, x, k);
    float *edit = graph_edit_input(g, 0, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(edit);
    edit[0] = 9;
    const int32_t own = g->nodes[0].inputs[1];
    CU_ASSERT_NOT_EQUAL(own, k);
    CU_ASSERT_EQUAL(g->nodes[1].inputs[1], k);
    CU_ASSERT_EQUAL(g->values[k].data[0], 1);
    CU_ASSERT_EQUAL(g->values[own].data[0], 9);
    CU_ASSERT_EQUAL(g->values[own].source, g->values[k].source); /* still that initializer, for the report */
    CU_ASSERT_EQUAL(g->values[own].uses, 1);
    CU_ASSERT_EQUAL(g->values[k].uses, 1);
    CU_ASSERT_EQUAL(graph_only_consumer(g, own), 0);
    CU_ASSERT_EQUAL(graph_only_consumer(g, k), 1);
    graph_free(g);
}

/* A constant that was edited, and is then used by a second node, is not that of one node any more. */
static void an_edited_constant_can_be_shared_again(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1)), k = fixture_constant(g, SHAPE(1), (float[]){1});
    (void)fixture_mul(g, x, k);
    *graph_edit_input(g, 0, 1) = 2;
    (void)fixture_add(g, x, k);
    *graph_edit_input(g, 0, 1) = 3;
    CU_ASSERT_EQUAL(g->values[g->nodes[0].inputs[1]].data[0], 3);
    CU_ASSERT_EQUAL(g->values[g->nodes[1].inputs[1]].data[0], 2);
    graph_free(g);
}

static void only_consumers(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(4));
    const int32_t a = fixture_relu(g, x), b = fixture_relu(g, x), c = fixture_add(g, a, a);
    fixture_output(g, b);
    (void)fixture_relu(g, c);
    CU_ASSERT_EQUAL(graph_only_consumer(g, x), -1); /* two nodes */
    CU_ASSERT_EQUAL(graph_only_consumer(g, a), -1); /* twice by one */
    CU_ASSERT_EQUAL(graph_only_consumer(g, b), -1); /* an output */
    CU_ASSERT_EQUAL(graph_only_consumer(g, c), 3);
    CU_ASSERT_EQUAL(graph_only_consumer(g, 99), -1);
    CU_ASSERT_EQUAL(graph_only_consumer(g, -1), -1);
    /* After a node is taken out, the other one is found although it was added earlier. */
    g->nodes[1].dead = true;
    g->values[x].uses--;
    CU_ASSERT_EQUAL(graph_only_consumer(g, x), 0);
    graph_free(g);
}

SUITE(graph, {"nodes get shapes, names and uses", nodes_get_shapes_names_and_uses},
      {"mistakes are refused with a reason", mistakes_are_refused_with_a_reason},
      {"a normalisation needs its statistics", a_normalisation_needs_its_statistics},
      {"long names are cut between characters", long_names_are_cut_between_characters},
      {"limits hold, and arrays grow", limits_hold_and_arrays_grow},
      {"editing makes a private copy, once", editing_makes_a_private_copy_once},
      {"editing a shared constant leaves the others", editing_a_shared_constant_leaves_the_others},
      {"an edited constant can be shared again", an_edited_constant_can_be_shared_again},
      {"only consumers", only_consumers});
