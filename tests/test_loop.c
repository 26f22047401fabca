/* The event loop, over both back ends: listening, watches, timers, posts, turns. */
#include "tests/loop_case.h"
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
    case_on_loops(accepting);
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
    bool failed = rc == 0 && case_turn_until(l, &d.failed);
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &before), 0);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_TRUE(failed);
    CU_ASSERT_EQUAL(d.error, -EMFILE);
    CU_ASSERT_TRUE(case_turn_until(l, &d.came));
    for (int i = 0; i < d.n; i++) close(d.fds[i]);
    loop_unwatch(w);
    CU_ASSERT_EQUAL(loop_turn(l, 0), 0);
    close(client);
    close(fd);
}
static void test_accept_full(void) {
    case_on_loops(accept_without_descriptors);
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
        CU_ASSERT_TRUE(case_turn_until(l, &p.came));
        CU_ASSERT_EQUAL(p.bytes, i);
    }
    p.came = false;
    p.leave = true; /* from inside the callback */
    CU_ASSERT_EQUAL(write(ends[1], "x", 1), 1);
    CU_ASSERT_TRUE(case_turn_until(l, &p.came));
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
    case_on_loops(watching);
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
    case_on_loops(ticking);
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
    case_on_loops(posting);
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
    case_on_loops(running);
}

SUITE(loop, {"accepting, until unwatched", test_accept}, {"accepting without descriptors", test_accept_full},
      {"watches", test_watch}, {"timers in order", test_timer},
      {"posts from four threads keep their order and wake the loop", test_post},
      {"run until stopped, without spinning", test_run});
