/* The event loop, over both back ends: what goes in comes out, and nothing comes after the end. */
#include "daemon/loop.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SECOND 1000000000ull

static struct loop *open_loop(enum loop_kind kind, uint32_t streams) {
    struct err e = {0};
    struct loop *l = loop_new(kind, streams, &e);
    if (!l && kind == LOOP_URING) suite_skip("loop over io_uring", e.text);
    return l;
}

/* Runs `test` on each back end that this kernel has. */
static void on_both(void (*test)(struct loop *l)) {
    for (int kind = LOOP_URING; kind <= LOOP_EPOLL; kind++) {
        struct loop *l = open_loop((enum loop_kind)kind, 8);
        if (!l) continue;
        CU_ASSERT_STRING_EQUAL(loop_backend(l), kind == LOOP_URING ? "io_uring" : "epoll");
        test(l);
        loop_free(l);
    }
}

/* Turns until *flag or two seconds have passed. */
static bool turn_until(struct loop *l, const bool *flag) {
    const uint64_t end = loop_clock() + 2 * SECOND;
    while (!*flag && loop_clock() < end)
        if (loop_turn(l, SECOND / 20)) break;
    return *flag;
}

/* --- a stream that remembers what came ------------------------------------------------------ */

struct peer {
    struct loop_stream *stream;
    int other;      /* the end that the test holds */
    uint8_t *place; /* where chunks shall lie; NULL: no matter */
    const uint8_t *lay;
    uint8_t *bytes;
    size_t n;
    ssize_t last, sent;
    bool received, was_sent, closing, closed, greedy, gone;
};

static void on_received(void *owner, const uint8_t *bytes, ssize_t n) {
    struct peer *p = owner;
    CU_ASSERT_FALSE(p->closed);
    if (bytes && n > 0) {
        p->bytes = realloc(p->bytes, p->n + (size_t)n);
        memcpy(p->bytes + p->n, bytes, (size_t)n);
        p->n += (size_t)n;
    }
    p->last = n;
    p->lay = bytes;
    p->received = true;
    if (p->greedy && n > 0) loop_receive(p->stream);
}

static void on_sent(void *owner, ssize_t n) {
    struct peer *p = owner;
    p->sent = n;
    p->was_sent = true;
}

static void on_closed(void *owner) {
    struct peer *p = owner;
    CU_ASSERT_FALSE(p->closed);
    p->closed = true;
}

static void on_gone(void *owner) {
    struct peer *p = owner;
    CU_ASSERT_FALSE(p->closed);
    p->gone = true;
}

static uint8_t *landing(void *owner) {
    const struct peer *p = owner;
    CU_ASSERT_FALSE(p->closed);
    return p->place;
}

static const struct loop_stream_calls peer_calls = {landing, on_received, on_sent, on_closed, on_gone};

static void peer_open(struct loop *l, struct peer *p) {
    int pair[2];
    *p = (struct peer){.other = -1};
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    p->other = pair[1];
    CU_ASSERT_EQUAL_FATAL(loop_stream_open(l, pair[0], &peer_calls, p, &p->stream), 0);
}

static void peer_close(struct loop *l, struct peer *p) {
    if (!p->closing) loop_stream_close(p->stream);
    CU_ASSERT_TRUE(turn_until(l, &p->closed));
    if (p->other >= 0) close(p->other);
    free(p->bytes);
}

/* --- streams ---------------------------------------------------------------------------------- */

static void chunk(struct loop *l) {
    struct peer p;
    peer_open(l, &p);
    loop_receive(p.stream);
    CU_ASSERT_EQUAL(loop_turn(l, 0), 0);
    CU_ASSERT_FALSE(p.received);
    CU_ASSERT_EQUAL(write(p.other, "hello", 5), 5);
    CU_ASSERT_TRUE(turn_until(l, &p.received));
    CU_ASSERT_EQUAL(p.last, 5);
    CU_ASSERT_EQUAL(memcmp(p.bytes, "hello", 5), 0);
    /* what arrives before it is asked for waits in the socket */
    CU_ASSERT_EQUAL(write(p.other, "more", 4), 4);
    p.received = false;
    CU_ASSERT_EQUAL(loop_turn(l, SECOND / 50), 0);
    CU_ASSERT_FALSE(p.received);
    loop_receive(p.stream);
    CU_ASSERT_TRUE(turn_until(l, &p.received));
    CU_ASSERT_EQUAL(p.last, 4);
    peer_close(l, &p);
}

/* Its owner says where; asked anew for every one. */
static void landed(struct loop *l) {
    struct peer p;
    uint8_t place[LOOP_CHUNK];
    peer_open(l, &p);
    for (int i = 0; i < 3; i++) {
        p.place = i == 1 ? NULL : place;
        p.received = false;
        loop_receive(p.stream);
        CU_ASSERT_EQUAL(loop_turn(l, 0), 0);
        CU_ASSERT_EQUAL(write(p.other, "hello", 5), 5);
        CU_ASSERT_TRUE(turn_until(l, &p.received));
        CU_ASSERT_EQUAL(p.last, 5);
        CU_ASSERT_EQUAL(p.lay == place, p.place == place);
        CU_ASSERT_EQUAL(memcmp(p.bytes + p.n - 5, "hello", 5), 0);
    }
    peer_close(l, &p);
}
static void test_landed(void) {
    on_both(landed);
}

static void test_chunk(void) {
    on_both(chunk);
}

static void end_of_stream(struct loop *l) {
    struct peer p;
    peer_open(l, &p);
    loop_receive(p.stream);
    CU_ASSERT_EQUAL(shutdown(p.other, SHUT_WR), 0);
    CU_ASSERT_TRUE(turn_until(l, &p.received));
    CU_ASSERT_EQUAL(p.last, 0);
    /* the other direction still works */
    const struct iovec iov = {(void *)(uintptr_t) "bye", 3};
    loop_send(p.stream, &iov, 1);
    CU_ASSERT_TRUE(turn_until(l, &p.was_sent));
    char got[4] = "";
    CU_ASSERT_EQUAL(read(p.other, got, 3), 3);
    CU_ASSERT_STRING_EQUAL(got, "bye");
    peer_close(l, &p);
}
static void test_end(void) {
    on_both(end_of_stream);
}

static void *write_slowly(void *arg) {
    const int fd = *(const int *)arg;
    uint8_t block[4096];
    for (unsigned i = 0; i < 256; i++) {
        memset(block, (int)i, sizeof block);
        for (size_t at = 0; at < sizeof block;) {
            ssize_t n = write(fd, block + at, i % 7 == 0 ? 100 : sizeof block - at);
            if (n <= 0 || (size_t)n > sizeof block - at) return NULL;
            at += (size_t)n;
            if (i % 7 == 0 && sizeof block - at < 100) {
                n = write(fd, block + at, sizeof block - at);
                break;
            }
        }
    }
    return NULL;
}

static void tensor(struct loop *l) {
    const size_t all = 256 * 4096;
    struct peer p;
    pthread_t t;
    peer_open(l, &p);
    uint8_t *to = malloc(all);
    loop_receive_into(p.stream, to, all);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, write_slowly, &p.other), 0);
    CU_ASSERT_TRUE(turn_until(l, &p.received));
    pthread_join(t, NULL);
    CU_ASSERT_EQUAL(p.last, (ssize_t)all);
    bool right = true;
    for (size_t i = 0; i < all; i++) right = right && to[i] == (uint8_t)(i / 4096);
    CU_ASSERT_TRUE(right);
    /* one that ends early says how far it came */
    p.received = false;
    loop_receive_into(p.stream, to, all);
    CU_ASSERT_EQUAL(write(p.other, "abc", 3), 3);
    CU_ASSERT_EQUAL(shutdown(p.other, SHUT_WR), 0);
    CU_ASSERT_TRUE(turn_until(l, &p.received));
    CU_ASSERT_EQUAL(p.last, 3);
    peer_close(l, &p);
    free(to);
}
static void test_tensor(void) {
    on_both(tensor);
}

static void gathered_send(struct loop *l) {
    const size_t part = 300000;
    struct peer p;
    peer_open(l, &p);
    uint8_t *bytes = malloc(3 * part), *got = malloc(3 * part);
    for (size_t i = 0; i < 3 * part; i++) bytes[i] = (uint8_t)(i * 7 + i / 1000);
    CU_ASSERT_TRUE(fcntl(p.other, F_SETFL, O_NONBLOCK) == 0);
    size_t sent = 0, received = 0;
    while (received < 3 * part) {
        struct iovec iov[3];
        unsigned n = 0;
        for (size_t i = 0; i < 3; i++) {
            const size_t from = sent > i * part ? sent : i * part;
            if (from < (i + 1) * part) iov[n++] = (struct iovec){bytes + from, (i + 1) * part - from};
        }
        p.was_sent = false;
        if (n) loop_send(p.stream, iov, n);
        const uint64_t end = loop_clock() + 2 * SECOND;
        do { /* a reader that takes little at a time */
            CU_ASSERT_EQUAL_FATAL(loop_turn(l, SECOND / 1000), 0);
            ssize_t r = read(p.other, got + received, 50000);
            if (r > 0) received += (size_t)r;
        } while (loop_clock() < end && (n ? !p.was_sent : received < 3 * part));
        if (!n) break;
        CU_ASSERT_TRUE_FATAL(p.was_sent && p.sent > 0);
        sent += (size_t)p.sent;
    }
    CU_ASSERT_EQUAL(received, 3 * part);
    CU_ASSERT_EQUAL(memcmp(bytes, got, 3 * part), 0);
    peer_close(l, &p);
    free(bytes);
    free(got);
}
static void test_send(void) {
    on_both(gathered_send);
}

static void send_to_the_dead(struct loop *l) {
    struct peer p;
    peer_open(l, &p);
    close(p.other);
    p.other = -1;
    const struct iovec iov = {(void *)(uintptr_t) "x", 1};
    loop_send(p.stream, &iov, 1);
    CU_ASSERT_TRUE(turn_until(l, &p.was_sent));
    CU_ASSERT_EQUAL(p.sent, -EPIPE);
    peer_close(l, &p);
}
static void test_dead(void) {
    on_both(send_to_the_dead);
}

/* With a receive into memory and a blocked send under way: closed() once, no other callback, and the memory
 * is free to go. */
/* It is told without a receive, with bytes unread, but not for one direction alone. */
static void leave(struct loop *l) {
    struct peer p;
    peer_open(l, &p);
    CU_ASSERT_EQUAL(write(p.other, "hello", 5), 5);
    for (int i = 0; i < 3; i++) CU_ASSERT_EQUAL(loop_turn(l, 0), 0);
    CU_ASSERT_EQUAL(shutdown(p.other, SHUT_WR), 0);
    for (int i = 0; i < 3; i++) CU_ASSERT_EQUAL(loop_turn(l, 0), 0);
    CU_ASSERT_FALSE(p.gone);
    close(p.other);
    p.other = -1;
    CU_ASSERT_TRUE(turn_until(l, &p.gone));
    CU_ASSERT_FALSE(p.received);
    peer_close(l, &p);
}
static void test_leave(void) {
    on_both(leave);
}

static void close_while_busy(struct loop *l) {
    const size_t big = 4u << 20;
    for (int round = 0; round < 30; round++) {
        struct peer p;
        peer_open(l, &p);
        uint8_t *to = malloc(big), *from = calloc(1, big);
        const struct iovec iov = {from, big};
        loop_receive_into(p.stream, to, big);
        loop_send(p.stream, &iov, 1);
        if (round % 3) CU_ASSERT_EQUAL(loop_turn(l, 0), 0);
        if (round % 2) CU_ASSERT_EQUAL(write(p.other, "x", 1), 1);
        p.received = p.was_sent = false;
        loop_stream_close(p.stream);
        CU_ASSERT_FALSE(p.closed); /* never from inside the call */
        CU_ASSERT_TRUE(turn_until(l, &p.closed));
        free(to);
        free(from);
        CU_ASSERT_FALSE(p.received || p.was_sent);
        close(p.other);
    }
}
static void test_close(void) {
    on_both(close_while_busy);
}

static void many_streams(struct loop *l) {
    struct peer p[9];
    for (int i = 0; i < 8; i++) {
        peer_open(l, &p[i]);
        p[i].greedy = true;
        loop_receive(p[i].stream);
    }
    struct loop_stream *none;
    int fd = dup(0);
    CU_ASSERT_EQUAL(loop_stream_open(l, fd, &peer_calls, &p[8], &none), -EMFILE);
    CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), -1); /* taken all the same */
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 8; i++) CU_ASSERT_EQUAL(write(p[i].other, &round, sizeof round), sizeof round);
        CU_ASSERT_EQUAL(loop_turn(l, SECOND), 0);
    }
    for (int turn = 0; turn < 20; turn++) CU_ASSERT_EQUAL(loop_turn(l, SECOND / 1000), 0);
    for (int i = 0; i < 8; i++) {
        CU_ASSERT_EQUAL(p[i].n, 50 * sizeof(int));
        peer_close(l, &p[i]);
    }
}
static void test_many(void) {
    on_both(many_streams);
}

/* More connections with bytes than there are provided buffers. */
static void test_more_than_buffers(void) {
    enum { N = 700 };
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur < 2 * N + 50) {
        files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
        if (files.rlim_cur < 2 * N + 50 || setrlimit(RLIMIT_NOFILE, &files)) {
            suite_skip("more streams than buffers", "too few descriptors");
            return;
        }
    }
    for (int kind = LOOP_URING; kind <= LOOP_EPOLL; kind++) {
        struct loop *l = open_loop((enum loop_kind)kind, N);
        if (!l) continue;
        struct peer *p = calloc(N, sizeof *p);
        for (int i = 0; i < N; i++) {
            peer_open(l, &p[i]);
            CU_ASSERT_EQUAL(write(p[i].other, &i, sizeof i), sizeof i);
            loop_receive(p[i].stream);
        }
        for (int i = 0; i < N; i++) CU_ASSERT_TRUE(turn_until(l, &p[i].received));
        for (int i = 0; i < N; i++) {
            CU_ASSERT_TRUE(p[i].n == sizeof i && memcmp(p[i].bytes, &i, sizeof i) == 0);
            loop_stream_close(p[i].stream); /* all in one turn */
            p[i].closing = true;
        }
        for (int i = 0; i < N; i++) peer_close(l, &p[i]);
        free(p);
        loop_free(l);
    }
}

/* --- listening ---------------------------------------------------------------------------------- */

struct door {
    int fds[16], n, error;
    bool came, failed;
};

static void on_accepted(void *owner, int fd) {
    struct door *d = owner;
    if (fd < 0) {
        d->error = fd;
        d->failed = true;
        return;
    }
    d->fds[d->n++] = fd;
    d->came = true;
}

static int listen_abstract(struct sockaddr_un *a, socklen_t *n) {
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *n = sizeof(sa_family_t); /* autobind: the kernel picks a name */
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)a, *n), 0);
    *n = sizeof *a;
    CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)a, n), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fd, 16), 0);
    return fd;
}

static int connect_to(const struct sockaddr_un *a, socklen_t n) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL(connect(fd, (const struct sockaddr *)a, n), 0);
    return fd;
}

static void accepting(struct loop *l) {
    struct sockaddr_un a;
    socklen_t n;
    struct door d = {0};
    struct loop_watch *w;
    int fd = listen_abstract(&a, &n), clients[5];
    CU_ASSERT_EQUAL_FATAL(loop_listen(l, fd, on_accepted, &d, &w), 0);
    for (int i = 0; i < 5; i++) clients[i] = connect_to(&a, n);
    for (int i = 0; i < 20 && d.n < 5; i++) CU_ASSERT_EQUAL(loop_turn(l, SECOND / 10), 0);
    CU_ASSERT_EQUAL(d.n, 5);
    CU_ASSERT_TRUE(fcntl(d.fds[0], F_GETFD) & FD_CLOEXEC);
    for (int i = 0; i < 5; i++) {
        close(clients[i]);
        close(d.fds[i]);
    }
    loop_unwatch(w);
    clients[0] = connect_to(&a, n);
    for (int i = 0; i < 3; i++) CU_ASSERT_EQUAL(loop_turn(l, SECOND / 100), 0);
    CU_ASSERT_EQUAL(d.n, 5);
    close(clients[0]);
    close(fd);
}
static void test_accept(void) {
    on_both(accepting);
}

/* No descriptor is left: the owner hears of it, and the client gets in when there is one again. */
static void accept_without_descriptors(struct loop *l) {
    struct sockaddr_un a;
    socklen_t n;
    struct door d = {0};
    struct loop_watch *w;
    struct rlimit before, none;
    int fd = listen_abstract(&a, &n);
    int client = connect_to(&a, n);
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &none), 0); /* io_uring looks at it when it is armed */
    int rc = loop_listen(l, fd, on_accepted, &d, &w);
    bool failed = rc == 0 && turn_until(l, &d.failed);
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &before), 0);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_TRUE(failed);
    CU_ASSERT_EQUAL(d.error, -EMFILE);
    CU_ASSERT_TRUE(turn_until(l, &d.came));
    for (int i = 0; i < d.n; i++) close(d.fds[i]);
    loop_unwatch(w);
    CU_ASSERT_EQUAL(loop_turn(l, 0), 0);
    close(client);
    close(fd);
}
static void test_accept_full(void) {
    on_both(accept_without_descriptors);
}

/* --- watches, timers, posts ------------------------------------------------------------------------ */

struct pipe_watch {
    struct loop_watch *w;
    int fd, bytes;
    bool came, leave;
};

static void on_ready(void *owner) {
    struct pipe_watch *p = owner;
    char c[16];
    ssize_t n;
    while ((n = read(p->fd, c, sizeof c)) > 0) p->bytes += (int)n;
    p->came = true;
    if (p->leave) loop_unwatch(p->w);
}

static void watching(struct loop *l) {
    int ends[2];
    struct pipe_watch p = {0};
    CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    p.fd = ends[0];
    CU_ASSERT_EQUAL_FATAL(loop_watch(l, ends[0], on_ready, &p, &p.w), 0);
    for (int i = 1; i <= 3; i++) {
        p.came = false;
        CU_ASSERT_EQUAL(write(ends[1], "x", 1), 1);
        CU_ASSERT_TRUE(turn_until(l, &p.came));
        CU_ASSERT_EQUAL(p.bytes, i);
    }
    p.came = false;
    p.leave = true; /* from inside the callback */
    CU_ASSERT_EQUAL(write(ends[1], "x", 1), 1);
    CU_ASSERT_TRUE(turn_until(l, &p.came));
    p.came = false;
    CU_ASSERT_EQUAL(write(ends[1], "x", 1), 1);
    for (int i = 0; i < 3; i++) CU_ASSERT_EQUAL(loop_turn(l, SECOND / 100), 0);
    CU_ASSERT_FALSE(p.came);
    for (int i = 0; i < 40; i++) { /* places are used anew, far more often than there are any */
        CU_ASSERT_EQUAL_FATAL(loop_watch(l, ends[0], on_ready, &p, &p.w), 0);
        loop_unwatch(p.w);
        CU_ASSERT_EQUAL(loop_turn(l, 0), 0);
        CU_ASSERT_EQUAL(loop_turn(l, 0), 0);
    }
    close(ends[0]);
    close(ends[1]);
}
static void test_watch(void) {
    on_both(watching);
}

struct tick {
    struct loop_timer timer;
    char name, *to;
};
static void on_tick(void *owner) {
    struct tick *t = owner;
    *strchr(t->to, 0) = t->name;
}

static void ticking(struct loop *l) {
    char order[8] = "";
    struct tick a = {.name = 'a', .to = order}, b = {.name = 'b', .to = order},
                c = {.name = 'c', .to = order};
    const uint64_t now = loop_clock();
    loop_timer_set(l, &c.timer, now + 30000000, on_tick, &c);
    loop_timer_set(l, &a.timer, now + 60000000, on_tick, &a);
    loop_timer_set(l, &b.timer, now + 20000000, on_tick, &b);
    loop_timer_set(l, &a.timer, now + 10000000, on_tick, &a); /* moved to the front */
    loop_timer_stop(l, &c.timer);
    loop_timer_stop(l, &c.timer);
    CU_ASSERT_EQUAL(loop_turn(l, 0), 0);
    CU_ASSERT_TRUE(loop_clock() >= now + 10000000 || !order[0]); /* nobody is early */
    while (loop_clock() < now + 40000000) CU_ASSERT_EQUAL(loop_turn(l, SECOND / 100), 0);
    CU_ASSERT_STRING_EQUAL(order, "ab");
}
static void test_timer(void) {
    on_both(ticking);
}

enum { POSTERS = 4, POSTS = 20000 };
struct note {
    struct loop_post post;
    int thread, number;
    struct ledger *ledger;
};
struct ledger {
    int next[POSTERS], total;
    bool out_of_order, all;
};
struct poster {
    struct loop *loop;
    struct note *notes;
};

static void on_note(struct loop_post *p) {
    struct note *n = (struct note *)(void *)p;
    struct ledger *g = n->ledger;
    if (n->number != g->next[n->thread]++) g->out_of_order = true;
    g->all = ++g->total == POSTERS * POSTS;
}

static void *post_many(void *arg) {
    struct poster *p = arg;
    for (int i = 0; i < POSTS; i++) {
        loop_post(p->loop, &p->notes[i].post);
        if (i % 1000 == 0) usleep(200); /* let the loop fall asleep now and then */
    }
    return NULL;
}

static void posting(struct loop *l) {
    struct ledger g = {0};
    struct poster p[POSTERS];
    pthread_t t[POSTERS];
    for (int i = 0; i < POSTERS; i++) {
        p[i] = (struct poster){l, calloc(POSTS, sizeof(struct note))};
        for (int k = 0; k < POSTS; k++)
            p[i].notes[k] = (struct note){.post.run = on_note, .thread = i, .number = k, .ledger = &g};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, post_many, &p[i]), 0);
    }
    const uint64_t end = loop_clock() + 10 * SECOND;
    while (!g.all &&
           loop_clock() < end) /* a lost wake-up would cost a second each: the limit would be passed */
        CU_ASSERT_EQUAL_FATAL(loop_turn(l, 5 * SECOND), 0);
    CU_ASSERT_TRUE(g.all);
    CU_ASSERT_FALSE(g.out_of_order);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(t[i], NULL);
        free(p[i].notes);
    }
}
static void test_post(void) {
    on_both(posting);
}

static void count_turn(void *owner) {
    ++*(int *)owner;
}
static void stop_here(void *owner) {
    loop_stop(owner);
}
static void running(struct loop *l) {
    int turns = 0;
    struct loop_timer t = {0};
    loop_set_turn_end(l, count_turn, &turns);
    loop_timer_set(l, &t, loop_clock() + 10000000, stop_here, l);
    CU_ASSERT_EQUAL(loop_run(l), 0);
    CU_ASSERT_TRUE(turns >= 1 && turns < 20); /* asleep, not spinning */
}
static void test_run(void) {
    on_both(running);
}

SUITE(loop, {"a chunk comes when it is asked for", test_chunk},
      {"a chunk lies where its owner says", test_landed},
      {"the end of one direction leaves the other", test_end},
      {"a tensor arrives where it belongs, whole or with its early end", test_tensor},
      {"a gathered send survives a slow reader", test_send},
      {"sending to a dead peer is an error", test_dead}, {"a peer that leaves is told of", test_leave},
      {"closing with both directions under way", test_close}, {"eight streams, and not a ninth", test_many},
      {"more streams with bytes than buffers", test_more_than_buffers},
      {"accepting, until unwatched", test_accept}, {"accepting without descriptors", test_accept_full},
      {"watches", test_watch}, {"timers in order", test_timer},
      {"posts from four threads keep their order and wake the loop", test_post},
      {"run until stopped, without spinning", test_run});
