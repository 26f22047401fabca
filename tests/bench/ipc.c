/* What the way to a network costs: round trips through clpd beside the least that the same bytes can take.
 *
 * usage: bench-ipc ROUNDS SPINNING SLEEPING EPOLL MODEL:FLOATS …   three sockets: clpd with io.spin_us, with
 * 0, on epoll
 *
 *   floor     spin     two processes, a counter each in shared memory, both spinning
 *             futex    the same, both asleep until the other wakes them
 *             socket   a socketpair, blocking: the bytes of the request there, those of the answer back
 *   clpd      ring     libclpd, spinning; and asleep (neither side spins)
 *             stream   libclpd over the stream; and the same to clpd on epoll
 *
 * A socket is measured twice: "near", both ends on one CPU, where the scheduler puts two who wake each other
 * in turn, and where nothing hides what either end does; and "far", the client on another CPU, where nearly
 * all of it is that CPUs wake each other. The loops of SPINNING and EPOLL have to be on the first CPU that we
 * may use. A process per CPU that runs when nobody else wants to (SCHED_IDLE) keeps them awake: an idle CPU
 * takes 5 to 100 us to come back, as the machine below it pleases.
 *
 * All take turns within a round, so that what else the machine does hits all alike. Prints one JSON line per
 * measurement: each round's median, their median and least, and the median of each round's 99th percentile,
 * in ns; for clpd less what it says that the computation took. */
#include "client/clpd.h"
#include "infer/cpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_ROUNDS = 101,
    TRIPS = 2000,
    SLEEPY = 400,
    WARM = 200,
    HEAD = 128,
    ANSWER = 144,
    MODELS = 4,
    PER_MODEL = 8,
    MOST_CPUS = 256
};

struct series {
    char name[64];
    uint64_t p50[MOST_ROUNDS], p99[MOST_ROUNDS];
    uint32_t rounds;
};

static uint64_t trips[TRIPS];

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    (void)fprintf(stderr, "bench-ipc: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int compare(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void note(struct series *s, uint32_t n) {
    qsort(trips, n, sizeof *trips, compare);
    s->p50[s->rounds] = trips[n / 2];
    s->p99[s->rounds++] = trips[n * 99 / 100];
}

static void print(struct series *s) {
    (void)printf("{\"what\": \"%s\", \"rounds_p50_ns\": [", s->name);
    for (uint32_t i = 0; i < s->rounds; i++)
        (void)printf("%s%llu", i ? ", " : "", (unsigned long long)s->p50[i]);
    qsort(s->p50, s->rounds, sizeof *s->p50, compare);
    qsort(s->p99, s->rounds, sizeof *s->p99, compare);
    (void)printf("], \"p50_ns\": %llu, \"least_p50_ns\": %llu, \"p99_ns\": %llu}\n",
                 (unsigned long long)s->p50[s->rounds / 2], (unsigned long long)s->p50[0],
                 (unsigned long long)s->p99[s->rounds / 2]);
}

/* --- where who runs ------------------------------------------------------------------------------ */

static cpu_set_t all_cpus;
static pid_t idlers[MOST_CPUS];

/* The nth CPU that we may use; the last one where there are fewer. */
static void stay_on(int nth) {
    cpu_set_t one;
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && nth >= 0; cpu++) {
        if (!CPU_ISSET(cpu, &all_cpus)) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        nth--;
    }
    if (sched_setaffinity(0, sizeof one, &one)) die("sched_setaffinity");
}

static void go_anywhere(void) {
    if (sched_setaffinity(0, sizeof all_cpus, &all_cpus)) die("sched_setaffinity");
}

static void idle_on(int nth) {
    const struct sched_param none = {0};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    stay_on(nth);
    if (sched_setscheduler(0, SCHED_IDLE, &none)) die("SCHED_IDLE");
    for (;;) cpu_relax();
}

static void keep_awake(void) {
    const int n = CPU_COUNT(&all_cpus) < MOST_CPUS ? CPU_COUNT(&all_cpus) : MOST_CPUS;
    for (int i = 0; i < n; i++) {
        idlers[i] = fork();
        if (idlers[i] < 0) die("fork");
        if (idlers[i] == 0) idle_on(i);
    }
}

static void let_sleep(void) {
    for (int i = 0; i < MOST_CPUS && idlers[i] > 0; i++) {
        (void)kill(idlers[i], SIGKILL);
        (void)waitpid(idlers[i], NULL, 0);
    }
}

/* --- the floors: a child that gives back what it gets ------------------------------------------- */

struct shared { /* counters on lines of their own */
    uint32_t ping, pad1[31], pong, pad2[31], sleep, pad3[31];
};

static void await(uint32_t *word, uint32_t want, bool sleep) {
    uint32_t got;
    while ((got = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != want)
        if (sleep)
            (void)syscall(SYS_futex, word, FUTEX_WAIT, got, NULL, NULL, 0);
        else
            cpu_relax();
}

static void tell(uint32_t *word, uint32_t n, bool sleep) {
    __atomic_store_n(word, n, __ATOMIC_RELEASE);
    if (sleep) (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void echo_memory(struct shared *m, bool sleep, uint32_t n) {
    for (uint32_t i = 1; i <= n; i++) {
        await(&m->ping, i, sleep);
        tell(&m->pong, i, sleep);
    }
}

static void measure_memory(struct series *s, bool sleep) {
    const uint32_t n = sleep ? SLEEPY : TRIPS;
    struct shared *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) die("mmap");
    const pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        echo_memory(m, sleep, WARM + n);
        _exit(0);
    }
    for (uint32_t i = 1; i <= WARM + n; i++) {
        const uint64_t start = now_ns();
        tell(&m->ping, i, sleep);
        await(&m->pong, i, sleep);
        if (i > WARM) trips[i - WARM - 1] = now_ns() - start;
    }
    (void)waitpid(child, NULL, 0);
    (void)munmap(m, sizeof *m);
    note(s, n);
}

static void all_of(int fd, void *bytes, size_t n, bool out) {
    for (size_t at = 0; at < n;) {
        const ssize_t k = out ? send(fd, (char *)bytes + at, n - at, MSG_NOSIGNAL)
                              : recv(fd, (char *)bytes + at, n - at, 0);
        if (k <= 0) _exit(0);
        at += (size_t)k;
    }
}

static void measure_socket(struct series *s, size_t bytes, int cpu) {
    static uint8_t buffer[1 << 20];
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) die("socketpair");
    const pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        (void)close(pair[0]);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        stay_on(0);
        for (;;) {
            all_of(pair[1], buffer, HEAD + bytes, false);
            all_of(pair[1], buffer, ANSWER, true);
        }
    }
    (void)close(pair[1]);
    stay_on(cpu);
    for (uint32_t i = 0; i < WARM + TRIPS; i++) {
        const uint64_t start = now_ns();
        all_of(pair[0], buffer, HEAD + bytes, true);
        all_of(pair[0], buffer, ANSWER, false);
        if (i >= WARM) trips[i - WARM] = now_ns() - start;
    }
    go_anywhere();
    (void)close(pair[0]);
    (void)waitpid(child, NULL, 0);
    note(s, TRIPS);
}

/* --- clpd ------------------------------------------------------------------------------------------ */

struct model {
    char name[64];
    uint32_t floats;
    float *x;
};

static uint64_t less(uint64_t trip, uint64_t compute) {
    return trip > compute ? trip - compute : 0;
}

static void check(int rc, const struct clpd_result *r, const char *why) {
    if (rc == 0 && r->status == CLPD_OK) return;
    (void)fprintf(stderr, "bench-ipc: %d: %s %s\n", rc, why, rc ? "" : r->text);
    exit(1);
}

static void measure_ring(struct series *s, const char *socket, const struct model *m, bool sleep) {
    const struct clpd_request q = {.model = m->name, .dims = {1, 1, 1, m->floats}, .want_scores = 1};
    const struct clpd_ring_options o = {.tensor_bytes = m->floats * sizeof(float),
                                        .spin_us = sleep ? -1 : 1000};
    const uint32_t n = sleep ? SLEEPY : TRIPS;
    struct clpd_result r = {.status = CLPD_OK};
    struct clpd_ring *g;
    char why[256];
    uint32_t slot;
    check(clpd_ring_open(socket, &o, &g, why, sizeof why), &r, why);
    check(clpd_ring_take(g, &slot), &r, "no slot");
    memcpy(clpd_ring_tensor(g, slot), m->x, m->floats * sizeof(float));
    for (uint32_t i = 0; i < WARM + n; i++) {
        const uint64_t start = now_ns();
        check(clpd_ring_submit(g, slot, &q, NULL), &r, clpd_ring_error(g));
        check(clpd_ring_poll(g, -1, &r, &slot) - 1, &r, clpd_ring_error(g));
        if (i >= WARM) trips[i - WARM] = less(now_ns() - start, r.compute_ns);
    }
    clpd_ring_close(g);
    note(s, n);
}

static void measure_stream(struct series *s, const char *socket, const struct model *m, int cpu) {
    const struct clpd_request q = {
        .model = m->name, .dims = {1, 1, 1, m->floats}, .data = m->x, .want_scores = 1};
    struct clpd_result r = {.status = CLPD_OK};
    struct clpd *c;
    check(clpd_connect(socket, &c), &r, "no connection");
    stay_on(cpu);
    for (uint32_t i = 0; i < WARM + TRIPS; i++) {
        const uint64_t start = now_ns();
        check(clpd_classify(c, &q, &r), &r, clpd_error(c));
        if (i >= WARM) trips[i - WARM] = less(now_ns() - start, r.compute_ns);
    }
    go_anywhere();
    clpd_close(c);
    note(s, TRIPS);
}

static struct series *named(struct series *s, const char *what, uint32_t floats) {
    if (floats)
        (void)snprintf(s->name, sizeof s->name, "%s %u", what, floats * (uint32_t)sizeof(float));
    else
        (void)snprintf(s->name, sizeof s->name, "%s", what);
    return s;
}

struct daemons {
    const char *spinning, *sleeping, *epoll;
};

static void measure_model(struct series *s, const struct daemons *d, const struct model *m) {
    const size_t bytes = m->floats * sizeof(float);
    measure_socket(named(s, "socket near", m->floats), bytes, 0);
    measure_stream(named(s + 1, "stream near", m->floats), d->spinning, m, 0);
    measure_stream(named(s + 2, "epoll near", m->floats), d->epoll, m, 0);
    measure_socket(named(s + 3, "socket far", m->floats), bytes, 1);
    measure_stream(named(s + 4, "stream far", m->floats), d->spinning, m, 1);
    measure_stream(named(s + 5, "epoll far", m->floats), d->epoll, m, 1);
    measure_ring(named(s + 6, "ring", m->floats), d->spinning, m, false);
    measure_ring(named(s + 7, "ring asleep", m->floats), d->sleeping, m, true);
}

static void read_models(struct model *models, char **words, int n) {
    for (int i = 0; i < n; i++) {
        struct model *m = &models[i];
        if (sscanf(words[i], "%63[^:]:%u", m->name, &m->floats) != 2 || m->floats > 200000) exit(2);
        m->x = calloc(m->floats, sizeof(float));
        if (!m->x) die("memory");
    }
}

int main(int argc, char **argv) {
    static struct series all[2 + PER_MODEL * MODELS];
    struct model models[MODELS];
    const int rounds = argc > 5 ? atoi(argv[1]) : 0, n = argc - 5;
    if (rounds < 1 || rounds > MOST_ROUNDS || n > MODELS) {
        (void)fprintf(stderr, "usage: bench-ipc ROUNDS SPINNING SLEEPING EPOLL MODEL:FLOATS ...\n");
        return 2;
    }
    const struct daemons d = {argv[2], argv[3], argv[4]};
    read_models(models, argv + 5, n);
    if (sched_getaffinity(0, sizeof all_cpus, &all_cpus)) die("sched_getaffinity");
    keep_awake();
    for (int round = 0; round < rounds; round++) {
        measure_memory(named(&all[0], "spin", 0), false);
        measure_memory(named(&all[1], "futex", 0), true);
        for (int i = 0; i < n; i++) measure_model(&all[2 + PER_MODEL * i], &d, &models[i]);
    }
    let_sleep();
    for (int i = 0; i < 2 + PER_MODEL * n; i++) print(&all[i]);
    return 0;
}
