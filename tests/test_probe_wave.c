/* Plain waves: of all of them, the one that a class answers to is found from the answers alone. */
#include "guard/probe_internal.h"

#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>

enum { CLASSES = 6, STRIPED = 4, SIDE = 16, FLOATS = 3 * SIDE * SIDE, ACROSS = 5 };

/* [1,3,16,16] to 6 classes, linear: weights of chance, and one class that answers to five stripes. */
static struct compiled make_net(struct graph **g) {
    static float w[CLASSES * FLOATS], b[CLASSES];
    uint64_t state = 11;
    for (int i = 0; i < CLASSES * FLOATS; i++) w[i] = fixture_float(&state, -0.05f, 0.05f);
    for (int i = 0; i < FLOATS; i++)
        w[STRIPED * FLOATS + i] = 0.1f * sinf(6.2831853f * ACROSS * (float)(i % SIDE) / SIDE);
    *g = fixture_graph();
    const int32_t x = fixture_reshape(*g, fixture_input(*g, SHAPE(1, 3, SIDE, SIDE)), SHAPE(1, FLOATS)),
                  in[3] = {x, fixture_constant(*g, SHAPE(CLASSES, FLOATS), w),
                           fixture_constant(*g, SHAPE(CLASSES), b)};
    fixture_output(*g, fixture_node(*g, OP_GEMM, &(union op_params){.gemm = {1, 1, 0, 1}}, 3, in));
    return fixture_compile_keep(*g, true);
}

static void start(struct probe *p, const struct compiled *c, const struct probe_options *o) {
    static float drawn[DRAWN * FLOATS], margins[DRAWN * CLASSES], attacked[ATTACKED * FLOATS], shown[FLOATS];
    static struct class classes[CLASSES];
    static float won[CLASSES];
    struct err e = {0};
    *p = (struct probe){.o = o,
                        .floats = FLOATS,
                        .drawn = drawn,
                        .margins = margins,
                        .attacked = attacked,
                        .shown = shown,
                        .classes = classes,
                        .won = won,
                        .spread = 1,
                        .net = {.img = c->img,
                                .deadline = UINT64_MAX,
                                .items = 4,
                                .classes = CLASSES,
                                .size = {3, SIDE, SIDE},
                                .scale = {1, 1, 1, 1}}};
    CU_ASSERT_EQUAL_FATAL(gradient_new(c->img, 4, &p->net.g, &e), 0);
    p->places[0] = trigger_new(&p->net.size);
    probe_draw_round(p, 0);
}

/* Stripes and nothing else: alike in all rows and colours, ACROSS times around. */
static void check_stripes(const struct trigger *t) {
    double square = 0, alike = 0;
    for (int i = 0; i < FLOATS; i++) {
        square += (double)t->paint[i] * (double)t->paint[i];
        alike += (double)t->paint[i] * sin(6.283185307 * ACROSS * (i % SIDE) / SIDE);
    }
    CU_ASSERT_DOUBLE_EQUAL(sqrt(square), LONGEST / 2, 1e-3); /* a quarter of 3 x 32 x 32: half as long */
    CU_ASSERT(alike / sqrt(square * FLOATS / 2) > 0.999);
}

static void test_found(void) {
    const struct probe_options o = {.seed = 3};
    struct graph *g;
    struct compiled c = make_net(&g);
    struct probe p;
    start(&p, &c, &o);
    struct trigger *t = trigger_new(&p.net.size);
    CU_ASSERT_FATAL(t && p.places[0]);
    CU_ASSERT_TRUE(probe_screen_waves(&p, t));
    for (int k = 0; k < CLASSES; k++) {
        CU_ASSERT(k == STRIPED || 3 * p.classes[k].wave[0].won < p.classes[STRIPED].wave[0].won);
        for (int i = 1; i < BEST_WAVES; i++)
            CU_ASSERT(p.classes[k].wave[i].won <= p.classes[k].wave[i - 1].won);
    }
    CU_ASSERT_TRUE(probe_attack_wave(&p, STRIPED, 0, t));
    CU_ASSERT(t->kind == TRIGGER_WAVE && t->target == STRIPED && t->success == 1 && t->size > 1);
    check_stripes(t);
    const float best = t->size;
    CU_ASSERT_TRUE(probe_attack_wave(&p, STRIPED, 1, t));
    CU_ASSERT(t->size < best);
    p.net.deadline = 0;
    CU_ASSERT_FALSE(probe_screen_waves(&p, t));
    CU_ASSERT_FALSE(probe_attack_wave(&p, STRIPED, 0, t));
    CU_ASSERT_TRUE(p.late);
    trigger_free(t);
    trigger_free(p.places[0]);
    gradient_free(p.net.g);
    fixture_discard(&c);
    graph_free(g);
}

SUITE(probe_wave, {"the stripes that a class answers to", test_found});
