/* libclpd's rings against a served rig: the client in a thread of its own, the loop in ours. */
#include "client/clpd.h"

#include "tests/daemon_case.h"
#include "tests/suite.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct stage {
    struct rig r;
    int fd;
    _Atomic bool bounce; /* every connection is closed; who comes again is served */
    char folder[32], path[64];
    void (*client)(struct stage *s);
    _Atomic bool done, leave;
};

static void *act(void *arg) {
    struct stage *s = arg;
    s->client(s);
    s->done = true;
    return NULL;
}

/* Serves "m" (times 2, 4 by 4) on a socket of its own while `client` runs; `leave` is its word to close
 * everything. */
static void play(void (*client)(struct stage *s), uint32_t rings) {
    static struct stage s;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct err e;
    pthread_t thread;
    memset(&s, 0, sizeof s);
    if (!rig_open(&s.r, &(struct rig_options){.loop = LOOP_EPOLL, .rings = rings, .spin_ns = 20000})) return;
    CU_ASSERT_TRUE_FATAL(
        rig_load(&s.r, "m", 1, &(struct case_network){.factor = 2, .width = 4, .labels = 16}));
    (void)snprintf(s.folder, sizeof s.folder, "/tmp/clpd-ring-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(s.folder));
    (void)snprintf(s.path, sizeof s.path, "%s/s", s.folder);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", s.path);
    s.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_TRUE_FATAL(bind(s.fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                         listen(s.fd, 8) == 0);
    CU_ASSERT_EQUAL_FATAL(server_listen(&s.r.server, s.fd, &e), 0);
    s.client = client;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, act, &s), 0);
    while (!s.done && !s.leave) {
        if (s.bounce) (void)server_close_connections(&s.r.server);
        s.bounce = false;
        rig_turn(&s.r, 1);
    }
    if (s.leave) (void)server_close_connections(&s.r.server);
    while (!s.done) rig_turn(&s.r, 1);
    pthread_join(thread, NULL);
    rig_close(&s.r);
    close(s.fd);
    unlink(s.path);
    rmdir(s.folder);
}

static const struct clpd_ring_options four = {.slots = 4, .tensor_bytes = 2 * 16 * sizeof(float)};
static const struct clpd_request one = {.model = "m", .dims = {1, 1, 4, 4}, .top_k = 2, .want_scores = 1};

static struct clpd_ring *open_ring(const struct stage *s, int32_t spin_us) {
    struct clpd_ring_options o = four;
    struct clpd_ring *g;
    o.spin_us = spin_us;
    CU_ASSERT_EQUAL_FATAL(clpd_ring_open(s->path, &o, &g, NULL, 0), 0);
    return g;
}

static void right_answers(struct stage *s) {
    float x[16];
    struct clpd_result r;
    struct clpd_request q = one;
    q.data = x;
    for (int spin = -1; spin <= 1; spin++) { /* asleep at once, as it comes, a microsecond */
        struct clpd_ring *g = open_ring(s, spin);
        for (int i = 0; i < 100; i++) {
            for (int k = 0; k < 16; k++) x[k] = (float)(i + k);
            CU_ASSERT_EQUAL_FATAL(clpd_ring_classify(g, &q, 5000, &r), 0);
            CU_ASSERT_TRUE_FATAL(r.status == CLPD_OK && r.items == 1 && r.classes == 16 && r.top_k == 2);
            CU_ASSERT_TRUE(r.scores[3] == 2 * (float)(i + 3) && r.top[0].index == 15);
            CU_ASSERT_STRING_EQUAL(clpd_result_label(&r, &r.top[0]), "class 15");
        }
        CU_ASSERT_EQUAL(clpd_ring_pending(g), 0);
        clpd_ring_close(g);
    }
}

static void pipelining(struct stage *s) {
    struct clpd_ring *g = open_ring(s, 0);
    struct clpd_result r;
    uint64_t ids[4];
    uint32_t slot, slots[4];
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 4; i++) {
            CU_ASSERT_EQUAL_FATAL(clpd_ring_take(g, &slots[i]), 0);
            float *x = clpd_ring_tensor(g, slots[i]);
            CU_ASSERT_EQUAL((uintptr_t)x % 64, 0);
            for (int k = 0; k < 16; k++) x[k] = (float)(100 * i + k);
            CU_ASSERT_EQUAL_FATAL(clpd_ring_submit(g, slots[i], &one, &ids[i]), 0);
        }
        CU_ASSERT_EQUAL(clpd_ring_take(g, &slot), -EAGAIN);
        CU_ASSERT_EQUAL(clpd_ring_pending(g), 4);
        for (int n = 0; n < 4; n++) {
            CU_ASSERT_EQUAL_FATAL(clpd_ring_poll(g, 5000, &r, &slot), 1);
            int i = 0;
            while (i < 4 && slots[i] != slot) i++;
            CU_ASSERT_TRUE_FATAL(i < 4 && r.id == ids[i] && r.scores[1] == 2 * (float)(100 * i + 1));
            clpd_ring_give(g, slot);
        }
        CU_ASSERT_EQUAL(clpd_ring_poll(g, 0, &r, &slot), 0);
        CU_ASSERT_EQUAL(clpd_ring_poll(g, 1000, &r, &slot), 0); /* nothing awaited: at once */
    }
    clpd_ring_close(g);
}

static void mistakes(struct stage *s) {
    struct clpd_ring *g = open_ring(s, 0);
    struct clpd_request q = one;
    struct clpd_result r;
    uint32_t slot;
    float x[64] = {0};
    CU_ASSERT_EQUAL(clpd_ring_submit(g, 0, &one, NULL), -EINVAL); /* not taken */
    CU_ASSERT_EQUAL(clpd_ring_submit(g, 9, &one, NULL), -EINVAL);
    CU_ASSERT_PTR_NULL(clpd_ring_tensor(g, 4));
    clpd_ring_give(g, 2);
    clpd_ring_give(g, 99);
    CU_ASSERT_EQUAL_FATAL(clpd_ring_take(g, &slot), 0);
    q.dims[0] = 3; /* more than a slot holds */
    CU_ASSERT_EQUAL(clpd_ring_submit(g, slot, &q, NULL), -EINVAL);
    CU_ASSERT_TRUE(strlen(clpd_ring_error(g)) > 0);
    clpd_ring_give(g, slot);
    q = one;
    CU_ASSERT_EQUAL(clpd_ring_classify(g, &q, 1000, &r), -EINVAL); /* no tensor */
    q.data = x;
    q.model = "nothing";
    CU_ASSERT_EQUAL(clpd_ring_classify(g, &q, 5000, &r), 0);
    CU_ASSERT_EQUAL(r.status, CLPD_NO_MODEL);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "nothing"));
    q.model = "m";
    CU_ASSERT_EQUAL(clpd_ring_classify(g, &q, 5000, &r), 0);
    CU_ASSERT_EQUAL(r.status, CLPD_OK);
    clpd_ring_close(g);
    clpd_ring_close(NULL);
}

static void refused(struct stage *s) {
    struct clpd_ring *first = open_ring(s, 0), *g;
    char why[256];
    CU_ASSERT_EQUAL(clpd_ring_open(s->path, &four, &g, why, sizeof why), CLPD_BUSY); /* one ring is allowed */
    CU_ASSERT_PTR_NULL(g);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "limits.rings"));
    CU_ASSERT_EQUAL(clpd_ring_open("/nowhere/at/all", &four, &g, NULL, 0), -ENOENT);
    clpd_ring_close(first);
}

/* The daemon goes while a client sleeps on an answer. */
static void a_daemon_that_leaves(struct stage *s) {
    struct clpd_ring_options impatient = four;
    struct clpd_ring *g;
    impatient.spin_us = impatient.patience_ms = -1;
    CU_ASSERT_EQUAL_FATAL(clpd_ring_open(s->path, &impatient, &g, NULL, 0), 0);
    struct clpd_result r;
    uint32_t slot;
    CU_ASSERT_EQUAL_FATAL(clpd_ring_take(g, &slot), 0);
    CU_ASSERT_EQUAL_FATAL(clpd_ring_submit(g, slot, &one, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(clpd_ring_poll(g, 5000, &r, &slot), 1);
    s->leave = true;
    int rc = 0;
    const time_t patience = time(NULL) + 60;
    while (rc >= 0 && time(NULL) < patience) { /* what is asked before the end may still be answered */
        rc = clpd_ring_submit(g, slot, &one, NULL);
        if (rc == 0) rc = clpd_ring_poll(g, 5000, &r, &slot);
    }
    CU_ASSERT_EQUAL(rc, -ECONNRESET);
    CU_ASSERT_EQUAL(clpd_ring_submit(g, slot, &one, NULL), -ECONNRESET);
    clpd_ring_close(g);
}

/* It goes again and again, with requests under way and slots that are being written: nobody who uses the ring
 * notices. */
static void a_daemon_that_comes_back(struct stage *s) {
    struct clpd_ring *g = open_ring(s, 0);
    struct clpd_result r;
    uint64_t ids[3];
    uint32_t slots[3], mine, slot;
    CU_ASSERT_EQUAL_FATAL(clpd_ring_take(g, &mine), 0);
    float *kept = clpd_ring_tensor(g, mine);
    for (int round = 0; round < 60; round++) {
        kept[5] = (float)round;
        for (int i = 0; i < 3; i++) {
            if (i == round % 4) s->bounce = true;
            CU_ASSERT_EQUAL_FATAL(clpd_ring_take(g, &slots[i]), 0);
            float *x = clpd_ring_tensor(g, slots[i]);
            for (int k = 0; k < 16; k++) x[k] = (float)(1000 * round + 100 * i + k);
            CU_ASSERT_EQUAL_FATAL(clpd_ring_submit(g, slots[i], &one, &ids[i]), 0);
        }
        for (int n = 0; n < 3; n++) {
            int rc = 0;
            for (int turn = 0; rc == 0 && turn < 20000; turn++) { /* by looking only, and by waiting */
                rc = clpd_ring_poll(g, round % 2 ? 10 : 0, &r, &slot);
                if (rc == 0 && round % 2 == 0) (void)usleep(500);
            }
            CU_ASSERT_EQUAL_FATAL(rc, 1);
            int i = 0;
            while (i < 3 && slots[i] != slot) i++;
            CU_ASSERT_TRUE_FATAL(i < 3 && r.id == ids[i] && r.status == CLPD_OK);
            CU_ASSERT_EQUAL(r.scores[1], 2 * (float)(1000 * round + 100 * i + 1));
            clpd_ring_give(g, slot);
        }
        CU_ASSERT_EQUAL(kept[5], (float)round);
        CU_ASSERT_EQUAL(clpd_ring_pending(g), 0);
    }
    clpd_ring_close(g);
}

/* And one that does not come back in time. */
static void a_daemon_that_stays_away(struct stage *s) {
    struct clpd_ring_options o = four;
    struct clpd_ring *g;
    struct clpd_result r;
    uint32_t slot;
    o.patience_ms = 50;
    CU_ASSERT_EQUAL_FATAL(clpd_ring_open(s->path, &o, &g, NULL, 0), 0);
    CU_ASSERT_EQUAL_FATAL(clpd_ring_take(g, &slot), 0);
    CU_ASSERT_EQUAL(unlink(s->path), 0);
    s->bounce = true;
    while (s->bounce) (void)usleep(1000);
    CU_ASSERT_EQUAL_FATAL(clpd_ring_submit(g, slot, &one, NULL), 0); /* perhaps it is only being restarted */
    CU_ASSERT_EQUAL(clpd_ring_poll(g, -1, &r, &slot), -ECONNRESET);
    CU_ASSERT_PTR_NOT_NULL(strstr(clpd_ring_error(g), "did not come back"));
    CU_ASSERT_EQUAL(clpd_ring_submit(g, slot, &one, NULL), -ECONNRESET);
    clpd_ring_close(g);
}

static void test_coming_back(void) {
    play(a_daemon_that_comes_back, 8);
    play(a_daemon_that_comes_back, 1); /* it says BUSY until the old ring is gone */
}
static void test_staying_away(void) {
    play(a_daemon_that_stays_away, 8);
}
static void test_answers(void) {
    play(right_answers, 8);
}
static void test_pipelining(void) {
    play(pipelining, 8);
}
static void test_mistakes(void) {
    play(mistakes, 8);
}
static void test_refused(void) {
    play(refused, 1);
}
static void test_leaving(void) {
    play(a_daemon_that_leaves, 8);
}

static void gives_back(struct stage *s) {
    const struct clpd_ring_options large = {.slots = 4, .tensor_bytes = 1 << 16};
    struct clpd_ring *g;
    struct clpd_result r;
    uint32_t slots[4];
    float x[16] = {1};
    struct clpd_request q = one;
    q.data = x;
    CU_ASSERT_EQUAL_FATAL(clpd_ring_open(s->path, &large, &g, NULL, 0), 0);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL_FATAL(clpd_ring_take(g, &slots[i]), 0);
        memset(clpd_ring_tensor(g, slots[i]), 7, 1 << 16);
    }
    CU_ASSERT_EQUAL(clpd_ring_trim(g), 0);
    for (int i = 1; i < 4; i++) clpd_ring_give(g, slots[i]);
    const uint64_t bytes = clpd_ring_trim(g);
    CU_ASSERT_TRUE(bytes >= 3 << 16 && bytes <= 3 * ((1 << 16) + CLPD_RING_REPLY_BYTES));
    for (int i = 0; i < 4; i++) { /* zeros where it was given back, untouched where it was not */
        const uint8_t *at = clpd_ring_tensor(g, slots[i]);
        CU_ASSERT_EQUAL(at[1 << 15], i == 0 ? 7 : 0);
    }
    CU_ASSERT_EQUAL(clpd_ring_classify(g, &q, -1, &r), 0);
    CU_ASSERT_TRUE(r.status == CLPD_OK && r.scores[0] == 2);
    clpd_ring_close(g);
}
static void test_giving_back(void) {
    play(gives_back, 0);
}

SUITE(clpd_ring, {"one call: right answers, spinning and asleep", test_answers},
      {"four under way, answered in any order", test_pipelining}, {"mistakes cost nothing", test_mistakes},
      {"a refused ring says why", test_refused}, {"a daemon that leaves wakes who sleeps", test_leaving},
      {"memory of free slots goes back", test_giving_back},
      {"a daemon that comes back finds the ring where it was", test_coming_back},
      {"a daemon that stays away is given up", test_staying_away});
