/* One import worker from start to verdict:
 *
 *   descriptors -> posix_spawn -> (pipe, exit, clock) -> gone -> judged -> sealed memfd
 *
 * One epoll descriptor holds the pipe, the pidfd and the timer, so that a loop
 * has one thing to wait for. Ownership and threads: see spawn.h. */
#include "guard/spawn.h"

#include "guard/caged.h"
#include "guard/waited.h"
#include "guard/worker_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif
#define SEALS       (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define SECOND      UINT64_C(1000000000)
#define BUSY_FACTOR 30 /* so many times its limit may it take on a machine that is busy */
#define READ_CHUNK  ((size_t)64 << 10)
#define READ_CHUNKS 16 /* of one step, so that a chatterbox can't hold up the loop */

/* Descriptors as the worker knows them; worker.c gets the numbers as arguments. */
enum { AT_MODEL = 3, AT_OUTPUT, AT_REPORT, AT_SIDECAR, AT_EXTERNAL, AT_REPAIR, AT_CANARY, AT_END };

struct spawn {
    pid_t pid;
    int pidfd, pipe, memfd, timer, epoll;
    int schedule; /* of waited_open */
    uint64_t started;
    bool killed, over;
    siginfo_t exit; /* si_pid 0: how it ended is not known */
    struct err err; /* what was wrong with it while it ran */
    struct worker_wire wire;
    uint32_t seconds;
    uint64_t memory, output;
};

void spawn_defaults(struct spawn_request *r) {
    *r = (struct spawn_request){.mode = SPAWN_IMAGE,
                                .threshold = 3,
                                .sidecar = SIDECAR_ANYTHING,
                                .model_fd = -1,
                                .sidecar_fd = -1,
                                .external_fd = -1,
                                .repair_fd = -1,
                                .canary_fd = -1,
                                .seconds = 60,
                                .memory = (uint64_t)4 << 30,
                                .output = (uint64_t)2 << 30,
                                .label = "model"};
}

int spawn_find_guard(char path[PATH_MAX], struct err *e) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0) return err_set(e, ERR_SYSTEM, "/proc/self/exe: %s; is /proc mounted?", strerror(errno));
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (!slash) return err_set(e, ERR_SYSTEM, "%s: not a path", self);
    /* The link itself still works where the file was replaced by an upgrade. */
    if (strncmp(slash + 1, "clp-guard", strlen("clp-guard")) == 0) {
        (void)snprintf(path, PATH_MAX, "/proc/self/exe");
        return 0;
    }
    return caged_find("clp-guard", path, e);
}

/* --- starting ------------------------------------------------------------------------- */

static int make_memfd(void) {
    int fd = memfd_create("clpd-image", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) fd = memfd_create("clpd-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

struct arguments {
    char *list[48];
    char text[1024];
    size_t n, used;
};

static void add(struct arguments *a, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void add(struct arguments *a, const char *name, const char *fmt, ...) {
    va_list ap;
    char *value = a->text + a->used;
    va_start(ap, fmt);
    int len = vsnprintf(value, sizeof a->text - a->used, fmt, ap);
    va_end(ap);
    a->list[a->n++] = (char *)(uintptr_t)name;
    a->list[a->n++] = value;
    a->used += (size_t)len + 1;
    if (a->used > sizeof a->text - 1) a->used = sizeof a->text - 1;
}

static void make_arguments(struct arguments *a, const struct spawn_request *r) {
    *a = (struct arguments){.list = {(char *)(uintptr_t) "clp-guard", (char *)(uintptr_t) "worker"}, .n = 2};
    static const char *const modes[] = {[SPAWN_IMAGE] = "image",
                                        [SPAWN_PLAIN] = "plain",
                                        [SPAWN_GRADIENT] = "gradient",
                                        [SPAWN_PRUNE] = "prune"};
    add(a, "--mode", "%s", modes[r->mode]);
    add(a, "--threshold", "%.9g", (double)r->threshold);
    add(a, "--statistic", "%d", (int)r->statistic);
    add(a, "--sidecar", "%d", (int)r->sidecar);
    add(a, "--probe", "%d", (int)r->probe);
    add(a, "--precision", "%s", r->bf16 ? "bf16" : "float32");
    add(a, "--guard", "%s", r->guard_off ? "off" : r->measure ? "measure" : "on");
    add(a, "--digest", "%s", r->vouched ? "first" : "beside");
    add(a, "--model-fd", "%d", AT_MODEL);
    add(a, "--output-fd", "%d", AT_OUTPUT);
    add(a, "--report-fd", "%d", AT_REPORT);
    if (r->sidecar_fd >= 0) add(a, "--sidecar-fd", "%d", AT_SIDECAR);
    if (r->sidecar_fd >= 0) add(a, "--sidecar-quotes", "%s", r->sidecar_secret ? "off" : "on");
    if (r->external_fd >= 0) {
        add(a, "--external-fd", "%d", AT_EXTERNAL);
        add(a, "--external-name", "%.*s", SPAWN_NAME - 1, r->external_name);
    }
    if (r->repair_fd >= 0) add(a, "--repair-fd", "%d", AT_REPAIR);
    if (r->canary_fd >= 0) add(a, "--canary-fd", "%d", AT_CANARY);
    add(a, "--seconds", "%u", r->seconds);
    add(a, "--memory", "%llu", (unsigned long long)r->memory);
    add(a, "--output", "%llu", (unsigned long long)r->output);
    add(a, "--name", "%.128s", r->label);
    a->list[a->n] = NULL;
}

/* Returns 0 or an errno. */
static int execute(struct spawn *s, const struct spawn_request *r, int report) {
    const int fds[AT_END] = {
        -1, -1, -1, r->model_fd, s->memfd, report, r->sidecar_fd, r->external_fd, r->repair_fd, r->canary_fd};
    struct arguments args;
    char *empty[] = {NULL};
    make_arguments(&args, r);
    return caged_start(
        &s->pid,
        &(struct caged){
            .path = r->guard_path, .args = args.list, .environment = empty, .fds = fds, .n_fds = AT_END});
}

static int watch(const struct spawn *s, int fd) {
    struct epoll_event ev = {.events = EPOLLIN};
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev);
}

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static int set_clock(const struct spawn *s, uint64_t ns) {
    struct itimerspec t = {.it_value = {.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND) + 1}};
    return timerfd_settime(s->timer, 0, &t, NULL);
}

/* A second time from outside, for one that has not come to limit itself. */
static void limit_output(const struct spawn *s) {
    const struct rlimit most = {.rlim_cur = s->output, .rlim_max = s->output};
    (void)prlimit(s->pid, RLIMIT_FSIZE, &most, NULL); /* EPERM: its sandbox stands already */
}

static void close_fd(int *fd) {
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

static void release(struct spawn *s) {
    close_fd(&s->pidfd);
    close_fd(&s->pipe);
    close_fd(&s->memfd);
    close_fd(&s->timer);
    close_fd(&s->schedule);
    close_fd(&s->epoll);
    worker_wire_free(&s->wire);
    free(s);
}

int spawn_start(struct spawn **out, const struct spawn_request *r, struct err *e) {
    int ends[2] = {-1, -1}, rc;
    struct spawn *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_SYSTEM, "no memory for an import worker");
    *s = (struct spawn){.pid = -1,
                        .pidfd = -1,
                        .pipe = -1,
                        .memfd = -1,
                        .timer = -1,
                        .schedule = -1,
                        .epoll = -1,
                        .seconds = r->seconds,
                        .memory = r->memory,
                        .output = r->output};
    if (pipe2(ends, O_CLOEXEC) < 0) goto err_errno;
    s->pipe = ends[0];
    s->memfd = make_memfd();
    s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->memfd < 0 || s->timer < 0 || s->epoll < 0) goto err_errno;
    if (fcntl(s->pipe, F_SETFL, O_NONBLOCK) < 0 || set_clock(s, s->seconds * SECOND) < 0) goto err_errno;
    s->started = now_ns();
    rc = execute(s, r, ends[1]);
    close_fd(&ends[1]);
    if (rc) {
        (void)err_set(e, ERR_SYSTEM, "%s: can't start the import worker: %s", r->guard_path, strerror(rc));
        goto err;
    }
    s->pidfd = pidfd_open(s->pid, 0);
    if (s->pidfd < 0 || watch(s, s->pipe) < 0 || watch(s, s->pidfd) < 0 || watch(s, s->timer) < 0)
        goto err_child;
    limit_output(s);
    if (r->priority != PRIORITY_SAME) s->schedule = waited_open(s->pid);
    priority_lower(s->pid, r->priority);
    *out = s;
    return 0;
err_child:
    rc = errno;
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    errno = rc;
err_errno:
    (void)err_set(e, ERR_SYSTEM, "can't start an import worker: %s", strerror(errno));
err:
    close_fd(&ends[1]);
    release(s);
    return -1;
}

/* --- while it runs -------------------------------------------------------------------- */

int spawn_fd(const struct spawn *s) {
    return s->epoll;
}

const struct spawn_digests *spawn_digests(const struct spawn *s) {
    return s->wire.has_digests ? &s->wire.digests : NULL;
}

static void end_by_force(struct spawn *s) {
    if (!s->over && !s->killed) (void)pidfd_send_signal(s->pidfd, SIGKILL, NULL, 0);
    s->killed = true;
}

static void read_pipe(struct spawn *s, int chunks) {
    uint8_t bytes[READ_CHUNK];
    while (s->pipe >= 0 && chunks-- > 0) {
        ssize_t n = read(s->pipe, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            close_fd(&s->pipe);
            return;
        }
        if (s->killed || worker_wire_feed(&s->wire, bytes, (size_t)n, &s->err) == 0) continue;
        end_by_force(s);
    }
}

/* On a machine that is busy serving, an import takes longer and is none the worse for it. */
static void check_clock(struct spawn *s) {
    uint64_t times;
    if (s->killed || read(s->timer, &times, sizeof times) != sizeof times) return;
    const uint64_t took = now_ns() - s->started, most = s->seconds * SECOND;
    uint64_t waited = waited_ns(s->schedule);
    if (waited > most * (BUSY_FACTOR - 1)) waited = most * (BUSY_FACTOR - 1);
    if (took < most + waited && set_clock(s, most + waited - took) == 0) return;
    (void)err_set(&s->err, ERR_LIMIT,
                  "the import took longer than %u s and was stopped; if the file is to be "
                  "trusted, raise guard.worker.seconds",
                  s->seconds);
    end_by_force(s);
}

static void check_exit(struct spawn *s, int flags) {
    s->exit = (siginfo_t){0};
    int rc;
    do rc = waitid(P_PIDFD, (id_t)s->pidfd, &s->exit, WEXITED | flags);
    while (rc < 0 && errno == EINTR);
    /* ECHILD: somebody else has reaped it; how it ended stays unknown. */
    s->over = rc < 0 || s->exit.si_pid != 0;
}

bool spawn_step(struct spawn *s) {
    if (s->over) return true;
    read_pipe(s, READ_CHUNKS);
    check_clock(s);
    check_exit(s, WNOHANG);
    if (s->over) read_pipe(s, READ_CHUNKS); /* what it wrote just before: at most a pipe full */
    return s->over;
}

/* --- the verdict ---------------------------------------------------------------------- */

static int judge_signal(const struct spawn *s, struct err *e) {
    switch (s->exit.si_status) {
    case SIGBUS:
        return err_set(e, ERR_SYSTEM, "the file changed while it was read (or memory for the image ran out)");
    case SIGXCPU:
        return err_set(e, ERR_LIMIT,
                       "the import took more than %u s of CPU time; if the file is to be trusted, "
                       "raise guard.worker.seconds",
                       s->seconds);
    case SIGXFSZ:
        return err_set(e, ERR_LIMIT, "the image is larger than guard.worker.output (%llu bytes)",
                       (unsigned long long)s->output);
    case SIGSYS:
        return err_set(e, ERR_INTERNAL,
                       "the import worker was stopped at a forbidden system call; a file that takes "
                       "over its parser would look like this: do not use it");
    case SIGKILL:
        return err_set(e, ERR_SYSTEM,
                       "the import worker was killed from outside, perhaps by the kernel for want of "
                       "memory");
    default:
        return err_set(e, ERR_INTERNAL,
                       "the import worker crashed (%s); the harm stayed in its sandbox. The file is "
                       "damaged, or made to attack: do not use it",
                       strsignal(s->exit.si_status));
    }
}

static int judge_exit(const struct spawn *s, struct err *e) {
    if (s->err.code != ERR_NONE) {
        *e = s->err;
        return -1;
    }
    if (s->exit.si_pid == 0)
        return err_set(e, ERR_SYSTEM, "how the import worker ended is not known; start it again");
    if (s->killed) return err_set(e, ERR_SYSTEM, "the import was stopped");
    if (s->exit.si_code != CLD_EXITED) return judge_signal(s, e);
    if (s->exit.si_status != 0 || !s->wire.ended)
        return err_set(e, ERR_INTERNAL, "the import worker ended without a result (status %d)",
                       s->exit.si_status);
    return 0;
}

static int judge_outcome(struct spawn *s, struct spawn_result *out) {
    if (s->wire.outcome == WORKER_ERROR) {
        out->err = s->wire.error;
        return -1;
    }
    if (s->wire.outcome == WORKER_NEEDS) {
        memcpy(out->needs, s->wire.needs, sizeof out->needs);
        return err_set(&out->err, ERR_TRUNCATED, "its weights are in %s, which is not beside it",
                       s->wire.needs);
    }
    struct stat st;
    if (fstat(s->memfd, &st) < 0) return err_set(&out->err, ERR_SYSTEM, "image: %s", strerror(errno));
    if (st.st_size <= 0 || (uint64_t)st.st_size != s->wire.image_bytes || s->wire.image_bytes > s->output)
        return err_set(&out->err, ERR_INTERNAL,
                       "the import worker said that it wrote %llu bytes, but %lld are there; a "
                       "file that takes over its parser would look like this: do not use it",
                       (unsigned long long)s->wire.image_bytes, (long long)st.st_size);
    /* EBUSY would mean that a writable mapping has outlived the worker. */
    if (fcntl(s->memfd, F_ADD_SEALS, SEALS) < 0)
        return err_set(&out->err, ERR_SYSTEM, "can't seal the image: %s", strerror(errno));
    if ((fcntl(s->memfd, F_GET_SEALS) & SEALS) != SEALS)
        return err_set(&out->err, ERR_INTERNAL, "the image's seals are not in force");
    return 0;
}

void spawn_finish(struct spawn *s, struct spawn_result *out) {
    *out = (struct spawn_result){.fd = -1};
    if (!s->over) {
        end_by_force(s);
        check_exit(s, 0);
        s->over = true;
    }
    out->has_digests = s->wire.has_digests;
    out->digests = s->wire.digests;
    memcpy(out->notes, s->wire.notes, sizeof out->notes);
    if (judge_exit(s, &out->err) == 0 && judge_outcome(s, out) == 0) {
        out->bytes = s->wire.image_bytes;
        out->report = s->wire.report;
        s->wire.report = (struct report){0};
        out->fd = s->memfd;
        s->memfd = -1;
    }
    release(s);
}

void spawn_result_free(struct spawn_result *r) {
    close_fd(&r->fd);
    report_free(&r->report);
}

int spawn_run(const struct spawn_request *r, struct spawn_result *out) {
    struct spawn *s = NULL;
    struct err e = {0};
    if (spawn_start(&s, r, &e) < 0 || !s) { /* the latter follows, but not for gcc's analyzer */
        *out = (struct spawn_result){.fd = -1, .err = e};
        return -1;
    }
    struct pollfd p = {.fd = spawn_fd(s), .events = POLLIN};
    while (!spawn_step(s))
        if (poll(&p, 1, -1) < 0 && errno != EINTR) break; /* then spawn_finish stops it */
    spawn_finish(s, out);
    return out->err.code == ERR_NONE ? 0 : -1;
}
