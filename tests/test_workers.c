/* Workers without a server: batches over all threads, one version a batch, limits, stopping. */
#include "daemon/runner.h"
#include "daemon/workers.h"
#include "tests/daemon_case.h"
#include "tests/suite.h"

#include <dirent.h>
#include <signal.h>
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

static struct version *load_network(const struct case_network *n, uint64_t number, uint32_t max_batch) {
    struct err e = {0};
    struct image *img;
    uint64_t bytes;
    const int fd = case_image(n, "x", &bytes);
    const struct link_message offer = case_offer("m", number, "x", bytes);
    CU_ASSERT_EQUAL_FATAL(image_map(fd, true, &img, &e), 0);
    close(fd);
    struct version *v = version_new(img, &offer, max_batch, 1 << 20, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(v);
    v->retire = on_retire;
    v->signature = 1;
    return v;
}

static struct version *load(float factor, uint64_t number, uint32_t max_batch) {
    return load_network(&(struct case_network){.factor = factor, .work = 5}, number, max_batch);
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
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, current, NULL, NULL, &e), 0);
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
    CU_ASSERT_TRUE(workers_call_roll(w, loop_clock()));
    workers_stop(w);
    version_put(current);
}

/* Room is there again before the answer is: a client that waits for its answer is never BUSY. */
static void limit_of_one(void) {
    struct err e;
    struct workers *w = start(1, 8, 1);
    current = load(2, 1, 8);
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, current, NULL, NULL, &e), 0);
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
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, one, NULL, NULL, &e), 0);
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, two, NULL, NULL, &e), 0);
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, other, NULL, NULL, &e), 0);
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
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, current, NULL, NULL, &e), 0);
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
    CU_ASSERT_EQUAL(workers_warm(w, current, NULL, NULL, &e), -1);
    CU_ASSERT_TRUE(e.text[0] != 0);
    current->max_items = 8;
    CU_ASSERT_EQUAL(workers_warm(w, current, NULL, NULL, &e), 0);
    workers_stop(w);
    version_put(current);
}

static void count_aside(void *ctx) {
    atomic_fetch_add((_Atomic int *)ctx, 1);
}

/* How long an item takes is known from a first run alone. */
static bool is_run(struct workers *w, const struct case_network *n, bool inherited, int asides) {
    struct err e;
    _Atomic int aside = 0;
    struct version *v = load_network(n, 1, 1);
    v->inherited = inherited;
    CU_ASSERT_EQUAL(workers_warm(w, v, count_aside, (void *)&aside, &e), 0);
    CU_ASSERT_EQUAL(aside, asides);
    const bool ran = v->item_ns != 0;
    CU_ASSERT_EQUAL(workers_is_untried(v), !ran && !inherited);
    version_put(v);
    return ran;
}

static void what_is_run_first(void) {
    const struct case_network small = {.work = 5}, large = {.width = 256, .work = 60};
    struct workers *w = start(2, 1, N);
    CU_ASSERT_TRUE(is_run(w, &small, false, 1));
    CU_ASSERT_TRUE(is_run(w, &small, true, 1));
    CU_ASSERT_FALSE(is_run(w, &large, false, 2));
    CU_ASSERT_FALSE(is_run(w, &large, true, 2));
    workers_stop(w);
}

/* Later, unless a request's run has come before. */
static void what_is_tried(void) {
    struct err e;
    struct workers *w = start(2, 1, N);
    for (int asked = 0; asked < 2; asked++) {
        struct version *v = load_network(&(struct case_network){.width = 256, .work = 60}, 1, 1);
        CU_ASSERT_EQUAL(workers_warm(w, v, NULL, NULL, &e), 0);
        if (asked) atomic_store(&v->requests, 1);
        CU_ASSERT_EQUAL(workers_try(w, v, &e), 0);
        CU_ASSERT_EQUAL(v->item_ns != 0, !asked);
        version_put(v);
    }
    workers_stop(w);
}

/* --- the roll ------------------------------------------------------------------------------ */

static int gate[2]; /* a pipe: who reads it is stuck until it is closed for writing */

static void stick(void) {
    char c;
    while (read(gate[0], &c, 1) < 0) {}
}

static void stick_on_complete(struct request *r) {
    stick();
    on_complete(r);
}

static _Atomic bool is_stuck;

static void stick_on_signal(int number) {
    (void)number;
    atomic_store(&is_stuck, true);
    stick();
}

static void all_come(struct workers *w, uint64_t now) {
    const uint64_t end = loop_clock() + 5000000000u;
    bool well = false;
    while (!(well = workers_call_roll(w, now)) && loop_clock() < end) usleep(100);
    CU_ASSERT_TRUE(well);
}

/* Somebody who is stuck is missed once a minute has gone by since a call, not before; who comes late is
 * welcome. */
static void missed_until(struct workers *w) {
    const uint64_t t = loop_clock(), minute = RUNNER_STUCK_AFTER;
    CU_ASSERT_TRUE(workers_call_roll(w, t));
    CU_ASSERT_TRUE(workers_call_roll(w, t + minute / 2));
    CU_ASSERT_TRUE(workers_call_roll(w, t + minute));
    CU_ASSERT_FALSE(workers_call_roll(w, t + minute + 1));
    CU_ASSERT_FALSE(workers_call_roll(w, t + 2 * minute));
    close(gate[1]);
    all_come(w, t + 2 * minute);
    close(gate[0]);
}

static void stuck_beside_the_engine(void) {
    struct err e;
    struct workers *w = start(2, 1, N);
    CU_ASSERT_EQUAL_FATAL(pipe(gate), 0);
    current = load(1, 1, 1);
    CU_ASSERT_EQUAL_FATAL(workers_warm(w, current, NULL, NULL, &e), 0);
    struct request *r = prepare(0, current);
    r->complete = stick_on_complete;
    CU_ASSERT_PTR_NULL(workers_submit(w, r));
    while (workers_queued(w)) usleep(100); /* room is made before it completes */
    missed_until(w);
    await(1);
    workers_stop(w);
    version_put(current);
}

/* The thread of this name, or 0. */
static pid_t thread_named(const char *name) {
    DIR *tasks = opendir("/proc/self/task");
    pid_t found = 0;
    for (struct dirent *d; tasks && !found && (d = readdir(tasks));) {
        char path[300], comm[32] = "";
        (void)snprintf(path, sizeof path, "/proc/self/task/%s/comm", d->d_name);
        FILE *f = fopen(path, "r");
        if (f && fgets(comm, sizeof comm, f) && strncmp(comm, name, strlen(name)) == 0)
            found = atoi(d->d_name);
        if (f) (void)fclose(f);
    }
    if (tasks) (void)closedir(tasks);
    return found;
}

static void stuck_in_its_sleep(void) {
    struct workers *w = start(2, 1, N);
    struct sigaction action = {.sa_handler = stick_on_signal}, before;
    CU_ASSERT_EQUAL_FATAL(pipe(gate), 0);
    CU_ASSERT_EQUAL_FATAL(sigaction(SIGUSR1, &action, &before), 0);
    const pid_t thread = thread_named("clpd-work-1");
    CU_ASSERT_NOT_EQUAL_FATAL(thread, 0);
    workers_lock(w); /* so that it doesn't hold it */
    CU_ASSERT_EQUAL_FATAL(tgkill(getpid(), thread, SIGUSR1), 0);
    while (!atomic_load(&is_stuck)) usleep(100);
    workers_unlock(w);
    missed_until(w);
    workers_stop(w);
    (void)sigaction(SIGUSR1, &before, NULL);
}

/* Calls that lead nowhere leave nothing behind: all come, time after time. */
static void calls_to_who_is_well(void) {
    struct workers *w = start(3, 1, N);
    for (uint64_t i = 0; i < 1000; i++) CU_ASSERT_TRUE(workers_call_roll(w, loop_clock()));
    all_come(w, loop_clock() + 10 * (uint64_t)RUNNER_STUCK_AFTER);
    workers_stop(w);
}

SUITE(workers, {"right answers from three threads", right_answers}, {"a limit of one", limit_of_one},
      {"one version a batch", versions}, {"cancelled, late, stopped", cancelled_late_stopped},
      {"an image too large to run is said to be", too_large_to_warm},
      {"a small network is run first, a large one is not", what_is_run_first},
      {"a large one is run later, unless somebody has asked", what_is_tried},
      {"a worker that is stuck beside the engine is missed", stuck_beside_the_engine},
      {"one that is stuck in its sleep is missed", stuck_in_its_sleep},
      {"who is well is never missed", calls_to_who_is_well});
