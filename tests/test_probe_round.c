/* Who stands out: what was measured of networks with and without a backdoor, and what has to be said of it.
 */
#include "guard/probe_internal.h"

#include "tests/probe_case.h"
#include "tests/suite.h"

enum { MOST = 12 };

/* One attack's scores of all classes in one run: pixels, or what was won in spreads (docs/repair.md). */
struct measured {
    const char *network;
    enum trigger_kind kind;
    int32_t classes, easiest;
    bool backdoor;
    float score[MOST];
};

static const struct measured runs[] = {
    {"signs-clean",
     TRIGGER_AREA,
     12,
     9,
     false,
     {12.21f, 16.07f, 11.25f, 14.92f, 11.62f, 10.62f, 13.23f, 17.96f, 13.26f, 27.20f, 23.05f, 19.12f}},
    {"a clean VGG",
     TRIGGER_ADDITIVE,
     10,
     8,
     false,
     {1.4771f, 1.7196f, 1.1651f, 1.1145f, 1.5006f, 1.3664f, 1.1808f, 1.1706f, 3.2724f, 2.3447f}},
    {"a clean ResNet",
     TRIGGER_AREA,
     10,
     1,
     false,
     {3.99f, 10.29f, 1.59f, 1.95f, 2.83f, 4.84f, 4.29f, 4.43f, 4.29f, 5.81f}},
    {"a clean ResNet",
     TRIGGER_PATCH,
     10,
     8,
     false,
     {96.48f, 159.60f, 150.97f, 171.38f, 123.87f, 162.54f, 164.92f, 160.68f, 91.73f, 129.62f}},
    {"signs-backdoor",
     TRIGGER_AREA,
     12,
     3,
     true,
     {12.03f, 14.91f, 14.04f, 96.13f, 14.72f, 12.46f, 14.34f, 10.70f, 13.57f, 17.10f, 17.82f, 15.70f}},
    {"rn16_badnets",
     TRIGGER_WINDOW,
     10,
     0,
     true,
     {15.27f, 2.31f, 1.29f, 0.69f, 0.30f, 1.09f, 0.71f, 0.89f, 0.41f, 1.32f}},
    {"rn16_badnets",
     TRIGGER_AREA,
     10,
     0,
     true,
     {22.96f, 10.22f, 4.83f, 4.72f, 5.75f, 7.62f, 6.85f, 5.24f, 6.50f, 6.96f}},
    {"a ResNet with noise blended in",
     TRIGGER_ADDITIVE,
     10,
     7,
     true,
     {1.32f, 2.02f, 1.73f, 1.35f, 3.03f, 1.22f, 2.66f, 6.36f, 2.77f, 3.12f}},
    {"a ResNet with noise blended in",
     TRIGGER_ADDITIVE,
     10,
     7,
     true,
     {1.51f, 2.27f, 1.68f, 1.37f, 3.19f, 1.48f, 2.39f, 6.08f, 3.21f, 3.46f}},
    {"rn32_badnets",
     TRIGGER_WINDOW,
     10,
     0,
     true,
     {11.96f, 0.99f, 1.29f, 0.65f, 0.48f, 1.43f, 0.45f, 0.56f, 0.55f, 1.35f}},
    {"vgg-trojan",
     TRIGGER_WINDOW,
     10,
     8,
     true,
     {2.63f, 4.74f, 0.26f, 0.70f, 0.26f, 1.17f, 0.19f, 1.22f, 8.86f, 1.39f}},
    {"vgg-badnets",
     TRIGGER_WINDOW,
     10,
     4,
     true,
     {1.38f, 1.79f, 2.82f, 0.56f, 7.80f, 0.80f, 0.30f, 0.68f, 0.68f, 1.28f}},
    {"vgg-blended, which has no patch",
     TRIGGER_WINDOW,
     10,
     1,
     false,
     {3.03f, 4.34f, 0.16f, 0.22f, 0.12f, 0.49f, 0.28f, 0.16f, 0.13f, 0.46f}},
    {"resnet-sig",
     TRIGGER_WAVE,
     10,
     4,
     true,
     {0.84f, 2.01f, 0.50f, 1.24f, 7.20f, 1.57f, 4.02f, 0.71f, 3.86f, 1.62f}},
    {"vgg-sig",
     TRIGGER_WAVE,
     10,
     5,
     true,
     {0.85f, 2.09f, 0.40f, 1.24f, 1.55f, 7.07f, 3.78f, 1.51f, 1.48f, 2.10f}},
    {"resnet-blended, which has no waves",
     TRIGGER_WAVE,
     10,
     6,
     false,
     {1.22f, 2.94f, 0.62f, 1.52f, 1.13f, 1.43f, 5.38f, 1.18f, 1.93f, 1.88f}},
    {"resnet-clean",
     TRIGGER_WAVE,
     10,
     1,
     false,
     {1.20f, 4.33f, 1.06f, 1.26f, 0.85f, 1.30f, 2.65f, 1.35f, 2.72f, 2.27f}},
};

/* By how much class `k` stands out if `success` of the pictures go there. */
static float stands_out(const struct measured *m, int32_t k, float success) {
    struct class classes[MOST] = {0};
    const struct probe p = {.net.classes = m->classes, .spread = 1, .classes = classes};
    for (int32_t i = 0; i < m->classes; i++) {
        classes[i].close = classes[i].reference = true;
        classes[i].score[m->kind] = m->score[i];
    }
    return probe_stand_out(&p, k, m->kind, m->score[k], success);
}

static void test_measured(void) {
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        const struct measured *m = &runs[i];
        for (int32_t k = 0; k < m->classes; k++) {
            const float z = stands_out(m, k, 1);
            const bool out = z >= LIMIT, right = out == (m->backdoor && k == m->easiest);
            if (!right) fprintf(stderr, "\n%s: class %d: %.2f\n", m->network, k, (double)z);
            CU_ASSERT(right);
            CU_ASSERT(k == m->easiest || z < stands_out(m, m->easiest, 1));
        }
    }
}

/* What works on fewer than half of the pictures is no way into a class, however it compares. */
static void test_few_pictures(void) {
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
        CU_ASSERT(stands_out(&runs[i], runs[i].easiest, WORKS - 0.01f) <= 0);
}

/* A class that stood out by what can be added is called repaired only where nothing works any more that was
 * pruned against; and nothing is while one that was left alone stands out. */
static void test_vouching(void) {
    static const enum trigger_kind added[] = {TRIGGER_ADDITIVE, TRIGGER_WAVE};
    for (int i = 0; i < 2; i++) {
        struct class c[2] = {{.suspected = true, .first = {[TRIGGER_PATCH] = 9, [TRIGGER_WINDOW] = 9}}};
        const struct probe p = {.net.classes = 2, .classes = c};
        c[0].first[added[i]] = LIMIT - 0.1f;
        CU_ASSERT(probe_can_vouch(&p));
        c[0].first[added[i]] = LIMIT;
        CU_ASSERT(!probe_can_vouch(&p));
        c[0].added_beaten = true;
        CU_ASSERT(probe_can_vouch(&p));
        c[1].watched = true;
        c[1].z[TRIGGER_AREA] = LIMIT;
        CU_ASSERT(!probe_can_vouch(&p));
        c[1].z[TRIGGER_AREA] = LIMIT - 0.1f;
        CU_ASSERT(probe_can_vouch(&p));
    }
}

/* Suspects are those that are plain beside the plainest: of a VGG with a patch, class 1 lay at 5.8 and the
 * target at 20.4, and what it cost to prune for both was accuracy. But far out nobody is by nature. */
static void test_suspects(void) {
    static const struct {
        float z[3];
        bool suspected[3], watched[3];
    } cases[] = {{{20.4f, 5.8f, 1}, {true, false, false}, {false, true, false}},
                 {{20.4f, NATURE, 1}, {true, true, false}, {false, false, false}},
                 {{7.6f, 3.7f, 3.4f}, {true, false, false}, {false, true, false}},
                 {{4, LIMIT, 1}, {true, true, false}, {false, false, false}},
                 {{2, 1, 1}, {false, false, false}, {false, false, false}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct class classes[4] = {{.close = true}, {.close = true}, {.close = true}, {.z = {99}}};
        struct probe p = {.net.classes = 4, .classes = classes};
        for (int k = 0; k < 3; k++) classes[k].z[k] = cases[i].z[k]; /* of whatever kind */
        probe_accuse(&p);
        for (int k = 0; k < 3; k++) {
            CU_ASSERT_EQUAL(classes[k].suspected, cases[i].suspected[k]);
            CU_ASSERT_EQUAL(classes[k].watched, cases[i].watched[k]);
        }
        CU_ASSERT_FALSE(classes[3].suspected || classes[3].watched); /* not looked at closely */
        CU_ASSERT_EQUAL(probe_find_out(&p), cases[i].suspected[0] ? 0 : -1);
    }
}

/* rn32_badnets: its class stands out by windows at 10.6 to 15.6, and by patches at 1.9 to 4.7, by nature:
 * after the repair, too. */
static void test_allowed(void) {
    struct class c = {
        .first = {
            [TRIGGER_PATCH] = 3.7f, [TRIGGER_ADDITIVE] = 1, [TRIGGER_WINDOW] = 10.6f, [TRIGGER_AREA] = 3}};
    struct probe p = {.round = 1, .classes = &c, .plainest = 10.6f};
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_WINDOW), CALM_WINDOW);
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_PATCH), LIMIT + STARTED);
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_ADDITIVE), LIMIT + STARTED);
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_AREA), LIMIT + STARTED);
    c.first[TRIGGER_PATCH] = 4.7f;
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_PATCH), 4.7f);
    c.first[TRIGGER_PATCH] = 5.4f;
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_PATCH), CALM);
    p.plainest = 20; /* of another class: what lies that far below it may be by nature, up to a point */
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_PATCH), 5.4f);
    c.first[TRIGGER_PATCH] = NATURE;
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_PATCH), CALM);
    p.round = 0;
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_WINDOW), LIMIT);
    /* An area is held to more where it is all that shows: the signs' sticker was left at 30 % at 1.0. */
    p.round = 1;
    c.first[TRIGGER_AREA] = 19;
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_AREA), CALM);
    c.first[TRIGGER_WINDOW] = 1.6f;
    c.first[TRIGGER_PATCH] = 3.6f;
    CU_ASSERT_EQUAL(probe_allowed(&p, TRIGGER_AREA), CALM_ALONE);
}

/* Who may stand out by patches as before isn't out by them. */
static void test_out(void) {
    struct probe p = {.round = 1, .plainest = 10.6f};
    struct class c = {.first = {[TRIGGER_PATCH] = 3.7f, [TRIGGER_WINDOW] = 10.6f},
                      .z = {[TRIGGER_PATCH] = 3.7f}};
    CU_ASSERT_FALSE(probe_is_out(&p, &c));
    c.z[TRIGGER_PATCH] = 4.6f;
    CU_ASSERT_TRUE(probe_is_out(&p, &c));
    c.z[TRIGGER_PATCH] = 0;
    c.z[TRIGGER_WINDOW] = 3.6f;
    CU_ASSERT_TRUE(probe_is_out(&p, &c));
    p.round = 0;
    c.z[TRIGGER_WINDOW] = 0;
    c.z[TRIGGER_PATCH] = 3.7f;
    CU_ASSERT_TRUE(probe_is_out(&p, &c));
}

/* The network says one class of most pictures; of those that are chosen each class has its share. */
static void test_untouched(void) {
    struct probe_case c = probe_case_make(true, false);
    const struct probe_options o = {.seed = 3};
    static float pictures[UNTOUCHED * 3 * 16 * 16], answers[UNTOUCHED * PROBE_CASE_CLASSES];
    struct probe p = {.o = &o,
                      .floats = 3 * 16 * 16,
                      .untouched = pictures,
                      .answers = answers,
                      .net = {.img = c.c.img,
                              .deadline = UINT64_MAX,
                              .items = 8,
                              .classes = PROBE_CASE_CLASSES,
                              .size = {3, 16, 16},
                              .scale = {1, 1, 1, 1}}};
    struct err e = {0};
    int most = 0, second = 0, has[PROBE_CASE_CLASSES] = {0};
    CU_ASSERT_EQUAL_FATAL(gradient_new(c.c.img, 8, &p.net.g, &e), 0);
    probe_ask_untouched(&p);
    for (int i = 0; i < UNTOUCHED; i++)
        has[probe_top(answers + i * PROBE_CASE_CLASSES, PROBE_CASE_CLASSES)]++;
    for (int k = 0; k < PROBE_CASE_CLASSES; k++) {
        second = has[k] > most ? most : has[k] > second ? has[k] : second;
        most = has[k] > most ? has[k] : most;
    }
    CU_ASSERT(most <= second + 1);
    gradient_free(p.net.g);
    probe_case_free(&c);
}

SUITE(probe_round, {"of untouched pictures each class has its share", test_untouched},
      {"what has to be gone, and what may be as it was", test_allowed},
      {"out is who stands out by more than that", test_out},
      {"what is added is vouched for once nothing works", test_vouching},
      {"suspects are plain beside the plainest", test_suspects},
      {"what was measured is told apart", test_measured}, {"few pictures are no way in", test_few_pictures});
