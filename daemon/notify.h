/* What systemd is told, and what it passes us (sd_notify(3), sd_listen_fds(3)).
 * Without systemd every call does nothing. The loop's thread only. */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include "infer/err.h"

#include <stdint.h>

void notify_ready(const char *status);
void notify_status(const char *status); /* one line for `systemctl status` */
void notify_reloading(void);            /* then notify_ready */
void notify_stopping(void);
void notify_alive(void);

/* How often notify_alive has to be called, in ns: half of what WatchdogSec allows; 0: never. */
uint64_t notify_watchdog_period(void);

/* Listening sockets that were passed by socket units; -1: none. FileDescriptorName=http makes one HTTP's,
 * Unix or TCP; any other name the stream's, Unix alone. */
struct notify_sockets {
    int stream, http_unix, http_tcp;
};
/* 0, or -1 with `e` set: something else was passed, or one of a kind twice. */
int notify_passed_sockets(struct notify_sockets *s, struct err *e);

#endif
