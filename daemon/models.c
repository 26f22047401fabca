/* The table is the loop's; jobs wander to the loader and back as posts. A version
 * that nobody refers to any more is put on the loader's list by whoever let it go. */
#include "daemon/models.h"

#include "daemon/log.h"
#include "guard/priority.h"
#include "infer/digest.h"
#include "infer/image_sum.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FRESH 60000000000u /* a file that was closed less than a minute ago is why we are here */

#define MACS_PER_NS 20 /* of a core, until it was measured */

struct offer {             /* a job; also a retirement, which must not overtake the offers before it */
    struct loop_post post; /* first */
    struct loop_post tried_post;
    struct models *models;
    struct link_message message;
    bool is_retirement;
    int fd;
    uint64_t ticket;
    uint64_t check_ns, warm_ns;
    struct version *version; /* the result */
    struct version *old;     /* that it took the place of; kept until the new one has been tried */
    struct version *tried;   /* a reference more, until tried_post has come; NULL: it doesn't */
    struct err e;            /* why it is refused */
    struct err failure;      /* of the try */
    struct offer *next;
};

struct models {
    struct loop *loop;
    struct workers *workers;
    struct models_calls calls;
    uint32_t max_batch;
    uint64_t request_bytes;
    struct model table[MODELS_MAX];
    uint32_t n_places; /* ever used: all beyond are free */
    uint64_t signatures, swaps;
    uint32_t n_offers; /* that are with the loader */

    pthread_t loader;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t wake, over;
    /* under the lock */
    struct offer *first, **last;
    struct version *retired;
    bool stopping, ended; /* the loader shall end; has done all that it does */
};

/* --- the loader's thread ------------------------------------------------------------------ */

/* The last reference is gone: any thread. */
static void retire_version(struct version *v) {
    struct models *m = v->home;
    pthread_mutex_lock(&m->lock);
    v->next = m->retired;
    m->retired = v;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->lock);
}

static void sum_up(void *sum) {
    image_sum_help(sum);
}

static void load(struct models *m, struct offer *o) {
    const uint64_t start = loop_clock();
    struct image *img;
    struct image_sum sum;
    if (image_map_ahead(o->fd, true, &img, &o->e)) return;
    const uint64_t checked = loop_clock();
    struct version *v = version_new(img, &o->message, m->max_batch, m->request_bytes, &o->e);
    if (!v) return;
    v->retire = retire_version;
    v->home = m;
    image_sum_begin(&sum, v->image);
    const int rc = workers_warm(m->workers, v, sum_up, &sum, &o->e);
    if (image_sum_end(&sum, rc ? NULL : &o->e) || rc) {
        version_free(v);
        return;
    }
    o->check_ns = checked - start;
    o->warm_ns = loop_clock() - checked;
    o->version = v;
}

static void on_loaded(struct loop_post *p);
static void on_tried(struct loop_post *p);
static void on_unmapped(struct loop_post *p);

/* A large network serves at once, and is run while it does, or by who asks first. Only then is it kept and
 * its predecessor let go: should a run of it ever take clpd down, the next one begins with the old. */
static void hand_back(struct models *m, struct offer *o) {
    struct version *v = o->version;
    if (!v || !workers_is_untried(v)) {
        loop_post(m->loop, &o->post);
        return;
    }
    version_get(v); /* on_loaded may find no place for it */
    o->tried = v;
    loop_post(m->loop, &o->post);
    (void)workers_try(m->workers, v, &o->failure);
    o->tried_post.run = on_tried;
    loop_post(m->loop, &o->tried_post);
}

/* Off the hot path: the page tables of a large image take a while. The rest of the version goes on the loop.
 */
static void unmap_all(struct models *m, struct version *chain) {
    while (chain) {
        struct version *v = chain;
        chain = v->next;
        image_unmap(v->image);
        v->image = NULL;
        v->post.run = on_unmapped;
        loop_post(m->loop, &v->post);
    }
}

static void *loader(void *arg) {
    struct models *m = arg;
    /* Checking a large image takes as long as dozens of requests: those come first, but for the worker that
     * helps. */
    priority_lower(0, PRIORITY_LOW);
    pthread_mutex_lock(&m->lock);
    for (;;) {
        struct version *retired = m->retired;
        struct offer *o = retired ? NULL : m->first;
        m->retired = NULL;
        if (o) {
            m->first = o->next;
            if (!m->first) m->last = &m->first;
        }
        if (!o && !retired && m->stopping) break;
        if (!o && !retired) {
            pthread_cond_wait(&m->wake, &m->lock);
            continue;
        }
        const bool stopping = m->stopping;
        pthread_mutex_unlock(&m->lock);
        unmap_all(m, retired);
        if (o && stopping)
            (void)err_set(&o->e, ERR_SYSTEM, "clpd is stopping");
        else if (o && !o->is_retirement)
            load(m, o);
        if (o) hand_back(m, o);
        pthread_mutex_lock(&m->lock);
    }
    m->ended = true;
    pthread_cond_signal(&m->over);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* --- publishing: the loop's thread ---------------------------------------------------------- */

static struct model *find_place(struct models *m, const char *name) {
    struct model *empty = NULL;
    for (uint32_t i = 0; i < MODELS_MAX; i++) {
        struct model *model = &m->table[i];
        if (model->used && strcmp(model->name, name) == 0) return model;
        if (!model->used && !empty) empty = model;
    }
    return empty;
}

/* A place whose last version is gone is used anew; its queue keeps its virtual time, which clients remember.
 */
static void take_place(struct models *m, struct model *model, const char *name) {
    if (model->used) return;
    const uint32_t index = (uint32_t)(model - m->table);
    workers_lock(m->workers); /* who takes from rings looks names up */
    if (index >= m->n_places) m->n_places = index + 1;
    model->used = true;
    model->requests_before = 0;
    (void)snprintf(model->name, sizeof model->name, "%s", name);
    workers_unlock(m->workers);
}

static void drop_probe(struct model *model) {
    probe_note_put(model->probe);
    model->probe = NULL;
}

static void let_go(struct models *m, struct version *old) {
    if (m->calls.ceased) m->calls.ceased(m->calls.owner, old);
    version_put(old);
}

/* How long an item of `v` will take, as far as its predecessor tells. */
static void expect_as_before(struct version *v, const struct version *old) {
    const double now = (double)image_header(v->image)->multiply_adds,
                 then = (double)image_header(old->image)->multiply_adds;
    const uint64_t each = atomic_load_explicit(&old->item_ns, memory_order_relaxed);
    if (then > 0 && !atomic_load_explicit(&v->item_ns, memory_order_relaxed))
        atomic_store_explicit(&v->item_ns, (uint64_t)((double)each * now / then), memory_order_relaxed);
}

/* The same where nobody knows: what takes no time would be left to one worker, with nobody at the rings. */
static void expect_at_all(struct version *v) {
    if (atomic_load_explicit(&v->item_ns, memory_order_relaxed)) return;
    const uint64_t macs = image_header(v->image)->multiply_adds;
    atomic_store_explicit(&v->item_ns, macs / MACS_PER_NS + 1, memory_order_relaxed);
}

static void make_current(struct models *m, struct model *model, struct version *v) {
    workers_lock(m->workers);
    model->current = v;
    if (v) model->queue.max_items = v->max_items;
    workers_unlock(m->workers);
}

static void publish(struct models *m, struct model *model, struct offer *o) {
    struct version *v = o->version, *old = model->current;
    if (model->probe && memcmp(model->probe->facts.sha256, v->sha256, sizeof v->sha256) != 0)
        drop_probe(model);
    v->model = model;
    v->signature = old && version_same_signature(old, v) ? old->signature : ++m->signatures;
    model->n_versions++;
    if (old) expect_as_before(v, old);
    expect_at_all(v);
    make_current(m, model, v);
    o->old = old;
    if (m->calls.changed) m->calls.changed(m->calls.owner);
}

static void withdraw(struct models *m, const char *name) {
    struct model *model = find_place(m, name);
    if (!model || !model->used || !model->current) return;
    struct version *old = model->current;
    make_current(m, model, NULL);
    drop_probe(model);
    log_info("model %s: version %" PRIu64 " is no longer served", model->name, old->number);
    if (m->calls.changed) m->calls.changed(m->calls.owner);
    let_go(m, old);
}

static void say_served(const struct offer *o, const struct version *v) {
    char digest[2 * DIGEST_BYTES + 1], after[64] = "";
    const uint64_t closed = o->message.closed_ns;
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    const uint64_t now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    if (closed && now > closed && now - closed < FRESH) /* a kept image at start says nothing */
        (void)snprintf(after, sizeof after, ", %" PRIu64 " ms after its file was closed",
                       (now - closed) / 1000000u);
    log_info("model %s: version %" PRIu64 " serves (sha256 %.12s, checked in %.1f ms, warmed in %.1f ms%s)",
             o->message.model, v->number, digest_text(v->sha256, digest), (double)o->check_ns / 1e6,
             (double)o->warm_ns / 1e6, after);
}

static void say_refused(const struct offer *o) {
    log_warning("model %s: version %" PRIu64 " is refused: %s", o->message.model, o->message.model_version,
                o->e.text);
}

/* Publishes o->version, or makes it NULL. */
static void take_up(struct models *m, struct offer *o) {
    struct version *v = o->version;
    struct model *model = v ? find_place(m, o->message.model) : NULL;
    if (v && !model) {
        (void)err_set(&o->e, ERR_LIMIT, "%d models are served already", MODELS_MAX);
        version_put(v);
        o->version = NULL;
    }
    if (!o->version) {
        say_refused(o);
        return;
    }
    take_place(m, model, o->message.model);
    publish(m, model, o);
    say_served(o, v);
}

/* The offer is dealt with. */
static void end_offer(struct models *m, struct offer *o) {
    const struct version *v = o->version;
    m->n_offers--;
    if (o->old) m->swaps++;
    if (v && m->calls.begun) m->calls.begun(m->calls.owner, &o->message, o->fd, o->ticket);
    if (o->old) let_go(m, o->old);
    if (!o->is_retirement) m->calls.answered(m->calls.owner, &o->message, o->ticket, v, v ? "" : o->e.text);
    if (o->fd >= 0) (void)close(o->fd);
    free(o);
    if (m->calls.done) m->calls.done(m->calls.owner);
}

static void on_loaded(struct loop_post *p) {
    struct offer *o = (struct offer *)(void *)p;
    if (o->is_retirement)
        withdraw(o->models, o->message.model);
    else
        take_up(o->models, o);
    if (!o->tried) end_offer(o->models, o);
}

/* What the image's check and the shape rules let through can't fail; if it does, the one before serves on. */
static void take_back(struct models *m, struct offer *o) {
    struct version *v = o->version;
    o->e = o->failure;
    say_refused(o);
    drop_probe(v->model);
    make_current(m, v->model, o->old);
    o->old = o->version = NULL;
    if (m->calls.changed) m->calls.changed(m->calls.owner);
    version_put(v);
}

/* Whatever is done after the offer, the loader begins after its try: nothing has changed since on_loaded. */
static void on_tried(struct loop_post *p) {
    struct offer *o = (struct offer *)(void *)((uint8_t *)p - offsetof(struct offer, tried_post));
    struct version *v = o->tried; /* end_offer frees o */
    if (o->version && o->failure.code != ERR_NONE) take_back(o->models, o);
    end_offer(o->models, o);
    version_put(v);
}

static void on_unmapped(struct loop_post *p) {
    struct version *v = (struct version *)(void *)((uint8_t *)p - offsetof(struct version, post));
    struct model *model = v->model;
    if (model) {
        model->requests_before += atomic_load_explicit(&v->requests, memory_order_relaxed);
        if (--model->n_versions == 0) model->used = false;
    }
    version_free(v);
}

/* --- jobs -------------------------------------------------------------------------------------- */

static bool hand_over(struct models *m, const struct offer *like) {
    struct offer *o = malloc(sizeof *o);
    if (!o) return false;
    *o = *like;
    o->models = m;
    o->post.run = on_loaded;
    m->n_offers++;
    pthread_mutex_lock(&m->lock);
    *m->last = o;
    m->last = &o->next;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->lock);
    return true;
}

bool models_can_take_offer(const struct models *m) {
    return m->n_offers < MODELS_MAX_OFFERS;
}

bool models_are_idle(const struct models *m) {
    return m->n_offers == 0;
}

bool models_offer(struct models *m, const struct link_message *offer, int fd, uint64_t ticket) {
    const struct offer o = {.message = *offer, .fd = fd, .ticket = ticket};
    if (models_can_take_offer(m) && hand_over(m, &o)) return true;
    (void)close(fd);
    return false;
}

bool models_retire(struct models *m, const char *name) {
    struct offer o = {.is_retirement = true, .fd = -1};
    (void)snprintf(o.message.model, sizeof o.message.model, "%s", name);
    return hand_over(m, &o);
}

/* --- start and end ---------------------------------------------------------------------------- */

struct models *models_open(struct loop *l, struct workers *w, uint32_t max_batch, uint64_t request_bytes,
                           const struct models_calls *calls, struct err *e) {
    struct models *m = calloc(1, sizeof *m);
    if (!m) {
        (void)err_set(e, ERR_SYSTEM, "out of memory for the model table");
        return NULL;
    }
    *m = (struct models){.loop = l,
                         .workers = w,
                         .calls = *calls,
                         .max_batch = max_batch,
                         .request_bytes = request_bytes,
                         .last = &m->first};
    (void)pthread_mutex_init(&m->lock, NULL);
    (void)pthread_cond_init(&m->wake, NULL);
    (void)pthread_cond_init(&m->over, NULL);
    int rc = pthread_create(&m->loader, NULL, loader, m);
    if (rc == 0) {
        m->started = true;
        (void)pthread_setname_np(m->loader, "clpd-loader");
        return m;
    }
    (void)err_set(e, ERR_SYSTEM, "starting the loader thread: %s", strerror(rc));
    models_close(m);
    return NULL;
}

int models_stop(struct models *m, uint64_t limit) {
    if (!m || !m->started) return 0;
    const struct timespec at = {.tv_sec = (time_t)(limit / 1000000000u),
                                .tv_nsec = (long)(limit % 1000000000u)};
    int rc = 0;
    pthread_mutex_lock(&m->lock);
    m->stopping = true;
    pthread_cond_signal(&m->wake);
    while (!m->ended && rc == 0)
        rc = limit == MODELS_NO_LIMIT ? pthread_cond_wait(&m->over, &m->lock)
                                      : pthread_cond_clockwait(&m->over, &m->lock, CLOCK_MONOTONIC, &at);
    const bool ended = m->ended;
    pthread_mutex_unlock(&m->lock);
    if (!ended) return -rc;
    (void)pthread_join(m->loader, NULL);
    m->started = false;
    return 0;
}

void models_close(struct models *m) {
    if (!m) return;
    (void)models_stop(m, MODELS_NO_LIMIT);
    for (uint32_t i = 0; i < MODELS_MAX; i++) {
        struct version *v = m->table[i].current;
        m->table[i].current = NULL;
        drop_probe(&m->table[i]);
        if (v) version_put(v); /* onto the list, which nobody but us looks at any more */
    }
    while (m->retired) {
        struct version *v = m->retired;
        m->retired = v->next;
        version_free(v);
    }
    (void)pthread_cond_destroy(&m->wake);
    (void)pthread_cond_destroy(&m->over);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

void models_note_probe(struct models *m, struct probe_note *n) {
    const char *name = n->facts.model;
    struct model *model = NULL;
    for (uint32_t i = 0; i < m->n_places; i++)
        if (m->table[i].current && strcmp(m->table[i].name, name) == 0) model = &m->table[i];
    if (!model || memcmp(model->current->sha256, n->facts.sha256, sizeof n->facts.sha256) != 0) {
        probe_note_put(n);
        return;
    }
    const bool shows = n->bytes || (model->probe && model->probe->bytes);
    drop_probe(model);
    model->probe = n;
    if (shows && m->calls.changed) m->calls.changed(m->calls.owner);
}

/* --- looking things up -------------------------------------------------------------------------- */

uint32_t models_count(const struct models *m) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_places; i++) n += m->table[i].current != NULL;
    return n;
}

struct version *models_find(const struct models *m, const char *name) {
    struct version *only = NULL;
    for (uint32_t i = 0; i < m->n_places; i++) {
        const struct model *model = &m->table[i];
        if (!model->current) continue;
        if (name[0] && strcmp(model->name, name) == 0) return model->current;
        if (!name[0] && only) return NULL;
        only = model->current;
    }
    return name[0] ? NULL : only;
}

const struct model *models_at(const struct models *m, uint32_t i) {
    return i < m->n_places ? &m->table[i] : NULL;
}

uint64_t models_requests(const struct model *model) {
    const struct version *v = model->current;
    return model->requests_before + (v ? atomic_load_explicit(&v->requests, memory_order_relaxed) : 0);
}

uint64_t models_swaps(const struct models *m) {
    return m->swaps;
}

struct version *models_current(const struct batcher_queue *q) {
    const struct model *model = (const void *)((const uint8_t *)q - offsetof(struct model, queue));
    return model->current;
}
