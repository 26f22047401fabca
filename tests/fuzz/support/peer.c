/* A listening socket that lives as long as the process; see peer.h. */
#include "tests/fuzz/support/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[64], path[96];
static int listener = -1;

static void clean_up(void) {
    (void)close(listener);
    (void)unlink(path);
    (void)rmdir(dir);
}

static int listen_somewhere(void) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(dir, sizeof dir, "/tmp/clpd-fuzz-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    (void)snprintf(path, sizeof path, "%s/s", dir);
    memcpy(a.sun_path, path, strlen(path) + 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)atexit(clean_up);
    return bind(listener, (struct sockaddr *)&a, sizeof a) < 0 ? -1 : listen(listener, 4);
}

int peer_connect(struct clpd **client, int *daemon) {
    if (listener < 0 && listen_somewhere() < 0) return -1;
    if (clpd_connect(path, client) < 0) return -1;
    *daemon = accept(listener, NULL, NULL);
    if (*daemon >= 0) return 0;
    clpd_close(*client);
    return -1;
}
