/* Teams: every part of every step runs once, whoever takes it; steps of several seats go on
 * side by side; helpers sleep between runs and wake for the next; seats come and go. */
#include "infer/team.h"

#include "tests/suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = 97, HANDS = 4 };

struct work {
    _Atomic int runs[PARTS];
    _Atomic int inside[HANDS]; /* a hand does one thing at a time */
    _Atomic int wrong;
};

static void count(const void *work, uint32_t part, uint32_t hand) {
    struct work *w = (struct work *)(uintptr_t)work;
    if (hand >= HANDS || part >= PARTS || atomic_fetch_add(&w->inside[hand], 1) != 0) {
        atomic_fetch_add(&w->wrong, 1);
        return;
    }
    if (part % 8 == 0) (void)sched_yield(); /* lets the others in */
    atomic_fetch_add(&w->runs[part], 1);
    atomic_fetch_sub(&w->inside[hand], 1);
}

/* Rounds with 0, 1, 2, … parts; how many went wrong. */
static int rounds(struct team_seat *s, int n) {
    int wrong = 0;
    struct work *w = malloc(sizeof *w);
    for (int r = 0; w && r < n; r++) {
        memset(w, 0, sizeof *w);
        const uint32_t parts = (uint32_t)r % (PARTS + 1);
        if (r % 7 == 0) team_begin(s);
        team_run(s, count, w, parts);
        if (r % 7 == 6) team_end(s);
        for (uint32_t i = 0; i < PARTS; i++) wrong += w->runs[i] != (i < parts);
        wrong += w->wrong;
    }
    if (n % 7) team_end(s);
    free(w);
    return w ? wrong : 1;
}

static void every_part_runs_once(void) {
    struct err e = {0};
    CU_ASSERT_EQUAL(team_hands(NULL), 1);
    CU_ASSERT_EQUAL(rounds(NULL, 99), 0);
    for (uint32_t helpers = 0; helpers < HANDS; helpers++) {
        struct team *t = team_new(helpers, NULL, &e);
        CU_ASSERT_PTR_NOT_NULL_FATAL(t);
        struct team_seat *s = team_sit(t);
        CU_ASSERT_PTR_NOT_NULL_FATAL(s);
        CU_ASSERT_EQUAL(team_hands(s), helpers + 1);
        CU_ASSERT_EQUAL(rounds(s, 400), 0);
        team_leave(s);
        team_free(t);
    }
}

struct caller {
    struct team *team;
    pthread_t thread;
    int wrong;
};

static void *call(void *arg) {
    struct caller *c = arg;
    struct team_seat *s = team_sit(c->team);
    c->wrong = s ? rounds(s, 300) : 1;
    team_leave(s);
    return NULL;
}

static void seats_share_the_helpers(void) {
    struct err e = {0};
    struct caller callers[3];
    struct team *t = team_new(2, (const int[]){0, 100000}, &e); /* a CPU that is not there is no matter */
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    for (int i = 0; i < 3; i++) {
        callers[i] = (struct caller){.team = t};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        (void)pthread_join(callers[i].thread, NULL);
        CU_ASSERT_EQUAL(callers[i].wrong, 0);
    }
    team_free(t);
    team_free(NULL);
}

static void seats_are_limited_and_come_back(void) {
    struct err e = {0};
    struct team *t = team_new(0, NULL, &e);
    struct team_seat *seats[TEAM_MAX_SEATS];
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    for (int i = 0; i < TEAM_MAX_SEATS; i++) CU_ASSERT_PTR_NOT_NULL(seats[i] = team_sit(t));
    CU_ASSERT_PTR_NULL(team_sit(t));
    team_leave(seats[7]);
    CU_ASSERT_PTR_EQUAL(team_sit(t), seats[7]);
    CU_ASSERT_EQUAL(rounds(seats[7], 300), 0);
    team_leave(NULL);
    team_free(t);
}

SUITE(team, {"every part runs once", every_part_runs_once},
      {"seats share the helpers", seats_share_the_helpers},
      {"seats are limited and come back", seats_are_limited_and_come_back});
