/* What daemon.c shares with daemon_guard.c, and nobody else. All on the loop's thread. */
#ifndef DAEMON_DAEMON_INTERNAL_H
#define DAEMON_DAEMON_INTERNAL_H

#include "config/config.h"
#include "daemon/catalogue.h"
#include "daemon/desk.h"
#include "daemon/file_table.h"
#include "daemon/guard_child.h"
#include "daemon/http.h"
#include "daemon/http_socket.h"
#include "daemon/models.h"
#include "daemon/server.h"
#include "daemon/socket_file.h"
#include "daemon/store.h"

enum state { STARTING, SERVING, DRAINING, CLOSING };

struct daemon {
    const char *config_path;
    struct config config;
    enum state state;
    struct loop *loop;
    struct workers *workers;
    struct models *models;
    struct server server;
    struct guard_child *guard;
    char *guard_path;
    struct file_table files;
    struct desk desk;
    struct socket_file socket;
    struct catalogue *catalogue;
    char *models_text; /* as of models_text_at; NULL: out of date */
    size_t models_bytes;
    uint64_t models_text_at;
    struct http_sockets http_sockets;
    struct store store; /* what an earlier clpd has left us; emptied at the start */
    struct http *http;  /* NULL: no HTTP */
    int listen_fd, signals;
    struct loop_watch *signal_watch;
    struct loop_timer door, ready, watchdog, drain;
    uint64_t started_ns, watchdog_period, stop_at;
    bool stuck, is_open, restored;
    struct err failure; /* why no client can connect */
};

/* --- daemon.c ---------------------------------------------------------------------------------------- */

void daemon_tell_status(const struct daemon *d); /* systemd */
/* What clpctl models shows has changed. */
void daemon_forget_models_text(struct daemon *d);
/* Clients may come in: once what was kept serves again, or the guard has settled, or later by itself. */
void daemon_open_door(void *owner);
void daemon_become_ready(void *owner);

/* --- daemon_guard.c: the guard's messages, and what people ask of it ------------------------------------ */

struct guard_child_calls daemon_guard_calls(struct daemon *d);
struct models_calls daemon_models_calls(struct daemon *d);
/* As server.control. */
uint32_t daemon_on_control(void *owner, struct connection *c, uint64_t id, const struct clpd_control *q,
                           const char **why);
/* Nobody will answer those who wait any more. */
void daemon_drop_controls(struct daemon *d, const char *why);
/* What an earlier clpd has left with systemd is offered, as far as there is room. */
void daemon_take_inheritance(struct daemon *d);

#endif
