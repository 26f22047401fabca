/* take -> launch -> step … -> finish [-> as it came -> compare] -> decide | fail | stop. See imports.h. */
#include "guard/imports.h"

#include "guard/notice.h"
#include "guard/policy.h"
#include "guard/spawn.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CANARY_ROOM ((uint64_t)1 << 30) /* for OpenBLAS, and what the networks compute */

static uint64_t now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t imports_salt(const struct imports *i) {
    const struct config *c = i->config;
    uint64_t h = policies_digest(i->policies);
    const uint64_t limits[] = {policy_build(c), c->worker_seconds, c->worker_memory, c->worker_output};
    for (int n = 0; n < 4; n++) h = (h ^ limits[n]) * UINT64_C(0x9e3779b97f4a7c15);
    return h;
}

static void clear(struct import *x) {
    *x = (struct import){.opened = MODEL_FILES_NONE, .result.fd = -1};
}

void imports_init(struct imports *i, const struct config *c, struct files *f, int epoll) {
    *i = (struct imports){.config = c,
                          .files = f,
                          .policies = i->policies,
                          .keeper = i->keeper,
                          .book = i->book,
                          .watch = i->watch,
                          .epoll = epoll};
    for (int n = 0; n < IMPORTS_MAX; n++) clear(&i->list[n]);
}

/* --- the beginning ----------------------------------------------------------------------- */

struct import *imports_take(struct imports *i) {
    struct import *room = NULL;
    uint32_t running = 0;
    for (int n = IMPORTS_MAX; n-- > 0;) {
        running += i->list[n].taken;
        if (!i->list[n].taken) room = &i->list[n];
    }
    if (!room || running >= i->config->worker_count || !files_next_import(i->files, &room->job)) return NULL;
    room->taken = true;
    return room;
}

/* The identity under its name as it is now; false: gone. */
static bool look_again(const struct imports *i, const struct import *x, struct link_identity *identity) {
    const char *name;
    struct model_stat st;
    int folder = watch_open_folder(i->watch, x->job.path, &name);
    if (folder < 0) return false;
    model_file_stat(folder, name, x->job.external, imports_salt(i), &st);
    (void)close(folder);
    *identity = st.identity;
    return st.exists;
}

static void let_go(struct import *x) {
    model_file_close(&x->opened);
    spawn_result_free(&x->result);
    clear(x);
}

/* What the probe found can't be pruned, or not as policy has it: what CLP leaves of the network will do. */
static bool fails_by_repair(const struct import *x, const struct spawn_result *r) {
    return x->repairs && r->has_digests && r->err.code != ERR_SYSTEM && r->err.code != ERR_TRUNCATED;
}

static void fail(struct imports *i, struct import *x, struct spawn_result *r) {
    struct link_identity after;
    if (fails_by_repair(x, r)) {
        notice(LOG_LEVEL_WARNING, "%s: it can't be repaired as its probe found: %s", x->job.path,
               r->err.text);
        probe_book_repair_failed(i->book, x->job.model, &r->digests, &r->err);
        files_import_again(i->files, &x->job, now_ms());
        let_go(x);
        spawn_result_free(r);
        return;
    }
    bool there = look_again(i, x, &after);
    files_import_failed(i->files, &x->job, r, there ? &after : NULL, now_ms());
    let_go(x);
    spawn_result_free(r);
}

static int open_model(struct imports *i, struct import *x, struct err *e) {
    const char *name;
    int folder = watch_open_folder(i->watch, x->job.path, &name);
    if (folder < 0) return err_set(e, ERR_SYSTEM, "its folder: %s", strerror(errno));
    int rc = model_file_open(folder, name, x->job.external, imports_salt(i), &x->opened, e);
    (void)close(folder);
    if (rc == 0) files_import_opened(i->files, &x->job, &x->opened.stat.identity, x->opened.stat.closed_ns);
    return rc;
}

static void stop(struct import *x) {
    struct spawn_result r;
    struct agree ignored;
    if (x->worker) {
        spawn_finish(x->worker, &r);
        spawn_result_free(&r);
    }
    if (x->canary) (void)canary_finish(x->canary, &ignored, NULL);
    x->worker = NULL;
    x->canary = NULL;
}

static int watch_it(const struct imports *i, const struct import *x, int fd, struct err *e) {
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = (uint64_t)(x - i->list + 1) << 32};
    return epoll_ctl(i->epoll, EPOLL_CTL_ADD, fd, &ev) == 0
               ? 0
               : err_set(e, ERR_SYSTEM, "epoll: %s", strerror(errno));
}

void imports_request(struct spawn_request *r, const struct config *c, const struct policy *policy,
                     const struct model_files *opened, const char *label) {
    spawn_defaults(r);
    r->threshold = policy->threshold;
    r->statistic = (enum policy_statistic)policy->statistic;
    r->sidecar = (enum policy_sidecar)c->sidecar;
    r->probe = (enum policy_probe)policy->probe;
    r->vouched = policy->signature_key[0] || policy->allowed_digests[0];
    r->bf16 = policy_bf16(c);
    r->priority = priority_beside_daemon(c->worker_priority == WORKER_IDLE);
    r->model_fd = opened->model_fd;
    r->sidecar_fd = opened->sidecar_fd;
    r->sidecar_secret = opened->sidecar_elsewhere;
    r->external_fd = opened->external_fd;
    r->canary_fd = opened->canary_fd;
    r->external_name = opened->external_name;
    r->seconds = c->worker_seconds;
    r->memory = c->worker_memory;
    r->output = c->worker_output;
    r->label = label;
}

static int start_worker(struct imports *i, struct import *x, struct err *e) {
    struct spawn_request r;
    char guard[PATH_MAX];
    imports_request(&r, i->config, policies_of(i->policies, x->job.model), &x->opened, x->job.path);
    r.guard_path = guard;
    r.guard_off = x->made;
    if (!x->made) {
        r.repair_fd = probe_book_list(i->book, x->job.model, &x->opened.stat.identity, e);
        if (r.repair_fd == -2) return -1;
        r.measure = x->repairs = r.repair_fd >= 0; /* what its probe named, and nothing else */
        files_import_repairs(i->files, &x->job, x->repairs);
    }
    const int rc = spawn_find_guard(guard, e) < 0 ? -1 : spawn_start(&x->worker, &r, e);
    if (r.repair_fd >= 0) (void)close(r.repair_fd);
    if (rc < 0) return -1;
    if (watch_it(i, x, spawn_fd(x->worker), e) == 0) return 0;
    stop(x);
    return -1;
}

void imports_launch(struct imports *i, struct import *x) {
    struct spawn_result r = {.fd = -1};
    if (open_model(i, x, &r.err) < 0 || start_worker(i, x, &r.err) < 0) fail(i, x, &r);
}

/* --- the end ------------------------------------------------------------------------------- */

/* What was read has not been written to since it was opened. (ctime may differ:
 * a file that is replaced loses its link.) */
static bool is_intact(const struct import *x) {
    struct stat st;
    const struct link_identity *was = &x->opened.stat.identity;
    return fstat(x->opened.model_fd, &st) == 0 && (uint64_t)st.st_size == was->size &&
           (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec == was->mtime_ns;
}

static void tell_notes(struct imports *i, const struct spawn_result *r) {
    for (int n = 0; n < SPAWN_NOTES && r->notes[n][0]; n++) {
        if (strcmp(i->last_note, r->notes[n]) == 0) continue; /* the same for every file */
        notice(LOG_LEVEL_WARNING, "%s", r->notes[n]);
        memcpy(i->last_note, r->notes[n], sizeof i->last_note);
    }
}

static bool is_accepted(const struct imports *i, const struct import *x, const struct spawn_digests *d) {
    const struct state_record *r = keeper_find(i->keeper, x->job.model);
    return r && memcmp(&r->accepted, d, sizeof *d) == 0;
}

static void tell_times(const struct import *x, const struct report *r) {
    notice(LOG_LEVEL_INFO, "%s: read in %.1f ms, imported in %.1f, CLP %.1f, plan and image %.1f",
           x->job.path, (double)r->read_ns / 1e6, (double)r->import_ns / 1e6, (double)r->clp_ns / 1e6,
           (double)r->plan_ns / 1e6);
}

/* What its probe has found, or has yet to find. */
static enum policy_action ask_book(const struct imports *i, const struct import *x,
                                   const struct spawn_result *r, bool *waits, struct err *why) {
    struct files_served s;
    const bool known = files_served(i->files, x->job.model, &s);
    const struct probe_case_of c = {.model = x->job.model,
                                    .digests = &r->digests,
                                    .asked = r->report.probe,
                                    .repaired = x->repairs,
                                    .other_serves =
                                        known && memcmp(&s.digests, &r->digests, sizeof s.digests) != 0};
    const enum probe_gate gate = probe_book_judge(i->book, &c, why);
    *waits = gate == PROBE_GATE_WAIT;
    return gate == PROBE_GATE_HOLD ? POLICY_HOLD : POLICY_SERVE;
}

/* The last step of all: what was made is served, held or rejected. Takes what is in `r`. */
static void decide(struct imports *i, struct import *x, struct spawn_result *r) {
    struct link_identity after;
    bool there = look_again(i, x, &after), waits = false;
    struct err why = {0};
    enum policy_action action = policies_judge(i->policies, x->job.model, &r->report, r->canary, &why);
    if (action == POLICY_HOLD && is_accepted(i, x, &r->digests)) action = POLICY_SERVE;
    if (action == POLICY_SERVE) action = ask_book(i, x, r, &waits, &why);
    if (action == POLICY_REJECT) {
        r->err = why;
        fail(i, x, r);
        return;
    }
    if (action == POLICY_HOLD)
        files_import_held(i->files, &x->job, r, why.text, there ? &after : NULL, now_ms());
    else
        (waits ? files_import_waits : files_import_done)(i->files, &x->job, r, there ? &after : NULL,
                                                         is_intact(x), now_ms());
    let_go(x);
    spawn_result_free(r);
}

/* --- samples --------------------------------------------------------------------------------- */

/* What is in x->result goes to the caller. */
static struct spawn_result take_result(struct import *x) {
    struct spawn_result r = x->result;
    x->result = (struct spawn_result){.fd = -1};
    x->made = false;
    return r;
}

static void fail_samples(struct imports *i, struct import *x, const struct err *e) {
    struct spawn_result r = take_result(x);
    char name[MODEL_FILE_NAME];
    model_file_canary_name(x->job.path, name);
    const char *slash = strrchr(name, '/');
    r.err = *e;
    (void)err_prefix(&r.err, "%s", slash ? slash + 1 : name);
    fail(i, x, &r);
}

/* The network as it came has been made, too: `r`. */
static void start_comparing(struct imports *i, struct import *x, struct spawn_result *r) {
    const struct config *c = i->config;
    struct err e = r->err;
    const struct canary_request request = {.before = r->fd,
                                           .after = x->result.fd,
                                           .samples = x->opened.canary_fd,
                                           .seconds = c->worker_seconds,
                                           .memory = c->worker_memory + CANARY_ROOM,
                                           .priority =
                                               priority_beside_daemon(c->worker_priority == WORKER_IDLE)};
    if (e.code == ERR_NONE && memcmp(&r->digests, &x->result.digests, sizeof r->digests) != 0)
        (void)err_set(&e, ERR_SYSTEM, "the files changed while they were compared");
    if (e.code == ERR_NONE && canary_start(&x->canary, &request, &e) == 0)
        (void)watch_it(i, x, canary_fd(x->canary), &e);
    spawn_result_free(r);
    if (e.code == ERR_NONE) return;
    stop(x);
    fail_samples(i, x, &e);
}

static void finish_comparing(struct imports *i, struct import *x) {
    struct agree a;
    struct err e = {0};
    const int rc = canary_finish(x->canary, &a, &e);
    x->canary = NULL;
    if (rc) {
        fail_samples(i, x, &e);
        return;
    }
    struct spawn_result r = take_result(x);
    r.canary = canary_share(&a);
    decide(i, x, &r);
}

static void finish(struct imports *i, struct import *x) {
    struct spawn_result r;
    spawn_finish(x->worker, &r);
    x->worker = NULL;
    if (x->made) {
        start_comparing(i, x, &r);
        return;
    }
    tell_notes(i, &r);
    if (r.err.code != ERR_NONE) {
        fail(i, x, &r);
        return;
    }
    tell_times(x, &r.report);
    if (x->opened.canary_fd < 0 || r.report.pruned_channels == 0) {
        decide(i, x, &r);
        return;
    }
    struct err e = {0};
    x->result = r;
    x->made = true;
    if (start_worker(i, x, &e) < 0) fail_samples(i, x, &e);
}

static void end_same(struct imports *i, struct import *x, const struct spawn_digests *d, uint64_t now) {
    const struct spawn_digests same = *d;
    struct link_identity after;
    bool there = look_again(i, x, &after);
    notice(LOG_LEVEL_INFO, "%s: the same contents as before; nothing to do", x->job.path);
    stop(x);
    files_import_same(i->files, &x->job, &same, there ? &after : NULL, now);
    let_go(x);
}

static void end_barred(struct imports *i, struct import *x, uint64_t now) {
    struct link_identity after;
    bool there = look_again(i, x, &after);
    stop(x);
    files_import_held(i->files, &x->job, NULL, "", there ? &after : NULL, now);
    let_go(x);
}

/* As soon as it is known what was read: what nobody has vouched for is not even imported. */
static bool admit(struct imports *i, struct import *x, const struct spawn_digests *d) {
    struct spawn_result r = {.fd = -1, .has_digests = true, .digests = *d};
    char sidecar[MODEL_FILE_NAME];
    const char *name;
    int folder = watch_open_folder(i->watch, x->job.path, &name);
    model_file_sidecar_name(name, sidecar);
    x->admitted = policies_admit(i->policies, x->job.model, folder, name,
                                 x->opened.external_fd >= 0 ? x->opened.external_name : NULL,
                                 x->opened.sidecar_fd >= 0 ? sidecar : NULL, d, &r.err) == 0;
    if (folder >= 0) (void)close(folder);
    if (x->admitted) return true;
    stop(x);
    fail(i, x, &r);
    return false;
}

/* Whether it was begun with the right channels, now that it is known what it reads. */
static bool repairs_rightly(struct imports *i, struct import *x, const struct spawn_digests *d,
                            uint64_t now) {
    const bool wanted = probe_book_repairs(i->book, x->job.model, d);
    if (wanted == x->repairs) return true;
    probe_book_identify(i->book, x->job.model, d, &x->opened.stat.identity);
    stop(x);
    files_import_again(i->files, &x->job, now);
    let_go(x);
    return false;
}

void imports_step(struct imports *i, uint64_t event, uint64_t now) {
    struct import *x = event >> 32 && event >> 32 <= IMPORTS_MAX ? &i->list[(event >> 32) - 1] : NULL;
    if (x && x->canary) {
        if (canary_step(x->canary)) finish_comparing(i, x);
        return;
    }
    if (!x || !x->worker) return; /* stopped within this round */
    bool over = spawn_step(x->worker);
    const struct spawn_digests *d = spawn_digests(x->worker);
    if (d && !x->admitted && !admit(i, x, d)) return;
    if (x->made) {
        if (over) finish(i, x);
        return;
    }
    if (d && !repairs_rightly(i, x, d, now)) return;
    if (d && files_import_is_served(i->files, &x->job, d))
        end_same(i, x, d, now);
    else if (d && files_import_is_barred(i->files, &x->job, d))
        end_barred(i, x, now);
    else if (over)
        finish(i, x);
}

void imports_stop_stale(struct imports *i, uint64_t now) {
    for (int n = 0; n < IMPORTS_MAX; n++) {
        struct import *x = &i->list[n];
        if ((!x->worker && !x->canary) || !files_import_is_stale(i->files, &x->job)) continue;
        stop(x);
        files_import_stopped(i->files, &x->job, now);
        let_go(x);
    }
}

void imports_stop_all(struct imports *i) {
    for (int n = 0; n < IMPORTS_MAX; n++)
        if (i->list[n].worker || i->list[n].canary) {
            stop(&i->list[n]);
            let_go(&i->list[n]);
        }
}
