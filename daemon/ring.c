/* The life of a request: pull (copy, check, admit) -> batcher -> worker, which writes the reply into the slot
 * -> complete (answer, wake). Pulls happen under the workers' lock, so one at a time; answers come from any
 * worker and take turns by `answering`. */
#include "daemon/ring.h"

#include "daemon/admit.h"
#include "daemon/log.h"
#include "daemon/ring_plan.h"
#include "infer/cpu.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ring_slot {
    struct request request; /* first */
    struct ring *ring;
    uint64_t id;
    _Atomic bool busy; /* the daemon's, from its pull to its answer */
};

struct ring {
    struct lookout_source source; /* first */
    struct server *server;
    struct batcher_client client;
    struct clpd_ring_info plan;
    uint8_t *memory;
    struct clpd_ring_head *head;
    pthread_mutex_t answering;
    _Atomic uint32_t answered; /* changed under `answering` */
    uint32_t answered_on;      /* under `answering`: 1 + the last one's CPU */
    _Atomic uint32_t references;
    _Atomic bool detached;
    bool broken;           /* under the workers' lock */
    struct loop_post post; /* the last reference is gone */
    struct ring_slot slots[];
};

/* --- taking requests ------------------------------------------------------------------------- */

static void get(struct ring *g) {
    atomic_fetch_add_explicit(&g->references, 1, memory_order_relaxed);
}

static void put(struct ring *g) {
    if (atomic_fetch_sub_explicit(&g->references, 1, memory_order_acq_rel) == 1)
        loop_post(g->server->loop, &g->post);
}

static void wake_client(const struct ring *g) {
    (void)syscall(SYS_futex, &g->head->answered, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void close_memory(const struct ring *g, uint32_t status) {
    __atomic_store_n(&g->head->closed, status, __ATOMIC_SEQ_CST);
    wake_client(g);
}

/* Under the workers' lock: what is under way is still answered. */
static void break_ring(struct ring *g, const char *why) {
    g->broken = true;
    atomic_store_explicit(&g->source.taken, __atomic_load_n(g->source.submitted, __ATOMIC_RELAXED),
                          memory_order_relaxed);
    log_debug("a ring is given up: %s", why);
    close_memory(g, CLPD_BAD_REQUEST);
}

static void write_refusal(struct request *r, const char *text) {
    const size_t n = strnlen(text, FRAME_TEXT - 1);
    const struct clpd_reply reply = {.status = r->status, .text_bytes = (uint32_t)n + 1};
    memcpy(r->reply, &reply, sizeof reply);
    memcpy(r->reply + sizeof reply, text, n);
    r->reply[sizeof reply + n] = 0;
    r->reply_bytes = sizeof reply + n + 1;
}

/* Of the n-th answer. */
static uint8_t *answer_at(const struct ring *g, uint32_t n) {
    return g->memory + g->plan.answers_at +
           (size_t)(n & (g->plan.slots - 1)) * sizeof(struct clpd_ring_answer);
}

/* The answer goes out. On whichever thread saw to the request. */
static void answer(struct ring_slot *slot) {
    struct ring *g = slot->ring;
    struct clpd_ring_head *head = g->head;
    const struct clpd_ring_answer a = {
        .id = slot->id, .slot = (uint32_t)(slot - g->slots), .bytes = (uint32_t)slot->request.reply_bytes};
    const uint32_t here = (uint32_t)(sched_getcpu() + 1);
    atomic_store_explicit(&slot->busy, false, memory_order_release); /* before its client can know */
    pthread_mutex_lock(&g->answering);
    const uint32_t n = atomic_load_explicit(&g->answered, memory_order_relaxed);
    memcpy(answer_at(g, n), &a, sizeof a);
    atomic_store_explicit(&g->answered, n + 1, memory_order_relaxed);
    if (g->answered_on != here) __atomic_store_n(&head->daemon_cpu, g->answered_on = here, __ATOMIC_RELAXED);
    __atomic_store_n(&head->answered, n + 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&g->answering);
    atomic_thread_fence(memory_order_seq_cst); /* our counter, then their flag: see client/ring.h */
    /* The flag stays the client's: taken from a sleep that began meanwhile, it would lose the next answer's
     * wake-up. */
    if (__atomic_load_n(&head->client_sleeps, __ATOMIC_RELAXED)) wake_client(g);
}

static void complete(struct request *r) {
    struct ring_slot *slot = (struct ring_slot *)r; /* its first member */
    struct ring *g = slot->ring;
    if (r->version) version_put(r->version);
    r->version = NULL;
    if (!atomic_load_explicit(&g->detached, memory_order_relaxed)) {
        server_count(g->server, r->status);
        if (r->status != CLPD_OK && !r->reply_bytes) write_refusal(r, admit_status_text(r->status));
        answer(slot);
    }
    put(g);
}

/* The client read the last answer from these lines: they come back while its request is checked and computed.
 * Not that of `answered`, which it looks at all the time. */
static void expect_to_answer(const struct ring *g, const uint8_t *reply) {
    for (size_t i = 0; i < sizeof(struct clpd_reply) + CPU_LINE; i += CPU_LINE) cpu_own(reply + i);
    cpu_own(answer_at(g, atomic_load_explicit(&g->answered, memory_order_relaxed)));
}

/* A request that was read: checked against its model, or refused with the reason in its slot. */
static struct request *take(struct ring *g, const struct clpd_ring_request *q, uint64_t now) {
    struct ring_slot *slot = &g->slots[q->slot];
    uint8_t *at = g->memory + g->plan.slots_at + q->slot * g->plan.slot_bytes;
    const struct server_limits *limits = &g->server->limits;
    const struct admit_limits room = {.tensor_bytes = g->plan.tensor_room < limits->request_bytes
                                                          ? g->plan.tensor_room
                                                          : limits->request_bytes,
                                      .reply_room = g->plan.tensor_at};
    struct request *r = &slot->request;
    struct frame_verdict v;
    struct admission a;
    atomic_store_explicit(&slot->busy, true, memory_order_relaxed);
    slot->id = q->id;
    *r = (struct request){.client = &g->client,
                          .input = at + g->plan.tensor_at,
                          .arrived_ns = now,
                          .reply = at,
                          .reply_room = g->plan.tensor_at,
                          .complete = complete};
    expect_to_answer(g, at);
    get(g);
    admit(g->server->models, &q->infer, q->tensor_bytes, &room, &a, &v);
    r->status = v.status;
    if (v.fate == FRAME_TAKE)
        admit_fill(&a, r, now);
    else
        write_refusal(r, v.text);
    return r;
}

static void expect_request(const struct lookout_source *s) {
    const struct ring *g = (const struct ring *)s; /* its first member */
    const uint32_t taken = atomic_load_explicit(&s->taken, memory_order_relaxed);
    const uint8_t *at = g->memory + g->plan.requests_at +
                        (size_t)(taken & (g->plan.slots - 1)) * sizeof(struct clpd_ring_request);
    for (size_t i = 0; i < sizeof(struct clpd_ring_request); i += CPU_LINE) __builtin_prefetch(at + i);
}

static struct request *pull(struct lookout_source *s, uint32_t most, uint64_t now) {
    struct ring *g = (struct ring *)s; /* its first member */
    struct request *chain = NULL, **end = &chain;
    struct clpd_ring_request q;
    const uint32_t slots = g->plan.slots;
    uint32_t taken = atomic_load_explicit(&s->taken, memory_order_relaxed);
    const uint32_t submitted = __atomic_load_n(s->submitted, __ATOMIC_ACQUIRE);
    if (g->broken) {
        atomic_store_explicit(&s->taken, submitted, memory_order_relaxed);
        return NULL;
    }
    if (submitted - taken > slots) {
        break_ring(g, "more requests than it has slots");
        return NULL;
    }
    for (; taken != submitted && most; most--) {
        const bool sound = ring_read(g->memory + g->plan.requests_at, slots, taken, &q);
        if (!sound || atomic_load_explicit(&g->slots[q.slot].busy, memory_order_acquire)) {
            break_ring(g, sound ? "a slot that is not its client's"
                                : "a request for a slot that does not exist");
            return chain;
        }
        atomic_store_explicit(&s->taken, ++taken, memory_order_relaxed);
        *end = take(g, &q, now);
        end = &(*end)->next;
    }
    return chain;
}

/* --- opening and ending ------------------------------------------------------------------------ */

static void free_ring(struct ring *g) {
    if (g->memory) (void)munmap(g->memory, g->plan.bytes);
    if (g->source.bell >= 0) (void)close(g->source.bell);
    (void)pthread_mutex_destroy(&g->answering);
    free(g);
}

static void on_last_put(struct loop_post *p) {
    struct ring *g = (struct ring *)(void *)((uint8_t *)p - offsetof(struct ring, post));
    g->server->n_rings--;
    free_ring(g);
}

/* A memfd that can't change its size: a page of it that we touch is there. */
static int make_memory(struct ring *g, int *fd) {
    *fd = memfd_create("clpd-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0) return -errno;
    if (ftruncate(*fd, (off_t)g->plan.bytes) ||
        fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return -errno;
    g->memory = mmap(NULL, g->plan.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (g->memory == MAP_FAILED) {
        g->memory = NULL;
        return -errno;
    }
    (void)madvise(g->memory, g->plan.bytes, MADV_DONTDUMP); /* clients' pictures */
    g->head = (struct clpd_ring_head *)(void *)g->memory;
    g->head->magic = CLPD_RING_MAGIC;
    g->head->version = CLPD_RING_VERSION;
    g->source.submitted = &g->head->submitted;
    g->source.sleeps = &g->head->daemon_sleeps;
    g->source.cpu = &g->head->client_cpu;
    return 0;
}

/* 0 or -errno, with what is in fds the caller's to close. */
static int make(struct ring *g, int fds[RING_FDS]) {
    int rc = make_memory(g, &fds[0]);
    if (rc) return rc;
    g->source.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fds[1] = g->source.bell < 0 ? -1 : fcntl(g->source.bell, F_DUPFD_CLOEXEC, 0);
    if (fds[1] < 0) return -errno;
    return workers_watch(g->server->workers, &g->source);
}

struct ring *ring_open(struct server *s, const struct clpd_ring_open *ask, struct clpd_ring_info *info,
                       int fds[RING_FDS], struct frame_verdict *v) {
    fds[0] = fds[1] = -1;
    if (s->n_rings >= s->limits.rings) {
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_BUSY, "%u rings are open (limits.rings): use the stream",
                           s->n_rings);
        return NULL;
    }
    const struct ring_limits limits = {
        .slots = s->limits.inflight, .tensor_bytes = s->limits.request_bytes, .bytes = s->limits.ring_bytes};
    if (!ring_plan(ask, &limits, info, v)) return NULL;
    struct ring *g = calloc(1, sizeof *g + info->slots * sizeof g->slots[0]);
    if (!g) {
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_INTERNAL, "out of memory for a ring");
        return NULL;
    }
    g->server = s;
    g->plan = *info;
    g->source.bell = -1;
    g->source.pull = pull;
    g->source.expect = expect_request;
    g->post.run = on_last_put;
    atomic_init(&g->references, 1);
    (void)pthread_mutex_init(&g->answering, NULL);
    for (uint32_t i = 0; i < info->slots; i++) g->slots[i].ring = g;
    const int rc = make(g, fds);
    if (rc == 0) {
        s->n_rings++;
        return g;
    }
    for (int i = 0; i < RING_FDS; i++)
        if (fds[i] >= 0) (void)close(fds[i]);
    (void)frame_refuse(v, FRAME_SKIPS, CLPD_INTERNAL, "no ring could be made: %s", strerror(-rc));
    free_ring(g);
    return NULL;
}

void ring_detach(struct ring *g) {
    workers_unwatch(g->server->workers, &g->source);
    atomic_store_explicit(&g->detached, true, memory_order_relaxed);
    workers_cancel(g->server->workers, &g->client);
    close_memory(g, CLPD_SHUTTING_DOWN);
    put(g);
}
