/* Transpose, Slice, Expand, Pad, Gather against plain index arithmetic, exactly. */
#include "tests/kernel_case.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static uint64_t seed = 7;

static int32_t below(int64_t n) {
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (int32_t)((seed >> 33) % (uint64_t)n);
}

static struct shape random_shape(void) {
    static const int64_t lengths[] = {1, 2, 3, 5, 16, 17, 33};
    struct shape s = {.rank = 1 + below(5)};
    for (int32_t i = 0; i < s.rank; i++) s.dim[i] = lengths[below(s.rank > 3 ? 4 : 7)];
    return s;
}

static void unravel(const struct shape *s, int64_t k, int64_t *index) {
    for (int32_t d = s->rank - 1; d >= 0; d--) {
        index[d] = k % s->dim[d];
        k /= s->dim[d];
    }
}

static int64_t ravel(const struct shape *s, const int64_t *index) {
    int64_t at = 0;
    for (int32_t d = 0; d < s->rank; d++) at = at * s->dim[d] + index[d];
    return at;
}

/* Where element `out` of the result comes from; false: it is the value that padding has. */
typedef bool (*source_fn)(const struct kernel_case *f, const int64_t *out, int64_t *in);

static void compare(struct kernel_case *f, source_fn source) {
    const struct shape *so = &f->out.t->shape, *si = &f->in[0].t->shape;
    const int64_t n = shape_elements(so);
    float *got = case_run(f, ALG_DEFAULT);
    CU_ASSERT_FATAL(got != NULL);
    for (int64_t k = 0; k < n * f->n_items; k++) {
        int64_t out[SHAPE_MAX_RANK] = {0}, in[SHAPE_MAX_RANK] = {0};
        unravel(so, k % n, out);
        const bool inside = source(f, out, in);
        const float want =
            inside ? case_input(f, 0, (uint32_t)(k / n))[ravel(si, in)] : f->step.params.pad.value;
        CU_ASSERT(memcmp(&want, &got[k], sizeof want) == 0);
    }
    free(got);
}

static bool transposed(const struct kernel_case *f, const int64_t *out, int64_t *in) {
    for (int32_t i = 0; i < f->out.t->shape.rank; i++) in[f->step.params.transpose.perm[i]] = out[i];
    return true;
}

static void test_transpose(void) {
    for (int round = 0; round < 300; round++) {
        struct kernel_case *f = case_new(OP_TRANSPOSE, 2);
        const struct shape s = random_shape();
        int32_t *perm = f->step.params.transpose.perm;
        for (int32_t i = 0; i < s.rank; i++) perm[i] = i;
        for (int32_t i = s.rank - 1; i > 0; i--) {
            const int32_t j = below(i + 1), x = perm[i];
            perm[i] = perm[j];
            perm[j] = x;
        }
        case_add_caller(f, s);
        CU_ASSERT_FATAL(case_finish(f, false));
        compare(f, transposed);
        case_free(f);
    }
}

static bool sliced(const struct kernel_case *f, const int64_t *out, int64_t *in) {
    const struct op_slice *p = &f->step.params.slice;
    for (int32_t i = 0; i < f->out.t->shape.rank; i++) in[i] = p->start[i] + out[i] * p->step[i];
    return true;
}

static void test_slice(void) {
    for (int round = 0; round < 300; round++) {
        struct kernel_case *f = case_new(OP_SLICE, 2);
        const struct shape s = random_shape();
        struct op_slice *p = &f->step.params.slice;
        for (int32_t i = 0; i < s.rank; i++) {
            p->start[i] = below(s.dim[i]);
            p->step[i] = below(7) - 3;
            if (p->step[i] == 0) p->step[i] = 1;
            const int64_t room = p->step[i] > 0 ? s.dim[i] - 1 - p->start[i] : p->start[i];
            p->count[i] = 1 + below(room / abs(p->step[i]) + 1);
        }
        case_add(f, s);
        CU_ASSERT_FATAL(case_finish(f, false));
        compare(f, sliced);
        case_free(f);
    }
}

static bool expanded(const struct kernel_case *f, const int64_t *out, int64_t *in) {
    const struct shape *s = &f->in[0].t->shape;
    const int32_t more = f->out.t->shape.rank - s->rank;
    for (int32_t i = 0; i < s->rank; i++) in[i] = s->dim[i] == 1 ? 0 : out[i + more];
    return true;
}

static void test_expand(void) {
    for (int round = 0; round < 200; round++) {
        struct kernel_case *f = case_new(OP_EXPAND, 2);
        const struct shape to = random_shape();
        struct shape s = {.rank = below(to.rank + 1)};
        for (int32_t i = 0; i < s.rank; i++) s.dim[i] = below(2) ? 1 : to.dim[i + to.rank - s.rank];
        f->step.params.reshape.target = to;
        case_add(f, s);
        CU_ASSERT_FATAL(case_finish(f, false));
        compare(f, expanded);
        case_free(f);
    }
}

static bool padded(const struct kernel_case *f, const int64_t *out, int64_t *in) {
    const struct op_pad *p = &f->step.params.pad;
    for (int32_t i = 0; i < f->out.t->shape.rank; i++) {
        const int64_t n = f->in[0].t->shape.dim[i], x = out[i] - p->begin[i];
        if (p->mode == PAD_CONSTANT && (x < 0 || x >= n)) return false;
        in[i] = p->mode == PAD_EDGE      ? (x < 0    ? 0
                                            : x >= n ? n - 1
                                                     : x)
                : p->mode == PAD_REFLECT ? (x < 0    ? -x
                                            : x >= n ? 2 * n - 2 - x
                                                     : x)
                                         : (x + n) % n;
    }
    return true;
}

static void test_pad(void) {
    for (int round = 0; round < 300; round++) {
        struct kernel_case *f = case_new(OP_PAD, 2);
        const struct shape s = random_shape();
        struct op_pad *p = &f->step.params.pad;
        p->mode = below(PAD_MODES);
        p->value = 2.5f;
        for (int32_t i = 0; i < s.rank; i++) {
            const int64_t most = p->mode == PAD_REFLECT ? s.dim[i] - 1 : p->mode == PAD_WRAP ? s.dim[i] : 4;
            p->begin[i] = below(most + 1);
            p->end[i] = below(most + 1);
        }
        case_add(f, s);
        CU_ASSERT_FATAL(case_finish(f, false));
        compare(f, padded);
        case_free(f);
    }
}

/* Indices that are none (only a hostile image has such) lead to the ends. */
static void test_gather(void) {
    struct kernel_case *f = case_new(OP_GATHER, 2);
    f->step.params.axis.axis = 1;
    case_add(f, SHAPE(2, 5, 3));
    case_add_constant(f, SHAPE(2, 4));
    CU_ASSERT_FATAL(case_finish(f, false));
    const float indices[] = {0, 4, 2, 2, -7, 1e30f, __builtin_nanf(""), 3};
    const int64_t want[] = {0, 4, 2, 2, 0, 4, 0, 3};
    memcpy(case_input(f, 1, 0), indices, sizeof indices);
    CU_ASSERT(shape_equal(&f->out.t->shape, &SHAPE(2, 2, 4, 3)));
    float *got = case_run(f, ALG_DEFAULT);
    for (int64_t k = 0; k < 96; k++) {
        const int64_t outer = k % 48 / 24, i = k % 24 / 3, x = k % 3;
        CU_ASSERT_EQUAL(got[k], case_input(f, 0, (uint32_t)(k / 48))[outer * 15 + want[i] * 3 + x]);
    }
    free(got);
    case_free(f);
}

static bool refuses(enum op op, union op_params p) {
    const struct shape in[2] = {SHAPE(2, 3), SHAPE(4)};
    struct shape out;
    return op_check(op, &p, in, op == OP_GATHER ? 2 : 1, &out, NULL) != 0;
}

/* What a hostile image may try. */
static void test_rules(void) {
    CU_ASSERT(refuses(OP_TRANSPOSE, (union op_params){.transpose = {{0, 0}}}));
    CU_ASSERT(refuses(OP_TRANSPOSE, (union op_params){.transpose = {{0, 2}}}));
    CU_ASSERT(refuses(OP_TRANSPOSE, (union op_params){.transpose = {{1, -1}}}));
    CU_ASSERT(refuses(OP_TRANSPOSE, (union op_params){.transpose = {{1, 0, 1}}}));
    CU_ASSERT(!refuses(OP_TRANSPOSE, (union op_params){.transpose = {{1, 0}}}));
    CU_ASSERT(refuses(OP_SLICE, (union op_params){.slice = {{0, 0}, {1, 1}, {2, 4}}}));
    CU_ASSERT(refuses(OP_SLICE, (union op_params){.slice = {{0, 1}, {1, INT32_MAX}, {2, 2}}}));
    CU_ASSERT(refuses(OP_SLICE, (union op_params){.slice = {{0, 0}, {1, -1}, {2, 2}}}));
    CU_ASSERT(refuses(OP_SLICE, (union op_params){.slice = {{0, -1}, {1, 1}, {2, 2}}}));
    CU_ASSERT(refuses(OP_SLICE, (union op_params){.slice = {{0, 0}, {1, 1}, {2, 0}}}));
    CU_ASSERT(refuses(OP_SLICE, (union op_params){.slice = {{0, 0}, {1, 1, 1}, {2, 3}}}));
    CU_ASSERT(!refuses(OP_SLICE, (union op_params){.slice = {{1, 2}, {1, -1}, {1, 3}}}));
    CU_ASSERT(refuses(OP_EXPAND, (union op_params){.reshape = {SHAPE(2, 4)}}));
    CU_ASSERT(refuses(OP_EXPAND, (union op_params){.reshape = {SHAPE(3)}}));
    CU_ASSERT(refuses(OP_PAD, (union op_params){.pad = {.mode = PAD_MODES}}));
    CU_ASSERT(refuses(OP_PAD, (union op_params){.pad = {.begin = {-1}}}));
    CU_ASSERT(refuses(OP_PAD, (union op_params){.pad = {.begin = {INT32_MAX}}}));
    CU_ASSERT(refuses(OP_PAD, (union op_params){.pad = {.end = {0, 0, 1}}}));
    CU_ASSERT(refuses(OP_PAD, (union op_params){.pad = {.mode = PAD_REFLECT, .end = {0, 3}}}));
    CU_ASSERT(refuses(OP_PAD, (union op_params){.pad = {.mode = PAD_WRAP, .end = {0, 4}}}));
    CU_ASSERT(refuses(OP_GATHER, (union op_params){.axis = {.axis = 2}}));
    CU_ASSERT(refuses(OP_GATHER, (union op_params){.axis = {.axis = -1}}));
}

SUITE(kernels_move, {"Transpose", test_transpose}, {"Slice", test_slice}, {"Expand", test_expand},
      {"Pad", test_pad}, {"Gather", test_gather}, {"bad parameters", test_rules});
