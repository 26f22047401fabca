/* The best classes of a vector of scores, and their probabilities. Pure
 * functions, any thread, no allocation. */
#ifndef INFER_TOPK_H
#define INFER_TOPK_H

#include <stdint.h>

struct topk {
    uint32_t index;
    float score;
};

/* The best min(k, n) of `scores`, best first; equal ones by index, NaN last.
 * `best` has room for that many. Returns how many. */
uint32_t topk_select(const float *scores, uint32_t n, uint32_t k, struct topk *best);

/* Softmax over all `scores`, of the entries in `best` only: out[i] belongs to
 * best[i]. Where scores are infinite, those share it all. NaN where a score is NaN. */
void topk_softmax(const float *scores, uint32_t n, const struct topk *best, uint32_t k, double *out);

#endif
