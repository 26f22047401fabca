/* Starting a child that has nothing of this process but what it is handed: how import workers, probes and
 * canaries begin, each of which then closes its cage from inside (sandbox.h). Any thread. */
#ifndef GUARD_CAGED_H
#define GUARD_CAGED_H

#include "infer/err.h"

#include <limits.h>
#include <sys/types.h>

#define CAGED_MOST_FDS 16

struct caged {
    const char *path;
    char *const *args;        /* as for execve(2) */
    char *const *environment; /* a sanitizer's build hands on that of this process */
    const int *fds;           /* fds[i] becomes descriptor i, from 3 on; -1: none. All others are closed */
    int n_fds;
};

/* The child's standard streams are /dev/null, so that a hostile file gets no way to the log; its signals are
 * as every process has them. 0 or an errno. */
int caged_start(pid_t *pid, const struct caged *c);

/* `program`: beside this one, or where `make install` puts it. */
int caged_find(const char *program, char path[PATH_MAX], struct err *e);

#endif
