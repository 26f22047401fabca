/* Connections: the only file that knows libmicrohttpd.
 *
 *   one thread:  epoll( libmicrohttpd's own epoll | lines to the loop | picture decoders | a wake-up )
 *                  -> MHD_run -> on_request: 1 head  2 body, in pieces  3 whole: http_handle
 *                                            4 suspended until the answer is there  5 answered
 *
 * libmicrohttpd limits the inactivity of a connection, not the time that it takes: one byte a
 * second would hold a place for ever. So each connection has a time limit for each thing
 * that it waits for, kept here: the next request's head, its body, the taking of the answer. */
#include "daemon/http_internal.h"

#include "daemon/http_picture.h"
#include "daemon/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS      64
#define SWEEP_EVERY 500000000u
#define HURRY       1000000000u /* an idle connection's time when all places are taken */
#define LAST_WORDS  2000000000u /* for answers to go out when the daemon stops */

enum peer_state { PEER_WAITS, PEER_SENDS, PEER_IS_SERVED, PEER_RECEIVES };

struct http_peer { /* a connection */
    struct http_plane *plane;
    enum peer_state state;
    uint64_t since;
    int fd;
    struct http_peer *next, *previous;
};

struct http_daemons { /* one for each listening socket */
    struct {
        struct http_source source; /* first */
        struct MHD_Daemon *mhd;
        bool due;
    } of[2];
    uint32_t n;
    struct http_peer *peers;
    uint32_t n_peers;
};

static void set_state(struct http_peer *p, enum peer_state to) {
    p->state = to;
    p->since = loop_clock();
}

int http_watch(struct http_plane *p, int fd, struct http_source *s) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = s};
    s->plane = p;
    return epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

/* --- an exchange's beginning and end ------------------------------------------------------ */

static struct http_exchange *new_exchange(struct http_plane *p, struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_exchange *x = calloc(1, sizeof *x);
    if (!x || !i || !i->socket_context) {
        free(x);
        return NULL;
    }
    x->plane = p;
    x->connection = c;
    x->peer = i->socket_context;
    x->header_bytes = HTTP_NO_HEADER;
    x->next = p->exchanges;
    if (x->next) x->next->previous = x;
    p->exchanges = x;
    (void)atomic_fetch_add(&p->all->under_way, 1);
    return x;
}

static void free_exchange(struct http_exchange *x) {
    struct http_plane *p = x->plane;
    if (x->line) http_line_drop(x->line);
    if (x->job) picture_job_drop(x->job);
    if (x->previous)
        x->previous->next = x->next;
    else
        p->exchanges = x->next;
    if (x->next) x->next->previous = x->previous;
    (void)atomic_fetch_sub_explicit(&p->all->held, x->held, memory_order_relaxed);
    if (x->lent)
        lent_put(x->lent);
    else
        free(x->memory);
    free(x->answer);
    free(x);
    (void)atomic_fetch_sub(&p->all->under_way, 1);
}

void http_resume(struct http_exchange *x) {
    if (x->state != HTTP_WORKING) return;
    x->state = HTTP_ANSWERED;
    MHD_resume_connection(x->connection);
    struct http_daemons *d = x->plane->daemons;
    for (uint32_t i = 0; i < d->n; i++) d->of[i].due = true;
}

/* What is under way for it is cancelled where it still waits, and nobody hears what it would have been. */
static void give_up(struct http_exchange *x, const char *why) {
    if (x->line) http_line_drop(x->line);
    if (x->job) picture_job_drop(x->job);
    x->job = NULL;
    http_fail(x, 503, "%s", why);
    http_resume(x);
}

/* --- the answer goes out ------------------------------------------------------------------ */

static void add_headers(struct MHD_Response *r, const struct http_exchange *x) {
    char text[24];
    (void)MHD_add_response_header(r, "Content-Type", x->type);
    (void)MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (x->answer_header != HTTP_NO_HEADER) {
        (void)snprintf(text, sizeof text, "%lld", (long long)x->answer_header);
        (void)MHD_add_response_header(r, "Inference-Header-Content-Length", text);
    }
    if (x->status == 405) (void)MHD_add_response_header(r, "Allow", x->route.methods);
    if (x->status == 503) (void)MHD_add_response_header(r, "Retry-After", "1");
    if (strcmp(x->type, HTTP_HTML) == 0) {
        (void)MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
        (void)MHD_add_response_header(r, "Cache-Control", "no-store");
        (void)MHD_add_response_header(
            r, "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
            "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; "
            "form-action 'none'");
    }
}

static enum MHD_Result respond(struct http_exchange *x) {
    struct http *h = x->plane->all;
    char *text = x->answer ? x->answer : strdup("");
    struct MHD_Response *r =
        text ? MHD_create_response_from_buffer_with_free_callback(x->answer_bytes, text, free) : NULL;
    if (!r) {
        if (!x->answer) free(text);
        return MHD_NO;
    }
    x->answer = NULL;
    (void)atomic_fetch_add_explicit(&h->requests, 1, memory_order_relaxed);
    if (x->status >= 400)
        (void)atomic_fetch_add_explicit(&h->failures[x->status / 100], 1, memory_order_relaxed);
    add_headers(r, x);
    set_state(x->peer, PEER_RECEIVES);
    x->state = HTTP_ANSWERED;
    const enum MHD_Result rc = MHD_queue_response(x->connection, x->status, r);
    MHD_destroy_response(r);
    return rc;
}

/* --- the body comes in ----------------------------------------------------------------------- */

/* A number in decimal; false: it is none. */
static bool read_number(const char *text, uint64_t *out) {
    uint64_t v = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++)
        if (p - text >= 18)
            return false;
        else
            v = v * 10 + (uint64_t)(*p - '0');
    *out = v;
    return p > text && !*p;
}

static void check_headers(struct http_exchange *x) {
    const char *header =
        MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Inference-Header-Content-Length");
    const char *length = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Content-Length");
    const char *coding = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Content-Encoding");
    const char *k = MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, "k");
    uint64_t n = 0;
    if (header && !read_number(header, &n))
        http_fail(x, 400, "Inference-Header-Content-Length is no number");
    else if (header)
        x->header_bytes = (int64_t)n;
    if (coding && strcmp(coding, "identity") != 0)
        http_fail(x, 400, "bodies with a Content-Encoding are not taken: send it as it is");
    if (length && read_number(length, &n) && n > x->most)
        http_fail(x, 413, "the body is larger than %zu bytes", x->most);
    else if (length && x->status == 0 && n > 0)
        (void)http_body_grow(x, n);
    x->top_k = 5;
    if (k && (!read_number(k, &n) || n == 0 || n > CLPD_MAX_TOP_K))
        http_fail(x, 400, "k is a number from 1 to %d", CLPD_MAX_TOP_K);
    else if (k)
        x->top_k = (uint32_t)n;
}

/* Whether a refusal goes out before the body has come in, which costs the connection: where the client waits
 * to hear, or is about to send far too much. Others would find a closed socket before they find the answer.
 */
static bool answers_at_once(const struct http_exchange *x) {
    const char *length = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Content-Length");
    uint64_t n = 0;
    if (!x->status) return false;
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Expect") ||
           (length && (!read_number(length, &n) || n > HTTP_DROPPED * x->most));
}

/* The head is here. */
static enum MHD_Result begin(struct http_plane *p, struct MHD_Connection *c, const char *method,
                             const char *path, void **context) {
    struct http_exchange *x = new_exchange(p, c);
    if (!x) return MHD_NO;
    *context = x;
    set_state(x->peer, PEER_SENDS);
    http_route_find(method, path, &x->route);
    x->most = http_body_most(x);
    if (x->route.what == HTTP_NOTHING)
        http_fail(x, 404, "there is nothing at this path");
    else if (!x->route.allowed)
        http_fail(x, 405, "this path takes %s", x->route.methods);
    else
        check_headers(x);
    return answers_at_once(x) ? respond(x) : MHD_YES;
}

static enum MHD_Result on_request(void *owner, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *bytes, size_t *n, void **context) {
    struct http_exchange *x = *context;
    (void)version;
    if (!x) return begin(owner, c, method, path, context);
    if (*n) {
        const bool go_on = http_body_take(x, x->peer->fd, bytes, *n);
        *n = 0;
        return go_on ? MHD_YES : MHD_NO;
    }
    if (x->status == 0 && x->state == HTTP_RECEIVING) {
        set_state(x->peer, PEER_IS_SERVED);
        http_handle(x);
        if (x->state == HTTP_WORKING) {
            MHD_suspend_connection(c);
            return MHD_YES;
        }
    }
    if (x->status == 0) http_fail(x, 500, "no answer was made");
    return respond(x);
}

/* --- libmicrohttpd's calls ----------------------------------------------------------------- */

static void on_completed(void *owner, struct MHD_Connection *c, void **context,
                         enum MHD_RequestTerminationCode code) {
    struct http_exchange *x = *context;
    (void)owner;
    (void)c;
    (void)code;
    if (!x) return;
    set_state(x->peer, PEER_WAITS);
    free_exchange(x);
    *context = NULL;
}

static void on_connection(void *owner, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct http_plane *p = owner;
    struct http_daemons *d = p->daemons;
    struct http_peer *peer = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        peer = calloc(1, sizeof *peer);
        *context = peer;
        if (!peer) return; /* its requests are refused */
        *peer = (struct http_peer){.plane = p, .fd = i ? i->connect_fd : -1, .next = d->peers};
        if (d->peers) d->peers->previous = peer;
        d->peers = peer;
        d->n_peers++;
        (void)atomic_fetch_add_explicit(&p->all->connections, 1, memory_order_relaxed);
        set_state(peer, PEER_WAITS);
    } else if (peer) {
        if (peer->previous)
            peer->previous->next = peer->next;
        else
            d->peers = peer->next;
        if (peer->next) peer->next->previous = peer->previous;
        d->n_peers--;
        (void)atomic_fetch_sub_explicit(&p->all->connections, 1, memory_order_relaxed);
        free(peer);
        *context = NULL;
    }
}

static void on_log(void *owner, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_log(void *owner, const char *fmt, va_list ap) {
    char text[256];
    (void)owner;
    (void)vsnprintf(text, sizeof text, fmt, ap);
    log_debug("http: %s", text);
}

/* --- time ------------------------------------------------------------------------------------ */

/* What a connection may take for what it does now, 0: any time. */
static uint64_t limit_of(const struct http_peer *peer, const struct config *c, bool full) {
    switch (peer->state) {
    case PEER_WAITS: return full ? HURRY : c->http_idle_s * 1000000000ull;
    case PEER_SENDS: return c->http_receive_s * 1000000000ull;
    case PEER_RECEIVES: return c->http_send_s * 1000000000ull;
    case PEER_IS_SERVED: break; /* the daemon's time, not the client's */
    }
    return 0;
}

/* A connection that waits for its answer is not looked at by libmicrohttpd. One that was closed altogether
 * has nobody left who would read the answer; one that will only send no more has. (Over TCP the two look the
 * same until something is sent.) Looking twice a second costs a request nothing that is faster. */
static void drop_the_forsaken(struct http_plane *p) {
    for (struct http_exchange *x = p->exchanges; x; x = x->next) {
        struct pollfd f = {.fd = x->peer->fd};
        if (x->state != HTTP_WORKING || poll(&f, 1, 0) <= 0 || !(f.revents & (POLLHUP | POLLERR))) continue;
        log_debug("http: a client left while its request was under way");
        give_up(x, "the client is gone");
    }
}

/* A socket that is shut down is closed by libmicrohttpd when it next looks. */
static void sweep(struct http_plane *p, uint64_t now) {
    struct http_daemons *d = p->daemons;
    const struct config *c = p->all->config;
    const bool full = atomic_load_explicit(&p->all->connections, memory_order_relaxed) >= c->http_connections;
    for (struct http_peer *peer = d->peers; peer; peer = peer->next) {
        const uint64_t limit = limit_of(peer, c, full);
        if (!limit || now - peer->since < limit) continue;
        if (peer->state == PEER_SENDS)
            http_last_word(peer->fd, 408, "Request Timeout",
                           "the request took too long to arrive (http.receive_s)");
        log_debug("http: a connection is closed: it took too long to %s", peer->state == PEER_WAITS ? "ask"
                                                                          : peer->state == PEER_SENDS
                                                                              ? "send"
                                                                              : "take its answer");
        (void)shutdown(peer->fd, SHUT_RDWR);
        peer->since = now;
    }
    drop_the_forsaken(p);
    picture_pool_sweep(p->pictures, now);
    for (uint32_t i = 0; i < d->n; i++) d->of[i].due = true;
    p->next_sweep = now + SWEEP_EVERY;
}

/* --- the thread -------------------------------------------------------------------------------- */

static void on_mhd(struct http_source *s) {
    struct http_daemons *d = s->plane->daemons;
    for (uint32_t i = 0; i < d->n; i++)
        if (&d->of[i].source == s) d->of[i].due = true;
}

static void on_woken(struct http_source *s) {
    uint64_t n;
    const ssize_t got = read(s->plane->wake, &n, sizeof n);
    (void)got;
}

/* Milliseconds until something is due. */
static int patience(struct http_plane *p, uint64_t now) {
    struct http_daemons *d = p->daemons;
    uint64_t ms = p->next_sweep > now ? (p->next_sweep - now) / 1000000u + 1 : 0;
    for (uint32_t i = 0; i < d->n; i++) {
        MHD_UNSIGNED_LONG_LONG left;
        if (d->of[i].due) return 0;
        if (MHD_get_timeout(d->of[i].mhd, &left) == MHD_YES && left == 0) {
            d->of[i].due = true;
            return 0;
        }
    }
    return (int)ms;
}

static void turn(struct http_plane *p) {
    struct epoll_event events[EVENTS];
    struct http_daemons *d = p->daemons;
    const int n = epoll_wait(p->epoll, events, EVENTS, patience(p, loop_clock()));
    for (int i = 0; i < n; i++) {
        struct http_source *s = events[i].data.ptr;
        s->ready(s);
    }
    const uint64_t now = loop_clock();
    if (now >= p->next_sweep) sweep(p, now);
    for (uint32_t i = 0; i < d->n; i++) {
        if (!d->of[i].due) continue;
        d->of[i].due = false;
        (void)MHD_run(d->of[i].mhd);
    }
}

/* What is under way is told; then nothing is suspended any more, as MHD_stop_daemon wants it. */
static void wind_up(struct http_plane *p) {
    const uint64_t until = loop_clock() + LAST_WORDS;
    for (struct http_exchange *x = p->exchanges; x; x = x->next)
        if (x->state == HTTP_WORKING) give_up(x, "the daemon is stopping");
    while (p->exchanges && loop_clock() < until) {
        bool unsent = false;
        turn(p);
        for (const struct http_exchange *x = p->exchanges; x; x = x->next)
            unsent |= x->state == HTTP_ANSWERED;
        if (!unsent) break;
    }
}

static void stop_listening(struct MHD_Daemon *mhd) {
    const int fd = MHD_quiesce_daemon(mhd); /* ours again */
    if (fd >= 0) (void)close(fd);
}

static void *run(void *owner) {
    struct http_plane *p = owner;
    bool quiet = false;
    while (!atomic_load(&p->all->stopping)) {
        turn(p);
        if (quiet || !atomic_load(&p->all->draining)) continue;
        quiet = true;
        for (uint32_t i = 0; i < p->daemons->n; i++) stop_listening(p->daemons->of[i].mhd);
    }
    wind_up(p);
    (void)atomic_fetch_sub(&p->all->running, 1);
    return NULL;
}

/* --- beginning and end ------------------------------------------------------------------------------ */

static int open_daemon(struct http_plane *p, int listen_fd, struct err *e) {
    struct http_daemons *d = p->daemons;
    const struct config *c = p->all->config;
    const uint32_t most = (c->http_connections + p->all->n_planes - 1) / p->all->n_planes;
    d->of[d->n].source.ready = on_mhd;
    d->of[d->n].mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, p,
        MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, most, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)c->http_header_bytes,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, p,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (!d->of[d->n].mhd) {
        (void)close(listen_fd);
        return err_set(e, ERR_SYSTEM, "libmicrohttpd does not start on the HTTP socket");
    }
    const union MHD_DaemonInfo *i = MHD_get_daemon_info(d->of[d->n].mhd, MHD_DAEMON_INFO_EPOLL_FD);
    d->of[d->n].due = true;
    const int rc = i ? http_watch(p, i->epoll_fd, &d->of[d->n].source) : -ENOSYS;
    d->n++;
    return rc ? err_set(e, ERR_SYSTEM, "watching HTTP connections: %s", strerror(-rc)) : 0;
}

/* Each daemon closes its listening socket at its end, so it gets one of its own. */
static int open_daemons(struct http_plane *p, struct err *e) {
    const int fds[2] = {p->all->options.unix_fd, p->all->options.tcp_fd};
    for (int i = 0; i < 2; i++) {
        if (fds[i] < 0) continue;
        const int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        if (fd < 0) return err_set(e, ERR_SYSTEM, "HTTP socket: %s", strerror(errno));
        if (open_daemon(p, fd, e)) return -1;
    }
    return 0;
}

static int open_plane(struct http_plane *p, struct err *e) {
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->daemons = calloc(1, sizeof *p->daemons);
    p->woken.ready = on_woken;
    if (p->epoll < 0 || p->wake < 0 || !p->daemons)
        return err_set(e, ERR_SYSTEM, "HTTP: %s", strerror(errno));
    int rc = http_watch(p, p->wake, &p->woken);
    if (rc) return err_set(e, ERR_SYSTEM, "HTTP: watching an eventfd: %s", strerror(-rc));
    p->pictures = picture_pool_new(p, e);
    if (!p->pictures || open_daemons(p, e)) return -1;
    p->next_sweep = loop_clock() + SWEEP_EVERY;
    (void)atomic_fetch_add(&p->all->running, 1);
    rc = pthread_create(&p->thread, NULL, run, p);
    if (rc) (void)atomic_fetch_sub(&p->all->running, 1);
    if (rc) return err_set(e, ERR_SYSTEM, "starting an HTTP thread: %s", strerror(rc));
    p->started = true;
    (void)pthread_setname_np(p->thread, "clpd-http");
    return 0;
}

struct http *http_start(const struct http_options *o, struct err *e) {
    const uint32_t n = o->config->http_threads;
    struct http *h = calloc(1, sizeof *h + n * sizeof *h->planes);
    if (!h) {
        (void)err_set(e, ERR_SYSTEM, "out of memory for HTTP");
        return NULL;
    }
    h->options = *o;
    h->config = o->config;
    h->server = o->server;
    h->catalogue = o->catalogue;
    h->n_planes = n;
    for (uint32_t i = 0; i < n; i++) {
        h->planes[i].all = h;
        h->planes[i].epoll = h->planes[i].wake = -1;
    }
    for (uint32_t i = 0; i < n; i++)
        if (open_plane(&h->planes[i], e)) {
            http_free(h);
            return NULL;
        }
    return h;
}

struct old_config {
    struct config config;
    struct old_config *next;
};

int http_reconfigure(struct http *h, const struct config *fresh) {
    struct old_config *o = h ? malloc(sizeof *o) : NULL;
    if (!o) return h ? -ENOMEM : 0;
    struct config *c = &o->config;
    *c = *h->config; /* sockets, threads and what libmicrohttpd was told stay */
    c->http_inflight = fresh->http_inflight;
    c->http_body_bytes = fresh->http_body_bytes;
    c->http_memory = fresh->http_memory;
    c->http_idle_s = fresh->http_idle_s;
    c->http_receive_s = fresh->http_receive_s;
    c->http_send_s = fresh->http_send_s;
    c->http_pictures = fresh->http_pictures;
    c->http_picture_bytes = fresh->http_picture_bytes;
    c->http_picture_s = fresh->http_picture_s;
    c->http_picture_memory = fresh->http_picture_memory;
    o->next = h->configs;
    h->configs = o;
    h->config = c;
    return 0;
}

static void wake_all(struct http *h) {
    const uint64_t one = 1;
    for (uint32_t i = 0; i < h->n_planes; i++) {
        const ssize_t n = h->planes[i].wake >= 0 ? write(h->planes[i].wake, &one, sizeof one) : 0;
        (void)n;
    }
}

void http_drain(struct http *h) {
    if (!h) return;
    atomic_store(&h->draining, true);
    wake_all(h);
}

bool http_is_drained(const struct http *h) {
    return !h || atomic_load(&h->under_way) == 0;
}

void http_stop(struct http *h) {
    if (!h) return;
    atomic_store(&h->stopping, true);
    wake_all(h);
}

bool http_is_stopped(const struct http *h) {
    return !h || atomic_load(&h->running) == 0;
}

static void join_all(struct http *h) {
    for (uint32_t i = 0; i < h->n_planes; i++) {
        if (h->planes[i].started) (void)pthread_join(h->planes[i].thread, NULL);
        h->planes[i].started = false;
    }
}

static void close_plane(struct http_plane *p) {
    for (uint32_t i = 0; p->daemons && i < p->daemons->n; i++) MHD_stop_daemon(p->daemons->of[i].mhd);
    http_line_close_all(p);
    picture_pool_free(p->pictures);
    if (p->wake >= 0) (void)close(p->wake);
    if (p->epoll >= 0) (void)close(p->epoll);
    free(p->daemons);
}

void http_free(struct http *h) {
    if (!h) return;
    http_stop(h);
    join_all(h);
    for (uint32_t i = 0; i < h->n_planes; i++) close_plane(&h->planes[i]);
    while (h->configs) {
        struct old_config *o = h->configs;
        h->configs = o->next;
        free(o);
    }
    free(h);
}
