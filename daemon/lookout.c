/* Bells are watched by edge and never read: every ring is an edge, whatever the counter says. */
#include "daemon/lookout.h"

#include "daemon/loop.h"
#include "infer/cpu.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

int lookout_open(struct lookout *l, uint64_t most_spin_ns, struct err *e) {
    *l = (struct lookout){.spin.most = most_spin_ns, .epoll = -1, .wake = -1};
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll >= 0 && l->wake >= 0 && epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &ev) == 0) return 0;
    (void)err_set(e, ERR_SYSTEM, "watching for shared-memory rings: %s", strerror(errno));
    lookout_close(l);
    return -1;
}

void lookout_close(struct lookout *l) {
    if (l->epoll >= 0) (void)close(l->epoll);
    if (l->wake >= 0) (void)close(l->wake);
    l->epoll = l->wake = -1;
}

/* --- the set ----------------------------------------------------------------------------- */

/* A look takes well under a microsecond, so whoever looks is waited for. */
static void begin_change(struct lookout *l) {
    while (atomic_exchange_explicit(&l->looking, true, memory_order_acquire)) (void)sched_yield();
}

static void end_change(struct lookout *l) {
    atomic_store_explicit(&l->looking, false, memory_order_release);
}

int lookout_add(struct lookout *l, struct lookout_source *s) {
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    if (l->n == LOOKOUT_MAX) return -ENOSPC;
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, s->bell, &ev)) return -errno;
    __atomic_store_n(s->sleeps, 1,
                     __ATOMIC_RELAXED); /* the watcher may be asleep: it armed those that it knew */
    begin_change(l);
    s->index = l->n;
    l->sources[l->n++] = s;
    end_change(l);
    return 0;
}

void lookout_remove(struct lookout *l, struct lookout_source *s) {
    (void)epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->bell, NULL);
    begin_change(l);
    struct lookout_source *last = l->sources[--l->n];
    l->sources[s->index] = last;
    last->index = s->index;
    if (l->recent == s) l->recent = NULL;
    end_change(l);
}

/* --- looking ------------------------------------------------------------------------------- */

static bool has_news(const struct lookout_source *s) {
    return __atomic_load_n(s->submitted, __ATOMIC_ACQUIRE) !=
           atomic_load_explicit(&s->taken, memory_order_relaxed);
}

bool lookout_look(struct lookout *l) {
    bool found = false;
    if (atomic_load_explicit(&l->looking, memory_order_relaxed) ||
        atomic_exchange_explicit(&l->looking, true, memory_order_acquire))
        return false;
    for (uint32_t i = 0; i < l->n && !found; i++) {
        found = has_news(l->sources[i]);
        if (found) l->sources[i]->expect(l->sources[i]);
    }
    atomic_store_explicit(&l->looking, false, memory_order_release);
    return found;
}

bool lookout_spin(struct lookout *l, const _Atomic bool *on, uint64_t since) {
    const uint64_t limit = spin_limit(&l->spin);
    if (limit == 0) return false;
    do {
        for (int i = 0; i < SPIN_LOOKS; i++) {
            if (lookout_look(l)) return true;
            if (!atomic_load_explicit(on, memory_order_relaxed)) return false;
            cpu_relax();
        }
    } while (loop_clock() < since + limit);
    return false;
}

bool lookout_is_beside(const struct lookout *l, int cpu) {
    return cpu >= 0 && l->recent && __atomic_load_n(l->recent->cpu, __ATOMIC_RELAXED) == (uint32_t)cpu + 1;
}

void lookout_learn(struct lookout *l, uint64_t waited_ns, bool looking) {
    l->asleep = false;
    spin_learn(&l->spin, waited_ns, looking);
}

bool lookout_arm(struct lookout *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        uint32_t *sleeps = l->sources[i]->sleeps;
        /* Not by what we wrote last: a client that saw the flag of an earlier sleep may have taken this
         * one's. */
        if (__atomic_load_n(sleeps, __ATOMIC_RELAXED) != 1) __atomic_store_n(sleeps, 1, __ATOMIC_RELAXED);
    }
    atomic_thread_fence(memory_order_seq_cst); /* between our flag and their counter: see client/ring.h */
    l->asleep = true;
    for (uint32_t i = 0; i < l->n && l->asleep; i++) l->asleep = !has_news(l->sources[i]);
    return l->asleep;
}

void lookout_sleep(const struct lookout *l) {
    struct epoll_event ev[16];
    (void)epoll_wait(l->epoll, ev, 16, -1); /* what rang is found by looking */
}

void lookout_wake(const struct lookout *l) {
    const uint64_t one = 1;
    ssize_t n = write(l->wake, &one, sizeof one);
    (void)n; /* can't fail before 2^64 calls */
}

/* --- taking ---------------------------------------------------------------------------------- */

struct request *lookout_pull(struct lookout *l, uint64_t now) {
    struct request *chain = NULL, **end = &chain;
    uint32_t left = LOOKOUT_PULL;
    const uint32_t n = l->n, each = n && LOOKOUT_PULL / n > 1 ? LOOKOUT_PULL / n : 1;
    for (uint32_t i = 0; i < n && left; i++) {
        struct lookout_source *s = l->sources[(l->from + i) % n];
        if (!has_news(s)) continue;
        /* Not while the watcher sleeps: this client would not ring now, nor, once we are idle, ever again. */
        if (!l->asleep && __atomic_load_n(s->sleeps, __ATOMIC_RELAXED))
            __atomic_store_n(s->sleeps, 0, __ATOMIC_RELAXED);
        *end = s->pull(s, each < left ? each : left, now);
        if (*end && (*end)->status == CLPD_OK) l->recent = s; /* refusals are no reason to go anywhere */
        for (; *end; end = &(*end)->next) left -= left > 0;
    }
    l->from = n ? (l->from + 1) % n : 0;
    return chain;
}
