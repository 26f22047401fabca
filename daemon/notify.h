/* What systemd is told, what it keeps for us, and what it passes us (sd_notify(3), sd_listen_fds(3)).
 * Without systemd every call does nothing. The loop's thread only. */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include "infer/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void notify_ready(const char *status);
void notify_status(const char *status); /* one line for `systemctl status` */
void notify_reloading(void);            /* then notify_ready */
void notify_stopping(void);
void notify_alive(void);

/* How often notify_alive has to be called, in ns: half of what WatchdogSec allows; 0: never. */
uint64_t notify_watchdog_period(void);

/* Has systemd keep copies of these descriptors until notify_forget, or until the service is stopped (a
 * restart or a crash is none): FileDescriptorStoreMax=. `name` begins with NOTIFY_KEPT and is printable,
 * without a colon. */
#define NOTIFY_KEPT "kept."
#define NOTIFY_NAME 256
void notify_keep(const char *name, const int *fds, unsigned n);
void notify_forget(const char *name); /* all of that name */
bool notify_is_heard(void);           /* whether somebody may keep something */

struct notify_kept {
    int fd; /* -1: taken by somebody */
    char name[NOTIFY_NAME];
};
/* Listening sockets that were passed by socket units; -1: none. FileDescriptorName=http makes one HTTP's,
 * Unix or TCP; any other name the stream's, Unix alone. Besides, what an earlier clpd had systemd keep. */
struct notify_sockets {
    int stream, http_unix, http_tcp;
    struct notify_kept *kept; /* to be freed */
    size_t n_kept;
};
/* 0, or -1 with `e` set: something else was passed, or one of a kind twice. */
int notify_passed_sockets(struct notify_sockets *s, struct err *e);

#endif
