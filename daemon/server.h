/* The stream transport: the listening socket, its connections, and what they share.
 *
 *   accept -> connection (connection.c) -> staged requests -> one workers_submit per turn
 *                                       <- slots come back as posts, replies are gathered at the turn's end
 *
 * The loop's thread only. */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include "daemon/models.h"
#include "daemon/slots.h"
#include "daemon/users.h"

#define SERVER_STALL                                                                                         \
    30000000000u /* 30 s without a byte in the middle of a frame, or of answers: it is closed */

struct connection;

struct server_limits {
    uint32_t connections, inflight, rings;
    uint32_t user_connections, user_queue; /* of one user, all connections together; 0: no limit */
    uint64_t idle_ns;                      /* a connection that is silent for longer is closed; 0: never */
    uint64_t request_bytes, ring_bytes;
};

struct lent_line;

struct server_counters { /* requests: those answered, whatever the answer; workers count those of rings */
    _Atomic uint64_t requests, ok, busy, deadline, errors;
};

struct server {
    struct loop *loop;
    struct workers *workers;
    struct models *models;
    struct slots slots;
    struct server_limits limits;
    struct server_counters counters;
    /* JSON for CLPD_STATUS or CLPD_MODELS: malloc'ed, the server's to free. NULL: no memory */
    char *(*describe)(void *owner, uint8_t type, size_t *bytes);
    void *describe_owner;
    /* A CONTROL frame whose fields are fine. 0: answered later, by connection_control_done; or a status, and
     * *why. */
    uint32_t (*control)(void *owner, struct connection *c, uint64_t id, const struct clpd_control *q,
                        const char **why);

    struct connection *connections; /* all of them */
    uint32_t n_connections, n_rings;
    uint32_t n_waiting; /* connections that do nothing before a slot of theirs comes back */
    struct users users;
    struct connection *dirty; /* something to send, or to read on */
    struct request *staged, **staged_end;
    struct loop_timer deadlines, sweep, trim;
    struct loop_post alarm; /* a request of a ring waits with a deadline: */
    _Atomic uint64_t alarm_at;
    _Atomic bool alarm_raised;
    bool draining;

    struct loop_watch *door;
};

/* Borrows loop, workers, models. `slots` requests at once. 0, or -1 with `e` set. */
int server_open(struct server *s, struct loop *l, struct workers *w, struct models *m, uint32_t slots,
                const struct server_limits *limits, struct err *e);
/* Starts accepting on a listening socket, which stays the caller's. 0, or -1 with `e` set. */
int server_listen(struct server *s, int fd, struct err *e);

/* Takes a connected socket, or turns it away. What the listening socket's connections come through. */
void server_take(struct server *s, int fd);
/* The same for a line of the daemon's own (HTTP), which has limits of its own and is nobody's share.
 * Takes `line`. */
void server_take_own(struct server *s, int fd, struct lent_line *line);

/* No connection and no request is taken any more; what runs is finished, what waits is told. */
void server_drain(struct server *s);
bool server_is_drained(const struct server *s); /* every answer has gone out */
/* Closes all connections; true when the last one is gone (turn the loop until then). */
bool server_close_connections(struct server *s);
void server_close(struct server *s); /* after workers_stop, with no connection left; before loop_free */

/* --- for connection.c -------------------------------------------------------------------- */

void server_stage(struct server *s, struct request *r);
void server_mark_dirty(struct server *s, struct connection *c);
void server_count(struct server *s, uint32_t status);       /* any thread */
void server_forget(struct server *s, struct connection *c); /* c is gone */

#endif
