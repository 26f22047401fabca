/* Thin: libsystemd does the talking. */
#include "daemon/notify.h"

#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>

void notify_ready(const char *status) {
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_status(const char *status) {
    (void)sd_notifyf(0, "STATUS=%s", status);
}

/* systemd 252 has no Type=notify-reload; newer ones want the clock, too, to order the messages by. */
void notify_reloading(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    const uint64_t usec = (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, usec);
}

void notify_stopping(void) {
    (void)sd_notify(0, "STOPPING=1\nSTATUS=Stopping: finishing what runs");
}

void notify_alive(void) {
    (void)sd_notify(0, "WATCHDOG=1");
}

uint64_t notify_watchdog_period(void) {
    uint64_t usec = 0;
    return sd_watchdog_enabled(0, &usec) > 0 ? usec * 1000u / 2 : 0;
}

int notify_passed_socket(struct err *e) {
    const int n = sd_listen_fds(1);
    if (n <= 0) {
        if (n < 0) (void)err_set(e, ERR_SYSTEM, "sockets passed by systemd: %s", strerror(-n));
        return n < 0 ? -2 : -1;
    }
    if (n > 1) {
        (void)err_set(e, ERR_VALUE, "%d sockets were passed by systemd; clpd takes one (ListenStream=)", n);
        return -2;
    }
    if (sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0) {
        (void)err_set(e, ERR_VALUE,
                      "the socket passed by systemd is no listening Unix stream socket (ListenStream=/path)");
        return -2;
    }
    return SD_LISTEN_FDS_START;
}
