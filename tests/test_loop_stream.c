/* The loop's streams, over both back ends: what goes in comes out, and nothing comes after the end. */
#include "tests/loop_case.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

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
    CU_ASSERT_TRUE(case_turn_until(l, &p->closed));
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
    CU_ASSERT_TRUE(case_turn_until(l, &p.received));
    CU_ASSERT_EQUAL(p.last, 5);
    CU_ASSERT_EQUAL(memcmp(p.bytes, "hello", 5), 0);
    /* what arrives before it is asked for waits in the socket */
    CU_ASSERT_EQUAL(write(p.other, "more", 4), 4);
    p.received = false;
    CU_ASSERT_EQUAL(loop_turn(l, SECOND / 50), 0);
    CU_ASSERT_FALSE(p.received);
    loop_receive(p.stream);
    CU_ASSERT_TRUE(case_turn_until(l, &p.received));
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
        CU_ASSERT_TRUE(case_turn_until(l, &p.received));
        CU_ASSERT_EQUAL(p.last, 5);
        CU_ASSERT_EQUAL(p.lay == place, p.place == place);
        CU_ASSERT_EQUAL(memcmp(p.bytes + p.n - 5, "hello", 5), 0);
    }
    peer_close(l, &p);
}
static void test_landed(void) {
    case_on_loops(landed);
}

static void test_chunk(void) {
    case_on_loops(chunk);
}

static void end_of_stream(struct loop *l) {
    struct peer p;
    peer_open(l, &p);
    loop_receive(p.stream);
    CU_ASSERT_EQUAL(shutdown(p.other, SHUT_WR), 0);
    CU_ASSERT_TRUE(case_turn_until(l, &p.received));
    CU_ASSERT_EQUAL(p.last, 0);
    /* the other direction still works */
    const struct iovec iov = {(void *)(uintptr_t) "bye", 3};
    loop_send(p.stream, &iov, 1);
    CU_ASSERT_TRUE(case_turn_until(l, &p.was_sent));
    char got[4] = "";
    CU_ASSERT_EQUAL(read(p.other, got, 3), 3);
    CU_ASSERT_STRING_EQUAL(got, "bye");
    peer_close(l, &p);
}
static void test_end(void) {
    case_on_loops(end_of_stream);
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
    CU_ASSERT_TRUE(case_turn_until(l, &p.received));
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
    CU_ASSERT_TRUE(case_turn_until(l, &p.received));
    CU_ASSERT_EQUAL(p.last, 3);
    peer_close(l, &p);
    free(to);
}
static void test_tensor(void) {
    case_on_loops(tensor);
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
    case_on_loops(gathered_send);
}

static void send_to_the_dead(struct loop *l) {
    struct peer p;
    peer_open(l, &p);
    close(p.other);
    p.other = -1;
    const struct iovec iov = {(void *)(uintptr_t) "x", 1};
    loop_send(p.stream, &iov, 1);
    CU_ASSERT_TRUE(case_turn_until(l, &p.was_sent));
    CU_ASSERT_EQUAL(p.sent, -EPIPE);
    peer_close(l, &p);
}
static void test_dead(void) {
    case_on_loops(send_to_the_dead);
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
    CU_ASSERT_TRUE(case_turn_until(l, &p.gone));
    CU_ASSERT_FALSE(p.received);
    peer_close(l, &p);
}
static void test_leave(void) {
    case_on_loops(leave);
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
        CU_ASSERT_TRUE(case_turn_until(l, &p.closed));
        free(to);
        free(from);
        CU_ASSERT_FALSE(p.received || p.was_sent);
        close(p.other);
    }
}
static void test_close(void) {
    case_on_loops(close_while_busy);
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
    case_on_loops(many_streams);
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
        struct loop *l = case_loop((enum loop_kind)kind, N);
        if (!l) continue;
        struct peer *p = calloc(N, sizeof *p);
        for (int i = 0; i < N; i++) {
            peer_open(l, &p[i]);
            CU_ASSERT_EQUAL(write(p[i].other, &i, sizeof i), sizeof i);
            loop_receive(p[i].stream);
        }
        for (int i = 0; i < N; i++) CU_ASSERT_TRUE(case_turn_until(l, &p[i].received));
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

SUITE(loop_stream, {"a chunk comes when it is asked for", test_chunk},
      {"a chunk lies where its owner says", test_landed},
      {"the end of one direction leaves the other", test_end},
      {"a tensor arrives where it belongs, whole or with its early end", test_tensor},
      {"a gathered send survives a slow reader", test_send},
      {"sending to a dead peer is an error", test_dead}, {"a peer that leaves is told of", test_leave},
      {"closing with both directions under way", test_close}, {"eight streams, and not a ninth", test_many},
      {"more streams with bytes than buffers", test_more_than_buffers});
