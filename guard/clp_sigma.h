/* Largest singular values: the numerical heart of CLP. Pure, any thread. */
#ifndef GUARD_CLP_SIGMA_H
#define GUARD_CLP_SIGMA_H

/* sigma[k] = sigma_max of w[k], for w: [channels, rows, cols] row-major and
 * finite. Products of a 3 x 3 kernel are summed in float32 (error below 1e-5
 * relative), everything else in double. 0 or -ENOMEM. */
int clp_sigma_max(const float *w, int channels, int rows, int cols, double *sigma);

#endif
