/* Top-k against sorting everything; probabilities where exp overflows. */
#include "infer/topk.h"

#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>

static int by_score(const void *a, const void *b) {
    const struct topk *x = a, *y = b;
    if (isnan(x->score) != isnan(y->score)) return isnan(x->score) ? 1 : -1;
    if (x->score < y->score) return 1;
    if (x->score > y->score) return -1;
    return x->index < y->index ? -1 : 1;
}

static void compare(uint32_t n, uint32_t k, unsigned values, unsigned seed) {
    float *scores = malloc(((size_t)n + 1) * sizeof *scores);
    struct topk *best = malloc(((size_t)k + 1) * sizeof *best), *all = malloc(((size_t)n + 1) * sizeof *all);
    CU_ASSERT_FATAL(scores && best && all);
    for (uint32_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        scores[i] = (seed >> 8) % 97 == 0 ? NAN : (float)((seed >> 16) % values) - (float)(values / 2);
        all[i] = (struct topk){i, scores[i]};
    }
    qsort(all, n, sizeof *all, by_score);
    const uint32_t got = topk_select(scores, n, k, best);
    CU_ASSERT_EQUAL(got, k < n ? k : n);
    for (uint32_t i = 0; i < got; i++) CU_ASSERT_EQUAL(best[i].index, all[i].index);
    free(scores);
    free(best);
    free(all);
}

static void test_select(void) {
    static const uint32_t sizes[] = {0, 1, 2, 3, 10, 100, 1000}, ks[] = {0, 1, 2, 5, 99, 1000, 5000};
    for (unsigned i = 0; i < 7; i++)
        for (unsigned j = 0; j < 7; j++) {
            compare(sizes[i], ks[j], 1, i); /* all equal: by index */
            compare(sizes[i], ks[j], 5, i + j);
            compare(sizes[i], ks[j], 30000, i * j);
        }
}

static void test_softmax(void) {
    const float scores[5] = {1, 3, -2, 3, 0.5f};
    struct topk best[3];
    double p[3], sum = 0;
    for (int i = 0; i < 5; i++) sum += exp((double)scores[i]);
    CU_ASSERT_EQUAL(topk_select(scores, 5, 3, best), 3);
    topk_softmax(scores, 5, best, 3, p);
    CU_ASSERT(best[0].index == 1 && best[1].index == 3 && best[2].index == 0);
    for (int i = 0; i < 3; i++) CU_ASSERT_DOUBLE_EQUAL(p[i], exp((double)best[i].score) / sum, 1e-12);
}

static void check(const float *scores, uint32_t n, double first) {
    struct topk best[1];
    double p[1];
    CU_ASSERT_EQUAL(topk_select(scores, n, 1, best), 1);
    topk_softmax(scores, n, best, 1, p);
    CU_ASSERT(isnan(first) ? isnan(p[0]) : fabs(p[0] - first) < 1e-12);
}

static void test_extremes(void) {
    check((float[]){3e38f, 3e38f, -3e38f}, 3, 0.5);
    check((float[]){INFINITY, 1, INFINITY, INFINITY}, 4, 1.0 / 3);
    check((float[]){-INFINITY, -INFINITY}, 2, 0.5);
    check((float[]){-INFINITY, 0}, 2, 1);
    check((float[]){NAN, 0}, 2, (double)NAN);
    check((float[]){INFINITY, NAN}, 2, (double)NAN);
    check((float[]){7}, 1, 1);
}

SUITE(topk, {"equals a full sort, ties by index, NaN last", test_select}, {"probabilities", test_softmax},
      {"probabilities of huge, infinite and missing scores", test_extremes});
