/* The probe's list of channels: applied to the convolution of that name, and refused where it is damaged or
 * means none or several. */
#include "guard/repair_list.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <stdlib.h>
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

/* CLP first, which at this threshold finds what lies above the mean of its layer. */
static int apply_after(struct graph *g, const char *text, struct report *r, struct clp_result *out,
                       float threshold, bool measure) {
    struct err e = {0};
    *r = (struct report){.threshold = 0};
    CU_ASSERT_EQUAL_FATAL(
        clp_apply(g, &(struct clp_options){.threshold = threshold, .measure = measure}, r, out, &e), 0);
    if (measure) repair_list_instead(r, out);
    return repair_list_apply(g, (const uint8_t *)text, strlen(text), r, out, &e);
}

static int apply(struct graph *g, const char *text, struct report *r) {
    struct clp_result out;
    const int rc = apply_after(g, text, r, &out, 100, true);
    clp_result_free(&out);
    return rc;
}

static bool is_zero(const struct listed *l, int conv, int channel) {
    const struct value *w = &l->g->values[l->g->nodes[l->convs[conv]].inputs[1]];
    const int64_t each = shape_elements(&w->shape) / 4;
    for (int64_t k = 0; k < each; k++)
        if (w->data[channel * each + k] != 0) return false;
    return true;
}

static void test_applies(void) {
    struct report r;
    struct listed l = make("/conv1", "/conv10");
    CU_ASSERT_EQUAL(apply(l.g, "2 /conv1\n0 /conv10\n", &r), 0);
    CU_ASSERT_EQUAL(r.verdict, VERDICT_PRUNED);
    CU_ASSERT_EQUAL(r.pruned_channels, 2);
    CU_ASSERT(is_zero(&l, 0, 2) && is_zero(&l, 1, 0) && !is_zero(&l, 0, 0) && !is_zero(&l, 1, 2));
    for (int i = 0; i < 2; i++) {
        const float *bias = l.g->values[l.g->nodes[l.convs[i]].inputs[2]].data;
        CU_ASSERT(bias[i ? 0 : 2] == 0 && bias[1] != 0);
        CU_ASSERT(r.layers[i].n_pruned == 1 && r.layers[i].pruned[0] == (i ? 0 : 2));
    }
    report_free(&r);
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
    report_free(&r);
    graph_free(l.g);
}

/* Beside CLP's own channels, and in place of them; the report and the edits name what is pruned in the end.
 */
static void test_with_clp(void) {
    for (int measure = 0; measure < 2; measure++) {
        struct report r;
        struct clp_result out;
        struct listed l = make("/conv1", "/conv2");
        float *w = graph_edit_input(l.g, l.convs[0], 1);
        for (int i = 0; i < 27; i++) w[2 * 27 + i] = 50; /* this filter stands out */
        CU_ASSERT_EQUAL(apply_after(l.g, "1 /conv1\n3 /conv1\n1 /conv1\n", &r, &out, 1.2f, measure), 0);
        CU_ASSERT_EQUAL(is_zero(&l, 0, 2), !measure);
        CU_ASSERT(is_zero(&l, 0, 1) && is_zero(&l, 0, 3) && !is_zero(&l, 0, 0));
        CU_ASSERT_EQUAL(r.pruned_channels, measure ? 2 : 3);
        CU_ASSERT_EQUAL(r.layers[0].n_pruned, measure ? 2 : 3);
        CU_ASSERT_EQUAL_FATAL(out.n_edits, 1);
        CU_ASSERT(out.edits[0].conv == l.convs[0] && out.edits[0].n == r.layers[0].n_pruned);
        CU_ASSERT(out.edits[0].channels[0] == 1 && out.edits[0].channels[1] == (measure ? 3 : 2));
        size_t n;
        uint8_t *bytes = report_encode(&r, &n);
        struct report back;
        struct err e = {0};
        CU_ASSERT_EQUAL(report_decode(bytes, n, &back, &e), 0); /* its totals fit */
        report_free(&back);
        report_free(&r);
        free(bytes);
        clp_result_free(&out);
        graph_free(l.g);
    }
}

static void test_refuses(void) {
    static const char *const bad[] = {"1 /conv3\n", "4 /conv1\n",           "x /conv1\n",  "1 /conv1", "1\n",
                                      "1 \n",       "99999999999 /conv1\n", "-1 /conv1\n", "\n"};
    struct report r;
    struct listed l = make("/conv1", "/conv2");
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CU_ASSERT(apply(l.g, bad[i], &r) < 0);
        report_free(&r);
    }
    CU_ASSERT_EQUAL(apply(l.g, "", &r), 0);
    report_free(&r);
    graph_free(l.g);
    l = make("same", "same");
    CU_ASSERT(apply(l.g, "1 same\n", &r) < 0);
    report_free(&r);
    graph_free(l.g);
}

SUITE(repair_list, {"zeroes what it names", test_applies},
      {"finds names that the image has cut", test_long_names},
      {"beside CLP's channels, and in place of them", test_with_clp},
      {"refuses what is damaged or not clear", test_refuses});
