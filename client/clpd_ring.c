/* libclpd's shared memory: a ring of its own on a connection of its own.
 *
 *   slot:  FREE -> taken (YOURS) -> submit (THEIRS) -> answer (YOURS) -> FREE
 *
 *   daemon gone:  lose -> try_again (connect, ask, wait) -> take_over: the new memory comes to lie where the
 * old one lay, with what the slots held, and what was unanswered is submitted again
 *
 * The order of writes, and how either side sleeps without missing the other, is in ring.h. The daemon's
 * answers are checked as over the stream; it is trusted to leave them alone once they are announced. */
#include "client/libclpd.h"
#include "client/spin.h"
#include "infer/cpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define OPEN_MS 10000
#define LOOK_MS                                                                                              \
    100 /* how often a sleeper makes sure that the daemon is still there: it may have been killed */
#define DEFAULT_SPIN     50000u
#define DEFAULT_PATIENCE 10000
#define TRY_PAUSE        10000000u /* ns between two attempts to find a daemon */
#define LOOKS_AT_DAEMON                                                                                      \
    4096 /* so many looks in vain, then it is asked whether it is there: a system call                       \
          */

enum slot_state { SLOT_FREE, SLOT_YOURS, SLOT_THEIRS };

struct ring_slot {
    uint32_t generation, next_free;
    enum slot_state state;
    struct asked asked;
    uint64_t order; /* of submission */
    struct clpd_ring_request request;
};

struct clpd_ring {
    struct clpd *connection; /* NULL: the daemon is gone, and nothing has been heard of another one */
    struct clpd_ring_options options;
    char *path; /* NULL: the default */
    struct clpd_ring_info plan;
    uint8_t *memory;
    struct clpd_ring_head *head;
    int bell;
    uint32_t submitted, seen; /* counters: ours, and how far of theirs we have read */
    uint32_t pending, first_free;
    uint32_t looks; /* in vain */
    struct spin spin;
    int broken;       /* -errno; 0: it stands */
    uint64_t lost_ns; /* since when the daemon is gone; 0: it is there */
    uint64_t next_try, orders;
    uint32_t newest; /* the slot that was submitted last */
    uint32_t lent;   /* classify's: its answer lies there; NO_SLOT: none */
    struct ring_slot *slots;
    char error[320];
};

#define NO_SLOT UINT32_MAX

static int fail(struct clpd_ring *g, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct clpd_ring *g, int code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(g->error, sizeof g->error, fmt, ap);
    va_end(ap);
    return code;
}

static int break_off(struct clpd_ring *g, int code, const char *what) {
    g->broken = code;
    return fail(g, code, "%s", what);
}

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- opening ---------------------------------------------------------------------------- */

static int receive_some(int fd, void *to, size_t n, int fds[2]) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec v = {to, n};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    const int ready = poll(&p, 1, OPEN_MS);
    if (ready == 0) return -ETIMEDOUT;
    if (ready < 0) return errno == EINTR ? 0 : -errno;
    const ssize_t got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    if (got < 0) return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    if (got == 0) return -ECONNRESET;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int one;
            memcpy(&one, CMSG_DATA(c) + i * sizeof one, sizeof one);
            if (i < 2 && fds[i] < 0)
                fds[i] = one;
            else
                (void)close(one);
        }
    }
    return (int)got;
}

static int receive_exactly(int fd, void *to, size_t n, int fds[2]) {
    for (size_t at = 0; at < n;) {
        const int got = receive_some(fd, (uint8_t *)to + at, n - at, fds);
        if (got < 0) return got;
        at += (size_t)got;
    }
    return 0;
}

static int send_ask(int fd, const struct clpd_ring_options *o) {
    struct {
        struct clpd_header header;
        struct clpd_ring_open open;
    } out = {.header = {.magic = CLPD_MAGIC,
                        .version = CLPD_WIRE_VERSION,
                        .type = CLPD_RING_OPEN,
                        .id = 1,
                        .bytes = sizeof out.open},
             .open = {.slots = o->slots ? o->slots : 8,
                      .tensor_bytes = o->tensor_bytes,
                      .reply_bytes = o->reply_bytes}};
    return send(fd, &out, sizeof out, MSG_NOSIGNAL) == (ssize_t)sizeof out ? 0 : errno ? -errno : -EPIPE;
}

static int receive_plan(int fd, struct clpd_ring_info *info, int fds[2], char *why, size_t room) {
    struct clpd_header h;
    union {
        struct clpd_reply reply;
        uint8_t bytes[sizeof(struct clpd_reply) + 1024];
    } body = {.bytes = {0}};
    struct clpd_result r = {.text = ""};
    int rc = receive_exactly(fd, &h, sizeof h, fds);
    if (rc) return rc;
    if (h.magic != CLPD_MAGIC || h.version != CLPD_WIRE_VERSION || h.bytes >= sizeof body) return -EPROTO;
    rc = receive_exactly(fd, &body, (size_t)h.bytes, fds);
    if (rc) return rc;
    if (h.type == CLPD_RING_REPLY && h.bytes == sizeof *info && h.id == 1) {
        memcpy(info, &body, sizeof *info);
        return 0;
    }
    if (h.type != CLPD_ERROR || libclpd_read_reply(body.bytes, (size_t)h.bytes, NULL, &r) || !r.status)
        return -EPROTO;
    if (room) (void)snprintf(why, room, "%s", r.text);
    return r.status > INT32_MAX ? -EPROTO : (int)r.status;
}

/* Whether all that the daemon says about the memory lies in it. */
static bool plan_is_sound(const struct clpd_ring_info *p, uint64_t bytes) {
    const uint64_t n = p->slots;
    return p->version == CLPD_RING_VERSION && n && n <= CLPD_RING_MAX_SLOTS && (n & (n - 1)) == 0 &&
           p->bytes == bytes && p->requests_at >= sizeof(struct clpd_ring_head) && p->requests_at % 8 == 0 &&
           p->answers_at % 8 == 0 && p->requests_at + n * sizeof(struct clpd_ring_request) <= bytes &&
           p->answers_at + n * sizeof(struct clpd_ring_answer) <= bytes && p->slot_bytes <= bytes / n &&
           p->slots_at <= bytes - n * p->slot_bytes && p->tensor_at <= p->slot_bytes && p->tensor_room &&
           p->tensor_room <= p->slot_bytes - p->tensor_at && p->tensor_at >= sizeof(struct clpd_reply) + 1 &&
           ((p->slots_at | p->slot_bytes | p->tensor_at) & 63) == 0;
}

/* The memory that such a ring lies in. 0 or -errno. */
static int map_memory(const struct clpd_ring_info *p, const int fds[2], uint8_t **out) {
    struct stat st;
    if (fds[0] < 0 || fds[1] < 0 || fstat(fds[0], &st) < 0) return -EPROTO;
    if (!plan_is_sound(p, (uint64_t)st.st_size)) return -EPROTO;
    uint8_t *memory = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    if (memory == MAP_FAILED) return -errno;
    if (((const struct clpd_ring_head *)(const void *)memory)->magic != CLPD_RING_MAGIC) {
        (void)munmap(memory, p->bytes);
        return -EPROTO;
    }
    *out = memory;
    return 0;
}

static int map(struct clpd_ring *g, const int fds[2]) {
    const int rc = map_memory(&g->plan, fds, &g->memory);
    if (rc) return rc;
    g->slots = calloc(g->plan.slots, sizeof *g->slots);
    if (!g->slots) return -ENOMEM;
    g->head = (struct clpd_ring_head *)(void *)g->memory;
    for (uint32_t i = 0; i < g->plan.slots; i++)
        g->slots[i].next_free = i + 1 < g->plan.slots ? i + 1 : NO_SLOT;
    return 0;
}

int clpd_ring_open(const char *path, const struct clpd_ring_options *o, struct clpd_ring **out, char *why,
                   size_t room) {
    int fds[2] = {-1, -1};
    struct clpd_ring *g = calloc(1, sizeof *g);
    *out = NULL;
    if (!why) room = 0;
    if (room) why[0] = 0;
    if (!g) return -ENOMEM;
    g->bell = -1;
    g->lent = NO_SLOT;
    g->spin.most = o->spin_us < 0 ? 0 : o->spin_us ? (uint64_t)o->spin_us * 1000 : DEFAULT_SPIN;
    g->options = *o;
    if (o->patience_ms == 0) g->options.patience_ms = DEFAULT_PATIENCE;
    if (path && !(g->path = strdup(path))) {
        free(g);
        return -ENOMEM;
    }
    int rc = clpd_connect(path, &g->connection);
    if (rc == 0) rc = send_ask(clpd_fd(g->connection), o);
    if (rc == 0) rc = receive_plan(clpd_fd(g->connection), &g->plan, fds, why, room);
    g->bell = fds[1];
    if (rc == 0) rc = map(g, fds);
    if (fds[0] >= 0) (void)close(fds[0]);
    if (rc == 0)
        *out = g;
    else
        clpd_ring_close(g);
    return rc;
}

void clpd_ring_close(struct clpd_ring *g) {
    if (!g) return;
    if (g->memory) (void)munmap(g->memory, g->plan.bytes);
    if (g->bell >= 0) (void)close(g->bell);
    clpd_close(g->connection);
    free(g->path);
    free(g->slots);
    free(g);
}

/* --- slots -------------------------------------------------------------------------------- */

int clpd_ring_take(struct clpd_ring *g, uint32_t *slot) {
    const uint32_t i = g->first_free;
    if (i == NO_SLOT) return fail(g, -EAGAIN, "all %u slots are in use", g->plan.slots);
    g->first_free = g->slots[i].next_free;
    g->slots[i].state = SLOT_YOURS;
    *slot = i;
    return 0;
}

static uint8_t *slot_at(const struct clpd_ring *g, uint32_t slot) {
    return g->memory + g->plan.slots_at + slot * g->plan.slot_bytes;
}

void *clpd_ring_tensor(struct clpd_ring *g, uint32_t slot) {
    return slot < g->plan.slots ? slot_at(g, slot) + g->plan.tensor_at : NULL;
}

void clpd_ring_give(struct clpd_ring *g, uint32_t slot) {
    if (slot >= g->plan.slots || g->slots[slot].state != SLOT_YOURS) return;
    g->slots[slot].state = SLOT_FREE;
    g->slots[slot].next_free = g->first_free;
    g->first_free = slot;
}

uint64_t clpd_ring_trim(struct clpd_ring *g) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uint64_t bytes = 0;
    for (uint32_t i = g->first_free; i != NO_SLOT; i = g->slots[i].next_free) {
        const uintptr_t at = (uintptr_t)slot_at(g, i), from = (at + page - 1) / page * page,
                        to = (at + g->plan.slot_bytes) / page *
                             page; /* whole pages: the rest is a neighbour's */
        if (to > from && madvise((void *)from, to - from, MADV_REMOVE) == 0) bytes += to - from;
    }
    return bytes;
}

uint32_t clpd_ring_pending(const struct clpd_ring *g) {
    return g->pending;
}

const char *clpd_ring_error(const struct clpd_ring *g) {
    return g->error;
}

/* --- requests ------------------------------------------------------------------------------ */

static void ring_bell(const struct clpd_ring *g) {
    const uint64_t one = 1;
    ssize_t n = write(g->bell, &one, sizeof one);
    (void)n; /* EAGAIN: it is ringing already */
}

/* 1 + the CPU that we run on; 0: unknown. */
static uint32_t cpu(void) {
    const int n = sched_getcpu();
    return n < 0 ? 0 : (uint32_t)n + 1;
}

static void put(struct clpd_ring *g, const struct clpd_ring_request *r) {
    struct clpd_ring_head *h = g->head;
    memcpy(g->memory + g->plan.requests_at + (size_t)(g->submitted & (g->plan.slots - 1)) * sizeof *r, r,
           sizeof *r);
    const uint32_t here = cpu();
    if (h->client_cpu != here) __atomic_store_n(&h->client_cpu, here, __ATOMIC_RELAXED);
    __atomic_store_n(&h->submitted, ++g->submitted, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our counter, then their flag: see ring.h */
    if (__atomic_load_n(&h->daemon_sleeps, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&h->daemon_sleeps, 0, __ATOMIC_RELAXED))
        ring_bell(g);
}

int clpd_ring_submit(struct clpd_ring *g, uint32_t slot, const struct clpd_request *q, uint64_t *id) {
    struct clpd_ring_request r = {.slot = slot};
    const char *why;
    if (g->broken) return g->broken;
    if (slot >= g->plan.slots || g->slots[slot].state != SLOT_YOURS)
        return fail(g, -EINVAL, "slot %u was not taken", slot);
    if (libclpd_make_head(q, &r.infer, &r.tensor_bytes, &why) < 0) return fail(g, -EINVAL, "%s", why);
    if (r.tensor_bytes > g->plan.tensor_room)
        return fail(g, -EINVAL, "the tensor has %llu bytes; this ring's slots have room for %llu",
                    (unsigned long long)r.tensor_bytes, (unsigned long long)g->plan.tensor_room);
    struct ring_slot *s = &g->slots[slot];
    s->generation = s->generation + 1 ? s->generation + 1 : 1;
    s->asked = (struct asked){.items = q->dims[0], .top_k = q->top_k, .want_scores = q->want_scores ? 1 : 0};
    s->state = SLOT_THEIRS;
    g->pending++;
    r.id = (uint64_t)s->generation << 32 | slot;
    if (id) *id = r.id;
    s->order = ++g->orders;
    g->newest = slot;
    s->request = r;
    if (!g->lost_ns) put(g, &r); /* else as soon as a daemon is there */
    return 0;
}

/* --- when the daemon goes away ------------------------------------------------------------------ */

/* Not an error yet: another one may come. */
static int lose(struct clpd_ring *g, const char *what) {
    if (g->options.patience_ms < 0) return break_off(g, -ECONNRESET, what);
    (void)fail(g, 0, "%s", what);
    clpd_close(g->connection);
    g->connection = NULL;
    g->lost_ns = now_ns();
    g->next_try = 0;
    return 0;
}

static struct ring_slot *next_to_submit(const struct clpd_ring *g, uint64_t after) {
    struct ring_slot *first = NULL;
    for (uint32_t i = 0; i < g->plan.slots; i++) {
        struct ring_slot *s = &g->slots[i];
        if (s->state == SLOT_THEIRS && s->order > after && (!first || s->order < first->order)) first = s;
    }
    return first;
}

/* A tensor that its slot's user writes or has written, and an answer that is being read, stay where they are.
 */
static int take_over(struct clpd_ring *g, const struct clpd_ring_info *plan, const int fds[2]) {
    uint8_t *memory;
    if (memcmp(plan, &g->plan, sizeof *plan) != 0)
        return break_off(g, -ECONNRESET, "the daemon that came back lays rings out differently");
    const int rc = map_memory(plan, fds, &memory);
    if (rc) return break_off(g, rc, "the daemon that came back gave a ring that can't be mapped");
    memcpy(memory + plan->slots_at, g->memory + plan->slots_at, plan->slots * plan->slot_bytes);
    if (mremap(memory, plan->bytes, plan->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, g->memory) != g->memory) {
        (void)munmap(memory, plan->bytes);
        return break_off(g, -ENOMEM, "the new ring can't be put in the old one's place");
    }
    (void)close(g->bell);
    g->bell = fds[1];
    g->submitted = g->seen = 0;
    g->lost_ns = 0;
    for (struct ring_slot *s = NULL; (s = next_to_submit(g, s ? s->order : 0));) put(g, &s->request);
    return 1;
}

static int ask_again(struct clpd_ring *g) {
    g->next_try = now_ns() + TRY_PAUSE;
    if (clpd_connect(g->path, &g->connection)) return 0;
    if (send_ask(clpd_fd(g->connection), &g->options) == 0) return 0;
    clpd_close(g->connection);
    g->connection = NULL;
    return 0;
}

/* 1: the ring stands again; 0: not yet; -errno: it never will. */
static int hear_again(struct clpd_ring *g) {
    struct clpd_ring_info plan;
    int fds[2] = {-1, -1};
    const int refused = receive_plan(clpd_fd(g->connection), &plan, fds, NULL, 0);
    const int rc = refused ? 0 : take_over(g, &plan, fds);
    if (fds[0] >= 0) (void)close(fds[0]);
    if (rc == 1) return 1;
    if (fds[1] >= 0) (void)close(fds[1]);
    clpd_close(g->connection); /* refused, or gone again */
    g->connection = NULL;
    return g->broken;
}

static int come_back(struct clpd_ring *g, uint64_t end) {
    const uint64_t patience = g->lost_ns + (uint64_t)g->options.patience_ms * 1000000u;
    for (uint64_t now = now_ns();; now = now_ns()) {
        struct pollfd p = {.events = POLLIN};
        if (now > patience) return break_off(g, -ECONNRESET, "the daemon went away and did not come back");
        if (!g->connection && now >= g->next_try) (void)ask_again(g);
        const uint64_t until = !g->connection && g->next_try < end ? g->next_try
                               : end < patience                    ? end
                                                                   : patience;
        p.fd = g->connection ? clpd_fd(g->connection) : -1;
        const int ms =
            until > now ? (int)((until - now < TRY_PAUSE ? until - now : TRY_PAUSE) / 1000000u) : 0;
        if (poll(&p, 1, ms) > 0 && p.revents) {
            const int rc = hear_again(g);
            if (rc) return rc;
        }
        if (now >= end) return 0;
    }
}

/* --- answers --------------------------------------------------------------------------------- */

static bool has_answer(const struct clpd_ring *g) {
    return __atomic_load_n(&g->head->answered, __ATOMIC_ACQUIRE) != g->seen;
}

static int refuse(struct clpd_ring *g, const char *why) {
    char text[128];
    (void)snprintf(text, sizeof text, "the answer is not clpd's protocol: %s", why);
    return break_off(g, -EPROTO, text);
}

/* Who asks one at a time finds the reply there: it is fetched beside the answer that says where it lies. */
static void expect_reply(const struct clpd_ring *g) {
    const uint8_t *reply = slot_at(g, g->newest);
    for (size_t i = 0; i < sizeof(struct clpd_reply) + CPU_LINE; i += CPU_LINE) __builtin_prefetch(reply + i);
}

static int read_answer(struct clpd_ring *g, struct clpd_result *r, uint32_t *slot) {
    struct clpd_ring_answer a;
    expect_reply(g);
    memcpy(&a, g->memory + g->plan.answers_at + (size_t)(g->seen & (g->plan.slots - 1)) * sizeof a, sizeof a);
    g->seen++;
    const uint32_t i = a.slot;
    if (i >= g->plan.slots || g->slots[i].state != SLOT_THEIRS ||
        a.id != ((uint64_t)g->slots[i].generation << 32 | i))
        return refuse(g, "an answer to nothing");
    if (a.bytes > g->plan.tensor_at) return refuse(g, "more than a slot holds");
    *r = (struct clpd_result){.id = a.id, .text = ""};
    const char *wrong = libclpd_read_reply(slot_at(g, i), a.bytes, &g->slots[i].asked, r);
    if (wrong) return refuse(g, wrong);
    if (r->status == CLPD_SHUTTING_DOWN && g->options.patience_ms >= 0)
        return lose(g, "the daemon is stopping");
    g->slots[i].state = SLOT_YOURS;
    g->pending--;
    *slot = i;
    return 1;
}

/* true: there is an answer. */
static bool spin(struct clpd_ring *g, uint64_t since, uint64_t end) {
    uint64_t limit = since + spin_limit(&g->spin);
    if (limit > end) limit = end;
    const uint32_t here = cpu();
    if (limit <= since || (here && __atomic_load_n(&g->head->daemon_cpu, __ATOMIC_RELAXED) == here))
        return false;
    do {
        for (int i = 0; i < SPIN_LOOKS; i++) {
            if (has_answer(g)) return true;
            cpu_relax();
        }
    } while (now_ns() < limit);
    return has_answer(g);
}

/* Whether the daemon said that it will answer no more. */
static int check_closed(struct clpd_ring *g) {
    const uint32_t closed = __atomic_load_n(&g->head->closed, __ATOMIC_ACQUIRE);
    if (has_answer(g)) return 0;
    if (closed) {
        char text[96];
        (void)snprintf(text, sizeof text, "the daemon closed the ring (%s)", clpd_status_name(closed));
        return closed == CLPD_SHUTTING_DOWN ? lose(g, text) : break_off(g, -EPROTO, text);
    }
    return 0;
}

/* The same, or it is gone: its end of the connection is closed. */
static int check_daemon(struct clpd_ring *g) {
    const int rc = check_closed(g);
    struct pollfd p = {.fd = g->connection ? clpd_fd(g->connection) : -1, .events = POLLIN | POLLRDHUP};
    if (rc || g->lost_ns || has_answer(g)) return rc;
    if (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLRDHUP | POLLERR)))
        return lose(g, "the daemon closed the connection");
    return 0;
}

/* Until something comes, or `end`; looks after the daemon now and then. */
static int sleep_on_answers(struct clpd_ring *g, uint64_t end) {
    struct clpd_ring_head *h = g->head;
    int rc = check_daemon(g);
    for (uint64_t now = now_ns(); rc == 0 && !g->lost_ns && now < end; now = now_ns()) {
        uint64_t left = end - now;
        if (left > LOOK_MS * 1000000ull) left = LOOK_MS * 1000000ull;
        const struct timespec t = {.tv_nsec = (long)left};
        __atomic_store_n(&h->client_sleeps, 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our flag, then their counter */
        if (!has_answer(g)) (void)syscall(SYS_futex, &h->answered, FUTEX_WAIT, g->seen, &t, NULL, 0);
        __atomic_store_n(&h->client_sleeps, 0, __ATOMIC_RELAXED);
        if (has_answer(g)) return 0;
        rc = check_daemon(g);
    }
    return rc;
}

/* Until an answer, `end`, or the daemon's end. */
static int wait_for_answer(struct clpd_ring *g, uint64_t since, uint64_t end, struct clpd_result *r,
                           uint32_t *slot) {
    if (has_answer(g)) return read_answer(g, r, slot);
    const bool looking = spin(g, since, end);
    const int rc = looking ? 0 : sleep_on_answers(g, end);
    if (rc < 0) return rc;
    spin_learn(&g->spin, now_ns() - since, looking);
    return !g->lost_ns && has_answer(g) ? read_answer(g, r, slot) : 0;
}

int clpd_ring_poll(struct clpd_ring *g, int timeout_ms, struct clpd_result *r, uint32_t *slot) {
    if (g->broken) return g->broken;
    if (!g->lost_ns) { /* the way of all days */
        if (has_answer(g)) {
            const int rc = read_answer(g, r, slot);
            if (rc || !g->lost_ns) return rc;
        } else if (timeout_ms == 0 && ++g->looks % LOOKS_AT_DAEMON) {
            return check_closed(g);
        } else if (timeout_ms == 0 || g->pending == 0) {
            return check_daemon(g);
        }
    }
    uint64_t now = now_ns();
    const uint64_t end = g->pending == 0  ? now
                         : timeout_ms < 0 ? UINT64_MAX
                                          : now + (uint64_t)timeout_ms * 1000000u;
    for (int rc = 0;; now = now_ns()) {
        if (g->lost_ns) rc = come_back(g, end);
        if (rc < 0 || g->lost_ns || g->pending == 0) return rc < 0 ? rc : 0;
        rc = wait_for_answer(g, now, end, r, slot);
        if (rc || !g->lost_ns) return rc;
    }
}

int clpd_ring_classify(struct clpd_ring *g, const struct clpd_request *q, int timeout_ms,
                       struct clpd_result *r) {
    uint32_t slot = NO_SLOT;
    if (g->broken) return g->broken;
    if (g->pending) return fail(g, -EBUSY, "submitted requests are still unanswered");
    if (!q->data) return fail(g, -EINVAL, "a request needs a tensor");
    if (g->lent != NO_SLOT) clpd_ring_give(g, g->lent);
    g->lent = NO_SLOT;
    int rc = clpd_ring_take(g, &slot);
    if (rc) return rc;
    g->lent = slot;
    struct clpd_infer head;
    uint64_t bytes;
    const char *why;
    if (libclpd_make_head(q, &head, &bytes, &why) < 0) return fail(g, -EINVAL, "%s", why);
    if (bytes <= g->plan.tensor_room) memcpy(clpd_ring_tensor(g, slot), q->data, bytes);
    rc = clpd_ring_submit(g, slot, q, NULL);
    if (rc) return rc;
    rc = clpd_ring_poll(g, timeout_ms, r, &slot);
    if (rc == 0) return break_off(g, -ETIMEDOUT, "no answer from the daemon in time");
    return rc < 0 ? rc : 0;
}
