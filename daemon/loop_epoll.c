/* The epoll back end: the same results as io_uring's, one system call per operation.
 *
 * Streams are edge-triggered and tried until EAGAIN; whoever has something to
 * do and may try is on the list, and gets one receive and one send per turn, so that
 * nobody is starved. */
#include "daemon/loop_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS     256
#define ACCEPTS    64 /* per turn */
#define WATCH_FLAG ((uint64_t)1 << 63)

struct epoll {
    int fd;
    bool no_pwait2; /* Linux before 5.11 */
    struct loop_stream *active, **active_end;
    uint8_t chunk[LOOP_CHUNK];
    struct epoll_event events[EVENTS];
};

static int open_epoll(struct loop *l, struct err *e) {
    struct epoll *p = calloc(1, sizeof *p);
    if (!p) return err_set(e, ERR_SYSTEM, "out of memory for epoll");
    p->active_end = &p->active;
    p->fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->fd < 0) {
        (void)err_set(e, ERR_SYSTEM, "epoll_create1: %s", strerror(errno));
        free(p);
        return -1;
    }
    l->backend = p;
    return 0;
}

static void close_epoll(struct loop *l) {
    struct epoll *p = l->backend;
    (void)close(p->fd);
    free(p);
    l->backend = NULL;
}

/* --- streams ------------------------------------------------------------------------------ */

static void activate(struct loop_stream *s) {
    struct epoll *p = s->loop->backend;
    const bool can = (s->receiving && s->readable) || (s->sending && s->writable);
    if (s->listed || !can) return;
    s->listed = true;
    s->next = NULL;
    *p->active_end = s;
    p->active_end = &s->next;
}

static int opened(struct loop_stream *s) {
    struct epoll *p = s->loop->backend;
    const uint64_t index = (uint64_t)(s - s->loop->streams);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                             .data.u64 = index << 32 | s->generation};
    if (index >= (1u << 30)) return -EMFILE;
    s->readable = s->writable = true;
    return epoll_ctl(p->fd, EPOLL_CTL_ADD, s->fd, &ev) ? -errno : 0;
}

/* Nothing is ever in the kernel's hands, so it ends at once. */
static void closing(struct loop_stream *s) {
    s->receiving = s->sending = false; /* one that is done already is still to be answered: sent_now */
}

static void try_receive(struct loop_stream *s) {
    struct epoll *p = s->loop->backend;
    uint8_t *to = s->to ? s->to + s->got : loop_landing(s, p->chunk);
    const size_t room = s->to ? s->want - s->got : LOOP_CHUNK;
    ssize_t n = recv(s->fd, to, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        s->readable = false;
        return;
    }
    if (n < 0 && errno == EINTR) return;
    if (n > 0 && (size_t)n < room && !s->ended) s->readable = false; /* drained: what comes next is an edge */
    if (n < 0) {
        loop_answer_receive(s, NULL, -errno);
    } else if (!s->to) {
        loop_answer_receive(s, n ? to : NULL, n);
    } else {
        s->got += (size_t)n;
        if (n == 0 || s->got == s->want) loop_answer_receive(s, NULL, (ssize_t)s->got);
    }
}

static void try_send(struct loop_stream *s) {
    const ssize_t n = loop_send_now(s);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        s->writable = false;
    else if (n >= 0 || errno != EINTR)
        loop_answer_send(s, n < 0 ? -errno : n);
}

static void run_active(struct epoll *p) {
    struct loop_stream *s = p->active;
    p->active = NULL;
    p->active_end = &p->active;
    while (s) {
        struct loop_stream *next = s->next;
        s->listed = false;
        if (s->state == STREAM_OPEN && s->receiving && s->readable) try_receive(s);
        if (s->state == STREAM_OPEN && s->sending && s->writable) try_send(s);
        if (s->state == STREAM_OPEN)
            activate(s);
        else
            loop_check_done(s);
        s = next;
    }
}

/* --- watches -------------------------------------------------------------------------------- */

static int watch(struct loop_watch *w) {
    struct epoll *p = w->loop->backend;
    struct epoll_event ev = {.events = w->accepted ? EPOLLIN : EPOLLIN | EPOLLET,
                             .data.u64 = WATCH_FLAG | (uint64_t)(w - w->loop->watches) << 32 | w->generation};
    if (w->accepted) {
        const int flags = fcntl(w->fd, F_GETFL);
        if (flags >= 0 && !(flags & O_NONBLOCK)) (void)fcntl(w->fd, F_SETFL, flags | O_NONBLOCK);
    }
    if (epoll_ctl(p->fd, EPOLL_CTL_ADD, w->fd, &ev)) return -errno;
    w->armed = true;
    return 0;
}

static void disarm(struct loop_watch *w) {
    const struct epoll *p = w->loop->backend;
    if (w->armed) (void)epoll_ctl(p->fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->armed = false;
}

static void unwatch(struct loop_watch *w) {
    disarm(w);
    loop_watch_done(w);
}

static void accept_some(struct loop_watch *w) {
    const uint32_t generation = w->generation;
    for (int i = 0; i < ACCEPTS && w->used && w->generation == generation; i++) {
        int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            w->accepted(w->owner, fd);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            const int rc = -errno;
            disarm(w);
            loop_answer_accept_error(w, rc);
            return;
        }
    }
}

/* --- events --------------------------------------------------------------------------------- */

static void dispatch(struct loop *l, const struct epoll_event *ev) {
    const uint32_t generation = (uint32_t)ev->data.u64;
    const size_t index = (size_t)((ev->data.u64 & ~WATCH_FLAG) >> 32);
    if (ev->data.u64 & WATCH_FLAG) {
        struct loop_watch *w = &l->watches[index];
        if (!w->used || w->generation != generation) return;
        if (w->accepted)
            accept_some(w);
        else
            w->ready(w->owner);
        return;
    }
    struct loop_stream *s = &l->streams[index];
    if (s->state != STREAM_OPEN || s->generation != generation) return;
    const uint32_t broken = ev->events & (EPOLLHUP | EPOLLERR);
    if (broken || (ev->events & EPOLLRDHUP)) s->ended = true;
    if (s->ended || (ev->events & EPOLLIN)) s->readable = true;
    if (broken || (ev->events & EPOLLOUT)) s->writable = true;
    if (broken) loop_tell_gone(s);
    if (s->state == STREAM_OPEN) activate(s);
}

static int wait_events(struct epoll *p, uint64_t wait_ns) {
    if (!p->no_pwait2) {
        const struct timespec limit = {.tv_sec = (time_t)(wait_ns / 1000000000u),
                                       .tv_nsec = (long)(wait_ns % 1000000000u)};
        int n = epoll_pwait2(p->fd, p->events, EVENTS, wait_ns == LOOP_NEVER ? NULL : &limit, NULL);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
        p->no_pwait2 = true;
    }
    const uint64_t ms = wait_ns / 1000000u + (wait_ns % 1000000u != 0);
    return epoll_wait(p->fd, p->events, EVENTS,
                      wait_ns == LOOP_NEVER ? -1
                      : ms > INT_MAX        ? INT_MAX
                                            : (int)ms);
}

static int wait_epoll(struct loop *l, uint64_t wait_ns) {
    struct epoll *p = l->backend;
    int n = wait_events(p, p->active ? 0 : wait_ns);
    const int rc = n < 0 ? -errno : 0;
    atomic_store_explicit(&l->sleeping, false, memory_order_relaxed);
    l->now = loop_clock();
    loop_run_posts(l);
    for (int i = 0; i < n; i++) dispatch(l, &p->events[i]);
    run_active(p);
    return rc == -EINTR ? 0 : rc;
}

const struct loop_calls loop_epoll_calls = {.name = "epoll",
                                            .at_once = UINT_MAX,
                                            .open = open_epoll,
                                            .close = close_epoll,
                                            .opened = opened,
                                            .receive = activate,
                                            .send = activate,
                                            .closing = closing,
                                            .watch = watch,
                                            .unwatch = unwatch,
                                            .wait = wait_epoll};
