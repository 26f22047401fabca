/* The HTTP plane: Open Inference Protocol v2, metrics, reports and the status page, for programs that
 * know HTTP rather than clpd's own protocol.
 *
 *   client ── HTTP ──> plane (a thread of its own, libmicrohttpd) ── frames over a socketpair ──> the loop
 *                                                                └── tensors, lent (lent.h) ──┘
 *
 * It is a client of the loop like any other: each request in flight has a
 * connection to itself (http_line.c), so that limits, fairness, deadlines and
 * BUSY are those of every client, and there is no second way into the batcher.
 * Only the bytes of a tensor don't go through the socket.
 * One thread serves all of its connections; a stalled one costs its memory.
 * http_start to http_free are for the loop's thread. */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include "config/config.h"
#include "daemon/catalogue.h"
#include "daemon/server.h"

struct http;

struct http_options { /* borrowed until http_free */
    const struct config *config;
    struct server *server;
    struct catalogue *catalogue;
    const char *guard_path; /* clp-guard; the picture decoder stands beside it */
    int unix_fd, tcp_fd;    /* listening sockets, the caller's; -1: none */
    uint64_t started_ns;
};

/* NULL with `e` set. */
struct http *http_start(const struct http_options *o, struct err *e);
/* Limits and times of a configuration that was read again; what needs a restart stays. 0, or -ENOMEM: nothing
 * is changed. */
int http_reconfigure(struct http *h, const struct config *fresh); /* NULL is fine, as below */
/* No connection is taken any more; what runs is answered. */
void http_drain(struct http *h);
bool http_is_drained(const struct http *h); /* nothing is under way */
/* Tells the threads to end; requests under way are answered 503. Turn the loop until they have, since they
 * may wait for an answer of it. */
void http_stop(struct http *h);
bool http_is_stopped(const struct http *h);
void http_free(struct http *h);

#endif
