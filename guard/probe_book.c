/* A list, looked up by model and contents; see probe_book.h. */
#include "guard/probe_book.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES (PROBE_REPORT_MAX_BYTES + 4096)

/* --- the list -------------------------------------------------------------------------------- */

struct probe_entry *probe_book_find(const struct probe_book *b, const char *model,
                                    const struct spawn_digests *d) {
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(b->list[i].record.model, model) == 0 &&
            memcmp(&b->list[i].record.digests, d, sizeof *d) == 0)
            return &b->list[i];
    return NULL;
}

static struct probe_entry *insert(struct probe_book *b, struct probe_record *r) {
    struct probe_entry *e = probe_book_find(b, r->model, &r->digests);
    if (!e) {
        struct probe_entry *more = realloc(b->list, (b->n + 1) * sizeof *more);
        if (!more) {
            probe_record_free(r);
            return NULL;
        }
        b->list = more;
        e = &b->list[b->n++];
        *e = (struct probe_entry){.untold = true};
    }
    probe_record_free(&e->record);
    e->record = *r;
    e->untold = true;
    e->tried = false;
    return e;
}

/* Of each model those that its kept images may still ask for. */
static void forget_old(struct probe_book *b, const char *model) {
    const struct state_record *kept = keeper_find(b->keeper, model);
    size_t of_it = 0;
    for (size_t i = 0; i < b->n; i++) of_it += strcmp(b->list[i].record.model, model) == 0;
    for (size_t i = 0; i < b->n && of_it > 3; i++) {
        struct probe_record *r = &b->list[i].record;
        if (strcmp(r->model, model) != 0) continue;
        if (kept && (memcmp(&r->digests, &kept->current.digests, sizeof r->digests) == 0 ||
                     memcmp(&r->digests, &kept->other.digests, sizeof r->digests) == 0))
            continue;
        probe_record_free(r);
        memmove(&b->list[i], &b->list[i + 1], (--b->n - i) * sizeof *b->list);
        of_it--;
        i--;
    }
}

void probe_book_keep(const struct probe_book *b, const struct probe_entry *e) {
    size_t n = 0;
    uint8_t *bytes = probe_record_encode(&e->record, &n);
    if (bytes) keeper_keep_probe(b->keeper, e->record.model, &e->record.digests, bytes, n);
}

struct probe_entry *probe_book_enter(struct probe_book *b, struct probe_record *r, bool passing) {
    char model[LINK_MODEL];
    const struct spawn_digests d = r->digests;
    memcpy(model, r->model, sizeof model);
    struct probe_entry *e = insert(b, r);
    if (!e) return NULL;
    if (!passing) probe_book_keep(b, e);
    forget_old(b, model);
    return probe_book_find(b, model, &d);
}

static void load_one(struct probe_book *b, const char *model, const struct state_image *image,
                     state_trouble_fn trouble, void *arg) {
    struct probe_record r;
    struct err e = {0};
    size_t n = 0;
    if (!image->version || probe_book_find(b, model, &image->digests)) return;
    uint8_t *bytes = keeper_load_probe(b->keeper, model, &image->digests, MOST_BYTES, &n, &e);
    if (bytes && probe_record_decode(bytes, n, &r, &e) == 0) {
        if (strcmp(r.model, model) == 0 && memcmp(&r.digests, &image->digests, sizeof r.digests) == 0)
            (void)insert(b, &r);
        else
            probe_record_free(&r);
    }
    free(bytes);
    if (e.code != ERR_NONE) trouble(arg, model, e.text);
}

void probe_book_load(struct probe_book *b, state_trouble_fn trouble, void *arg) {
    for (size_t i = 0; i < keeper_count(b->keeper); i++) {
        const struct state_record *r = keeper_at(b->keeper, i);
        load_one(b, r->model, &r->current, trouble, arg);
        load_one(b, r->model, &r->other, trouble, arg);
    }
}

void probe_book_free(struct probe_book *b) {
    for (size_t i = 0; i < b->n; i++) probe_record_free(&b->list[i].record);
    free(b->list);
    b->list = NULL;
    b->n = 0;
}

/* --- imports ----------------------------------------------------------------------------------- */

static bool repairs(const struct probe_entry *e) {
    return e && probe_record_repairs(&e->record) && !e->record.declined;
}

bool probe_book_repairs(const struct probe_book *b, const char *model, const struct spawn_digests *d) {
    return repairs(probe_book_find(b, model, d));
}

static bool is_known(const struct link_identity *id) {
    return id->device || id->inode;
}

int probe_book_list(const struct probe_book *b, const char *model, const struct link_identity *id,
                    struct err *e) {
    for (size_t i = 0; i < b->n; i++) {
        const struct probe_entry *x = &b->list[i];
        if (strcmp(x->record.model, model) != 0 || !is_known(&x->identity) ||
            memcmp(&x->identity, id, sizeof *id) != 0 || !repairs(x))
            continue;
        const int fd = probe_report_list(&x->record.report, e);
        return fd < 0 ? -2 : fd;
    }
    return -1;
}

void probe_book_identify(const struct probe_book *b, const char *model, const struct spawn_digests *d,
                         const struct link_identity *id) {
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(b->list[i].record.model, model) == 0 && memcmp(&b->list[i].identity, id, sizeof *id) == 0)
            b->list[i].identity = (struct link_identity){0};
    struct probe_entry *e = probe_book_find(b, model, d);
    if (e) e->identity = *id;
}

void probe_book_repair_failed(struct probe_book *b, const char *model, const struct spawn_digests *d,
                              const struct err *why) {
    struct probe_entry *e = probe_book_find(b, model, d);
    if (!e) return;
    e->record.report.verdict = PROBE_SUSPECT;
    e->record.report.n_pruned = 0;
    (void)snprintf(e->record.why, sizeof e->record.why, "%s", why->text);
    e->untold = true;
    probe_book_keep(b, e);
}

/* --- policy ------------------------------------------------------------------------------------ */

static const char *mended(const struct probe_record *r) {
    return r->report.verdict == PROBE_REPAIRED ? "and does no more once channels are pruned" : "not repaired";
}

const char *probe_book_sentence(const struct probe_record *r, char room[ERR_TEXT]) {
    const struct probe_report *p = &r->report;
    const struct probe_class *c = r->known && p->target >= 0 ? &p->classes[p->target] : NULL;
    const char *but = r->why[0] ? ": " : "";
    if (!r->known)
        (void)snprintf(room, ERR_TEXT, "the probe came to no verdict: %.400s", r->why);
    else if (p->verdict == PROBE_CLEAR || p->verdict == PROBE_UNKNOWN)
        (void)snprintf(room, ERR_TEXT, "the probe: %s, %d of %d classes covered",
                       probe_verdict_text(p->verdict), p->n_covered, p->n_classes);
    else if (c)
        (void)snprintf(room, ERR_TEXT,
                       "the probe: class %d stands out by %.1f deviations (limit %.1f), %s%s%.200s",
                       p->target, (double)c->z, (double)p->limit, mended(r), but, r->why);
    else
        (void)snprintf(
            room, ERR_TEXT,
            "the probe: something drives pictures far too easily into other classes than theirs, %s%s%.200s",
            mended(r), but, r->why);
    return room;
}

static bool is_accepted(const struct probe_book *b, const char *model, const struct spawn_digests *d) {
    const struct state_record *r = keeper_find(b->keeper, model);
    return r && memcmp(&r->accepted, d, sizeof *d) == 0;
}

static enum probe_gate judge_suspect(const struct probe_case_of *c, enum policy_suspect action, bool before) {
    if (action == SUSPECT_HOLD && before) return PROBE_GATE_HOLD;
    return action != SUSPECT_SERVE && c->other_serves ? PROBE_GATE_HOLD : PROBE_GATE_SERVE;
}

enum probe_gate probe_book_judge(const struct probe_book *b, const struct probe_case_of *c, struct err *why) {
    const struct policy *policy = policies_of(b->policies, c->model);
    const bool before = policies_probe(b->policies, c->model, c->asked) == PROBE_BEFORE_SERVING;
    const struct probe_entry *e = probe_book_find(b, c->model, c->digests);
    enum probe_gate gate = PROBE_GATE_SERVE;
    char room[ERR_TEXT];
    if (c->repaired || is_accepted(b, c->model, c->digests)) return PROBE_GATE_SERVE;
    if (!e) return before ? PROBE_GATE_WAIT : PROBE_GATE_SERVE;
    if (!e->record.known || e->record.report.verdict == PROBE_SUSPECT ||
        e->record.report.verdict == PROBE_UNKNOWN)
        gate = judge_suspect(c, (enum policy_suspect)policy->on_suspect, before);
    else if (probe_record_repairs(&e->record) && before)
        gate = PROBE_GATE_HOLD; /* declined, or we would not be here */
    if (gate == PROBE_GATE_HOLD)
        (void)err_set(why, ERR_VALUE, "%s (guard.%s)", probe_book_sentence(&e->record, room),
                      probe_record_repairs(&e->record) ? "on_repaired" : "on_suspect");
    return gate;
}

bool probe_book_falls_back(const struct probe_book *b, const struct probe_entry *e) {
    const struct probe_record *r = &e->record;
    const bool fine = r->known && (r->report.verdict == PROBE_CLEAR || r->report.verdict == PROBE_REPAIRED);
    return !fine && policies_of(b->policies, r->model)->on_suspect != SUSPECT_SERVE &&
           !is_accepted(b, r->model, &r->digests);
}
