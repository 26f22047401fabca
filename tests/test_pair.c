/* infer/pair: every operator and every way to broadcast, against plain loops. */
#include "infer/pair.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>

static float operate(enum op op, float a, float b) {
    switch ((int)op) {
    case OP_ADD: return a + b;
    case OP_MUL: return a * b;
    case OP_SUB: return a - b;
    case OP_DIV: return a / b;
    case OP_POW: return powf(a, b);
    case OP_MIN: return fminf(a, b);
    case OP_MAX: return fmaxf(a, b);
    case OP_PRELU: return a < 0 ? a * b : a;
    case OP_FMOD: return fmodf(a, b);
    case OP_EQUAL: return a == b;
    case OP_LESS: return a < b;
    case OP_GREATER: return a > b;
    case OP_LESS_OR_EQUAL: return a <= b;
    default: return a >= b;
    }
}

/* Element of `s` that broadcasting pairs with element `i` of `out`. */
static int64_t paired(const struct shape *s, const struct shape *out, int64_t i) {
    int64_t at = 0, step = 1;
    for (int32_t d = 0; d < s->rank; d++) {
        const int64_t n = out->dim[out->rank - 1 - d], mine = s->dim[s->rank - 1 - d];
        at += mine == 1 ? 0 : i % n * step;
        i /= n;
        step *= mine;
    }
    return at;
}

static float *numbers(const struct shape *s, uint64_t *seed) {
    float *f = malloc((size_t)shape_elements(s) * sizeof *f);
    CU_ASSERT_FATAL(f != NULL);
    for (int64_t i = 0; i < shape_elements(s); i++)
        f[i] = (float)(int)fixture_random(seed, 9) / 2 - 2; /* ties */
    return f;
}

static const struct shape shapes[][3] = {
    {{.rank = 4, .dim = {1, 3, 5, 7}}, {.rank = 4, .dim = {1, 3, 5, 7}}, {.rank = 1, .dim = {7}}},
    {{.rank = 4, .dim = {1, 3, 5, 7}}, {.rank = 3, .dim = {3, 1, 1}}, {.rank = 0}},
    {{.rank = 3, .dim = {3, 1, 1}}, {.rank = 4, .dim = {1, 3, 5, 37}}, {.rank = 2, .dim = {5, 1}}},
    {{.rank = 0}, {.rank = 2, .dim = {17, 19}}, {.rank = 2, .dim = {17, 1}}},
    {{.rank = 2, .dim = {17, 1}}, {.rank = 2, .dim = {1, 19}}, {.rank = 0}},
    {{.rank = 8, .dim = {2, 1, 3, 1, 2, 1, 3, 1}},
     {.rank = 8, .dim = {1, 2, 1, 3, 1, 2, 1, 3}},
     {.rank = 1, .dim = {1}}},
    {{.rank = 0}, {.rank = 0}, {.rank = 0}},
};

static void test_pairs(void) {
    uint64_t seed = 1;
    for (size_t k = 0; k < COUNT_OF(shapes); k++) {
        const struct shape *sa = &shapes[k][0], *sb = &shapes[k][1];
        struct shape so;
        CU_ASSERT_FATAL(shape_broadcast(sa, sb, &so));
        float *a = numbers(sa, &seed), *b = numbers(sb, &seed), *out = numbers(&so, &seed);
        static const enum op more[] = {OP_ADD, OP_MUL};
        for (int o = OP_PAIR_FIRST; o <= OP_PAIR_LAST + 2; o++) {
            const enum op op = o <= OP_PAIR_LAST ? (enum op)o : more[o - OP_PAIR_LAST - 1];
            pair_run(op, sa, a, sb, b, &so, out);
            for (int64_t i = 0; i < shape_elements(&so); i++) {
                const float want = operate(op, a[paired(sa, &so, i)], b[paired(sb, &so, i)]);
                CU_ASSERT(out[i] == want || (isnan(out[i]) && isnan(want)));
            }
        }
        free(a);
        free(b);
        free(out);
    }
}

static void test_where(void) {
    uint64_t seed = 2;
    for (size_t k = 0; k < COUNT_OF(shapes); k++) {
        const struct shape *const s[3] = {&shapes[k][0], &shapes[k][1], &shapes[k][2]};
        struct shape both, so;
        if (!shape_broadcast(s[0], s[1], &both) || !shape_broadcast(&both, s[2], &so)) continue;
        float *c = numbers(s[0], &seed), *x = numbers(s[1], &seed), *y = numbers(s[2], &seed),
              *out = numbers(&so, &seed);
        pair_where(s, c, x, y, &so, out);
        for (int64_t i = 0; i < shape_elements(&so); i++)
            CU_ASSERT_EQUAL(out[i],
                            c[paired(s[0], &so, i)] != 0 ? x[paired(s[1], &so, i)] : y[paired(s[2], &so, i)]);
        free(c);
        free(x);
        free(y);
        free(out);
    }
}

static void test_nan(void) {
    const struct shape s = {.rank = 1, .dim = {2}};
    const float a[] = {NAN, 1}, b[] = {1, NAN};
    float out[2];
    static const enum op ops[] = {OP_MIN, OP_MAX, OP_SUB, OP_PRELU};
    for (size_t k = 0; k < 3; k++) {
        pair_run(ops[k], &s, a, &s, b, &s, out);
        CU_ASSERT(isnan(out[0]) && isnan(out[1]));
    }
    pair_run(OP_PRELU, &s, a, &s, b, &s, out);
    CU_ASSERT(isnan(out[0]) && out[1] == 1);
}

SUITE(pair, {"every operator, every way to broadcast", test_pairs}, {"choices", test_where},
      {"NaN stays NaN", test_nan});
