/* The guard's loop: folder, workers and link meet here.
 *
 *   watch (scan) -> files (what is next) -> imports (the workers) -> files -> link -> clpd
 *                                        `-> probes (what serves, or waits for its verdict) -> files
 *
 * Everything it knows is in struct guard; what it decides is in files.c. One
 * thread; nothing here blocks but the end of a worker that was killed. */
#include "guard/guard.h"

#include "config/config.h"
#include "guard/control.h"
#include "guard/decision.h"
#include "guard/files.h"
#include "guard/imports.h"
#include "guard/keeper.h"
#include "guard/link.h"
#include "guard/notice.h"
#include "guard/policy.h"
#include "guard/probes.h"
#include "guard/restore.h"
#include "guard/watch.h"
#include "infer/image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define SCAN_PAUSE_MS 10 /* between scans, however many events come */
#define SCAN_SHARE                                                                                           \
    4 /* at most one part of the time in so many: whoever fills a large folder needs it, too                 \
       */
#define SCAN_PAUSE_MAX 1000
#define POLL_MS        1000   /* where no event can be relied on */
#define GREETING_MS    120000 /* clpd greets once no model is being loaded, which may take a while */
#define PULSES         4      /* in the time that clpd lets us be silent */

enum source {
    SOURCE_LINK,
    SOURCE_SIGNAL,
    SOURCE_WATCH,
    SOURCE_MOUNTS,
    SOURCE_WORKER,
    SOURCE_KEEPER,
    SOURCE_PROBE
};

struct guard {
    struct config config;
    const char *config_path;
    int link, epoll, signals;
    int mounts;  /* /proc/self/mountinfo: a mount over the folder gives no event of inotify */
    int watched; /* watch_fd that epoll knows */
    struct watch *watch;
    struct files *files;
    struct policies *policies;
    struct keeper *keeper;
    struct restore restore;
    struct control control;

    struct imports imports;
    struct probe_book book;
    struct probes *probes;

    bool hello;       /* clpd's has come */
    bool greeted;     /* and what it serves already is known: the work can begin */
    uint32_t awaited; /* LINK_SERVING */
    bool want_scan, scan_failed, said_restored, settled, waits_for_room;
    bool ending;
    int status;
    uint64_t started, last_scan, scan_took, last_pulse;
    char last_failure[ERR_TEXT], last_backend[LINK_REASON];
};

static uint64_t now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void end(struct guard *g, int status) {
    g->ending = true;
    g->status = status;
}

/* --- settings ---------------------------------------------------------------------------- */

static struct files_options files_options_of(const struct config *c, const struct policies *p) {
    return (struct files_options){.settle_ms = c->guard_settle_ms,
                                  .retire_ms = c->guard_retire_s * 1000,
                                  .policy = policies_digest(p),
                                  .build = policy_build(c)};
}

static void say_precision(const struct config *c) {
    if (c->engine_precision == PRECISION_BF16 && !policy_bf16(c))
        notice(LOG_LEVEL_WARNING,
               "engine.precision is bf16, but this CPU %s: models are compiled for float32",
               image_isa_runs_here(ISA_AVX512_BF16) ? "multiplies that slower than float32"
                                                    : "has no AVX512-BF16");
}

/* The settings are g->config's; the files that they name are read here. */
static int load_policies(struct guard *g) {
    struct err e = {0};
    struct policies *fresh = policies_load(&g->config, &e);
    if (!fresh) return -1;
    if (e.code != ERR_NONE) notice(LOG_LEVEL_ERROR, "the policy names a file that is of no use: %s", e.text);
    policies_free(g->policies);
    g->policies = fresh;
    g->imports.policies = g->book.policies = fresh;
    g->control.policy = policies_digest(fresh);
    return 0;
}

static int watch_source(const struct guard *g, int fd, enum source source, uint32_t events, int op) {
    struct epoll_event ev = {.events = events, .data.u64 = source};
    return epoll_ctl(g->epoll, op, fd, &ev) < 0 ? -errno : 0;
}

/* --- a sign of life, which also says how the folder is watched ------------------------------ */

static uint64_t next_pulse(const struct guard *g) {
    return g->last_pulse + g->config.guard_silence_s * UINT64_C(1000) / PULSES;
}

/* Where clpd does not read just now, it knows that. */
static void say_alive(struct guard *g, uint64_t now) {
    struct link_message m = {.version = LINK_VERSION, .type = LINK_ALIVE};
    (void)snprintf(m.reason, sizeof m.reason, "%s", watch_backend(g->watch));
    g->last_pulse = now;
    if (link_send(g->link, &m, -1) == 0) memcpy(g->last_backend, m.reason, sizeof g->last_backend);
}

/* watch_pulse_fn */
static void scan_goes_on(void *arg) {
    struct guard *g = arg;
    const uint64_t now = now_ms();
    if (g->greeted && now >= next_pulse(g)) say_alive(g, now);
}

/* After each change of settings or folder. */
static void set_probes(struct guard *g) {
    probes_set(g->probes, g->policies, g->watch, imports_salt(&g->imports));
}

static int listen_to_watch(struct guard *g) {
    const int fd = watch_fd(g->watch);
    if (fd < 0 || fd == g->watched) return 0;
    const int rc = watch_source(g, fd, SOURCE_WATCH, EPOLLIN, EPOLL_CTL_ADD);
    if (rc == 0) g->watched = fd;
    return rc;
}

static int start_watch(struct guard *g) {
    g->watch = watch_new(g->config.models);
    if (!g->watch) return -ENOMEM;
    watch_set_pulse(g->watch, scan_goes_on, g);
    g->watched = -1;
    g->imports.watch = g->watch;
    set_probes(g);
    g->want_scan = true;
    return listen_to_watch(g);
}

static void reload(struct guard *g) {
    struct config fresh;
    struct err e = {0};
    if (config_load(&fresh, g->config_path, &e) < 0) {
        notice(LOG_LEVEL_ERROR, "%s; the settings stay as they were", e.text);
        return;
    }
    bool moved = strcmp(fresh.models, g->config.models) != 0;
    g->config = fresh;
    notice_set_level(fresh.log_level);
    if (load_policies(g) < 0) {
        end(g, 1); /* clpd starts another guard */
        return;
    }
    struct files_options o = files_options_of(&g->config, g->policies);
    files_set_options(g->files, &o);
    set_probes(g);
    g->want_scan = true;
    if (!moved) return;
    watch_free(g->watch);
    if (start_watch(g) < 0) end(g, 1); /* clpd starts another guard */
}

/* --- what clpd gets to hear -------------------------------------------------------------- */

/* 0, -EAGAIN, or -1: the link is of no more use. */
static int send_message(struct guard *g, const struct link_message *m, int fd) {
    int rc = link_send(g->link, m, fd);
    if (rc == 0 || rc == -EAGAIN) return rc;
    if (rc != -EPIPE && rc != -ECONNRESET) notice(LOG_LEVEL_ERROR, "can't write to clpd: %s", strerror(-rc));
    end(g, rc == -EPIPE || rc == -ECONNRESET ? 0 : 1);
    return -1;
}

static int say_settled(struct guard *g) {
    struct link_message m = {.version = LINK_VERSION, .type = LINK_SETTLED};
    if (g->settled || !files_settled(g->files)) return 0;
    (void)snprintf(m.reason, sizeof m.reason, "%s", watch_backend(g->watch));
    int rc = send_message(g, &m, -1);
    g->settled = rc == 0;
    return rc;
}

/* clpd opens its door on this: who connects to a restarted daemon finds served what was served before. */
static int say_restored(struct guard *g) {
    struct link_message m = {.version = LINK_VERSION, .type = LINK_RESTORED};
    if (g->said_restored || !restore_is_done(&g->restore)) return 0;
    int rc = send_message(g, &m, -1);
    g->said_restored = rc == 0;
    return rc;
}

static void retire(struct guard *g, struct link_message m) {
    (void)snprintf(m.reason, sizeof m.reason, "its file is gone");
    decision_note(DECISION_RETIRED, &m);
    keeper_retired(g->keeper, m.model);
}

static void talk(struct guard *g) {
    struct link_message m;
    int fd, rc = 0;
    if (!g->greeted) return;
    while (rc == 0 && restore_next(&g->restore, &m, &fd)) {
        rc = send_message(g, &m, fd);
        if (rc == 0) restore_sent(&g->restore);
    }
    if (rc == 0) rc = say_restored(g);
    while (rc == 0 && control_next(&g->control, &m, &fd)) {
        rc = send_message(g, &m, fd);
        if (rc == 0) control_sent(&g->control, &m);
    }
    while (rc == 0 && files_next_message(g->files, &m, &fd)) {
        rc = send_message(g, &m, fd);
        if (rc < 0) break;
        if (m.type == LINK_RETIRE) retire(g, m);
        files_message_sent(g->files, &m);
    }
    while (rc == 0 && probes_next_message(g->probes, &m, &fd)) {
        rc = send_message(g, &m, fd);
        if (rc == 0) probes_message_sent(g->probes, &m);
    }
    if (rc == 0) rc = say_settled(g);
    bool full = rc == -EAGAIN;
    if (g->ending || full == g->waits_for_room) return;
    g->waits_for_room = full;
    if (watch_source(g, g->link, SOURCE_LINK, EPOLLIN | (full ? EPOLLOUT : 0), EPOLL_CTL_MOD) < 0) end(g, 1);
}

static void take_message(struct guard *g, const struct link_message *m) {
    if (g->hello == (m->type == LINK_HELLO)) {
        notice(LOG_LEVEL_ERROR, "clpd greets %s; is it of another version?", g->hello ? "twice" : "not");
        end(g, 1);
        return;
    }
    switch (m->type) {
    case LINK_HELLO:
        g->hello = true;
        g->awaited = m->count;
        break;
    case LINK_ANSWER:
        if (restore_on_answer(&g->restore, m)) {
            if (m->accepted) decision_note(DECISION_RESTORED, m);
            probes_on_serving(g->probes, m->model);
        } else if (control_on_answer(&g->control, m)) {
            probes_on_serving(g->probes, m->model);
        } else {
            files_on_answer(g->files, m, now_ms());
        }
        g->want_scan = true;
        break;
    case LINK_SERVING:
        if (!restore_allows(&g->restore, m))
            notice(LOG_LEVEL_WARNING,
                   "model %s: version %llu was decided under another policy than today's: it is not served "
                   "until its "
                   "file has been looked at again",
                   m->model, (unsigned long long)m->model_version);
        else if (!files_on_serving(g->files, m))
            end(g, 1); /* clpd starts another guard */
        if (g->awaited) g->awaited--;
        break;
    case LINK_CONTROL:
        control_take(&g->control, m, now_ms());
        g->want_scan = true;
        break;
    case LINK_RELOAD: reload(g); break;
    default:
        notice(LOG_LEVEL_ERROR, "clpd sent a message that is not for a guard (%u)", m->type);
        end(g, 1);
        break;
    }
    if (g->greeted || !g->hello || g->awaited) return;
    g->greeted = true;
    restore_begin(&g->restore);
}

static void on_link(struct guard *g) {
    struct link_message m;
    int fd, rc = 1;
    while (!g->ending && (rc = link_receive(g->link, &m, &fd)) == 1) {
        if (fd >= 0) (void)close(fd); /* only offers have one, and take_message refuses those */
        take_message(g, &m);
    }
    if (rc == 0 || rc == -ECONNRESET)
        end(g, 0); /* clpd is gone: so are we */
    else if (rc < 0 && rc != -EAGAIN) {
        notice(LOG_LEVEL_ERROR, "what came from clpd is not its protocol: %s", strerror(-rc));
        end(g, 1);
    }
}

/* --- the folder -------------------------------------------------------------------------- */

static void scan(struct guard *g, uint64_t now) {
    struct err e = {0};
    g->want_scan = false;
    g->last_scan = now;
    g->scan_failed = watch_scan(g->watch, g->files, imports_salt(&g->imports), now, &e) < 0;
    g->scan_took = now_ms() - now;
    if (strcmp(g->last_failure, e.text) != 0) {
        if (g->scan_failed)
            notice(LOG_LEVEL_WARNING, "%s; what is served stays", e.text);
        else
            notice(LOG_LEVEL_INFO, "the model folder %s is there again", g->config.models);
    }
    memcpy(g->last_failure, e.text, sizeof g->last_failure);
    imports_stop_stale(&g->imports, now);
    if (strcmp(g->last_backend, watch_backend(g->watch)) != 0) say_alive(g, now);
    if (listen_to_watch(g) < 0) end(g, 1); /* clpd starts another guard */
}

static uint64_t next_scan(const struct guard *g) {
    uint64_t pause = (uint64_t)g->config.guard_rescan_s * 1000, due, rest = g->scan_took * SCAN_SHARE;
    if (rest < SCAN_PAUSE_MS) rest = SCAN_PAUSE_MS;
    if (rest > SCAN_PAUSE_MAX) rest = SCAN_PAUSE_MAX;
    const uint64_t earliest = g->last_scan + rest;
    if ((g->scan_failed || watch_is_limited(g->watch)) && pause > POLL_MS) pause = POLL_MS;
    due = g->last_scan + pause;
    if (!g->scan_failed && files_next_scan(g->files) < due) due = files_next_scan(g->files);
    if (g->want_scan) due = 0;
    return due > earliest ? due : earliest;
}

/* --- imports ----------------------------------------------------------------------------- */

static void start_probe(struct guard *g) {
    if (g->greeted && restore_is_done(&g->restore)) probes_turn(g->probes, now_ms());
}

static void start_imports(struct guard *g) {
    struct import *x;
    while (restore_is_done(&g->restore) && (x = imports_take(&g->imports))) {
        talk(g); /* `importing` is told before it is over */
        imports_launch(&g->imports, x);
    }
}

/* --- the loop ---------------------------------------------------------------------------- */

static void trace(void *arg, const struct link_message *m, uint32_t from) {
    const bool fresh = from != m->state;
    control_on_file(&((struct guard *)arg)->control, m);
    if (m->state == FILE_REJECTED)
        decision_note(DECISION_REJECTED, m);
    else if (m->state == FILE_HELD)
        decision_note(DECISION_HELD, m);
    else if (fresh && m->state == FILE_SUPERSEDED)
        decision_note(DECISION_SUPERSEDED, m);
    else if (m->state == FILE_SERVING && from == FILE_OFFERED)
        decision_note(m->verdict == VERDICT_PRUNED ? DECISION_PRUNED : DECISION_SERVED, m);
    else
        notice(fresh && m->state == FILE_SETTLING && from == FILE_IMPORTING ? LOG_LEVEL_INFO
                                                                            : LOG_LEVEL_DEBUG,
               "%s: %s%s%s", m->path, file_state_name(m->state), *m->reason ? ": " : "", m->reason);
}

/* --- what is kept ------------------------------------------------------------------------ */

static void keep(void *arg, const char *model, const struct state_image *image, int fd) {
    struct guard *g = arg;
    keeper_serves(g->keeper, model, image, fd);
    const struct probe_entry *e = probe_book_find(&g->book, model, &image->digests);
    if (e) probe_book_keep(&g->book, e); /* what no record names is removed: until now none did */
    probes_on_serving(g->probes, model);
}

static void on_state_trouble(void *arg, const char *name, const char *why) {
    struct link_message m = {0};
    (void)arg;
    (void)snprintf(m.path, sizeof m.path, "%s", name);
    (void)snprintf(m.reason, sizeof m.reason, "%s", why);
    decision_note(DECISION_STATE_REFUSED, &m);
}

static void on_kept_refused(void *arg, const struct state_record *r, uint64_t version, const char *why) {
    struct link_message m = {.model_version = version};
    (void)arg;
    memcpy(m.model, r->model, sizeof m.model);
    (void)snprintf(m.reason, sizeof m.reason, "%.440s; its file is imported again", why);
    decision_note(DECISION_STATE_REFUSED, &m);
}

static void on_keeper(struct guard *g) {
    struct link_message m = {0};
    struct err e;
    while (keeper_failure(g->keeper, m.model, &e)) {
        (void)snprintf(
            m.reason, sizeof m.reason,
            "%.360s. It serves, but after a restart the one that was kept before it does, until its file is "
            "imported again",
            e.text);
        decision_note(DECISION_STATE_FAILED, &m);
    }
}

static void fall_back(void *arg, const char *model, const char *why) {
    struct guard *g = arg;
    control_fall_back(&g->control, model, why);
}

static int open_probes(struct guard *g) {
    const struct probes_parts parts = {.config = &g->config,
                                       .files = g->files,
                                       .book = &g->book,
                                       .epoll = g->epoll,
                                       .source = SOURCE_PROBE,
                                       .fall_back = fall_back,
                                       .arg = g};
    g->book.keeper = g->keeper;
    probe_book_load(&g->book, on_state_trouble, g);
    g->probes = probes_new(&parts);
    g->control.probes = g->probes;
    return g->probes ? 0 : -ENOMEM;
}

static int open_keeper(struct guard *g) {
    struct err e = {0};
    g->keeper = keeper_open(g->config.state, on_state_trouble, g, &e);
    if (!g->keeper) return -ENOMEM;
    if (e.code != ERR_NONE) notice(LOG_LEVEL_WARNING, "nothing is kept for a restart: %s", e.text);
    g->restore = (struct restore){.keeper = g->keeper,
                                  .files = g->files,
                                  .policy = policies_digest(g->policies),
                                  .refused = on_kept_refused,
                                  .arg = g,
                                  .fd = -1};
    g->control =
        (struct control){.keeper = g->keeper, .files = g->files, .policy = policies_digest(g->policies)};
    files_set_keep(g->files, keep, g);
    const int fd = keeper_fd(g->keeper);
    return fd < 0 ? 0 : watch_source(g, fd, SOURCE_KEEPER, EPOLLIN, EPOLL_CTL_ADD);
}

static void on_signal(struct guard *g) {
    struct signalfd_siginfo s;
    if (read(g->signals, &s, sizeof s) == sizeof s) end(g, 0);
}

static int timeout_of(const struct guard *g, uint64_t now) {
    uint64_t due = g->greeted ? next_scan(g) : g->started + GREETING_MS;
    if (g->greeted && !restore_is_done(&g->restore)) due = UINT64_MAX; /* clpd's answers come first */
    if (g->greeted && next_pulse(g) < due) due = next_pulse(g);
    if (due <= now) return 0;
    return due - now > INT_MAX ? INT_MAX : (int)(due - now);
}

static void on_time(struct guard *g) {
    uint64_t now = now_ms();
    if (g->greeted && now >= next_pulse(g)) say_alive(g, now);
    if (restore_is_done(&g->restore) && now >= next_scan(g)) scan(g, now);
    if (!g->greeted && now >= g->started + GREETING_MS) {
        notice(LOG_LEVEL_ERROR, "clpd does not greet; was this started by hand?");
        end(g, 1);
    }
}

static void run(struct guard *g) {
    struct epoll_event events[8];
    while (!g->ending) {
        on_time(g);
        talk(g);
        start_imports(g);
        start_probe(g);
        talk(g);
        if (g->ending) return;
        int n = epoll_wait(g->epoll, events, 8, timeout_of(g, now_ms()));
        for (int i = 0; i < n && !g->ending; i++)
            switch (events[i].data.u64 >> 32 ? SOURCE_WORKER : events[i].data.u64) {
            case SOURCE_LINK: on_link(g); break;
            case SOURCE_SIGNAL: on_signal(g); break;
            case SOURCE_MOUNTS: g->want_scan = true; break;
            case SOURCE_WATCH: g->want_scan |= watch_read(g->watch); break;
            case SOURCE_WORKER: imports_step(&g->imports, events[i].data.u64, now_ms()); break;
            case SOURCE_KEEPER: on_keeper(g); break;
            case SOURCE_PROBE: g->want_scan |= probes_step(g->probes, now_ms()); break;
            }
    }
}

static int set_up_signals(struct guard *g) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return -errno;
    (void)signal(SIGHUP, SIG_IGN); /* clpd tells us by LINK_RELOAD */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL); /* spawn.c wants to see how workers end */
    g->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return g->signals < 0 ? -errno : watch_source(g, g->signals, SOURCE_SIGNAL, EPOLLIN, EPOLL_CTL_ADD);
}

static int set_up(struct guard *g) {
    struct link_message hello = {.version = LINK_VERSION, .type = LINK_HELLO};
    if (load_policies(g) < 0) return -ENOMEM;
    say_precision(&g->config);
    struct files_options o = files_options_of(&g->config, g->policies);
    g->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (g->epoll < 0 || fcntl(g->link, F_SETFD, FD_CLOEXEC) < 0 || fcntl(g->link, F_SETFL, O_NONBLOCK) < 0 ||
        watch_source(g, g->link, SOURCE_LINK, EPOLLIN, EPOLL_CTL_ADD) < 0)
        return -errno;
    int rc = set_up_signals(g);
    if (rc < 0) return rc;
    g->mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC); /* without it, the next rescan finds it */
    if (g->mounts >= 0) (void)watch_source(g, g->mounts, SOURCE_MOUNTS, EPOLLPRI, EPOLL_CTL_ADD);
    g->files = files_new(&o);
    if (!g->files) return -ENOMEM;
    files_set_trace(g->files, trace, g);
    rc = open_keeper(g);
    if (rc < 0) return rc;
    rc = open_probes(g);
    if (rc < 0) return rc;
    g->imports.keeper = g->keeper;
    g->imports.book = &g->book;
    imports_init(&g->imports, &g->config, g->files, g->epoll);
    rc = start_watch(g);
    return rc < 0 ? rc : link_send(g->link, &hello, -1);
}

int guard_main(const char *config_path, int link_fd) {
    static struct guard g;
    struct err e = {0};
    g = (struct guard){.config_path = config_path,
                       .link = link_fd,
                       .epoll = -1,
                       .signals = -1,
                       .mounts = -1,
                       .started = now_ms()};
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0); /* the closed link tells it, too */
    if (config_load(&g.config, config_path, &e) < 0) {
        notice(LOG_LEVEL_ERROR, "%s", e.text);
        return 2;
    }
    notice_set_level(g.config.log_level);
    int rc = set_up(&g);
    if (rc < 0) {
        notice(LOG_LEVEL_ERROR, "can't start: %s", strerror(-rc));
        g.status = 1;
    } else {
        run(&g);
    }
    restore_end(&g.restore);
    control_end(&g.control);
    probes_free(g.probes);
    probe_book_free(&g.book);
    imports_stop_all(&g.imports);
    files_free(g.files);
    keeper_close(g.keeper);
    policies_free(g.policies);
    watch_free(g.watch);
    if (g.signals >= 0) (void)close(g.signals);
    if (g.mounts >= 0) (void)close(g.mounts);
    if (g.epoll >= 0) (void)close(g.epoll);
    (void)close(g.link);
    return g.status;
}
