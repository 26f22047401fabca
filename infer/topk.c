/* Selection by a heap whose root is the worst entry kept, then heap sort: k
 * and n are the client's and the model's, so n * k would be theirs to choose. */
#include "infer/topk.h"

#include <math.h>
#include <stdbool.h>

/* Whether `a` belongs behind `b`: a total order, NaN included. */
static bool worse(const struct topk *a, const struct topk *b) {
    const bool nan_a = isnan(a->score), nan_b = isnan(b->score);
    if (nan_a != nan_b) return nan_a;
    if (!nan_a && a->score < b->score) return true;
    if (!nan_a && a->score > b->score) return false;
    return a->index > b->index;
}

/* heap: every entry is worse than its children; `at` may break that. */
static void sink(struct topk *heap, uint32_t n, uint32_t at) {
    for (;;) {
        uint64_t child = 2 * (uint64_t)at + 1;
        if (child >= n) return;
        if (child + 1 < n && worse(&heap[child + 1], &heap[child])) child++;
        if (!worse(&heap[child], &heap[at])) return;
        const struct topk moved = heap[at];
        heap[at] = heap[child];
        heap[child] = moved;
        at = (uint32_t)child;
    }
}

uint32_t topk_select(const float *scores, uint32_t n, uint32_t k, struct topk *best) {
    if (k > n) k = n;
    if (k == 0) return 0;
    for (uint32_t i = 0; i < k; i++) best[i] = (struct topk){i, scores[i]};
    for (uint32_t i = k / 2; i-- > 0;) sink(best, k, i);
    for (uint32_t i = k; i < n; i++) {
        const struct topk next = {i, scores[i]};
        if (!worse(&best[0], &next)) continue;
        best[0] = next;
        sink(best, k, 0);
    }
    for (uint32_t left = k - 1; left > 0; left--) { /* the worst goes to the end */
        const struct topk worst = best[0];
        best[0] = best[left];
        best[left] = worst;
        sink(best, left, 0);
    }
    return k;
}

void topk_softmax(const float *scores, uint32_t n, const struct topk *best, uint32_t k, double *out) {
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        if ((double)scores[i] > max) max = (double)scores[i];
    const bool infinite = isinf(max) && n > 0; /* inf - inf would be NaN: count the largest instead */
    for (uint32_t i = 0; i < n; i++) {
        const double x = (double)scores[i];
        sum += infinite && !isnan(x) ? (x == max ? 1.0 : 0.0) : exp(x - max);
    }
    for (uint32_t i = 0; i < k; i++) {
        const double x = (double)best[i].score;
        out[i] = (infinite && !isnan(x) ? (x == max ? 1.0 : 0.0) : exp(x - max)) / sum;
    }
}
