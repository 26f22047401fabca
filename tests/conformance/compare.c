/* Holds results against the expected ones, by the rule of ONNX's own runner (numpy's assert_allclose). */
#include "tests/conformance/conformance.h"

#include <math.h>

double tensor_number(const struct tensor *t, int64_t i) {
    return t->f ? (double)t->f[i] : (double)t->i[i];
}

/* By how many times the tolerance they differ; up to 1 is the same. */
static double difference(double got, double want, double rtol, double atol) {
    if (isnan(got) || isnan(want)) return isnan(got) && isnan(want) ? 0 : (double)INFINITY;
    if (isinf(got) || isinf(want)) return got == want ? 0 : (double)INFINITY;
    return fabs(got - want) / (atol + rtol * fabs(want));
}

int64_t find_difference(const float *got, const struct tensor *want, double rtol, double atol) {
    double worst = 1;
    int64_t at = -1;
    for (int64_t i = 0; i < want->count; i++) {
        const double d = difference((double)got[i], tensor_number(want, i), rtol, atol);
        if (d <= worst) continue;
        worst = d;
        at = i;
    }
    return at;
}
