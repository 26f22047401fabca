/* What loop.c shares with its back ends, and nobody else. */
#ifndef DAEMON_LOOP_INTERNAL_H
#define DAEMON_LOOP_INTERNAL_H

#include "daemon/loop.h"

#include <sys/socket.h>

#define LOOP_WATCHES 16
#define LOOP_PAUSE   100000000u /* 0.1 s after a failed accept, so that a full table is no busy loop */

enum stream_state { STREAM_FREE, STREAM_OPEN, STREAM_CLOSING };

struct loop_stream {
    struct loop *loop;
    const struct loop_stream_calls *calls;
    void *owner;
    int fd;
    uint32_t generation; /* counts its uses, so that a late completion can't hit the next one */
    enum stream_state state;
    bool receiving, sending; /* asked for, not answered yet */
    uint8_t *to;             /* loop_receive_into: where; NULL: a chunk */
    size_t want, got;
    struct msghdr message; /* of the send */
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(LOOP_FDS * sizeof(int))];
    bool sent_now; /* the send is done, and not answered yet */
    ssize_t sent;
    struct loop_stream *next_sent;
    /* of the back end */
    bool readable, writable; /* may be tried (io_uring: readable alone) */
    bool ended;              /* the peer sends no more */
    bool polled;             /* io_uring: the kernel has the poll that tells of bytes */
    bool in_kernel;          /* io_uring: it has the receive */
    bool news; /* io_uring: the poll spoke while it had: bytes may have come behind those received */
    bool rearm_poll, rearm_receive, rearm_send, rearm_cancel; /* io_uring: to be submitted in the next turn */
    bool send_polls; /* io_uring: the send is ours to do when the socket has room */
    bool listed;     /* on the list below */
    struct loop_stream
        *next; /* free list; io_uring: to be armed again; epoll: something to do; closing: to be finished */
};

struct loop_watch {
    struct loop *loop;
    int fd;
    uint32_t generation;
    bool used, gone; /* gone: unwatched, but the kernel is not done with it */
    bool armed;      /* the kernel has it */
    void (*ready)(void *owner);
    void (*accepted)(void *owner, int fd); /* a listening socket */
    void *owner;
    struct loop_timer pause;
};

/* Every back end is this table. */
struct loop_calls {
    const char *name;
    unsigned at_once; /* sends, and receives, in one turn, before it is cheaper to submit them together */
    int (*open)(struct loop *l, struct err *e);
    void (*close)(struct loop *l);
    int (*opened)(struct loop_stream *s); /* a new stream; 0 or -errno */
    void (*receive)(struct loop_stream *s);
    void (*send)(struct loop_stream *s);
    void (*closing)(struct loop_stream *s); /* its socket was shut down: see that what is under way ends */
    int (*watch)(struct loop_watch *w);     /* also listening sockets; again after an accept that failed */
    void (*unwatch)(struct loop_watch *w);  /* calls loop_watch_done when the kernel is through */
    int (*wait)(struct loop *l, uint64_t wait_ns); /* submits, waits, calls back */
};
extern const struct loop_calls loop_uring_calls, loop_epoll_calls;

struct loop {
    const struct loop_calls *calls;
    struct loop_stream *sent;           /* sends that are done, to be answered */
    unsigned sends_left, receives_left; /* that may be done at once in this turn */
    void *backend;
    struct loop_stream *streams, *free_streams, *closing;
    uint32_t n_streams;
    struct loop_watch watches[LOOP_WATCHES];
    struct loop_timer *timers; /* soonest first */
    int alarm_fd;              /* a timerfd, so that a wait needs no limit of its own */
    uint64_t alarm_at;         /* what it is set to; LOOP_NEVER: it is not */
    uint64_t now;
    void (*turn_end)(void *owner);
    void *turn_end_owner;
    bool stopped, sqpoll;
    int wake_fd;
    _Atomic(struct loop_post *) posts; /* newest first */
    _Atomic bool sleeping, hasty;
    char refusal[ERR_TEXT];
};

/* For the back ends: sends what the socket takes; as send(2). */
ssize_t loop_send_now(struct loop_stream *s);
/* For the back ends: posts that came while the loop slept, before anything that came in. */
void loop_run_posts(struct loop *l);
/* For the back ends: where a chunk that is received now lies; `own` where the owner has no better place. */
uint8_t *loop_landing(const struct loop_stream *s, uint8_t *own);
/* For the back ends: what came out of a receive or send that was asked for. */
void loop_answer_receive(struct loop_stream *s, const uint8_t *bytes, ssize_t n);
void loop_answer_send(struct loop_stream *s, ssize_t n);
void loop_tell_gone(struct loop_stream *s); /* which may close it */
/* The kernel let go of something of a closing stream: is that the end? */
void loop_check_done(struct loop_stream *s);
void loop_watch_done(struct loop_watch *w);
/* accept failed: tells the owner; the watch is armed anew in a little while. */
void loop_answer_accept_error(struct loop_watch *w, int rc);
void loop_watch_again_later(struct loop_watch *w);

#endif
