/* infer/function: each function against libm in double, over its whole range. */
#include "infer/function.h"

#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct op_function params = {.alpha = 0.3f, .beta = 0.45f, .lo = -128, .hi = 127};

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* Spelled out, in double. */
static double truth(enum op op, double x) {
    const double a = (double)params.alpha, b = (double)params.beta;
    switch ((int)op) {
    case OP_ABS: return fabs(x);
    case OP_NEG: return -x;
    case OP_SQRT: return sqrt(x);
    case OP_EXP: return exp(x);
    case OP_LOG: return log(x);
    case OP_RECIPROCAL: return 1 / x;
    case OP_FLOOR: return floor(x);
    case OP_CEIL: return ceil(x);
    case OP_ROUND: return rint(x);
    case OP_SIGN: return (x > 0) - (x < 0);
    case OP_SIGMOID: return sigmoid(x);
    case OP_TANH: return tanh(x);
    case OP_ERF: return erf(x);
    case OP_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case OP_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case OP_SILU: return x * sigmoid(x);
    case OP_MISH: return x * tanh(log1p(exp(x)));
    case OP_SOFTPLUS: return x > 30 ? x : log1p(exp(x));
    case OP_SOFTSIGN: return x / (1 + fabs(x));
    case OP_HARD_SIGMOID: return fmin(fmax(a * x + b, 0), 1);
    case OP_HARD_SWISH: return x * fmin(fmax(a * x + b, 0), 1);
    case OP_LEAKY_RELU: return x < 0 ? a * x : x;
    case OP_ELU: return x > 0 ? x : a * expm1(x);
    case OP_SELU: return b * (x > 0 ? x : a * expm1(x));
    case OP_CELU: return x > 0 ? x : a * expm1(x / a);
    case OP_THRESHOLDED_RELU: return x > a ? x : 0;
    case OP_SHRINK: return x < -a ? x + b : x > a ? x - b : 0;
    case OP_SIN: return sin(x);
    case OP_COS: return cos(x);
    case OP_TAN: return tan(x);
    case OP_ASIN: return asin(x);
    case OP_ACOS: return acos(x);
    case OP_ATAN: return atan(x);
    case OP_SINH: return sinh(x);
    case OP_COSH: return cosh(x);
    case OP_ASINH: return asinh(x);
    case OP_ACOSH: return acosh(x);
    case OP_ATANH: return atanh(x);
    case OP_NOT: return x == 0;
    case OP_IS_NAN: return isnan(x);
    case OP_IS_INF: return isinf(x) != 0;
    case OP_QUANTIZE: return fmin(fmax(rint((double)((float)x / params.alpha)) + b, -128), 127);
    default: return (x - b) * a;
    }
}

/* What is left of a function that is a difference, near where it is 0, is measured by its parts. */
static double scale_of(enum op op, double x, double y) {
    if (op == OP_GELU || op == OP_GELU_TANH || op == OP_DEQUANTIZE || op == OP_SHRINK ||
        op == OP_HARD_SIGMOID || op == OP_HARD_SWISH)
        return fabs(x) + 0.5;
    return fmax(fabs(y), 1e-30);
}

static double worst(enum op op, double from, double to) {
    enum { N = 20011 }; /* no multiple of a strip */
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    double most = 0;
    CU_ASSERT_FATAL(x && y);
    for (int i = 0; i < N; i++) x[i] = (float)(from + (to - from) * i / (N - 1));
    function_run(op, &params, x, y, N);
    for (int i = 0; i < N; i++) {
        const double want = truth(op, (double)x[i]);
        if ((isnan(want) && isnan(y[i])) || (float)want == y[i]) continue;
        const double off = fabs((double)y[i] - want) / scale_of(op, (double)x[i], want);
        if (!(off <= most)) most = off;
    }
    free(x);
    free(y);
    return most;
}

static void test_accuracy(void) {
    for (int op = OP_FUNCTION_FIRST; op <= OP_FUNCTION_LAST; op++) {
        const bool periodic = op == OP_SIN || op == OP_COS || op == OP_TAN;
        const double ranges[][2] = {{-12, 12}, {-0.9, 0.9}, {1e-6, 1e-3}, {0.5, 2}};
        for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
            const double off = worst((enum op)op, ranges[r][0], ranges[r][1]);
            /* a cut-off float argument of a periodic function moves its zeros */
            if (!(off <= (periodic ? 1e-3 : 1.5e-6)))
                fprintf(stderr, "\n%s on %g..%g: off by %g\n", op_name((enum op)op), ranges[r][0],
                        ranges[r][1], off);
            CU_ASSERT(off <= (periodic ? 1e-3 : 1.5e-6));
        }
    }
}

static float one(enum op op, float x) {
    float y;
    function_run(op, &params, &x, &y, 1);
    return y;
}

static void test_extremes(void) {
    static const enum op saturating[] = {OP_SIGMOID, OP_TANH, OP_ERF};
    for (size_t i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(one(saturating[i], 1e30f), 1);
        CU_ASSERT_EQUAL(one(saturating[i], INFINITY), 1);
        CU_ASSERT_EQUAL(one(saturating[i], -INFINITY), i == 0 ? 0 : -1);
    }
    static const enum op activations[] = {OP_SIGMOID,    OP_TANH,   OP_ERF,          OP_GELU,
                                          OP_GELU_TANH,  OP_SILU,   OP_MISH,         OP_SOFTPLUS,
                                          OP_LEAKY_RELU, OP_ELU,    OP_SELU,         OP_CELU,
                                          OP_LOG,        OP_EXP,    OP_HARD_SIGMOID, OP_SQRT,
                                          OP_ROUND,      OP_SHRINK, OP_SOFTSIGN,     OP_THRESHOLDED_RELU};
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        CU_ASSERT(isnan(one(activations[i], NAN)));
    CU_ASSERT_EQUAL(one(OP_LOG, 0), -INFINITY);
    CU_ASSERT(isnan(one(OP_LOG, -1)));
    CU_ASSERT_EQUAL(one(OP_LOG, INFINITY), INFINITY);
    CU_ASSERT_DOUBLE_EQUAL((double)one(OP_LOG, 1e-42f), log((double)1e-42f), 1e-4);
    CU_ASSERT_EQUAL(one(OP_SOFTPLUS, 1e30f), 1e30f);
    CU_ASSERT_EQUAL(one(OP_SOFTPLUS, -1e30f), 0);
    CU_ASSERT_EQUAL(one(OP_MISH, 1e30f), 1e30f);
    CU_ASSERT_EQUAL(one(OP_GELU, -50), 0);
}

/* Halves go to the even neighbour, and what is too large to the end of the range. */
static void test_quantisation(void) {
    const struct op_function bytes = {.alpha = 2, .beta = 10, .lo = 0, .hi = 255};
    const float x[] = {0, 1, 3, 5, -1, -3, -19, -21, -1000, 1000, 489, 491, INFINITY, -INFINITY};
    const float want[] = {10, 10, 12, 12, 10, 8, 0, 0, 0, 255, 254, 255, 255, 0};
    float y[14], z[14];
    function_run(OP_QUANTIZE, &bytes, x, y, 14);
    function_run(OP_DEQUANTIZE, &bytes, y, z, 14);
    for (int i = 0; i < 14; i++) {
        CU_ASSERT_EQUAL(y[i], want[i]);
        CU_ASSERT_EQUAL(z[i], (want[i] - 10) * 2);
    }
}

static void test_in_place(void) {
    float x[37], y[37];
    for (int i = 0; i < 37; i++) x[i] = (float)i / 7 - 2;
    function_run(OP_SILU, &params, x, y, 37);
    function_run(OP_SILU, &params, x, x, 37);
    CU_ASSERT(memcmp(x, y, sizeof x) == 0);
}

SUITE(function, {"each is what libm says in double", test_accuracy},
      {"infinities, NaN, huge numbers", test_extremes},
      {"quantising rounds halves to even and saturates", test_quantisation}, {"in place", test_in_place});
