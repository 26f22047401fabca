/* The event loop: sockets, descriptors, timers and messages from other threads, on one thread.
 *
 *   turn:  one submission, one wait -> what came in -> timers -> posts -> turn end (replies are gathered)
 *
 * The loop receives and sends (it does not only say that one could), so that
 * io_uring and epoll can stand behind the same calls; loop_uring.c is the only
 * file that knows liburing. All functions are for the loop's own thread, the one that
 * called loop_new, except loop_post and loop_clock. Callbacks come from
 * loop_turn only, never from inside a call to the loop. */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include "infer/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define LOOP_CHUNK   8192 /* most that one loop_receive brings */
#define LOOP_MAX_IOV 64   /* of one loop_send */
#define LOOP_FDS     2    /* of one loop_send_fds */
#define LOOP_NEVER   UINT64_MAX

struct loop;

/* ANY: io_uring, or epoll where that is refused. SQPOLL: io_uring, a thread of the kernel submits */
enum loop_kind { LOOP_ANY, LOOP_URING, LOOP_EPOLL, LOOP_SQPOLL };

/* Room for `streams` connections at once. NULL on failure, `e` set. */
struct loop *loop_new(enum loop_kind kind, uint32_t streams, struct err *e);
void loop_free(struct loop *l); /* NULL is fine. Closes what is still open, without callbacks */

const char *loop_backend(const struct loop *l); /* "io_uring" or "epoll" */
const char *loop_refusal(const struct loop *l); /* why it is not io_uring; "" where it is */

/* One turn: waits until something happens, at most `wait_ns` (LOOP_NEVER: no
 * limit). 0, or -errno where the kernel refuses to go on. */
int loop_turn(struct loop *l, uint64_t wait_ns);
int loop_run(struct loop *l); /* turns until loop_stop */
void loop_stop(struct loop *l);
/* Called in every turn after all callbacks, before the kernel is entered again. */
void loop_set_turn_end(struct loop *l, void (*run)(void *owner), void *owner);

uint64_t loop_clock(void);               /* CLOCK_MONOTONIC in ns; any thread */
uint64_t loop_now(const struct loop *l); /* the same, as of this turn */

/* --- connections ------------------------------------------------------------------------ */

struct loop_stream;
struct loop_stream_calls {
    /* Asked just before bytes are received for loop_receive: where LOOP_CHUNK of them may lie until
     * received() has returned. NULL, as an answer or for the call: in the loop's own memory. */
    uint8_t *(*landing)(void *owner);
    /* The answer to loop_receive: n bytes, valid during the call. To
     * loop_receive_into: bytes is NULL, n of them are there; less than asked
     * for only at the end. 0: the peer sends no more; or -errno. */
    void (*received)(void *owner, const uint8_t *bytes, ssize_t n);
    /* The answer to loop_send: how much went, which may be less than all; or -errno. */
    void (*sent)(void *owner, ssize_t n);
    /* The answer to loop_stream_close: the descriptor is closed, the kernel is
     * done with all memory of this connection, the stream is gone. */
    void (*closed)(void *owner);
    /* The peer has closed altogether, whether or not a receive was asked for: nobody reads what is sent, and
     * what it sent last need not be read. May come more than once. NULL is fine. */
    void (*gone)(void *owner);
};

/* Takes fd (also where it fails). 0 or -errno (-EMFILE: all `streams` are in use). */
int loop_stream_open(struct loop *l, int fd, const struct loop_stream_calls *calls, void *owner,
                     struct loop_stream **out);
/* One receive and one send may be under way at a time. Not after loop_stream_close. */
void loop_receive(struct loop_stream *s);
void loop_receive_into(struct loop_stream *s, uint8_t *to, size_t n); /* `to` is borrowed until received() */
void loop_send(struct loop_stream *s, const struct iovec *iov, unsigned n); /* both borrowed until sent() */
/* The same; LOOP_FDS descriptors at most go along with the first byte. They stay the caller's, open until
 * sent(). */
void loop_send_fds(struct loop_stream *s, const struct iovec *iov, unsigned n, const int *fds,
                   unsigned n_fds);
/* Ends it: no received() or sent() comes any more, closed() does. */
void loop_stream_close(struct loop_stream *s);
int loop_stream_fd(const struct loop_stream *s);

/* --- listening sockets and other descriptors ---------------------------------------------- */

struct loop_watch;

/* accepted() takes fd; -errno where accept fails (EMFILE, …): it is tried again a little later.
 * The listening descriptor stays the caller's; it may be closed after loop_unwatch. */
int loop_listen(struct loop *l, int fd, void (*accepted)(void *owner, int fd), void *owner,
                struct loop_watch **out);
/* ready() comes when fd becomes readable or breaks: read until -EAGAIN, it does not come twice for the same.
 */
int loop_watch(struct loop *l, int fd, void (*ready)(void *owner), void *owner, struct loop_watch **out);
void loop_unwatch(struct loop_watch *w); /* no callback comes any more; NULL is fine */

/* --- timers ----------------------------------------------------------------------------------- */

struct loop_timer { /* embedded in its owner; zero at first */
    uint64_t at;
    void (*run)(void *owner);
    void *owner;
    struct loop_timer *next, *previous;
    bool set;
};
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t at, void (*run)(void *), void *owner);
void loop_timer_stop(struct loop *l, struct loop_timer *t); /* fine where it is not set */

/* --- from other threads -------------------------------------------------------------------- */

struct loop_post { /* embedded in what is handed over */
    struct loop_post *next;
    void (*run)(struct loop_post *p);
};
/* p->run(p) will be called on the loop's thread; posts keep their order per
 * thread. Lock-free; a system call only where the loop sleeps. */
void loop_post(struct loop *l, struct loop_post *p);
/* The same for what can wait: a loop that sleeps sleeps on, and runs it first of all in its next turn. Unless
 * it is hasty. */
void loop_post_lazily(struct loop *l, struct loop_post *p);
bool loop_sleeps(const struct loop *l); /* any thread; a hint */
/* Whether somebody waits for what may be posted lazily. The loop's own thread. */
void loop_set_hasty(struct loop *l, bool hasty);

#endif
