/* posix_spawn, a SOCK_SEQPACKET pair, a pidfd. */
#include "daemon/guard_child.h"

#include "daemon/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_FD       3
#define FIRST_PAUSE    100000000u   /* 0.1 s */
#define LONGEST_PAUSE  30000000000u /* 30 s */
#define GREETING_LIMIT 10000000000u
#define LIVED_LONG     10000000000u /* so long that the back-off starts anew */
#define SEND_AGAIN     10000000u
#define LOOKS          4 /* in the time that it may be silent. Several, since we may have been stopped with it */
#define QUEUE          320 /* messages that the guard has not taken yet: LINK_SERVING of 256 models, and some */

enum state { DOWN, GREETING, UP, ENDING, STOPPED };
static const char *const state_names[] = {"down", "starting", "up", "ending", "stopped"};

struct guard_child {
    struct loop *loop;
    const char *path, *config;
    struct guard_child_calls calls;
    enum state state;
    pid_t pid; /* 0: none */
    int pidfd, link;
    struct loop_watch *watch_pid, *watch_link;
    struct loop_timer pulse; /* UP: has it said something since the last look? */
    uint64_t silence;
    uint32_t silent_looks;
    char watching[LINK_REASON];
    struct loop_timer timer; /* DOWN: start again; GREETING: too late; UP: send again */
    uint64_t pause, started_ns, starts;
    bool stopping;
    struct link_message queue[QUEUE];
    uint32_t queue_first, queue_n;
};

static void set_state(struct guard_child *g, enum state to) {
    static const uint8_t legal[] = {[DOWN] = 1 << GREETING | 1 << STOPPED,
                                    [GREETING] = 1 << UP | 1 << ENDING,
                                    [UP] = 1 << ENDING,
                                    [ENDING] = 1 << DOWN | 1 << STOPPED,
                                    [STOPPED] = 0};
    assert(legal[g->state] & (1 << to));
    log_debug("guard: %s -> %s", state_names[g->state], state_names[to]);
    g->state = to;
}

static void start(void *owner);
static void read_link(void *owner);

static void start_later(struct guard_child *g) {
    loop_timer_set(g->loop, &g->timer, loop_now(g->loop) + g->pause, start, g);
    g->pause = g->pause * 2 < LONGEST_PAUSE ? g->pause * 2 : LONGEST_PAUSE;
}

/* --- its end ---------------------------------------------------------------------------- */

static void close_link(struct guard_child *g) {
    loop_unwatch(g->watch_link);
    g->watch_link = NULL;
    if (g->link >= 0) (void)close(g->link);
    g->link = -1;
    g->queue_n = 0;
}

/* It talks nonsense, or is to go: the link is closed and the process ends. */
static void end_it(struct guard_child *g, int signal_number) {
    if (g->state != GREETING && g->state != UP) return;
    set_state(g, ENDING);
    loop_timer_stop(g->loop, &g->timer);
    loop_timer_stop(g->loop, &g->pulse);
    close_link(g);
    if (g->pid) (void)kill(g->pid, signal_number);
}

static void forget_process(struct guard_child *g) {
    loop_unwatch(g->watch_pid);
    g->watch_pid = NULL;
    if (g->pidfd >= 0) (void)close(g->pidfd);
    g->pidfd = -1;
    g->pid = 0;
}

static void say_how(const struct guard_child *g, int status) {
    char how[64] = "ended";
    if (WIFSIGNALED(status))
        (void)snprintf(how, sizeof how, "was killed by signal %d", WTERMSIG(status));
    else if (WIFEXITED(status))
        (void)snprintf(how, sizeof how, "ended with status %d", WEXITSTATUS(status));
    if (g->stopping)
        log_debug("clp-guard %s", how);
    else
        log_warning("clp-guard %s; it is started again in %.1f s, what is served goes on", how,
                    (double)g->pause / 1e9);
}

static void on_exit_of_child(void *owner) {
    struct guard_child *g = owner;
    int status;
    if (!g->pid || waitpid(g->pid, &status, WNOHANG) != g->pid) return;
    if (g->state == GREETING || g->state == UP) read_link(g); /* its last words */
    end_it(g, 0);
    forget_process(g);
    if (loop_now(g->loop) - g->started_ns > LIVED_LONG) g->pause = FIRST_PAUSE;
    say_how(g, status);
    set_state(g, g->stopping ? STOPPED : DOWN);
    if (!g->stopping) start_later(g);
}

/* --- messages ----------------------------------------------------------------------------- */

static void flush_queue(void *owner) {
    struct guard_child *g = owner;
    while (g->queue_n && g->link >= 0) {
        int rc = link_send(g->link, &g->queue[g->queue_first], -1);
        if (rc == -EAGAIN) {
            if (g->state == UP)
                loop_timer_set(g->loop, &g->timer, loop_now(g->loop) + SEND_AGAIN, flush_queue, g);
            return;
        }
        if (rc) {
            log_debug("to the guard: %s", strerror(-rc));
            g->queue_n = 0;
            if (rc != -EPIPE && rc != -ECONNRESET) end_it(g, SIGKILL); /* what is lost would be waited for */
            return; /* its own end is noticed by the pidfd, when its last words are read */
        }
        g->queue_first = (g->queue_first + 1) % QUEUE;
        g->queue_n--;
    }
}

static void enqueue(struct guard_child *g, const struct link_message *m) {
    if (g->queue_n == QUEUE) {
        log_warning("the guard does not read what it is told: it is restarted");
        end_it(g, SIGKILL);
        return;
    }
    struct link_message *to = &g->queue[(g->queue_first + g->queue_n++) % QUEUE];
    *to = *m;
    to->version = LINK_VERSION;
    flush_queue(g);
}

void guard_child_send(struct guard_child *g, const struct link_message *m) {
    if (g->state == UP) enqueue(g, m);
}

/* --- its pulse ------------------------------------------------------------------------------ */

/* What it said while we did not listen is no silence. */
static void feel_pulse(void *owner) {
    struct guard_child *g = owner;
    if (!g->calls.can_take(g->calls.owner))
        g->silent_looks = 0;
    else
        read_link(g);
    if (g->state != UP) return;
    if (g->silent_looks++ < LOOKS) {
        loop_timer_set(g->loop, &g->pulse, loop_now(g->loop) + g->silence / LOOKS, feel_pulse, g);
        return;
    }
    log_warning("clp-guard has given no sign of life for %.1f s: it is restarted", (double)g->silence / 1e9);
    end_it(g, SIGKILL);
}

void guard_child_set_silence(struct guard_child *g, uint64_t silence) {
    g->silence = silence;
    g->silent_looks = 0;
    loop_timer_stop(g->loop, &g->pulse);
    if (silence && g->state == UP)
        loop_timer_set(g->loop, &g->pulse, loop_now(g->loop) + silence / LOOKS, feel_pulse, g);
}

/* --- messages in ---------------------------------------------------------------------------- */

static void on_message(struct guard_child *g, const struct link_message *m, int fd) {
    g->silent_looks = 0;
    if (g->state == GREETING && m->type == LINK_HELLO) {
        /* Greeted back only now, so that the count and what follows are of one moment. */
        const struct link_message hello = {.type = LINK_HELLO, .count = g->calls.served(g->calls.owner)};
        set_state(g, UP);
        loop_timer_stop(g->loop, &g->timer);
        enqueue(g, &hello);
        g->calls.greeted(g->calls.owner);
        guard_child_set_silence(g, g->silence);
    } else if (g->state == UP && m->type == LINK_ALIVE) {
        if (strcmp(g->watching, m->reason) != 0) log_info("the guard watches by %s", m->reason);
        memcpy(g->watching, m->reason, sizeof g->watching);
    } else if (g->state == UP && m->type != LINK_HELLO) {
        g->calls.received(g->calls.owner, m, fd);
    } else {
        if (fd >= 0) (void)close(fd);
        log_warning("the guard says something out of turn (type %u): it is restarted", m->type);
        end_it(g, SIGKILL);
    }
}

/* A greeting is for what is served and will be: nothing that an earlier guard has asked for may be under way.
 */
static bool may_read(const struct guard_child *g) {
    if (g->link < 0) return false;
    return g->state == UP ? g->calls.can_take(g->calls.owner) : g->calls.can_greet(g->calls.owner);
}

static void read_link(void *owner) {
    struct guard_child *g = owner;
    struct link_message m;
    int fd;
    while (may_read(g)) {
        int rc = link_receive(g->link, &m, &fd);
        if (rc == 1) {
            on_message(g, &m, fd);
            continue;
        }
        if (rc == -EAGAIN) return;
        if (rc == -EPROTO) log_warning("the guard sends what is no message: it is restarted");
        end_it(g, SIGKILL); /* end of the link: it is of no use without */
        return;
    }
}

void guard_child_resume(struct guard_child *g) {
    if (g->state == UP || g->state == GREETING) read_link(g);
}

/* --- its beginning --------------------------------------------------------------------------- */

/* Ours alone: readiness, watchdog and passed sockets are clpd's, not the child's. */
static bool is_kept(const char *variable) {
    static const char *const ours[] = {
        "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=", "LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES="};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strncmp(variable, ours[i], strlen(ours[i])) == 0) return false;
    return true;
}

static char **child_environment(void) {
    size_t n = 0, kept = 0;
    while (environ[n]) n++;
    char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        if (is_kept(environ[i])) copy[kept++] = environ[i];
    return copy;
}

static int spawn(struct guard_child *g, int child_end) {
    char number[16], *argv[] = {(char *)(uintptr_t) "clp-guard",
                                (char *)(uintptr_t) "--config",
                                (char *)(uintptr_t)g->config,
                                (char *)(uintptr_t) "--link-fd",
                                number,
                                NULL};
    char **environment = child_environment();
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    if (!environment) return ENOMEM;
    (void)snprintf(number, sizeof number, "%d", CHILD_FD);
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawnattr_init(&attributes);
    int rc = posix_spawn_file_actions_adddup2(&files, child_end, CHILD_FD); /* clears close-on-exec */
    if (rc == 0) rc = posix_spawnattr_setsigmask(&attributes, &none);
    if (rc == 0) rc = posix_spawnattr_setsigdefault(&attributes, &all);
    if (rc == 0) rc = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (rc == 0) rc = posix_spawn(&g->pid, g->path, &files, &attributes, argv, environment);
    if (rc) g->pid = 0;
    (void)posix_spawn_file_actions_destroy(&files);
    (void)posix_spawnattr_destroy(&attributes);
    free(environment);
    return rc;
}

static void too_late(void *owner) {
    struct guard_child *g = owner;
    if (!g->calls.can_greet(g->calls.owner)) { /* it is we who don't listen */
        loop_timer_set(g->loop, &g->timer, loop_now(g->loop) + GREETING_LIMIT, too_late, g);
        return;
    }
    log_warning("clp-guard does not say hello: it is restarted");
    end_it(g, SIGKILL);
}

static int watch_it(struct guard_child *g) {
    g->pidfd = pidfd_open(g->pid, 0);
    if (g->pidfd < 0) return -errno;
    int rc = loop_watch(g->loop, g->pidfd, on_exit_of_child, g, &g->watch_pid);
    return rc ? rc : loop_watch(g->loop, g->link, read_link, g, &g->watch_link);
}

static void start(void *owner) {
    struct guard_child *g = owner;
    int pair[2] = {-1, -1};
    int rc = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? errno : 0;
    if (rc == 0 && fcntl(pair[0], F_SETFL, O_NONBLOCK)) rc = errno; /* our end alone */
    if (rc == 0) rc = spawn(g, pair[1]);
    if (pair[1] >= 0) (void)close(pair[1]);
    if (rc) {
        if (pair[0] >= 0) (void)close(pair[0]);
        log_error("starting %s: %s; tried again in %.1f s", g->path, strerror(rc), (double)g->pause / 1e9);
        start_later(g);
        return;
    }
    g->link = pair[0];
    g->starts++;
    g->started_ns = loop_now(g->loop);
    g->queue_first = g->queue_n = 0;
    set_state(g, GREETING);
    rc = watch_it(g);
    if (rc) { /* can't be watched: better none than one that nobody hears */
        log_error("watching clp-guard: %s", strerror(-rc));
        const pid_t pid = g->pid;
        end_it(g, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        forget_process(g);
        set_state(g, DOWN);
        start_later(g);
        return;
    }
    loop_timer_set(g->loop, &g->timer, g->started_ns + GREETING_LIMIT, too_late, g);
}

struct guard_child *guard_child_start(struct loop *l, const char *path, const char *config,
                                      const struct guard_child_calls *calls) {
    struct guard_child *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->loop = l;
    g->path = path;
    g->config = config;
    g->calls = *calls;
    g->pidfd = g->link = -1;
    g->pause = FIRST_PAUSE;
    start(g);
    return g;
}

void guard_child_stop(struct guard_child *g) {
    if (g->stopping) return;
    g->stopping = true;
    loop_timer_stop(g->loop, &g->timer);
    end_it(g, SIGTERM);
    if (g->state == DOWN) set_state(g, STOPPED);
}

bool guard_child_is_stopped(const struct guard_child *g) {
    return g->state == STOPPED;
}

void guard_child_free(struct guard_child *g) {
    if (!g) return;
    loop_timer_stop(g->loop, &g->timer);
    loop_timer_stop(g->loop, &g->pulse);
    close_link(g);
    if (g->pid) {
        (void)kill(g->pid, SIGKILL);
        (void)waitpid(g->pid, NULL, 0);
    }
    forget_process(g);
    free(g);
}

/* --- facts ------------------------------------------------------------------------------------- */

uint64_t guard_child_ticket(const struct guard_child *g) {
    return g->starts;
}

const char *guard_child_state(const struct guard_child *g) {
    return state_names[g->state];
}

const char *guard_child_watching(const struct guard_child *g) {
    return g->watching;
}

uint64_t guard_child_restarts(const struct guard_child *g) {
    return g->starts > 1 ? g->starts - 1 : 0;
}

pid_t guard_child_pid(const struct guard_child *g) {
    return g->pid;
}

static char *join(const char *folder, const char *rest) {
    char *path;
    return asprintf(&path, "%s/%s", folder, rest) < 0 ? NULL : path;
}

char *guard_child_find(struct err *e) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        (void)err_set(e, ERR_SYSTEM, "reading /proc/self/exe: %s (is /proc mounted?)", strerror(errno));
        return NULL;
    }
    self[n] = 0;
    const char *folder = dirname(self);
    char *beside = join(folder, "clp-guard"), *installed = join(folder, "../libexec/clpd/clp-guard");
    char *found = NULL;
    if (beside && access(beside, X_OK) == 0)
        found = beside;
    else if (installed && access(installed, X_OK) == 0)
        found = installed;
    else
        (void)err_set(e, ERR_SYSTEM, "the program clp-guard is missing: it is neither %s nor %s",
                      beside ? beside : "?", installed ? installed : "?");
    if (found != beside) free(beside);
    if (found != installed) free(installed);
    return found;
}
