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

/* A listening Unix stream socket that was passed by a socket unit. The
 * descriptor; -1: none was passed; -2 with `e` set: something else was. */
int notify_passed_socket(struct err *e);

#endif
