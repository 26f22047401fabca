/* The cost model against the clock: over the 3x3 layers of real networks, what it chooses takes little longer
 * than the best; more work never costs less. */
#include "infer/conv_cost.h"
#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <math.h>

enum { ALGORITHMS = 3 };
static const uint32_t algorithms[ALGORITHMS] = {ALG_CONV_DIRECT, ALG_CONV_WINOGRAD_2, ALG_CONV_WINOGRAD_4};

struct times {
    int64_t channels, side, filters;
    double us[ALGORITHMS];
};

/* bench-conv on an Intel Xeon (Sapphire Rapids, 2 CPUs of a virtual machine), the least of two runs. */
static const struct times sapphire_rapids[] = {
    {64, 56, 64, {1478.0, 1255.1, 718.5}},
    {128, 28, 128, {1387.2, 911.0, 716.0}},
    {256, 14, 256, {1422.3, 1283.3, 1181.4}},
    {512, 7, 512, {1655.6, 1693.8, 2727.6}},
    {64, 224, 64, {30016.5, 16723.7, 12259.3}},
    {64, 112, 128, {12638.0, 6980.3, 7420.0}},
    {128, 112, 128, {26454.2, 15930.1, 11391.3}},
    {128, 56, 256, {11117.9, 7334.0, 3912.4}},
    {256, 56, 256, {22309.4, 15533.4, 7652.0}},
    {256, 28, 512, {11027.7, 6046.6, 3834.7}},
    {512, 28, 512, {25103.1, 16302.6, 10048.1}},
    {512, 14, 512, {7856.1, 3311.5, 3742.9}},
    {16, 55, 64, {339.5, 279.6, 211.6}},
    {32, 27, 128, {313.9, 319.6, 211.0}},
    {48, 13, 192, {164.9, 121.6, 138.8}},
    {64, 13, 256, {293.9, 203.0, 245.3}},
    {128, 56, 32, {1463.9, 877.9, 583.1}},
    {128, 28, 32, {357.6, 227.2, 145.5}},
    {128, 14, 32, {87.3, 55.6, 76.8}},
    {128, 7, 32, {24.2, 33.1, 43.5}},
    {16, 32, 16, {31.4, 32.6, 20.4}},
    {32, 16, 32, {28.8, 21.8, 23.0}},
    {64, 8, 64, {29.4, 24.9, 49.4}},
    {128, 4, 128, {62.4, 81.6, 154.3}},
};

static struct conv layer(int64_t channels, int64_t side, int64_t filters) {
    const union op_params p = fixture_window(3, 1, 1, 1);
    const struct shape in[2] = {SHAPE(1, channels, side, side), SHAPE(filters, channels, 3, 3)};
    struct shape out;
    struct conv c;
    CU_ASSERT_EQUAL_FATAL(op_check(OP_CONV, &p, in, 2, &out, NULL), 0);
    conv_describe(&p.window, &in[0], &out, &c);
    return c;
}

/* The choices' time, as a multiple of the best ones': over all layers, and of one layer in the mean. */
static void choices_are_near_the_best(void) {
    const struct conv_rates *r = conv_rates_of(CONV_HOST_SAPPHIRE_RAPIDS);
    const size_t n = sizeof sapphire_rapids / sizeof *sapphire_rapids;
    double taken = 0, best = 0, logs = 0;
    for (size_t i = 0; i < n; i++) {
        const struct times *t = &sapphire_rapids[i];
        const struct conv c = layer(t->channels, t->side, t->filters);
        int chosen = 0, fastest = 0;
        for (int a = 1; a < ALGORITHMS; a++) {
            if (conv_cost(r, algorithms[a], &c) < conv_cost(r, algorithms[chosen], &c)) chosen = a;
            if (t->us[a] < t->us[fastest]) fastest = a;
        }
        taken += t->us[chosen];
        best += t->us[fastest];
        logs += log(t->us[chosen] / t->us[fastest]);
    }
    CU_ASSERT(taken <= 1.02 * best);
    CU_ASSERT(exp(logs / (double)n) <= 1.02);
}

static void costs_grow(void) {
    for (int host = 0; host < CONV_HOSTS; host++)
        for (int a = 0; a < ALGORITHMS; a++) {
            double before = 0;
            for (int64_t channels = 16; channels < 600; channels += 16) {
                const struct conv c = layer(channels, 14, channels);
                const double cost = conv_cost(conv_rates_of((enum conv_host)host), algorithms[a], &c);
                CU_ASSERT(cost > before && isfinite(cost));
                before = cost;
            }
        }
}

static void this_host_is_one_of_them(void) {
    CU_ASSERT(conv_host() < CONV_HOSTS && conv_rates_of(conv_host())->floats > 0);
}

SUITE(conv_cost, {"choices are near the best", choices_are_near_the_best},
      {"costs grow with work", costs_grow}, {"this host is one of them", this_host_is_one_of_them});
