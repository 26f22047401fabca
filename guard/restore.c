/* Walks the records once, in their order; see restore.h. */
#include "guard/restore.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void close_image(struct restore *r) {
    if (r->fd >= 0) (void)close(r->fd);
    r->fd = -1;
}

bool restore_allows(struct restore *r, const struct link_message *serving) {
    if (!serving->inherited || serving->policy == r->policy) return true;
    char(*more)[LINK_MODEL] = realloc(r->unfit, (r->n_unfit + 1) * sizeof *more);
    if (!more) return true; /* no memory: it serves on, as after a reload */
    r->unfit = more;
    memcpy(r->unfit[r->n_unfit++], serving->model, LINK_MODEL);
    return false;
}

void restore_begin(struct restore *r) {
    r->begun = true;
    r->fd = -1;
    r->n = keeper_count(r->keeper);
    for (size_t i = 0; i < r->n; i++) {
        const struct state_record *record = keeper_at(r->keeper, i);
        files_count_from(r->files, record->model, record->last_version);
        files_on_record(r->files, record);
        if (state_digests_are_set(&record->barred)) files_bar(r->files, record);
    }
}

static void drop(struct restore *r, struct state_record *record, const char *why) {
    const uint64_t version = record->current.version;
    record->current = (struct state_image){0};
    keeper_write(r->keeper, record);
    r->refused(r->arg, record, version, why);
}

/* Whether this record's image is to be offered; loads it. */
static bool prepare(struct restore *r, struct state_record *record) {
    struct err e = {0};
    if (record->current.version == 0 || files_serves(r->files, record->model)) return false;
    if (record->current.policy != r->policy) {
        /* It stays where it is: the version that comes out of the new decision takes its place. */
        r->refused(r->arg, record, record->current.version,
                   "it was decided under another policy: its file is looked at again first");
        return false;
    }
    r->fd = keeper_load(r->keeper, record, &record->current, &e);
    if (r->fd < 0) drop(r, record, e.text);
    return r->fd >= 0;
}

bool restore_next(struct restore *r, struct link_message *m, int *fd) {
    if (!r->begun || r->waiting == RESTORE_AT_ONCE) return false;
    if (r->unfit_sent < r->n_unfit) {
        *m = (struct link_message){.version = LINK_VERSION, .type = LINK_RETIRE};
        memcpy(m->model, r->unfit[r->unfit_sent], sizeof m->model);
        *fd = -1;
        return true;
    }
    while (r->fd < 0 && r->next < r->n && !prepare(r, keeper_at(r->keeper, r->next))) r->next++;
    if (r->fd < 0) return false;
    const struct state_record *record = keeper_at(r->keeper, r->next);
    *m = keeper_offer(record->model, &record->current);
    *fd = r->fd;
    return true;
}

void restore_sent(struct restore *r) {
    if (r->unfit_sent < r->n_unfit) {
        r->unfit_sent++;
        return;
    }
    close_image(r);
    r->next++;
    r->waiting++;
}

bool restore_on_answer(struct restore *r, const struct link_message *m) {
    struct state_record *record = keeper_find(r->keeper, m->model);
    if (!r->waiting || !record || record->current.version != m->model_version) return false;
    r->waiting--;
    if (m->accepted)
        files_on_kept(r->files, record);
    else
        drop(r, record, m->reason);
    return true;
}

bool restore_is_done(const struct restore *r) {
    return r->begun && r->unfit_sent == r->n_unfit && r->waiting == 0 && r->fd < 0 && r->next >= r->n;
}

void restore_end(struct restore *r) {
    if (r->begun) close_image(r);
    free(r->unfit);
    r->unfit = NULL;
}
