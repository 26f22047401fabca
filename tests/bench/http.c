/* The half of scripts/bench-http in C: what HTTP costs, interleaved in one run.
 *
 * bench-http STREAM HTTP MODEL SIDE ROUNDS     (two sockets, a model that takes [1,3,SIDE,SIDE])
 *   echo     a bare libmicrohttpd server of our own sends the same bytes back
 *   infer    clpd answers a raw binary request of these bytes
 *   stream   libclpd asks the same
 *   ring     libclpd asks over shared memory; both ends look for work for a millisecond, so that none sleeps
 *   stalled, ring_stalled   both again, while 200 of 256 HTTP connections are stalled and 56 idle
 *   compute  what clpd says that computing took of `stream`
 * One line a side: median and 99th percentile in microseconds.
 *
 * Whoever wakes whom on which CPU changes from block to block and weighs more than what is sought, so a block
 * with stalled connections is compared with the one beside it in its round, either first in turn. Two more
 * lines, stream_times and ring_times: least quartile, median and upper quartile of the rounds' ratios of
 * medians. */
#include "client/clpd.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BLOCK   50    /* requests of one side before the next has its turn */
#define SETTLE  20000 /* us: connections are accepted, read and closed: not part of what is measured */
#define STALLED 200
#define OPEN    256
enum { ECHO, INFER, STREAM, RING, STREAM_STALLED, RING_STALLED, COMPUTE, SIDES };

_Noreturn static void stop(const char *what) {
    (void)fprintf(stderr, "bench-http: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now_us(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* --- the echo ---------------------------------------------------------------------------- */

struct echo {
    char *bytes;
    size_t n, room;
};

static void end_echo(void *owner, struct MHD_Connection *c, void **context,
                     enum MHD_RequestTerminationCode code) {
    struct echo *e = *context;
    (void)owner, (void)c, (void)code;
    if (e) free(e->bytes);
    free(e);
}

static enum MHD_Result on_request(void *owner, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *bytes, size_t *n, void **context) {
    struct echo *e = *context;
    (void)owner, (void)path, (void)method, (void)version;
    if (!e) {
        const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
        *context = e = calloc(1, sizeof *e);
        if (e) e->room = strtoull(length ? length : "0", NULL, 10);
        if (e) e->bytes = malloc(e->room + 1);
        return e && e->bytes ? MHD_YES : MHD_NO;
    }
    if (*n) {
        if (*n > e->room - e->n) return MHD_NO;
        memcpy(e->bytes + e->n, bytes, *n);
        e->n += *n;
        *n = 0;
        return MHD_YES;
    }
    struct MHD_Response *r = MHD_create_response_from_buffer(e->n, e->bytes, MHD_RESPMEM_PERSISTENT);
    const enum MHD_Result rc = MHD_queue_response(c, 200, r);
    MHD_destroy_response(r);
    return rc;
}

static int connect_to(const char *path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&a, sizeof a)) stop(path);
    return fd;
}

static void start_echo(char path[108]) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(path, 108, "/tmp/bench-http-%d.sock", (int)getpid());
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) || listen(fd, 8)) stop("echo socket");
    if (!MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, on_request, NULL,
                          MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, end_echo, NULL,
                          MHD_OPTION_END))
        stop("echo server");
}

/* --- a client ------------------------------------------------------------------------------ */

static void send_all(int fd, const char *bytes, size_t n) {
    while (n) {
        const ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0) stop("send");
        bytes += sent;
        n -= (size_t)sent;
    }
}

/* Reads one answer; it has to be 200. */
static void receive(int fd, char *room, size_t size) {
    size_t have = 0;
    const char *end = NULL;
    while (!end) {
        const ssize_t n = recv(fd, room + have, size - 1 - have, 0);
        if (n <= 0) stop("receive");
        have += (size_t)n;
        room[have] = 0;
        end = memmem(room, have, "\r\n\r\n", 4);
    }
    const char *length = strcasestr(room, "\r\ncontent-length:");
    if (strncmp(room, "HTTP/1.1 200", 12) != 0 || !length) stop(room);
    size_t left = strtoull(length + 17, NULL, 10) - (have - (size_t)(end + 4 - room));
    while (left) {
        const ssize_t n = recv(fd, room, size < left ? size : left, 0);
        if (n <= 0) stop("receive");
        left -= (size_t)n;
    }
}

/* --- sides ------------------------------------------------------------------------------------- */

struct side {
    const char *name;
    double *us;
    size_t n;
    double block; /* the last block's median */
};

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(struct side *s) {
    qsort(s->us, s->n, sizeof *s->us, by_size);
    (void)printf("%s %.1f %.1f\n", s->name, s->us[s->n / 2], s->us[s->n * 99 / 100]);
}

static void report_ratios(const char *name, double *ratios, size_t n) {
    qsort(ratios, n, sizeof *ratios, by_size);
    (void)printf("%s %.3f %.3f %.3f\n", name, ratios[n / 4], ratios[n / 2], ratios[n * 3 / 4]);
}

static void end_block(struct side *s) {
    double sorted[BLOCK];
    memcpy(sorted, s->us + s->n - BLOCK, sizeof sorted);
    qsort(sorted, BLOCK, sizeof *sorted, by_size);
    s->block = sorted[BLOCK / 2];
}

struct bench {
    const char *model;
    uint32_t side;
    size_t bytes, room;
    float *tensor;
    char *request, *answer;
    size_t request_bytes;
    struct clpd *c;
    struct clpd_ring *ring;
};

static void ask_http(struct bench *b, struct side *s, int fd) {
    for (int i = 0; i < BLOCK; i++) {
        const double start = now_us();
        send_all(fd, b->request, b->request_bytes);
        receive(fd, b->answer, b->room);
        s->us[s->n++] = now_us() - start;
    }
}

static struct clpd_request request_of(const struct bench *b) {
    return (struct clpd_request){.model = b->model,
                                 .format = CLPD_F32_NCHW,
                                 .dims = {1, 3, b->side, b->side},
                                 .data = b->tensor,
                                 .want_scores = 1};
}

static void open_ring(struct bench *b, const char *path) {
    const struct clpd_ring_options o = {.tensor_bytes = b->bytes, .spin_us = 1000};
    char why[256] = "";
    if (clpd_ring_open(path, &o, &b->ring, why, sizeof why)) stop(why);
}

/* The tensor lies in its slot, as a camera would have written it there. */
static void ask_ring(struct bench *b, struct side *s) {
    struct clpd_request q = request_of(b);
    struct clpd_result r;
    uint32_t slot;
    if (clpd_ring_take(b->ring, &slot)) stop("no slot");
    memcpy(clpd_ring_tensor(b->ring, slot), b->tensor, b->bytes);
    q.data = NULL;
    for (int i = 0; i < BLOCK; i++) {
        const double start = now_us();
        if (clpd_ring_submit(b->ring, slot, &q, NULL) || clpd_ring_poll(b->ring, -1, &r, &slot) != 1 ||
            r.status != CLPD_OK)
            stop(clpd_ring_error(b->ring));
        s->us[s->n++] = now_us() - start;
    }
    clpd_ring_give(b->ring, slot);
    end_block(s);
}

static void ask_stream(struct bench *b, struct side *s, struct side *compute) {
    const struct clpd_request q = request_of(b);
    struct clpd_result r;
    for (int i = 0; i < BLOCK; i++) {
        const double start = now_us();
        if (clpd_classify(b->c, &q, &r) || r.status != CLPD_OK) stop(clpd_error(b->c));
        s->us[s->n++] = now_us() - start;
        if (compute) compute->us[compute->n++] = (double)r.compute_ns / 1e3;
    }
    end_block(s);
}

static void stall(const char *path, int fds[OPEN]) {
    static const char *const begun[] = {
        "GET /v2 HTTP/1.1\r\nX: ",
        "POST /v2/models/x/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"};
    for (int i = 0; i < OPEN; i++) {
        fds[i] = connect_to(path);
        if (i < STALLED) send_all(fds[i], begun[i % 2], strlen(begun[i % 2]));
    }
}

static void ask_free(struct bench *b, struct side *sides) {
    (void)usleep(SETTLE);
    ask_stream(b, &sides[STREAM], &sides[COMPUTE]);
    ask_ring(b, &sides[RING]);
}

static void ask_beside_stalled(struct bench *b, struct side *sides, const char *path) {
    int fds[OPEN];
    stall(path, fds);
    (void)usleep(SETTLE);
    ask_stream(b, &sides[STREAM_STALLED], NULL);
    ask_ring(b, &sides[RING_STALLED]);
    for (int i = 0; i < OPEN; i++) (void)close(fds[i]);
}

static void run_round(struct bench *b, struct side *sides, int echo, const char *path, bool stalled_first) {
    const int http = connect_to(path);
    ask_http(b, &sides[ECHO], echo);
    ask_http(b, &sides[INFER], http);
    (void)close(http); /* its place is wanted below */
    if (stalled_first) ask_beside_stalled(b, sides, path);
    ask_free(b, sides);
    if (!stalled_first) ask_beside_stalled(b, sides, path);
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    struct bench b = {.model = argv[3], .side = (uint32_t)atoi(argv[4])};
    const size_t rounds = strtoull(argv[5], NULL, 10);
    struct side sides[SIDES] = {[ECHO] = {.name = "echo"},
                                [INFER] = {.name = "infer"},
                                [STREAM] = {.name = "stream"},
                                [RING] = {.name = "ring"},
                                [STREAM_STALLED] = {.name = "stalled"},
                                [RING_STALLED] = {.name = "ring_stalled"},
                                [COMPUTE] = {.name = "compute"}};
    double *stream_times = calloc(rounds, sizeof(double)), *ring_times = calloc(rounds, sizeof(double));
    char path[108];
    b.bytes = (size_t)b.side * b.side * 3 * sizeof(float);
    b.room = b.bytes + 4096;
    b.tensor = calloc(1, b.bytes);
    b.request = malloc(b.room);
    b.answer = malloc(b.room);
    for (int i = 0; i < SIDES; i++) sides[i].us = calloc(rounds * BLOCK, sizeof(double));
    b.request_bytes = (size_t)snprintf(
        b.request, b.room,
        "POST /v2/models/%s/infer HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: 0\r\n"
        "Content-Length: %zu\r\n\r\n",
        b.model, b.bytes);
    memcpy(b.request + b.request_bytes, b.tensor, b.bytes);
    b.request_bytes += b.bytes;
    start_echo(path);
    if (clpd_connect(argv[1], &b.c)) stop(argv[1]);
    open_ring(&b, argv[1]);
    const int echo = connect_to(path);
    (void)unlink(path);
    for (size_t r = 0; r < rounds; r++) {
        run_round(&b, sides, echo, argv[2], r % 2);
        stream_times[r] = sides[STREAM_STALLED].block / sides[STREAM].block;
        ring_times[r] = sides[RING_STALLED].block / sides[RING].block;
    }
    for (int i = 0; i < SIDES; i++) report(&sides[i]);
    report_ratios("stream_times", stream_times, rounds);
    report_ratios("ring_times", ring_times, rounds);
    return 0;
}
