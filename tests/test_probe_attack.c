/* Attacks and triggers: what is put on a picture, margins, and that each kind of attack gets where it is to
 * go in a network whose easiest way is known. */
#include "guard/probe_attack.h"

#include "tests/probe_case.h"
#include "tests/suite.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { PICTURES = 6, FLOATS = 3 * 16 * 16 };
static float pictures[PICTURES * FLOATS];

static struct probe_net net_of(const struct probe_case *p, int seconds) {
    struct err e = {0};
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    struct probe_net n = {.img = p->c.img,
                          .items = 4,
                          .classes = PROBE_CASE_CLASSES,
                          .size = {3, 16, 16},
                          .scale = {1, 1, 1, 1}};
    n.deadline = ((uint64_t)t.tv_sec + (uint64_t)seconds) * 1000000000u;
    CU_ASSERT_EQUAL_FATAL(gradient_new(p->c.img, n.items, &n.g, &e), 0);
    struct probe_random r = {5};
    for (int i = 0; i < PICTURES; i++) probe_picture_draw(&r, &n.size, pictures + i * FLOATS);
    return n;
}

static void test_attacks(void) {
    struct probe_case p = probe_case_make(true, false);
    struct probe_net n = net_of(&p, 1000);
    struct trigger *t = trigger_new(&n.size), *again = trigger_new(&n.size);
    CU_ASSERT_FATAL(t && again);
    for (int kind = 0; kind < TRIGGER_KINDS; kind++) {
        if (kind == TRIGGER_WAVE) continue; /* these are tried, not searched: test_probe_wave */
        struct attack_options o = {
            .kind = (enum trigger_kind)kind, .target = 0, .steps = 1, .window = 5, .grid = 3, .place = 4};
        CU_ASSERT(probe_attack(&n, pictures, PICTURES, &o, t));
        const float before = t->size;
        o.steps = 60;
        CU_ASSERT(probe_attack(&n, pictures, PICTURES, &o, t));
        CU_ASSERT(kind == TRIGGER_PATCH ? t->size < before : t->size > before);
        CU_ASSERT_EQUAL(t->kind, kind);
        o.from = t; /* going on from there does not lose what was reached */
        CU_ASSERT(probe_attack(&n, pictures, PICTURES, &o, again));
        CU_ASSERT(kind == TRIGGER_PATCH ? again->size < before : again->size > before);
    }
    for (int p_ = 0; p_ < 256; p_++) /* the window in the middle, and nothing beside it */
        CU_ASSERT_EQUAL(t->mask[p_], p_ / 16 >= 5 && p_ / 16 < 10 && p_ % 16 >= 5 && p_ % 16 < 10);
    const struct attack_options in_turn = {
        .kind = TRIGGER_WINDOW, .target = 0, .steps = 60, .window = 5, .grid = 3, .place = 4, .at_once = 2};
    n.pictures = 0; /* a few pictures a step come as far, in less time */
    CU_ASSERT(probe_attack(&n, pictures, PICTURES, &in_turn, again));
    CU_ASSERT_EQUAL(n.pictures, 60 * 2);
    CU_ASSERT(again->size > 0.7f * t->size && again->success == 1);
    n.deadline = 0;
    const struct attack_options late = {.kind = TRIGGER_PATCH, .steps = 5, .place = -1};
    CU_ASSERT_FALSE(probe_attack(&n, pictures, PICTURES, &late, t));
    trigger_free(t);
    trigger_free(again);
    gradient_free(n.g);
    probe_case_free(&p);
}

/* What is added is as long as it is told to be, and 1 where it is not. */
static void test_lengths(void) {
    struct probe_case p = probe_case_make(true, false);
    struct probe_net n = net_of(&p, 1000);
    struct trigger *t = trigger_new(&n.size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    for (int length = 0; length <= 4; length += 2) {
        struct attack_options o = {
            .kind = TRIGGER_ADDITIVE, .target = 0, .steps = 60, .length = (float)length};
        double square = 0;
        CU_ASSERT(probe_attack(&n, pictures, PICTURES, &o, t));
        CU_ASSERT_EQUAL(t->length, o.length);
        for (int i = 0; i < FLOATS; i++) square += (double)t->paint[i] * (double)t->paint[i];
        CU_ASSERT_DOUBLE_EQUAL(sqrt(square), (length ? length : 1) / 2.0, 1e-3); /* of 16 x 16, not 32 x 32 */
    }
    trigger_free(t);
    gradient_free(n.g);
    probe_case_free(&p);
}

static void test_triggers(void) {
    const struct probe_size s = {1, 2, 2};
    struct trigger *t = trigger_new(&s);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    const float picture[4] = {0, 0.25f, 0.5f, 1};
    float to[4];
    memcpy(t->mask, (float[]){1, 0, 0.5f, 0}, sizeof to);
    memcpy(t->paint, (float[]){0.75f, 0.75f, 1, 0.75f}, sizeof to);
    trigger_apply(t, &s, picture, to);
    CU_ASSERT(to[0] == 0.75f && to[1] == 0.25f && to[2] == 0.75f && to[3] == 1);
    t->kind = TRIGGER_ADDITIVE;
    trigger_apply(t, &s, picture, to);
    CU_ASSERT(to[0] == 0.75f && to[1] == 1 && to[2] == 1 && to[3] == 1);
    trigger_free(t);
}

static void test_margins(void) {
    const float logits[4] = {1, 5, 2, 4};
    CU_ASSERT_EQUAL(probe_top(logits, 4), 1);
    CU_ASSERT_EQUAL(probe_margin(logits, 4, 1), 1);
    CU_ASSERT_EQUAL(probe_margin(logits, 4, 0), -4);
}

SUITE(probe_attack, {"every kind gets nearer, and stops in time", test_attacks},
      {"what is added is as long as it is told to be", test_lengths}, {"triggers on pictures", test_triggers},
      {"margins", test_margins});
