/* Fusing: which convolution takes a sum, which step takes an activation, and when none may. */
#include "infer/plan.h"

#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <math.h>

static int32_t conv(struct graph *g, int32_t x) {
    return fixture_conv(g, x, 2, fixture_window(3, 1, 1, 1), true);
}

/* Compiles, compares with the reference, and gives the image. */
static struct compiled compile(struct graph *g) {
    CU_ASSERT(fixture_difference(g) < 1e-5);
    return fixture_compile(g, false);
}

static void finish(struct compiled *c, struct graph *g) {
    fixture_discard(c);
    graph_free(g);
}

static void an_identity_is_added_by_the_convolution(void) {
    for (int swapped = 0; swapped < 2; swapped++) {
        struct graph *g = fixture_graph();
        const int32_t x = fixture_input(g, SHAPE(1, 2, 5, 5)), y = conv(g, x);
        fixture_output(g, fixture_relu(g, swapped ? fixture_add(g, x, y) : fixture_add(g, y, x)));
        struct compiled c = compile(g);
        CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 1);
        CU_ASSERT_EQUAL(image_step_at(c.img, 0)->residual, image_header(c.img)->inputs[0]);
        CU_ASSERT_EQUAL(image_step_at(c.img, 0)->activation, ACT_RELU);
        finish(&c, g);
    }
}

static void of_two_convolutions_the_later_takes_the_sum(void) {
    for (int swapped = 0; swapped < 2; swapped++) {
        struct graph *g = fixture_graph();
        const int32_t x = fixture_input(g, SHAPE(1, 2, 5, 5)), a = conv(g, x), b = conv(g, x);
        fixture_output(g, swapped ? fixture_add(g, b, a) : fixture_add(g, a, b));
        struct compiled c = compile(g);
        CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 2);
        CU_ASSERT_EQUAL(image_step_at(c.img, 0)->residual, IMAGE_NO_TENSOR);
        CU_ASSERT_EQUAL(image_step_at(c.img, 1)->residual, image_step_at(c.img, 0)->output);
        finish(&c, g);
    }
}

/* The other side comes after the convolution: the convolution waits for it. */
static void a_convolution_moves_behind_what_it_adds(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 5, 5)), a = conv(g, x);
    union op_params pool = fixture_window(3, 1, 1, 1);
    const int32_t b = fixture_node(g, OP_MAX_POOL, &pool, 1, &x);
    fixture_output(g, fixture_clip(g, fixture_add(g, a, b), 0, 6));
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 2);
    CU_ASSERT_EQUAL(image_step_at(c.img, 0)->op, OP_MAX_POOL);
    CU_ASSERT_EQUAL(image_step_at(c.img, 1)->op, OP_CONV);
    CU_ASSERT_EQUAL(image_step_at(c.img, 1)->residual, image_step_at(c.img, 0)->output);
    CU_ASSERT_EQUAL(image_step_at(c.img, 1)->activation, ACT_CLIP);
    CU_ASSERT_EQUAL(image_step_at(c.img, 1)->act_max, 6);
    finish(&c, g);
}

static void a_convolution_takes_one_sum_only(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 5, 5));
    const int32_t y = fixture_add(g, fixture_add(g, conv(g, x), x), x);
    fixture_output(g, fixture_relu(g, y));
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 2);
    CU_ASSERT_EQUAL(image_step_at(c.img, 1)->op, OP_ADD);
    CU_ASSERT_EQUAL(image_step_at(c.img, 1)->activation, ACT_RELU);
    finish(&c, g);
}

enum obstacle { TWICE_THE_SAME, SECOND_USER, AN_OUTPUT, ACTIVATION_BETWEEN, BROADCAST, OBSTACLES };

static int32_t build_obstacle(struct graph *g, enum obstacle o) {
    const int32_t x = fixture_input(g, SHAPE(1, 2, 5, 5));
    int32_t y = conv(g, x);
    if (o == TWICE_THE_SAME) return fixture_add(g, y, y);
    if (o == SECOND_USER) fixture_output(g, fixture_clip(g, y, -0.5f, 0.5f));
    if (o == AN_OUTPUT) fixture_output(g, y);
    if (o == ACTIVATION_BETWEEN) y = fixture_relu(g, y);
    return fixture_add(g, y, o == BROADCAST ? fixture_input(g, SHAPE(1, 2, 1, 1)) : x);
}

static void what_keeps_a_sum_apart(void) {
    for (enum obstacle o = 0; o < OBSTACLES; o++) {
        struct graph *g = fixture_graph();
        fixture_output(g, build_obstacle(g, o));
        struct compiled c = compile(g);
        CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_ADD), 1);
        finish(&c, g);
    }
}

static void activations_go_to_their_producer(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 5, 5));
    int32_t y = fixture_relu(g, fixture_batch_norm(g, x));  /* cannot be folded: takes the Relu */
    y = fixture_clip(g, fixture_add(g, y, x), 0, INFINITY); /* a Relu by another name */
    y = fixture_relu(g, fixture_mul(g, y, x));              /* Mul takes none */
    y = fixture_relu(g, fixture_relu(g, conv(g, y)));       /* one only */
    y = fixture_clip(g, fixture_gemm(g, fixture_reshape(g, y, SHAPE(1, 50)), 3, (struct op_gemm){1, 1, 0, 0}),
                     -1, 1);
    fixture_output(g, y);
    struct compiled c = compile(g);
    const struct image *img = c.img;
    CU_ASSERT_EQUAL(image_header(img)->n_steps, 7);
    CU_ASSERT_EQUAL(image_step_at(img, fixture_find_step(img, OP_BATCH_NORM, 0))->activation, ACT_RELU);
    CU_ASSERT_EQUAL(image_step_at(img, fixture_find_step(img, OP_ADD, 0))->activation, ACT_RELU);
    CU_ASSERT_EQUAL(image_step_at(img, fixture_find_step(img, OP_MUL, 0))->activation, ACT_NONE);
    CU_ASSERT_EQUAL(image_step_at(img, fixture_find_step(img, OP_CONV, 0))->activation, ACT_RELU);
    CU_ASSERT_EQUAL(image_step_at(img, fixture_find_step(img, OP_GEMM, 0))->activation, ACT_CLIP);
    CU_ASSERT_EQUAL(fixture_count_steps(img, OP_RELU), 2);
    finish(&c, g);
}

/* Functions of each element too, with their parameters; as what follows a sum. */
static void functions_are_activations(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 5, 5));
    int32_t y = conv(g, x);
    y = fixture_node(g, OP_SILU, NULL, 1, &y);
    y = fixture_add(g, conv(g, y), x);
    y = fixture_node(g, OP_HARD_SWISH, &(union op_params){.function = {1.0f / 6, 0.5f, 0, 0}}, 1, &y);
    y = fixture_node(g, OP_SIGMOID, NULL, 1, &y); /* one only */
    fixture_output(g, y);
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 3);
    CU_ASSERT_EQUAL(image_step_at(c.img, 0)->activation, ACT_FUNCTION);
    CU_ASSERT_EQUAL(image_step_at(c.img, 0)->act_op, OP_SILU);
    CU_ASSERT_EQUAL(image_step_at(c.img, 1)->act_op, OP_HARD_SWISH);
    CU_ASSERT_EQUAL(image_step_at(c.img, 1)->act_params.beta, 0.5f);
    CU_ASSERT_EQUAL(image_step_at(c.img, 2)->op, OP_SIGMOID);
    finish(&c, g);
}

/* The unactivated output is wanted too: by another step, or as an output of the model. */
static void an_activation_with_a_witness_stays(void) {
    for (int output = 0; output < 2; output++) {
        struct graph *g = fixture_graph();
        const int32_t y = conv(g, fixture_input(g, SHAPE(1, 2, 5, 5)));
        fixture_output(g, fixture_relu(g, y));
        fixture_output(g, output ? y : fixture_mul(g, y, y));
        struct compiled c = compile(g);
        CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_RELU), 1);
        finish(&c, g);
    }
}

SUITE(plan_fuse, {"functions are activations", functions_are_activations},
      {"an identity is added by the convolution", an_identity_is_added_by_the_convolution},
      {"of two convolutions the later takes the sum", of_two_convolutions_the_later_takes_the_sum},
      {"a convolution moves behind what it adds", a_convolution_moves_behind_what_it_adds},
      {"a convolution takes one sum only", a_convolution_takes_one_sum_only},
      {"what keeps a sum apart", what_keeps_a_sum_apart},
      {"activations go to their producer", activations_go_to_their_producer},
      {"an activation with a witness stays", an_activation_with_a_witness_stays});
