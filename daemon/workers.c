/* Worker threads.
 *
 *   IDLE      asleep, or on the watch for rings (workers_idle.c)
 *     -> TASK   warm an image
 *     -> BATCH  pull from rings and take one under the lock; run; deliver
 *     -> end
 */
#include "daemon/workers_internal.h"

#include "infer/engine.h"
#include "infer/team.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HERE_MOST 15000u    /* ns that loop and HTTP compute themselves at most: two wake-ups cost more */
#define HERE_WARM 300000u   /* ns of a cold first run above which it never will */
#define SMALL     30000000u /* multiplications: about a millisecond */

/* --- answers ------------------------------------------------------------------------------ */

static void deliver(struct request *r, uint32_t status) {
    r->status = status;
    r->complete(r);
}

static void deliver_chain(struct request *chain, uint32_t status) {
    while (chain) {
        struct request *next = chain->next; /* it is its owner's again in a moment */
        deliver(chain, status);
        chain = next;
    }
}

/* Of a ring, refused before they were queued. */
static void deliver_refused(struct request *chain) {
    while (chain) {
        struct request *next = chain->next;
        chain->complete(chain);
        chain = next;
    }
}

/* Gives the requests of a batch back, its version too. */
static void end_batch(struct batch *b) {
    if (b->n == 1) b->requests[0]->alone = true;
    for (uint32_t k = 0; k < b->n; k++) deliver(b->requests[k], b->requests[k]->status);
    if (b->version) version_put(b->version);
    b->n = 0;
    b->version = NULL;
}

static void run_task(struct worker *w, struct task *t) {
    const bool asked = atomic_load_explicit(&t->version->requests, memory_order_relaxed) > 0;
    t->rc = (t->run && !asked ? runner_warm : runner_reserve)(&w->runner, t->version, &t->e);
    if (t->aside) t->aside(t->ctx);
    pthread_mutex_lock(&w->all->lock);
    t->done = true;
    pthread_cond_broadcast(&w->all->task_done);
    pthread_mutex_unlock(&w->all->lock);
}

/* --- the thread -------------------------------------------------------------------------- */

/* Under the lock. The one place where it is decided what a batch runs on. */
static void choose_version(struct workers *all, struct batch *b) {
    const struct request *first = b->requests[0];
    struct version *now = all->current(first->queue);
    b->version = now && now->signature == first->key ? now : first->version;
    version_get(b->version);
}

/* What rings have brought goes to the batcher. Returns the chain of those that were refused. Under the lock.
 */
static struct request *pull(struct workers *all, uint64_t now) {
    struct request *chain = lookout_pull(&all->lookout, now), *refused = NULL, **end = &refused;
    while (chain) {
        struct request *r = chain;
        chain = r->next;
        r->next = NULL;
        if (r->status == CLPD_OK && all->draining) r->status = CLPD_SHUTTING_DOWN;
        if (r->status == CLPD_OK && !batcher_push(&all->batcher, r)) r->status = CLPD_BUSY;
        if (r->status == CLPD_OK) continue;
        *end = r;
        end = &r->next;
    }
    return refused;
}

/* What waits for the queue whose turn it is goes in runs of the size that pays; `hands` others have their
 * share. Under the lock. */
static void limit_batch(const struct workers *all, uint32_t hands) {
    struct batcher_queue *q = all->batcher.first;
    struct version *v = q ? all->current(q) : NULL;
    if (v) q->max_items = pace_items(&v->pace, v->max_items, (q->items_waiting + hands) / (hands + 1));
}

/* Takes the next batch. Under the lock. */
static struct request *take_batch(struct worker *w, struct batch *b, uint64_t now) {
    struct workers *all = w->all;
    struct request *late;
    const bool much = workers_expected(all, all->batcher.first) > WORTH_A_CALL;
    const uint32_t hands = all->n_coming + (much ? all->n_idle : 0);
    limit_batch(all, hands);
    b->n = batcher_take(&all->batcher, now, hands, b->requests, &late);
    if (b->n) choose_version(all, b);
    const uint64_t deadline = batcher_next_deadline(&all->batcher);
    if (deadline && all->batcher.n_waiting && all->alarm && (!all->alarmed || deadline < all->alarmed)) {
        all->alarmed = deadline;
        all->alarm(all->alarm_owner, deadline);
    }
    return late;
}

/* Under the lock: who is called for the roll is not past this. */
static void here_i_am(struct worker *w) {
    if (atomic_load_explicit(&w->runner.due, memory_order_relaxed))
        atomic_store_explicit(&w->runner.due, 0, memory_order_relaxed);
}

static void *work(void *arg) {
    struct worker *w = arg;
    struct workers *all = w->all;
    struct batch *batch = &w->batch;
    uint64_t now = 0; /* 0: the clock is to be read */
    engine_warm_thread();
    pthread_mutex_lock(&all->lock);
    for (;;) {
        const bool stopping = all->stopping;
        struct task *t = w->task;
        struct request *late = NULL, *refused = NULL;
        struct calls calls;
        calls.n = 0;
        calls.bells = false;
        w->task = NULL;
        here_i_am(w);
        if (!t && !stopping) {
            if (now == 0) now = loop_clock();
            refused = pull(all, now);
            late = take_batch(w, batch, now);
        }
        if (!t && !late && !refused && !stopping && batch->n == 0) {
            now = workers_idle(w, now);
            continue;
        }
        now = 0;
        if (batch->n)
            workers_call_for_help(all, batch, &calls);
        else if (t && all->lookout.n && !all->watcher && all->idle)
            workers_call(workers_cheapest(all),
                         &calls); /* a task takes long, and the watcher may have got it */
        pthread_mutex_unlock(&all->lock);
        workers_wake(all, &calls);
        deliver_refused(refused);
        deliver_chain(late, CLPD_DEADLINE);
        if (stopping) return NULL;
        if (t) run_task(w, t);
        if (batch->n) {
            runner_run(&w->runner, batch);
            batcher_finish(&all->batcher,
                           batch->n); /* before anyone hears of it: room for what they send next */
            end_batch(batch);
        }
        pthread_mutex_lock(&all->lock);
    }
}

/* --- start and stop ------------------------------------------------------------------------ */

/* The CPUs that we may use, in `cpus`; none where the kernel doesn't tell. */
static uint32_t allowed_cpus(int cpus[WORKERS_MAX]) {
    cpu_set_t set;
    uint32_t n = 0;
    if (sched_getaffinity(0, sizeof set, &set)) return 0;
    for (size_t i = 0; i < CPU_SETSIZE && n < WORKERS_MAX; i++)
        if (CPU_ISSET(i, &set)) cpus[n++] = (int)i;
    return n;
}

/* cpu -1: it may wander. */
static int create_thread(struct worker *w, int cpu) {
    pthread_attr_t attributes;
    cpu_set_t set;
    int rc = pthread_attr_init(&attributes);
    if (rc) return rc;
    CPU_ZERO(&set);
    if (cpu >= 0) {
        CPU_SET((size_t)cpu, &set);
        rc = pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    if (rc == 0) rc = pthread_create(&w->thread, &attributes, work, w);
    (void)pthread_attr_destroy(&attributes);
    return rc;
}

static int start_thread(struct worker *w, uint32_t number) {
    char name[16];
    int rc = create_thread(w, w->cpu);
    if (rc && w->cpu >= 0) rc = create_thread(w, w->cpu = -1); /* a seccomp filter or a CPU that went away */
    w->started = rc == 0;
    (void)snprintf(name, sizeof name, "clpd-work-%u", number % 10000);
    if (rc == 0) (void)pthread_setname_np(w->thread, name);
    return rc;
}

/* Helpers stay on the CPUs behind those of the workers. */
static int start_team(struct workers *all, uint32_t helpers, bool pin, struct err *e) {
    int cpus[WORKERS_MAX], places[TEAM_MAX_HELPERS];
    const uint32_t n_cpus = allowed_cpus(cpus);
    if (helpers > TEAM_MAX_HELPERS) helpers = TEAM_MAX_HELPERS;
    for (uint32_t i = 0; i < helpers; i++) places[i] = pin && n_cpus ? cpus[(all->n + i) % n_cpus] : -1;
    all->team = team_new(helpers, places, e);
    for (uint32_t i = 0; all->team && i < all->n; i++)
        if (!engine_join(all->workers[i].runner.engine, all->team))
            return err_set(e, ERR_LIMIT, "engine.together: %u workers can't be helped", all->n);
    return all->team ? 0 : -1;
}

static int start_workers(struct workers *all, const struct workers_options *o, struct err *e) {
    const bool pin = o->pin;
    int cpus[WORKERS_MAX];
    const uint32_t n_cpus = allowed_cpus(cpus);
    if (all->n == 0) all->n = n_cpus ? n_cpus : 1;
    all->workers = calloc(all->n, sizeof *all->workers);
    if (!all->workers) return err_set(e, ERR_SYSTEM, "out of memory for %u workers", all->n);
    for (uint32_t i = 0; i < all->n; i++) {
        struct worker *w = &all->workers[i];
        w->all = all;
        w->cpu = pin && n_cpus ? cpus[i % n_cpus] : -1;
        (void)pthread_cond_init(&w->wake, NULL);
        if (runner_open(&w->runner, e)) return -1;
    }
    if (o->together > 1 && start_team(all, o->together - 1, pin, e)) return -1;
    for (uint32_t i = 0; i < all->n; i++) {
        int rc = start_thread(&all->workers[i], i);
        if (rc) return err_set(e, ERR_SYSTEM, "starting worker %u of %u: %s", i, all->n, strerror(rc));
    }
    return 0;
}

struct workers *workers_start(const struct workers_options *o, workers_current current, struct err *e) {
    struct workers *all = calloc(1, sizeof *all);
    if (!all) {
        (void)err_set(e, ERR_SYSTEM, "out of memory for workers");
        return NULL;
    }
    all->n = o->threads < WORKERS_MAX ? o->threads : WORKERS_MAX;
    all->current = current;
    (void)pthread_mutex_init(&all->lock, NULL);
    (void)pthread_mutex_init(&all->here_lock, NULL);
    (void)pthread_cond_init(&all->task_done, NULL);
    all->lookout.epoll = all->lookout.wake = -1;
    if (batcher_open(&all->batcher, o->limit, e) == 0 && lookout_open(&all->lookout, o->spin_ns, e) == 0 &&
        runner_open(&all->here, e) == 0 && start_workers(all, o, e) == 0)
        return all;
    workers_stop(all);
    return NULL;
}

void workers_stop(struct workers *all) {
    if (!all) return;
    struct calls calls = {.n = 0};
    pthread_mutex_lock(&all->lock);
    all->stopping = true;
    workers_call_all(all, &calls);
    pthread_mutex_unlock(&all->lock);
    workers_wake(all, &calls);
    for (uint32_t i = 0; all->workers && i < all->n; i++) {
        struct worker *w = &all->workers[i];
        if (w->started) (void)pthread_join(w->thread, NULL);
        runner_close(&w->runner);
        if (w->all) (void)pthread_cond_destroy(&w->wake);
    }
    team_free(all->team);
    deliver_chain(batcher_drain(&all->batcher), CLPD_SHUTTING_DOWN);
    batcher_close(&all->batcher);
    runner_close(&all->here);
    (void)pthread_mutex_destroy(&all->here_lock);
    lookout_close(&all->lookout);
    (void)pthread_cond_destroy(&all->task_done);
    (void)pthread_mutex_destroy(&all->lock);
    free(all->workers);
    free(all);
}

uint32_t workers_count(const struct workers *all) {
    return all->n;
}

/* --- requests ------------------------------------------------------------------------------- */

struct request *workers_submit(struct workers *all, struct request *chain) {
    struct request *refused = NULL, **tail = &refused;
    struct calls calls;
    calls.n = 0;
    calls.bells = false;
    pthread_mutex_lock(&all->lock);
    while (chain) {
        struct request *r = chain;
        chain = r->next;
        if (!batcher_push(&all->batcher, r)) {
            r->next = NULL;
            *tail = r;
            tail = &r->next;
        } else if (all->idle) {
            workers_call(workers_cheapest(all), &calls);
        }
    }
    pthread_mutex_unlock(&all->lock);
    workers_wake(all, &calls);
    return refused;
}

bool workers_may_run_here(const struct version *v) {
    const uint64_t each = atomic_load_explicit(&v->item_ns, memory_order_relaxed);
    return v->here && each && each <= HERE_MOST;
}

/* Takes the chain as one batch, if it is one and small: no larger than a worker's may be. Under here_lock. */
static bool gather_here(struct workers *all, struct request *chain) {
    struct batch *b = &all->here_batch;
    const struct request *first = chain;
    uint64_t items = 0;
    b->n = 0;
    for (struct request *r = chain; r; r = r->next) {
        if (b->n == BATCHER_MAX_ITEMS || r->queue != first->queue || r->key != first->key || r->deadline_ns)
            return false;
        b->requests[b->n++] = r;
        items += r->items;
    }
    pthread_mutex_lock(&all->lock);
    const bool idle = all->batcher.n_waiting == 0 && !all->draining;
    if (idle) choose_version(all, b);
    pthread_mutex_unlock(&all->lock);
    if (!idle) return false;
    if (workers_may_run_here(b->version) && items <= b->version->max_items &&
        items * atomic_load_explicit(&b->version->item_ns, memory_order_relaxed) <= HERE_MOST)
        return true;
    version_put(b->version);
    return false;
}

bool workers_run_here(struct workers *all, struct request *chain) {
    if (pthread_mutex_trylock(&all->here_lock)) return false;
    const bool can = gather_here(all, chain);
    if (can) {
        runner_run(&all->here, &all->here_batch);
        version_put(all->here_batch.version);
    }
    pthread_mutex_unlock(&all->here_lock);
    return can;
}

void workers_cancel(struct workers *all, struct batcher_client *c) {
    pthread_mutex_lock(&all->lock);
    struct request *chain = batcher_cancel(&all->batcher, c);
    pthread_mutex_unlock(&all->lock);
    deliver_chain(chain, CLPD_SHUTTING_DOWN);
}

void workers_drain(struct workers *all) {
    pthread_mutex_lock(&all->lock);
    all->draining = true;
    struct request *chain = batcher_drain(&all->batcher);
    pthread_mutex_unlock(&all->lock);
    deliver_chain(chain, CLPD_SHUTTING_DOWN);
}

uint64_t workers_expire(struct workers *all, uint64_t now) {
    pthread_mutex_lock(&all->lock);
    struct request *chain = batcher_expire(&all->batcher, now);
    const uint64_t next = batcher_next_deadline(&all->batcher);
    all->alarmed = next;
    pthread_mutex_unlock(&all->lock);
    deliver_chain(chain, CLPD_DEADLINE);
    return next ? next : LOOP_NEVER;
}

/* --- rings ----------------------------------------------------------------------------------- */

int workers_watch(struct workers *all, struct lookout_source *s) {
    struct calls calls = {.n = 0};
    pthread_mutex_lock(&all->lock);
    const int rc = lookout_add(&all->lookout, s);
    if (rc == 0 && !all->watcher && all->idle) workers_call(all->idle, &calls);
    pthread_mutex_unlock(&all->lock);
    workers_wake(all, &calls);
    return rc;
}

void workers_unwatch(struct workers *all, struct lookout_source *s) {
    pthread_mutex_lock(&all->lock);
    lookout_remove(&all->lookout, s);
    pthread_mutex_unlock(&all->lock);
}

void workers_set_alarm(struct workers *all, void (*alarm)(void *owner, uint64_t at), void *owner) {
    pthread_mutex_lock(&all->lock);
    all->alarm = alarm;
    all->alarm_owner = owner;
    pthread_mutex_unlock(&all->lock);
}

/* --- warming, counters ------------------------------------------------------------------------ */

static void begin_task(struct worker *w, struct task *t) {
    struct workers *all = w->all;
    struct calls calls = {.n = 0};
    pthread_mutex_lock(&all->lock);
    w->task = t;
    if (w->idle) workers_call(w, &calls);
    workers_wake(all, &calls);
    pthread_mutex_unlock(&all->lock);
}

static int await_task(struct workers *all, const struct task *t, struct err *e) {
    pthread_mutex_lock(&all->lock);
    while (!t->done) pthread_cond_wait(&all->task_done, &all->lock);
    pthread_mutex_unlock(&all->lock);
    if (t->rc && e) *e = t->e;
    return t->rc;
}

/* How long a small network takes decides who computes it, so that it is run first. Of a large one a first run
 * takes as long as any other (measured: ResNet-18, whose pages are there: 46 ms and 46): somebody may be
 * waiting, and has the answer sooner if that is the run on his picture. */
static bool is_small(const struct version *v) {
    return image_header(v->image)->multiply_adds < SMALL;
}

bool workers_is_untried(const struct version *v) {
    return !is_small(v) && !v->inherited;
}

int workers_try(struct workers *all, struct version *v, struct err *e) {
    struct task t = {.version = v, .run = true};
    begin_task(&all->workers[0], &t);
    return await_task(all, &t, e);
}

int workers_warm(struct workers *all, struct version *v, workers_aside_fn aside, void *ctx, struct err *e) {
    const bool small = is_small(v);
    for (uint32_t i = 0; i < all->n; i++) {
        const bool helps = i == 0 && !small && all->n > 1; /* else nobody would serve meanwhile */
        struct task t = {.version = v, .run = i == 0 && small, .aside = helps ? aside : NULL, .ctx = ctx};
        begin_task(&all->workers[i], &t);
        if (i == 0 && aside) aside(ctx);
        if (await_task(all, &t, e)) return -1;
    }
    const uint64_t each = atomic_load_explicit(&v->item_ns, memory_order_relaxed);
    if (each && each < HERE_WARM) {
        pthread_mutex_lock(&all->here_lock);
        v->here = runner_warm(&all->here, v, NULL) == 0; /* nobody else knows v yet */
        pthread_mutex_unlock(&all->here_lock);
    }
    return 0;
}

void workers_lock(struct workers *all) {
    pthread_mutex_lock(&all->lock);
}

void workers_unlock(struct workers *all) {
    pthread_mutex_unlock(&all->lock);
}

uint32_t workers_queued(struct workers *all) {
    pthread_mutex_lock(&all->lock);
    const uint32_t n = all->batcher.n_waiting + all->batcher.n_running;
    pthread_mutex_unlock(&all->lock);
    return n;
}

void workers_count_up(struct workers *all, struct workers_counters *out) {
    *out = (struct workers_counters){0};
    for (uint32_t i = 0; i < all->n; i++) {
        out->batches += atomic_load_explicit(&all->workers[i].runner.n_batches, memory_order_relaxed);
        out->items += atomic_load_explicit(&all->workers[i].runner.n_pictures, memory_order_relaxed);
    }
    out->batches += atomic_load_explicit(&all->here.n_batches, memory_order_relaxed);
    out->items += atomic_load_explicit(&all->here.n_pictures, memory_order_relaxed);
}

/* Under the lock. false: it is overdue. A run that has begun meanwhile has its own time. */
static bool expect(struct worker *w, uint64_t now) {
    uint64_t due = 0;
    if (atomic_compare_exchange_strong_explicit(&w->runner.due, &due, now + RUNNER_STUCK_AFTER,
                                                memory_order_relaxed, memory_order_relaxed))
        return true;
    return now <= due;
}

bool workers_call_roll(struct workers *all, uint64_t now) {
    struct calls calls = {.n = 0};
    bool all_well = true;
    pthread_mutex_lock(&all->lock);
    workers_call_all(all, &calls);
    for (uint32_t i = 0; i < all->n; i++) all_well = expect(&all->workers[i], now) && all_well;
    pthread_mutex_unlock(&all->lock);
    workers_wake(all, &calls);
    return all_well;
}
