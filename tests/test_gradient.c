/* Slopes: each operator, and networks of them, against central differences of
 * their own outputs, in both layouts; silenced channels; and what is refused.
 * and against PyTorch's (tests/golden/gradient.py). A direction's slope may be off by 3e-3 of the slope's
 * length, which is what differences of float32 networks with edges give; PyTorch's by 1e-3 of its largest
 * number. */
#include "infer/gradient.h"

#include "guard/import.h"
#include "infer/npy.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 3, DIRECTIONS = 6, EDGES = 4 };

static struct gradient *made(const struct image *img, uint32_t items) {
    struct err e = {0};
    struct gradient *g = NULL;
    if (gradient_new(img, items, &g, &e)) fprintf(stderr, "\n%s\n", e.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g);
    return g;
}

/* sum of seed x output of item `i`. */
static double loss(struct gradient *g, uint32_t i, const float *seed) {
    double sum = 0;
    gradient_forward(g, ITEMS, 0);
    for (int64_t k = 0; k < gradient_output_floats(g); k++)
        sum += (double)seed[k] * (double)gradient_output(g, i)[k];
    return sum;
}

/* The loss once a step along `d` has been taken from `x`. */
static double loss_beside(struct gradient *g, uint32_t i, const float *x, const float *d, float h,
                          const float *seed) {
    float *to = gradient_input(g, i);
    for (int64_t k = 0; k < gradient_input_floats(g); k++) to[k] = x[k] + h * d[k];
    const double l = loss(g, i, seed);
    memcpy(to, x, (size_t)gradient_input_floats(g) * sizeof *to);
    return l;
}

/* Worst error over directions, relative to the slope's length. The true one lies between the differences to
 * both sides, also where a step goes over an edge; the best of five steps counts, and a narrow gap for more.
 */
static double worst(struct gradient *g, float low, float high) {
    const size_t n = (size_t)gradient_input_floats(g), m = (size_t)gradient_output_floats(g);
    float *x = malloc(n * ITEMS * sizeof *x), *d = malloc(n * sizeof *d), *slope = malloc(n * sizeof *d),
          *seed = malloc(m * sizeof *seed);
    CU_ASSERT_FATAL(x && d && seed && slope);
    uint64_t state = 99;
    double result = 0;
    for (size_t k = 0; k < m; k++) seed[k] = fixture_float(&state, -1, 1);
    for (size_t k = 0; k < n * ITEMS; k++) x[k] = fixture_float(&state, low, high);
    for (uint32_t i = 0; i < ITEMS; i++) memcpy(gradient_input(g, i), x + i * n, n * sizeof *x);
    for (uint32_t i = 0; i < ITEMS; i++) {
        gradient_forward(g, ITEMS, 0);
        for (uint32_t j = 0; j < ITEMS; j++) memcpy(gradient_seed(g, j), seed, m * sizeof *seed);
        gradient_backward(g, ITEMS);
        double length = 0;
        memcpy(slope, gradient_slope(g, i), n * sizeof *slope);
        for (size_t k = 0; k < n; k++) length += (double)slope[k] * (double)slope[k];
        for (int t = 0; t < DIRECTIONS; t++) {
            double along = 0, best = INFINITY;
            for (size_t k = 0; k < n; k++) {
                d[k] = fixture_random(&state, 2) ? 1.0f : -1.0f;
                along += (double)d[k] * (double)slope[k];
            }
            for (float h = 8e-3f; h > 2e-5f; h /= 4) {
                const double here = loss(g, i, seed);
                const double right = (loss_beside(g, i, x + i * n, d, h, seed) - here) / (double)h,
                             left = (here - loss_beside(g, i, x + i * n, d, -h, seed)) / (double)h;
                const double middle = (left + right) / 2, half = fabs(right - left) / 2;
                best = fmin(best, fmax(fabs(middle - along) - 0.9 * half, 0.02 * half));
            }
            result = fmax(result, best / (sqrt(length) + 1e-9));
        }
    }
    free(x);
    free(d);
    free(slope);
    free(seed);
    return result;
}

/* In both layouts; frees the graph. */
static void check_between(struct graph *g, float low, float high) {
    for (int blocked = 0; blocked < 2; blocked++) {
        struct compiled c = fixture_compile_keep(g, blocked);
        struct gradient *gr = made(c.img, ITEMS);
        const double off = worst(gr, low, high);
        if (!(off < 3e-3)) fprintf(stderr, "\nblocked %d: off by %g\n", blocked, off);
        CU_ASSERT(off < 3e-3);
        gradient_free(gr);
        fixture_discard(&c);
    }
    graph_free(g);
}

static void check(struct graph *g) {
    check_between(g, -1, 1);
}

/* A linear convolution in front, so that slopes have to go through something, then `op`. */
static void check_behind_conv(enum op op, const union op_params *p, int64_t channels) {
    struct graph *g = fixture_graph();
    int32_t x =
        fixture_conv(g, fixture_input(g, SHAPE(1, 3, 7, 9)), channels, fixture_window(3, 1, 1, 1), true);
    fixture_output(g, fixture_node(g, op, p, 1, &x));
    check(g);
}

/* --- convolutions --------------------------------------------------------------------------- */

static void check_conv(int64_t in, int64_t filters, union op_params w) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_input(g, SHAPE(1, in, 9, 11));
    if (in > 8) x = fixture_conv(g, x, in, fixture_window(1, 1, 0, 1), false); /* so that it lies in blocks */
    fixture_output(g, fixture_conv(g, x, filters, w, true));
    check(g);
}

static void test_convolutions(void) {
    for (int32_t stride = 1; stride <= 2; stride++)
        for (int64_t in = 3; in <= 20; in += 17) {
            check_conv(in, 18, fixture_window(3, stride, 1, 1));
            check_conv(in, 5, fixture_window(1, stride, 0, 1));
            check_conv(in, 16, fixture_window(5, stride, 2, 1));
        }
    check_conv(32, 32, fixture_window(3, 1, 1, 2));
    check_conv(32, 32, fixture_window(3, 2, 1, 2));
    check_conv(12, 24, fixture_window(3, 2, 1, 4));
    check_conv(20, 20, fixture_window(3, 1, 1, 20));
    check_conv(20, 20, fixture_window(5, 2, 2, 20));
    check_conv(3, 4, fixture_window(3, 3, 0, 1));
    union op_params w = fixture_window(3, 1, 2, 1);
    w.window.dilation[1] = w.window.dilation[2] = 2;
    check_conv(17, 16, w);
    w = fixture_window(3, 2, 1, 1);
    w.window.pad_begin[1] = w.window.pad_end[2] = 0;
    w.window.kernel[1] = 1;
    check_conv(16, 16, w);
}

/* --- the rest, one by one --------------------------------------------------------------------- */

static void test_pools(void) {
    for (int64_t c = 5; c <= 20; c += 15)
        for (int pad = 0; pad < 2; pad++) {
            union op_params w = fixture_window(3, 2, pad, 1);
            check_behind_conv(OP_MAX_POOL, &w, c);
            check_behind_conv(OP_AVERAGE_POOL, &w, c);
            w.window.count_include_pad = 1;
            w.window.ceil_mode = 1;
            check_behind_conv(OP_AVERAGE_POOL, &w, c);
            w.window.count_include_pad = 0;
            check_behind_conv(OP_MAX_POOL, &w, c);
        }
    check_behind_conv(OP_GLOBAL_AVERAGE_POOL, NULL, 20);
}

static void test_functions(void) {
    static const enum op ops[] = {OP_RELU, OP_ABS,       OP_NEG,  OP_EXP,  OP_SIGMOID,  OP_TANH,    OP_ERF,
                                  OP_GELU, OP_GELU_TANH, OP_SILU, OP_MISH, OP_SOFTPLUS, OP_SOFTSIGN};
    for (size_t i = 0; i < COUNT_OF(ops); i++) check_behind_conv(ops[i], NULL, 18);
    const union op_params hard = {.function = {.alpha = 1.0f / 6, .beta = 0.5f}},
                          leaky = {.function = {.alpha = 0.1f, .beta = 1.1f}}, clip = {.clip = {-0.5f, 2}};
    check_behind_conv(OP_HARD_SIGMOID, &hard, 4);
    check_behind_conv(OP_HARD_SWISH, &hard, 4);
    check_behind_conv(OP_LEAKY_RELU, &leaky, 4);
    check_behind_conv(OP_ELU, &leaky, 4);
    check_behind_conv(OP_SELU, &leaky, 4);
    check_behind_conv(OP_CELU, &leaky, 4);
    check_behind_conv(OP_CLIP, &clip, 18);
    static const enum op positive[] = {OP_SQRT, OP_LOG, OP_RECIPROCAL};
    for (size_t i = 0; i < COUNT_OF(positive); i++) {
        struct graph *g = fixture_graph();
        int32_t x = fixture_input(g, SHAPE(1, 2, 3, 3));
        fixture_output(g, fixture_node(g, positive[i], NULL, 1, &x));
        check_between(g, 1, 2);
    }
}

/* A squeeze-and-excitation gate and what else may stand beside a tensor. */
static void test_pairs(void) {
    static const enum op ops[] = {OP_ADD, OP_SUB, OP_MUL, OP_MIN, OP_MAX, OP_PRELU};
    for (size_t i = 0; i < COUNT_OF(ops); i++)
        for (int gate = 0; gate < 3; gate++) {
            struct graph *g = fixture_graph();
            int32_t x =
                fixture_conv(g, fixture_input(g, SHAPE(1, 3, 6, 6)), 20, fixture_window(3, 1, 1, 1), true);
            int32_t y = gate == 2 ? fixture_constant(g, SHAPE(20, 1, 1), NULL)
                                  : fixture_conv(g, x, 20, fixture_window(1, 1, 0, 1), true);
            if (gate == 1) y = fixture_node(g, OP_GLOBAL_AVERAGE_POOL, NULL, 1, &y);
            fixture_output(g, fixture_node(g, ops[i], NULL, 2, (int32_t[]){x, y}));
            check(g);
        }
    struct graph *g = fixture_graph();
    int32_t x = fixture_input(g, SHAPE(1, 3, 4, 4)), y = fixture_node(g, OP_GLOBAL_AVERAGE_POOL, NULL, 1, &x);
    fixture_output(g, fixture_node(g, OP_DIV, NULL, 2, (int32_t[]){x, y}));
    check_between(g, 1, 2);
}

static void test_norms_and_softmax(void) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_relu(g, fixture_batch_norm(g, fixture_input(g, SHAPE(1, 20, 5, 5))));
    x = fixture_batch_norm(
        g, fixture_relu(g, fixture_batch_norm(g, fixture_conv(g, x, 20, fixture_window(3, 1, 1, 1), true))));
    fixture_output(g, x);
    check(g);
    for (int flatten = 0; flatten < 2; flatten++) {
        const union op_params p = {.axis = {.axis = 1, .flatten = flatten}};
        check_behind_conv(OP_SOFTMAX, &p, 6);
    }
    g = fixture_graph();
    x = fixture_input(g, SHAPE(1, 4, 10));
    const int32_t in[3] = {x, fixture_constant(g, SHAPE(10), NULL), fixture_constant(g, SHAPE(10), NULL)};
    fixture_output(g, fixture_node(g, OP_LAYER_NORM, &(union op_params){.norm = {2, 1e-5f}}, 3, in));
    check(g);
}

static void test_moves(void) {
    union op_params p = {.pad = {.value = -3, .begin = {0, 0, 1, 2}, .end = {0, 1, 0, 1}}};
    check_behind_conv(OP_PAD, &p, 4);
    p.pad.mode = PAD_REFLECT;
    p.pad.end[1] = 0;
    check_behind_conv(OP_PAD, &p, 4);
    p.pad.mode = PAD_EDGE;
    check_behind_conv(OP_PAD, &p, 4);
    p = (union op_params){.transpose = {{0, 2, 3, 1}}};
    check_behind_conv(OP_TRANSPOSE, &p, 4);
    p = (union op_params){.slice = {.start = {0, 3, 6, 0}, .step = {1, -1, -2, 3}, .count = {1, 3, 3, 3}}};
    check_behind_conv(OP_SLICE, &p, 4);
    p = (union op_params){.reduce = {.axes = 0xc, .keep = 1}};
    check_behind_conv(OP_REDUCE_MEAN, &p, 18);
    p.reduce = (struct op_reduce){.axes = 0x2};
    check_behind_conv(OP_REDUCE_SUM, &p, 4);
    struct graph *g = fixture_graph();
    int32_t x = fixture_conv(g, fixture_input(g, SHAPE(1, 3, 5, 5)), 16, fixture_window(3, 1, 1, 1), true);
    const int32_t y = fixture_relu(g, x), z = fixture_conv(g, y, 20, fixture_window(1, 1, 0, 1), true);
    fixture_output(g, fixture_concat(g, 1, 4, (int32_t[]){x, y, z, x}));
    check(g);
}

static void test_matrices(void) {
    for (int32_t trans_b = 0; trans_b < 2; trans_b++) {
        struct graph *g = fixture_graph();
        int32_t x = fixture_reshape(g, fixture_input(g, SHAPE(1, 3, 4, 4)), SHAPE(1, 48));
        x = fixture_gemm(g, x, 7, (struct op_gemm){0.5f, 1, 0, trans_b});
        fixture_output(g, fixture_gemm(g, fixture_reshape(g, x, SHAPE(7, 1)), 5,
                                       (struct op_gemm){1, 1, 1 - trans_b, 0}));
        if (trans_b == 0) { /* [7,1] transposed is a row again */
            check(g);
            continue;
        }
        check(g);
    }
    struct graph *g = fixture_graph();
    const int32_t in[2] = {fixture_input(g, SHAPE(2, 3, 4)), fixture_constant(g, SHAPE(4, 6), NULL)};
    fixture_output(g, fixture_node(g, OP_MATMUL, NULL, 2, in));
    check(g);
}

static void test_networks(void) {
    check(fixture_resnet());
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct graph *g = fixture_random_graph(seed, 14);
        g->n_outputs = 1;
        check(g);
    }
}

/* --- PyTorch's ---------------------------------------------------------------------------------- */

struct bytes {
    uint8_t *at;
    size_t n;
};

static struct bytes golden(const char *folder, const char *name, const char *ending) {
    char path[512];
    struct bytes b = {0};
    (void)snprintf(path, sizeof path, "%s/gradient_%s.%s", folder, name, ending);
    FILE *f = fopen(path, "rb");
    if (!f) fprintf(stderr, "\n%s is not there; tests run in the repository's top folder\n", path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL_FATAL(fseek(f, 0, SEEK_END), 0);
    b.n = (size_t)ftell(f);
    rewind(f);
    b.at = malloc(b.n);
    CU_ASSERT_FATAL(b.at && fread(b.at, 1, b.n, f) == b.n);
    (void)fclose(f);
    return b;
}

static double worst_against(struct gradient *g, const float *rows) {
    const int64_t n = gradient_input_floats(g), m = gradient_output_floats(g), row = 2 * n + m;
    double off = 0, largest = 0;
    for (uint32_t i = 0; i < ITEMS; i++)
        memcpy(gradient_input(g, i), rows + i * row, (size_t)n * sizeof *rows);
    gradient_forward(g, ITEMS, 0);
    for (uint32_t i = 0; i < ITEMS; i++)
        memcpy(gradient_seed(g, i), rows + i * row + n, (size_t)m * sizeof *rows);
    gradient_backward(g, ITEMS);
    for (uint32_t i = 0; i < ITEMS; i++)
        for (int64_t k = 0; k < n; k++) {
            const double want = (double)rows[i * row + n + m + k], is = (double)gradient_slope(g, i)[k];
            off = fmax(off, isnan(is) ? INFINITY : fabs(is - want));
            largest = fmax(largest, fabs(want));
        }
    return off / largest;
}

/* How far slopes may be off. Where a network has edges, some units of a million lie so near to theirs that
 * rounding decides, and PyTorch's own float32 is off from its float64 by up to 4e-2 (and by 1e-6 once it is
 * told each unit's side): there a rule that is wrong shows, and the smooth twin of the network shows the
 * rest. */
static double allowed(const char *folder, const char *name) {
    char path[512];
    float off = 0;
    struct npy a;
    struct err e;
    (void)snprintf(path, sizeof path, "%s/gradient_%s.off.npy", folder, name);
    if (access(path, R_OK) < 0) return 1e-3;
    struct bytes b = golden(folder, name, "off.npy");
    CU_ASSERT_FATAL(npy_parse(b.at, b.n, &a, &e) == 0 && a.elements == 1);
    npy_to_f32(&a, &off);
    free(b.at);
    fprintf(stderr, "(PyTorch %g) ", (double)off);
    return fmax(5e-2, EDGES * (double)off);
}

static void check_golden(const char *folder, const char *name) {
    const double most = allowed(folder, name);
    struct bytes model = golden(folder, name, "onnx"), numbers = golden(folder, name, "npy");
    struct err e = {0};
    struct onnx_model *m = NULL;
    struct graph *graph = NULL;
    struct npy rows;
    CU_ASSERT_EQUAL_FATAL(npy_parse(numbers.at, numbers.n, &rows, &e), 0);
    float *floats = malloc((size_t)rows.elements * sizeof *floats);
    CU_ASSERT_PTR_NOT_NULL_FATAL(floats);
    npy_to_f32(&rows, floats);
    CU_ASSERT_EQUAL_FATAL(import_onnx(model.at, model.n, NULL, &m, &graph, &e), 0);
    for (int blocked = 0; blocked < 2; blocked++) {
        struct compiled c = fixture_compile_keep(graph, blocked);
        struct gradient *g = made(c.img, ITEMS);
        CU_ASSERT_EQUAL_FATAL(rows.elements,
                              ITEMS * (2 * gradient_input_floats(g) + gradient_output_floats(g)));
        const double off = worst_against(g, floats);
        if (getenv("CLPD_GRADIENTS")) fprintf(stderr, "%g\n", off);
        if (!(off < most)) fprintf(stderr, "\n%s, blocked %d: off by %g\n", name, blocked, off);
        CU_ASSERT(off < most);
        gradient_free(g);
        fixture_discard(&c);
    }
    graph_free(graph);
    onnx_model_free(m);
    free(floats);
    free(model.at);
    free(numbers.at);
}

static void test_golden(void) {
    check_golden("tests/golden", "residual");
    check_golden("tests/golden", "mobile");
    check_golden("tests/golden", "dense");
}

/* `make gradients`: one of each of torchvision's families, in the folder that CLPD_GRADIENTS names. */
static void test_zoo(void) {
    const char *folder = getenv("CLPD_GRADIENTS");
    DIR *dir = folder ? opendir(folder) : NULL;
    CU_ASSERT_FATAL(!folder || dir);
    for (const struct dirent *d; dir && (d = readdir(dir));) {
        char name[256];
        if (sscanf(d->d_name, "gradient_%255[^.].onnx", name) != 1 || !strstr(d->d_name, ".onnx")) continue;
        fprintf(stderr, "%s ", name);
        check_golden(folder, name);
    }
    if (dir) (void)closedir(dir);
}

/* --- channels ------------------------------------------------------------------------------------ */

/* A silent channel puts out zero, running on from its step is running anew, and all can be undone. */
static void test_silence(void) {
    struct graph *graph = fixture_resnet();
    struct compiled c = fixture_compile_keep(graph, true);
    struct gradient *g = made(c.img, ITEMS);
    uint32_t step = image_header(c.img)->n_steps;
    while (gradient_channels(g, --step) != 8) continue; /* the last convolution */
    uint64_t state = 5;
    float before[5], after[5];
    for (int64_t k = 0; k < gradient_input_floats(g); k++)
        gradient_input(g, 0)[k] = fixture_float(&state, 0, 1);
    gradient_forward(g, 1, 0);
    memcpy(before, gradient_output(g, 0), sizeof before);
    gradient_silence(g, step, 3, true);
    CU_ASSERT(gradient_is_silent(g, step, 3));
    gradient_forward(g, 1, step);
    memcpy(after, gradient_output(g, 0), sizeof after);
    CU_ASSERT(memcmp(before, after, sizeof after) != 0);
    gradient_forward(g, 1, 0);
    CU_ASSERT_EQUAL(memcmp(gradient_output(g, 0), after, sizeof after), 0);
    gradient_seed(g, 0)[0] = 1;
    float activity[8], effect[8];
    gradient_backward(g, 1);
    gradient_activity(g, step, 0, activity, effect);
    CU_ASSERT_EQUAL(activity[3], 0);
    CU_ASSERT_EQUAL(effect[3], 0);
    gradient_silence(g, step, 3, false);
    gradient_forward(g, 1, 0);
    CU_ASSERT_EQUAL(memcmp(gradient_output(g, 0), before, sizeof before), 0);
    gradient_free(g);
    fixture_discard(&c);
    graph_free(graph);
}

static void test_refusals(void) {
    struct err e = {0};
    struct gradient *g;
    struct graph *graph = fixture_resnet();
    struct compiled c = fixture_compile_here(graph);
    CU_ASSERT(gradient_new(c.img, 1, &g, &e) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "serving"));
    fixture_discard(&c);
    graph_free(graph);
    graph = fixture_graph();
    int32_t x = fixture_input(graph, SHAPE(1, 4));
    fixture_output(graph, fixture_node(graph, OP_FLOOR, NULL, 1, &x));
    c = fixture_compile_keep(graph, false);
    CU_ASSERT(gradient_new(c.img, 1, &g, &e) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "Floor"));
    fixture_discard(&c);
    graph_free(graph);
}

SUITE(gradient, {"convolutions of every kind", test_convolutions}, {"pools", test_pools},
      {"functions of each element", test_functions}, {"pairs, gates and broadcasts", test_pairs},
      {"normalisations and Softmax", test_norms_and_softmax}, {"moves and sums", test_moves},
      {"matrices", test_matrices}, {"whole networks", test_networks}, {"PyTorch's slopes", test_golden},
      {"and with torchvision's, where they are", test_zoo},
      {"a channel can be silenced and given back", test_silence},
      {"refuses what has no slope, and images for serving", test_refusals});
