/* What systemd hears, over a datagram socket as it would be its own. */
#include "daemon/notify.h"
#include "tests/suite.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int manager;

static const char *heard(void) {
    static char got[512];
    ssize_t n = recv(manager, got, sizeof got - 1, MSG_DONTWAIT);
    got[n > 0 ? n : 0] = 0;
    return got;
}

static void messages(void) {
    char folder[] = "/tmp/clpd-notify-XXXXXX";
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    notify_ready("nobody listens"); /* without systemd: nothing */
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s/notify", folder);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(manager, (struct sockaddr *)&a, sizeof a), 0);
    setenv("NOTIFY_SOCKET", a.sun_path, 1);
    notify_ready("Serving 1 model");
    CU_ASSERT_STRING_EQUAL(heard(), "READY=1\nSTATUS=Serving 1 model");
    notify_status("x");
    CU_ASSERT_STRING_EQUAL(heard(), "STATUS=x");
    notify_reloading();
    const char *reloading = heard();
    CU_ASSERT_PTR_EQUAL(strstr(reloading, "RELOADING=1\nMONOTONIC_USEC="), reloading);
    CU_ASSERT_TRUE(strtoull(strchr(reloading, 'U') + 5, NULL, 10) > 0);
    notify_keep(NOTIFY_KEPT "x", &manager, 1);
    CU_ASSERT_STRING_EQUAL(heard(), "FDSTORE=1\nFDNAME=kept.x");
    notify_forget(NOTIFY_KEPT "x");
    CU_ASSERT_STRING_EQUAL(heard(), "FDSTOREREMOVE=1\nFDNAME=kept.x");
    notify_alive();
    CU_ASSERT_STRING_EQUAL(heard(), "WATCHDOG=1");
    notify_stopping();
    CU_ASSERT_PTR_NOT_NULL(strstr(heard(), "STOPPING=1"));
    unsetenv("NOTIFY_SOCKET");
    (void)unlink(a.sun_path);
    (void)rmdir(folder);
    close(manager);
}

static void watchdog(void) {
    char pid[16];
    unsetenv("WATCHDOG_USEC");
    CU_ASSERT_EQUAL(notify_watchdog_period(), 0);
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("WATCHDOG_USEC", "30000000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    CU_ASSERT_EQUAL(notify_watchdog_period(), 15000000000u);
    setenv("WATCHDOG_PID", "1", 1); /* meant for someone else */
    CU_ASSERT_EQUAL(notify_watchdog_period(), 0);
    unsetenv("WATCHDOG_PID");
    unsetenv("WATCHDOG_USEC");
}

static struct notify_sockets last;
static size_t n_kept;

/* As if a socket unit had passed `fd`. */
static int passed(int fd, const char *count, struct err *e) {
    char pid[16];
    int kept = fcntl(3, F_DUPFD_CLOEXEC, 10);
    dup2(fd, 3);
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", count, 1);
    int rc = notify_passed_sockets(&last, e);
    rc = rc ? -2 : last.stream;
    if (last.n_kept) CU_ASSERT_TRUE(last.kept[0].fd == 3 && strcmp(last.kept[0].name, "kept.x.1") == 0);
    n_kept = last.n_kept;
    free(last.kept);
    CU_ASSERT_PTR_NULL(getenv("LISTEN_FDS")); /* no child takes it for its own */
    if (kept >= 0) {
        dup2(kept, 3);
        close(kept);
    } else {
        close(3);
    }
    return rc;
}

static void sockets(void) {
    struct err e = {0};
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct notify_sockets none;
    CU_ASSERT_EQUAL(notify_passed_sockets(&none, &e), 0);
    CU_ASSERT_TRUE(none.stream == -1 && none.http_unix == -1 && none.http_tcp == -1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof(sa_family_t)), 0);
    CU_ASSERT_EQUAL(passed(fd, "1", &e), -2); /* does not listen */
    CU_ASSERT_EQUAL(listen(fd, 1), 0);
    CU_ASSERT_EQUAL(passed(fd, "1", &e), 3);
    CU_ASSERT_EQUAL(passed(null, "1", &e), -2);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "stream socket"));
    close(fd);
    close(null);
}

/* By its name: a socket of either kind. */
static void http_sockets(void) {
    struct err e = {0};
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
              tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof(sa_family_t)), 0);
    CU_ASSERT_EQUAL(bind(tcp, (struct sockaddr *)&in, sizeof in), 0);
    CU_ASSERT_TRUE(listen(fd, 1) == 0 && listen(tcp, 1) == 0);
    setenv("LISTEN_FDNAMES", "http", 1);
    CU_ASSERT_EQUAL(passed(fd, "1", &e), -1);
    CU_ASSERT_TRUE(last.http_unix == 3 && last.http_tcp == -1);
    setenv("LISTEN_FDNAMES", "http", 1);
    CU_ASSERT_EQUAL(passed(tcp, "1", &e), -1);
    CU_ASSERT_TRUE(last.http_unix == -1 && last.http_tcp == 3);
    setenv("LISTEN_FDNAMES", "clpd.socket", 1);
    CU_ASSERT_EQUAL(passed(tcp, "1", &e), -2);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "TCP is for"));
    setenv("LISTEN_FDNAMES", "kept.x.1", 1); /* whatever it is: who wants it looks at it */
    CU_ASSERT_EQUAL(passed(tcp, "1", &e), -1);
    CU_ASSERT_EQUAL(n_kept, 1);
    unsetenv("LISTEN_FDNAMES");
    close(fd);
    close(tcp);
}

SUITE(notify, {"messages", messages}, {"watchdog", watchdog}, {"passed sockets", sockets},
      {"passed for HTTP", http_sockets});
