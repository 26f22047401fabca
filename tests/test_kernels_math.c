/* The exponential against libm's over the whole range. */
#include "infer/kernels_math.h"

#include "tests/suite.h"

#include <math.h>

static void test_exp(void) {
    double worst = 0;
    for (float x = -87.25f; x < 88.25f; x += 0.00390625f * 16) {
        float v[SIMD_LANES];
        for (int j = 0; j < SIMD_LANES; j++) v[j] = x + (float)j * 0.00390625f;
        simd_exp(v);
        for (int j = 0; j < SIMD_LANES; j++) {
            const double exact = exp((double)(x + (float)j * 0.00390625f)),
                         off = fabs((double)v[j] / exact - 1);
            worst = off > worst ? off : worst;
        }
    }
    CU_ASSERT(worst < 2.4e-7); /* two units in the last place */
}

static void test_ends(void) {
    float v[SIMD_LANES] = {0, -0.0f, 1, -88, -INFINITY, 89, INFINITY, NAN, -1e30f, 1e30f, 1e-30f, -87.2f};
    simd_exp(v);
    CU_ASSERT(v[0] == 1 && v[1] == 1 && fabsf(v[2] - 2.7182817f) < 1e-6f);
    CU_ASSERT(v[3] == 0 && v[4] == 0 && v[8] == 0);
    CU_ASSERT(isinf(v[5]) && isinf(v[6]) && isinf(v[9]) && v[9] > 0);
    CU_ASSERT(isnan(v[7]) && v[10] == 1 && v[11] > 0);
}

SUITE(kernels_math, {"exp is within two units in the last place", test_exp},
      {"exp of the ends of the range", test_ends});
