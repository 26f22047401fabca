/* Constants: each stored once, aligned, in the order of the steps, and only where one reads it. */
#include "infer/plan.h"

#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

static const struct image_tensor *operand(const struct image *img, uint32_t step, uint32_t slot) {
    return image_tensor_at(img, image_operands(img, image_step_at(img, step))[slot]);
}

static void equal_constants_are_stored_once(void) {
    static const float shared[16] = {1, 2, 3};
    struct graph *g = fixture_graph();
    struct err e = {0};
    int32_t x = fixture_input(g, SHAPE(1, 2, 4, 4));
    const union op_params p = fixture_window(1, 1, 0, 1);
    for (int i = 0; i < 3; i++) { /* three values, one view of the file */
        const int32_t w = graph_add_constant(g, "w", &SHAPE(2, 2, 1, 1), shared, 0, &e);
        const int32_t k = graph_add_constant(g, "k", &SHAPE(1, 1, 4, 4), shared, 0, &e);
        x = fixture_mul(g, fixture_relu(g, fixture_node(g, OP_CONV, &p, 2, (int32_t[]){x, w})), k);
    }
    fixture_output(g, x);
    struct compiled c = fixture_compile(g, false);
    CU_ASSERT_EQUAL(image_header(c.img)->n_steps, 6);
    for (uint32_t i = 2; i < 6; i++)
        CU_ASSERT_EQUAL(operand(c.img, i, 1)->offset, operand(c.img, i - 2, 1)->offset);
    CU_ASSERT_EQUAL(image_header(c.img)->sections[SECTION_CONSTANTS].bytes, 64 + 64); /* 4 and 16 floats */
    CU_ASSERT_EQUAL(image_header(c.img)->parameters, 4 + 16);
    fixture_discard(&c);
    graph_free(g);
}

/* The same bytes, of which one reader wants a part only, are two constants. */
static void lengths_tell_constants_apart(void) {
    static const float shared[4] = {1, 2, 3, 4};
    struct graph *g = fixture_graph();
    struct err e = {0};
    const int32_t x = fixture_input(g, SHAPE(1, 4));
    const int32_t four = graph_add_constant(g, "a", &SHAPE(4), shared, 0, &e),
                  one = graph_add_constant(g, "b", &SHAPE(1), shared, 0, &e);
    fixture_output(g, fixture_mul(g, fixture_mul(g, x, four), one));
    CU_ASSERT(fixture_difference(g) == 0);
    struct compiled c = fixture_compile(g, false);
    CU_ASSERT_NOT_EQUAL(operand(c.img, 0, 1)->offset, operand(c.img, 1, 1)->offset);
    fixture_discard(&c);
    graph_free(g);
}

static void constants_are_aligned_and_in_order(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile(g, false);
    const struct image_header *h = image_header(c.img);
    uint64_t last = 0;
    for (uint32_t i = 0; i < h->n_steps; i++)
        for (uint32_t k = 1; k < image_step_at(c.img, i)->n_inputs; k++) {
            const struct image_tensor *t = operand(c.img, i, k);
            CU_ASSERT_EQUAL(t->place, PLACE_CONSTANT);
            CU_ASSERT_EQUAL((uintptr_t)image_constant(c.img, t) % 64, 0);
            CU_ASSERT(i + k == 1 || t->offset > last);
            last = t->offset;
        }
    fixture_discard(&c);
    graph_free(g);
}

SUITE(plan_constants, {"equal constants are stored once", equal_constants_are_stored_once},
      {"lengths tell constants apart", lengths_tell_constants_apart},
      {"constants are aligned and in order", constants_are_aligned_and_in_order});
