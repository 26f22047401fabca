/* The probe's list of channels: applied to the convolution of that name, and refused where it is damaged or
 * means none or several. */
#include "guard/repair_list.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <string.h>

struct listed {
    struct graph *g;
    int32_t convs[2];
};

static struct listed make(const char *first, const char *second) {
    struct err e = {0};
    struct listed l = {.g = fixture_graph()};
    const char *const names[2] = {first, second};
    int32_t x = fixture_input(l.g, SHAPE(1, 3, 8, 8));
    for (int i = 0; i < 2; i++) {
        const int32_t in[3] = {x, fixture_constant(l.g, SHAPE(4, l.g->values[x].shape.dim[1], 3, 3), NULL),
                               fixture_constant(l.g, SHAPE(4), NULL)};
        const union op_params w = fixture_window(3, 1, 1, 1);
        l.convs[i] = graph_add_node(l.g, names[i], OP_CONV, &w, in, 3, i ? "b" : "a", i, &e);
        CU_ASSERT_FATAL(l.convs[i] >= 0);
        x = l.g->nodes[l.convs[i]].output;
    }
    fixture_output(l.g, x);
    return l;
}

static int apply(struct graph *g, const char *text, struct report *r) {
    struct err e = {0};
    struct clp_result out = {0};
    *r = (struct report){.verdict = VERDICT_GUARD_OFF};
    const int rc = repair_list_apply(g, (const uint8_t *)text, strlen(text), r, &out, &e);
    clp_result_free(&out);
    return rc;
}

static void test_applies(void) {
    struct report r;
    struct listed l = make("/conv1", "/conv10");
    CU_ASSERT_EQUAL(apply(l.g, "2 /conv1\n0 /conv10\n", &r), 0);
    CU_ASSERT_EQUAL(r.verdict, VERDICT_PRUNED);
    CU_ASSERT_EQUAL(r.pruned_channels, 2);
    for (int i = 0; i < 2; i++) {
        const struct node *n = &l.g->nodes[l.convs[i]];
        const int64_t each = shape_elements(&l.g->values[n->inputs[1]].shape) / 4;
        const int channel = i ? 0 : 2;
        for (int64_t k = 0; k < each; k++)
            CU_ASSERT_EQUAL(l.g->values[n->inputs[1]].data[channel * each + k], 0);
        CU_ASSERT_EQUAL(l.g->values[n->inputs[2]].data[channel], 0);
        CU_ASSERT(l.g->values[n->inputs[2]].data[1] != 0);
    }
    graph_free(l.g);
}

static void test_long_names(void) {
    struct report r;
    char name[120], line[160];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    struct listed l = make(name, "other");
    (void)snprintf(line, sizeof line, "1 %.63s\n", name); /* as the image cuts it */
    CU_ASSERT_EQUAL(apply(l.g, line, &r), 0);
    graph_free(l.g);
}

static void test_refuses(void) {
    static const char *const bad[] = {"1 /conv3\n", "4 /conv1\n",           "x /conv1\n",  "1 /conv1", "1\n",
                                      "1 \n",       "99999999999 /conv1\n", "-1 /conv1\n", "\n"};
    struct report r;
    struct listed l = make("/conv1", "/conv2");
    for (size_t i = 0; i < COUNT_OF(bad); i++) CU_ASSERT(apply(l.g, bad[i], &r) < 0);
    CU_ASSERT_EQUAL(apply(l.g, "", &r), 0);
    graph_free(l.g);
    l = make("same", "same");
    CU_ASSERT(apply(l.g, "1 same\n", &r) < 0);
    graph_free(l.g);
}

SUITE(repair_list, {"zeroes what it names", test_applies},
      {"finds names that the image has cut", test_long_names},
      {"refuses what is damaged or not clear", test_refuses});
