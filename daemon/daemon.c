/* Start, signals, reload, stop.
 *
 *   STARTING   connections wait in the listening sockets until what was kept serves again, or for two
 *              seconds: who asks a restarted daemon is not told NO_MODEL. READY=1 comes once the guard has
 *              settled, or after five seconds: a slow import must not keep the unit from starting.
 *
 *   SERVING
 *
 *   DRAINING   the socket is closed and removed; what waits is told, what runs is finished: 5 s at most
 *
 *   CLOSING    connections end; then threads, memory, the guard
 */
#include "daemon/daemon.h"

#include "daemon/daemon_internal.h"
#include "daemon/descriptors.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/status.h"
#include "infer/blas.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define READY_AFTER     5000000000u
#define DOOR_AFTER      2000000000u
#define DRAIN_LIMIT     5000000000u
#define CLOSE_LIMIT     2000000000u
#define DRAIN_LOOK      5000000u
#define STATUS_TEXT     256
#define MODELS_TEXT_AGE 100000000u /* 0.1 s: what it counts may be that old; what it lists may not */

static void set_state(struct daemon *d, enum state to) {
    static const char *const names[] = {"starting", "serving", "draining", "closing"};
    assert(to > d->state);
    log_debug("daemon: %s -> %s", names[d->state], names[to]);
    d->state = to;
}

/* --- what systemd and people are told ------------------------------------------------------ */

static const char *status_line(const struct daemon *d, char *buf, size_t room) {
    const uint32_t n = models_count(d->models);
    (void)snprintf(buf, room, "Serving %u model%s over %s; guard %s", n, n == 1 ? "" : "s",
                   loop_backend(d->loop), d->guard ? guard_child_state(d->guard) : "starting");
    return buf;
}

void daemon_tell_status(const struct daemon *d) {
    char line[STATUS_TEXT];
    if (d->state == SERVING) notify_status(status_line(d, line, sizeof line));
}

static int start_http(struct daemon *d, struct err *e) {
    if (d->http_sockets.unix_fd < 0 && d->http_sockets.tcp_fd < 0) return 0;
    const struct http_options o = {.config = &d->config,
                                   .server = &d->server,
                                   .catalogue = d->catalogue,
                                   .guard_path = d->guard_path,
                                   .unix_fd = d->http_sockets.unix_fd,
                                   .tcp_fd = d->http_sockets.tcp_fd,
                                   .started_ns = d->started_ns};
    d->http = http_start(&o, e);
    return d->http ? 0 : -1;
}

void daemon_open_door(void *owner) {
    struct daemon *d = owner;
    if (d->is_open || d->state >= DRAINING) return;
    loop_timer_stop(d->loop, &d->door);
    d->is_open = true;
    if (server_listen(&d->server, d->listen_fd, &d->failure) || start_http(d, &d->failure))
        loop_stop(d->loop);
}

void daemon_become_ready(void *owner) {
    struct daemon *d = owner;
    char line[STATUS_TEXT];
    if (d->state != STARTING) return;
    daemon_open_door(d);
    set_state(d, SERVING);
    loop_timer_stop(d->loop, &d->ready);
    catalogue_publish(d->catalogue, d->models, true);
    notify_ready(status_line(d, line, sizeof line));
    log_info("ready after %" PRIu64 " ms: %u models, %u workers, %s",
             (loop_clock() - d->started_ns) / 1000000u, models_count(d->models), workers_count(d->workers),
             loop_backend(d->loop));
}

static void feed_watchdog(void *owner) {
    struct daemon *d = owner;
    const uint64_t now = loop_now(d->loop);
    const bool stuck = !workers_call_roll(d->workers, now);
    if (stuck && !d->stuck) log_error("a worker makes no progress any more: the watchdog is no longer fed");
    d->stuck = stuck;
    if (!stuck) notify_alive();
    loop_timer_set(d->loop, &d->watchdog, now + d->watchdog_period, feed_watchdog, d);
}

/* A flood of questions must not cost a document each: one of thousands of files takes milliseconds. */
static char *describe_models(struct daemon *d, const struct status_facts *f, size_t *bytes) {
    const uint64_t now = loop_clock();
    if (!d->models_text || d->models_text_at + MODELS_TEXT_AGE < now) {
        free(d->models_text);
        d->models_text = status_models_text(f, &d->models_bytes);
        d->models_text_at = now;
    }
    char *copy = d->models_text ? malloc(d->models_bytes + 1) : NULL;
    if (copy) memcpy(copy, d->models_text, d->models_bytes + 1);
    *bytes = d->models_bytes;
    return copy;
}

void daemon_forget_models_text(struct daemon *d) {
    free(d->models_text);
    d->models_text = NULL;
}

static char *describe(void *owner, uint8_t type, size_t *bytes) {
    struct daemon *d = owner;
    const struct status_facts f = {.server = &d->server,
                                   .models = d->models,
                                   .workers = d->workers,
                                   .files = &d->files,
                                   .io_backend = loop_backend(d->loop),
                                   .guard_state = d->guard ? guard_child_state(d->guard) : "down",
                                   .guard_watching = d->guard ? guard_child_watching(d->guard) : "",
                                   .guard_restarts = d->guard ? guard_child_restarts(d->guard) : 0,
                                   .started_ns = d->started_ns,
                                   .max_batch = d->config.engine_max_batch};
    return type == CLPD_STATUS ? status_text(&f, bytes) : describe_models(d, &f, bytes);
}

/* --- signals --------------------------------------------------------------------------------------- */

/* What a running daemon can't change is said, so that nobody waits for it. */
static void say_what_needs_restart(void *arg, const char *key) {
    static const char *const taken[] = {
        "log.level",     "limits.connections",      "limits.inflight", "limits.user_queue",
        "limits.idle_s", "limits.user_connections", "http.idle_s",     "http.receive_s",
        "http.send_s",   "http.inflight",           "http.body_bytes", "http.memory",
        "http.pictures", "http.picture_bytes",      "http.picture_s",  "http.picture_memory"};
    (void)arg;
    if (strncmp(key, "guard.", 6) == 0) return;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(key, taken[i]) == 0) return;
    log_warning("%s has changed: that needs a restart", key);
}

/* What one user may have of `all`. */
static uint32_t share(uint32_t configured, uint32_t all) {
    return configured ? configured : all - all / 4;
}

/* Of the limits those that nothing was made for at the start. */
static void take_limits(struct daemon *d, const struct config *fresh) {
    struct server_limits *l = &d->server.limits;
    if (fresh->limit_connections > d->config.limit_connections)
        log_warning("limits.connections has grown: that needs a restart");
    else
        l->connections = fresh->limit_connections;
    l->inflight = fresh->limit_inflight;
    l->user_connections = share(fresh->limit_user_connections, l->connections);
    l->user_queue = share(fresh->limit_user_queue, d->config.limit_queue);
    l->idle_ns = fresh->limit_idle_s * UINT64_C(1000000000);
}

/* Limits and times are taken at once; guard.* by the guard. */
static void reload(struct daemon *d) {
    struct config fresh;
    struct err e = {0};
    char line[STATUS_TEXT];
    notify_reloading();
    if (config_load(&fresh, d->config_path, &e)) {
        log_error("the configuration stays as it was: %s", e.text);
    } else {
        config_differences(&d->config, &fresh, say_what_needs_restart, NULL);
        take_limits(d, &fresh);
        if (http_reconfigure(d->http, &fresh)) log_error("HTTP keeps its limits: out of memory");
        log_set_level(fresh.log_level);
        guard_child_set_silence(d->guard, fresh.guard_silence_s * UINT64_C(1000000000));
        const struct link_message m = {.type = LINK_RELOAD};
        guard_child_send(d->guard, &m);
        log_info("configuration read again");
    }
    notify_ready(status_line(d, line, sizeof line));
}

static void look_if_drained(void *owner) {
    struct daemon *d = owner;
    const uint64_t now = loop_now(d->loop);
    if ((server_is_drained(&d->server) && http_is_drained(d->http)) || now >= d->stop_at)
        loop_stop(d->loop);
    else
        loop_timer_set(d->loop, &d->drain, now + DRAIN_LOOK, look_if_drained, d);
}

static void begin_stop(struct daemon *d) {
    if (d->state >= DRAINING) { /* a second signal: someone is in a hurry */
        d->stop_at = 0;
        return;
    }
    set_state(d, DRAINING);
    daemon_drop_controls(d, "the daemon is stopping");
    notify_stopping();
    log_info("stopping: what runs is finished; %u requests are in the house", workers_queued(d->workers));
    socket_file_remove(&d->socket);
    http_sockets_close(&d->http_sockets);
    http_drain(d->http);
    server_drain(&d->server);
    guard_child_stop(d->guard);
    loop_timer_stop(d->loop, &d->door);
    loop_timer_stop(d->loop, &d->ready);
    d->stop_at = loop_now(d->loop) + DRAIN_LIMIT;
    look_if_drained(d);
}

static void on_signal(void *owner) {
    struct daemon *d = owner;
    struct signalfd_siginfo s;
    while (read(d->signals, &s, sizeof s) == (ssize_t)sizeof s) {
        if (s.ssi_signo == SIGHUP)
            reload(d);
        else
            begin_stop(d);
    }
}

/* --- start -------------------------------------------------------------------------------------------- */

/* Before any thread exists: all inherit the mask. */
static int open_signals(struct daemon *d, struct err *e) {
    sigset_t set;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL)) return err_set(e, ERR_SYSTEM, "sigprocmask: %s", strerror(errno));
    d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return d->signals < 0 ? err_set(e, ERR_SYSTEM, "signalfd: %s", strerror(errno)) : 0;
}

static int open_socket(struct daemon *d, struct err *e) {
    const struct config *c = &d->config;
    struct notify_sockets passed;
    const int rc = notify_passed_sockets(&passed, e);
    store_open(&d->store, passed.kept, passed.n_kept);
    if (rc) return -1;
    d->http_sockets.unix_fd = passed.http_unix;
    d->http_sockets.tcp_fd = passed.http_tcp;
    d->listen_fd = passed.stream;
    if (d->listen_fd >= 0) {
        log_info("serving on the socket that systemd passed; socket.path is not used");
        d->http_sockets.units_decide = true;
        return 0;
    }
    d->listen_fd =
        store_listen(&d->store, "stream", &d->socket, c->socket_path, c->socket_mode, c->socket_group, e);
    return d->listen_fd < 0 ? -1 : 0;
}

static int open_parts(struct daemon *d, struct err *e) {
    const struct config *c = &d->config;
    const struct workers_options o = {.threads = c->engine_threads,
                                      .together = c->engine_together,
                                      .pin = c->engine_pin,
                                      .max_batch = c->engine_max_batch,
                                      .limit = c->limit_queue,
                                      .spin_ns = (uint64_t)c->io_spin_us * 1000};
    const struct server_limits limits = {.connections = c->limit_connections,
                                         .inflight = c->limit_inflight,
                                         .request_bytes = c->limit_request_bytes,
                                         .user_connections =
                                             share(c->limit_user_connections, c->limit_connections),
                                         .user_queue = share(c->limit_user_queue, c->limit_queue),
                                         .idle_ns = (uint64_t)c->limit_idle_s * 1000000000u,
                                         .rings = c->limit_rings,
                                         .ring_bytes = c->limit_ring_bytes};
    const struct models_calls calls = daemon_models_calls(d);
    d->catalogue = catalogue_new();
    if (!d->catalogue) return err_set(e, ERR_SYSTEM, "out of memory for the list of models");
    const enum loop_kind kinds[] = {[IO_BACKEND_AUTO] = LOOP_ANY,
                                    [IO_BACKEND_IO_URING] = c->io_sqpoll ? LOOP_SQPOLL : LOOP_URING,
                                    [IO_BACKEND_EPOLL] = LOOP_EPOLL};
    const enum io_backend backend =
        c->io_sqpoll && c->io_backend == IO_BACKEND_AUTO ? IO_BACKEND_IO_URING : c->io_backend;
    d->loop = loop_new(kinds[backend], c->limit_connections, e);
    if (!d->loop) return -1;
    if (c->io_backend == IO_BACKEND_EPOLL)
        log_info("serving over epoll, as io.backend says");
    else if (loop_refusal(d->loop)[0])
        log_warning("serving over epoll: %s", loop_refusal(d->loop));
    d->workers = workers_start(&o, models_current, e);
    if (!d->workers) return -1;
    d->models = models_open(d->loop, d->workers, c->engine_max_batch, c->limit_request_bytes, &calls, e);
    if (!d->models) return -1;
    if (server_open(&d->server, d->loop, d->workers, d->models, c->limit_queue, &limits, e) ||
        blas_reserve(workers_count(d->workers) + 1, e)) /* the loop runs small ones itself */
        return -1;
    d->server.describe = describe;
    d->server.describe_owner = d;
    d->server.control = daemon_on_control;
    int rc = loop_watch(d->loop, d->signals, on_signal, d, &d->signal_watch);
    return rc ? err_set(e, ERR_SYSTEM, "watching signals: %s", strerror(-rc)) : 0;
}

static int start(struct daemon *d, struct err *e) {
    const struct guard_child_calls calls = daemon_guard_calls(d);
    /* Clients must not use up what the guard's offers arrive by. */
    d->config.limit_connections = descriptors_make_room(&d->config);
    d->guard_path = guard_child_find(e);
    if (!d->guard_path || open_signals(d, e) || open_socket(d, e) || open_parts(d, e) ||
        http_sockets_open(&d->http_sockets, &d->store, &d->config, e))
        return -1;
    daemon_take_inheritance(d);
    d->guard = guard_child_start(d->loop, d->guard_path, d->config_path, &calls);
    if (!d->guard) return err_set(e, ERR_SYSTEM, "out of memory for the guard");
    loop_timer_set(d->loop, &d->door, loop_clock() + DOOR_AFTER, daemon_open_door, d);
    guard_child_set_silence(d->guard, d->config.guard_silence_s * UINT64_C(1000000000));
    loop_timer_set(d->loop, &d->ready, loop_clock() + READY_AFTER, daemon_become_ready, d);
    d->watchdog_period = notify_watchdog_period();
    if (d->watchdog_period) feed_watchdog(d);
    return 0;
}

/* --- stop ---------------------------------------------------------------------------------------------- */

/* A computation can't be interrupted, and nobody waits for its answer any more:
 * the process ends under it. Destructors would take memory from under the workers. */
static void leave_at_once(struct daemon *d) {
    log_warning("a computation goes on (%u requests in the house): stopping without it",
                workers_queued(d->workers));
    guard_child_free(d->guard);
    socket_file_remove(&d->socket);
    http_sockets_remove(&d->http_sockets);
    _exit(0);
}

/* Threads first, then what they used. Requests that were still in a worker's hands come back as posts. */
static void close_all(struct daemon *d) {
    const uint64_t limit = loop_clock() + CLOSE_LIMIT;
    if (d->loop) {
        loop_timer_stop(d->loop, &d->door);
        loop_timer_stop(d->loop, &d->ready);
        loop_timer_stop(d->loop, &d->watchdog);
        loop_timer_stop(d->loop, &d->drain);
    }
    if (d->guard) guard_child_stop(d->guard);
    http_stop(d->http);
    while (d->loop && !http_is_stopped(d->http) && loop_clock() < limit)
        if (loop_turn(d->loop, DRAIN_LOOK)) break;
    if (d->server.loop && !d->server.draining) server_drain(&d->server);
    if (models_stop(d->models, limit)) leave_at_once(d); /* a model is being warmed, slowly */
    if (d->loop) (void)loop_turn(d->loop, 0);            /* what the loader has posted needs the workers */
    if (d->server.loop)
        while (!server_close_connections(&d->server) && loop_clock() < limit)
            if (loop_turn(d->loop, DRAIN_LOOK)) break;
    while (d->loop && d->workers && workers_queued(d->workers) && loop_clock() < limit)
        if (loop_turn(d->loop, DRAIN_LOOK)) break;
    if (d->workers && workers_queued(d->workers)) leave_at_once(d);
    workers_stop(d->workers);
    while (d->server.loop && !server_close_connections(&d->server) && loop_turn(d->loop, DRAIN_LOOK) == 0) {}
    while (d->guard && !guard_child_is_stopped(d->guard) && loop_clock() < limit)
        if (loop_turn(d->loop, DRAIN_LOOK)) break;
    if (d->loop) (void)loop_turn(d->loop, 0); /* the last posts */
    guard_child_free(d->guard);
    server_close(&d->server);
    http_free(d->http);
    catalogue_free(d->catalogue);
    models_close(d->models);
    loop_free(d->loop);
    socket_file_remove(&d->socket);
    http_sockets_close(&d->http_sockets);
    if (d->listen_fd >= 0) (void)close(d->listen_fd);
    if (d->signals >= 0) (void)close(d->signals);
    store_close(&d->store);
    free(d->models_text);
    file_table_clear(&d->files);
    free(d->guard_path);
}

int daemon_run(const char *config_path, const struct config *config, struct err *e) {
    struct daemon *d = calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_SYSTEM, "out of memory");
    d->config_path = config_path;
    d->config = *config;
    d->listen_fd = d->signals = -1;
    d->http_sockets.unix_fd = d->http_sockets.tcp_fd = -1;
    d->started_ns = loop_clock();
    log_set_level(config->log_level);
    int rc = start(d, e);
    if (rc == 0) {
        rc = loop_run(d->loop);
        if (rc) (void)err_set(e, ERR_SYSTEM, "the event loop (%s): %s", loop_backend(d->loop), strerror(-rc));
        if (d->failure.code != ERR_NONE) {
            *e = d->failure;
            rc = -1;
        }
        if (d->state < CLOSING) set_state(d, CLOSING);
    }
    close_all(d);
    free(d);
    return rc ? -1 : 0;
}
