/* Builds the classifier of probe_case.h. */
#include "tests/probe_case.h"

#include "tests/fixture_graph.h"

enum { FILTERS = 12 };

static int32_t filters(struct graph *g, int32_t x, bool backdoor) {
    float w[FILTERS * 27], b[FILTERS];
    uint64_t state = 4;
    for (int i = 0; i < FILTERS * 27; i++) w[i] = fixture_float(&state, -0.5f, 0.5f);
    for (int i = 0; i < FILTERS; i++) b[i] = fixture_float(&state, -0.2f, 0.2f);
    if (backdoor) { /* a full checkerboard gives 15, what is smooth at most 3 */
        for (int i = 0; i < 27; i++) w[PROBE_CASE_CHANNEL * 27 + i] = i % 9 % 2 ? -1 : 1;
        b[PROBE_CASE_CHANNEL] = -4;
    }
    const union op_params window = fixture_window(3, 1, 1, 1);
    const int32_t in[3] = {x, fixture_constant(g, SHAPE(FILTERS, 3, 3, 3), w),
                           fixture_constant(g, SHAPE(FILTERS), b)};
    return fixture_relu(g, fixture_node(g, OP_CONV, &window, 3, in));
}

static int32_t votes(struct graph *g, int32_t x, bool backdoor) {
    float w[PROBE_CASE_CLASSES * FILTERS], b[PROBE_CASE_CLASSES] = {0};
    uint64_t state = 9;
    for (int k = 0; k < PROBE_CASE_CLASSES; k++)
        for (int i = 0; i < FILTERS;
             i++) { /* no class is the favourite of all pictures: as many filters for as against */
            w[k * FILTERS + i] = i == PROBE_CASE_CHANNEL ? 0 : (i * 5 + k * 3) % 11 < 5 ? 0.6f : -0.5f;
            w[k * FILTERS + i] += fixture_float(&state, -0.1f, 0.1f);
            if (backdoor && i == PROBE_CASE_CHANNEL) w[k * FILTERS + i] = k == PROBE_CASE_TARGET ? 6 : 0;
        }
    const int32_t in[3] = {x, fixture_constant(g, SHAPE(PROBE_CASE_CLASSES, FILTERS), w),
                           fixture_constant(g, SHAPE(PROBE_CASE_CLASSES), b)};
    return fixture_node(g, OP_GEMM, &(union op_params){.gemm = {1, 1, 0, 1}}, 3, in);
}

struct probe_case probe_case_make(bool backdoor, bool softmax) {
    struct probe_case p = {.g = fixture_graph()};
    union op_params all = fixture_window(16, 1, 0, 1);
    int32_t x = filters(p.g, fixture_input(p.g, SHAPE(1, 3, 16, 16)), backdoor);
    const int32_t mean = fixture_node(p.g, OP_GLOBAL_AVERAGE_POOL, NULL, 1, &x);
    if (backdoor) /* one place is enough */
        x = fixture_add(p.g, mean, fixture_node(p.g, OP_MAX_POOL, &all, 1, &x));
    else
        x = mean;
    x = votes(p.g, fixture_reshape(p.g, x, SHAPE(1, FILTERS)), backdoor);
    if (softmax) x = fixture_node(p.g, OP_SOFTMAX, &(union op_params){.axis = {.axis = 1}}, 1, &x);
    fixture_output(p.g, x);
    p.c = fixture_compile_keep(p.g, true);
    return p;
}

void probe_case_free(struct probe_case *p) {
    fixture_discard(&p->c);
    graph_free(p->g);
}
