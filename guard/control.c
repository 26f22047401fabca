/* Every ask is a small machine: TO_OFFER -> OFFERED -> TO_ANSWER, or IMPORTING -> TO_ANSWER. */
#include "guard/control.h"

#include "guard/decision.h"
#include "guard/notice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void drop_image(struct control_ask *a) {
    if (a->fd >= 0) (void)close(a->fd);
    a->fd = -1;
}

static void answer(struct control *c, struct control_ask *a, bool done, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void answer(struct control *c, struct control_ask *a, bool done, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(a->text, sizeof a->text, fmt, ap);
    va_end(ap);
    drop_image(a);
    files_set_busy(c->files, a->model, false);
    a->done = done;
    a->state = a->ticket ? CONTROL_TO_ANSWER : CONTROL_FREE;
    if (!a->ticket) notice(done ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "suspect: %s", a->text);
}

/* --- rollback ------------------------------------------------------------------------------ */

static void begin_rollback(struct control *c, struct control_ask *a) {
    const struct state_record *r = keeper_find(c->keeper, a->model);
    struct err e = {0};
    if (r && !a->ticket && memcmp(&r->other.digests, &r->current.digests, sizeof r->other.digests) == 0) {
        answer(c, a, false, "the version of %s before the one that serves is of the same file, so it stays",
               a->model);
        return;
    }
    if (!files_serves(c->files, a->model)) {
        answer(c, a, false, "no model %s is served, so there is nothing to go back from", a->model);
    } else if (!r || !r->current.version) { /* soon after the first swap, or where it can't be written */
        answer(
            c, a, false,
            "the version of %s that serves is not kept yet, and none before it; where that stays so, the log "
            "says why",
            a->model);
    } else if (!r->other.version || r->other.version > r->current.version) {
        answer(c, a, false, "no version of %s before %llu is kept", a->model,
               (unsigned long long)r->current.version);
    } else if (files_is_offering(c->files, a->model)) {
        answer(c, a, false, "a new version of %s is being taken into service at this moment; try again",
               a->model);
    } else if ((a->fd = keeper_load(c->keeper, r, &r->other, &e)) < 0) {
        answer(c, a, false, "version %llu of %s is of no use: %.300s", (unsigned long long)r->other.version,
               a->model, e.text);
    } else {
        files_set_busy(c->files, a->model, true);
        a->version = r->other.version;
        a->state = CONTROL_TO_OFFER;
    }
}

static void swap_images(struct control *c, const struct control_ask *a, struct state_record *r) {
    const struct state_image left = r->current;
    r->current = r->other;
    r->current.policy = c->policy; /* whoever asked has decided it anew */
    r->other = left;
    if (memcmp(&left.digests, &r->current.digests, sizeof left.digests) == 0) {
        probes_decline(c->probes, a->model, &left.digests); /* the same file: what was left is its repair */
        return;
    }
    r->barred = left.digests;
    r->barred_identity = left.identity;
    memset(r->barred_reason, 0, sizeof r->barred_reason);
    (void)snprintf(r->barred_reason, sizeof r->barred_reason,
                   "rolled back to version %llu: %.120s; clpctl accept %.63s takes it again",
                   (unsigned long long)r->current.version, a->who, a->model);
}

static void note(enum decision d, const struct control_ask *a, const struct link_message *about) {
    struct link_message m = *about;
    (void)snprintf(m.reason, sizeof m.reason, "%s", a->who);
    decision_note(d, &m);
}

static void finish_rollback(struct control *c, struct control_ask *a, const struct link_message *m) {
    struct state_record *r = keeper_find(c->keeper, a->model);
    if (!m->accepted || !r || r->other.version != a->version) {
        answer(c, a, false, "clpd refused version %llu of %s: %.300s", (unsigned long long)a->version,
               a->model, m->accepted ? "another one came first" : m->reason);
        return;
    }
    swap_images(c, a, r);
    keeper_write(c->keeper, r);
    files_on_kept(c->files, r);
    files_bar(c->files, r);
    note(DECISION_ROLLED_BACK, a, m);
    if (memcmp(&r->current.digests, &r->other.digests, sizeof r->other.digests) == 0) {
        answer(c, a, true,
               "%s: version %llu serves again, without what the probe pruned; clpctl accept %s takes that "
               "again",
               a->model, (unsigned long long)r->current.version, a->model);
        return;
    }
    answer(c, a, true,
           "%s: version %llu serves again; version %llu (%.200s) is held until a new file arrives or it is "
           "accepted",
           a->model, (unsigned long long)r->current.version, (unsigned long long)r->other.version,
           r->other.path);
}

/* --- accept -------------------------------------------------------------------------------- */

static void begin_accept(struct control *c, struct control_ask *a, uint64_t now) {
    struct spawn_digests digests;
    const char *path = files_held(c->files, a->model, &digests);
    struct state_record *r = path ? keeper_add(c->keeper, a->model) : NULL;
    struct files_subject s;
    if (!path) {
        files_subject_of(c->files, a->model, &s);
        (void)snprintf(a->path, sizeof a->path, "%s", s.job.path);
        a->state = CONTROL_IMPORTING;
        if (!probes_accept(c->probes, a->model, now))
            answer(c, a, false, "no file of %s is held (clpctl models lists them all)", a->model);
        return;
    }
    if (!r) {
        answer(c, a, false, "out of memory");
        return;
    }
    (void)snprintf(a->path, sizeof a->path, "%s", path);
    r->accepted = digests;
    r->barred = (struct spawn_digests){{0}, {0}, {0}, {0}};
    r->barred_identity = (struct link_identity){0};
    memset(r->barred_reason, 0, sizeof r->barred_reason);
    keeper_write(c->keeper, r);
    files_bar(c->files, r);
    a->state = CONTROL_IMPORTING;
    probes_undecline(c->probes, a->model, &digests);
    files_release(c->files, a->path, now);
}

void control_on_file(struct control *c, const struct link_message *m) {
    for (int i = 0; i < CONTROL_ASKS; i++) {
        struct control_ask *a = &c->asks[i];
        if (a->state != CONTROL_IMPORTING || strcmp(a->path, m->path) != 0) continue;
        if (m->state == FILE_SERVING) {
            note(DECISION_ACCEPTED, a, m);
            answer(c, a, true, "%s: version %llu (%.200s) serves", a->model,
                   (unsigned long long)m->model_version, m->path);
        } else if (m->state == FILE_REJECTED || m->state == FILE_HELD || m->state == FILE_SUPERSEDED) {
            answer(c, a, false, "%s is %s: %.300s", m->path, file_state_name(m->state), m->reason);
        }
    }
}

/* --- the link ------------------------------------------------------------------------------ */

static struct control_ask *find_room(struct control *c, const char *model, bool *same) {
    struct control_ask *room = NULL;
    *same = false;
    for (int i = 0; i < CONTROL_ASKS; i++) {
        struct control_ask *a = &c->asks[i];
        if (a->state == CONTROL_FREE) room = a;
        *same |= a->state != CONTROL_FREE && a->state != CONTROL_TO_ANSWER && strcmp(a->model, model) == 0;
    }
    return room;
}

void control_take(struct control *c, const struct link_message *m, uint64_t now) {
    bool same;
    struct control_ask *a = find_room(c, m->model, &same);
    if (!a) return; /* clpd asks for no more at once */
    *a = (struct control_ask){.ticket = m->model_version, .action = m->count, .fd = -1};
    memcpy(a->model, m->model, sizeof a->model);
    (void)snprintf(a->who, sizeof a->who, "by %.63s", m->reason);
    if (same)
        answer(c, a, false, "somebody else is at work on %s at this moment; try again", a->model);
    else if (a->action == LINK_ROLLBACK)
        begin_rollback(c, a);
    else if (a->action == LINK_ACCEPT)
        begin_accept(c, a, now);
    else
        answer(c, a, false, "there is no such action");
}

void control_fall_back(struct control *c, const char *model, const char *why) {
    bool same;
    struct control_ask *a = find_room(c, model, &same);
    if (!a || same) return; /* somebody is at work on it already */
    *a = (struct control_ask){.action = LINK_ROLLBACK, .fd = -1};
    (void)snprintf(a->model, sizeof a->model, "%s", model);
    (void)snprintf(a->who, sizeof a->who, "%s", why);
    begin_rollback(c, a);
}

static struct link_message answer_message(const struct control_ask *a) {
    struct link_message m = {
        .version = LINK_VERSION, .type = LINK_CONTROLLED, .model_version = a->ticket, .accepted = a->done};
    memcpy(m.model, a->model, sizeof m.model);
    (void)snprintf(m.reason, sizeof m.reason, "%s", a->text);
    return m;
}

bool control_next(struct control *c, struct link_message *m, int *fd) {
    *fd = -1;
    for (int i = 0; i < CONTROL_ASKS; i++) {
        struct control_ask *a = &c->asks[i];
        const struct state_record *r = keeper_find(c->keeper, a->model);
        if (a->state == CONTROL_TO_OFFER && r) {
            *m = keeper_offer(a->model, &r->other);
            *fd = a->fd;
            return true;
        }
        if (a->state == CONTROL_IMPORTING && !files_knows(c->files, a->path))
            answer(c, a, false, "%s is gone", a->path);
        if (a->state != CONTROL_TO_ANSWER) continue;
        *m = answer_message(a);
        return true;
    }
    return false;
}

void control_sent(struct control *c, const struct link_message *m) {
    for (int i = 0; i < CONTROL_ASKS; i++) {
        struct control_ask *a = &c->asks[i];
        if (m->type == LINK_OFFER && a->state == CONTROL_TO_OFFER && a->version == m->model_version &&
            strcmp(a->model, m->model) == 0) {
            drop_image(a);
            a->state = CONTROL_OFFERED;
        } else if (m->type == LINK_CONTROLLED && a->state == CONTROL_TO_ANSWER &&
                   a->ticket == m->model_version) {
            a->state = CONTROL_FREE;
        }
    }
}

bool control_on_answer(struct control *c, const struct link_message *m) {
    for (int i = 0; i < CONTROL_ASKS; i++) {
        struct control_ask *a = &c->asks[i];
        if (a->state != CONTROL_OFFERED || a->version != m->model_version || strcmp(a->model, m->model) != 0)
            continue;
        finish_rollback(c, a, m);
        return true;
    }
    return false;
}

void control_end(struct control *c) {
    for (int i = 0; i < CONTROL_ASKS; i++)
        if (c->asks[i].state == CONTROL_TO_OFFER) drop_image(&c->asks[i]);
}
