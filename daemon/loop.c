/* What does not depend on the back end: turns, timers, posts, the life of a stream.
 *
 *   stream: FREE -> OPEN -> CLOSING (shut down; waits for receive and send to come back) -> FREE
 */
#include "daemon/loop_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

uint64_t loop_clock(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t loop_now(const struct loop *l) {
    return l->now;
}

/* --- making one --------------------------------------------------------------------- */

static void woken(void *owner) {
    (void)owner; /* the posts are run by the turn; the eventfd only counts up and is never read */
}

static void on_alarm(void *owner) {
    struct loop *l = owner;
    l->alarm_at = LOOP_NEVER; /* the timers are run by the turn */
}

static int open_backend(struct loop *l, enum loop_kind kind, struct err *e) {
    struct err refused = {0};
    if (kind != LOOP_EPOLL) {
        l->calls = &loop_uring_calls;
        l->sqpoll = kind == LOOP_SQPOLL;
        if (l->calls->open(l, &refused) == 0) return 0;
        if (kind != LOOP_ANY) {
            if (e) *e = refused;
            return -1;
        }
        (void)snprintf(l->refusal, sizeof l->refusal, "%s", refused.text);
    } else {
        (void)snprintf(l->refusal, sizeof l->refusal, "epoll was asked for");
    }
    l->calls = &loop_epoll_calls;
    return l->calls->open(l, e);
}

/* Both only say that something happened: neither is ever read. */
static int open_signals(struct loop *l, struct err *e) {
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0) return err_set(e, ERR_SYSTEM, "eventfd: %s", strerror(errno));
    l->alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (l->alarm_fd < 0) return err_set(e, ERR_SYSTEM, "timerfd_create: %s", strerror(errno));
    return 0;
}

static void close_signals(const struct loop *l) {
    if (l->wake_fd >= 0) (void)close(l->wake_fd);
    if (l->alarm_fd >= 0) (void)close(l->alarm_fd);
}

static int watch_signals(struct loop *l, struct err *e) {
    struct loop_watch *watch;
    int rc = loop_watch(l, l->wake_fd, woken, NULL, &watch);
    if (rc == 0) rc = loop_watch(l, l->alarm_fd, on_alarm, l, &watch);
    return rc ? err_set(e, ERR_SYSTEM, "watching for wake-ups: %s", strerror(-rc)) : 0;
}

struct loop *loop_new(enum loop_kind kind, uint32_t streams, struct err *e) {
    struct loop *l = calloc(1, sizeof *l);
    if (l) l->streams = calloc(streams, sizeof *l->streams);
    if (!l || !l->streams) {
        (void)err_set(e, ERR_SYSTEM, "out of memory for a loop of %u streams", streams);
        free(l);
        return NULL;
    }
    l->n_streams = streams;
    for (uint32_t i = streams; i-- > 0;) {
        l->streams[i] = (struct loop_stream){.loop = l, .fd = -1, .next = l->free_streams};
        l->free_streams = &l->streams[i];
    }
    l->now = loop_clock();
    l->wake_fd = l->alarm_fd = -1;
    l->alarm_at = LOOP_NEVER;
    if (open_signals(l, e) || open_backend(l, kind, e)) goto err_after_memory;
    if (watch_signals(l, e) == 0) return l;
    l->calls->close(l);
err_after_memory:
    close_signals(l);
    free(l->streams);
    free(l);
    return NULL;
}

void loop_free(struct loop *l) {
    if (!l) return;
    for (uint32_t i = 0; i < l->n_streams; i++)
        if (l->streams[i].state != STREAM_FREE) (void)shutdown(l->streams[i].fd, SHUT_RDWR);
    l->calls->close(l);
    for (uint32_t i = 0; i < l->n_streams; i++)
        if (l->streams[i].state != STREAM_FREE) (void)close(l->streams[i].fd);
    close_signals(l);
    free(l->streams);
    free(l);
}

const char *loop_backend(const struct loop *l) {
    return l->calls->name;
}

const char *loop_refusal(const struct loop *l) {
    return l->refusal;
}

/* --- timers: a list, soonest first; there are a handful ------------------------------- */

void loop_timer_stop(struct loop *l, struct loop_timer *t) {
    if (!t->set) return;
    if (t->previous)
        t->previous->next = t->next;
    else
        l->timers = t->next;
    if (t->next) t->next->previous = t->previous;
    t->set = false;
    t->next = t->previous = NULL;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t at, void (*run)(void *), void *owner) {
    loop_timer_stop(l, t);
    struct loop_timer *before = NULL, *after = l->timers;
    while (after && after->at <= at) {
        before = after;
        after = after->next;
    }
    *t = (struct loop_timer){
        .at = at, .run = run, .owner = owner, .next = after, .previous = before, .set = true};
    if (before)
        before->next = t;
    else
        l->timers = t;
    if (after) after->previous = t;
}

static void run_timers(struct loop *l) {
    while (l->timers && l->timers->at <= l->now) {
        struct loop_timer *t = l->timers;
        loop_timer_stop(l, t);
        t->run(t->owner);
    }
}

/* --- posts: a list that any thread pushes to and the loop takes whole ------------------- */

static void push(struct loop *l, struct loop_post *p) {
    struct loop_post *head = atomic_load_explicit(&l->posts, memory_order_relaxed);
    do p->next = head;
    while (!atomic_compare_exchange_weak(&l->posts, &head, p));
}

/* The loop says that it sleeps (and that it is hasty) before it looks at the list a last time, and we look at
 * that after the list: one of the two sees the other. */
static void wake(struct loop *l) {
    if (!atomic_load(&l->sleeping) || !atomic_exchange(&l->sleeping, false)) return;
    const uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one, sizeof one);
    (void)n; /* can't fail before 2^64 wake-ups */
}

void loop_post(struct loop *l, struct loop_post *p) {
    push(l, p);
    wake(l);
}

void loop_post_lazily(struct loop *l, struct loop_post *p) {
    push(l, p);
    if (atomic_load(&l->hasty)) wake(l);
}

bool loop_sleeps(const struct loop *l) {
    return atomic_load_explicit(&l->sleeping, memory_order_relaxed);
}

void loop_set_hasty(struct loop *l, bool hasty) {
    if (atomic_load_explicit(&l->hasty, memory_order_relaxed) != hasty) atomic_store(&l->hasty, hasty);
}

void loop_run_posts(struct loop *l) {
    if (!atomic_load_explicit(&l->posts, memory_order_relaxed)) return;
    struct loop_post *newest = atomic_exchange_explicit(&l->posts, NULL, memory_order_acquire),
                     *oldest = NULL;
    while (newest) { /* turn it round */
        struct loop_post *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct loop_post *next = oldest->next; /* run may free or repost it */
        oldest->run(oldest);
        oldest = next;
    }
}

/* --- turns ------------------------------------------------------------------------------- */

static void finish_closing(struct loop *l) {
    while (l->closing) {
        struct loop_stream *s = l->closing;
        l->closing = s->next;
        s->listed = false;
        (void)close(s->fd);
        s->fd = -1;
        s->state = STREAM_FREE;
        s->generation++;
        s->next = l->free_streams;
        l->free_streams = s;
        s->calls->closed(s->owner);
    }
}

/* Only an earlier timer than it is set to costs a call: one that is set to a timer that was stopped wakes us
 * in vain, once. A limit of the wait itself would have the kernel set and stop a timer in every turn. */
static void set_alarm(struct loop *l) {
    if (!l->timers || l->timers->at >= l->alarm_at) return;
    const uint64_t at = l->timers->at ? l->timers->at : 1; /* 0 would stop it */
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)}};
    if (timerfd_settime(l->alarm_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0) l->alarm_at = l->timers->at;
}

/* Sends that were done at once are answered now: it may make room for what was held back. */
static void answer_sent(struct loop *l) {
    while (l->sent) {
        while (l->sent) {
            struct loop_stream *s = l->sent;
            l->sent = s->next_sent;
            s->sent_now = false;
            loop_answer_send(s, s->sent);
        }
        if (l->turn_end) l->turn_end(l->turn_end_owner);
    }
}

int loop_turn(struct loop *l, uint64_t wait_ns) {
    l->sends_left = l->receives_left = l->calls->at_once;
    answer_sent(l);
    if (l->closing) wait_ns = 0;
    if (wait_ns) {
        set_alarm(l);
        atomic_store(&l->sleeping, true);
        if (atomic_load(&l->posts)) wait_ns = 0;
    }
    int rc = l->calls->wait(l, wait_ns);
    run_timers(l);
    loop_run_posts(l);
    finish_closing(l);
    l->sends_left = l->calls->at_once;
    if (l->turn_end) l->turn_end(l->turn_end_owner);
    return rc;
}

int loop_run(struct loop *l) {
    int rc = 0;
    while (!l->stopped && rc == 0) rc = loop_turn(l, LOOP_NEVER);
    return rc;
}

void loop_stop(struct loop *l) {
    l->stopped = true;
}

void loop_set_turn_end(struct loop *l, void (*run)(void *owner), void *owner) {
    l->turn_end = run;
    l->turn_end_owner = owner;
}

/* --- streams ------------------------------------------------------------------------------ */

int loop_stream_open(struct loop *l, int fd, const struct loop_stream_calls *calls, void *owner,
                     struct loop_stream **out) {
    struct loop_stream *s = l->free_streams;
    *out = NULL;
    if (!s) {
        (void)close(fd);
        return -EMFILE;
    }
    struct loop_stream *rest = s->next;
    *s = (struct loop_stream){.loop = l,
                              .calls = calls,
                              .owner = owner,
                              .fd = fd,
                              .generation = s->generation,
                              .state = STREAM_OPEN,
                              .next = rest};
    int rc = l->calls->opened(s);
    if (rc) {
        s->state = STREAM_FREE;
        (void)close(fd);
        return rc;
    }
    l->free_streams = rest;
    s->next = NULL;
    *out = s;
    return 0;
}

int loop_stream_fd(const struct loop_stream *s) {
    return s->fd;
}

static void start_receive(struct loop_stream *s, uint8_t *to, size_t n) {
    assert(s->state == STREAM_OPEN && !s->receiving);
    s->receiving = true;
    s->to = to;
    s->want = n;
    s->got = 0;
    s->loop->calls->receive(s);
}

void loop_receive(struct loop_stream *s) {
    start_receive(s, NULL, 0);
}

void loop_receive_into(struct loop_stream *s, uint8_t *to, size_t n) {
    start_receive(s, to, n);
}

ssize_t loop_send_now(struct loop_stream *s) {
    const struct msghdr *m = &s->message;
    if (m->msg_iovlen == 1 && !m->msg_control) /* which takes the kernel less to read */
        return send(s->fd, m->msg_iov->iov_base, m->msg_iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sendmsg(s->fd, m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* One answer is out fastest by its own system call; many go together with the next wait. */
static bool send_at_once(struct loop_stream *s) {
    struct loop *l = s->loop;
    if (l->sends_left == 0) return false;
    l->sends_left--;
    const ssize_t n = loop_send_now(s);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return false;
    s->sent = n < 0 ? -errno : n;
    s->sent_now = true;
    s->next_sent = l->sent;
    l->sent = s;
    return true;
}

void loop_send(struct loop_stream *s, const struct iovec *iov, unsigned n) {
    assert(s->state == STREAM_OPEN && !s->sending && n > 0 && n <= LOOP_MAX_IOV);
    s->sending = true;
    s->message = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n};
    if (!send_at_once(s)) s->loop->calls->send(s);
}

void loop_send_fds(struct loop_stream *s, const struct iovec *iov, unsigned n, const int *fds,
                   unsigned n_fds) {
    assert(s->state == STREAM_OPEN && !s->sending && n > 0 && n <= LOOP_MAX_IOV && n_fds > 0 &&
           n_fds <= LOOP_FDS);
    s->sending = true;
    s->message = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)iov,
                                 .msg_iovlen = n,
                                 .msg_control = s->control,
                                 .msg_controllen = CMSG_SPACE(n_fds * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&s->message);
    assert(c); /* s->control is large enough */
    *c = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n_fds * sizeof(int))};
    memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    s->loop->calls->send(s);
}

void loop_check_done(struct loop_stream *s) {
    if (s->state != STREAM_CLOSING || s->receiving || s->sending || s->sent_now || s->listed || s->polled)
        return;
    s->listed = true;
    s->next = s->loop->closing;
    s->loop->closing = s;
}

void loop_stream_close(struct loop_stream *s) {
    assert(s->state == STREAM_OPEN);
    s->state = STREAM_CLOSING;
    (void)shutdown(s->fd, SHUT_RDWR); /* what the kernel still waits for with it ends now */
    s->loop->calls->closing(s);
    loop_check_done(s);
}

uint8_t *loop_landing(const struct loop_stream *s, uint8_t *own) {
    uint8_t *at = s->calls->landing ? s->calls->landing(s->owner) : NULL;
    return at ? at : own;
}

void loop_answer_receive(struct loop_stream *s, const uint8_t *bytes, ssize_t n) {
    s->receiving = false;
    if (s->state == STREAM_OPEN)
        s->calls->received(s->owner, bytes, n);
    else
        loop_check_done(s);
}

void loop_answer_send(struct loop_stream *s, ssize_t n) {
    s->sending = false;
    if (s->state == STREAM_OPEN)
        s->calls->sent(s->owner, n);
    else
        loop_check_done(s);
}

void loop_tell_gone(struct loop_stream *s) {
    if (s->state == STREAM_OPEN && s->calls->gone) s->calls->gone(s->owner);
}

/* --- watches ------------------------------------------------------------------------------- */

static int add_watch(struct loop *l, const struct loop_watch *like, struct loop_watch **out) {
    *out = NULL;
    for (int i = 0; i < LOOP_WATCHES; i++) {
        struct loop_watch *w = &l->watches[i];
        if (w->used) continue;
        const uint32_t generation = w->generation;
        *w = *like;
        w->loop = l;
        w->generation = generation;
        w->used = true;
        int rc = l->calls->watch(w);
        if (rc)
            w->used = false;
        else
            *out = w;
        return rc;
    }
    return -EMFILE;
}

int loop_watch(struct loop *l, int fd, void (*ready)(void *owner), void *owner, struct loop_watch **out) {
    const struct loop_watch like = {.fd = fd, .ready = ready, .owner = owner};
    return add_watch(l, &like, out);
}

int loop_listen(struct loop *l, int fd, void (*accepted)(void *owner, int fd), void *owner,
                struct loop_watch **out) {
    const struct loop_watch like = {.fd = fd, .accepted = accepted, .owner = owner};
    return add_watch(l, &like, out);
}

void loop_unwatch(struct loop_watch *w) {
    if (!w || w->gone) return;
    loop_timer_stop(w->loop, &w->pause);
    w->gone = true;
    w->loop->calls->unwatch(w);
}

void loop_watch_done(struct loop_watch *w) {
    w->used = false;
    w->generation++;
}

static void watch_again(void *owner) {
    struct loop_watch *w = owner;
    if (w->loop->calls->watch(w)) loop_watch_again_later(w);
}

void loop_watch_again_later(struct loop_watch *w) {
    loop_timer_set(w->loop, &w->pause, w->loop->now + LOOP_PAUSE, watch_again, w);
}

void loop_answer_accept_error(struct loop_watch *w, int rc) {
    loop_watch_again_later(w);
    w->accepted(w->owner, rc);
}
