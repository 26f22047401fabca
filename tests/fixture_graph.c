/* Builds the networks of fixture_graph.h. */
#include "tests/fixture_graph.h"

#include "tests/suite.h"

#include <string.h>

uint32_t fixture_random(uint64_t *state, uint32_t n) {
    *state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return (uint32_t)((*state >> 33) % n);
}

float fixture_float(uint64_t *state, float low, float high) {
    return low + (high - low) * (float)fixture_random(state, 1u << 20) / (float)(1u << 20);
}

struct graph *fixture_graph(void) {
    struct graph *g = graph_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(g);
    return g;
}

static int32_t must(int32_t index, const struct err *e) {
    if (index < 0) fprintf(stderr, "\nfixture: %s\n", e->text);
    CU_ASSERT_FATAL(index >= 0);
    return index;
}

int32_t fixture_input(struct graph *g, struct shape s) {
    struct err e = {0};
    return must(graph_add_input(g, "x", &s, &e), &e);
}

int32_t fixture_constant(struct graph *g, struct shape s, const float *data) {
    struct err e = {0};
    const size_t n = (size_t)shape_elements(&s);
    float *copy = graph_alloc(g, n * sizeof *copy);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    uint64_t seed = (uint64_t)g->n_values * 77 + 1;
    for (size_t i = 0; i < n; i++) copy[i] = data ? data[i] : fixture_float(&seed, -1, 1);
    return must(graph_add_constant(g, "w", &s, copy, g->n_values, &e), &e);
}

int32_t fixture_node(struct graph *g, enum op op, const union op_params *p, int32_t n,
                     const int32_t *inputs) {
    struct err e = {0};
    char name[32];
    (void)snprintf(name, sizeof name, "t%d", g->n_nodes);
    const int32_t node = must(graph_add_node(g, NULL, op, p, inputs, n, name, g->n_nodes, &e), &e);
    return g->nodes[node].output;
}

void fixture_output(struct graph *g, int32_t value) {
    struct err e = {0};
    (void)must(graph_add_output(g, value, &e), &e);
}

union op_params fixture_window(int32_t kernel, int32_t stride, int32_t pad, int32_t groups) {
    return (union op_params){.window = {.spatial = 2,
                                        .groups = groups,
                                        .kernel = {1, kernel, kernel},
                                        .stride = {1, stride, stride},
                                        .dilation = {1, 1, 1},
                                        .pad_begin = {0, pad, pad},
                                        .pad_end = {0, pad, pad}}};
}

int32_t fixture_conv(struct graph *g, int32_t x, int64_t filters, union op_params window, bool bias) {
    const struct op_window *w = &window.window;
    const struct shape weight =
        SHAPE(filters, g->values[x].shape.dim[1] / w->groups, w->kernel[1], w->kernel[2]);
    const int32_t k = fixture_constant(g, weight, NULL),
                  b = bias ? fixture_constant(g, SHAPE(filters), NULL) : -1;
    return fixture_node(g, OP_CONV, &window, bias ? 3 : 2, (int32_t[]){x, k, b});
}

int32_t fixture_batch_norm(struct graph *g, int32_t x) {
    const int64_t c = g->values[x].shape.dim[1];
    int32_t in[5] = {x};
    for (int i = 1; i < 4; i++) in[i] = fixture_constant(g, SHAPE(c), NULL);
    float *variance = graph_alloc(g, (size_t)c * sizeof *variance);
    CU_ASSERT_PTR_NOT_NULL_FATAL(variance);
    for (int64_t k = 0; k < c; k++) variance[k] = 0.25f + 0.125f * (float)k;
    in[4] = fixture_constant(g, SHAPE(c), variance);
    return fixture_node(g, OP_BATCH_NORM, &(union op_params){.batch_norm = {1e-5f}}, 5, in);
}

int32_t fixture_relu(struct graph *g, int32_t x) {
    return fixture_node(g, OP_RELU, NULL, 1, &x);
}
int32_t fixture_identity(struct graph *g, int32_t x) {
    return fixture_node(g, OP_IDENTITY, NULL, 1, &x);
}

int32_t fixture_clip(struct graph *g, int32_t x, float min, float max) {
    return fixture_node(g, OP_CLIP, &(union op_params){.clip = {min, max}}, 1, &x);
}

int32_t fixture_add(struct graph *g, int32_t a, int32_t b) {
    return fixture_node(g, OP_ADD, NULL, 2, (int32_t[]){a, b});
}

int32_t fixture_mul(struct graph *g, int32_t a, int32_t b) {
    return fixture_node(g, OP_MUL, NULL, 2, (int32_t[]){a, b});
}

int32_t fixture_concat(struct graph *g, int32_t axis, int32_t n, const int32_t *inputs) {
    return fixture_node(g, OP_CONCAT, &(union op_params){.axis = {.axis = axis}}, n, inputs);
}

int32_t fixture_reshape(struct graph *g, int32_t x, struct shape s) {
    return fixture_node(g, OP_RESHAPE, &(union op_params){.reshape = {s}}, 1, &x);
}

int32_t fixture_gemm(struct graph *g, int32_t x, int64_t n, struct op_gemm p) {
    const int64_t k = g->values[x].shape.dim[1 - p.trans_a];
    const int32_t b = fixture_constant(g, p.trans_b ? SHAPE(n, k) : SHAPE(k, n), NULL);
    const int32_t c = fixture_constant(g, SHAPE(n), NULL);
    return fixture_node(g, OP_GEMM, &(union op_params){.gemm = p}, 3, (int32_t[]){x, b, c});
}

/* [1,3,8,8] -> stem, pool, a block with an identity, one with a downsampling convolution -> 5 classes */
struct graph *fixture_resnet(void) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_input(g, SHAPE(1, 3, 8, 8));
    x = fixture_relu(g, fixture_batch_norm(g, fixture_conv(g, x, 4, fixture_window(3, 1, 1, 1), false)));
    union op_params pool = fixture_window(3, 1, 1, 1);
    x = fixture_node(g, OP_MAX_POOL, &pool, 1, &x);

    int32_t y =
        fixture_relu(g, fixture_batch_norm(g, fixture_conv(g, x, 4, fixture_window(3, 1, 1, 1), false)));
    y = fixture_batch_norm(g, fixture_conv(g, y, 4, fixture_window(3, 1, 1, 1), false));
    x = fixture_relu(g, fixture_add(g, y, x));

    y = fixture_relu(g, fixture_batch_norm(g, fixture_conv(g, x, 8, fixture_window(3, 2, 1, 1), false)));
    y = fixture_batch_norm(g, fixture_conv(g, y, 8, fixture_window(3, 1, 1, 1), false));
    const int32_t down = fixture_batch_norm(g, fixture_conv(g, x, 8, fixture_window(1, 2, 0, 1), false));
    x = fixture_relu(g, fixture_add(g, y, down));

    x = fixture_node(g, OP_GLOBAL_AVERAGE_POOL, NULL, 1, &x);
    x = fixture_reshape(g, x, SHAPE(1, 8));
    x = fixture_gemm(g, x, 5, (struct op_gemm){1, 1, 0, 1});
    fixture_output(g, fixture_node(g, OP_SOFTMAX, &(union op_params){.axis = {.axis = 1}}, 1, &x));
    return g;
}

/* --- random networks ------------------------------------------------------------------ */

struct mix { /* values so far, all [1,c,6,6] */
    struct graph *g;
    uint64_t seed;
    int32_t values[512];
    uint32_t n;
};

/* Mostly recent ones, so that chains come about, but any may be used again. */
static int32_t pick(struct mix *m) {
    const uint32_t back = fixture_random(&m->seed, 3) ? fixture_random(&m->seed, m->n < 3 ? m->n : 3)
                                                      : fixture_random(&m->seed, m->n);
    return m->values[m->n - 1 - back];
}

static int64_t channels(const struct mix *m, int32_t v) {
    return m->g->values[v].shape.dim[1];
}

/* A value with as many channels as `v`: another one, or a convolution of it. */
static int32_t pick_like(struct mix *m, int32_t v) {
    for (int tries = 0; tries < 6; tries++) {
        const int32_t other = pick(m);
        if (channels(m, other) == channels(m, v)) return other;
    }
    return fixture_conv(m->g, pick(m), channels(m, v), fixture_window(1, 1, 0, 1), true);
}

static int32_t random_concat(struct mix *m) {
    int32_t in[6];
    int64_t sum = 0;
    const int32_t n = 1 + (int32_t)fixture_random(&m->seed, 6);
    for (int32_t i = 0; i < n; i++) {
        in[i] = pick(m);
        sum += channels(m, in[i]);
    }
    return sum > 64 ? fixture_identity(m->g, in[0]) : fixture_concat(m->g, 1, n, in);
}

static int32_t random_reshape(struct mix *m, int32_t v) {
    const int64_t c = channels(m, v);
    return fixture_reshape(m->g, fixture_reshape(m->g, v, SHAPE(c, 36)), SHAPE(1, c, 6, 6));
}

static int32_t random_node(struct mix *m) {
    struct graph *g = m->g;
    const int32_t v = pick(m);
    const int64_t c = channels(m, v);
    const bool coin = fixture_random(&m->seed, 2);
    switch (fixture_random(&m->seed, 13)) {
    case 0: return fixture_conv(g, v, 2 + 2 * fixture_random(&m->seed, 3), fixture_window(3, 1, 1, 1), coin);
    case 1: return fixture_conv(g, v, 2 + 2 * fixture_random(&m->seed, 3), fixture_window(1, 1, 0, 1), coin);
    case 2: return fixture_conv(g, v, c, fixture_window(3, 1, 1, (int32_t)c), coin);
    case 3:
    case 4: return fixture_batch_norm(g, v);
    case 5: return fixture_relu(g, v);
    case 6: return fixture_clip(g, v, coin ? 0 : -0.5f, 1);
    case 7:
    case 8: return fixture_add(g, v, pick_like(m, v));
    case 9:
        return coin ? fixture_mul(g, v, fixture_constant(g, SHAPE(c, 1, 1), NULL))
                    : fixture_add(g, fixture_constant(g, SHAPE(1), NULL), v);
    case 10:
    case 11: return random_concat(m);
    default: return coin ? fixture_identity(g, v) : random_reshape(m, v);
    }
}

struct graph *fixture_random_graph(uint64_t seed, int32_t n) {
    struct mix m = {.g = fixture_graph(), .seed = seed * 2654435761u + 7};
    m.values[m.n++] = fixture_input(m.g, SHAPE(1, 2, 6, 6));
    for (int32_t i = 0; i < n && m.n < COUNT_OF(m.values); i++) m.values[m.n++] = random_node(&m);
    for (uint32_t i = 0; i < 3; i++) fixture_output(m.g, pick(&m));
    return m.g;
}
