/* One clp-probe from start to report; see spawn_probe.h. */
#include "guard/spawn_probe.h"

#include "guard/probe_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { AT_IMAGE = 3, AT_REPORT, AT_END };
#define SLACK                                                                                                \
    120 /* seconds past its budget after which it is taken to hang: it may get little of the processor */

static int find_probe(char path[PATH_MAX], struct err *e) {
    static const char *const places[] = {"clp-probe", "../libexec/clpd/clp-probe"};
    char self[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0) return err_set(e, ERR_SYSTEM, "/proc/self/exe: %s; is /proc mounted?", strerror(errno));
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (slash) *slash = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (snprintf(path, PATH_MAX, "%s/%s", self, places[i]) < PATH_MAX && access(path, X_OK) == 0)
            return 0;
    return err_set(e, ERR_SYSTEM, "clp-probe is neither in %s nor in %s/../libexec/clpd; install it there",
                   self, self);
}

struct child {
    pid_t pid;
    int pipe;
    uint64_t deadline; /* ms */
    struct probe_wire wire;
};

static uint64_t now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Sources are moved out of the way of the numbers that they shall get. */
static int place(posix_spawn_file_actions_t *fa, int high_image, int high_report) {
    int rc = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDWR, 0);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(fa, 0, 1);
#if !defined(__SANITIZE_ADDRESS__)
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(fa, 0, 2);
#endif
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(fa, high_image, AT_IMAGE);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(fa, high_report, AT_REPORT);
    return rc ? rc : posix_spawn_file_actions_addclosefrom_np(fa, AT_END);
}

/* Returns 0 or an errno. */
static int execute(struct child *c, const char *path, const struct spawn_probe *r, int report) {
    char seconds[24], seed[24], memory[24];
    char one_thread[] = "OPENBLAS_NUM_THREADS=1", *env[] = {one_thread, NULL};
    char *args[] = {"clp-probe", "--image-fd", "3",  "--report-fd", "4",    "--seconds",
                    seconds,     "--seed",     seed, "--memory",    memory, NULL};
    posix_spawn_file_actions_t fa;
    (void)snprintf(seconds, sizeof seconds, "%u", r->seconds);
    (void)snprintf(seed, sizeof seed, "%u", r->seed);
    (void)snprintf(memory, sizeof memory, "%llu", (unsigned long long)r->memory);
    const int high_image = fcntl(r->image_fd, F_DUPFD_CLOEXEC, 32),
              high_report = fcntl(report, F_DUPFD_CLOEXEC, 32);
    int rc = high_image < 0 || high_report < 0 ? errno : posix_spawn_file_actions_init(&fa);
    if (rc == 0) {
        rc = place(&fa, high_image, high_report);
        if (rc == 0) rc = posix_spawn(&c->pid, path, &fa, NULL, args, env);
        (void)posix_spawn_file_actions_destroy(&fa);
    }
    if (high_image >= 0) (void)close(high_image);
    if (high_report >= 0) (void)close(high_report);
    return rc;
}

/* Until it has ended, or broken its word. 0, or -1 with `e` set. */
static int listen_to(struct child *c, const struct spawn_probe *r, struct err *e) {
    uint8_t bytes[16384];
    for (;;) {
        const uint64_t now = now_ms();
        struct pollfd p = {.fd = c->pipe, .events = POLLIN};
        if (now >= c->deadline)
            return err_set(e, ERR_LIMIT, "the probe did not end within its %u s and was stopped", r->seconds);
        const int ready = poll(&p, 1, (int)(c->deadline - now));
        if (ready < 0 && errno != EINTR) return err_set(e, ERR_SYSTEM, "poll: %s", strerror(errno));
        if (ready <= 0) continue;
        const ssize_t n = read(c->pipe, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        if (probe_wire_feed(&c->wire, bytes, (size_t)n, e)) return -1;
        if (r->progress) r->progress(r->ctx, c->wire.done, c->wire.what);
    }
}

static int judge(const struct child *c, int status, struct probe_report *out, struct err *e) {
    if (c->wire.failed) {
        *e = c->wire.error;
        return -1;
    }
    if (WIFSIGNALED(status))
        return err_set(e, ERR_INTERNAL,
                       "the probe was ended by a signal (%s); the harm stayed in its sandbox",
                       strsignal(WTERMSIG(status)));
    if (!c->wire.ended)
        return err_set(e, ERR_INTERNAL, "the probe ended without a result (status %d)", WEXITSTATUS(status));
    *out = c->wire.report;
    return 0;
}

int spawn_probe_run(const struct spawn_probe *r, struct probe_report *out, char note[ERR_TEXT],
                    struct err *e) {
    struct child c = {.pid = -1, .pipe = -1};
    char path[PATH_MAX];
    int ends[2], status = 0;
    note[0] = 0;
    if (find_probe(path, e)) return -1;
    if (pipe2(ends, O_CLOEXEC) < 0) return err_set(e, ERR_SYSTEM, "pipe: %s", strerror(errno));
    c.pipe = ends[0];
    c.deadline = now_ms() + ((uint64_t)r->seconds + SLACK) * 1000;
    int rc = execute(&c, path, r, ends[1]);
    (void)close(ends[1]);
    if (rc) {
        (void)close(c.pipe);
        return err_set(e, ERR_SYSTEM, "%s: can't start the probe: %s", path, strerror(rc));
    }
    if (r->low_priority) (void)setpriority(PRIO_PROCESS, (id_t)c.pid, 15);
    rc = listen_to(&c, r, e);
    if (rc) (void)kill(c.pid, SIGKILL);
    while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR) continue;
    (void)close(c.pipe);
    memcpy(note, c.wire.note, sizeof c.wire.note);
    if (rc == 0) rc = judge(&c, status, out, e);
    if (rc == 0) c.wire.report = (struct probe_report){0};
    probe_wire_free(&c.wire);
    return rc;
}
