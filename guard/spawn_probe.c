/* One clp-probe from start to report; see spawn_probe.h. One epoll descriptor holds the pipe, the pidfd and
 * the timer, so that a loop has one thing to wait for. */
#include "guard/spawn_probe.h"

#include "guard/caged.h"
#include "guard/probe_wire.h"
#include "guard/waited.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { AT_IMAGE = 3, AT_REPORT, AT_END };
#define SECOND UINT64_C(1000000000)
#define SLACK  120 /* seconds past its budget after which it is taken to hang */
#define BUSY_FACTOR                                                                                          \
    30                 /* so many times its budget of processor time may it take on a machine that is busy   \
                        */
#define READ_CHUNKS 16 /* of one step, so that a chatterbox can't hold up a loop */

struct probing {
    pid_t pid;
    int pipe, pidfd, timer, epoll;
    int schedule; /* of waited_open */
    uint64_t started;
    bool over, killed;
    int status; /* of waitpid */
    uint32_t seconds;
    bool processor_time;
    struct probe_wire wire;
    struct err err; /* what was wrong with it while it ran */
};

/* Returns 0 or an errno. */
static int execute(struct probing *p, const char *path, const struct spawn_probe *r, int report) {
    const int fds[AT_END] = {-1, -1, -1, [AT_IMAGE] = r->image_fd, [AT_REPORT] = report};
    char seconds[24], seed[24], memory[24], clock[] = "processor", wall[] = "wall";
    char one_thread[] = "OPENBLAS_NUM_THREADS=1", *env[] = {one_thread, NULL};
    char *args[] = {"clp-probe",
                    "--image-fd",
                    "3",
                    "--report-fd",
                    "4",
                    "--seconds",
                    seconds,
                    "--seed",
                    seed,
                    "--memory",
                    memory,
                    "--clock",
                    r->processor_time ? clock : wall,
                    NULL};
    (void)snprintf(seconds, sizeof seconds, "%u", r->seconds);
    (void)snprintf(seed, sizeof seed, "%u", r->seed);
    (void)snprintf(memory, sizeof memory, "%llu", (unsigned long long)r->memory);
    return caged_start(
        &p->pid,
        &(struct caged){.path = path, .args = args, .environment = env, .fds = fds, .n_fds = AT_END});
}

static int watch(const struct probing *p, int fd) {
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &ev);
}

static void close_fd(int *fd) {
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

static void release(struct probing *p) {
    close_fd(&p->pipe);
    close_fd(&p->pidfd);
    close_fd(&p->timer);
    close_fd(&p->schedule);
    close_fd(&p->epoll);
    probe_wire_free(&p->wire);
    free(p);
}

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static int set_clock(const struct probing *p, uint64_t ns) {
    const struct itimerspec t = {
        .it_value = {.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND) + 1}};
    return timerfd_settime(p->timer, 0, &t, NULL);
}

/* When it is taken to hang. Time that it waited for a CPU counts only where it was told so, and where that
 * can't be seen it is given the benefit of the doubt. */
static uint64_t time_allowed(const struct probing *p) {
    const uint64_t own = (p->seconds + (uint64_t)SLACK) * SECOND, most = own * BUSY_FACTOR;
    if (!p->processor_time) return own;
    const uint64_t waited = p->schedule < 0 ? most : waited_ns(p->schedule);
    return waited < most - own ? own + waited : most;
}

int spawn_probe_start(struct probing **out, const struct spawn_probe *r, struct err *e) {
    char path[PATH_MAX];
    int ends[2] = {-1, -1}, rc;
    if (caged_find("clp-probe", path, e)) return -1;
    struct probing *p = calloc(1, sizeof *p);
    if (!p) return err_set(e, ERR_SYSTEM, "no memory for a probe");
    *p = (struct probing){.pid = -1,
                          .pipe = -1,
                          .pidfd = -1,
                          .timer = -1,
                          .epoll = -1,
                          .schedule = -1,
                          .seconds = r->seconds,
                          .processor_time = r->processor_time,
                          .started = now_ns()};
    if (pipe2(ends, O_CLOEXEC) < 0) goto err_errno;
    p->pipe = ends[0];
    p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (p->timer < 0 || p->epoll < 0 || fcntl(p->pipe, F_SETFL, O_NONBLOCK) < 0 ||
        set_clock(p, (r->seconds + (uint64_t)SLACK) * SECOND) < 0)
        goto err_errno;
    rc = execute(p, path, r, ends[1]);
    close_fd(&ends[1]);
    if (rc) {
        (void)err_set(e, ERR_SYSTEM, "%s: can't start the probe: %s", path, strerror(rc));
        goto err;
    }
    p->pidfd = pidfd_open(p->pid, 0);
    if (p->pidfd < 0 || watch(p, p->pipe) < 0 || watch(p, p->pidfd) < 0 || watch(p, p->timer) < 0)
        goto err_child;
    p->schedule = waited_open(p->pid);
    priority_lower(p->pid, r->priority);
    *out = p;
    return 0;
err_child:
    rc = errno;
    (void)kill(p->pid, SIGKILL);
    (void)waitpid(p->pid, NULL, 0);
    errno = rc;
err_errno:
    (void)err_set(e, ERR_SYSTEM, "can't start a probe: %s", strerror(errno));
err:
    close_fd(&ends[1]);
    release(p);
    return -1;
}

/* --- while it runs ------------------------------------------------------------------------------ */

int spawn_probe_fd(const struct probing *p) {
    return p->epoll;
}

float spawn_probe_progress(const struct probing *p, const char **what) {
    *what = p->wire.what;
    return p->wire.done;
}

static void end_by_force(struct probing *p) {
    if (!p->over && !p->killed) (void)pidfd_send_signal(p->pidfd, SIGKILL, NULL, 0);
    p->killed = true;
}

static void read_pipe(struct probing *p) {
    uint8_t bytes[16384];
    for (int chunks = READ_CHUNKS; p->pipe >= 0 && chunks > 0; chunks--) {
        const ssize_t n = read(p->pipe, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0)
            close_fd(&p->pipe);
        else if (!p->killed && probe_wire_feed(&p->wire, bytes, (size_t)n, &p->err))
            end_by_force(p);
    }
}

static void check_clock(struct probing *p) {
    uint64_t times;
    if (p->killed || read(p->timer, &times, sizeof times) != sizeof times) return;
    const uint64_t took = now_ns() - p->started, allowed = time_allowed(p);
    if (took < allowed && set_clock(p, allowed - took) == 0) return;
    (void)err_set(&p->err, ERR_LIMIT, "the probe did not end within its %u s and was stopped", p->seconds);
    end_by_force(p);
}

static void check_exit(struct probing *p, int flags) {
    pid_t rc;
    do rc = waitpid(p->pid, &p->status, flags);
    while (rc < 0 && errno == EINTR);
    p->over = rc != 0; /* also where somebody else has reaped it */
}

bool spawn_probe_step(struct probing *p) {
    if (p->over) return true;
    read_pipe(p);
    check_clock(p);
    check_exit(p, WNOHANG);
    if (p->over) read_pipe(p); /* what it wrote just before: at most a pipe full */
    return p->over;
}

/* --- the verdict ---------------------------------------------------------------------------------- */

static int judge(const struct probing *p, struct err *e) {
    if (p->err.code != ERR_NONE) {
        *e = p->err;
        return -1;
    }
    if (p->wire.failed) {
        *e = p->wire.error;
        return -1;
    }
    if (p->killed) return err_set(e, ERR_SYSTEM, "the probe was stopped");
    if (WIFSIGNALED(p->status))
        return err_set(e, ERR_INTERNAL,
                       "the probe was ended by a signal (%s); the harm stayed in its sandbox",
                       strsignal(WTERMSIG(p->status)));
    if (!p->wire.ended)
        return err_set(e, ERR_INTERNAL, "the probe ended without a result (status %d)",
                       WEXITSTATUS(p->status));
    return 0;
}

int spawn_probe_finish(struct probing *p, struct probe_report *out, char note[ERR_TEXT], struct err *e) {
    if (!p->over) {
        end_by_force(p);
        check_exit(p, 0);
    }
    memcpy(note, p->wire.note, sizeof p->wire.note);
    const int rc = judge(p, e);
    if (rc == 0) {
        *out = p->wire.report;
        p->wire.report = (struct probe_report){0};
    }
    release(p);
    return rc;
}

int spawn_probe_run(const struct spawn_probe *r, struct probe_report *out, char note[ERR_TEXT],
                    struct err *e) {
    struct probing *p;
    const char *what;
    note[0] = 0;
    if (spawn_probe_start(&p, r, e)) return -1;
    struct pollfd wait = {.fd = spawn_probe_fd(p), .events = POLLIN};
    while (!spawn_probe_step(p)) {
        const float done = spawn_probe_progress(p, &what);
        if (r->progress && what[0]) r->progress(r->ctx, done, what);
        if (poll(&wait, 1, -1) < 0 && errno != EINTR) break; /* then spawn_probe_finish stops it */
    }
    return spawn_probe_finish(p, out, note, e);
}
