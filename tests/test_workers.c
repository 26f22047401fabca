/* Workers without a server: batches over all threads, one version a batch, limits, stopping. */
#include "daemon/workers.h"
#include "tests/daemon_case.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 400 };

struct job {
    struct request r;
    float x[4];
    uint8_t reply[512];
};
static struct job jobs[N];
static _Atomic uint32_t n_done;
static struct batcher_queue queue;
static struct batcher_client client;
static struct version *current;

static struct version *current_of(const struct batcher_queue *q) {
    return q == &queue ? current : NULL;
}

static void on_complete(struct request *r) {
    (void)r;
    atomic_fetch_add(&n_done, 1);
}

static void on_retire(struct version *v) {
    version_free(v);
}

static struct version *load(float factor, uint64_t number, uint32_t max_batch) {
    struct err e = {0};
    struct image *img;
    uint64_t bytes;
    const int fd = case_image(&(struct case_network){.factor = factor, .work = 5}, "x", &bytes);
    const struct link_message offer = case_offer("m", number, "x", bytes);
    CU_ASSERT_EQUAL_FATAL(image_map(fd, true, &img, &e), 0);
    close(fd);
    struct version *v = version_new(img, &offer, max_batch, 1 << 20, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(v);
    v->retire = on_retire;
    v->signature = 1;
    return v;
}

static struct workers *start(uint32_t threads, uint32_t max_batch, uint32_t limit) {
    struct err e = {0};
    const struct workers_options o = {
        .threads = threads, .together = 3, .pin = true, .max_batch = max_batch, .limit = limit};
    struct workers *w = workers_start(&o, current_of, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    queue = (struct batcher_queue){.max_items = max_batch};
    client = (struct batcher_client){0};
    memset(jobs, 0, sizeof jobs);
    atomic_store(&n_done, 0);
    return w;
}

static struct request *prepare(int i, struct version *v) {
    struct job *j = &jobs[i];
    j->x[0] = (float)i;
    j->r = (struct request){.queue = &queue,
                            .client = &client,
                            .version = v,
                            .key = v->signature,
                            .input = (uint8_t *)j->x,
                            .items = 1,
                            .format = CLPD_F32_NCHW,
                            .want_scores = true,
                            .arrived_ns = loop_clock(),
                            .reply = j->reply,
                            .reply_room = sizeof j->reply,
                            .complete = on_complete};
    return &j->r;
}

static void await(uint32_t n) {
    const uint64_t end = loop_clock() + 5000000000u;
    while (atomic_load(&n_done) < n && loop_clock() < end) usleep(100);
    CU_ASSERT_EQUAL_FATAL(atomic_load(&n_done), n);
}

static void right_answers(void) {
    struct err e;
    struct workers *w = start(3, 8, N);
    current = load(2, 1, 8);
    CU_ASSERT_EQUAL(workers_count(w), 3);
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, current, NULL, &e), 0);
    for (int group = 0; group < 4; group++) {
        struct request *chain = NULL;
        for (int i = N / 4 - 1; i >= 0; i--) {
            struct request *r = prepare(group * N / 4 + i, current);
            r->next = chain;
            chain = r;
        }
        CU_ASSERT_PTR_NULL(workers_submit(w, chain));
    }
    await(N);
    unsigned wrong = 0;
    for (int i = 0; i < N; i++) {
        struct clpd_reply reply;
        float score;
        memcpy(&reply, jobs[i].reply, sizeof reply);
        memcpy(&score, jobs[i].reply + sizeof reply, sizeof score);
        wrong +=
            jobs[i].r.status != CLPD_OK || score != 2.0f * (float)i || reply.batch < 1 || reply.batch > 8;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    struct workers_counters c;
    workers_count_up(w, &c);
    CU_ASSERT_EQUAL(c.items, N);
    CU_ASSERT_TRUE(c.batches >= N / 8 && c.batches < N); /* they do run together */
    CU_ASSERT_EQUAL(workers_queued(w), 0);
    CU_ASSERT_TRUE(workers_make_progress(w, loop_clock()));
    workers_stop(w);
    version_put(current);
}

/* Room is there again before the answer is: a client that waits for its answer is never BUSY. */
static void limit_of_one(void) {
    struct err e;
    struct workers *w = start(1, 8, 1);
    current = load(2, 1, 8);
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, current, NULL, &e), 0);
    for (int i = 0; i < N; i++) {
        struct request *r = prepare(i, current);
        CU_ASSERT_PTR_NULL(workers_submit(w, r));
        await((uint32_t)i + 1);
    }
    /* two at once: the second comes back untouched */
    atomic_store(&n_done, 0);
    struct request *a = prepare(0, current), *b = prepare(1, current);
    a->next = b;
    CU_ASSERT_PTR_EQUAL(workers_submit(w, a), b);
    CU_ASSERT_PTR_NULL(b->next);
    await(1);
    workers_stop(w);
    version_put(current);
}

/* The next batch takes the new version; one that was checked against another shape keeps its own. */
static void versions(void) {
    struct err e;
    struct workers *w = start(2, 4, N);
    struct version *one = load(1, 1, 4), *two = load(2, 2, 4), *other = load(3, 3, 4);
    current = one;
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, one, NULL, &e), 0);
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, two, NULL, &e), 0);
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, other, NULL, &e), 0);
    other->signature = 2;
    for (int i = 0; i < N; i++) {
        struct request *r = prepare(i, i % 3 ? one : other);
        CU_ASSERT_PTR_NULL(workers_submit(w, r));
        if (i == N / 4) await((uint32_t)i + 1); /* by the first version, for sure */
        if (i != N / 2) continue;
        workers_lock(w);
        current = two;
        workers_unlock(w);
    }
    await(N);
    unsigned wrong = 0, by[4] = {0};
    for (int i = 0; i < N; i++) {
        struct clpd_reply reply;
        float score;
        memcpy(&reply, jobs[i].reply, sizeof reply);
        memcpy(&score, jobs[i].reply + sizeof reply, sizeof score);
        wrong += score != (float)reply.version * (float)i || (reply.version == 3) != (i % 3 == 0);
        wrong += i > N / 2 && reply.version == 1;
        by[reply.version & 3]++;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_TRUE(by[1] && by[2] && by[3]);
    CU_ASSERT_EQUAL(one->references, 1);
    workers_stop(w);
    version_put(one);
    version_put(two);
    version_put(other);
}

static void cancelled_late_stopped(void) {
    struct err e;
    struct workers *w = start(1, 1, N);
    current = load(1, 1, 1);
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, current, NULL, &e), 0);
    struct request *chain = NULL;
    for (int i = 99; i >= 0; i--) {
        struct request *r = prepare(i, current);
        if (i >= 50) r->deadline_ns = 1;
        r->next = chain;
        chain = r;
    }
    CU_ASSERT_PTR_NULL(workers_submit(w, chain));
    CU_ASSERT_EQUAL(workers_expire(w, loop_clock()), LOOP_NEVER);
    workers_cancel(w, &client);
    await(100);
    unsigned ok = 0, told = 0, late = 0;
    for (int i = 0; i < 100; i++) {
        ok += jobs[i].r.status == CLPD_OK;
        told += jobs[i].r.status == CLPD_SHUTTING_DOWN;
        late += jobs[i].r.status == CLPD_DEADLINE;
        CU_ASSERT_FALSE(i >= 50 && jobs[i].r.status == CLPD_OK); /* late ones are never computed */
    }
    CU_ASSERT_EQUAL(ok + told + late, 100);
    /* stopping with a full queue: everyone hears of it */
    atomic_store(&n_done, 0);
    chain = NULL;
    for (int i = 99; i >= 0; i--) {
        struct request *r = prepare(i, current);
        r->next = chain;
        chain = r;
    }
    CU_ASSERT_PTR_NULL(workers_submit(w, chain));
    workers_stop(w);
    CU_ASSERT_EQUAL(atomic_load(&n_done), 100);
    version_put(current);
}

static void too_large_to_warm(void) {
    struct err e = {0};
    struct workers *w = start(1, 8, 4);
    current = load(1, 1, 8);
    current->max_items = UINT32_MAX / 2; /* an arena that no host has */
    CU_ASSERT_EQUAL(workers_warm(w, current, NULL, &e), -1);
    CU_ASSERT_TRUE(e.text[0] != 0);
    current->max_items = 8;
    CU_ASSERT_EQUAL(workers_warm(w, current, NULL, &e), 0);
    workers_stop(w);
    version_put(current);
}

SUITE(workers, {"right answers from three threads", right_answers}, {"a limit of one", limit_of_one},
      {"one version a batch", versions}, {"cancelled, late, stopped", cancelled_late_stopped},
      {"an image too large to run is said to be", too_large_to_warm});
