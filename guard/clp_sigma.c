/* Largest singular values of many small matrices, without an SVD library: the
 * top eigenvalue of the smaller Gram matrix (9 x 9 for a 3 x 3 kernel), by
 * Householder tridiagonalisation and Laguerre's method from above, several
 * channels side by side in the lanes of a vector.
 *
 * Laguerre on the characteristic polynomial, started right of every root of a
 * polynomial with only real roots, falls monotonically onto the largest one, in
 * a handful of steps where Newton takes a dozen; no gap between eigenvalues is
 * needed, as power iteration would. */
#include "guard/clp_sigma.h"
#include "infer/simd_levels.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TAPS             9 /* of a 3 x 3 kernel */
#define MOST_LANES       8
#define PICK(m, yes, no) ((DOUBLES)(((m) & (MASK)(yes)) | (~(m) & (MASK)(no))))

#define LEVEL(name) name##_128
#define LEVEL_TARGET
#define LEVEL_BYTES 16
#include "guard/clp_sigma_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES

#if defined(__x86_64__)
#define LEVEL(name)  name##_256
#define LEVEL_TARGET SIMD_TARGET_256
#define LEVEL_BYTES  32
#include "guard/clp_sigma_body.h"
#undef LEVEL
#undef LEVEL_TARGET
#undef LEVEL_BYTES

#define LEVEL(name)  name##_512
#define LEVEL_TARGET SIMD_TARGET_512
#define LEVEL_BYTES  64
#include "guard/clp_sigma_body.h"
#endif

int clp_sigma_max(const float *w, int channels, int rows, int cols, double *sigma) {
    const size_t m = (size_t)(rows < cols ? rows : cols);
    double *memory = aligned_alloc(64, (m * m + 3 * m + (m * m + MOST_LANES - 1) / MOST_LANES) * MOST_LANES *
                                           sizeof *memory);
    if (!memory) return -ENOMEM;
    void (*sigma_of_all)(const float *, int, int, int, void *, double *) = sigma_of_all_128;
#if defined(__x86_64__)
    const enum simd_level level = simd_level();
    if (level == SIMD_256) sigma_of_all = sigma_of_all_256;
    if (level == SIMD_512) sigma_of_all = sigma_of_all_512;
#endif
    sigma_of_all(w, channels, rows, cols, memory, sigma);
    free(memory);
    return 0;
}
