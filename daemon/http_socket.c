/* TCP is for this machine alone: 127.0.0.1 and ::1, checked when the configuration is read and here. */
#include "daemon/http_socket.h"

#include "daemon/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 512

/* "127.0.0.1:PORT" or "[::1]:PORT". Its length, 0: neither. */
static socklen_t read_address(const char *text, struct sockaddr_storage *a) {
    const char *colon = strrchr(text, ':');
    const long port = colon ? strtol(colon + 1, NULL, 10) : 0;
    memset(a, 0, sizeof *a);
    if (port < 1 || port > 65535) return 0;
    if (strncmp(text, "127.0.0.1:", 10) == 0) {
        *(struct sockaddr_in *)a = (struct sockaddr_in){.sin_family = AF_INET,
                                                        .sin_port = htons((uint16_t)port),
                                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        return sizeof(struct sockaddr_in);
    }
    if (strncmp(text, "[::1]:", 6) != 0) return 0;
    *(struct sockaddr_in6 *)a = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_loopback};
    return sizeof(struct sockaddr_in6);
}

static int listen_tcp(const char *text, struct err *e) {
    struct sockaddr_storage a;
    const socklen_t n = read_address(text, &a);
    const int one = 1;
    if (n == 0) return err_set(e, ERR_VALUE, "http.listen: '%s' is not on this machine's loopback", text);
    const int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(e, ERR_SYSTEM,
                       "http.listen %s: %s (the unit's RestrictAddressFamilies= has to allow it)", text,
                       strerror(errno));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)&a, n) || listen(fd, BACKLOG)) {
        (void)err_set(e, ERR_SYSTEM, "http.listen %s: %s", text, strerror(errno));
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* Several threads accept on it, so none may wait in accept. */
static int make_nonblocking(int fd, struct err *e) {
    const int flags = fd < 0 ? 0 : fcntl(fd, F_GETFL);
    if (fd >= 0 && (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK)))
        return err_set(e, ERR_SYSTEM, "HTTP socket: %s", strerror(errno));
    return 0;
}

int http_sockets_open(struct http_sockets *s, struct store *kept, const struct config *c, struct err *e) {
    char room[CONFIG_SOCKET_PATH];
    const bool none = s->units_decide && strcmp(c->http_path, "auto") == 0;
    const char *path = none ? "" : config_http_path(c, room);
    if (s->unix_fd >= 0)
        log_info("HTTP is served on the socket that systemd passed; http.path is not used");
    else if (*path) {
        s->unix_fd = store_listen(kept, "http", &s->file, path, c->http_mode, c->http_group, e);
        if (s->unix_fd < 0) return err_prefix(e, "http.path");
    }
    if (s->tcp_fd < 0 && c->http_listen[0]) {
        s->tcp_fd = store_take_listener(kept, "http-tcp", c->http_listen);
        const bool fresh = s->tcp_fd < 0;
        if (fresh) s->tcp_fd = listen_tcp(c->http_listen, e);
        if (s->tcp_fd < 0) return -1;
        if (fresh) store_keep_listener("http-tcp", c->http_listen, s->tcp_fd);
    }
    return make_nonblocking(s->unix_fd, e) || make_nonblocking(s->tcp_fd, e) ? -1 : 0;
}

void http_sockets_remove(struct http_sockets *s) {
    socket_file_remove(&s->file);
}

void http_sockets_close(struct http_sockets *s) {
    socket_file_remove(&s->file);
    if (s->unix_fd >= 0) (void)close(s->unix_fd);
    if (s->tcp_fd >= 0) (void)close(s->tcp_fd);
    s->unix_fd = s->tcp_fd = -1;
}
