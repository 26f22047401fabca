/* Steps of hostile images: each thing that a kernel, or another client, relies on. */
#include "infer/image.h"

#include "infer/image_internal.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct compiled c;
static uint8_t *copy;

static void set_up_with(struct graph *g) {
    c = fixture_compile(g, false);
    graph_free(g);
    copy = aligned_alloc(64, (c.size + 63) / 64 * 64);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    memcpy(copy, c.bytes, c.size);
}

/* Four steps: two convolutions, the second with a residual and Relu, a pool, Softmax. */
static void set_up(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 6, 6)),
                  a = fixture_conv(g, x, 2, fixture_window(3, 1, 1, 1), true);
    const int32_t b = fixture_conv(g, a, 2, fixture_window(1, 1, 0, 1), true);
    int32_t y = fixture_relu(g, fixture_add(g, b, a));
    union op_params pool = fixture_window(2, 2, 0, 1);
    y = fixture_node(g, OP_MAX_POOL, &pool, 1, &y);
    fixture_output(g, fixture_node(g, OP_SOFTMAX, &(union op_params){.axis = {.axis = 1}}, 1, &y));
    set_up_with(g);
}

static void tear_down(void) {
    free(copy);
    fixture_discard(&c);
}

/* Seals and checks the edited copy; whether it is refused with these words. Then it is good again. */
static bool refused(const char *expect) {
    struct image *img;
    struct err e = {0};
    fixture_reseal(copy, c.size);
    const int rc = image_check(copy, c.size, &img, &e);
    image_unmap(img);
    memcpy(copy, c.bytes, c.size);
    if (rc && strstr(e.text, expect)) return true;
    fprintf(stderr, "\nexpected \"%s\", got \"%s\"\n", expect, e.text);
    return false;
}
#define REFUSED(edit, expect)                                                                                \
    do {                                                                                                     \
        edit;                                                                                                \
        CU_ASSERT_TRUE(refused(expect));                                                                     \
    } while (0)

static struct image_step *step(uint32_t i) {
    return fixture_step(copy, i);
}
static struct image_tensor *output(uint32_t i) {
    return fixture_tensor(copy, step(i)->output);
}
static uint32_t *input(uint32_t i, uint32_t slot) {
    return fixture_operands(copy) + step(i)->first_operand + slot;
}

static void fields_of_steps(void) {
    set_up();
    REFUSED(step(0)->op = OP_COUNT, "operator");
    REFUSED(step(0)->op = UINT32_MAX, "operator");
    REFUSED(step(0)->op = OP_GEMM, "step 0");
    REFUSED(step(0)->algorithm = ALG_DEFAULT, "algorithm");
    REFUSED(step(0)->algorithm = ALG_CONV_POINTWISE, "algorithm"); /* 3x3 */
    REFUSED(step(0)->algorithm = ALG_CONV_DEPTHWISE, "algorithm");
    REFUSED(step(0)->algorithm = UINT32_MAX, "algorithm");
    REFUSED(step(0)->algorithm = ALG_CONV_DIRECT_BF16, "compiled for generic"); /* a CPU may lack it */
    REFUSED(step(2)->algorithm = ALG_CONV_REFERENCE, "algorithm");
    REFUSED(step(0)->first_operand = 1, "operands");
    REFUSED(step(1)->first_operand = 0, "operands");
    REFUSED(step(1)->first_operand = UINT32_MAX, "operands");
    REFUSED(step(0)->n_inputs = 257, "operands");
    REFUSED(step(0)->n_inputs = UINT32_MAX, "operands");
    REFUSED(step(3)->n_inputs = 2, "operands");
    REFUSED(step(3)->n_inputs = 0, "step 3");
    REFUSED(step(0)->output = UINT32_MAX, "output");
    REFUSED(step(0)->output = image_header(c.img)->n_tensors, "output");
    REFUSED(step(0)->output = image_header(c.img)->inputs[0], "arena");
    REFUSED(step(0)->output = *input(0, 1), "arena");
    REFUSED(step(0)->residual = image_header(c.img)->n_tensors, "residual");
    REFUSED(step(0)->name = UINT32_MAX, "name of step 0");
    REFUSED(step(0)->multiply_adds++, "multiply-adds");
    REFUSED(step(0)->reserved[14] = 1, "reserved");
    REFUSED(step(0)->params.raw[127] = 1, "reserved");
    REFUSED(step(3)->params.raw[8] = 1, "reserved"); /* Softmax has two numbers */
    tear_down();
}

static void activations(void) {
    set_up();
    REFUSED(step(0)->activation = ACT_COUNT, "activation");
    REFUSED(step(0)->activation = UINT32_MAX, "activation");
    REFUSED(step(2)->activation = ACT_RELU, "activation"); /* a pool takes none */
    REFUSED((step(1)->activation = ACT_CLIP, step(1)->act_min = 1), "bounds");
    REFUSED((step(1)->activation = ACT_CLIP, step(1)->act_min = NAN), "bounds");
    REFUSED((step(1)->activation = ACT_CLIP, step(1)->act_max = NAN), "bounds");
    REFUSED(step(1)->act_max = 6, "bounds");
    REFUSED(step(1)->act_op = OP_SILU, "function");
    REFUSED(step(1)->act_params.lo = 1, "function");
    REFUSED(step(1)->activation = ACT_FUNCTION, "no function");
    REFUSED((step(1)->activation = ACT_FUNCTION, step(1)->act_op = OP_DEQUANTIZE + 1), "no function");
    REFUSED((step(1)->activation = ACT_FUNCTION, step(1)->act_op = OP_SILU, step(1)->act_params.beta = NAN),
            "finite");
    REFUSED((step(2)->activation = ACT_FUNCTION, step(2)->act_op = OP_SILU), "activation");
    REFUSED(step(1)->act_max = NAN, "bounds");
    REFUSED(step(2)->residual = step(1)->output, "residual"); /* nor a residual */
    REFUSED(step(1)->residual = step(2)->output, "residual"); /* another shape */
    tear_down();
}

static void parameters_and_shapes(void) {
    set_up();
    REFUSED(step(0)->params.window.kernel[1] = INT32_MAX, "kernel");
    REFUSED(step(0)->params.window.pad_begin[2] = -1, "padding");
    REFUSED(step(0)->params.window.pad_begin[2] = 2, "shape");
    REFUSED(step(0)->params.window.stride[2] = 0, "stride");
    REFUSED(step(0)->params.window.groups = 0, "groups");
    REFUSED(step(0)->params.window.groups = 2, "groups");
    REFUSED(step(2)->params.window.stride[1] = 1, "shape");
    REFUSED(step(3)->params.axis.axis = 4, "axis");
    REFUSED(*input(0, 0) = *input(0, 1), "step 0");
    REFUSED(*input(0, 1) = IMAGE_NO_TENSOR, "input 1 is missing");
    REFUSED(*input(0, 1) = IMAGE_NO_TENSOR - 1, "input 1");
    REFUSED(*input(0, 1) = image_header(c.img)->n_tensors, "input 1 is tensor");
    REFUSED(*input(0, 2) = *input(0, 1), "bias");
    tear_down();
}

/* Kernels that pack weights beforehand read them from the constants only. */
static void weights_are_constants(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 3, 3)), w = fixture_input(g, SHAPE(2, 2, 1, 1));
    const union op_params p = fixture_window(1, 1, 0, 1);
    fixture_output(g, fixture_node(g, OP_CONV, &p, 2, (int32_t[]){x, w}));
    set_up_with(g);
    CU_ASSERT_EQUAL(step(0)->algorithm, ALG_CONV_REFERENCE);
    REFUSED(step(0)->algorithm = ALG_CONV_POINTWISE, "not a constant");
    tear_down();
}

/* Lets the last two steps change places, operands and all. */
static void swap_last_steps(void) {
    const struct image_step pool = *step(2), softmax = *step(3);
    const uint32_t read_by_pool = *input(2, 0), read_by_softmax = *input(3, 0);
    *step(2) = softmax;
    *step(3) = pool;
    step(2)->first_operand = pool.first_operand;
    step(3)->first_operand = softmax.first_operand;
    *input(2, 0) = read_by_softmax;
    *input(3, 0) = read_by_pool;
}

/* The arena holds what other requests, of other clients, left behind. */
static void nothing_is_read_before_it_is_written(void) {
    set_up();
    REFUSED(*input(0, 0) = step(1)->output, "before it is computed");
    REFUSED(step(0)->residual = step(0)->output, "residual 0 is read before");

    /* The pool's result to where nothing else ever is: fine, but not if Softmax comes first. */
    const uint64_t slab = image_header(c.img)->slab_bytes;
    struct image *img;
    fixture_header(copy)->slab_bytes = slab + 1024;
    output(2)->offset = slab;
    fixture_reseal(copy, c.size);
    CU_ASSERT_EQUAL(image_check(copy, c.size, &img, NULL), 0);
    image_unmap(img);
    REFUSED(swap_last_steps(), "before it is computed");
    tear_down();
}

static void every_output_is_computed(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 4, 4));
    fixture_output(g, fixture_relu(g, x));
    fixture_output(g, fixture_relu(g, x));
    set_up_with(g);
    const uint32_t second = step(1)->output;
    REFUSED(step(1)->output = step(0)->output, "output 1"); /* computed twice, and the other never */
    REFUSED((step(1)->output = step(0)->output, fixture_tensor(copy, second)->offset = output(0)->offset + 4),
            "output 1");
    tear_down();
}

/* A gap between two results belongs to neither. */
static void gaps_are_not_written(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 4, 4)); /* 128 bytes each */
    for (int i = 0; i < 3; i++) fixture_output(g, fixture_relu(g, x));
    set_up_with(g);
    for (uint64_t gap = 0; gap <= 64; gap += 4) {
        struct image *img;
        const uint64_t base = image_header(c.img)->slab_bytes;
        const uint32_t across = step(2)->output;
        fixture_header(copy)->slab_bytes = base + 1024;
        output(0)->offset = base + gap;
        output(1)->offset = base + gap + 128 + gap;
        fixture_tensor(copy, across)->offset = base + gap + 64;
        step(2)->output = step(0)->output; /* nobody computes what lies across */
        fixture_reseal(copy, c.size);
        CU_ASSERT_EQUAL(image_check(copy, c.size, &img, NULL), gap == 0 ? 0 : -1);
        image_unmap(img);
        memcpy(copy, c.bytes, c.size);
    }
    tear_down();
}

static void residuals_have_the_shape_of_the_result(void) {
    struct graph *g = fixture_graph();
    const int32_t a = fixture_relu(g, fixture_input(g, SHAPE(1, 2, 4, 4)));
    fixture_output(g,
                   fixture_relu(g, fixture_reshape(g, a, SHAPE(1, 32)))); /* the same bytes by another name */
    fixture_output(g, fixture_add(g, fixture_conv(g, a, 2, fixture_window(1, 1, 0, 1), true), a));
    set_up_with(g);
    const uint32_t conv = fixture_find_step(c.img, OP_CONV, 0), relu = fixture_find_step(c.img, OP_RELU, 1);
    CU_ASSERT_EQUAL(step(conv)->residual, step(0)->output);
    REFUSED(step(conv)->residual = *input(relu, 0), "residual has another shape");
    tear_down();
}

static void operands_do_not_overlap_results(void) {
    set_up();
    REFUSED(output(0)->offset = fixture_tensor(copy, fixture_header(copy)->inputs[0])->offset, "overlaps");
    REFUSED(output(1)->offset = output(0)->offset, "overlaps"); /* its input, and its residual */
    REFUSED(output(2)->offset = output(1)->offset + 4, "overlaps");
    REFUSED(output(2)->offset = output(1)->offset + output(1)->bytes - 4, "overlaps");
    tear_down();
}

/* Inputs of a concatenation may lie in its output, but only each in its own slice. */
static void slices_of_concatenations(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 2, 4, 4)), a = fixture_relu(g, x),
                  b = fixture_clip(g, x, 0, 1);
    fixture_output(g, fixture_concat(g, 1, 3, (int32_t[]){a, x, b}));
    set_up_with(g);
    CU_ASSERT_EQUAL_FATAL(image_header(c.img)->n_steps, 3);
    CU_ASSERT_EQUAL(output(0)->offset, output(2)->offset);
    CU_ASSERT_EQUAL(output(1)->offset, output(2)->offset + 2 * 128);
    REFUSED(output(1)->offset -= 4, "overlaps");
    REFUSED(output(1)->offset += 4, "overlaps");
    REFUSED(output(1)->offset = output(0)->offset + 128, "overlaps");          /* where x is copied to */
    REFUSED((output(0)->offset += 256, output(1)->offset -= 256), "overlaps"); /* swapped */
    tear_down();
}

static void leftovers_and_sums(void) {
    set_up();
    REFUSED(fixture_header(copy)->multiply_adds++, "sum");
    REFUSED((step(3)->n_inputs = 0, step(3)->op = OP_RELU), "step 3");
    tear_down();
}

static void endless_work_is_counted(void) {
    const union op_params pool = fixture_window(511, 1, 255, 1);
    const struct shape x = SHAPE(1, 1, 8192, 8192);
    CU_ASSERT_EQUAL(image_step_work(OP_MAX_POOL, &pool, &x, 1, &x), 8192ull * 8192 * 511 * 511);
    CU_ASSERT_EQUAL(image_step_work(OP_RELU, NULL, &x, 1, &x), 2ull * 8192 * 8192);
    union op_params huge = fixture_window(OP_MAX_WINDOW, 1, 0, 1);
    huge.window.kernel[0] = OP_MAX_WINDOW;
    CU_ASSERT_EQUAL(image_step_work(OP_MAX_POOL, &huge, &x, 1, &x), UINT64_MAX);
}

SUITE(image_check_steps, {"fields of steps", fields_of_steps}, {"activations", activations},
      {"parameters and shapes", parameters_and_shapes}, {"weights are constants", weights_are_constants},
      {"nothing is read before it is written", nothing_is_read_before_it_is_written},
      {"every output is computed", every_output_is_computed}, {"gaps are not written", gaps_are_not_written},
      {"residuals have the shape of the result", residuals_have_the_shape_of_the_result},
      {"operands do not overlap results", operands_do_not_overlap_results},
      {"slices of concatenations", slices_of_concatenations}, {"leftovers and sums", leftovers_and_sums},
      {"endless work is counted", endless_work_is_counted});
