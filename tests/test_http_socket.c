/* The HTTP plane's sockets: off, beside the stream's, over loopback TCP, and never over another address. */
#include "daemon/http_socket.h"
#include "daemon/log.h"
#include "tests/suite.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct store kept; /* nothing */

static void unix_socket(void) {
    char folder[] = "/tmp/clpd-http-XXXXXX", room[CONFIG_SOCKET_PATH];
    struct http_sockets s = {.unix_fd = -1, .tcp_fd = -1};
    struct config c;
    struct err e = {0};
    struct stat st;
    log_set_level(LOG_LEVEL_ERROR);
    config_defaults(&c);
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(c.socket_path, sizeof c.socket_path, "%s/clpd.sock", folder);
    strcpy(c.http_path, "off");
    CU_ASSERT_EQUAL(http_sockets_open(&s, &kept, &c, &e), 0);
    CU_ASSERT_TRUE(s.unix_fd == -1 && s.tcp_fd == -1);
    strcpy(c.http_path, "auto");
    s.units_decide = true;
    CU_ASSERT_EQUAL(http_sockets_open(&s, &kept, &c, &e), 0);
    CU_ASSERT_EQUAL(s.unix_fd, -1);
    s.units_decide = false;
    c.http_mode = 0600;
    CU_ASSERT_EQUAL_FATAL(http_sockets_open(&s, &kept, &c, &e), 0);
    CU_ASSERT_TRUE(stat(config_http_path(&c, room), &st) == 0 && S_ISSOCK(st.st_mode) &&
                   (st.st_mode & 0777) == 0600);
    CU_ASSERT_TRUE(fcntl(s.unix_fd, F_GETFL) & O_NONBLOCK);
    http_sockets_close(&s);
    CU_ASSERT_TRUE(stat(config_http_path(&c, room), &st) < 0);
    (void)snprintf(c.http_path, sizeof c.http_path, "%s/none/x.sock", folder);
    CU_ASSERT_EQUAL(http_sockets_open(&s, &kept, &c, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "http.path"));
    CU_ASSERT_EQUAL(rmdir(folder), 0);
}

static void loopback(void) {
    static const char *const bad[] = {"0.0.0.0:80",   "127.0.0.1:0", "127.0.0.1:65536", "[::]:80",
                                      "localhost:80", "127.0.0.1",   "10.0.0.1:80"};
    struct http_sockets s = {.unix_fd = -1, .tcp_fd = -1};
    struct config c;
    struct err e = {0};
    struct sockaddr_in a = {0};
    socklen_t n = sizeof a;
    config_defaults(&c);
    strcpy(c.http_path, "off");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        strcpy(c.http_listen, bad[i]);
        CU_ASSERT_EQUAL(http_sockets_open(&s, &kept, &c, &e), -1);
    }
    for (int port = 40000; port < 40100 && s.tcp_fd < 0; port++) { /* one that is free */
        (void)snprintf(c.http_listen, sizeof c.http_listen, "127.0.0.1:%d", port);
        (void)http_sockets_open(&s, &kept, &c, &e);
    }
    CU_ASSERT_TRUE_FATAL(s.tcp_fd >= 0);
    CU_ASSERT_EQUAL(getsockname(s.tcp_fd, (struct sockaddr *)&a, &n), 0);
    CU_ASSERT_EQUAL(ntohl(a.sin_addr.s_addr), INADDR_LOOPBACK);
    http_sockets_close(&s);
    CU_ASSERT_EQUAL(s.tcp_fd, -1);
}

SUITE(http_socket, {"Unix", unix_socket}, {"loopback alone", loopback});
