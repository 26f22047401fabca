/* The server behind a real socket: many clients at once from threads, BUSY of the
 * batcher, and nothing left behind. */
#include "client/clpd.h"
#include "daemon/server.h"
#include "daemon/socket_file.h"
#include "tests/daemon_case.h"
#include "tests/suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLIENTS = 6, EACH = 300 };

struct caller {
    const char *path;
    float mark;
    uint32_t ok, busy, wrong;
    _Atomic uint32_t *n_done;
};

static void check(struct caller *c, const struct clpd_result *r) {
    if (r->status == CLPD_BUSY)
        c->busy++;
    else if (r->status == CLPD_OK && r->scores && r->scores[0] == 2 * c->mark)
        c->ok++;
    else
        c->wrong++;
}

static void *call(void *arg) {
    struct caller *c = arg;
    struct clpd *connection;
    struct clpd_result r;
    const float x[4] = {c->mark, 1, 2, 3};
    const struct clpd_request q = {
        .model = "two", .format = CLPD_F32_NCHW, .dims = {1, 1, 2, 2}, .data = x, .want_scores = 1};
    if (clpd_connect(c->path, &connection) == 0) {
        clpd_set_timeout(connection, 5000);
        for (int i = 0; i < EACH; i++) {
            if (clpd_submit(connection, &q, NULL)) c->wrong++;
            while (clpd_pending(connection) >= 8 && clpd_poll(connection, 5000, &r) == 1) check(c, &r);
        }
        while (clpd_pending(connection) && clpd_poll(connection, 5000, &r) == 1) check(c, &r);
    }
    clpd_close(connection);
    atomic_fetch_add(c->n_done, 1);
    return NULL;
}

static void many_clients(enum loop_kind kind, uint32_t queue, bool may_be_busy) {
    struct rig r;
    struct err e = {0};
    struct socket_file f;
    char path[64];
    pthread_t threads[CLIENTS];
    struct caller callers[CLIENTS] = {0};
    _Atomic uint32_t n_done = 0;
    if (!rig_open(&r, &(struct rig_options){.loop = kind, .queue = queue})) return;
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "two", 1, &(struct case_network){.factor = 2}));
    (void)snprintf(path, sizeof path, "/tmp/clpd-server-%d.sock", (int)getpid());
    const int fd = socket_file_make(&f, path, 0600, "", &e);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL_FATAL(server_listen(&r.server, fd, &e), 0);
    for (int i = 0; i < CLIENTS; i++) {
        callers[i] = (struct caller){.path = path, .mark = (float)(i + 1), .n_done = &n_done};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
    }
    const uint64_t end = loop_clock() + 20000000000u;
    while (atomic_load(&n_done) < CLIENTS && loop_clock() < end) (void)loop_turn(r.loop, 10000000);
    uint32_t ok = 0, busy = 0, wrong = 0;
    for (int i = 0; i < CLIENTS; i++) {
        (void)pthread_join(threads[i], NULL);
        ok += callers[i].ok, busy += callers[i].busy, wrong += callers[i].wrong;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(ok + busy, CLIENTS * EACH);
    CU_ASSERT_EQUAL(r.server.counters.ok, ok);
    CU_ASSERT_EQUAL(r.server.counters.busy, busy);
    CU_ASSERT_TRUE(ok > 0 && (may_be_busy || busy == 0));
    for (int i = 0; i < 200 && r.server.n_connections; i++) rig_turn(&r, 1);
    CU_ASSERT_EQUAL(r.server.n_connections, 0);
    CU_ASSERT_EQUAL(r.server.slots.n_taken, 0);
    socket_file_remove(&f);
    rig_close(&r);
    close(fd);
}

static void plenty(void) {
    many_clients(LOOP_URING, 64, false);
    many_clients(LOOP_EPOLL, 64, false);
}

static void few_slots(void) {
    many_clients(LOOP_URING, 3, true);
    many_clients(LOOP_EPOLL, 3, true);
}

SUITE(server, {"six clients, all answered", plenty}, {"three slots: answered or BUSY", few_slots});
