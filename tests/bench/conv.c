/* Times every algorithm on the 3x3 convolutions of real networks, beside what the cost model says of them:
 * where the model chooses another one than the clock, the difference is its regret.
 *
 * bench-conv [--record] prints a table, or the rows that tests/test_conv_cost.c holds the model against.
 * Weights come from memory, as in a network, where all the others have been read since. */
#include "infer/algorithm.h"
#include "infer/conv_cost.h"
#include "infer/kernels.h"
#include "infer/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLD_BYTES  ((size_t)96 << 20) /* of copies of the weights, read in turn */
#define MOST_COPIES 256
#define LEAST_RUNS  5
#define LEAST_NS    15e6

static const struct layer {
    int64_t channels, side, filters;
} layers[] = {
    {64, 56, 64},    {128, 28, 128}, {256, 14, 256}, {512, 7, 512},  {64, 224, 64},  {64, 112, 128},
    {128, 112, 128}, {128, 56, 256}, {256, 56, 256}, {256, 28, 512}, {512, 28, 512}, {512, 14, 512},
    {16, 55, 64},    {32, 27, 128},  {48, 13, 192},  {64, 13, 256},  {128, 56, 32},  {128, 28, 32},
    {128, 14, 32},   {128, 7, 32},   {16, 32, 16},   {32, 16, 32},   {64, 8, 64},    {128, 4, 128},
};
static const uint32_t algorithms[] = {ALG_CONV_DIRECT, ALG_CONV_WINOGRAD_2, ALG_CONV_WINOGRAD_4};
enum { ALGORITHMS = 3 };

static double now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static float *floats(size_t n) {
    float *x = aligned_alloc(64, (n * sizeof *x + 63) / 64 * 64);
    if (!x) {
        (void)fprintf(stderr, "bench-conv: out of memory\n");
        exit(2);
    }
    for (size_t i = 0; i < n; i++) x[i] = (float)(i * 7 % 13) * 0.01f;
    return x;
}

/* Nanoseconds, the least: where other work is on the machine, a middle one is of both. */
static double time_of(uint32_t algorithm, struct image_step *s, const struct shape in[2],
                      const struct shape *out) {
    const size_t bytes = algorithm_weight_bytes(algorithm, OP_CONV, &s->params, &in[1]);
    const size_t copies = COLD_BYTES / bytes < MOST_COPIES ? COLD_BYTES / bytes + 1 : MOST_COPIES;
    struct image_tensor x = {.shape = in[0], .layout = LAYOUT_BLOCKED}, w = {.shape = in[1]},
                        y = {.shape = *out, .layout = LAYOUT_BLOCKED};
    float *weights = floats(copies * bytes / sizeof(float)),
          *scratch = floats(
              algorithm_scratch_bytes(algorithm, OP_CONV, &s->params, in, 2, out) / sizeof(float) + 16);
    struct view views[2] = {{.t = &x, .base = floats(layout_bytes(LAYOUT_BLOCKED, &in[0]) / sizeof(float))},
                            {.t = &w, .base = weights}};
    s->algorithm = algorithm;
    struct kernel_call call = {
        .step = s,
        .n_items = 1,
        .n_inputs = 2,
        .in = views,
        .out = {.t = &y, .base = floats(layout_bytes(LAYOUT_BLOCKED, out) / sizeof(float))},
        .scratch = scratch};
    double least = 1e300;
    size_t n = 0;
    for (double began = now_ns(); (n < LEAST_RUNS || now_ns() - began < LEAST_NS); n++) {
        views[1].base = weights + n % copies * (bytes / sizeof(float));
        const double start = now_ns();
        kernel_find(OP_CONV, algorithm)(&call);
        const double ns = now_ns() - start;
        if (ns < least) least = ns;
    }
    free(weights);
    free(scratch);
    free(views[0].base);
    free(call.out.base);
    return least;
}

struct total {
    double chosen, best;
};

static void show(const struct layer *l, const double ns[ALGORITHMS], const double cost[ALGORITHMS],
                 struct total *t) {
    int chosen = 0, best = 0;
    for (int a = 1; a < ALGORITHMS; a++) {
        if (cost[a] < cost[chosen]) chosen = a;
        if (ns[a] < ns[best]) best = a;
    }
    (void)printf("%4lld x %3lld^2 -> %4lld ", (long long)l->channels, (long long)l->side,
                 (long long)l->filters);
    for (int a = 0; a < ALGORITHMS; a++) (void)printf("%10.1f us %10.0f", ns[a] / 1e3, cost[a]);
    (void)printf("   %-12s %5.1f %%\n", algorithm_name(algorithms[chosen]),
                 100 * (ns[chosen] / ns[best] - 1));
    t->chosen += ns[chosen];
    t->best += ns[best];
}

int main(int argc, char **argv) {
    const bool record = argc > 1 && strcmp(argv[1], "--record") == 0;
    struct total total = {0, 0};
    if (!record)
        (void)printf("%-20s  direct: measured, model; the same of winograd 2x2 and 4x4   choice, regret\n",
                     "3x3");
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        const struct layer *l = &layers[i];
        struct image_step s = {.op = OP_CONV, .n_inputs = 2};
        s.params.window = (struct op_window){.spatial = 2,
                                             .groups = 1,
                                             .kernel = {1, 3, 3},
                                             .stride = {1, 1, 1},
                                             .dilation = {1, 1, 1},
                                             .pad_begin = {0, 1, 1},
                                             .pad_end = {0, 1, 1}};
        const struct shape in[2] = {{.rank = 4, .dim = {1, l->channels, l->side, l->side}},
                                    {.rank = 4, .dim = {l->filters, l->channels, 3, 3}}},
                           out = {.rank = 4, .dim = {1, l->filters, l->side, l->side}};
        struct conv c;
        double ns[ALGORITHMS], cost[ALGORITHMS];
        conv_describe(&s.params.window, &in[0], &out, &c);
        for (int a = 0; a < ALGORITHMS; a++) {
            ns[a] = time_of(algorithms[a], &s, in, &out);
            cost[a] = conv_cost(conv_rates_of(conv_host()), algorithms[a], &c);
        }
        if (record)
            (void)printf("{%lld, %lld, %lld, {%.1f, %.1f, %.1f}},\n", (long long)l->channels,
                         (long long)l->side, (long long)l->filters, ns[0] / 1e3, ns[1] / 1e3, ns[2] / 1e3);
        else
            show(l, ns, cost, &total);
    }
    if (!record)
        (void)printf("the choices take %.2f times what the best ones would\n", total.chosen / total.best);
    return 0;
}
