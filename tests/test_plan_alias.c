/* Names for memory: reshapes without steps, concatenations without copies. */
#include "infer/plan.h"

#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

static int32_t conv(struct graph *g, int32_t x, int64_t filters) {
    return fixture_conv(g, x, filters, fixture_window(1, 1, 0, 1), true);
}

static struct compiled compile(struct graph *g) {
    CU_ASSERT(fixture_difference(g) < 1e-5);
    return fixture_compile(g, false);
}

static void finish(struct compiled *c, struct graph *g) {
    fixture_discard(c);
    graph_free(g);
}

static void reshapes_cost_nothing(void) {
    struct graph *g = fixture_graph();
    int32_t y = fixture_relu(g, fixture_input(g, SHAPE(1, 2, 3, 3)));
    y = fixture_identity(g, fixture_reshape(g, fixture_identity(g, y), SHAPE(1, 18)));
    fixture_output(g, fixture_relu(g, fixture_reshape(g, y, SHAPE(2, 9))));
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 2);
    finish(&c, g);
}

/* What the caller hands in has one shape, and an output needs memory of its own. */
static void inputs_are_reshaped_by_copying(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 3, 3));
    fixture_output(g, fixture_relu(g, fixture_identity(g, fixture_identity(g, x))));
    fixture_output(g, fixture_relu(g, fixture_reshape(g, x, SHAPE(1, 18))));
    fixture_output(g, fixture_identity(g, x));
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_RESHAPE), 1);
    CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_IDENTITY), 1);
    CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_RELU), 2);
    finish(&c, g);
}

static void names_of_constants_are_constants(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 3, 3)),
                  k = fixture_identity(g, fixture_constant(g, SHAPE(2), NULL));
    union op_params p = fixture_window(1, 1, 0, 1);
    const int32_t w = fixture_reshape(g, fixture_constant(g, SHAPE(4), NULL), SHAPE(2, 2, 1, 1));
    const int32_t one = fixture_identity(g, fixture_constant(g, SHAPE(2), (float[]){1, 1}));
    int32_t y = fixture_node(g, OP_CONV, &p, 3, (int32_t[]){x, w, k});
    fixture_output(g, fixture_node(g, OP_BATCH_NORM, NULL, 5, (int32_t[]){y, one, k, k, one}));
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 1); /* and the normalisation is folded nevertheless */
    finish(&c, g);
}

static uint64_t offset_of(const struct image *img, uint32_t tensor) {
    return image_tensor_at(img, tensor)->offset;
}

static void a_concatenation_of_results_needs_no_step(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 7, 7));
    const int32_t in[] = {conv(g, x, 3), conv(g, x, 5), conv(g, x, 1)};
    fixture_output(g, conv(g, fixture_concat(g, 1, 3, in), 2));
    struct compiled c = compile(g);
    const struct image *img = c.img;
    CU_ASSERT_EQUAL(image_header(img)->n_steps, 4);
    const uint64_t first = offset_of(img, image_step_at(img, 0)->output);
    CU_ASSERT_EQUAL(offset_of(img, image_step_at(img, 1)->output), first + 3 * 49 * 4);
    CU_ASSERT_EQUAL(offset_of(img, image_step_at(img, 2)->output), first + 8 * 49 * 4);
    CU_ASSERT_EQUAL(offset_of(img, image_operands(img, image_step_at(img, 3))[0]), first);
    finish(&c, g);
}

/* The model's input cannot lie in the slab, and what comes twice lies in one of its slices. */
static void the_rest_is_copied(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 3, 3)), y = conv(g, x, 3), z = conv(g, x, 2);
    const int32_t twice[] = {y, z, y}, constant[] = {z, fixture_constant(g, SHAPE(1, 1, 3, 3), NULL), x},
                  renamed[] = {y, fixture_reshape(g, fixture_reshape(g, y, SHAPE(27)), SHAPE(1, 3, 3, 3))};
    fixture_output(g, fixture_concat(g, 1, 3, twice));
    fixture_output(g, fixture_concat(g, 1, 3, constant));
    fixture_output(g, fixture_concat(g, 1, 2, renamed));
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_CONCAT), 3);
    finish(&c, g);
}

static void slices_that_repeat_are_copied(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 3, 3));
    const int32_t in[] = {fixture_relu(g, x), conv(g, x, 2)};
    fixture_output(g,
                   fixture_concat(g, 2, 2, in)); /* along the height: two channels each have their own part */
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_CONCAT), 1);
    finish(&c, g);
}

/* DenseNet: every layer reads all that came before it. One memory holds them all. */
static void dense_blocks_need_no_copies(void) {
    struct graph *g = fixture_graph();
    int32_t in[8] = {conv(g, fixture_input(g, SHAPE(1, 2, 7, 7)), 4)}, n = 1;
    for (; n < 8; n++) {
        const int32_t all = n == 1 ? fixture_concat(g, 1, 1, in) : fixture_concat(g, 1, n, in);
        in[n] = conv(g, fixture_relu(g, fixture_batch_norm(g, all)), 3);
    }
    fixture_output(g, fixture_batch_norm(g, fixture_concat(g, 1, n, in)));
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_CONCAT), 0);
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 16);
    finish(&c, g);
}

static void concatenations_nest(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 7, 7)), a = conv(g, x, 2), b = conv(g, a, 3);
    const int32_t inner = fixture_concat(g, 1, 2, (int32_t[]){a, b});
    const int32_t outer = fixture_concat(g, 1, 2, (int32_t[]){conv(g, x, 1), inner});
    fixture_output(g, outer);
    fixture_output(g, inner); /* lies inside of the other output */
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_CONCAT), 0);
    CU_ASSERT_EQUAL(offset_of(c.img, image_header(c.img)->outputs[1]),
                    offset_of(c.img, image_header(c.img)->outputs[0]) + 49 * 4);
    finish(&c, g);
}

/* a lies in the outer one already, so the inner one, itself in the outer, has to copy it. */
static void a_result_in_two_nested_ones_is_copied_once(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 7, 7)), a = conv(g, x, 2), b = conv(g, a, 3);
    const int32_t inner = fixture_concat(g, 1, 2, (int32_t[]){a, b});
    fixture_output(g, fixture_concat(g, 1, 2, (int32_t[]){a, inner}));
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_CONCAT), 1);
    finish(&c, g);
}

/* inner lies in middle; that a and b also lie in a row in outer must not tempt it away. */
static void what_lies_somewhere_stays_there(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 7, 7)), a = conv(g, x, 2), b = conv(g, a, 3);
    const int32_t inner = fixture_concat(g, 1, 2, (int32_t[]){a, b});
    fixture_output(g, fixture_concat(g, 1, 2, (int32_t[]){conv(g, x, 1), inner}));
    fixture_output(g, fixture_concat(g, 1, 3, (int32_t[]){a, b, conv(g, x, 9)}));
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_CONCAT), 1);
    finish(&c, g);
}

/* y lies in the inner one, and with that in the outer one, which reads it twice more. */
static void a_slice_may_be_copied_to_another(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 7, 7)), y = conv(g, x, 2);
    const int32_t inner = fixture_concat(g, 1, 2, (int32_t[]){conv(g, x, 1), y});
    fixture_output(g, fixture_concat(g, 1, 4, (int32_t[]){y, inner, y, conv(g, x, 3)}));
    struct compiled c = compile(g);
    CU_ASSERT_EQUAL(fixture_count_steps(c.img, OP_CONCAT), 2);
    finish(&c, g);
}

SUITE(plan_alias, {"reshapes cost nothing", reshapes_cost_nothing},
      {"inputs are reshaped by copying", inputs_are_reshaped_by_copying},
      {"names of constants are constants", names_of_constants_are_constants},
      {"a concatenation of results needs no step", a_concatenation_of_results_needs_no_step},
      {"the rest is copied", the_rest_is_copied},
      {"slices that repeat are copied", slices_that_repeat_are_copied},
      {"dense blocks need no copies", dense_blocks_need_no_copies},
      {"concatenations nest", concatenations_nest},
      {"a result in two nested ones is copied once", a_result_in_two_nested_ones_is_copied_once},
      {"what lies somewhere stays there", what_lies_somewhere_stays_there},
      {"a slice may be copied to another", a_slice_may_be_copied_to_another});
