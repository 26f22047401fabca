/* The io_uring back end; the only file that knows liburing (2.3, Debian 12).
 *
 *   user_data:   63      56 55              32 31               0
 *               | operation | index of the     | generation of    |
 *               |           | stream or watch  | that one         |
 *
 * Accept and poll are multishot. A stream has one poll for all its life, which
 * tells of bytes; they are then received, the first few streams of a turn by
 * their own recv(2), which is fastest for one, the others together with the
 * next submission: chunks through a ring of provided buffers, so that a
 * connection that is silent holds no memory, tensors straight to where the
 * engine reads them. (A multishot receive could not change between the two
 * without a cancellation, with bytes already under way into a buffer, and
 * takes as long: a round trip of 64 bytes took 4.6 us with a receive that waits
 * each time, 3.9 with either multishot.) A turn is one io_uring_enter(2), or
 * none where bytes were left to be received by ourselves. */
#include "daemon/loop_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SQ_ENTRIES     512
#define CQ_MOST        65536
#define CHUNKS         256 /* a power of two; a chunk is held only while its bytes are looked at */
#define CHUNK_GROUP    0
#define MOST_OUTSIDE   3 /* then others are listened to again */
#define SQPOLL_IDLE_MS 2 /* without work, then the kernel's thread sleeps */

enum operation { ON_RECEIVE = 1, ON_SEND, ON_WATCH, ON_CANCEL, ON_READABLE };

struct uring {
    struct io_uring ring;
    struct io_uring_buf_ring *chunk_ring;
    uint8_t *chunks;
    struct loop_stream *again; /* something to do in the next turn: bytes are left, or there was no buffer, or
                                  no room in the submission queue */
    unsigned outside;          /* turns in a row that did without the kernel */
    uint8_t chunk[LOOP_CHUNK]; /* of a receive of our own */
};

static uint64_t cookie(enum operation op, size_t index, uint32_t generation) {
    return (uint64_t)op << 56 | (uint64_t)index << 32 | generation;
}

static size_t index_of(const struct loop_stream *s) {
    return (size_t)(s - s->loop->streams);
}

/* --- opening --------------------------------------------------------------------------- */

static size_t chunk_ring_bytes(void) {
    return CHUNKS * sizeof(struct io_uring_buf);
}

static uint8_t *chunk_at(const struct uring *u, unsigned i) {
    return u->chunks + (size_t)i * LOOP_CHUNK;
}

/* liburing 2.3 has no io_uring_setup_buf_ring: the ring is mapped and registered by hand. */
static int open_chunks(struct uring *u) {
    const size_t all = chunk_ring_bytes() + (size_t)CHUNKS * LOOP_CHUNK;
    uint8_t *at = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return -errno;
    u->chunk_ring = (void *)at;
    u->chunks = at + chunk_ring_bytes();
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)at, .ring_entries = CHUNKS, .bgid = CHUNK_GROUP};
    int rc = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (rc) {
        (void)munmap(at, all);
        u->chunk_ring = NULL;
        return rc;
    }
    io_uring_buf_ring_init(u->chunk_ring);
    for (unsigned i = 0; i < CHUNKS; i++)
        io_uring_buf_ring_add(u->chunk_ring, chunk_at(u, i), LOOP_CHUNK, (unsigned short)i,
                              io_uring_buf_ring_mask(CHUNKS), (int)i);
    io_uring_buf_ring_advance(u->chunk_ring, CHUNKS);
    return 0;
}

/* Completions are posted only when we wait (6.1), or at least without an
 * interrupt of what runs (5.19); older kernels know neither flag. */
static int setup_ring(struct uring *u, uint32_t streams, bool sqpoll) {
    static const unsigned own[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                   IORING_SETUP_COOP_TASKRUN, 0},
                          kernels[] = {IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_SQPOLL};
    const unsigned *tries = sqpoll ? kernels : own;
    const size_t n = sqpoll ? sizeof kernels / sizeof kernels[0] : sizeof own / sizeof own[0];
    unsigned completions = SQ_ENTRIES * 2;
    while (completions < CQ_MOST && completions < 2 * streams + 2 * LOOP_WATCHES) completions *= 2;
    int rc = -EINVAL;
    for (size_t i = 0; i < n && rc == -EINVAL; i++) {
        struct io_uring_params p = {.flags = tries[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
                                             IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED,
                                    .cq_entries = completions,
                                    .sq_thread_idle = SQPOLL_IDLE_MS};
        rc = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &p);
    }
    return rc;
}

/* What this ring will ever do: whoever takes the process over gets no other operation from it. */
static int restrict_ring(struct uring *u) {
    static const uint8_t operations[] = {IORING_OP_RECV,   IORING_OP_SEND,     IORING_OP_SENDMSG,
                                         IORING_OP_ACCEPT, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};
    enum { N = sizeof operations / sizeof operations[0] };
    struct io_uring_restriction r[N + 1] = {{.opcode = 0}};
    for (unsigned i = 0; i < N; i++) {
        r[i].opcode = IORING_RESTRICTION_SQE_OP;
        r[i].sqe_op = operations[i];
    }
    r[N].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    r[N].sqe_flags = IOSQE_BUFFER_SELECT;
    /* Debian's liburing declares calls for these two and does not have them. */
    if (syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_RESTRICTIONS, r, N + 1) < 0 ||
        syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
        return -errno;
    return 0;
}

static int refuse(struct err *e, const char *what, int rc) {
    const char *hint = rc == -EPERM || rc == -EACCES
                           ? " (see kernel.io_uring_disabled, or the container's seccomp profile)"
                       : rc == -ENOSYS ? " (the kernel has no io_uring)"
                       : rc == -EINVAL ? " (needs Linux 5.19)"
                                       : "";
    return err_set(e, ERR_SYSTEM, "%s: %s%s", what, strerror(-rc), hint);
}

static int open_uring(struct loop *l, struct err *e) {
    struct uring *u = calloc(1, sizeof *u);
    if (!u) return err_set(e, ERR_SYSTEM, "out of memory for io_uring");
    int rc = setup_ring(u, l->n_streams, l->sqpoll);
    if (rc) {
        free(u);
        return refuse(e, "io_uring_setup", rc);
    }
    if (!(u->ring.features & IORING_FEAT_EXT_ARG)) rc = -EINVAL;
    if (rc == 0) rc = open_chunks(u);
    /* Spares a look-up of the descriptor per turn; where the kernel is older than 5.18 it is looked up.
     * Before the restrictions, which do not allow it. */
    if (rc == 0) (void)io_uring_register_ring_fd(&u->ring);
    if (rc == 0) rc = restrict_ring(u);
    if (rc) {
        io_uring_queue_exit(&u->ring);
        free(u);
        return refuse(e, "io_uring: buffers for receiving", rc);
    }
    l->backend = u;
    return 0;
}

static void close_uring(struct loop *l) {
    struct uring *u = l->backend;
    io_uring_queue_exit(&u->ring);
    (void)munmap(u->chunk_ring, chunk_ring_bytes() + (size_t)CHUNKS * LOOP_CHUNK);
    free(u);
    l->backend = NULL;
}

/* --- submitting -------------------------------------------------------------------------- */

/* NULL: the kernel takes no more before completions have been read. */
static struct io_uring_sqe *next_entry(struct uring *u) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe) return sqe;
    (void)io_uring_submit(&u->ring);
    return io_uring_get_sqe(&u->ring);
}

static void arm_later(struct uring *u, struct loop_stream *s) {
    if (s->listed) return;
    s->listed = true;
    s->next = u->again;
    u->again = s;
}

/* There are bytes, as far as we know. */
static void submit_receive(struct loop_stream *s) {
    struct uring *u = s->loop->backend;
    struct io_uring_sqe *sqe = next_entry(u);
    if (!sqe) {
        s->rearm_receive = true;
        arm_later(u, s);
        return;
    }
    if (s->to) {
        io_uring_prep_recv(sqe, s->fd, s->to + s->got, s->want - s->got, MSG_WAITALL);
    } else {
        io_uring_prep_recv(sqe, s->fd, NULL, LOOP_CHUNK, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = CHUNK_GROUP;
    }
    s->in_kernel = true;
    s->news = false;
    io_uring_sqe_set_data64(sqe, cookie(ON_RECEIVE, index_of(s), s->generation));
}

static void submit_poll(struct loop_stream *s) {
    struct uring *u = s->loop->backend;
    struct io_uring_sqe *sqe = next_entry(u);
    if (!sqe) {
        s->rearm_poll = true;
        arm_later(u, s);
        return;
    }
    io_uring_prep_poll_multishot(sqe, s->fd, POLLIN | POLLRDHUP);
    io_uring_sqe_set_data64(sqe, cookie(ON_READABLE, index_of(s), s->generation));
    s->polled = true;
}

static void submit_cancel(struct loop_stream *s) {
    struct uring *u = s->loop->backend;
    struct io_uring_sqe *sqe = next_entry(u);
    if (!sqe) {
        s->rearm_cancel = true;
        arm_later(u, s);
        return;
    }
    io_uring_prep_cancel64(sqe, cookie(ON_READABLE, index_of(s), s->generation), 0);
    io_uring_sqe_set_data64(sqe, cookie(ON_CANCEL, 0, 0));
}

/* The bytes are asked for: where there are some, the next turn takes them. */
static void receive(struct loop_stream *s) {
    if (!s->readable) return;
    s->rearm_receive = true;
    arm_later(s->loop->backend, s);
}

static void submit_send(struct loop_stream *s) {
    struct uring *u = s->loop->backend;
    struct io_uring_sqe *sqe = next_entry(u);
    if (!sqe) {
        s->rearm_send = true;
        arm_later(u, s);
        return;
    }
    /* MSG_WAITALL: the kernel goes on by itself where the peer is slow */
    const struct iovec *iov = s->message.msg_iov;
    s->send_polls = s->message.msg_control != NULL;
    if (s->send_polls) /* before 6.4 io_uring sends no descriptors: wait for room, then sendmsg */
        io_uring_prep_poll_add(sqe, s->fd, POLLOUT);
    else if (s->message.msg_iovlen == 1)
        io_uring_prep_send(sqe, s->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_WAITALL);
    else
        io_uring_prep_sendmsg(sqe, s->fd, &s->message, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data64(sqe, cookie(ON_SEND, index_of(s), s->generation));
}

static int opened(struct loop_stream *s) {
    if (index_of(s) >= (1u << 24)) return -EMFILE;
    submit_poll(s);
    return 0;
}

/* The shutdown ends what the kernel does with it, but for the poll. */
static void closing(struct loop_stream *s) {
    if (!s->in_kernel) s->receiving = false;
    if (s->polled) submit_cancel(s);
}

/* --- watches -------------------------------------------------------------------------------- */

static int submit_watch(struct loop_watch *w) {
    struct uring *u = w->loop->backend;
    struct io_uring_sqe *sqe = next_entry(u);
    if (!sqe) return -EBUSY;
    if (w->accepted) {
        /* on a non-blocking socket accept fails with EAGAIN instead of waiting */
        const int flags = fcntl(w->fd, F_GETFL);
        if (flags >= 0 && (flags & O_NONBLOCK)) (void)fcntl(w->fd, F_SETFL, flags & ~O_NONBLOCK);
        io_uring_prep_multishot_accept(sqe, w->fd, NULL, NULL, SOCK_CLOEXEC);
    } else {
        io_uring_prep_poll_multishot(sqe, w->fd, POLLIN);
    }
    io_uring_sqe_set_data64(sqe, cookie(ON_WATCH, (size_t)(w - w->loop->watches), w->generation));
    w->armed = true;
    return 0;
}

static void unwatch(struct loop_watch *w) {
    struct uring *u = w->loop->backend;
    if (!w->armed) {
        loop_watch_done(w);
        return;
    }
    struct io_uring_sqe *sqe = next_entry(u);
    if (!sqe) return; /* the request stays armed and its slot used: harmless, and next to impossible */
    io_uring_prep_cancel64(sqe, cookie(ON_WATCH, (size_t)(w - w->loop->watches), w->generation), 0);
    io_uring_sqe_set_data64(sqe, cookie(ON_CANCEL, 0, 0));
}

static bool accept_goes_on(int res) {
    return res >= 0 || res == -ECONNABORTED || res == -EINTR || res == -EAGAIN;
}

static void on_watch(struct loop_watch *w, int res, bool more) {
    const uint32_t generation = w->generation;
    if (!more) w->armed = false;
    if (w->gone) {
        if (w->accepted && res >= 0) (void)close(res); /* came in before the cancellation did */
        if (!more) loop_watch_done(w);
        return;
    }
    if (!w->accepted)
        w->ready(w->owner);
    else if (res >= 0)
        w->accepted(w->owner, res);
    else if (!accept_goes_on(res))
        loop_answer_accept_error(w, res);
    /* the callback may have unwatched it, even used the place anew */
    if (more || w->generation != generation || !w->used || w->gone || w->pause.set) return;
    if (submit_watch(w)) loop_watch_again_later(w);
}

/* --- completions ------------------------------------------------------------------------------ */

static void give_back(struct uring *u, unsigned chunk) {
    io_uring_buf_ring_add(u->chunk_ring, chunk_at(u, chunk), LOOP_CHUNK, (unsigned short)chunk,
                          io_uring_buf_ring_mask(CHUNKS), 0);
    io_uring_buf_ring_advance(u->chunk_ring, 1);
}

static bool try_again(int res) {
    return res == -ENOBUFS || res == -EAGAIN || res == -EINTR;
}

static void receive_later(struct uring *u, struct loop_stream *s) {
    s->rearm_receive = true;
    arm_later(u, s);
}

/* n bytes came, of `room`: fewer mean that no more are there, and the poll tells of the next. */
static void note_received(struct loop_stream *s, ssize_t n, size_t room) {
    if (n > 0 && (size_t)n < room && !s->ended) s->readable = false;
}

/* A tensor: more of it, all of it, or its early end. */
static void on_part(struct uring *u, struct loop_stream *s, ssize_t n) {
    if (n > 0) s->got += (size_t)n;
    if (n > 0 && s->got < s->want && s->state == STREAM_OPEN) {
        if (s->readable) receive_later(u, s);
    } else {
        loop_answer_receive(s, NULL, n < 0 ? n : (ssize_t)s->got);
    }
}

/* By a call of our own. */
static void receive_now(struct loop_stream *s) {
    struct uring *u = s->loop->backend;
    uint8_t *to = s->to ? s->to + s->got : loop_landing(s, u->chunk);
    const size_t room = s->to ? s->want - s->got : LOOP_CHUNK;
    s->loop->receives_left--;
    const ssize_t n = recv(s->fd, to, room, MSG_DONTWAIT);
    const int why = n < 0 ? errno : 0;
    if (why == EAGAIN || why == EWOULDBLOCK) {
        s->readable = false;
    } else if (why == EINTR) {
        receive_later(u, s);
    } else {
        note_received(s, n, room);
        if (s->to)
            on_part(u, s, why ? -why : n);
        else
            loop_answer_receive(s, n > 0 ? to : NULL, why ? -why : n);
    }
}

static void take_bytes(struct loop_stream *s) {
    if (s->loop->receives_left)
        receive_now(s);
    else
        submit_receive(s);
}

static void on_readable(struct loop_stream *s, int res, bool more) {
    if (!more) s->polled = false;
    if (s->state != STREAM_OPEN) {
        loop_check_done(s);
        return;
    }
    if (res < 0 || (res & (POLLRDHUP | POLLHUP | POLLERR)))
        s->ended = true; /* for ever, so a new poll would not wait */
    if (!more && !s->ended) submit_poll(s);
    s->readable = true;
    s->news = true;
    if (res > 0 && (res & (POLLHUP | POLLERR))) loop_tell_gone(s);
    if (s->state == STREAM_OPEN && s->receiving && !s->in_kernel && !s->rearm_receive) take_bytes(s);
}

static void on_received(struct uring *u, struct loop_stream *s, int res, unsigned flags) {
    const unsigned chunk = flags >> IORING_CQE_BUFFER_SHIFT;
    s->in_kernel = false;
    /* The kernel posts what a poll says at once, and what was received a little later: bytes that came
     * between the two were told of already. */
    if (!s->news) note_received(s, res, s->to ? s->want - s->got : LOOP_CHUNK);
    if (try_again(res))
        receive_later(u, s);
    else if (s->to)
        on_part(u, s, res);
    else
        loop_answer_receive(s, res > 0 ? chunk_at(u, chunk) : NULL, res);
    if (flags & IORING_CQE_F_BUFFER) give_back(u, chunk);
}

static void on_sent(struct uring *u, struct loop_stream *s, int res) {
    if (s->send_polls && res > 0 && s->state == STREAM_OPEN) {
        const ssize_t n = loop_send_now(s);
        res = n < 0 ? -errno : (int)n;
    }
    if (try_again(res)) {
        s->rearm_send = true;
        arm_later(u, s);
    } else {
        loop_answer_send(s, res);
    }
}

/* What was put off. true: somebody was called back, so there may be more to do before the next wait. */
static bool do_again(struct uring *u) {
    struct loop_stream *s = u->again;
    bool received = false;
    u->again = NULL;
    while (s) {
        struct loop_stream *next = s->next;
        const bool poll = s->rearm_poll, bytes = s->rearm_receive, send = s->rearm_send,
                   cancel = s->rearm_cancel;
        s->listed = s->rearm_poll = s->rearm_receive = s->rearm_send = s->rearm_cancel = false;
        if (s->state == STREAM_OPEN) {
            if (poll) submit_poll(s);
            if (send) submit_send(s);
            if (bytes) take_bytes(s);
            received = received || bytes;
        } else {
            if (cancel) submit_cancel(s);
            if (bytes) s->receiving = false;
            if (send) s->sending = false;
            loop_check_done(s);
        }
        s = next;
    }
    return received;
}

static void dispatch(struct loop *l, uint64_t data, int res, unsigned flags) {
    struct uring *u = l->backend;
    const enum operation op = (enum operation)(data >> 56);
    const size_t index = (data >> 32) & 0xffffffu;
    const uint32_t generation = (uint32_t)data;
    if (op == ON_WATCH) {
        struct loop_watch *w = &l->watches[index];
        if (w->generation == generation && w->used) on_watch(w, res, flags & IORING_CQE_F_MORE);
        return;
    }
    if (op != ON_RECEIVE && op != ON_SEND && op != ON_READABLE) return;
    struct loop_stream *s = &l->streams[index];
    if (s->generation != generation || s->state == STREAM_FREE) return;
    if (op == ON_READABLE)
        on_readable(s, res, flags & IORING_CQE_F_MORE);
    else if (op == ON_RECEIVE)
        on_received(u, s, res, flags);
    else
        on_sent(u, s, res);
}

/* -EBUSY and -EAGAIN: the kernel wants completions to be read first. */
static bool is_passing(int rc) {
    return rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN;
}

static int enter(struct uring *u, uint64_t wait_ns) {
    struct io_uring_cqe *cqe;
    if (wait_ns == 0) return io_uring_submit_and_get_events(&u->ring);
    if (wait_ns == LOOP_NEVER) return io_uring_submit_and_wait(&u->ring, 1);
    struct __kernel_timespec limit = {.tv_sec = (long long)(wait_ns / 1000000000u),
                                      .tv_nsec = (long long)(wait_ns % 1000000000u)};
    return io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &limit, NULL);
}

static int wait_uring(struct loop *l, uint64_t wait_ns) {
    struct uring *u = l->backend;
    struct io_uring_cqe *cqe;
    const bool received = do_again(u);
    if (received || u->again) wait_ns = 0;
    /* What came is seen to first, where the kernel has nothing to be told. */
    const bool outside = received && u->outside < MOST_OUTSIDE && io_uring_sq_ready(&u->ring) == 0;
    u->outside = outside ? u->outside + 1 : 0;
    const int rc = outside ? 0 : enter(u, wait_ns);
    atomic_store_explicit(&l->sleeping, false, memory_order_relaxed);
    l->now = loop_clock();
    loop_run_posts(l);
    /* Counted and read one by one: a handler may submit, and that may post more. */
    while (io_uring_peek_cqe(&u->ring, &cqe) == 0 && cqe) {
        const uint64_t data = cqe->user_data;
        const int res = cqe->res;
        const unsigned flags = cqe->flags;
        io_uring_cqe_seen(&u->ring, cqe);
        dispatch(l, data, res, flags);
    }
    return is_passing(rc) ? 0 : rc;
}

const struct loop_calls loop_uring_calls = {.name = "io_uring",
                                            .at_once = 2,
                                            .open = open_uring,
                                            .close = close_uring,
                                            .opened = opened,
                                            .receive = receive,
                                            .send = submit_send,
                                            .closing = closing,
                                            .watch = submit_watch,
                                            .unwatch = unwatch,
                                            .wait = wait_uring};
