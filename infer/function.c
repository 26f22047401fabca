/* Elementwise functions, each written for one strip of SIMD_LANES floats and
 * then run over arrays. Those that networks use as activations are polynomials,
 * within about 1e-7 of the truth; the rest go through libm, one by one. */
#include "infer/function.h"

#include "infer/kernels_math.h"

#include <math.h>

typedef const struct op_function params;

#define EACH(expression)                                                                                     \
    for (int j = 0; j < SIMD_LANES; j++) {                                                                   \
        const float v = x[j];                                                                                \
        x[j] = (expression);                                                                                 \
    }
#define STRIP(name) SIMD_INLINE void strip_##name(float x[SIMD_LANES], params *p)
#define UNUSED      (void)p

/* --- arithmetic ------------------------------------------------------------------------ */

STRIP(abs) {
    UNUSED;
    EACH(__builtin_fabsf(v));
}

STRIP(neg) {
    UNUSED;
    EACH(-v);
}

STRIP(sqrt) {
    UNUSED;
    EACH(__builtin_sqrtf(v));
}

STRIP(reciprocal) {
    UNUSED;
    EACH(1 / v);
}

STRIP(floor) {
    UNUSED;
    EACH(__builtin_floorf(v));
}

STRIP(ceil) {
    UNUSED;
    EACH(__builtin_ceilf(v));
}

STRIP(round) {
    UNUSED;
    EACH(__builtin_rintf(v));
} /* halves to even, the mode that programs start in */

STRIP(sign) {
    UNUSED;
    EACH(v > 0 ? 1.0f : v < 0 ? -1.0f : v);
}

STRIP(not ) {
    UNUSED;
    EACH(v == 0 ? 1.0f : 0.0f);
}

STRIP(is_nan) {
    UNUSED;
    EACH(v != v ? 1.0f : 0.0f);
}

STRIP(is_inf) {
    /* alpha: count +infinity, beta: -infinity */
    const float above = p->alpha != 0 ? INFINITY : NAN, below = p->beta != 0 ? -INFINITY : NAN;
    EACH(((v == above) | (v == below)) ? 1.0f : 0.0f);
}

STRIP(quantize) {
    EACH(simd_clip(__builtin_rintf(v / p->alpha) + p->beta, p->lo, p->hi));
}
STRIP(dequantize) {
    EACH((v - p->beta) * p->alpha);
}

/* --- exponentials ---------------------------------------------------------------------- */

STRIP(exp) {
    UNUSED;
    simd_exp(x);
}

STRIP(log) {
    UNUSED;
    simd_log(x);
}

STRIP(sigmoid) {
    UNUSED;
    simd_sigmoid(x);
}

STRIP(silu) {
    float y[SIMD_LANES];
    memcpy(y, x, sizeof y);
    strip_sigmoid(y, p);
    for (int j = 0; j < SIMD_LANES; j++) x[j] = x[j] * y[j]; /* -inf * 0 is NaN, as spelled out */
}

/* tanh(x) = 1 - 2 / (exp(2 |x|) + 1) with the sign of x; near 0, where that loses
 * digits, an odd polynomial (minimax on |x| < 0.625, fitted to 4e-9). */

STRIP(tanh) {
    float y[SIMD_LANES];
    UNUSED;
    for (int j = 0; j < SIMD_LANES; j++) y[j] = 2 * __builtin_fabsf(x[j]);
    simd_exp(y);
    for (int j = 0; j < SIMD_LANES; j++) {
        const float v = x[j], z = v * v, large = 1 - 2 / (y[j] + 1);
        float q = -0.0056599848f;
        q = q * z + 0.0205909842f;
        q = q * z - 0.0537210666f;
        q = q * z + 0.133311275f;
        q = q * z - 0.333332605f;
        q = q * z * v + v;
        x[j] = z < 0.390625f ? q : __builtin_copysignf(large, v);
        x[j] = v != v ? v : x[j];
    }
}

/* Below 1 an odd polynomial (fitted to 2e-9); above, 1 - exp(q(|x|)) where q is
 * fitted to log(erfc), whose error counts less the farther out it is. */

STRIP(erf) {
    float y[SIMD_LANES];
    UNUSED;
    for (int j = 0; j < SIMD_LANES; j++) {
        const float v = simd_clip(__builtin_fabsf(x[j]), 1, 4);
        float q = -2.16868499e-05f;
        q = q * v + 0.000441336377f;
        q = q * v - 0.00420456187f;
        q = q * v + 0.0252082567f;
        q = q * v - 0.108418577f;
        q = q * v - 0.633219893f;
        q = q * v - 1.12957842f;
        y[j] = q * v + 0.000188040226f;
    }
    simd_exp(y);
    for (int j = 0; j < SIMD_LANES; j++) {
        const float v = x[j], z = v * v;
        float q = 7.85385769e-05f;
        q = q * z - 0.000801019252f;
        q = q * z + 0.00518832756f;
        q = q * z - 0.0268538119f;
        q = q * z + 0.112835851f;
        q = q * z - 0.376126258f;
        q = q * z + 1.12837917f;
        x[j] = z < 1 ? q * v : __builtin_copysignf(1 - y[j], v);
        x[j] = v != v ? v : x[j];
    }
}

STRIP(gelu) {
    float y[SIMD_LANES];
    for (int j = 0; j < SIMD_LANES; j++) y[j] = x[j] * 0.707106781f;
    strip_erf(y, p);
    for (int j = 0; j < SIMD_LANES; j++) x[j] = 0.5f * x[j] * (1 + y[j]);
}

STRIP(gelu_tanh) {
    float y[SIMD_LANES];
    for (int j = 0; j < SIMD_LANES; j++) {
        const float v = x[j];
        y[j] = 0.797884561f * (v + 0.044715f * v * v * v);
    }
    strip_tanh(y, p);
    for (int j = 0; j < SIMD_LANES; j++) x[j] = 0.5f * x[j] * (1 + y[j]);
}

/* log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), and log1p(u) = 2 atanh(u / (2 + u)), by its
 * series: u is at most 1, so the argument at most 1/3, and s^17 the first that may be left out. */

STRIP(softplus) {
    float y[SIMD_LANES];
    UNUSED;
    for (int j = 0; j < SIMD_LANES; j++) y[j] = -__builtin_fabsf(x[j]);
    simd_exp(y);
    for (int j = 0; j < SIMD_LANES; j++) {
        const float s = y[j] / (2 + y[j]), z = s * s;
        float q = 1.0f / 15;
        q = q * z + 1.0f / 13;
        q = q * z + 1.0f / 11;
        q = q * z + 1.0f / 9;
        q = q * z + 1.0f / 7;
        q = q * z + 1.0f / 5;
        q = q * z + 1.0f / 3;
        q = 2 * (q * z * s + s);
        x[j] = (x[j] < 0 ? 0 : x[j]) + q;
    }
}

/* x * tanh(softplus(x)); with u = exp(x), tanh(log(1 + u)) = (u^2 + 2u) / (u^2 + 2u + 2). */

STRIP(mish) {
    float y[SIMD_LANES];
    UNUSED;
    for (int j = 0; j < SIMD_LANES; j++) y[j] = x[j] > 20 ? 20 : x[j];
    simd_exp(y);
    EACH(v * (y[j] * (y[j] + 2) / (y[j] * (y[j] + 2) + 2)));
}

/* exp(x) - 1 for x <= 0; near 0 by its Taylor series, where the difference would lose digits. */
SIMD_INLINE void expm1_strip(float x[SIMD_LANES]) {
    float y[SIMD_LANES];
    memcpy(y, x, sizeof y);
    simd_exp(y);
    for (int j = 0; j < SIMD_LANES; j++) {
        const float v = x[j];
        float q = 1.0f / 5040;
        q = q * v + 1.0f / 720;
        q = q * v + 1.0f / 120;
        q = q * v + 1.0f / 24;
        q = q * v + 1.0f / 6;
        q = q * v + 0.5f;
        q = q * v * v + v;
        x[j] = __builtin_fabsf(v) < 0.5f ? q : y[j] - 1;
    }
}

/* positive: x * above; else below * (exp(x * inner) - 1) */
SIMD_INLINE void elu_strip(float x[SIMD_LANES], float above, float below, float inner) {
    float y[SIMD_LANES];
    for (int j = 0; j < SIMD_LANES; j++) y[j] = (x[j] > 0 ? 0 : x[j]) * inner;
    expm1_strip(y);
    EACH(v > 0 ? above * v : below * y[j]);
}

STRIP(elu) {
    elu_strip(x, 1, p->alpha, 1);
}

STRIP(selu) {
    elu_strip(x, p->beta, p->alpha * p->beta, 1);
}

STRIP(celu) {
    elu_strip(x, 1, p->alpha, 1 / p->alpha);
}

/* --- pieces of lines --------------------------------------------------------------------- */

STRIP(softsign) {
    UNUSED;
    EACH(v / (1 + __builtin_fabsf(v)));
}

STRIP(hard_sigmoid) {
    EACH(simd_clip(p->alpha * v + p->beta, 0, 1));
}
STRIP(hard_swish) {
    float y[SIMD_LANES]; /* a loop of its own: gcc would make branches of a product with the bounds */
    for (int j = 0; j < SIMD_LANES; j++) y[j] = simd_clip(p->alpha * x[j] + p->beta, 0, 1);
    EACH(v * y[j]);
}

STRIP(leaky_relu) {
    const float slope = p->alpha; /* read once: what is read in a branch keeps it one */
    EACH(v < 0 ? slope * v : v);
}

STRIP(thresholded_relu) {
    EACH(v > p->alpha || v != v ? v : 0);
}
STRIP(shrink) { /* alpha: lambda, beta: bias */
    const float lambda = p->alpha, bias = p->beta;
    EACH(v < -lambda ? v + bias : v > lambda ? v - bias : v != v ? v : 0);
}

/* --- libm ---------------------------------------------------------------------------------- */

#define LIBM(name, function)                                                                                 \
    static void run_##name(const float *x, float *y, int64_t n, params *p) {                                 \
        (void)p;                                                                                             \
        for (int64_t i = 0; i < n; i++) y[i] = function(x[i]);                                               \
    }
/* clang-format takes these rows for one declaration. */
/* clang-format off */
LIBM(sin, sinf) LIBM(cos, cosf) LIBM(tan, tanf) LIBM(asin, asinf) LIBM(acos, acosf) LIBM(atan, atanf)
LIBM(sinh, sinhf) LIBM(cosh, coshf) LIBM(asinh, asinhf) LIBM(acosh, acoshf) LIBM(atanh, atanhf)
/* clang-format on */

/* --- over arrays ----------------------------------------------------------------------------- */

#define RUN(name)                                                                                            \
    SIMD_CLONES static void run_##name(const float *x, float *y, int64_t n, params *p) {                     \
        float strip[SIMD_LANES];                                                                             \
        int64_t i = 0;                                                                                       \
        for (; i + SIMD_LANES <= n; i += SIMD_LANES) {                                                       \
            SIMD_EACH(j) strip[j] = x[i + j]; /* memcpy's smaller pieces would be waited for */              \
            strip_##name(strip, p);                                                                          \
            SIMD_EACH(j) y[i + j] = strip[j];                                                                \
        }                                                                                                    \
        if (i == n) return;                                                                                  \
        for (int j = 0; j < SIMD_LANES; j++) strip[j] = 1;                                                   \
        memcpy(strip, x + i, (size_t)(n - i) * sizeof *x);                                                   \
        strip_##name(strip, p);                                                                              \
        memcpy(y + i, strip, (size_t)(n - i) * sizeof *y);                                                   \
    }
    /* clang-format off */
RUN(abs) RUN(neg) RUN(sqrt) RUN(exp) RUN(log) RUN(reciprocal) RUN(floor) RUN(ceil) RUN(round) RUN(sign)
RUN(sigmoid) RUN(tanh) RUN(erf) RUN(gelu) RUN(gelu_tanh) RUN(silu) RUN(mish) RUN(softplus) RUN(softsign)
RUN(hard_sigmoid) RUN(hard_swish) RUN(leaky_relu) RUN(elu) RUN(selu) RUN(celu) RUN(thresholded_relu)
RUN(shrink) RUN(not) RUN(is_nan) RUN(is_inf) RUN(quantize) RUN(dequantize)
    /* clang-format on */

    typedef void (*run_fn)(const float *x, float *y, int64_t n, params *p);

static const run_fn table[] = {
#define ROW(op, name) [OP_##op - OP_FUNCTION_FIRST] = run_##name
    ROW(ABS, abs),
    ROW(NEG, neg),
    ROW(SQRT, sqrt),
    ROW(EXP, exp),
    ROW(LOG, log),
    ROW(RECIPROCAL, reciprocal),
    ROW(FLOOR, floor),
    ROW(CEIL, ceil),
    ROW(ROUND, round),
    ROW(SIGN, sign),
    ROW(SIGMOID, sigmoid),
    ROW(TANH, tanh),
    ROW(ERF, erf),
    ROW(GELU, gelu),
    ROW(GELU_TANH, gelu_tanh),
    ROW(SILU, silu),
    ROW(MISH, mish),
    ROW(SOFTPLUS, softplus),
    ROW(SOFTSIGN, softsign),
    ROW(HARD_SIGMOID, hard_sigmoid),
    ROW(HARD_SWISH, hard_swish),
    ROW(LEAKY_RELU, leaky_relu),
    ROW(ELU, elu),
    ROW(SELU, selu),
    ROW(CELU, celu),
    ROW(THRESHOLDED_RELU, thresholded_relu),
    ROW(SHRINK, shrink),
    ROW(SIN, sin),
    ROW(COS, cos),
    ROW(TAN, tan),
    ROW(ASIN, asin),
    ROW(ACOS, acos),
    ROW(ATAN, atan),
    ROW(SINH, sinh),
    ROW(COSH, cosh),
    ROW(ASINH, asinh),
    ROW(ACOSH, acosh),
    ROW(ATANH, atanh),
    ROW(NOT, not ),
    ROW(IS_NAN, is_nan),
    ROW(IS_INF, is_inf),
    ROW(QUANTIZE, quantize),
    ROW(DEQUANTIZE, dequantize),
};
_Static_assert(sizeof table / sizeof *table == OP_FUNCTION_LAST - OP_FUNCTION_FIRST + 1, "a row for each");

void function_run(enum op op, const struct op_function *p, const float *x, float *y, int64_t n) {
    table[op - OP_FUNCTION_FIRST](x, y, n, p);
}
