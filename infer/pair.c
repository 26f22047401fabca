/* Operators on pairs of elements: axes that behave alike are merged, what is left
 * is a few long runs, in which an operand either advances or stands still. */
#include "infer/pair.h"

#include "infer/simd.h"

#include <math.h>
#include <string.h>

#define MOST 3 /* operands */

struct axis {
    int64_t n;
    int64_t step[MOST]; /* of each operand, in elements */
};

struct plan { /* axes[0] is the innermost */
    struct axis axes[SHAPE_MAX_RANK];
    int32_t rank;
};

/* One behind the other: stepping along `outer` is where `inner` ends. */
static bool merges(const struct axis *inner, const struct axis *outer, int operands) {
    for (int k = 0; k < operands; k++)
        if (outer->step[k] != inner->step[k] * inner->n) return false;
    return true;
}

static void plan_axes(const struct shape *const in[], int operands, const struct shape *out, struct plan *p) {
    int64_t size[MOST] = {1, 1, 1};
    p->rank = 0;
    for (int32_t i = 0; i < out->rank; i++) {
        struct axis x = {out->dim[out->rank - 1 - i], {0}};
        for (int k = 0; k < operands; k++) {
            const int64_t n = i < in[k]->rank ? in[k]->dim[in[k]->rank - 1 - i] : 1;
            x.step[k] = n == 1 ? 0 : size[k];
            size[k] *= n;
        }
        if (x.n == 1) continue;
        if (p->rank && merges(&p->axes[p->rank - 1], &x, operands))
            p->axes[p->rank - 1].n *= x.n;
        else
            p->axes[p->rank++] = x;
    }
    if (p->rank == 0) p->axes[p->rank++] = (struct axis){1, {0}};
}

/* --- the operators, over one run ------------------------------------------------------------ */

SIMD_INLINE float minimum(float a, float b) { /* NaN wins */
    return a < b || a != a ? a : b;
}
SIMD_INLINE float maximum(float a, float b) {
    return a > b || a != a ? a : b;
}

#define LOOP(expression)                                                                                     \
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) {                                                           \
        float strip[SIMD_LANES];                                                                             \
        for (int j = 0; j < SIMD_LANES; j++) {                                                               \
            const float u = a[(i + j) * sa], v = b[(i + j) * sb];                                            \
            strip[j] = (expression);                                                                         \
        }                                                                                                    \
        memcpy(out + i, strip, sizeof strip);                                                                \
    }                                                                                                        \
    for (; i < n; i++) {                                                                                     \
        const float u = a[i * sa], v = b[i * sb];                                                            \
        out[i] = (expression);                                                                               \
    }
/* Three loops, so that in each the steps are known: 1 and 1, 1 and 0, 0 and 1 (0 and 0 is one element). */
#define RUN(name, expression)                                                                                \
    SIMD_INLINE void loop_##name(const float *a, int64_t sa, const float *b, int64_t sb, float *out,         \
                                 int64_t n) {                                                                \
        int64_t i = 0;                                                                                       \
        LOOP(expression)                                                                                     \
    }                                                                                                        \
    SIMD_CLONES static void run_##name(const float *a, int64_t sa, const float *b, int64_t sb, float *out,   \
                                       int64_t n) {                                                          \
        if (sa && sb)                                                                                        \
            loop_##name(a, 1, b, 1, out, n);                                                                 \
        else if (sa)                                                                                         \
            loop_##name(a, 1, b, 0, out, n);                                                                 \
        else                                                                                                 \
            loop_##name(a, 0, b, sb, out, n);                                                                \
    }
RUN(add, u + v)
RUN(mul, u *v)
RUN(sub, u - v)
RUN(div, u / v)
RUN(min, minimum(u, v))
RUN(max, maximum(u, v))
RUN(prelu, u < 0 ? u * v : u)
RUN(equal, u == v ? 1.0f : 0.0f)
RUN(less, u < v ? 1.0f : 0.0f)
RUN(greater, u > v ? 1.0f : 0.0f)
RUN(less_or_equal, u <= v ? 1.0f : 0.0f)
RUN(greater_or_equal, u >= v ? 1.0f : 0.0f)

static void run_pow(const float *a, int64_t sa, const float *b, int64_t sb, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = powf(a[i * sa], b[i * sb]);
}
static void run_fmod(const float *a, int64_t sa, const float *b, int64_t sb, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = fmodf(a[i * sa], b[i * sb]);
}

typedef void (*run_fn)(const float *a, int64_t sa, const float *b, int64_t sb, float *out, int64_t n);

static run_fn find_run(enum op op) {
    switch ((int)op) {
    case OP_ADD: return run_add;
    case OP_MUL: return run_mul;
    case OP_SUB: return run_sub;
    case OP_DIV: return run_div;
    case OP_POW: return run_pow;
    case OP_MIN: return run_min;
    case OP_MAX: return run_max;
    case OP_PRELU: return run_prelu;
    case OP_FMOD: return run_fmod;
    case OP_EQUAL: return run_equal;
    case OP_LESS: return run_less;
    case OP_GREATER: return run_greater;
    case OP_LESS_OR_EQUAL: return run_less_or_equal;
    default: return run_greater_or_equal;
    }
}

/* --- all runs ---------------------------------------------------------------------------------- */

/* On to the next run; false: that was the last. */
static bool advance(const struct plan *p, int operands, int64_t *index, int64_t *at) {
    for (int32_t d = 1; d < p->rank; d++) {
        for (int k = 0; k < operands; k++) at[k] += p->axes[d].step[k];
        if (++index[d] < p->axes[d].n) return true;
        for (int k = 0; k < operands; k++) at[k] -= p->axes[d].step[k] * p->axes[d].n;
        index[d] = 0;
    }
    return false;
}

static bool is_empty(const struct shape *s) {
    return shape_elements(s) <= 0;
}

void pair_run(enum op op, const struct shape *sa, const float *a, const struct shape *sb, const float *b,
              const struct shape *sout, float *out) {
    const struct shape *const in[] = {sa, sb};
    const run_fn run = find_run(op);
    struct plan p;
    int64_t index[SHAPE_MAX_RANK] = {0}, at[MOST] = {0};
    if (is_empty(sout)) return;
    plan_axes(in, 2, sout, &p);
    const struct axis *x = &p.axes[0];
    do {
        run(a + at[0], x->step[0], b + at[1], x->step[1], out, x->n);
        out += x->n;
    } while (advance(&p, 2, index, at));
}

void pair_where(const struct shape *const s[3], const float *condition, const float *x, const float *y,
                const struct shape *sout, float *out) {
    struct plan p;
    int64_t index[SHAPE_MAX_RANK] = {0}, at[MOST] = {0};
    if (is_empty(sout)) return;
    plan_axes(s, 3, sout, &p);
    const struct axis *r = &p.axes[0];
    do {
        for (int64_t i = 0; i < r->n; i++)
            out[i] = condition[at[0] + i * r->step[0]] != 0 ? x[at[1] + i * r->step[1]] /* NaN is not 0 */
                                                            : y[at[2] + i * r->step[2]];
        out += r->n;
    } while (advance(&p, 3, index, at));
}
