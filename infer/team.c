/* Helpers, seats, and how parts are handed out; see team.h.
 *
 *   seat->tickets[hand]   epoch << 32 | next part    whoever moves `next` on by one owns that part
 *
 * Each hand begins with a range of its own, the same share of every step, so that it finds
 * much of what it reads in its own cache; then it helps the others. A seat's epoch is one
 * step. Before the work of a new one is described, its tickets are closed, so that nobody can take a part by
 * what he read of the one before: taking is a compare and swap of epoch and part together, who has read of a
 * new step has also seen the old tickets closed (release, acquire), and an epoch ends only after its last
 * part is through. */
#include "infer/team.h"

#include "infer/cpu.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLOSED UINT32_MAX
#define SPINS  20000 /* of 20 ns or so: then the one who is waited for does not run */
#define LINGER                                                                                               \
    10000 /* … looks for work between two runs: to wake a sleeping CPU takes longer than small networks */

struct ticket {
    _Atomic uint64_t next;
} __attribute__((aligned(64)));

struct team_seat {
    struct ticket *tickets; /* one a hand */
    uint32_t epoch;
    _Atomic(team_fn) fn;
    _Atomic(const void *) work;
    _Atomic uint32_t parts, done;
    _Atomic uint32_t waiting; /* the owner sleeps until `done` changes */
    struct team *team;
    bool taken; /* under the team's lock */
} __attribute__((aligned(64)));

struct helper {
    struct team *team;
    uint32_t hand;
    pthread_t thread;
};

struct team {
    pthread_mutex_t lock; /* seats are taken */
    struct team_seat *seats;
    struct ticket *tickets;
    _Atomic uint32_t n_seats; /* that were ever taken: the first ones */
    struct helper *helpers;
    uint32_t n_helpers, n_hands; /* that run; helpers wanted, and who asks */
    _Atomic uint32_t running, stopping;
    _Atomic uint32_t wake, asleep; /* helpers sleep until `wake` changes */
};

static void sleep_while(_Atomic uint32_t *at, uint32_t value) {
    (void)syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}
static void wake_all(_Atomic uint32_t *at) {
    (void)syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* --- parts --------------------------------------------------------------------------------- */

static uint32_t range_end(const struct team_seat *s, uint32_t whose, uint32_t parts) {
    return (uint32_t)((uint64_t)parts * (whose + 1) / team_hands(s));
}

/* Takes and runs one part of the range of `whose`; false: there is none left. */
static bool help(struct team_seat *s, uint32_t whose, uint32_t hand) {
    _Atomic uint64_t *next = &s->tickets[whose].next;
    uint64_t ticket = atomic_load_explicit(next, memory_order_acquire);
    for (;;) {
        const uint32_t part = (uint32_t)ticket;
        const uint32_t parts = atomic_load_explicit(&s->parts, memory_order_acquire);
        const team_fn fn = atomic_load_explicit(&s->fn, memory_order_acquire);
        const void *work = atomic_load_explicit(&s->work, memory_order_acquire);
        if (part == CLOSED || part >= range_end(s, whose, parts)) return false;
        if (!atomic_compare_exchange_weak_explicit(next, &ticket, ticket + 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        fn(work, part, hand);
        if (atomic_fetch_add(&s->done, 1) + 1 == parts && atomic_load(&s->waiting)) wake_all(&s->done);
        return true;
    }
}

/* All that is left, beginning with its own; false: there was nothing. */
static bool help_all(struct team_seat *s, uint32_t hand) {
    const uint32_t hands = team_hands(s);
    bool any = false;
    for (uint32_t i = 0; i < hands; i++)
        while (help(s, (hand + i) % hands, hand)) any = true;
    return any;
}

static void wait_for_others(struct team_seat *s, uint32_t parts) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&s->done, memory_order_acquire) == parts) return;
        cpu_relax();
    }
    atomic_store(&s->waiting, 1);
    for (uint32_t done; (done = atomic_load(&s->done)) != parts;) sleep_while(&s->done, done);
    atomic_store(&s->waiting, 0);
}

void team_run(struct team_seat *s, team_fn fn, const void *work, uint32_t parts) {
    if (!s || parts < 2) {
        for (uint32_t i = 0; i < parts; i++) fn(work, i, 0);
        return;
    }
    const uint32_t hands = team_hands(s);
    const uint64_t epoch = (uint64_t)++s->epoch << 32;
    for (uint32_t i = 0; i < hands; i++) atomic_store(&s->tickets[i].next, epoch | CLOSED);
    atomic_store_explicit(&s->fn, fn, memory_order_release);
    atomic_store_explicit(&s->work, work, memory_order_release);
    atomic_store_explicit(&s->parts, parts, memory_order_release);
    atomic_store_explicit(&s->done, 0, memory_order_relaxed);
    for (uint32_t i = hands; i-- > 0;)
        atomic_store(&s->tickets[i].next, epoch | (i ? range_end(s, i - 1, parts) : 0));
    (void)help_all(s, 0);
    wait_for_others(s, parts);
}

/* --- helpers ------------------------------------------------------------------------------- */

static bool help_anybody(const struct helper *h) {
    const uint32_t n = atomic_load_explicit(&h->team->n_seats, memory_order_acquire);
    bool any = false;
    for (uint32_t i = 0; i < n; i++) any |= help_all(&h->team->seats[i], h->hand);
    return any;
}

static void *be_helper(void *arg) {
    const struct helper *h = arg;
    struct team *t = h->team;
    for (uint32_t idle = 0; !atomic_load(&t->stopping); idle++) {
        const uint32_t wake = atomic_load(&t->wake);
        if (help_anybody(h) || atomic_load(&t->running)) idle = 0;
        if (idle < LINGER) {
            cpu_relax();
            continue;
        }
        atomic_fetch_add(&t->asleep, 1); /* team_begin changes `wake`, then looks at this */
        if (!atomic_load(&t->stopping)) sleep_while(&t->wake, wake);
        atomic_fetch_sub(&t->asleep, 1);
    }
    return NULL;
}

void team_begin(struct team_seat *s) {
    if (!s) return;
    atomic_fetch_add(&s->team->running, 1);
    atomic_fetch_add(&s->team->wake, 1);
    if (atomic_load(&s->team->asleep)) wake_all(&s->team->wake);
}
void team_end(struct team_seat *s) {
    if (s) atomic_fetch_sub(&s->team->running, 1);
}
uint32_t team_hands(const struct team_seat *s) {
    return s ? s->team->n_hands : 1;
}

uint32_t team_parts(const struct team_seat *s) {
    return s ? 4 * team_hands(s) : 1;
}

/* --- seats --------------------------------------------------------------------------------- */

struct team_seat *team_sit(struct team *t) {
    struct team_seat *seat = NULL;
    (void)pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < TEAM_MAX_SEATS && !seat; i++) {
        if (t->seats[i].taken) continue;
        seat = &t->seats[i];
        seat->taken = true;
        if (i >= atomic_load(&t->n_seats)) atomic_store_explicit(&t->n_seats, i + 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return seat;
}

void team_leave(struct team_seat *s) {
    if (!s) return;
    (void)pthread_mutex_lock(&s->team->lock);
    s->taken = false;
    (void)pthread_mutex_unlock(&s->team->lock);
}

/* --- teams --------------------------------------------------------------------------------- */

static int start_helper(struct team *t, int cpu) {
    struct helper *h = &t->helpers[t->n_helpers];
    *h = (struct helper){.team = t, .hand = t->n_helpers + 1};
    const int rc = pthread_create(&h->thread, NULL, be_helper, h);
    if (rc) return rc;
    t->n_helpers++;
    cpu_set_t one;
    CPU_ZERO(&one);
    if (cpu < 0 || cpu >= CPU_SETSIZE) return 0;
    CPU_SET((size_t)cpu, &one);
    (void)pthread_setaffinity_np(h->thread, sizeof one, &one); /* a hint: it runs anyway */
    return 0;
}

struct team *team_new(uint32_t helpers, const int *cpus, struct err *e) {
    struct team *t = calloc(1, sizeof *t);
    if (helpers > TEAM_MAX_HELPERS) helpers = TEAM_MAX_HELPERS;
    if (!t || pthread_mutex_init(&t->lock, NULL)) {
        free(t);
        (void)err_set(e, ERR_SYSTEM, "out of memory for %u threads", helpers);
        return NULL;
    }
    t->seats = aligned_alloc(64, TEAM_MAX_SEATS * sizeof *t->seats);
    t->tickets = aligned_alloc(64, TEAM_MAX_SEATS * (helpers + 1) * sizeof *t->tickets);
    t->n_hands = helpers + 1;
    t->helpers = calloc(helpers ? helpers : 1, sizeof *t->helpers);
    int rc = t->seats && t->helpers && t->tickets ? 0 : ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < TEAM_MAX_SEATS; i++) {
        memset(&t->seats[i], 0, sizeof t->seats[i]);
        t->seats[i].team = t;
        t->seats[i].tickets = t->tickets + i * t->n_hands;
        for (uint32_t k = 0; k < t->n_hands; k++) atomic_init(&t->seats[i].tickets[k].next, CLOSED);
    }
    for (uint32_t i = 0; rc == 0 && i < helpers; i++) rc = start_helper(t, cpus ? cpus[i] : -1);
    if (rc == 0) return t;
    (void)err_set(e, ERR_SYSTEM, "can't start %u threads that help: %s", helpers, strerror(rc));
    team_free(t);
    return NULL;
}

void team_free(struct team *t) {
    if (!t) return;
    atomic_store(&t->stopping, 1);
    atomic_fetch_add(&t->wake, 1);
    wake_all(&t->wake);
    for (uint32_t i = 0; i < t->n_helpers; i++) (void)pthread_join(t->helpers[i].thread, NULL);
    (void)pthread_mutex_destroy(&t->lock);
    free(t->helpers);
    free(t->tickets);
    free(t->seats);
    free(t);
}
