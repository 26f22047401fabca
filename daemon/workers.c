/* Worker threads.
 *
 *   IDLE (on the stack of idle workers, asleep on its own condition)
 *     -> TASK   warm an image
 *     -> BATCH  finish the last one and take the next under one lock; deliver, run
 *     -> end
 */
#include "daemon/workers.h"

#include "daemon/reply.h"
#include "infer/engine.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STUCK_AFTER  60000000000u /* 60 s for one run, and beyond that … */
#define SLOWEST_MACS 1000000000u  /* … what a network may need that gets but 1 GMAC/s */

struct batch {
    struct request *requests[BATCHER_MAX_ITEMS];
    uint32_t n;
    struct version *version; /* referenced */
};

struct task { /* on the caller's stack in workers_warm */
    const struct version *version;
    int rc;
    struct err e;
    bool done;
};

struct worker {
    struct workers *all;
    pthread_t thread;
    pthread_cond_t wake;
    bool started;
    int cpu; /* -1: not pinned */
    struct engine *engine;
    struct reply_scratch scratch;
    struct engine_item items[BATCHER_MAX_ITEMS];
    struct batch batches[2];  /* one that runs, one that is through and not delivered yet */
    struct task *task;        /* under the lock */
    bool idle;                /* under the lock */
    struct worker *next_idle; /* under the lock */
    _Atomic uint64_t n_batches, n_pictures;
    _Atomic uint64_t due; /* when the current run should be through; 0: none */
};

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t task_done;
    struct batcher batcher;
    struct worker *workers;
    struct worker *idle; /* last to fall asleep first: its caches are warm */
    uint32_t n, n_idle;
    uint32_t n_coming; /* woken, but not here yet: what waits is shared with them */
    bool stopping;
    workers_current current;
};

/* --- running ---------------------------------------------------------------------------- */

static uint64_t longest(const struct version *v, uint32_t items) {
    const double seconds = (double)image_header(v->image)->multiply_adds * items / SLOWEST_MACS;
    return STUCK_AFTER + (uint64_t)(seconds * 1e9);
}

static int run_items(struct worker *w, const struct version *v, uint32_t n) {
    atomic_store_explicit(&w->due, loop_clock() + longest(v, n), memory_order_relaxed);
    int rc = engine_run(w->engine, v->image, n, w->items);
    atomic_store_explicit(&w->due, 0, memory_order_relaxed);
    return rc;
}

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

static uint64_t item_bytes(const struct version *v, uint32_t format) {
    return format == CLPD_U8_NHWC ? v->input.u8_bytes : v->input.f32_bytes;
}

static struct engine_item item_of(const struct version *v, const struct request *r, uint32_t i) {
    return (struct engine_item){.inputs = {r->input + (size_t)i * item_bytes(v, r->format)},
                                .format = r->format == CLPD_U8_NHWC ? INPUT_U8_NHWC : INPUT_F32_NCHW};
}

struct place { /* of an item in a batch */
    uint32_t request, item;
};

static void advance(struct place *p, const struct batch *b) {
    if (++p->item < b->requests[p->request]->items) return;
    p->item = 0;
    p->request++;
}

/* One run, but for requests larger than the largest batch: those take several, on the one version. */
static int run_all(struct worker *w, const struct version *v, const struct batch *b) {
    struct place from = {0, 0}, to = {0, 0};
    while (from.request < b->n) {
        uint32_t n = 0;
        for (; n < v->max_items && to.request < b->n; advance(&to, b))
            w->items[n++] = item_of(v, b->requests[to.request], to.item);
        if (run_items(w, v, n)) return -EINVAL;
        for (uint32_t i = 0; i < n; i++, advance(&from, b))
            reply_put_item(v, b->requests[from.request], from.item, engine_output(w->engine, i, 0));
    }
    return 0;
}

static void run_batch(struct worker *w, struct batch *b) {
    struct version *v = b->version;
    uint64_t pictures = 0;
    for (uint32_t k = 0; k < b->n; k++) pictures += (uint64_t)b->requests[k]->items * v->pictures;
    const uint64_t start = loop_clock();
    const int rc = run_all(w, v, b);
    struct reply_facts f = {.compute_ns = loop_clock() - start, .batch = (uint32_t)pictures};
    for (uint32_t k = 0; k < b->n; k++) {
        struct request *r = b->requests[k];
        r->status = CLPD_INTERNAL;
        if (rc) continue; /* what the image's check and the shape rules let through can't fail */
        f.queue_ns = start > r->arrived_ns ? start - r->arrived_ns : 0;
        metrics_count_wait(&v->metrics, f.queue_ns);
        reply_finish(v, r, &f, &w->scratch);
    }
    atomic_fetch_add_explicit(&v->requests, b->n, memory_order_relaxed);
    if (rc)
        metrics_count_failure(&v->metrics, b->n);
    else
        metrics_count_batch(&v->metrics, b->n, pictures, f.compute_ns);
    atomic_fetch_add_explicit(&w->n_batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->n_pictures, pictures, memory_order_relaxed);
}

/* Gives the requests of a batch back, its version too. */
static void end_batch(struct batch *b) {
    for (uint32_t k = 0; k < b->n; k++) deliver(b->requests[k], b->requests[k]->status);
    if (b->version) version_put(b->version);
    b->n = 0;
    b->version = NULL;
}

/* --- warming --------------------------------------------------------------------------- */

static int warm(struct worker *w, const struct version *v, struct err *e) {
    if (engine_reserve(w->engine, v->image, v->max_items, e)) return -1;
    if (reply_scratch_reserve(&w->scratch, v->classes, e)) return -1;
    uint8_t *zeros = calloc(1, v->input.f32_bytes);
    if (!zeros) return err_set(e, ERR_SYSTEM, "out of memory for a first run");
    w->items[0] = (struct engine_item){.inputs = {zeros}, .format = INPUT_F32_NCHW};
    const int rc = run_items(w, v, 1);
    free(zeros);
    if (rc) return err_set(e, ERR_INTERNAL, "the first run failed: %s", strerror(-rc));
    return 0;
}

static void run_task(struct worker *w, struct task *t) {
    t->rc = warm(w, t->version, &t->e);
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

/* Takes the next batch. Under the lock. */
static struct request *take_batch(struct worker *w, struct batch *b) {
    struct workers *all = w->all;
    struct request *late;
    b->n = batcher_take(&all->batcher, loop_clock(), all->n_coming, b->requests, &late);
    if (b->n) choose_version(all, b);
    return late;
}

/* Under the lock, which is given up meanwhile. */
static void sleep_until_woken(struct worker *w) {
    struct workers *all = w->all;
    w->idle = true;
    w->next_idle = all->idle;
    all->idle = w;
    all->n_idle++;
    while (w->idle) pthread_cond_wait(&w->wake, &all->lock);
    all->n_coming--;
}

/* Takes w off the stack; its condition is to be signalled. Under the lock. */
static void call(struct workers *all, struct worker *w) {
    struct worker **link = &all->idle;
    while (*link != w) link = &(*link)->next_idle;
    *link = w->next_idle;
    all->n_idle--;
    all->n_coming++;
    w->idle = false;
}

static void *work(void *arg) {
    struct worker *w = arg;
    struct workers *all = w->all;
    struct batch *next = &w->batches[0], *through = &w->batches[1];
    pthread_mutex_lock(&all->lock);
    for (;;) {
        batcher_finish(&all->batcher,
                       through->n); /* before anyone hears of it: room for what they send next */
        const bool stopping = all->stopping;
        struct task *t = w->task;
        w->task = NULL;
        struct request *late = t || stopping ? NULL : take_batch(w, next);
        if (!t && !late && !stopping && next->n + through->n == 0) {
            sleep_until_woken(w);
            continue;
        }
        pthread_mutex_unlock(&all->lock);
        end_batch(through);
        deliver_chain(late, CLPD_DEADLINE);
        if (stopping) return NULL;
        if (t) run_task(w, t);
        if (next->n) {
            run_batch(w, next);
            struct batch *swap = next;
            next = through;
            through = swap;
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
    if (rc && w->cpu >= 0) rc = create_thread(w, -1); /* a seccomp filter or a CPU that went away */
    w->started = rc == 0;
    (void)snprintf(name, sizeof name, "clpd-work-%u", number % 10000);
    if (rc == 0) (void)pthread_setname_np(w->thread, name);
    return rc;
}

static int start_workers(struct workers *all, bool pin, struct err *e) {
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
        w->engine = engine_new();
        if (!w->engine) return err_set(e, ERR_SYSTEM, "out of memory for worker %u's engine", i);
    }
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
    (void)pthread_cond_init(&all->task_done, NULL);
    if (batcher_open(&all->batcher, o->limit, e) == 0 && start_workers(all, o->pin, e) == 0) return all;
    workers_stop(all);
    return NULL;
}

void workers_stop(struct workers *all) {
    if (!all) return;
    pthread_mutex_lock(&all->lock);
    all->stopping = true;
    while (all->idle) {
        struct worker *w = all->idle;
        call(all, w);
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&all->lock);
    for (uint32_t i = 0; all->workers && i < all->n; i++) {
        struct worker *w = &all->workers[i];
        if (w->started) (void)pthread_join(w->thread, NULL);
        engine_free(w->engine);
        reply_scratch_free(&w->scratch);
        if (w->all) (void)pthread_cond_destroy(&w->wake);
    }
    deliver_chain(batcher_drain(&all->batcher), CLPD_SHUTTING_DOWN);
    batcher_close(&all->batcher);
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
    struct worker *called[WORKERS_MAX];
    struct request *refused = NULL, **tail = &refused;
    uint32_t n_called = 0;
    pthread_mutex_lock(&all->lock);
    while (chain) {
        struct request *r = chain;
        chain = r->next;
        if (!batcher_push(&all->batcher, r)) {
            r->next = NULL;
            *tail = r;
            tail = &r->next;
        } else if (all->idle) {
            called[n_called++] = all->idle;
            call(all, all->idle);
        }
    }
    pthread_mutex_unlock(&all->lock);
    for (uint32_t i = 0; i < n_called; i++) pthread_cond_signal(&called[i]->wake);
    return refused;
}

void workers_cancel(struct workers *all, struct batcher_client *c) {
    pthread_mutex_lock(&all->lock);
    struct request *chain = batcher_cancel(&all->batcher, c);
    pthread_mutex_unlock(&all->lock);
    deliver_chain(chain, CLPD_SHUTTING_DOWN);
}

void workers_drain(struct workers *all) {
    pthread_mutex_lock(&all->lock);
    struct request *chain = batcher_drain(&all->batcher);
    pthread_mutex_unlock(&all->lock);
    deliver_chain(chain, CLPD_SHUTTING_DOWN);
}

uint64_t workers_expire(struct workers *all, uint64_t now) {
    pthread_mutex_lock(&all->lock);
    struct request *chain = batcher_expire(&all->batcher, now);
    const uint64_t next = batcher_next_deadline(&all->batcher);
    pthread_mutex_unlock(&all->lock);
    deliver_chain(chain, CLPD_DEADLINE);
    return next ? next : LOOP_NEVER;
}

/* --- warming, counters ------------------------------------------------------------------------ */

int workers_warm(struct workers *all, const struct version *v, struct err *e) {
    for (uint32_t i = 0; i < all->n; i++) {
        struct worker *w = &all->workers[i];
        struct task t = {.version = v};
        pthread_mutex_lock(&all->lock);
        w->task = &t;
        if (w->idle) {
            call(all, w);
            pthread_cond_signal(&w->wake);
        }
        while (!t.done) pthread_cond_wait(&all->task_done, &all->lock);
        pthread_mutex_unlock(&all->lock);
        if (t.rc) {
            if (e) *e = t.e;
            return -1;
        }
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
        out->batches += atomic_load_explicit(&all->workers[i].n_batches, memory_order_relaxed);
        out->items += atomic_load_explicit(&all->workers[i].n_pictures, memory_order_relaxed);
    }
}

bool workers_make_progress(const struct workers *all, uint64_t now) {
    for (uint32_t i = 0; i < all->n; i++) {
        const uint64_t due = atomic_load_explicit(&all->workers[i].due, memory_order_relaxed);
        if (due && now > due) return false;
    }
    return true;
}
