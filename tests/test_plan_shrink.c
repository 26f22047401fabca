/* Shrinking: what goes by hand, what must stay, and random networks with zeroed channels against the
 * plan that keeps them. */
#include "infer/plan.h"

#include "infer/engine.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Zeroes channel c of the constant behind an input. */
static void zero(struct graph *g, int32_t node, int32_t slot, int64_t c) {
    if (slot >= g->nodes[node].n_inputs || g->nodes[node].inputs[slot] < 0) return;
    const struct shape *s = &g->values[g->nodes[node].inputs[slot]].shape;
    const int64_t each = shape_elements(s) / s->dim[0];
    float *data = graph_edit_input(g, node, slot);
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    memset(data + c * each, 0, (size_t)each * sizeof *data);
}

/* As CLP does it where the normalisation was folded, and where it was not. */
static void prune(struct graph *g, int32_t value, int64_t c) {
    const int32_t node = g->values[value].producer;
    const int32_t slot = g->nodes[node].op == OP_BATCH_NORM || g->nodes[node].op == OP_CONV;
    zero(g, node, slot, c);
    zero(g, node, slot + 1, c);
}

static int64_t channels(const struct compiled *c, enum op op, uint32_t nth) {
    const uint32_t step = fixture_find_step(c->img, op, nth);
    CU_ASSERT_NOT_EQUAL_FATAL(step, UINT32_MAX);
    return image_tensor_at(c->img, image_step_at(c->img, step)->output)->shape.dim[1];
}

static int32_t conv(struct graph *g, int32_t x, int64_t filters, int32_t kernel) {
    return fixture_conv(g, x, filters, fixture_window(kernel, 1, kernel / 2, 1), true);
}

/* Something that mixes the channels, so that they are not the network's output. */
static struct compiled finish(struct graph *g, int32_t x) {
    fixture_output(g, conv(g, x, 2, 1));
    CU_ASSERT(fixture_difference(g) < 1e-5);
    return fixture_compile(g, false);
}

static void end(struct compiled *c, struct graph *g) {
    fixture_discard(c);
    graph_free(g);
}

static void a_pruned_filter_goes_with_what_reads_it(void) {
    for (int normed = 0; normed < 2; normed++) {
        struct graph *g = fixture_graph();
        int32_t y = conv(g, fixture_input(g, SHAPE(1, 3, 5, 5)), 6, 3);
        if (normed) y = fixture_batch_norm(g, y);
        prune(g, y, 2);
        prune(g, y, 5);
        struct compiled c = finish(g, fixture_relu(g, y));
        CU_ASSERT_EQUAL(channels(&c, OP_CONV, 0), 4);
        CU_ASSERT_EQUAL(image_header(c.img)->parameters, 4 * 27 + 4 + 2 * 4 + 2);
        end(&c, g);
    }
}

static void a_network_without_zeros_stays(void) {
    struct graph *g = fixture_graph();
    struct compiled c = finish(g, conv(g, fixture_input(g, SHAPE(1, 3, 5, 5)), 6, 3));
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 0), 6);
    end(&c, g);
}

static void a_bias_or_a_shift_keeps_its_channel(void) {
    struct graph *g = fixture_graph();
    int32_t y = conv(g, fixture_input(g, SHAPE(1, 3, 5, 5)), 6, 3);
    zero(g, g->values[y].producer, 1,
         0); /* its bias is left: a constant plane, but for what padding does to it */
    struct compiled c = finish(g, y);
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 0), 6);
    end(&c, g);

    g = fixture_graph();
    y = conv(g, fixture_input(g, SHAPE(1, 3, 5, 5)), 6, 3);
    prune(g, y, 0);
    const int32_t x = fixture_relu(g, y); /* keeps the normalisation from being folded */
    c = finish(g, fixture_batch_norm(g, x));
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 0), 6);
    end(&c, g);
}

static void outputs_keep_their_channels(void) {
    struct graph *g = fixture_graph();
    const int32_t y = conv(g, fixture_input(g, SHAPE(1, 3, 5, 5)), 6, 3);
    prune(g, y, 1);
    fixture_output(g, fixture_relu(g, y));
    struct compiled c = fixture_compile(g, false);
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 0), 6);
    end(&c, g);
}

static void a_sum_loses_what_all_addends_lack(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 3, 5, 5)), a = conv(g, x, 6, 3), b = conv(g, x, 6, 1);
    prune(g, a, 1);
    prune(g, b, 1); /* both */
    prune(g, a, 4); /* one of them */
    struct compiled c = finish(g, fixture_relu(g, fixture_add(g, a, b)));
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 0), 5);
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 1), 5);
    end(&c, g);
}

static void a_concatenation_maps_its_channels(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 3, 5, 5)), a = conv(g, x, 4, 3), b = conv(g, x, 5, 1);
    prune(g, a, 3);
    prune(g, b, 0);
    prune(g, b, 2);
    int32_t y = fixture_concat(g, 1, 3, (int32_t[]){b, a, b});
    y = fixture_node(g, OP_MAX_POOL, &(union op_params){.window = fixture_window(3, 2, 1, 1).window}, 1, &y);
    struct compiled c = finish(g, y);
    CU_ASSERT_EQUAL(channels(&c, OP_MAX_POOL, 0), 3 + 3 + 3);
    end(&c, g);
}

static void a_gate_goes_with_what_it_gates(void) {
    struct graph *g = fixture_graph();
    const int32_t y = conv(g, fixture_input(g, SHAPE(1, 3, 5, 5)), 6, 3);
    prune(g, y, 2);
    int32_t gate = fixture_node(g, OP_GLOBAL_AVERAGE_POOL, NULL, 1, &y);
    gate = conv(g, fixture_relu(g, conv(g, gate, 3, 1)), 6, 1);
    gate = fixture_clip(g, gate, 0.125f, 1); /* makes something of nothing, as a sigmoid does */
    struct compiled c = finish(g, fixture_mul(g, y, gate));
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 0), 5);
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 2), 5);
    end(&c, g);
}

static void depthwise_and_flattened(void) {
    struct graph *g = fixture_graph();
    const int32_t y = conv(g, fixture_input(g, SHAPE(1, 3, 4, 4)), 6, 3);
    int32_t z = fixture_conv(g, y, 6, fixture_window(3, 1, 1, 6), false);
    prune(g, y, 0);
    zero(g, g->values[z].producer, 1, 5); /* nobody reads channel 5 of y then */
    z = fixture_reshape(g, fixture_relu(g, z), SHAPE(1, 6 * 16));
    fixture_output(g, fixture_gemm(g, z, 3, (struct op_gemm){1, 1, 0, 1}));
    CU_ASSERT(fixture_difference(g) < 1e-5);
    struct compiled c = fixture_compile(g, false);
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 0), 4);
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 1), 4);
    CU_ASSERT_EQUAL(image_header(c.img)->parameters, 4 * 27 + 4 + 4 * 9 + 3 * 64 + 3);
    end(&c, g);
}

static void a_layer_of_zeros_keeps_one_channel(void) {
    struct graph *g = fixture_graph();
    const int32_t y = conv(g, fixture_input(g, SHAPE(1, 3, 5, 5)), 3, 3);
    for (int k = 0; k < 3; k++) prune(g, y, k);
    struct compiled c = finish(g, y);
    CU_ASSERT_EQUAL(channels(&c, OP_CONV, 0), 1);
    end(&c, g);
}

static void sizes_before_and_after(void) {
    struct err e = {0};
    struct plan *p;
    struct plan_sizes s;
    struct graph *g = fixture_graph();
    const int32_t y = conv(g, fixture_input(g, SHAPE(1, 3, 5, 5)), 6, 3);
    prune(g, y, 2);
    fixture_output(g, conv(g, y, 2, 1));
    CU_ASSERT_EQUAL_FATAL(plan_make(g, &(struct plan_options){0}, &p, &e), 0);
    plan_measure(p, &s);
    CU_ASSERT_EQUAL(s.parameters_before, 6 * 27 + 6 + 12 + 2);
    CU_ASSERT_EQUAL(s.parameters, 5 * 27 + 5 + 10 + 2);
    CU_ASSERT_EQUAL(s.multiply_adds_before, 25 * (6 * 27 + 12));
    CU_ASSERT_EQUAL(s.multiply_adds, 25 * (5 * 27 + 10));
    plan_free(p);
    graph_free(g);
}

/* --- random networks ------------------------------------------------------------------------ */

/* Zeroes about a third of the channels of about every second convolution and normalisation. */
static void prune_at_random(struct graph *g, uint64_t *seed) {
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const enum op op = g->nodes[n].op;
        if ((op != OP_CONV && op != OP_BATCH_NORM) || fixture_random(seed, 2)) continue;
        const int64_t channels_of = g->values[g->nodes[n].output].shape.dim[1];
        for (int64_t c = 0; c < channels_of; c++)
            if (fixture_random(seed, 3) == 0) prune(g, g->nodes[n].output, c);
    }
}

static void random_networks(void) {
    uint64_t removed = 0, seed = 5;
    for (uint64_t round = 0; round < 300; round++) {
        struct err e = {0};
        struct plan *p;
        struct plan_sizes s;
        struct graph *g = fixture_random_graph(round, 4 + (int32_t)(round % 40));
        prune_at_random(g, &seed);
        const double difference = fixture_difference(g);
        if (!(difference < 1e-5)) fprintf(stderr, "\nround %d: %g\n", (int)round, difference);
        CU_ASSERT(difference < 1e-5);
        CU_ASSERT_EQUAL_FATAL(plan_make(g, &(struct plan_options){0}, &p, &e), 0);
        plan_measure(p, &s);
        removed += s.parameters_before - s.parameters;
        plan_free(p);
        struct compiled c = fixture_compile_here(g); /* blocked: accepted by the validator */
        end(&c, g);
    }
    CU_ASSERT(removed > 300); /* or nothing would have been tried */
}

/* --- as the engine runs them: blocked, in whole vectors and beside ------------------------------ */

struct wide {
    struct graph *g;
    uint64_t seed;
};

static int32_t wide_conv(struct wide *w, int32_t x, int64_t filters) {
    const int64_t c = w->g->values[x].shape.dim[1];
    int32_t y;
    switch (fixture_random(&w->seed, 4)) {
    case 0: y = conv(w->g, x, filters, 1); break;
    case 1:
        y = conv(w->g, fixture_conv(w->g, x, c, fixture_window(3, 1, 1, (int32_t)c), true), filters, 1);
        break;
    default: y = conv(w->g, x, filters, 3);
    }
    return fixture_random(&w->seed, 2) ? fixture_batch_norm(w->g, y) : y;
}

/* Sums of branches, concatenations of branches, chains; then a pool and classes. */
static struct graph *wide_graph(uint64_t round) {
    struct wide w = {fixture_graph(), round * 977 + 3};
    int32_t x = wide_conv(&w, fixture_input(w.g, SHAPE(1, 3, 12, 12)), 32);
    for (uint32_t i = 0; i < 4; i++) {
        const int64_t n = 16 + 8 * fixture_random(&w.seed, 7);
        const int32_t a = fixture_relu(w.g, wide_conv(&w, x, n)), b = wide_conv(&w, x, n);
        switch (fixture_random(&w.seed, 3)) {
        case 0: x = fixture_relu(w.g, fixture_add(w.g, b, a)); break;
        case 1: x = fixture_concat(w.g, 1, 2, (int32_t[]){a, b}); break;
        default: x = fixture_relu(w.g, wide_conv(&w, a, n));
        }
    }
    x = fixture_node(w.g, OP_GLOBAL_AVERAGE_POOL, NULL, 1, &x);
    x = fixture_reshape(w.g, x, SHAPE(1, w.g->values[x].shape.dim[1]));
    fixture_output(w.g, fixture_gemm(w.g, x, 10, (struct op_gemm){1, 1, 0, 1}));
    return w.g;
}

static void classify(const struct compiled *c, const float *picture, float classes[10]) {
    struct err e = {0};
    struct engine *en = engine_new();
    CU_ASSERT_EQUAL_FATAL(engine_reserve(en, c->img, 1, &e), 0);
    const struct engine_item item = {{picture}, INPUT_F32_NCHW};
    CU_ASSERT_EQUAL_FATAL(engine_run(en, c->img, 1, &item), 0);
    memcpy(classes, engine_output(en, 0, 0), 10 * sizeof *classes);
    engine_free(en);
}

static void wide_networks(void) {
    uint64_t seed = 9;
    int smaller = 0;
    static float picture[3 * 12 * 12];
    for (size_t i = 0; i < COUNT_OF(picture); i++) picture[i] = fixture_float(&seed, -1, 1);
    for (uint64_t round = 0; round < 40; round++) {
        float with[10], without[10], largest = 0;
        struct graph *g = wide_graph(round);
        prune_at_random(g, &seed);
        struct compiled masked = fixture_compile_masked(g), shrunk = fixture_compile_here(g);
        smaller += image_header(shrunk.img)->multiply_adds < image_header(masked.img)->multiply_adds;
        classify(&masked, picture, with);
        classify(&shrunk, picture, without);
        for (int i = 0; i < 10; i++) largest = fmaxf(largest, fabsf(with[i]));
        for (int i = 0; i < 10; i++) CU_ASSERT(fabsf(with[i] - without[i]) <= 1e-5f * largest);
        fixture_discard(&masked);
        end(&shrunk, g);
    }
    CU_ASSERT(smaller > 30);
}

SUITE(plan_shrink,
      {"a pruned filter goes, with its slice of the next layer", a_pruned_filter_goes_with_what_reads_it},
      {"a network without zeros stays as it is", a_network_without_zeros_stays},
      {"a bias or a shift keeps its channel", a_bias_or_a_shift_keeps_its_channel},
      {"what the network puts out keeps its channels", outputs_keep_their_channels},
      {"a sum loses what all its addends lack", a_sum_loses_what_all_addends_lack},
      {"a concatenation maps its channels", a_concatenation_maps_its_channels},
      {"a gate goes with what it gates", a_gate_goes_with_what_it_gates},
      {"depthwise convolutions; flattened maps", depthwise_and_flattened},
      {"a layer of zeros keeps one channel", a_layer_of_zeros_keeps_one_channel},
      {"sizes before and after", sizes_before_and_after},
      {"random networks compute what they did", random_networks},
      {"wide networks compute what they did, on the engine", wide_networks});
