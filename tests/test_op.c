/* Operators without windows and matrices: what they demand, and the shapes they give. */
#include "infer/op.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <math.h>
#include <string.h>

#define ABSENT ((struct shape){.rank = -1})

/* The output's shape, or rank -1 where op_check refuses; which must come with a message. */
static struct shape check(enum op op, union op_params p, int n, const struct shape *in) {
    struct err e = {0};
    struct shape out = ABSENT;
    const int rc = op_check(op, &p, in, n, &out, &e);
    CU_ASSERT_EQUAL(rc != 0, e.code != ERR_NONE);
    CU_ASSERT_EQUAL(rc != 0, strlen(e.text) > 0);
    if (rc) CU_ASSERT_EQUAL(out.rank, -1); /* untouched */
    CU_ASSERT_EQUAL(op_check(op, &p, in, n, &out, NULL), rc);
    return out;
}
#define CHECK(op, p, ...)                                                                                    \
    check(op, p, (int)(sizeof((struct shape[]){__VA_ARGS__}) / sizeof(struct shape)),                        \
          (struct shape[]){__VA_ARGS__})
#define GIVES(expected, op, p, ...)                                                                          \
    CU_ASSERT_TRUE(shape_equal(&CHECK_RESULT(op, p, __VA_ARGS__), &(expected)))
#define CHECK_RESULT(op, p, ...) ((struct shape[1]){CHECK(op, p, __VA_ARGS__)})[0]
#define REFUSES(op, p, ...)      CU_ASSERT_EQUAL(CHECK(op, p, __VA_ARGS__).rank, -1)

static const union op_params none;

static void every_operator_has_a_name_and_counts_its_inputs(void) {
    struct shape in[OP_MAX_INPUTS + 1];
    for (int i = 0; i <= OP_MAX_INPUTS; i++) in[i] = SHAPE(1, 2);
    for (int op = 0; op < OP_COUNT; op++) {
        CU_ASSERT(strlen(op_name((enum op)op)) > 2);
        CU_ASSERT(op_params_bytes((enum op)op) <= sizeof(union op_params));
        CU_ASSERT_EQUAL(check((enum op)op, none, 0, in).rank, -1);
        CU_ASSERT_EQUAL(check((enum op)op, none, -1, in).rank, -1);
        CU_ASSERT_EQUAL(check((enum op)op, none, OP_MAX_INPUTS + 1, in).rank, -1);
        REFUSES((enum op)op, none, ABSENT); /* the first input is never optional */
    }
    CU_ASSERT_EQUAL(check((enum op)OP_COUNT, none, 1, in).rank, -1);
    CU_ASSERT_EQUAL(check((enum op) - 1, none, 1, in).rank, -1);
    CU_ASSERT_STRING_EQUAL(op_name((enum op) - 1), "unknown operator");
    CU_ASSERT_STRING_EQUAL(op_name(OP_BATCH_NORM), "BatchNormalization");
}

static void inputs_must_be_valid_shapes(void) {
    const struct shape bad[] = {SHAPE(1, 0), SHAPE(1, -5), SHAPE(1, 1LL << 31), SHAPE(65536, 65536),
                                {.rank = 9}, {.rank = -2}, {.rank = INT32_MIN}, {.rank = 1, .dim = {3, 3}}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        REFUSES(OP_RELU, none, bad[i]);
        REFUSES(OP_ADD, none, SHAPE(1), bad[i]);
    }
    REFUSES(OP_ADD, none, SHAPE(1), ABSENT);
    REFUSES(OP_ADD, none, SHAPE(65536, 1), SHAPE(1, 65536)); /* both fine, the sum is not */
}

static void elementwise(void) {
    GIVES(SHAPE(2, 3), OP_RELU, none, SHAPE(2, 3));
    GIVES(SHAPE(2, 3), OP_IDENTITY, none, SHAPE(2, 3));
    GIVES(SHAPE(1, 5, 4, 4), OP_ADD, none, SHAPE(1, 5, 1, 1), SHAPE(4, 4));
    GIVES(SHAPE(2), OP_MUL, none, ((struct shape){0}), SHAPE(2));
    REFUSES(OP_ADD, none, SHAPE(2, 3), SHAPE(2));
    const union op_params relu6 = {.clip = {0, 6}}, wide = {.clip = {-INFINITY, INFINITY}},
                          swapped = {.clip = {1, 0}}, nan = {.clip = {NAN, 1}}, nan_too = {.clip = {0, NAN}};
    GIVES(SHAPE(7), OP_CLIP, relu6, SHAPE(7));
    GIVES(SHAPE(7), OP_CLIP, wide, SHAPE(7));
    REFUSES(OP_CLIP, swapped, SHAPE(7));
    REFUSES(OP_CLIP, nan, SHAPE(7));
    REFUSES(OP_CLIP, nan_too, SHAPE(7));
}

static void normalisations(void) {
    const union op_params p = {.batch_norm = {1e-5f}}, negative = {.batch_norm = {-1}},
                          nan = {.batch_norm = {NAN}};
    const struct shape x = SHAPE(1, 3, 4, 4), c = SHAPE(3);
    GIVES(x, OP_BATCH_NORM, p, x, c, c, c, c);
    GIVES(x, OP_BATCH_NORM, p, x, c, c);
    REFUSES(OP_BATCH_NORM, p, x, c, c, c);
    REFUSES(OP_BATCH_NORM, p, x, c, c, c, SHAPE(4));
    REFUSES(OP_BATCH_NORM, p, x, c, c, c, SHAPE(1, 3));
    REFUSES(OP_BATCH_NORM, p, x, c, c, c, ABSENT);
    REFUSES(OP_BATCH_NORM, p, SHAPE(3), c, c, c, c);
    REFUSES(OP_BATCH_NORM, negative, x, c, c, c, c);
    REFUSES(OP_BATCH_NORM, nan, x, c, c, c, c);

    const union op_params last = {.norm = {2, 1e-5f}}, outside = {.norm = {3, 1e-5f}},
                          wrapped = {.norm = {-1, 1e-5f}};
    GIVES(SHAPE(1, 5, 8), OP_LAYER_NORM, last, SHAPE(1, 5, 8), SHAPE(8), SHAPE(8));
    GIVES(SHAPE(1, 5, 8), OP_LAYER_NORM, last, SHAPE(1, 5, 8), SHAPE(8), ABSENT);
    GIVES(SHAPE(1, 5, 8), OP_LAYER_NORM, last, SHAPE(1, 5, 8), SHAPE(8));
    REFUSES(OP_LAYER_NORM, last, SHAPE(1, 5, 8), SHAPE(5));
    REFUSES(OP_LAYER_NORM, last, SHAPE(1, 5, 8), SHAPE(8), SHAPE(1));
    REFUSES(OP_LAYER_NORM, outside, SHAPE(1, 5, 8), SHAPE(8));
    REFUSES(OP_LAYER_NORM, wrapped, SHAPE(1, 5, 8), SHAPE(8));
}

static void shapes_and_axes(void) {
    GIVES(SHAPE(1, 8, 1, 1), OP_GLOBAL_AVERAGE_POOL, none, SHAPE(1, 8, 7, 5));
    REFUSES(OP_GLOBAL_AVERAGE_POOL, none, SHAPE(1, 8));

    union op_params to = {.reshape = {SHAPE(2, 12)}};
    GIVES(SHAPE(2, 12), OP_RESHAPE, to, SHAPE(4, 6));
    REFUSES(OP_RESHAPE, to, SHAPE(4, 7));
    to.reshape.target = SHAPE(-2, -12);
    REFUSES(OP_RESHAPE, to, SHAPE(4, 6));
    to.reshape.target = (struct shape){.rank = 12, .dim = {24}};
    REFUSES(OP_RESHAPE, to, SHAPE(4, 6));

    const union op_params one = {.axis = {.axis = 1}}, two = {.axis = {.axis = 2}}, flat = {.axis = {1, 1}},
                          flag = {.axis = {1, 2}}, huge = {.axis = {.axis = INT32_MAX}},
                          minus = {.axis = {.axis = -1}};
    GIVES(SHAPE(1, 9), OP_SOFTMAX, one, SHAPE(1, 9));
    GIVES(SHAPE(1, 9), OP_SOFTMAX, flat, SHAPE(1, 9));
    REFUSES(OP_SOFTMAX, flag, SHAPE(1, 9));
    REFUSES(OP_SOFTMAX, two, SHAPE(1, 9));
    REFUSES(OP_SOFTMAX, huge, SHAPE(1, 9));
    REFUSES(OP_SOFTMAX, minus, SHAPE(1, 9));
    REFUSES(OP_SOFTMAX, none, ((struct shape){0}));

    GIVES(SHAPE(1, 7, 4), OP_CONCAT, one, SHAPE(1, 2, 4), SHAPE(1, 4, 4), SHAPE(1, 1, 4));
    REFUSES(OP_CONCAT, one, SHAPE(1, 2, 4), SHAPE(1, 2, 5));
    REFUSES(OP_CONCAT, one, SHAPE(1, 2, 4), SHAPE(1, 2));
    REFUSES(OP_CONCAT, one, SHAPE(1, 2, 4), ABSENT);
    REFUSES(OP_CONCAT, flat, SHAPE(1, 2, 4));
    REFUSES(OP_CONCAT, none, SHAPE(1LL << 30), SHAPE(1LL << 30), SHAPE(1)); /* 2^31 + 1 */
}

/* Whatever is in a record, op_check answers, and what it gives is a valid shape. */
static void random_records(void) {
    uint64_t seed = 99;
    int accepted = 0;
    for (int round = 0; round < 200000; round++) {
        union op_params p;
        struct shape in[4] = {0}, out;
        const enum op op = (enum op)fixture_random(&seed, OP_COUNT);
        for (size_t i = 0; i < sizeof p; i += 4) {
            const uint32_t kind = fixture_random(&seed, 16);
            const uint32_t v = kind == 0   ? fixture_random(&seed, UINT32_MAX)
                               : kind == 1 ? UINT32_MAX
                                           : fixture_random(&seed, 3);
            memcpy(p.raw + i, &v, 4);
        }
        p.window.spatial = op <= OP_AVERAGE_POOL ? 2 : p.window.spatial;
        const int n = 1 + (int)fixture_random(&seed, 4);
        for (int i = 0; i < n; i++) {
            in[i].rank = fixture_random(&seed, 3) ? 4 : (int32_t)fixture_random(&seed, 11) - 1;
            for (int d = 0; d < in[i].rank && d < SHAPE_MAX_RANK; d++)
                in[i].dim[d] = fixture_random(&seed, 30) ? 1 + fixture_random(&seed, 3)
                                                         : (int64_t)fixture_random(&seed, UINT32_MAX) << 4;
        }
        struct err e = {0};
        if (op_check(op, &p, in, n, &out, &e) == 0) {
            accepted++;
            CU_ASSERT_FATAL(shape_valid(&out));
        } else {
            CU_ASSERT_FATAL(e.text[0] != 0);
        }
    }
    CU_ASSERT(accepted > 1000);
}

SUITE(op,
      {"every operator has a name and counts its inputs", every_operator_has_a_name_and_counts_its_inputs},
      {"inputs must be valid shapes", inputs_must_be_valid_shapes}, {"elementwise", elementwise},
      {"normalisations", normalisations}, {"shapes and axes", shapes_and_axes},
      {"random records", random_records});
