/* Folding: numbers by hand, and every place where it must not happen. */
#include "infer/plan.h"

#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <math.h>
#include <string.h>

#define NONE (-1)

static const float *input_of(const struct image *img, uint32_t step, uint32_t slot) {
    const struct image_step *s = image_step_at(img, step);
    CU_ASSERT_FATAL(slot < s->n_inputs);
    return image_constant(img, image_tensor_at(img, image_operands(img, s)[slot]));
}

static int32_t batch_norm(struct graph *g, int32_t x, const float *gamma, const float *beta,
                          const float *mean, const float *variance) {
    const struct shape c = SHAPE(g->values[x].shape.dim[1]);
    const int32_t in[] = {x, fixture_constant(g, c, gamma), fixture_constant(g, c, beta),
                          fixture_constant(g, c, mean), fixture_constant(g, c, variance)};
    return fixture_node(g, OP_BATCH_NORM, &(union op_params){.batch_norm = {0}}, 5, in);
}

/* scale = gamma / sqrt(variance) = 3, 0; shift = beta - mean * scale = 10 - 6, 0 */
static int32_t example(struct graph *g, int32_t x) {
    return batch_norm(g, x, (float[]){6, 0}, (float[]){10, 0}, (float[]){2, 7}, (float[]){4, 1});
}

static void convolution_by_hand(void) {
    struct graph *g = fixture_graph();
    union op_params p = fixture_window(1, 1, 0, 1);
    const int32_t x = fixture_input(g, SHAPE(1, 1, 2, 2)),
                  w = fixture_constant(g, SHAPE(2, 1, 1, 1), (float[]){5, 8}),
                  b = fixture_constant(g, SHAPE(2), (float[]){1, 9});
    fixture_output(g, example(g, fixture_node(g, OP_CONV, &p, 3, (int32_t[]){x, w, b})));
    struct compiled c = fixture_compile(g, false);
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 1);
    CU_ASSERT_EQUAL(input_of(c.img, 0, 1)[0], 15);
    CU_ASSERT_EQUAL(input_of(c.img, 0, 2)[0], 7); /* 1 * 3 + 4 */
    CU_ASSERT_EQUAL(input_of(c.img, 0, 1)[1], 0); /* a channel that CLP pruned: exactly 0 */
    CU_ASSERT_EQUAL(input_of(c.img, 0, 2)[1], 0);
    CU_ASSERT_EQUAL(image_header(c.img)->parameters, 4); /* the four of the normalisation are gone */
    fixture_discard(&c);
    graph_free(g);
}

static void a_convolution_without_bias_gets_one(void) {
    struct graph *g = fixture_graph();
    union op_params p = fixture_window(1, 1, 0, 1);
    const int32_t x = fixture_input(g, SHAPE(1, 1, 2, 2)),
                  w = fixture_constant(g, SHAPE(2, 1, 1, 1), (float[]){5, 8});
    fixture_output(g, example(g, fixture_node(g, OP_CONV, &p, 2, (int32_t[]){x, w})));
    struct compiled c = fixture_compile(g, false);
    CU_ASSERT_EQUAL(image_step_at(c.img, 0)->n_inputs, 3);
    CU_ASSERT_EQUAL(input_of(c.img, 0, 2)[0], 4);
    fixture_discard(&c);
    graph_free(g);
}

/* y = 2 A B + 3 C, then * 3 + 4 and * 0 + 0 per column, then + 1 and * 2 */
static void gemm_by_hand(void) {
    for (int32_t trans = 0; trans < 2; trans++) {
        struct graph *g = fixture_graph();
        const int32_t x = fixture_input(g, SHAPE(1, 3));
        const float plain[6] = {1, 2, 3, 4, 5, 6}, transposed[6] = {1, 3, 5, 2, 4, 6};
        const int32_t b = fixture_constant(g, trans ? SHAPE(2, 3) : SHAPE(3, 2), trans ? transposed : plain);
        const int32_t k = fixture_constant(g, SHAPE(1, 2), (float[]){1, 2});
        int32_t y =
            fixture_node(g, OP_GEMM, &(union op_params){.gemm = {2, 3, 0, trans}}, 3, (int32_t[]){x, b, k});
        y = fixture_add(g, example(g, y), fixture_constant(g, SHAPE(1), (float[]){1}));
        fixture_output(g, fixture_mul(g, fixture_constant(g, SHAPE(2), (float[]){2, 2}), y));
        CU_ASSERT(fixture_difference(g) < 1e-6);
        struct compiled c = fixture_compile(g, false);
        CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 1);
        const struct image_step *s = image_step_at(c.img, 0);
        CU_ASSERT_EQUAL(s->params.gemm.alpha, 1);
        CU_ASSERT_EQUAL(s->params.gemm.beta, 1);
        CU_ASSERT_EQUAL(input_of(c.img, 0, 1)[0], 12);             /* 1 * 2 * 3 * 2 */
        CU_ASSERT_EQUAL(input_of(c.img, 0, 1)[trans ? 2 : 4], 60); /* B[2][0] = 5 */
        CU_ASSERT_EQUAL(input_of(c.img, 0, 2)[0], 28);             /* ((1 * 3 * 3 + 4) + 1) * 2 */
        CU_ASSERT_EQUAL(input_of(c.img, 0, 2)[1], 2);
        fixture_discard(&c);
        graph_free(g);
    }
}

static void a_lone_normalisation_becomes_scale_and_shift(void) {
    for (int reference = 0; reference < 2; reference++) {
        struct graph *g = fixture_graph();
        fixture_output(g, example(g, fixture_input(g, SHAPE(1, 2, 3, 3))));
        struct compiled c = fixture_compile(g, reference);
        const struct image_step *s = image_step_at(c.img, 0);
        CU_ASSERT_EQUAL(s->op, OP_BATCH_NORM);
        CU_ASSERT_EQUAL(s->n_inputs, 3);
        CU_ASSERT_EQUAL(s->params.batch_norm.epsilon, 0);
        CU_ASSERT_EQUAL(memcmp(input_of(c.img, 0, 1), ((float[]){3, 0}), 8), 0);
        CU_ASSERT_EQUAL(memcmp(input_of(c.img, 0, 2), ((float[]){4, 0}), 8), 0);
        fixture_discard(&c);
        graph_free(g);
    }
}

/* Folding in double: 1e8 - 1e8 in float would lose the 1. */
static void folding_is_done_in_double(void) {
    struct graph *g = fixture_graph();
    fixture_output(g, batch_norm(g, fixture_input(g, SHAPE(1, 1, 1, 1)), (float[]){1}, (float[]){16777216},
                                 (float[]){16777215}, (float[]){1}));
    struct compiled c = fixture_compile(g, false);
    CU_ASSERT_EQUAL(input_of(c.img, 0, 2)[0], 1);
    fixture_discard(&c);
    graph_free(g);
}

enum obstacle {
    SECOND_USER,
    AN_OUTPUT,
    ACTIVATION_BETWEEN,
    DYNAMIC_WEIGHT,
    DYNAMIC_BIAS,
    SCALE_PER_COLUMN, /* 3 columns, 2 channels */
    SCALE_PER_ROW,    /* 2 rows, 2 channels: as many numbers, along another axis */
    SCALE_PER_ROW_AND_ONES,
    SCALE_WIDENS,
    OBSTACLES
};

static int32_t build_obstacle(struct graph *g, enum obstacle o) {
    union op_params p = fixture_window(1, 1, 0, 1);
    const int32_t x = fixture_input(g, SHAPE(1, 2, 2, 3)),
                  two = o == DYNAMIC_WEIGHT ? fixture_input(g, SHAPE(2, 2, 1, 1)) : NONE;
    const int32_t w = two >= 0 ? two : fixture_constant(g, SHAPE(2, 2, 1, 1), NULL);
    const int32_t b = o == DYNAMIC_BIAS ? fixture_input(g, SHAPE(2)) : fixture_constant(g, SHAPE(2), NULL);
    int32_t y = fixture_node(g, OP_CONV, &p, 3, (int32_t[]){x, w, b});
    if (o == SECOND_USER) fixture_output(g, fixture_relu(g, y));
    if (o == AN_OUTPUT) fixture_output(g, y);
    if (o == ACTIVATION_BETWEEN) y = fixture_relu(g, y);
    if (o == SCALE_PER_COLUMN) return fixture_mul(g, y, fixture_constant(g, SHAPE(3), NULL));
    if (o == SCALE_PER_ROW) return fixture_mul(g, y, fixture_constant(g, SHAPE(2, 1), NULL));
    if (o == SCALE_PER_ROW_AND_ONES) return fixture_mul(g, y, fixture_constant(g, SHAPE(1, 1, 2, 1), NULL));
    if (o == SCALE_WIDENS) return fixture_mul(g, y, fixture_constant(g, SHAPE(2, 2, 1, 1), NULL));
    return fixture_batch_norm(g, y);
}

static void what_stands_in_the_way(void) {
    for (enum obstacle o = 0; o < OBSTACLES; o++) {
        struct graph *g = fixture_graph();
        fixture_output(g, build_obstacle(g, o));
        CU_ASSERT(fixture_difference(g) < 1e-5);
        struct compiled c = fixture_compile(g, false);
        CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_BATCH_NORM) + fixture_count_steps(c.img, OP_MUL), 1);
        fixture_discard(&c);
        graph_free(g);
    }
}

/* C of Gemm may have a number per row, or per element: no number per channel then. */
static void rows_of_gemm_are_not_channels(void) {
    const struct shape biases[] = {SHAPE(2, 1), SHAPE(2, 2), SHAPE(2), SHAPE(1, 2), SHAPE(1), {.rank = 0}};
    for (size_t i = 0; i < COUNT_OF(biases); i++) {
        struct graph *g = fixture_graph();
        const int32_t x = fixture_input(g, SHAPE(2, 3)), b = fixture_constant(g, SHAPE(3, 2), NULL);
        const int32_t k = fixture_constant(g, biases[i], NULL);
        const int32_t y =
            fixture_node(g, OP_GEMM, &(union op_params){.gemm = {1, 0.5f, 0, 0}}, 3, (int32_t[]){x, b, k});
        fixture_output(g, fixture_batch_norm(g, y));
        CU_ASSERT(fixture_difference(g) < 1e-5);
        struct compiled c = fixture_compile(g, false);
        CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_BATCH_NORM), i < 2);
        fixture_discard(&c);
        graph_free(g);
    }
}

/* Two layers that share a weight are scaled each in its own way. */
static void a_shared_weight_is_scaled_per_layer(void) {
    struct graph *g = fixture_graph();
    union op_params p = fixture_window(1, 1, 0, 1);
    const int32_t x = fixture_input(g, SHAPE(1, 2, 3, 3)), w = fixture_constant(g, SHAPE(2, 2, 1, 1), NULL);
    int32_t y = x;
    for (int i = 0; i < 3; i++) y = fixture_batch_norm(g, fixture_node(g, OP_CONV, &p, 2, (int32_t[]){y, w}));
    fixture_output(g, y);
    CU_ASSERT(fixture_difference(g) < 1e-5);
    struct compiled c = fixture_compile(g, false);
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 3);
    CU_ASSERT_PTR_NOT_EQUAL(input_of(c.img, 0, 1), input_of(c.img, 1, 1));
    fixture_discard(&c);
    graph_free(g);
}

static void what_cannot_be_divided_by_is_refused(void) {
    static const float variances[] = {0, -1, 1e-45f};
    for (size_t i = 0; i < COUNT_OF(variances); i++) {
        for (int behind_conv = 0; behind_conv < 2; behind_conv++) {
            struct graph *g = fixture_graph();
            struct err e = {0};
            struct plan *p;
            int32_t x = fixture_input(g, SHAPE(1, 2, 3, 3));
            if (behind_conv) x = fixture_conv(g, x, 2, fixture_window(1, 1, 0, 1), false);
            const float v[] = {1, variances[i]}, big[] = {1, 1e30f}, zero[] = {0, 0};
            fixture_output(g, batch_norm(g, x, big, zero, zero, v));
            CU_ASSERT_EQUAL(plan_make(g, &(struct plan_options){.isa = ISA_GENERIC}, &p, &e), -1);
            CU_ASSERT_EQUAL(e.code, ERR_VALUE);
            CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "channel 1"));
            graph_free(g);
        }
    }
}

static void parameters_from_run_time_are_refused(void) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    struct plan *p;
    const int32_t x = fixture_input(g, SHAPE(1, 2, 3, 3)), k = fixture_constant(g, SHAPE(2), NULL),
                  v = fixture_input(g, SHAPE(2));
    fixture_output(g, fixture_node(g, OP_BATCH_NORM, NULL, 5, (int32_t[]){x, k, k, k, v}));
    CU_ASSERT_EQUAL(plan_make(g, &(struct plan_options){.isa = ISA_GENERIC}, &p, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_UNSUPPORTED);
    graph_free(g);
}

SUITE(plan_fold, {"a convolution by hand", convolution_by_hand},
      {"a convolution without bias gets one", a_convolution_without_bias_gets_one},
      {"Gemm by hand", gemm_by_hand},
      {"a lone normalisation becomes scale and shift", a_lone_normalisation_becomes_scale_and_shift},
      {"folding is done in double", folding_is_done_in_double},
      {"what stands in the way", what_stands_in_the_way},
      {"rows of Gemm are not channels", rows_of_gemm_are_not_channels},
      {"a shared weight is scaled per layer", a_shared_weight_is_scaled_per_layer},
      {"what cannot be divided by is refused", what_cannot_be_divided_by_is_refused},
      {"parameters from run time are refused", parameters_from_run_time_are_refused});
