/* What connections share: slots, staged requests, the list of who has something to do. */
#include "daemon/server.h"

#include "daemon/connection.h"
#include "daemon/lent.h"
#include "daemon/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_EVERY 5000000000u /* stalled connections are looked for */
#define TRIM_EVERY  5000000000u
#define TRIM_AGAIN  20000000u /* where one go was not enough */

/* --- staged requests ------------------------------------------------------------------- */

void server_stage(struct server *s, struct request *r) {
    r->next = NULL;
    *s->staged_end = r;
    s->staged_end = &r->next;
}

static struct connection *connection_of(struct request *r) {
    return ((struct slot *)r)->owner;
}

static void expire(void *owner) {
    struct server *s = owner;
    const uint64_t next = workers_expire(s->workers, loop_now(s->loop));
    if (next != LOOP_NEVER) loop_timer_set(s->loop, &s->deadlines, next, expire, s);
}

static void note_deadline(struct server *s, uint64_t at) {
    if (at && (!s->deadlines.set || at < s->deadlines.at))
        loop_timer_set(s->loop, &s->deadlines, at, expire, s);
}

static void on_alarm(struct loop_post *p) {
    struct server *s = (struct server *)(void *)((uint8_t *)p - offsetof(struct server, alarm));
    atomic_store(&s->alarm_raised, false);
    if (!s->draining) note_deadline(s, atomic_load(&s->alarm_at));
}

/* On a worker's thread, under its lock. */
static void raise_alarm(void *owner, uint64_t at) {
    struct server *s = owner;
    atomic_store(&s->alarm_at, at);
    if (!atomic_exchange(&s->alarm_raised, true)) loop_post(s->loop, &s->alarm);
}

/* All that became whole in this turn, under one lock; workers then see it together, as a batch. */
static void submit_staged(struct server *s) {
    struct request *chain = s->staged, *whole = NULL, **end = &whole;
    s->staged = NULL;
    s->staged_end = &s->staged;
    while (chain) {
        struct request *r = chain;
        chain = r->next;
        struct connection *c = connection_of(r);
        if (c->state == CONNECTION_CLOSING || s->draining) {
            r->status = CLPD_SHUTTING_DOWN;
            connection_answer(c, (struct slot *)r);
            continue;
        }
        note_deadline(s, r->deadline_ns);
        r->next = NULL;
        *end = r;
        end = &r->next;
    }
    if (!whole) return;
    if (workers_run_here(s->workers, whole)) {
        while (whole) {
            struct request *r = whole;
            whole = r->next;
            connection_answer(connection_of(r), (struct slot *)r);
        }
        return;
    }
    struct request *refused = workers_submit(s->workers, whole);
    while (refused) {
        struct request *r = refused;
        refused = r->next;
        r->status = CLPD_BUSY;
        connection_answer(connection_of(r), (struct slot *)r);
    }
}

void server_mark_dirty(struct server *s, struct connection *c) {
    if (c->dirty) return;
    c->dirty = true;
    c->next_dirty = s->dirty;
    s->dirty = c;
}

static void turn_end(void *owner) {
    struct server *s = owner;
    while (s->dirty || s->staged) {
        submit_staged(s); /* first: what is answered at once goes out before anything else is begun */
        while (s->dirty) {
            struct connection *c = s->dirty;
            s->dirty = c->next_dirty;
            c->dirty = false;
            connection_proceed(c);
        }
    }
    loop_set_hasty(s->loop, s->n_waiting || s->draining);
}

void server_count(struct server *s, uint32_t status) {
    struct server_counters *c = &s->counters;
    _Atomic uint64_t *which = status == CLPD_OK         ? &c->ok
                              : status == CLPD_BUSY     ? &c->busy
                              : status == CLPD_DEADLINE ? &c->deadline
                                                        : &c->errors;
    atomic_fetch_add_explicit(which, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->requests, 1, memory_order_relaxed);
}

/* --- connections ------------------------------------------------------------------------- */

/* Tells one that we can't take why, if its socket has room, which a new one has. */
static void turn_away(int fd, uint32_t open, const char *whose, const char *limit) {
    uint8_t frame[FRAME_REFUSAL];
    char text[FRAME_TEXT];
    (void)snprintf(text, sizeof text, "%u connections%s are open (%s): try again later", open, whose, limit);
    const size_t n = frame_write_refusal(frame, CLPD_ERROR, 0, CLPD_BUSY, text);
    (void)send(fd, frame, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)close(fd);
}

static struct connection *take_for(struct server *s, int fd, struct user *user) {
    struct connection *c = connection_open(s, fd, user);
    if (!c) {
        if (user) users_put(&s->users, user);
        log_warning("a connection is dropped: no memory for it");
        return NULL;
    }
    c->next = s->connections;
    if (c->next) c->next->previous = c;
    s->connections = c;
    s->n_connections++;
    server_mark_dirty(s, c); /* to read */
    return c;
}

static bool has_room(const struct server *s, int fd) {
    if (s->n_connections < s->limits.connections) return true;
    log_debug("a connection is turned away: %u are open", s->n_connections);
    turn_away(fd, s->n_connections, "", "limits.connections");
    return false;
}

void server_take_own(struct server *s, int fd, struct lent_line *line) {
    struct connection *c = has_room(s, fd) ? take_for(s, fd, NULL) : NULL;
    if (!c) {
        lent_line_put(line);
        return;
    }
    c->lent_line = line;
    line->connection = c;
}

void server_take(struct server *s, int fd) {
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t n = sizeof peer;
    if (!has_room(s, fd)) return;
    (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n);
    struct user *user = users_get(&s->users, peer.uid);
    if (user && s->limits.user_connections && user->connections > s->limits.user_connections) {
        log_debug("a connection of uid %u is turned away: it has %u", (unsigned)peer.uid,
                  user->connections - 1);
        turn_away(fd, user->connections - 1, " of this user's", "limits.user_connections");
        users_put(&s->users, user);
    } else if (user) {
        (void)take_for(s, fd, user);
    } else {
        log_warning("a connection is dropped: no memory for its user");
        (void)close(fd);
    }
}

static void on_accepted(void *owner, int fd) {
    if (fd >= 0)
        server_take(owner, fd);
    else
        log_warning("accepting a connection: %s", strerror(-fd));
}

void server_forget(struct server *s, struct connection *c) {
    if (c->previous)
        c->previous->next = c->next;
    else
        s->connections = c->next;
    if (c->next) c->next->previous = c->previous;
    s->n_connections--;
    if (c->lent_line) c->lent_line->connection = NULL;
    lent_line_put(c->lent_line);
    for (struct connection **link = &s->dirty; c->dirty && *link; link = &(*link)->next_dirty)
        if (*link == c) {
            *link = c->next_dirty;
            break;
        }
}

static void sweep(void *owner) {
    struct server *s = owner;
    const uint64_t now = loop_now(s->loop);
    for (struct connection *c = s->connections, *next; c; c = next) {
        next = c->next;
        if (!connection_is_stalled(c, now)) continue;
        log_warning("the connection of pid %d (uid %u) is closed: it is silent (in the middle of a frame for "
                    "%u s, or "
                    "longer than limits.idle_s)",
                    (int)c->peer.pid, (unsigned)c->peer.uid, (unsigned)(SERVER_STALL / 1000000000u));
        connection_close(c);
    }
    loop_timer_set(s->loop, &s->sweep, now + SWEEP_EVERY, sweep, s);
}

static void trim(void *owner) {
    struct server *s = owner;
    const uint64_t now = loop_now(s->loop);
    loop_timer_set(s->loop, &s->trim, now + (slots_trim(&s->slots, now) ? TRIM_AGAIN : TRIM_EVERY), trim, s);
}

/* --- beginning and end ------------------------------------------------------------------------ */

int server_open(struct server *s, struct loop *l, struct workers *w, struct models *m, uint32_t slots,
                const struct server_limits *limits, struct err *e) {
    *s = (struct server){.loop = l, .workers = w, .models = m, .limits = *limits};
    s->staged_end = &s->staged;
    if (slots_open(&s->slots, slots, limits->request_bytes, e)) return -1;
    s->alarm.run = on_alarm;
    workers_set_alarm(w, raise_alarm, s);
    loop_set_turn_end(l, turn_end, s);
    loop_timer_set(l, &s->sweep, loop_clock() + SWEEP_EVERY, sweep, s);
    loop_timer_set(l, &s->trim, loop_clock() + TRIM_EVERY, trim, s);
    return 0;
}

int server_listen(struct server *s, int fd, struct err *e) {
    int rc = loop_listen(s->loop, fd, on_accepted, s, &s->door);
    return rc ? err_set(e, ERR_SYSTEM, "accepting connections: %s", strerror(-rc)) : 0;
}

void server_drain(struct server *s) {
    s->draining = true;
    loop_unwatch(s->door);
    s->door = NULL;
    loop_timer_stop(s->loop, &s->deadlines); /* nothing will wait any more */
    workers_drain(s->workers);
}

bool server_is_drained(const struct server *s) {
    for (const struct connection *c = s->connections; c; c = c->next)
        if (!connection_is_quiet(c) && c->state != CONNECTION_CLOSING) return false;
    return true;
}

bool server_close_connections(struct server *s) {
    for (struct connection *c = s->connections; c; c = c->next)
        if (c->state != CONNECTION_CLOSING) connection_close(c);
    return s->connections == NULL && s->n_rings == 0;
}

void server_close(struct server *s) {
    if (!s->loop) return;
    loop_unwatch(s->door);
    loop_timer_stop(s->loop, &s->sweep);
    loop_timer_stop(s->loop, &s->trim);
    loop_timer_stop(s->loop, &s->deadlines);
    loop_set_turn_end(s->loop, NULL, NULL);
    slots_close(&s->slots);
    s->loop = NULL;
}
