/* Who has nothing to do: asleep on its own condition, on a stack of which the last to fall asleep is called
 * first; or the watcher, who looks at the rings, spinning at first and then asleep on their bells. */
#include "daemon/workers_internal.h"

#include <sched.h>

uint64_t workers_expected(const struct workers *all, const struct batcher_queue *q) {
    const struct version *v = q ? all->current(q) : NULL;
    return v ? atomic_load_explicit(&v->item_ns, memory_order_relaxed) * q->items_waiting : 0;
}

static void push_idle(struct worker *w) {
    struct workers *all = w->all;
    w->idle = true;
    w->next_idle = all->idle;
    all->idle = w;
    all->n_idle++;
}

static void unlink_idle(struct worker *w) {
    struct workers *all = w->all;
    struct worker **link = &all->idle;
    while (*link != w) link = &(*link)->next_idle;
    *link = w->next_idle;
    all->n_idle--;
    w->idle = false;
}

void workers_call(struct worker *w, struct calls *c) {
    unlink_idle(w);
    w->all->n_coming++;
    if (w != w->all->watcher)
        c->workers[c->n++] = w;
    else if (w->on_bells)
        c->bells = true; /* else it spins, and sees it */
}

void workers_wake(const struct workers *all, const struct calls *c) {
    for (uint32_t i = 0; i < c->n; i++) pthread_cond_signal(&c->workers[i]->wake);
    if (c->bells) lookout_wake(&all->lookout);
}

struct worker *workers_cheapest(const struct workers *all) {
    struct worker *w = all->watcher;
    if (w && w->idle && !w->on_bells) return w;
    w = all->idle;
    return w == all->watcher && w->next_idle ? w->next_idle : w;
}

/* Under the lock, which is given up meanwhile. Returns the time. */
static uint64_t sleep_until_woken(struct worker *w) {
    struct workers *all = w->all;
    push_idle(w);
    while (w->idle) pthread_cond_wait(&w->wake, &all->lock);
    all->n_coming--;
    return loop_clock();
}

/* Idle since then, with an eye on the rings. Under the lock, which is given up meanwhile. Returns the time.
 */
static uint64_t watch(struct worker *w, uint64_t since) {
    struct workers *all = w->all;
    const bool beside = lookout_is_beside(&all->lookout, sched_getcpu());
    push_idle(w);
    all->watcher = w;
    pthread_mutex_unlock(&all->lock);
    const bool found = !beside && lookout_spin(&all->lookout, &w->idle, since);
    pthread_mutex_lock(&all->lock);
    /* Arming takes the flags' lines away from the clients: not where there is something to do. */
    if (!found && w->idle && lookout_arm(&all->lookout)) {
        w->on_bells = true;
        pthread_mutex_unlock(&all->lock);
        lookout_sleep(&all->lookout);
        pthread_mutex_lock(&all->lock);
        w->on_bells = false;
    }
    const uint64_t now = loop_clock();
    lookout_learn(&all->lookout, now - since, found);
    all->watcher = NULL;
    if (w->idle)
        unlink_idle(w); /* a ring has something, or a bell rang for nothing */
    else
        all->n_coming--;
    return now;
}

/* Under the lock: an idle worker that had better watch than w, who is on the CPU of the client; or NULL. */
static struct worker *better_watcher(const struct worker *w) {
    struct worker *other = w->all->idle;
    if (w->cpu < 0 || !lookout_is_beside(&w->all->lookout, w->cpu)) return NULL;
    while (other && (other->cpu < 0 || other->cpu == w->cpu)) other = other->next_idle;
    return other;
}

uint64_t workers_idle(struct worker *w, uint64_t now) {
    struct workers *all = w->all;
    if (all->lookout.n == 0 || all->watcher) return sleep_until_woken(w);
    struct worker *other = better_watcher(w);
    if (!other) return watch(w, now);
    struct calls calls = {.n = 0};
    workers_call(other, &calls);
    workers_wake(all, &calls);
    return sleep_until_woken(w);
}

void workers_call_for_help(struct workers *all, const struct batch *b, struct calls *c) {
    if (!all->idle) return;
    const uint64_t mine = atomic_load_explicit(&b->version->item_ns, memory_order_relaxed) * b->n;
    const bool more = workers_expected(all, all->batcher.first) > WORTH_A_CALL;
    const bool unwatched = all->lookout.n && !all->watcher && mine > WORTH_A_CALL;
    if (more || unwatched) workers_call(workers_cheapest(all), c);
}

void workers_call_all(struct workers *all, struct calls *c) {
    while (all->idle) workers_call(all->idle, c);
}
