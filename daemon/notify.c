/* Thin: libsystemd does the talking. */
#include "daemon/notify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

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

bool notify_is_heard(void) {
    const char *socket = getenv("NOTIFY_SOCKET");
    return socket && *socket;
}

void notify_keep(const char *name, const int *fds, unsigned n) {
    char text[NOTIFY_NAME + 32];
    (void)snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s", name);
    (void)sd_pid_notify_with_fds(0, 0, text, fds, n);
}

void notify_forget(const char *name) {
    (void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

/* A socket of another name than "http" is the stream's. */
static int take_passed(struct notify_sockets *s, int fd, const char *name, struct err *e) {
    const bool http = strcmp(name, "http") == 0, is_unix = sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0;
    int *to = !http ? &s->stream : is_unix ? &s->http_unix : &s->http_tcp;
    if (!is_unix && !(http && sd_is_socket_inet(fd, AF_UNSPEC, SOCK_STREAM, 1, 0) > 0))
        return err_set(
            e, ERR_VALUE,
            "socket %d passed by systemd is no listening Unix stream socket (ListenStream=/path); TCP is for "
            "FileDescriptorName=http alone",
            fd);
    if (*to >= 0)
        return err_set(
            e, ERR_VALUE,
            "two %s sockets were passed by systemd; one is taken (FileDescriptorName=http is HTTP's)",
            http ? "HTTP" : "stream");
    *to = fd;
    return 0;
}

static void note_kept(struct notify_sockets *s, int fd, const char *name) {
    struct notify_kept *k = &s->kept[s->n_kept++];
    k->fd = fd;
    (void)snprintf(k->name, sizeof k->name, "%s", name);
}

int notify_passed_sockets(struct notify_sockets *s, struct err *e) {
    char **names = NULL;
    *s = (struct notify_sockets){.stream = -1, .http_unix = -1, .http_tcp = -1};
    const int n = sd_listen_fds_with_names(1, &names);
    int rc = n < 0 ? err_set(e, ERR_SYSTEM, "sockets passed by systemd: %s", strerror(-n)) : 0;
    if (n > 0) s->kept = calloc((size_t)n, sizeof *s->kept);
    if (n > 0 && !s->kept) rc = err_set(e, ERR_SYSTEM, "out of memory for what systemd passed");
    for (int i = 0; i < n; i++) {
        const int fd = SD_LISTEN_FDS_START + i;
        if (rc == 0 && strncmp(names[i], NOTIFY_KEPT, strlen(NOTIFY_KEPT)) == 0)
            note_kept(s, fd, names[i]);
        else if (rc == 0)
            rc = take_passed(s, fd, names[i], e);
        free(names[i]);
    }
    free(names);
    return rc;
}
