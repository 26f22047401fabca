/* Products of a few vectors with a matrix of constants, as classifiers end with:
 *
 *   out[v][r] += alpha * sum over k: w[r][k] * x[v][k]      w: [rows, depth]
 *
 * There is nothing to compute but to read the matrix once, so it is read as fast as
 * memory gives it: four rows at a time, two kilobytes ahead (from memory twice as fast
 * as without; and BLAS, for more than one vector, copies it first). Any thread. */
#ifndef INFER_KERNELS_VECTORS_H
#define INFER_KERNELS_VECTORS_H

#include "infer/team.h"

#include <stdbool.h>
#include <stdint.h>

struct vectors_product {
    const float *w, *x;
    float *out;
    int64_t rows, depth;
    int64_t vectors, x_step, out_step; /* how many; floats from one to the next */
    float alpha;
};

/* Whether they are few enough for reading the matrix to be what counts; else BLAS does better. */
bool vectors_are_few(int64_t vectors);
/* Rows are shared out; each is computed as it would be without a seat, and each vector as it would be alone.
 */
void vectors_multiply(struct team_seat *seat, const struct vectors_product *p);

#endif
