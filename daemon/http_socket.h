/* The listening sockets of the HTTP plane: made, or passed by systemd. Plain data; the loop's thread. */
#ifndef DAEMON_HTTP_SOCKET_H
#define DAEMON_HTTP_SOCKET_H

#include "daemon/store.h"

struct http_sockets {
    struct socket_file file;
    int unix_fd, tcp_fd; /* -1: none; non-blocking */
    bool units_decide;   /* systemd passed the stream's socket: "auto" makes none beside it */
};

/* What was passed is in place already; makes the rest as `c` says. 0, or -1 with `e` set. */
int http_sockets_open(struct http_sockets *s, struct store *kept, const struct config *c, struct err *e);
void http_sockets_remove(struct http_sockets *s); /* its file */
void http_sockets_close(struct http_sockets *s);

#endif
