/* Connections, over both back ends, with real models: right answers to right ids,
 * refusals that cost only what they must, and clients of every bad habit. */
#include "daemon/connection.h"
#include "tests/connection_case.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct rig_options usual = {0};

/* --- answers --------------------------------------------------------------------------- */

static void pipelined(struct rig *r) {
    struct clpd_infer q = case_ask(1);
    struct answer a;
    bool seen[12] = {false};
    const int fd = rig_connect(r);
    for (uint64_t id = 0; id < 12; id++) {
        const float x[] = {(float)id, 1, 2, 3};
        CU_ASSERT_TRUE(rig_send_infer(r, fd, id + 100, &q, x, sizeof x));
    }
    for (int i = 0; i < 12; i++) {
        CU_ASSERT_TRUE_FATAL(case_hear(r, fd, &a));
        CU_ASSERT_EQUAL(a.h.type, CLPD_INFER_REPLY);
        CU_ASSERT_EQUAL(a.r.status, CLPD_OK);
        CU_ASSERT_TRUE_FATAL(a.h.id >= 100 && a.h.id < 112 && !seen[a.h.id - 100]);
        seen[a.h.id - 100] = true;
        CU_ASSERT_EQUAL(a.r.items, 1);
        CU_ASSERT_EQUAL(a.r.classes, 4);
        CU_ASSERT_EQUAL(a.r.version, 1);
        CU_ASSERT_TRUE(a.r.batch >= 1 && a.r.batch <= 8);
        CU_ASSERT_EQUAL(a.scores[0], 2.0f * (float)(a.h.id - 100));
        CU_ASSERT_EQUAL(a.scores[3], 6);
    }
    CU_ASSERT_EQUAL(r->server.counters.ok, 12);
    close(fd);
}
static void test_pipelined(void) {
    case_on_both(&usual, pipelined);
}

static void top_and_labels(struct rig *r) {
    struct clpd_infer q = case_ask(2);
    struct answer a;
    const int fd = rig_connect(r);
    q.format = CLPD_U8_NHWC;
    q.dims[1] = q.dims[2] = 2, q.dims[3] = 1;
    q.top_k = 3;
    q.flags = 0;
    const uint8_t x[8] = {10, 40, 30, 20, 5, 6, 7, 8};
    CU_ASSERT_TRUE(rig_send_infer(r, fd, 1, &q, x, sizeof x));
    CU_ASSERT_TRUE_FATAL(case_hear(r, fd, &a));
    CU_ASSERT_EQUAL(a.r.status, CLPD_OK);
    CU_ASSERT_EQUAL(a.r.items, 2);
    CU_ASSERT_EQUAL(a.r.top_k, 3);
    CU_ASSERT_EQUAL(a.r.has_scores, 0);
    CU_ASSERT_TRUE(a.top[0].index == 1 && a.top[1].index == 2 && a.top[2].index == 3);
    CU_ASSERT_TRUE(a.top[3].index == 3 && a.top[4].index == 2 && a.top[5].index == 1);
    CU_ASSERT_TRUE(a.top[0].probability > a.top[1].probability && a.top[0].probability <= 1);
    CU_ASSERT_EQUAL(a.top[0].label, a.top[5].label); /* each label once */
    CU_ASSERT_STRING_EQUAL(a.text + a.top[0].label, "class 1");
    q.top_k = CLPD_MAX_TOP_K; /* cut to the classes */
    CU_ASSERT_TRUE(rig_send_infer(r, fd, 2, &q, x, sizeof x));
    CU_ASSERT_TRUE_FATAL(case_hear(r, fd, &a));
    CU_ASSERT_EQUAL(a.r.top_k, 4);
    close(fd);
}
static void test_top(void) {
    case_on_both(&usual, top_and_labels);
}

/* --- limits ---------------------------------------------------------------------------------- */

/* A client that never reads: it is not read from beyond its limit, and others are served. */
static void no_reader(struct rig *r) {
    const struct clpd_infer q = case_ask(1);
    const float x[4] = {1, 1, 1, 1};
    struct answer a;
    const int fd = rig_connect(r), other = rig_connect(r);
    struct clpd_header h;
    (void)frame_write_header((uint8_t *)&h, CLPD_INFER, 1, sizeof q + sizeof x);
    size_t sent = 0;
    for (int idle = 0; idle < 20;) { /* until its socket is full and stays so */
        uint8_t frame[sizeof h + sizeof q + sizeof x];
        memcpy(frame, &h, sizeof h);
        memcpy(frame + sizeof h, &q, sizeof q);
        memcpy(frame + sizeof h + sizeof q, x, sizeof x);
        ssize_t n = send(fd, frame, sizeof frame, MSG_NOSIGNAL);
        if (n == (ssize_t)sizeof frame)
            sent++, idle = 0;
        else if (n > 0)
            break; /* a part: enough */
        else
            idle++, rig_turn(r, 1);
    }
    CU_ASSERT_TRUE(sent > 16);
    CU_ASSERT_TRUE(r->server.connections->n_inflight <= 16 && r->server.slots.n_taken <= 32);
    CU_ASSERT_TRUE(rig_send_infer(r, other, 2, &q, x, sizeof x));
    CU_ASSERT_TRUE(case_hear(r, other, &a) && a.r.status == CLPD_OK);
    for (size_t i = 0; i < sent; i++) /* it wakes up: every one is answered */
        if (!case_hear(r, fd, &a) || a.r.status != CLPD_OK) {
            CU_FAIL("an answer is missing");
            break;
        }
    close(fd);
    close(other);
}
static void test_no_reader(void) {
    case_on_both(&usual, no_reader);
}

/* Four slots, more clients: each request has an answer, OK or BUSY, and BUSY comes at once. */
static void busy(struct rig *r) {
    const struct clpd_infer q = case_ask(1000);
    uint8_t *tensor = calloc(1000, 16);
    struct answer *a = malloc(sizeof *a);
    int fds[6];
    unsigned statuses[2] = {0, 0};
    for (int i = 0; i < 6; i++) fds[i] = rig_connect(r);
    for (int i = 0; i < 6; i++)
        for (uint64_t k = 0; k < 3; k++) CU_ASSERT_TRUE(rig_send_infer(r, fds[i], k, &q, tensor, 16000));
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 3; k++) {
            CU_ASSERT_TRUE_FATAL(case_hear(r, fds[i], a));
            CU_ASSERT_TRUE_FATAL(a->r.status == CLPD_OK || a->r.status == CLPD_BUSY);
            statuses[a->r.status]++;
        }
    CU_ASSERT_TRUE(statuses[CLPD_OK] >= 4);
    CU_ASSERT_EQUAL(statuses[0] + statuses[1], 18);
    CU_ASSERT_EQUAL(r->server.counters.busy, statuses[1]);
    for (int i = 0; i < 6; i++) close(fds[i]);
    free(tensor);
    free(a);
}
static void test_busy(void) {
    case_on_both(&(struct rig_options){.queue = 4}, busy);
    /* with one slot, one after the other: never BUSY, the place is free before the answer is read */
    for (int kind = LOOP_URING; kind <= LOOP_EPOLL; kind++) {
        struct rig r;
        struct answer a;
        const struct clpd_infer q = case_ask(1);
        const float x[4] = {1, 1, 1, 1};
        if (!rig_open(&r, &(struct rig_options){.loop = (enum loop_kind)kind, .queue = 1})) continue;
        CU_ASSERT_TRUE_FATAL(rig_load(&r, "two", 1, &(struct case_network){.factor = 2}));
        const int fd = rig_connect(&r);
        for (uint64_t i = 0; i < 200; i++) {
            CU_ASSERT_TRUE(rig_send_infer(&r, fd, i, &q, x, sizeof x));
            CU_ASSERT_TRUE_FATAL(case_hear(&r, fd, &a));
            CU_ASSERT_EQUAL(a.r.status, CLPD_OK);
        }
        close(fd);
        rig_close(&r);
    }
}

static void too_many(struct rig *r) {
    int fds[9];
    struct answer a;
    for (int i = 0; i < 8; i++) fds[i] = rig_connect(r);
    fds[8] = rig_connect(r);
    CU_ASSERT_TRUE_FATAL(case_hear(r, fds[8], &a));
    CU_ASSERT_TRUE(a.h.type == CLPD_ERROR && a.r.status == CLPD_BUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(a.text, "limits.connections"));
    CU_ASSERT_TRUE(rig_is_closed(r, fds[8]));
    close(fds[0]); /* and there is room again */
    rig_turn(r, 5);
    close(fds[8]);
    fds[0] = rig_connect(r);
    const struct clpd_infer q = case_ask(1);
    CU_ASSERT_EQUAL(case_status(r, fds[0], &q, 16, ""), CLPD_OK);
    for (int i = 0; i < 8; i++) close(fds[i]);
}
static void test_too_many(void) {
    case_on_both(&usual, too_many);
}

/* --- clients that leave ----------------------------------------------------------------------- */

static void cut_off(struct rig *r) {
    const struct clpd_infer q = case_ask(1000);
    uint8_t *frame = calloc(1, FRAME_HEADER + sizeof q + 16000);
    static const size_t cuts[] = {1, 31, 32, 33, 127, 128, 129, 4000, 9000, 15000, 16127};
    (void)frame_write_header(frame, CLPD_INFER, 1, sizeof q + 16000);
    memcpy(frame + FRAME_HEADER, &q, sizeof q);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++)
        for (int half = 0; half < 2; half++) {
            const int fd = rig_connect(r);
            CU_ASSERT_TRUE(rig_send(r, fd, frame, cuts[i]));
            if (i % 2) rig_turn(r, 1);
            if (half)
                (void)shutdown(fd, SHUT_WR); /* sends no more, but is there */
            else
                close(fd);
            for (int k = 0; k < 200 && r->server.n_connections; k++) rig_turn(r, 1);
            CU_ASSERT_EQUAL(r->server.slots.n_taken, 0);
            CU_ASSERT_EQUAL(r->server.n_connections, 0);
            if (half) close(fd);
        }
    free(frame);
}
static void test_cut_off(void) {
    case_on_both(&usual, cut_off);
}

/* One that says it sends no more gets its answers; one that dies leaves nothing behind. */
static void half_closed(struct rig *r) {
    const struct clpd_infer q = case_ask(100);
    uint8_t tensor[1600] = {0};
    struct answer a;
    int fd = rig_connect(r);
    for (uint64_t i = 0; i < 8; i++) CU_ASSERT_TRUE(rig_send_infer(r, fd, i, &q, tensor, sizeof tensor));
    CU_ASSERT_EQUAL(shutdown(fd, SHUT_WR), 0);
    for (int i = 0; i < 8; i++) CU_ASSERT_TRUE(case_hear(r, fd, &a) && a.r.status == CLPD_OK);
    CU_ASSERT_TRUE(rig_is_closed(r, fd));
    close(fd);
    for (int round = 0; round < 20; round++) {
        fd = rig_connect(r);
        for (uint64_t i = 0; i < 8; i++) CU_ASSERT_TRUE(rig_send_infer(r, fd, i, &q, tensor, sizeof tensor));
        if (round % 2) rig_turn(r, 1);
        close(fd);
    }
    for (int i = 0; i < 200 && (r->server.n_connections || r->server.slots.n_taken); i++) rig_turn(r, 1);
    CU_ASSERT_EQUAL(r->server.n_connections, 0);
    CU_ASSERT_EQUAL(r->server.slots.n_taken, 0);
    CU_ASSERT_EQUAL(workers_queued(r->workers), 0);
}
static void test_half_closed(void) {
    case_on_both(&usual, half_closed);
}

/* One that has as many requests under way as it may is not read from; it leaves, and what waits is not
 * computed. */
static void left_in_the_middle(struct rig *r) {
    struct clpd_infer slow = case_ask(30);
    uint8_t *tensor = calloc(30, 16384);
    CU_ASSERT_TRUE_FATAL(rig_load(r, "slow", 1, &(struct case_network){.width = 64, .work = 8, .factor = 1}));
    strcpy(slow.model, "slow");
    slow.flags = 0;
    slow.dims[2] = slow.dims[3] = 64;
    const int fd = rig_connect(r);
    for (uint64_t i = 0; i < 4; i++) CU_ASSERT_TRUE(rig_send_infer(r, fd, i, &slow, tensor, 30 * 16384));
    for (int i = 0; i < 200 && r->server.slots.n_taken < 4; i++) rig_turn(r, 1);
    close(fd);
    for (int i = 0; i < 2000 && r->server.n_connections; i++) rig_turn(r, 1);
    CU_ASSERT_EQUAL(r->server.n_connections, 0);
    CU_ASSERT_EQUAL(r->server.slots.n_taken, 0);
    CU_ASSERT_EQUAL(workers_queued(r->workers), 0);
    free(tensor);
}
static void test_left(void) {
    case_on_both(&(struct rig_options){.inflight = 4}, left_in_the_middle);
}

/* --- time ----------------------------------------------------------------------------------------- */

static void late(struct rig *r) {
    struct clpd_infer slow = case_ask(60), quick = case_ask(1);
    struct answer *a = malloc(sizeof *a);
    uint8_t *tensor = calloc(60, 65536);
    unsigned deadline = 0, ok = 0;
    CU_ASSERT_TRUE_FATAL(rig_load(r, "slow", 1, &(struct case_network){.width = 64, .work = 8, .factor = 1}));
    strcpy(slow.model, "slow");
    slow.flags = 0;
    slow.dims[2] = slow.dims[3] = 64;
    quick.timeout_us = 1;
    const int fd = rig_connect(r);
    for (uint64_t i = 0; i < 2; i++) CU_ASSERT_TRUE(rig_send_infer(r, fd, i, &slow, tensor, 60 * 16384));
    CU_ASSERT_TRUE(rig_send_infer(r, fd, 7, &quick, tensor, 16));
    CU_ASSERT_TRUE_FATAL(case_hear(r, fd, a));
    for (int i = 0; i < 3; i++) {
        deadline += a->r.status == CLPD_DEADLINE && a->h.id == 7;
        ok += a->r.status == CLPD_OK && a->h.id < 2;
        if (i < 2) CU_ASSERT_TRUE_FATAL(case_hear(r, fd, a));
    }
    CU_ASSERT_EQUAL(deadline, 1);
    CU_ASSERT_EQUAL(ok, 2);
    close(fd);
    free(a);
    free(tensor);
}
static void test_late(void) {
    case_on_both(&(struct rig_options){.threads = 1, .request_bytes = 1 << 22}, late);
}

static void draining(struct rig *r) {
    const struct clpd_infer q = case_ask(1000);
    uint8_t *tensor = calloc(1000, 16);
    struct answer *a = malloc(sizeof *a);
    const int fd = rig_connect(r);
    unsigned ok = 0, told = 0;
    for (uint64_t i = 0; i < 10; i++) CU_ASSERT_TRUE(rig_send_infer(r, fd, i, &q, tensor, 16000));
    rig_turn(r, 1);
    server_drain(&r->server);
    CU_ASSERT_TRUE(rig_send_infer(r, fd, 10, &q, tensor, 16000));
    for (int i = 0; i < 11; i++) {
        CU_ASSERT_TRUE_FATAL(case_hear(r, fd, a));
        ok += a->r.status == CLPD_OK;
        told += a->r.status == CLPD_SHUTTING_DOWN;
    }
    CU_ASSERT_EQUAL(ok + told, 11);
    CU_ASSERT_TRUE(told >= 1);
    for (int k = 0; k < 200 && !server_is_drained(&r->server); k++) rig_turn(r, 1);
    CU_ASSERT_TRUE(server_is_drained(&r->server));
    close(fd);
    free(tensor);
    free(a);
}
static void test_draining(void) {
    case_on_both(&usual, draining);
}

static void stalled(struct rig *r) {
    const struct clpd_infer q = case_ask(1);
    const int idle = rig_connect(r), middle = rig_connect(r);
    uint8_t frame[FRAME_HEADER];
    (void)frame_write_header(frame, CLPD_INFER, 1, sizeof q + 16);
    CU_ASSERT_TRUE(rig_send(r, middle, frame, 20));
    rig_turn(r, 2);
    const uint64_t now = loop_clock();
    unsigned stalls = 0;
    for (const struct connection *c = r->server.connections; c; c = c->next) {
        CU_ASSERT_FALSE(connection_is_stalled(c, now));
        stalls +=
            connection_is_stalled(c, now + 2 * SERVER_STALL); /* only who is in the middle of something */
    }
    CU_ASSERT_EQUAL(stalls, 1);
    close(idle);
    close(middle);
}
static void test_stalled(void) {
    case_on_both(&usual, stalled);
}

SUITE(connection, {"pipelined requests, answers by id", test_pipelined},
      {"best classes and labels", test_top}, {"a client that does not read", test_no_reader},
      {"BUSY where the slots are used up", test_busy}, {"one connection too many", test_too_many},
      {"frames that are cut off", test_cut_off}, {"half closed, and dead", test_half_closed},
      {"left in the middle", test_left}, {"deadlines", test_late}, {"draining", test_draining},
      {"stalls", test_stalled});
