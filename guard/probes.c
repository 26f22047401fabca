/* NOTHING -> IMPORTING -> ATTACKING -> NOTHING; see probes.h. */
#include "guard/probes.h"

#include "guard/decision.h"
#include "guard/imports.h"
#include "guard/model_file.h"
#include "guard/notice.h"
#include "guard/spawn_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define TELL_MS 1000 /* between two words about how far it is */
#define SEALS   (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct probes {
    struct probes_parts parts;
    const struct policies *policies;
    const struct watch *watch;
    uint64_t salt;

    enum { NOTHING, IMPORTING, ATTACKING } state;
    struct files_subject subject;
    struct model_files opened;
    struct spawn *worker;
    struct probing *probing;
    uint64_t told_at;
    uint32_t percent;
    char words[LINK_REASON];
    bool untold;

    int sending; /* goes with the message at hand; -1: none */
};

struct probes *probes_new(const struct probes_parts *parts) {
    struct probes *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    *p = (struct probes){.parts = *parts, .opened = MODEL_FILES_NONE, .sending = -1};
    return p;
}

void probes_set(struct probes *p, const struct policies *policies, const struct watch *watch, uint64_t salt) {
    p->policies = policies;
    p->watch = watch;
    p->salt = salt;
}

static void stop_sending(struct probes *p) {
    if (p->sending >= 0) (void)close(p->sending);
    p->sending = -1;
}

static void let_go(struct probes *p) {
    struct spawn_result r;
    struct probe_report report;
    struct err ignored;
    char note[ERR_TEXT];
    if (p->worker) {
        spawn_finish(p->worker, &r);
        spawn_result_free(&r);
    }
    if (p->probing && spawn_probe_finish(p->probing, &report, note, &ignored) == 0)
        probe_report_free(&report);
    model_file_close(&p->opened);
    p->worker = NULL;
    p->probing = NULL;
    p->state = NOTHING;
    p->percent = 0;
    p->words[0] = 0;
    p->untold = true; /* nothing runs any more */
}

void probes_free(struct probes *p) {
    if (!p) return;
    let_go(p);
    stop_sending(p);
    free(p);
}

/* --- who is next ----------------------------------------------------------------------------- */

static bool same_contents(const struct spawn_digests *a, const struct spawn_digests *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

/* Whether nothing is known about it, or less than the budget of today would tell. */
static bool is_candidate(const struct probes *p, const struct files_subject *s) {
    if (!s->job.file || (s->version && policies_probe(p->policies, s->job.model, s->asked) == PROBE_OFF))
        return false;
    const struct probe_entry *e = probe_book_find(p->parts.book, s->job.model, &s->digests);
    return !e || (e->record.known && e->record.report.cut &&
                  e->record.report.budget < p->parts.config->probe_budget_s);
}

static bool choose(const struct probes *p, struct files_subject *best) {
    struct files_subject s;
    bool any = false;
    for (size_t i = 0; files_subject(p->parts.files, i, &s); i++) {
        if (!is_candidate(p, &s) || (any && (best->version == 0 || s.version != 0))) continue;
        *best = s;
        any = true;
    }
    return any;
}

/* The same contents of the same model are still served, or still wait. */
static bool is_wanted(const struct probes *p) {
    struct files_subject s;
    const struct files_subject *mine = &p->subject;
    for (size_t i = 0; files_subject(p->parts.files, i, &s); i++)
        if (s.job.file && strcmp(s.job.path, mine->job.path) == 0)
            return same_contents(&s.digests, &mine->digests) && (s.version == 0) == (mine->version == 0) &&
                   (s.version == 0 || policies_probe(p->policies, s.job.model, s.asked) != PROBE_OFF);
    return false;
}

/* --- the beginning ----------------------------------------------------------------------------- */

static int open_model(struct probes *p, struct err *e) {
    const char *name;
    const int folder = watch_open_folder(p->watch, p->subject.job.path, &name);
    if (folder < 0) return err_set(e, ERR_SYSTEM, "its folder: %s", strerror(errno));
    const int rc = model_file_open(folder, name, p->subject.job.external, p->salt, &p->opened, e);
    (void)close(folder);
    return rc;
}

static int listen_to(const struct probes *p, int fd, struct err *e) {
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = p->parts.source};
    return epoll_ctl(p->parts.epoll, EPOLL_CTL_ADD, fd, &ev) == 0
               ? 0
               : err_set(e, ERR_SYSTEM, "epoll: %s", strerror(errno));
}

static int start_import(struct probes *p, struct err *e) {
    const struct config *c = p->parts.config;
    struct spawn_request r;
    char guard[PATH_MAX];
    imports_request(&r, c, policies_of(p->policies, p->subject.job.model), &p->opened, p->subject.job.path);
    r.guard_path = guard;
    r.mode = SPAWN_GRADIENT;
    r.measure = true; /* the network as it came: what CLP takes from it is not what is asked about */
    r.priority = priority_beside_daemon(c->probe_priority == WORKER_IDLE);
    if (spawn_find_guard(guard, e) < 0 || spawn_start(&p->worker, &r, e) < 0) return -1;
    return listen_to(p, spawn_fd(p->worker), e);
}

static void tell(struct probes *p, uint32_t percent, const char *words, uint64_t now) {
    if (p->percent == percent && strcmp(p->words, words) == 0) return;
    if (now < p->told_at + TELL_MS && p->told_at) return;
    p->told_at = now;
    p->percent = percent;
    (void)snprintf(p->words, sizeof p->words, "%s", words);
    p->untold = true;
    if (p->subject.version == 0) {
        char line[LINK_REASON];
        (void)snprintf(line, sizeof line, "its probe is at %u %%: %.400s", percent, words);
        files_probe_progress(p->parts.files, p->subject.job.path, line);
    }
}

/* --- the end ------------------------------------------------------------------------------------- */

static void note(enum decision d, const struct files_subject *s, const char *why) {
    struct link_message m = {.model_version = s->version};
    memcpy(m.model, s->job.model, sizeof m.model);
    memcpy(m.path, s->job.path, sizeof m.path);
    memcpy(m.sha256, s->digests.model, sizeof m.sha256);
    (void)snprintf(m.reason, sizeof m.reason, "%s", why);
    decision_note(d, &m);
}

static enum decision decision_of(const struct probe_record *r) {
    static const enum decision by_verdict[PROBE_VERDICTS] = {[PROBE_CLEAR] = DECISION_PROBE_CLEAR,
                                                             [PROBE_REPAIRED] = DECISION_PROBE_REPAIRED,
                                                             [PROBE_SUSPECT] = DECISION_PROBE_SUSPECT,
                                                             [PROBE_UNKNOWN] = DECISION_PROBE_UNKNOWN};
    return r->known ? by_verdict[r->report.verdict] : DECISION_PROBE_UNKNOWN;
}

/* What is known to be mended and serves, or waits, as it was: the guard may have ended before it came to
 * that. */
static void repair_pending(const struct probes *p, uint64_t now) {
    struct files_subject s;
    for (size_t i = 0; files_subject(p->parts.files, i, &s); i++) {
        if (!s.job.file || s.repaired || !probe_book_repairs(p->parts.book, s.job.model, &s.digests))
            continue;
        struct probe_entry *e = probe_book_find(p->parts.book, s.job.model, &s.digests);
        if (e->tried) continue;
        e->tried = true;
        e->identity = s.identity;
        files_repair(p->parts.files, s.job.path, now);
    }
}

/* What the verdict means for the file: see the table in probe_book.h. */
static void follow(struct probes *p, const struct files_subject *s, const struct probe_entry *e,
                   uint64_t now) {
    struct files *f = p->parts.files;
    char room[ERR_TEXT];
    struct err why = {0};
    if (probe_record_repairs(&e->record) && !e->record.declined) {
        repair_pending(p, now);
    } else if (s->version == 0) {
        const struct probe_case_of c = {.model = s->job.model,
                                        .digests = &s->digests,
                                        .asked = s->asked,
                                        .other_serves = files_serves(f, s->job.model)};
        const bool held = probe_book_judge(p->parts.book, &c, &why) == PROBE_GATE_HOLD;
        files_probed(f, s->job.path, &s->digests, held ? why.text : NULL, now);
    } else if (probe_book_falls_back(p->parts.book, e)) {
        p->parts.fall_back(p->parts.arg, s->job.model, probe_book_sentence(&e->record, room));
    }
}

/* Takes the record. */
static void conclude(struct probes *p, struct probe_record *r, bool passing, uint64_t now) {
    const struct files_subject s = p->subject;
    char room[ERR_TEXT];
    memcpy(r->model, s.job.model, sizeof r->model);
    r->digests = s.digests;
    r->declined = policies_of(p->policies, s.job.model)->on_repaired == REPAIRED_HOLD;
    note(decision_of(r), &s, probe_book_sentence(r, room));
    struct probe_entry *e = probe_book_enter(p->parts.book, r, passing);
    let_go(p);
    if (!e) return;
    e->identity = s.identity;
    follow(p, &s, e, now);
}

static void fail(struct probes *p, const struct err *e, uint64_t now) {
    struct probe_record r = {.report.target = -1};
    (void)snprintf(r.why, sizeof r.why, "%s", e->text);
    conclude(p, &r, e->code == ERR_SYSTEM, now);
}

/* The file is another by now; the next scan will tell. */
static void drop(struct probes *p, const char *why) {
    notice(LOG_LEVEL_INFO, "%s: its probe is put off: %s", p->subject.job.path, why);
    let_go(p);
}

/* --- the two processes ---------------------------------------------------------------------------- */

static int start_attack(struct probes *p, const struct spawn_result *image, struct err *e) {
    const struct config *c = p->parts.config;
    const struct spawn_probe r = {.image_fd = image->fd,
                                  .seconds = c->probe_budget_s,
                                  .memory = c->probe_memory,
                                  .processor_time = true,
                                  .priority = priority_beside_daemon(c->probe_priority == WORKER_IDLE)};
    if (spawn_probe_start(&p->probing, &r, e) < 0) return -1;
    return listen_to(p, spawn_probe_fd(p->probing), e);
}

static void on_image(struct probes *p, uint64_t now) {
    struct spawn_result r;
    struct err e = {0};
    spawn_finish(p->worker, &r);
    p->worker = NULL;
    if (r.err.code != ERR_NONE) {
        fail(p, &r.err, now);
    } else if (!same_contents(&r.digests, &p->subject.digests)) {
        drop(p, "the file has changed meanwhile");
    } else if (start_attack(p, &r, &e) < 0) {
        fail(p, &e, now);
    } else {
        p->state = ATTACKING;
        model_file_close(&p->opened);
    }
    spawn_result_free(&r);
}

static bool report_is_sound(const struct probe_report *r) {
    return r->n_classes > 0;
}

static void on_report(struct probes *p, uint64_t now) {
    struct probe_record r = {.known = true, .report.target = -1};
    struct err e = {0};
    char words[ERR_TEXT];
    const int rc = spawn_probe_finish(p->probing, &r.report, words, &e);
    p->probing = NULL;
    if (words[0]) notice(LOG_LEVEL_WARNING, "%s: %s", p->subject.job.path, words);
    if (rc == 0 && !report_is_sound(&r.report)) {
        probe_report_free(&r.report);
        (void)err_set(&e, ERR_INTERNAL, "what the probe reports can't be");
    }
    if (e.code != ERR_NONE)
        fail(p, &e, now);
    else
        conclude(p, &r, false, now);
}

bool probes_step(struct probes *p, uint64_t now) {
    const char *words;
    if (p->worker && spawn_step(p->worker)) {
        on_image(p, now);
    } else if (p->probing && spawn_probe_step(p->probing)) {
        on_report(p, now);
    } else if (p->probing) {
        const float done = spawn_probe_progress(p->probing, &words);
        tell(p, (uint32_t)(done * 100), words, now);
        return false;
    }
    return p->state == NOTHING;
}

void probes_turn(struct probes *p, uint64_t now) {
    struct files_subject next;
    struct err e = {0};
    repair_pending(p, now);
    if (p->state != NOTHING && !is_wanted(p)) let_go(p);
    if (!choose(p, &next)) return;
    if (p->state != NOTHING && (p->subject.version == 0 || next.version != 0)) return;
    if (p->state != NOTHING) drop(p, "another file waits for its verdict to be served");
    p->subject = next;
    p->state = IMPORTING;
    p->told_at = 0;
    tell(p, 0, "importing", now);
    if (open_model(p, &e) < 0 || start_import(p, &e) < 0) fail(p, &e, now);
}

/* --- what people ask for --------------------------------------------------------------------------- */

void probes_on_serving(struct probes *p, const char *model) {
    for (size_t i = 0; i < p->parts.book->n; i++)
        if (strcmp(p->parts.book->list[i].record.model, model) == 0) p->parts.book->list[i].untold = true;
    p->untold = true;
}

bool probes_accept(struct probes *p, const char *model, uint64_t now) {
    struct files_subject s;
    if (!p) return false;
    files_subject_of(p->parts.files, model, &s);
    struct probe_entry *e =
        s.job.file && !s.repaired ? probe_book_find(p->parts.book, model, &s.digests) : NULL;
    if (!e || !probe_record_repairs(&e->record)) return false;
    e->record.declined = e->tried = false;
    probe_book_keep(p->parts.book, e);
    repair_pending(p, now);
    return true;
}

static void set_declined(struct probes *p, const char *model, const struct spawn_digests *d, bool declined) {
    struct probe_entry *e = p ? probe_book_find(p->parts.book, model, d) : NULL;
    if (!e || e->record.declined == declined) return;
    e->record.declined = declined;
    e->untold = true;
    probe_book_keep(p->parts.book, e);
}

void probes_decline(struct probes *p, const char *model, const struct spawn_digests *d) {
    set_declined(p, model, d, true);
}

void probes_undecline(struct probes *p, const char *model, const struct spawn_digests *d) {
    set_declined(p, model, d, false);
}

/* --- the link ---------------------------------------------------------------------------------------- */

/* The encoded report, sealed; -1: out of memory. */
static int write_report(const struct probe_report *r) {
    size_t n = 0;
    uint8_t *bytes = probe_report_encode(r, &n);
    int fd = bytes ? memfd_create("clpd-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;
    if (fd >= 0 && (write(fd, bytes, n) != (ssize_t)n || fcntl(fd, F_ADD_SEALS, SEALS) < 0)) {
        (void)close(fd);
        fd = -1;
    }
    free(bytes);
    return fd;
}

static bool describe(struct probes *p, const struct probe_entry *e, const struct files_served *now_served,
                     struct link_message *m) {
    const struct probe_record *r = &e->record;
    char room[ERR_TEXT];
    *m = (struct link_message){.version = LINK_VERSION,
                               .type = LINK_PROBE,
                               .state = r->known ? PROBE_KNOWN : PROBE_FAILED,
                               .verdict = r->known ? (uint32_t)r->report.verdict : PROBE_UNKNOWN,
                               .count = 100,
                               .accepted = now_served->repaired,
                               .model_version = now_served->version,
                               .pruned_channels = r->known ? r->report.n_pruned : 0};
    memcpy(m->model, r->model, sizeof m->model);
    memcpy(m->sha256, r->digests.model, sizeof m->sha256);
    (void)snprintf(m->reason, sizeof m->reason, "%s", probe_book_sentence(r, room));
    if (!r->known) return true;
    stop_sending(p); /* of another message, which clpd had no room for */
    p->sending = write_report(&r->report);
    return p->sending >= 0;
}

bool probes_next_message(struct probes *p, struct link_message *m, int *fd) {
    struct files_served s;
    for (size_t i = 0; i < p->parts.book->n; i++) {
        struct probe_entry *e = &p->parts.book->list[i];
        if (!e->untold || !files_served(p->parts.files, e->record.model, &s) ||
            !same_contents(&s.digests, &e->record.digests))
            continue;
        *fd = -1;
        if (!describe(p, e, &s, m)) continue;
        *fd = m->state == PROBE_KNOWN ? p->sending : -1;
        return true;
    }
    if (!p->untold || p->state == NOTHING || p->subject.version == 0) return false;
    *m = (struct link_message){.version = LINK_VERSION,
                               .type = LINK_PROBE,
                               .state = PROBE_RUNS,
                               .count = p->percent,
                               .verdict = PROBE_UNKNOWN,
                               .model_version = p->subject.version};
    memcpy(m->model, p->subject.job.model, sizeof m->model);
    memcpy(m->sha256, p->subject.digests.model, sizeof m->sha256);
    memcpy(m->reason, p->words, sizeof m->reason);
    *fd = -1;
    return true;
}

void probes_message_sent(struct probes *p, const struct link_message *m) {
    stop_sending(p);
    if (m->state == PROBE_RUNS) {
        p->untold = false;
        return;
    }
    for (size_t i = 0; i < p->parts.book->n; i++) {
        struct probe_entry *e = &p->parts.book->list[i];
        if (e->untold && strcmp(e->record.model, m->model) == 0 &&
            memcmp(e->record.digests.model, m->sha256, sizeof m->sha256) == 0)
            e->untold = false;
    }
}
