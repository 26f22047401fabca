/* clpctl load: keeps a daemon busy and says how it bore it.
 *
 * One thread and one connection, or ring, per client. Closed loop: each keeps `inflight`
 * requests unanswered. Open loop (--rate): requests have their times, and a
 * latency counts from then, not from when there was room to send, so that a
 * daemon that stalls can't hide it (coordinated omission). A lost connection is
 * made again, counted, and everything that was under way on it counts as lost. */
#include "client/clpctl.h"
#include "client/decode.h"
#include "client/histogram.h"
#include "client/load_lane.h"
#include "client/load_report.h"
#include "client/progress.h"
#include "client/report_json.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 1024, MAX_INFLIGHT = 4096, BUSY_PAUSE_US = 1000, RECONNECT_MS = 20, DRAIN_MS = 5000 };

struct load {
    struct clpctl *c;
    const char *name, *image, *transport;
    uint32_t clients, inflight, timeout_ms, spin_us;
    bool shm;
    double seconds, rate;
    bool json;
    struct remote_model model;
    struct picture picture;
    struct clpd_request request; /* the same for all */
    uint64_t begin, end;         /* ns */
    _Atomic uint64_t answered;   /* for the progress line */
    _Atomic uint64_t version;
    atomic_bool stopped;
};

struct flight {
    uint64_t id, intended; /* ns */
};

struct client { /* its thread's, until that is joined */
    struct load *l;
    pthread_t thread;
    struct lane lane;
    struct flight *flights;
    uint32_t n_flights;
    uint32_t paused; /* requests held back, since the daemon said BUSY */
    uint64_t paused_until;
    uint64_t next, interval; /* open loop */
    struct load_counts counts;
};

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t ns) {
    const struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) continue;
}

/* --- one client --------------------------------------------------------------------------- */

static void lose_connection(struct client *k) {
    k->counts.lost += k->n_flights;
    k->n_flights = 0;
    lane_close(&k->lane);
}

static int open_lane(struct client *k) {
    const struct load *l = k->l;
    return lane_open(&k->lane, l->c->socket, l->shm, &l->request, l->inflight, l->spin_us, DRAIN_MS);
}

static bool connect_again(struct client *k) {
    if (open_lane(k) == 0) {
        k->counts.reconnects++;
        return true;
    }
    lane_close(&k->lane);
    sleep_until(now_ns() + RECONNECT_MS * 1000000ull);
    return false;
}

static bool submit(struct client *k, uint64_t intended) {
    struct flight *f = &k->flights[k->n_flights];
    k->counts.sent++;
    f->intended = intended;
    k->n_flights++;
    if (lane_submit(&k->lane, &k->l->request, &f->id) == 0) return true;
    lose_connection(k);
    return false;
}

static void note_busy(struct client *k, uint64_t now) {
    k->counts.busy++;
    k->paused++;
    k->paused_until = now + BUSY_PAUSE_US * 1000ull;
}

static void on_answer(struct client *k, const struct clpd_result *r) {
    uint64_t now = now_ns();
    uint32_t i = 0;
    while (i < k->n_flights && k->flights[i].id != r->id) i++;
    if (i == k->n_flights) return; /* libclpd gives out no other ids */
    uint64_t intended = k->flights[i].intended;
    k->flights[i] = k->flights[--k->n_flights];
    if (r->status == CLPD_OK) {
        histogram_record(&k->counts.latency, now - intended);
        load_count_version(&k->counts, r->version);
        atomic_store_explicit(&k->l->version, r->version, memory_order_relaxed);
        atomic_fetch_add_explicit(&k->l->answered, 1, memory_order_relaxed);
    } else if (r->status == CLPD_BUSY) {
        note_busy(k, now);
    } else {
        k->counts.by_status[r->status < LOAD_STATUSES ? r->status : LOAD_STATUSES - 1]++;
        if (!k->counts.example[0]) (void)snprintf(k->counts.example, sizeof k->counts.example, "%s", r->text);
    }
}

/* Takes all answers that are there; waits at most `wait_ns` for a first one. */
static void take_answers(struct client *k, uint64_t wait_ns) {
    struct clpd_result r;
    int rc = lane_poll(&k->lane, wait_ns, &r);
    while (rc == 1) {
        on_answer(k, &r);
        rc = lane_poll(&k->lane, 0, &r);
    }
    if (rc < 0) lose_connection(k);
}

/* How many more may be sent at this moment. */
static uint32_t room(struct client *k, uint64_t now) {
    if (k->paused && now >= k->paused_until) k->paused = 0;
    uint32_t used = k->n_flights + k->paused;
    return used < k->l->inflight ? k->l->inflight - used : 0;
}

static uint64_t at_most(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void send_what_is_due(struct client *k, uint64_t now) {
    for (uint32_t n = room(k, now); n; n--) {
        if (k->interval && k->next > now) return;
        if (!submit(k, k->interval ? k->next : now)) return;
        k->next += k->interval;
        if (!k->interval) now = now_ns();
    }
}

/* Nothing under way: only the clock can bring the next step. */
static bool idle(struct client *k, uint64_t until) {
    if (k->n_flights) return false;
    uint64_t now = now_ns();
    sleep_until(at_most(until, now + 50000000u));
    return true;
}

static void drive(struct client *k) {
    const struct load *l = k->l;
    for (uint64_t now = now_ns(); now < l->end && !atomic_load(&l->stopped); now = now_ns()) {
        if (!lane_is_open(&k->lane) && !connect_again(k)) continue;
        send_what_is_due(k, now);
        if (!lane_is_open(&k->lane)) continue;
        uint64_t until = l->end;
        if (k->paused) until = at_most(until, k->paused_until);
        if (k->interval && room(k, now)) until = at_most(until, k->next);
        now = now_ns();
        if (idle(k, until)) continue;
        take_answers(k, until > now ? until - now : 0);
    }
    /* What was due when the clock ran out, while we slept, is sent late. What was due and found no room is
     * not forgotten: it is the daemon's debt. */
    if (k->interval && lane_is_open(&k->lane) && !atomic_load(&l->stopped)) send_what_is_due(k, l->end - 1);
    for (; k->interval && k->next < l->end; k->next += k->interval) k->counts.unsent++;
    uint64_t patience = now_ns() + DRAIN_MS * 1000000ull;
    while (lane_is_open(&k->lane) && k->n_flights && now_ns() < patience) take_answers(k, 100000000u);
    if (lane_is_open(&k->lane)) lose_connection(k); /* with what is still under way */
    k->counts.finished = now_ns();
}

static void *run_client(void *arg) {
    struct client *k = arg;
    sleep_until(k->l->begin);
    drive(k);
    return NULL;
}

/* --- all of them --------------------------------------------------------------------------- */

static int start_client(struct load *l, struct client *k, uint32_t nth) {
    *k = (struct client){.l = l, .flights = calloc(l->inflight, sizeof *k->flights)};
    if (!k->flights) return clpctl_fail(l->c, "out of memory");
    if (open_lane(k)) return clpctl_fail(l->c, "client %u of %u: %s", nth + 1, l->clients, k->lane.why);
    if (l->rate > 0) {
        k->interval = (uint64_t)(1e9 * l->clients / l->rate);
        k->next = l->begin + k->interval * nth / l->clients;
    }
    return 0;
}

static void show_progress(struct load *l) {
    struct progress p;
    uint64_t before = 0;
    progress_begin(&p, &l->c->err, l->seconds, "asking %s", l->model.name);
    for (uint64_t at = l->begin + 500000000u; at < l->end; at += 500000000u) {
        sleep_until(at);
        uint64_t n = atomic_load_explicit(&l->answered, memory_order_relaxed);
        progress_set(&p, 0, "%llu/s   version %llu", (unsigned long long)(n - before) * 2,
                     (unsigned long long)atomic_load_explicit(&l->version, memory_order_relaxed));
        before = n;
    }
    sleep_until(l->end);
    progress_end(&p);
}

static int run_clients(struct load *l, struct client *clients, struct load_counts *all) {
    l->begin = now_ns() + 20000000u;
    l->end = l->begin + (uint64_t)(l->seconds * 1e9);
    uint32_t started = 0;
    int rc = 0;
    for (uint32_t i = 0; i < l->clients && rc == 0; i++) rc = start_client(l, &clients[i], i);
    for (uint32_t i = 0; i < l->clients && rc == 0; i++) {
        int code = pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
        if (code)
            rc = clpctl_fail(l->c, "can't start %u clients: %s", l->clients, strerror(code));
        else
            started++;
    }
    if (rc)
        atomic_store(&l->stopped, true);
    else if (l->c->err.is_terminal)
        show_progress(l);
    for (uint32_t i = 0; i < started; i++) (void)pthread_join(clients[i].thread, NULL);
    for (uint32_t i = 0; i < l->clients; i++) {
        load_counts_merge(all, &clients[i].counts);
        lane_close(&clients[i].lane);
        free(clients[i].flights);
    }
    return rc;
}

/* --- the request ---------------------------------------------------------------------------- */

/* Noise of the model's shape: the work is the same as for a picture. */
static int make_picture(struct load *l, struct err *e) {
    const uint32_t *d = l->model.dims;
    uint64_t bytes = l->model.u8 ? 1 : sizeof(float);
    for (uint32_t i = 0; i < l->model.rank; i++)
        if (__builtin_mul_overflow(bytes, d[i], &bytes) || bytes > (1u << 30))
            return err_set(e, ERR_LIMIT, "the input of %s is too large", l->model.name);
    uint8_t *data = malloc(bytes);
    if (!data) return err_set(e, ERR_SYSTEM, "out of memory");
    uint32_t state = 1;
    for (uint64_t i = 0; i < bytes; i++) {
        state = state * 1664525u + 1013904223u;
        /* As float32, bytes like these are numbers between 0 and 1. */
        data[i] = l->model.u8 || i % 4 < 2 ? (uint8_t)(state >> 24) : i % 4 == 2 ? 0 : 0x3f;
    }
    l->picture = (struct picture){.data = data, .bytes = bytes};
    l->request.data = data;
    l->request.format = l->model.u8 ? CLPD_U8_NHWC : CLPD_F32_NCHW;
    const uint32_t u8[CLPD_MAX_RANK] = {d[0], d[2], d[3], d[1]};
    memcpy(l->request.dims, l->model.u8 ? u8 : d, sizeof l->request.dims);
    return 0;
}

static int read_picture(struct load *l, struct err *e) {
    if (clpctl_read_picture(l->image, &l->model, &l->picture, e) < 0) return -1;
    const struct picture *p = &l->picture;
    const uint32_t u8[CLPD_MAX_RANK] = {p->n, p->h, p->w, p->c},
                   f32[CLPD_MAX_RANK] = {p->n, p->c, p->h, p->w};
    l->request.data = p->data;
    l->request.format = p->format;
    memcpy(l->request.dims, p->format == CLPD_U8_NHWC ? u8 : f32, sizeof l->request.dims);
    return 0;
}

/* Finds out what the model takes, and asks it once: a request that can't work need not be sent a million
 * times. */
static int prepare(struct load *l) {
    struct err e = {0};
    struct clpd_result r;
    struct clpd *connection = clpctl_connect(l->c);
    if (!connection) return CLPCTL_ERROR;
    int rc = clpctl_find_model(l->c, connection, l->name, &l->model);
    if (rc == 0) {
        rc = l->image ? read_picture(l, &e) : make_picture(l, &e);
        if (rc < 0) (void)clpctl_fail(l->c, "%s", e.text);
    }
    l->request.model = l->model.name;
    l->request.top_k = 1;
    if (rc == 0) {
        rc = clpd_classify(connection, &l->request, &r);
        if (rc < 0)
            (void)clpctl_fail(l->c, "%s", clpd_error(connection));
        else if (r.status != CLPD_OK && r.status != CLPD_BUSY)
            rc = clpctl_fail(l->c, "%s: %s", clpd_status_name(r.status), r.text);
    }
    l->request.timeout_us = l->timeout_ms * 1000;
    clpd_close(connection);
    return rc ? CLPCTL_ERROR : 0;
}

static int load(struct load *l) {
    struct client *clients = calloc(l->clients, sizeof *clients);
    struct load_counts *all = calloc(1, sizeof *all);
    int rc = CLPCTL_ERROR;
    if (clients && all)
        rc = run_clients(l, clients, all);
    else
        (void)clpctl_fail(l->c, "out of memory");
    if (rc == 0) {
        const struct load_settings s = {.transport = l->transport,
                                        .model = l->model.name,
                                        .clients = l->clients,
                                        .inflight = l->inflight,
                                        .rate = l->rate,
                                        .seconds = (double)(all->finished - l->begin) / 1e9};
        if (!l->json)
            load_report_print(stdout, &l->c->out, &s, all);
        else if (report_json_put(stdout, load_report_json(&s, all)) < 0)
            rc = CLPCTL_ERROR;
        if (load_errors(all) || all->latency.total == 0) rc = CLPCTL_ERROR;
    }
    free(clients);
    free(all);
    return rc;
}

static int check_transport(struct load *l) {
    if (strcmp(l->transport, "stream") == 0) return 0;
    l->shm = strcmp(l->transport, "shm") == 0;
    if (l->shm) return 0;
    return clpctl_fail(l->c, "--transport takes stream or shm, not \"%s\"", l->transport);
}

static int run(struct clpctl *c, int argc, char **argv) {
    struct load l = {.c = c, .transport = "stream", .clients = 1, .inflight = 0, .seconds = 10};
    const struct option_spec options[] = {
        {.name = "model",
         .letter = 'm',
         .kind = OPTION_TEXT,
         .to = &l.name,
         .value = "NAME",
         .meaning = "which one; not needed where the daemon serves just one"},
        {.name = "clients",
         .letter = 'c',
         .kind = OPTION_COUNT,
         .to = &l.clients,
         .min = 1,
         .max = MAX_CLIENTS,
         .value = "N",
         .meaning = "connections, each with a thread; default 1"},
        {.name = "inflight",
         .letter = 'i',
         .kind = OPTION_COUNT,
         .to = &l.inflight,
         .min = 1,
         .max = MAX_INFLIGHT,
         .value = "N",
         .meaning = "most unanswered requests of each; default 1, with --rate 64"},
        {.name = "rate",
         .letter = 'r',
         .kind = OPTION_REAL,
         .to = &l.rate,
         .min = 0.01,
         .max = 1e7,
         .value = "R",
         .meaning = "requests a second, all together, come what may (open loop)"},
        {.name = "seconds",
         .letter = 's',
         .kind = OPTION_REAL,
         .to = &l.seconds,
         .min = 0.1,
         .max = 86400,
         .value = "S",
         .meaning = "how long; default 10"},
        {.name = "timeout",
         .kind = OPTION_COUNT,
         .to = &l.timeout_ms,
         .min = 1,
         .max = 4000000,
         .value = "MS",
         .meaning = "deadline of each request; default none"},
        {.name = "image",
         .kind = OPTION_TEXT,
         .to = &l.image,
         .value = "FILE",
         .meaning = "the picture to send; default noise"},
        {.name = "transport",
         .kind = OPTION_TEXT,
         .to = &l.transport,
         .value = "stream|shm",
         .meaning = "over what: frames on a socket, or rings in shared memory"},
        {.name = "spin",
         .kind = OPTION_COUNT,
         .to = &l.spin_us,
         .min = 1,
         .max = 1000000,
         .value = "US",
         .meaning = "over rings: how long to look before sleeping; default up to 50"},
        {.name = "json", .kind = OPTION_FLAG, .to = &l.json, .meaning = "one JSON document"},
        CLPCTL_SOCKET(c),
        {0},
    };
    int n = clpctl_parse(c, &clpctl_load, options, argc, argv, 0, 0);
    if (n < 0) return -1 - n;
    int rc = check_transport(&l);
    if (!l.inflight) l.inflight = l.rate > 0 ? 64 : 1;
    if (rc == 0) rc = prepare(&l);
    if (rc == 0) rc = load(&l);
    picture_free(&l.picture);
    return rc;
}

const struct command clpctl_load = {
    .name = "load",
    .arguments =
        "[-m NAME] [--transport stream|shm] [--clients N] [--inflight N] [--rate R] [--seconds S] [--json]",
    .summary = "Keep the daemon busy, and measure throughput, latency and errors",
    .help = "Without --rate each client keeps --inflight requests unanswered (closed loop). With --rate the\n"
            "requests have their times, and latency counts from those. A BUSY answer is counted apart and\n"
            "tried again after 1 ms. Over shared memory the tensor is written into the slots once. Exit "
            "status: 0 no errors, 2 errors.\n\n"
            "Example:\n"
            "  clpctl load -m signs --clients 4 --inflight 8 --seconds 30\n"
            "  clpctl load -m signs --rate 200 --seconds 60 --json\n",
    .run = run,
};
