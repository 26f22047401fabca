/* Seeds for the target `image`: compiled networks that use every operator, activations, residuals,
 * concatenations in place, labels and a report. */
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/fuzz/seeds/seeds.h"
#include "tests/suite.h"

/* As planned for an old host and for one like this; both say that any host can run them, which is so. */
static void end(struct graph *g, const char *name) {
    char vector[48];
    struct compiled c = fixture_compile(g, false);
    seed_write("image", name, c.bytes, c.size);
    fixture_discard(&c);
    c = fixture_compile_here(g);
    fixture_header(c.bytes)->isa = ISA_GENERIC;
    fixture_reseal(c.bytes, c.size);
    (void)snprintf(vector, sizeof vector, "%s-vector", name);
    seed_write("image", vector, c.bytes, c.size);
    fixture_discard(&c);
    graph_free(g);
}

static void residual(void) {
    end(fixture_resnet(), "resnet");
}

static void small_ones(void) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_input(g, SHAPE(1, 2, 5, 5));
    const int32_t a = fixture_clip(g, fixture_conv(g, x, 2, fixture_window(3, 1, 1, 2), true), 0, 6);
    union op_params pool = fixture_window(3, 1, 1, 1);
    const int32_t b = fixture_node(g, OP_AVERAGE_POOL, &pool, 1, &x);
    const int32_t c = fixture_concat(g, 1, 2, (int32_t[]){a, b});
    fixture_output(g, fixture_relu(g, c));
    end(g, "depthwise-concat");

    g = fixture_graph();
    x = fixture_input(g, SHAPE(1, 4, 6));
    const int32_t w = fixture_constant(g, SHAPE(6, 6), NULL), s = fixture_constant(g, SHAPE(6), NULL);
    int32_t y = fixture_node(g, OP_MATMUL, NULL, 2, (int32_t[]){x, w});
    y = fixture_node(g, OP_LAYER_NORM, &(union op_params){.norm = {2, 1e-5f}}, 3, (int32_t[]){y, s, s});
    y = fixture_mul(g, fixture_add(g, y, x), s);
    y = fixture_node(g, OP_SOFTMAX, &(union op_params){.axis = {.axis = 2}}, 1, &y);
    fixture_output(g, fixture_identity(g, fixture_reshape(g, y, SHAPE(1, 24))));
    end(g, "matmul-norm");

    g = fixture_graph();
    x = fixture_input(g, SHAPE(1, 3, 4, 4));
    y = fixture_conv(g, x, 3, fixture_window(1, 1, 0, 1), true);
    pool = fixture_window(2, 2, 0, 1);
    y = fixture_relu(g, fixture_add(g, fixture_batch_norm(g, y), x));
    y = fixture_node(g, OP_MAX_POOL, &pool, 1, &y);
    fixture_output(g, y);
    fixture_output(g, fixture_node(g, OP_GLOBAL_AVERAGE_POOL, NULL, 1, &y));
    end(g, "two-outputs");
}

/* What the blocked kernels are for: more channels, 3x3 that Winograd takes, groups, a padded last block. */
static void blocked_ones(void) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_input(g, SHAPE(1, 3, 6, 6));
    x = fixture_relu(g, fixture_conv(g, x, 16, fixture_window(3, 1, 1, 1), true));
    const int32_t skip = x;
    x = fixture_conv(g, x, 16, fixture_window(3, 1, 1, 16), true);
    x = fixture_clip(g, fixture_add(g, x, skip), 0, 6);
    union op_params pool = fixture_window(2, 2, 0, 1);
    x = fixture_node(g, OP_MAX_POOL, &pool, 1, &x);
    fixture_output(g, fixture_conv(g, x, 10, fixture_window(1, 1, 0, 1), true));
    end(g, "blocked");

    g = fixture_graph();
    x = fixture_input(g, SHAPE(1, 9, 9, 7));
    x = fixture_relu(g, fixture_batch_norm(g, x));
    x = fixture_conv(g, x, 18, fixture_window(3, 1, 1, 1), false);
    pool = fixture_window(3, 1, 1, 1);
    x = fixture_node(g, OP_AVERAGE_POOL, &pool, 1, &x);
    fixture_output(g, fixture_node(g, OP_GLOBAL_AVERAGE_POOL, NULL, 1, &x));
    end(g, "winograd");
}

static int32_t apply(struct graph *g, enum op op, union op_params p, int32_t x, int32_t y) {
    return fixture_node(g, op, &p, y < 0 ? 1 : 2, (int32_t[]){x, y});
}

/* What moves elements, and an index that a constant gives. */
static void moving_ones(void) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_input(g, SHAPE(1, 2, 4, 3));
    x = apply(g, OP_PAD,
              (union op_params){.pad = {.mode = PAD_REFLECT, .begin = {0, 0, 1, 2}, .end = {0, 0, 2, 1}}}, x,
              -1);
    x = apply(g, OP_TRANSPOSE, (union op_params){.transpose = {{0, 2, 3, 1}}}, x, -1);
    x = apply(
        g, OP_SLICE,
        (union op_params){.slice = {.start = {0, 6, 0, 1}, .step = {1, -2, 1, 1}, .count = {1, 3, 5, 1}}}, x,
        -1);
    x = apply(g, OP_EXPAND, (union op_params){.reshape = {SHAPE(1, 3, 5, 2)}}, x, -1);
    const int32_t at = fixture_constant(g, SHAPE(3), (float[]){2, 0, 2});
    x = apply(g, OP_GATHER, (union op_params){.axis = {.axis = 1}}, x, at);
    fixture_output(
        g, apply(g, OP_REDUCE_LOG_SUM_EXP, (union op_params){.reduce = {.axes = 12, .keep = 1}}, x, -1));
    end(g, "moves");

    g = fixture_graph();
    x = fixture_input(g, SHAPE(1, 2, 3, 3));
    const int32_t c = fixture_constant(g, SHAPE(2), NULL), w = fixture_constant(g, SHAPE(2, 2, 3, 3), NULL);
    x = fixture_node(g, OP_INSTANCE_NORM, &(union op_params){.batch_norm = {1e-5f}}, 3, (int32_t[]){x, c, c});
    x = apply(g, OP_LRN, (union op_params){.lrn = {.size = 3, .alpha = 0.1f, .beta = 0.75f, .bias = 1}}, x,
              -1);
    union op_params t = {
        .conv_transpose = {.window = fixture_window(3, 2, 1, 1).window, .output_pad = {0, 1, 0}}};
    x = apply(g, OP_CONV_TRANSPOSE, t, x, w);
    x = apply(g, OP_QUANTIZE, (union op_params){.function = {0.5f, 0, -128, 127}}, x, -1);
    const int32_t y = apply(g, OP_DEQUANTIZE, (union op_params){.function = {.alpha = 0.5f}}, x, -1);
    const int32_t less = apply(g, OP_LESS, (union op_params){{0}}, x, y);
    x = fixture_node(g, OP_WHERE, NULL, 3, (int32_t[]){less, x, y});
    x = apply(g, OP_HARDMAX, (union op_params){.axis = {.axis = 3}},
              apply(g, OP_GELU, (union op_params){{0}}, x, -1), -1);
    fixture_output(g, apply(g, OP_POW, (union op_params){{0}}, x, y));
    end(g, "norms");
}

static void random_ones(void) {
    char name[16];
    for (uint64_t seed = 1; seed <= 4; seed++) {
        (void)snprintf(name, sizeof name, "random-%d", (int)seed);
        end(fixture_random_graph(seed, 6), name);
    }
}

SUITE(corpus_image, {"residual", residual}, {"small ones", small_ones}, {"blocked ones", blocked_ones},
      {"moving ones", moving_ones}, {"random ones", random_ones});
