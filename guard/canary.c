/* One clp-canary from start to answer; see canary.h. */
#include "guard/canary.h"

#include "guard/caged.h"
#include "guard/canary_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUSY_FACTOR 30 /* times its seconds may it take on a machine that is busy */

struct canary {
    pid_t pid;
    int pipe, pidfd, timer, epoll;
    bool over, late;
    int status; /* of waitpid */
    uint32_t seconds;
};

/* Returns 0 or an errno. */
static int execute(struct canary *c, const char *path, const struct canary_request *r, int answer) {
    const int fds[CANARY_END] = {-1, -1, -1, r->before, r->after, r->samples, answer};
    char seconds[24], memory[24], one_thread[] = "OPENBLAS_NUM_THREADS=1", *env[] = {one_thread, NULL};
    char *args[] = {(char *)(uintptr_t) "clp-canary", seconds, memory, NULL};
    (void)snprintf(seconds, sizeof seconds, "%u", r->seconds);
    (void)snprintf(memory, sizeof memory, "%llu", (unsigned long long)r->memory);
    return caged_start(
        &c->pid,
        &(struct caged){.path = path, .args = args, .environment = env, .fds = fds, .n_fds = CANARY_END});
}

static void close_fd(int *fd) {
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

static void release(struct canary *c) {
    close_fd(&c->pipe);
    close_fd(&c->pidfd);
    close_fd(&c->timer);
    close_fd(&c->epoll);
    free(c);
}

static int watch(const struct canary *c, int fd) {
    struct epoll_event ev = {.events = EPOLLIN};
    return epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &ev);
}

static int set_up(struct canary *c) {
    const struct itimerspec most = {.it_value.tv_sec = (time_t)c->seconds * BUSY_FACTOR};
    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    return c->timer < 0 || c->epoll < 0 || timerfd_settime(c->timer, 0, &most, NULL) < 0 ||
                   watch(c, c->timer) < 0
               ? -1
               : 0;
}

int canary_start(struct canary **out, const struct canary_request *r, struct err *e) {
    char path[PATH_MAX];
    int ends[2] = {-1, -1}, rc;
    if (caged_find("clp-canary", path, e)) return -1;
    struct canary *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_SYSTEM, "no memory for the canary samples");
    *c = (struct canary){.pid = -1, .pipe = -1, .pidfd = -1, .timer = -1, .epoll = -1, .seconds = r->seconds};
    if (pipe2(ends, O_CLOEXEC) < 0 || set_up(c) < 0) goto err_errno;
    c->pipe = ends[0];
    ends[0] = -1;
    rc = execute(c, path, r, ends[1]);
    if (rc) {
        errno = rc;
        goto err_errno;
    }
    c->pidfd = pidfd_open(c->pid, 0);
    if (c->pidfd < 0 || watch(c, c->pidfd) < 0) {
        rc = errno;
        (void)kill(c->pid, SIGKILL);
        (void)waitpid(c->pid, NULL, 0);
        errno = rc;
        goto err_errno;
    }
    priority_lower(c->pid, r->priority);
    close_fd(&ends[1]);
    *out = c;
    return 0;
err_errno:
    (void)err_set(e, ERR_SYSTEM, "can't start clp-canary: %s", strerror(errno));
    close_fd(&ends[0]);
    close_fd(&ends[1]);
    release(c);
    return -1;
}

int canary_fd(const struct canary *c) {
    return c->epoll;
}

static void check_exit(struct canary *c, int flags) {
    pid_t rc;
    do rc = waitpid(c->pid, &c->status, flags);
    while (rc < 0 && errno == EINTR);
    c->over = rc != 0; /* also where somebody else has reaped it */
}

bool canary_step(struct canary *c) {
    uint64_t times;
    if (c->over) return true;
    if (!c->late && read(c->timer, &times, sizeof times) == sizeof times) {
        c->late = true;
        (void)pidfd_send_signal(c->pidfd, SIGKILL, NULL, 0);
    }
    check_exit(c, WNOHANG);
    return c->over;
}

/* --- the verdict ---------------------------------------------------------------------------- */

static int broken(struct err *e) {
    return err_set(
        e, ERR_INTERNAL,
        "clp-canary broke its protocol; samples or a network that took it over would look like this: do not "
        "use them");
}

static int take_answer(const struct canary_answer *a, struct agree *out, struct err *e) {
    if (memcmp(a->magic, CANARY_MAGIC, sizeof a->magic) != 0 || a->code >= ERR_CODES) return broken(e);
    if (a->code != ERR_NONE)
        return err_set(e, (enum err_code)a->code, "%.*s", (int)strnlen(a->text, sizeof a->text), a->text);
    const struct agree *g = &a->agree;
    if (g->samples < 1 || !canary_share_is_sound(canary_share(g)) || g->agreed > g->samples ||
        g->samples > AGREE_MAX_SAMPLES || g->n_flips > AGREE_FLIPS || g->n_flips > g->samples - g->agreed)
        return broken(e);
    *out = *g;
    return 0;
}

int canary_finish(struct canary *c, struct agree *out, struct err *e) {
    struct canary_answer a;
    int rc = -1;
    if (!c->over) {
        (void)pidfd_send_signal(c->pidfd, SIGKILL, NULL, 0);
        check_exit(c, 0);
    }
    const ssize_t n = fcntl(c->pipe, F_SETFL, O_NONBLOCK) < 0 ? -1 : read(c->pipe, &a, sizeof a);
    if (c->late)
        (void)err_set(e, ERR_LIMIT,
                      "the samples took longer than %u s and were stopped (guard.worker.seconds)",
                      c->seconds);
    else if (WIFSIGNALED(c->status))
        (void)err_set(e, WTERMSIG(c->status) == SIGXCPU ? ERR_LIMIT : ERR_INTERNAL,
                      "clp-canary was ended by a signal (%s); the harm stayed in its sandbox",
                      strsignal(WTERMSIG(c->status)));
    else if (n != sizeof a)
        (void)err_set(e, ERR_INTERNAL, "clp-canary ended without an answer (status %d)",
                      WEXITSTATUS(c->status));
    else
        rc = take_answer(&a, out, e);
    release(c);
    return rc;
}
