/* Writing: what stands where, what is refused, and not one byte beyond the room. */
#include "infer/plan.h"

#include "infer/checksum.h"
#include "infer/gradient.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/mutate.h"
#include "tests/suite.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

static struct plan *plan_of(struct graph *g) {
    struct err e = {0};
    struct plan *p;
    CU_ASSERT_EQUAL_FATAL(plan_make(g, &(struct plan_options){.isa = ISA_GENERIC}, &p, &e), 0);
    return p;
}

static void everything_is_where_it_belongs(void) {
    static const char *const labels[] = {"", "priority road", "no entry"};
    struct graph *g = fixture_resnet();
    g->item_images = 1;
    struct plan_metadata m = {
        .labels = labels, .n_labels = 3, .report = "{\"verdict\":1}", .report_bytes = 13};
    for (int i = 0; i < 32; i++) m.source_sha256[i] = (uint8_t)i;
    m.preprocess = (struct image_preprocess){.scale = 1 / 255.f,
                                             .mean = {0.4f, 0.5f, 0.6f},
                                             .std = {0.1f, 0.2f, 0.3f, 1},
                                             .channel_order = ORDER_BGR};
    struct compiled c = fixture_compile_with(g, false, &m);
    const struct image_header *h = image_header(c.img);
    CU_ASSERT_EQUAL(memcmp(h->source_sha256, m.source_sha256, 32), 0);
    CU_ASSERT_EQUAL(memcmp(&h->preprocess, &m.preprocess, sizeof m.preprocess), 0);
    CU_ASSERT_EQUAL(h->bytes, c.size);
    CU_ASSERT_EQUAL(h->item_images, 1);
    CU_ASSERT_EQUAL(h->n_inputs, 1);
    CU_ASSERT_EQUAL(h->n_outputs, 1);
    CU_ASSERT_TRUE(shape_equal(&image_tensor_at(c.img, h->inputs[0])->shape, &SHAPE(1, 3, 8, 8)));
    CU_ASSERT_TRUE(shape_equal(&image_tensor_at(c.img, h->outputs[0])->shape, &SHAPE(1, 5)));
    CU_ASSERT_EQUAL(h->output_is_probability, 1);
    for (uint32_t i = 0; i < 3; i++) CU_ASSERT_STRING_EQUAL(image_label(c.img, i), labels[i]);
    CU_ASSERT_PTR_NULL(image_label(c.img, 3));
    size_t bytes;
    CU_ASSERT_EQUAL(memcmp(image_report(c.img, &bytes), m.report, 13), 0);
    CU_ASSERT_EQUAL(bytes, 13);
    CU_ASSERT_STRING_EQUAL(image_string(c.img, image_step_at(c.img, 0)->name), "Conv#0");
    CU_ASSERT_STRING_EQUAL(image_string(c.img, image_tensor_at(c.img, h->inputs[0])->name), "x");
    CU_ASSERT_STRING_EQUAL(image_string(c.img, UINT32_MAX), "");
    /* weights and biases: 4*27+4, 2 * (4*36+4), 8*36+8, 8*72+8, 8*4+8, 40+5 */
    CU_ASSERT_EQUAL(h->parameters, 112 + 2 * 148 + 296 + 584 + 40 + 45);
    /* 64 positions of 4 * 27, twice 4 * 36; 16 of 8 * 36, 8 * 72, 8 * 4; and Gemm */
    CU_ASSERT_EQUAL(h->multiply_adds, 64 * (108 + 2 * 144) + 16 * (288 + 576 + 32) + 40);
    fixture_discard(&c);
    graph_free(g);
}

/* The checksum is that of the file with its own field zero: as a stranger would compute it. */
static void the_checksum_is_that_of_the_file(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile(g, false);
    uint8_t said[32], is[32];
    memcpy(said, image_header(c.img)->self_checksum, 32);
    memset(fixture_header(c.bytes)->self_checksum, 0, 32);
    struct checksum sum = {{0}};
    checksum_add(&sum, 0, c.bytes, c.size);
    checksum_final(&sum, c.size, is);
    CU_ASSERT_EQUAL(memcmp(said, is, 32), 0);
    fixture_discard(&c);
    graph_free(g);
}

static void no_byte_beyond_the_room(void) {
    for (size_t report = 0; report < 130; report += 13) {
        struct graph *g = fixture_random_graph(report, 20);
        struct plan *p = plan_of(g);
        struct err e = {0};
        struct mutate_room room;
        static const uint8_t zero[1 << 20];
        const struct plan_metadata m = {.report = zero, .report_bytes = report};
        const size_t size = plan_image_bytes(p, &m);
        CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, size), 0);
        if (size % 64 == 0) { /* ends at the page that can't be touched */
            CU_ASSERT_EQUAL(image_write(p, &m, mutate_room_put(&room, zero, size), size, &e), 0);
        } else { /* or as near as alignment lets it */
            const size_t up = (size + 63) / 64 * 64;
            uint8_t *out = mutate_room_put(&room, zero, up);
            CU_ASSERT_EQUAL(image_write(p, &m, out, size, &e), 0);
            for (size_t i = size; i < up; i++) CU_ASSERT_EQUAL(out[i], 0);
        }
        mutate_room_close(&room);
        plan_free(p);
        graph_free(g);
    }
}

static int write_with(struct plan *p, const struct plan_metadata *m, struct err *e) {
    const size_t size = plan_image_bytes(p, m);
    uint8_t *out = aligned_alloc(64, (size + 63) / 64 * 64);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    memset(out, 0, size);
    const int rc = image_write(p, m, out, size, e);
    free(out);
    return rc;
}

static void what_the_check_would_refuse_is_not_written(void) {
    struct graph *g = fixture_resnet();
    struct plan *p = plan_of(g);
    struct err e = {0};
    const struct image_preprocess fine = {.scale = 1, .std = {1, 1, 1, 1}};
    struct plan_metadata m = {.preprocess = fine};
    CU_ASSERT_EQUAL(write_with(p, &m, &e), 0);
    for (int i = 0; i < 6; i++) {
        m.preprocess = fine;
        *(float *[]){&m.preprocess.scale,  &m.preprocess.mean[1], &m.preprocess.std[0],
                     &m.preprocess.std[1], &m.preprocess.std[2],  &m.preprocess.std[3]}[i] =
            (float[]){NAN, INFINITY, 0, -1, NAN, INFINITY}[i];
        CU_ASSERT_EQUAL(write_with(p, &m, &e), -1);
        CU_ASSERT_EQUAL(e.code, ERR_VALUE);
    }
    m.preprocess = fine;
    m.preprocess.channel_order = 2;
    CU_ASSERT_EQUAL(write_with(p, &m, &e), -1);

    uint8_t *out = aligned_alloc(64, 1 << 20);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    m.preprocess = fine;
    const size_t size = plan_image_bytes(p, &m);
    CU_ASSERT_EQUAL(image_write(p, &m, out, size - 1, &e), -1);
    CU_ASSERT_EQUAL(image_write(p, &m, out, size + 1, &e), -1);
    CU_ASSERT_EQUAL(image_write(p, &m, out + 4, size, &e), -1);
    m.report = out;
    m.report_bytes = IMAGE_MAX_REPORT + 1;
    CU_ASSERT_EQUAL(image_write(p, &m, out, plan_image_bytes(p, &m), &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    m.report_bytes = 0;

    const char **labels = calloc(IMAGE_MAX_LABELS + 1, sizeof *labels);
    char *long_label = malloc(1 << 20);
    CU_ASSERT_FATAL(labels && long_label);
    memset(long_label, 'x', (1 << 20) - 1);
    long_label[(1 << 20) - 1] = 0;
    for (int i = 0; i <= IMAGE_MAX_LABELS; i++) labels[i] = i < 40 ? long_label : "";
    m.labels = labels;
    m.n_labels = IMAGE_MAX_LABELS + 1;
    CU_ASSERT_EQUAL(image_write(p, &m, out, plan_image_bytes(p, &m), &e), -1);
    m.n_labels = 40; /* 40 MiB of labels */
    CU_ASSERT_EQUAL(image_write(p, &m, out, plan_image_bytes(p, &m), &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    free(long_label);
    free(labels);
    free(out);
    plan_free(p);
    graph_free(g);
}

/* --- where memory is short ------------------------------------------------------------------ */

struct strict { /* takes what it is told word for word: what was given back is spoiled at once */
    uint8_t *out;
    size_t size, fail_at;
    _Atomic size_t written;
    _Atomic size_t spoiled; /* floats of constants */
    int threads;
    _Atomic int last;
};

static int strict_put(void *ctx, uint64_t at, const void *bytes, size_t n, struct err *e) {
    struct strict *s = ctx;
    if (at > s->size || n > s->size - at) return err_set(e, ERR_INTERNAL, "out of bounds");
    if (at + n > s->fail_at) return err_set(e, ERR_LIMIT, "no room");
    memcpy(s->out + at, bytes, n);
    s->written += n;
    return 0;
}

static void strict_done(void *ctx, const void *at, size_t n) {
    struct strict *s = ctx;
    s->spoiled += n / sizeof(float);
    memset((void *)(uintptr_t)at, 0xff, n);
}

struct part {
    void (*fn)(void *arg);
    void *arg;
};

static void *run_part(void *arg) {
    const struct part *p = arg;
    p->fn(p->arg);
    return NULL;
}

static void strict_spread(void *ctx, void (*fn)(void *arg), void *arg) {
    const struct strict *s = ctx;
    struct part p = {fn, arg};
    pthread_t t[8];
    for (int i = 0; i < s->threads; i++) CU_ASSERT_EQUAL(pthread_create(&t[i], NULL, run_part, &p), 0);
    for (int i = 0; i < s->threads; i++) (void)pthread_join(t[i], NULL);
}

static int strict_last(void *ctx, struct err *e) {
    struct strict *s = ctx;
    (void)e;
    s->last++;
    return 0;
}

/* A convolution that is packed, a product that is copied in several pieces, and two views of one constant. */
static struct graph *short_of_memory(void) {
    enum { WIDE = 1 << 20 };
    struct graph *g = fixture_graph();
    struct err e = {0};
    float *w = graph_alloc(g, 16 * 16 * 9 * sizeof *w), *b = graph_alloc(g, 3 * WIDE * sizeof *b),
          *v = graph_alloc(g, 256 * sizeof *v);
    CU_ASSERT_FATAL(w && b && v);
    for (int i = 0; i < 16 * 16 * 9; i++) w[i] = (float)(i % 37) / 37;
    for (int i = 0; i < 3 * WIDE; i++) b[i] = (float)(i % 101) / 101;
    for (int i = 0; i < 256; i++) v[i] = (float)i;
    int32_t x = fixture_input(g, SHAPE(1, 16, 8, 8));
    const union op_params p = fixture_window(3, 1, 1, 1);
    x = fixture_node(g, OP_CONV, &p, 2,
                     (int32_t[]){x, graph_add_constant(g, "w", &SHAPE(16, 16, 3, 3), w, 0, &e)});
    x = fixture_reshape(g, x, SHAPE(1, 1024));
    x = fixture_node(g, OP_MATMUL, NULL, 2,
                     (int32_t[]){x, graph_add_constant(g, "b", &SHAPE(1024, 3072), b, 1, &e)});
    x = fixture_reshape(g, x, SHAPE(24, 128));
    x = fixture_mul(g, x, graph_add_constant(g, "v", &SHAPE(128), v, 2, &e));
    x = fixture_mul(g, x, graph_add_constant(g, "u", &SHAPE(128), v + 64, 2, &e));
    fixture_output(g, x);
    return g;
}

static struct graph *many_kinds(void) {
    return fixture_random_graph(7, 30);
}

static void send_to(struct graph *(*make)(void), struct strict *s, int rc) {
    struct graph *g = make();
    struct plan *p = plan_of(g);
    struct err e = {0};
    const struct plan_metadata none = {.n_labels = 0};
    const struct plan_sink sink = {strict_put, strict_done, strict_spread, strict_last, s};
    s->size = plan_image_bytes(p, &none);
    s->out = calloc(1, s->size);
    s->written = s->spoiled = 0;
    s->last = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(s->out);
    CU_ASSERT_EQUAL(image_send(p, &none, &sink, &e), rc);
    if (rc) CU_ASSERT_STRING_EQUAL(e.text, "no room");
    plan_free(p);
    graph_free(g); /* spoiled */
}

static void expect_plain(struct graph *(*make)(void), const struct strict *s) {
    struct graph *g = make();
    struct plan *p = plan_of(g);
    struct err e = {0};
    const struct plan_metadata none = {.n_labels = 0};
    const size_t room = (s->size + 63) / 64 * 64;
    uint8_t *plain = aligned_alloc(64, room);
    CU_ASSERT_PTR_NOT_NULL_FATAL(plain);
    memset(plain, 0, room);
    CU_ASSERT_EQUAL(image_write(p, &none, plain, s->size, &e), 0);
    CU_ASSERT_EQUAL(memcmp(s->out, plain, s->size), 0);
    free(plain);
    plan_free(p);
    graph_free(g);
}

static void what_is_given_back_is_not_looked_at_again(void) {
    for (int threads = 1; threads <= 4; threads += 3) {
        struct strict s = {.fail_at = 5000, .threads = threads};
        send_to(short_of_memory, &s, -1);
        CU_ASSERT_EQUAL(s.last, 0);
        free(s.out);
        s.fail_at = SIZE_MAX;
        send_to(short_of_memory, &s, 0);
        CU_ASSERT_EQUAL(s.last, 1);
        CU_ASSERT_EQUAL(s.spoiled, 16 * 16 * 9 + (3 << 20)); /* the two views were needed to the end */
        CU_ASSERT(s.written <= s.size && s.written + 64 * 16 > s.size);
        expect_plain(short_of_memory, &s);
        free(s.out);
        send_to(many_kinds, &s, 0);
        expect_plain(many_kinds, &s);
        free(s.out);
    }
}

static void without_preprocessing_pictures_go_in_as_they_are(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile_with(g, false, &(struct plan_metadata){0});
    const struct image_preprocess *p = &image_header(c.img)->preprocess;
    CU_ASSERT_EQUAL(p->scale, 1);
    for (int i = 0; i < 4; i++) CU_ASSERT(p->mean[i] == 0 && p->std[i] == 1);
    CU_ASSERT_EQUAL(image_header(c.img)->n_labels, 0);
    CU_ASSERT_PTR_NULL(image_label(c.img, 0));
    fixture_discard(&c);
    graph_free(g);
}

static void long_names_are_cut_between_characters(void) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    char name[200];
    for (size_t i = 0; i < 198; i += 2) memcpy(name + i, "\xc3\xa4", 2);
    name[198] = 0;
    const int32_t x = fixture_input(g, SHAPE(1, 4));
    const int32_t n = graph_add_node(g, name + 1, OP_RELU, NULL, &x, 1, name, 0, &e);
    CU_ASSERT_FATAL(n >= 0);
    fixture_output(g, g->nodes[n].output);
    struct compiled c = fixture_compile(g, false);
    CU_ASSERT_EQUAL(strlen(image_string(c.img, image_step_at(c.img, 0)->name)), 63);
    CU_ASSERT_EQUAL(
        strlen(image_string(c.img, image_tensor_at(c.img, image_header(c.img)->outputs[0])->name)), 62);
    fixture_discard(&c);
    graph_free(g);
}

static void probabilities_are_told_from_scores(void) {
    for (int kind = 0; kind < 3; kind++) {
        struct graph *g = fixture_graph();
        int32_t y = fixture_gemm(g, fixture_input(g, SHAPE(1, 4)), 5, (struct op_gemm){1, 1, 0, 0});
        if (kind > 0) y = fixture_node(g, OP_SOFTMAX, &(union op_params){.axis = {.axis = 1}}, 1, &y);
        if (kind > 1) y = fixture_reshape(g, y, SHAPE(5));
        fixture_output(g, y);
        struct compiled c = fixture_compile(g, false);
        CU_ASSERT_EQUAL(image_header(c.img)->output_is_probability, kind > 0);
        fixture_discard(&c);
        graph_free(g);
    }
}

/* Weights larger than a part, of groups: rows alone would be packed as if they were other groups, and take
 * more room. */
static void groups_are_not_cut(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 1024, 2, 2));
    fixture_output(g, fixture_conv(g, x, 1024, fixture_window(3, 1, 1, 32), true));
    float *answers[2];
    size_t n = 0;
    for (int blocked = 0; blocked < 2; blocked++) {
        struct compiled c = fixture_compile_keep(g, blocked);
        struct gradient *run = NULL;
        struct err e = {0};
        uint64_t state = 3;
        CU_ASSERT_EQUAL_FATAL(gradient_new(c.img, 1, &run, &e), 0);
        for (int64_t k = 0; k < gradient_input_floats(run); k++)
            gradient_input(run, 0)[k] = fixture_float(&state, -1, 1);
        gradient_forward(run, 1, 0);
        n = (size_t)gradient_output_floats(run);
        answers[blocked] = malloc(n * sizeof(float));
        CU_ASSERT_PTR_NOT_NULL_FATAL(answers[blocked]);
        memcpy(answers[blocked], gradient_output(run, 0), n * sizeof(float));
        gradient_free(run);
        fixture_discard(&c);
    }
    float off = 0;
    for (size_t k = 0; k < n; k++) off = fmaxf(off, fabsf(answers[0][k] - answers[1][k]));
    CU_ASSERT(n == 4096 && off < 1e-3f);
    free(answers[0]);
    free(answers[1]);
    graph_free(g);
}

SUITE(image_write, {"everything is where it belongs", everything_is_where_it_belongs},
      {"the checksum is that of the file", the_checksum_is_that_of_the_file},
      {"no byte beyond the room", no_byte_beyond_the_room},
      {"what the check would refuse is not written", what_the_check_would_refuse_is_not_written},
      {"without preprocessing, pictures go in as they are", without_preprocessing_pictures_go_in_as_they_are},
      {"long names are cut between characters", long_names_are_cut_between_characters},
      {"what is given back is not looked at again", what_is_given_back_is_not_looked_at_again},
      {"probabilities are told from scores", probabilities_are_told_from_scores},
      {"groups are not cut", groups_are_not_cut});
