/* The file of the listening socket: made with its mode before anyone can connect,
 * taken over from a daemon that died, never from one that lives, and removed at the end. */
#include "daemon/socket_file.h"

#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG       512
#define LOCK_TRIES    50
#define LOCK_PAUSE_US 10000 /* half a second in all */

/* Two daemons that start at once would take each other's file for a stale one,
 * so whoever binds holds the folder, for a millisecond. -1 where that is not possible: then not.
 * Anybody who can read a folder can lock it, so a lock that lasts must not keep us from starting. */
static int lock_folder(const char *path) {
    char copy[CONFIG_SOCKET_PATH];
    (void)snprintf(copy, sizeof copy, "%s", path);
    const char *folder = dirname(copy);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), tries = LOCK_TRIES;
    if (fd < 0) return -1;
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        if (tries-- > 0 && (errno == EWOULDBLOCK || errno == EINTR)) {
            (void)usleep(LOCK_PAUSE_US);
            continue;
        }
        log_warning("somebody holds a lock on %s: going on without", folder);
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* 0: nobody answers on it, it has been removed. */
static int remove_stale(const struct sockaddr_un *a, struct err *e) {
    struct stat st;
    if (lstat(a->sun_path, &st))
        return errno == ENOENT ? 0 : err_set(e, ERR_SYSTEM, "%s: %s", a->sun_path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, ERR_SYSTEM, "the socket %s exists and is not a socket: remove it or choose another",
                       a->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return err_set(e, ERR_SYSTEM, "socket: %s", strerror(errno));
    const int rc = connect(fd, (const struct sockaddr *)a, sizeof *a) ? errno : 0;
    (void)close(fd);
    if (rc == ECONNREFUSED || rc == ENOENT) {
        log_info("%s is left over from a daemon that did not stop properly: it is replaced", a->sun_path);
        if (unlink(a->sun_path) && errno != ENOENT)
            return err_set(e, ERR_SYSTEM, "removing the stale socket %s: %s", a->sun_path, strerror(errno));
        return 0;
    }
    if (rc == 0 || rc == EAGAIN)
        return err_set(e, ERR_SYSTEM, "another daemon serves on %s already: stop it, or choose another path",
                       a->sun_path);
    return err_set(e, ERR_SYSTEM, "the socket %s is in use: %s", a->sun_path, strerror(rc));
}

static int set_owner(const char *path, uint32_t mode, const char *group, struct err *e) {
    if (group[0]) {
        const struct group *g = getgrnam(group);
        if (!g) return err_set(e, ERR_VALUE, "there is no group \"%s\"", group);
        if (chown(path, (uid_t)-1, g->gr_gid))
            return err_set(e, ERR_SYSTEM, "giving %s to the group \"%s\": %s (is the daemon's user in it?)",
                           path, group, strerror(errno));
    }
    if (chmod(path, (mode_t)mode)) return err_set(e, ERR_SYSTEM, "chmod of %s: %s", path, strerror(errno));
    return 0;
}

static int bind_new(struct socket_file *f, const struct sockaddr_un *a, int fd, struct err *e) {
    const mode_t before = umask(0177); /* nobody else until the mode is set */
    int rc = bind(fd, (const struct sockaddr *)a, sizeof *a) ? errno : 0;
    if (rc == EADDRINUSE) {
        if (remove_stale(a, e)) {
            (void)umask(before);
            return -1;
        }
        rc = bind(fd, (const struct sockaddr *)a, sizeof *a) ? errno : 0;
    }
    (void)umask(before);
    if (rc == ENOENT) return err_set(e, ERR_SYSTEM, "the socket %s: its folder does not exist", a->sun_path);
    if (rc) return err_set(e, ERR_SYSTEM, "binding to %s: %s", a->sun_path, strerror(rc));
    f->made = true;
    return 0;
}

/* Inode numbers are used anew at once on some file systems; with the time at
 * which it was made (nothing modifies a socket) the file is known for sure. */
static void remember(struct socket_file *f) {
    struct stat st;
    if (!f->made || lstat(f->path, &st)) return;
    f->device = st.st_dev;
    f->inode = st.st_ino;
    f->made_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

bool socket_file_identify(struct socket_file *f, const char *path, char identity[SOCKET_FILE_IDENTITY]) {
    *f = (struct socket_file){.made = true};
    (void)snprintf(f->path, sizeof f->path, "%s", path);
    remember(f);
    (void)snprintf(identity, SOCKET_FILE_IDENTITY, "%" PRIx64 ".%" PRIx64 ".%" PRIx64, f->device, f->inode,
                   (uint64_t)f->made_ns);
    f->made = f->inode != 0;
    return f->made;
}

int socket_file_adopt(struct socket_file *f, uint32_t mode, const char *group, struct err *e) {
    f->kept = true;
    return set_owner(f->path, mode, group, e);
}

int socket_file_make(struct socket_file *f, const char *path, uint32_t mode, const char *group,
                     struct err *e) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    *f = (struct socket_file){0};
    if (strlen(path) >= sizeof a.sun_path) return err_set(e, ERR_LIMIT, "the socket %s is too long", path);
    memcpy(a.sun_path, path, strlen(path));
    memcpy(f->path, a.sun_path, sizeof f->path);
    const int folder = lock_folder(path), fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = -1;
    if (fd < 0)
        (void)err_set(e, ERR_SYSTEM, "socket: %s", strerror(errno));
    else if (bind_new(f, &a, fd, e) || set_owner(path, mode, group, e))
        rc = -1;
    else if (listen(fd, BACKLOG))
        (void)err_set(e, ERR_SYSTEM, "listening on %s: %s", path, strerror(errno));
    else
        rc = fd;
    remember(f);
    if (rc < 0) socket_file_remove(f);
    if (rc < 0 && fd >= 0) (void)close(fd);
    if (folder >= 0) (void)close(folder);
    return rc;
}

void socket_file_remove(struct socket_file *f) {
    struct stat st;
    if (f->made && !f->kept && lstat(f->path, &st) == 0 && st.st_dev == f->device && st.st_ino == f->inode &&
        (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec == f->made_ns)
        (void)unlink(f->path);
    f->made = false;
}
