/* posix_spawn(3) with everything closed. */
#include "guard/caged.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FIRST 3  /* after the standard streams */
#define HIGH  32 /* out of the way of the numbers that descriptors shall get */

static bool built_with_sanitizer(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
    return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||
           __has_feature(memory_sanitizer);
#else
    return false;
#endif
}

static int place(posix_spawn_file_actions_t *fa, const struct caged *c, int high[CAGED_MOST_FDS]) {
    int rc = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDWR, 0);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(fa, 0, 1);
    /* A sanitizer has something to tell. */
    if (rc == 0 && !built_with_sanitizer()) rc = posix_spawn_file_actions_adddup2(fa, 0, 2);
    for (int i = FIRST; i < c->n_fds && rc == 0; i++) {
        if (c->fds[i] >= 0) high[i] = fcntl(c->fds[i], F_DUPFD_CLOEXEC, HIGH);
        rc = c->fds[i] < 0 ? posix_spawn_file_actions_addclose(fa, i)
             : high[i] < 0 ? errno
                           : posix_spawn_file_actions_adddup2(fa, high[i], i);
    }
    return rc ? rc : posix_spawn_file_actions_addclosefrom_np(fa, c->n_fds);
}

/* The guard has signals blocked and ignored; its children begin as every process does. */
static int begin_clean(posix_spawnattr_t *attr) {
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (rc == 0) rc = posix_spawnattr_setsigmask(attr, &none);
    return rc ? rc : posix_spawnattr_setsigdefault(attr, &all);
}

int caged_start(pid_t *pid, const struct caged *c) {
    int high[CAGED_MOST_FDS];
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    memset(high, -1, sizeof high);
    if (c->n_fds > CAGED_MOST_FDS) return EINVAL;
    int rc = posix_spawn_file_actions_init(&fa);
    if (rc) return rc;
    rc = posix_spawnattr_init(&attr);
    if (rc) goto out_actions;
    rc = begin_clean(&attr);
    if (rc == 0) rc = place(&fa, c, high);
    if (rc == 0)
        rc =
            posix_spawn(pid, c->path, &fa, &attr, c->args, built_with_sanitizer() ? environ : c->environment);
    for (int i = FIRST; i < c->n_fds; i++)
        if (high[i] >= 0) (void)close(high[i]);
    (void)posix_spawnattr_destroy(&attr);
out_actions:
    (void)posix_spawn_file_actions_destroy(&fa);
    return rc;
}

int caged_find(const char *program, char path[PATH_MAX], struct err *e) {
    static const char *const folders[] = {"", "../libexec/clpd/"};
    char self[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0) return err_set(e, ERR_SYSTEM, "/proc/self/exe: %s; is /proc mounted?", strerror(errno));
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (slash) *slash = 0;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (snprintf(path, PATH_MAX, "%s/%s%s", self, folders[i], program) < PATH_MAX &&
            access(path, X_OK) == 0)
            return 0;
    return err_set(e, ERR_SYSTEM, "%s is neither in %.300s nor in its ../libexec/clpd; install it there",
                   program, self);
}
