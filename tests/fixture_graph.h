/* Small networks for tests, built through graph.h: each function adds one node
 * and returns its output's value. Numbers are random, but the same in every run.
 * Constants live in the graph's memory. A failure ends the test. */
#ifndef TESTS_FIXTURE_GRAPH_H
#define TESTS_FIXTURE_GRAPH_H

#include "infer/graph.h"

#define SHAPE(...)                                                                                           \
    ((struct shape){.rank = (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                   \
                    .dim = {__VA_ARGS__}})
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* 0 <= x < n, and a float in [low, high). */
uint32_t fixture_random(uint64_t *state, uint32_t n);
float fixture_float(uint64_t *state, float low, float high);

struct graph *fixture_graph(void);
int32_t fixture_input(struct graph *g, struct shape s);
/* `data` is copied; NULL: random numbers in [-1, 1). */
int32_t fixture_constant(struct graph *g, struct shape s, const float *data);
/* Any operator; the output's value. */
int32_t fixture_node(struct graph *g, enum op op, const union op_params *p, int32_t n, const int32_t *inputs);
void fixture_output(struct graph *g, int32_t value);

/* A window over height and width. */
union op_params fixture_window(int32_t kernel, int32_t stride, int32_t pad, int32_t groups);

int32_t fixture_conv(struct graph *g, int32_t x, int64_t filters, union op_params window, bool bias);
int32_t fixture_batch_norm(struct graph *g, int32_t x);
int32_t fixture_relu(struct graph *g, int32_t x);
int32_t fixture_clip(struct graph *g, int32_t x, float min, float max);
int32_t fixture_add(struct graph *g, int32_t a, int32_t b);
int32_t fixture_mul(struct graph *g, int32_t a, int32_t b);
int32_t fixture_concat(struct graph *g, int32_t axis, int32_t n, const int32_t *inputs);
int32_t fixture_reshape(struct graph *g, int32_t x, struct shape s);
int32_t fixture_identity(struct graph *g, int32_t x);
int32_t fixture_gemm(struct graph *g, int32_t x, int64_t n, struct op_gemm p);

/* A small residual network: what most tests of plans and images start from. */
struct graph *fixture_resnet(void);

/* A network of about `n` random operators that go together in every way the planner knows. */
struct graph *fixture_random_graph(uint64_t seed, int32_t n);

#endif
