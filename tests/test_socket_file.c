/* The socket's file: its mode, a stale one, one that lives, and what is not ours. */
#include "daemon/log.h"
#include "daemon/socket_file.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[64], path[96];

static void enter(void) {
    log_set_level(LOG_LEVEL_ERROR);
    strcpy(folder, "/tmp/clpd-socket-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/clpd.sock", folder);
}

static void leave(void) {
    (void)unlink(path);
    CU_ASSERT_EQUAL(rmdir(folder), 0); /* and nothing else was left there */
}

static bool answers(void) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    const bool yes = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return yes;
}

static void locked_folder(void) {
    struct socket_file f;
    struct err e = {0};
    enter();
    int lock = open(folder, O_RDONLY | O_DIRECTORY); /* as any user could */
    CU_ASSERT_EQUAL(flock(lock, LOCK_EX), 0);
    int fd = socket_file_make(&f, path, 0600, "", &e);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_TRUE(answers());
    socket_file_remove(&f);
    close(fd);
    close(lock);
    leave();
}

static void made_and_removed(void) {
    struct socket_file f, g;
    struct err e = {0};
    struct stat st;
    enter();
    int fd = socket_file_make(&f, path, 0640, "", &e);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(lstat(path, &st), 0);
    CU_ASSERT_TRUE(S_ISSOCK(st.st_mode));
    CU_ASSERT_EQUAL(st.st_mode & 07777, 0640);
    CU_ASSERT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CU_ASSERT_TRUE(answers());
    CU_ASSERT_EQUAL(socket_file_make(&g, path, 0600, "", &e), -1); /* one that lives */
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "another daemon"));
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, path));
    CU_ASSERT_TRUE(answers());
    close(fd);
    CU_ASSERT_FALSE(answers());
    usleep(20000);                                 /* file times come in steps of up to 10 ms */
    fd = socket_file_make(&g, path, 0600, "", &e); /* one that died */
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    socket_file_remove(&f); /* the first one's is gone: this is not its file any more */
    CU_ASSERT_TRUE(answers());
    socket_file_remove(&g);
    CU_ASSERT_EQUAL(lstat(path, &st), -1);
    close(fd);
    leave();
}

static void refused(void) {
    struct socket_file f;
    struct err e = {0};
    char long_path[200];
    enter();
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    CU_ASSERT_EQUAL(socket_file_make(&f, path, 0600, "", &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "not a socket"));
    CU_ASSERT_EQUAL(access(path, F_OK), 0); /* not touched */
    (void)unlink(path);
    CU_ASSERT_EQUAL(socket_file_make(&f, path, 0600, "no such group", &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "no such group"));
    CU_ASSERT_EQUAL(access(path, F_OK), -1); /* cleaned up */
    (void)snprintf(long_path, sizeof long_path, "%s/missing/clpd.sock", folder);
    CU_ASSERT_EQUAL(socket_file_make(&f, long_path, 0600, "", &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "folder"));
    memset(long_path, 'x', sizeof long_path);
    long_path[sizeof long_path - 1] = 0;
    CU_ASSERT_EQUAL(socket_file_make(&f, long_path, 0600, "", &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "too long"));
    leave();
}

static void own_group(void) {
    struct socket_file f;
    struct err e = {0};
    const struct group *g = getgrgid(getgid());
    struct stat st;
    if (!g) {
        suite_skip("the socket's group", "our own group has no name");
        return;
    }
    enter();
    int fd = socket_file_make(&f, path, 0660, g->gr_name, &e);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(lstat(path, &st), 0);
    CU_ASSERT_EQUAL(st.st_gid, getgid());
    socket_file_remove(&f);
    close(fd);
    leave();
}

SUITE(socket_file, {"made, taken over, removed", made_and_removed},
      {"a lock that somebody else holds is not waited for", locked_folder}, {"what is not replaced", refused},
      {"group", own_group});
