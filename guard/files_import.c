/* From `importing` to `serving`, and the messages that tell of it. See files.h. */
#include "guard/files_internal.h"
#include "guard/model_file.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* --- importing -------------------------------------------------------------------------- */

static bool model_is_imported(const struct files *f, const char *model) {
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i]->state == FILE_IMPORTING && strcmp(f->list[i]->model, model) == 0) return true;
    return false;
}

static bool goes_before(const struct file *x, const struct file *y) {
    const bool x_late = x->passes >= FILES_PASSES, y_late = y->passes >= FILES_PASSES;
    if (x_late != y_late) return x_late;
    if (!x_late && x->identity.size != y->identity.size) return x->identity.size < y->identity.size;
    return x->order < y->order;
}

static bool is_due(const struct files *f, const struct file *x) {
    return x->state == FILE_SEEN && x->ready && !x->gone && !model_is_imported(f, x->model);
}

bool files_next_import(struct files *f, struct file_job *job) {
    struct file *next = NULL;
    for (size_t i = 0; i < f->n; i++) {
        struct file *x = f->list[i];
        if (is_due(f, x) && (!next || goes_before(x, next))) next = x;
    }
    if (!next) return false;
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i]->order < next->order && is_due(f, f->list[i])) f->list[i]->passes++;
    next->imported = next->identity;
    next->imported_ns = next->closed_ns;
    next->policy = f->options.policy;
    next->stale = next->ready = next->verify = next->repaired = false;
    job->file = next;
    memcpy(job->path, next->path, sizeof job->path);
    memcpy(job->model, next->model, sizeof job->model);
    memcpy(job->external, next->external, sizeof job->external);
    files_set_state(f, next, FILE_IMPORTING, "%s", "");
    return true;
}

void files_import_opened(struct files *f, const struct file_job *job, const struct link_identity *identity,
                         uint64_t closed_ns) {
    (void)f;
    job->file->imported = job->file->identity = *identity;
    job->file->imported_ns = job->file->closed_ns = closed_ns;
}

bool files_import_is_stale(const struct files *f, const struct file_job *job) {
    const struct file *x = job->file;
    (void)f;
    return x->stale && (x->discards < FILES_DISCARDS || !x->present);
}

bool files_import_is_served(const struct files *f, const struct file_job *job,
                            const struct spawn_digests *d) {
    const struct model *m = files_find_model(f, job->file->model);
    return m && m->serving && m->policy == job->file->policy && m->build == f->options.build &&
           m->repaired == job->file->repaired && memcmp(&m->digests, d, sizeof *d) == 0;
}

/* The import is over; has the file changed meanwhile? */
static struct file *end_import(const struct file_job *job, const struct link_identity *after, bool *changed) {
    struct file *x = job->file;
    assert(x->state == FILE_IMPORTING);
    *changed = x->stale || !x->present || !after || !model_file_same(after, &x->imported);
    if (after && !model_file_same(
                     after, &x->identity)) { /* newer than the last scan: nothing says that it is complete */
        x->identity = *after;
        x->complete = false;
    }
    return x;
}

/* What was being imported is no longer what lies there. */
static void start_over(struct files *f, struct file *x, uint64_t now) {
    x->discards++;
    if (!x->present || !model_file_same(&x->identity, &x->imported)) files_outdate(f, x);
    files_restart(f, x, now);
    files_rank(f, now);
}

static void end_well(struct files *f, const struct file_job *job, struct spawn_result *r,
                     const struct link_identity *after, bool intact, enum file_state to, uint64_t now) {
    bool changed;
    struct file *x = end_import(job, after, &changed);
    /* Someone who replaces a file faster than it can be imported would never get it served. */
    bool outdated_will_do = x->discards >= FILES_DISCARDS && intact && x->present && after;
    if (changed && !outdated_will_do) {
        start_over(f, x, now);
        return;
    }
    x->stale = changed;
    x->discards = x->attempts = 0;
    x->digests = r->digests;
    x->has_digests = true;
    x->verdict = r->report.verdict;
    x->canary = r->canary;
    x->pruned = r->report.pruned_channels;
    x->total = r->report.total_channels;
    x->bytes = r->bytes;
    x->probe_asked = r->report.probe;
    x->image = r->fd;
    r->fd = -1;
    files_set_state(f, x, to, "%s", to == FILE_PROBING ? "waiting for its probe" : "");
    files_rank(f, now);
}

void files_import_done(struct files *f, const struct file_job *job, struct spawn_result *r,
                       const struct link_identity *after, bool intact, uint64_t now) {
    end_well(f, job, r, after, intact, FILE_SEALED, now);
}

void files_import_waits(struct files *f, const struct file_job *job, struct spawn_result *r,
                        const struct link_identity *after, bool intact, uint64_t now) {
    end_well(f, job, r, after, intact, FILE_PROBING, now);
}

void files_import_repairs(struct files *f, const struct file_job *job, bool repairs) {
    (void)f;
    job->file->repaired = repairs;
}

/* Complete: nobody has changed it since it was looked at. */
static void look_again(struct files *f, struct file *x, uint64_t now) {
    files_drop_image(x);
    files_restart(f, x, now);
    x->complete = x->verify = true;
}

void files_import_again(struct files *f, const struct file_job *job, uint64_t now) {
    look_again(f, job->file, now);
}

static void reject_or_wait(struct files *f, struct file *x, const struct spawn_result *r, uint64_t now) {
    const struct err *e = &r->err;
    if (r->needs[0]) {
        memcpy(x->external, r->needs, sizeof x->external);
        files_set_state(f, x, FILE_SETTLING, "%s: waiting for it", e->text);
        files_wait(f, x, 0, now);
        x->check_at = now; /* it may be there: the next scan knows its name */
    } else if (e->code == ERR_TRUNCATED) {
        files_set_state(f, x, FILE_SETTLING, "the file ends early (%llu bytes): waiting for the rest. %s",
                        (unsigned long long)x->imported.size, e->text);
        files_wait(f, x, 0, now);
    } else if (e->code == ERR_SYSTEM && ++x->attempts < FILES_ATTEMPTS) {
        files_set_state(f, x, FILE_SETTLING, "%s. Trying again", e->text);
        files_wait(f, x, now + (UINT64_C(1000) << x->attempts), now);
    } else {
        files_set_state(f, x, FILE_REJECTED, "%s", e->text);
    }
}

void files_import_failed(struct files *f, const struct file_job *job, const struct spawn_result *r,
                         const struct link_identity *after, uint64_t now) {
    bool changed;
    struct file *x = end_import(job, after, &changed);
    x->has_digests = r->has_digests;
    x->digests = r->digests;
    if (changed) {
        start_over(f, x, now);
        return;
    }
    x->discards = 0;
    reject_or_wait(f, x, r, now);
    files_rank(f, now);
}

/* What is served is worth keeping. */
static void keep(struct files *f, const struct model *m, int fd) {
    struct state_image image = {.version = m->version,
                                .bytes = m->bytes,
                                .closed_ns = m->closed_ns,
                                .policy = m->policy,
                                .build = m->build,
                                .identity = m->identity,
                                .digests = m->digests,
                                .pruned = m->pruned,
                                .canary = m->canary,
                                .total = m->total,
                                .verdict = (uint32_t)m->verdict,
                                .repaired = m->repaired,
                                .probe = (uint16_t)m->probe_asked};
    memcpy(image.path, m->path, sizeof image.path);
    if (f->keep) f->keep(f->keep_arg, m->name, &image, fd);
}

void files_import_same(struct files *f, const struct file_job *job, const struct spawn_digests *d,
                       const struct link_identity *after, uint64_t now) {
    bool changed;
    struct file *x = end_import(job, after, &changed);
    struct model *m = files_find_model(f, x->model);
    if (changed || !m || !m->serving) {
        start_over(f, x, now);
        return;
    }
    memcpy(m->path, x->path, sizeof m->path);
    m->identity = x->imported;
    m->digests = *d;
    m->policy = x->policy;
    m->build = f->options.build;
    keep(f, m, -1);
    files_adopt(f, x, m);
    files_rank(f, now);
}

bool files_import_is_barred(const struct files *f, const struct file_job *job,
                            const struct spawn_digests *d) {
    const struct model *m = files_find_model(f, job->file->model);
    return m && m->barred && memcmp(&m->left.digests, d, sizeof *d) == 0;
}

void files_import_held(struct files *f, const struct file_job *job, const struct spawn_result *r,
                       const char *why, const struct link_identity *after, uint64_t now) {
    bool changed;
    struct file *x = end_import(job, after, &changed);
    struct model *m = files_find_model(f, x->model);
    if (changed || (!r && !m)) {
        start_over(f, x, now);
        return;
    }
    x->discards = x->attempts = 0;
    if (r) {
        x->digests = r->digests;
        x->has_digests = true;
        x->version = 0;
        x->verdict = r->report.verdict;
        x->canary = r->canary;
        x->pruned = r->report.pruned_channels;
        x->total = r->report.total_channels;
        x->bytes = r->bytes;
        files_set_state(f, x, FILE_HELD, "%s; clpctl accept %s serves it all the same", why, x->model);
    } else {
        m->left.identity = x->imported; /* the same contents under another identity */
        files_hold_barred(f, x, m);
    }
    files_rank(f, now);
}

void files_import_stopped(struct files *f, const struct file_job *job, uint64_t now) {
    start_over(f, job->file, now);
}

/* --- the link --------------------------------------------------------------------------- */

static bool model_awaits_answer(const struct files *f, const char *model) {
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i]->state == FILE_OFFERED && strcmp(f->list[i]->model, model) == 0) return true;
    return false;
}

struct link_message files_describe(const struct file *x, uint32_t type) {
    struct link_message m = {.version = LINK_VERSION,
                             .type = type,
                             .state = (uint32_t)x->state,
                             .identity = x->state < FILE_IMPORTING ? x->identity : x->imported};
    bool known = (x->state >= FILE_SEALED && x->state <= FILE_SERVING) || x->state == FILE_HELD ||
                 x->state == FILE_PROBING;
    memcpy(m.model, x->model, sizeof m.model);
    memcpy(m.path, x->path, sizeof m.path);
    memcpy(m.reason, x->reason, sizeof m.reason);
    if (x->has_digests) memcpy(m.sha256, x->digests.model, sizeof m.sha256);
    m.closed_ns = x->imported_ns;
    if (!known) return m;
    m.model_version = x->version;
    m.verdict = (uint32_t)x->verdict;
    m.pruned_channels = x->pruned;
    m.canary = x->canary;
    m.total_channels = x->total;
    m.image_bytes = x->bytes;
    return m;
}

static bool next_retirement(const struct files *f, struct link_message *m) {
    for (size_t i = 0; i < f->n_models; i++) {
        if (!f->models[i]->retire) continue;
        *m = (struct link_message){.version = LINK_VERSION, .type = LINK_RETIRE};
        memcpy(m->model, f->models[i]->name, sizeof m->model);
        memcpy(m->path, f->models[i]->path, sizeof m->path);
        return true;
    }
    return false;
}

bool files_next_message(struct files *f, struct link_message *m, int *fd) {
    *fd = -1;
    if (next_retirement(f, m)) return true;
    for (size_t i = 0; i < f->n; i++) {
        struct file *x = f->list[i];
        if (!x->gone && !x->dirty) continue;
        *m = files_describe(x, x->gone ? LINK_FILE_GONE : LINK_FILE);
        return true;
    }
    for (size_t i = 0; i < f->n; i++) {
        struct file *x = f->list[i];
        if (x->state != FILE_SEALED || model_awaits_answer(f, x->model)) continue;
        const struct model *model = files_add_model(f, x->model);
        if (!model || model->busy) continue; /* what serves without a record would never be retired */
        *m = files_describe(x, LINK_OFFER);
        m->model_version = model->last_version + 1;
        m->policy = x->policy;
        m->build = f->options.build;
        m->repaired = x->repaired;
        m->probe = x->probe_asked;
        state_digests_put(&x->digests, m);
        *fd = x->image;
        return true;
    }
    return false;
}

void files_message_sent(struct files *f, const struct link_message *m) {
    struct model *model = files_find_model(f, m->model);
    struct file *x = files_find_path(f, m->path);
    switch (m->type) {
    case LINK_RETIRE:
        if (model) model->retire = false;
        break;
    case LINK_FILE_GONE:
        if (x) files_remove(f, x);
        break;
    case LINK_FILE:
        if (x) x->dirty = false;
        break;
    case LINK_OFFER:
        assert(x && x->state == FILE_SEALED);
        x->version = m->model_version;
        files_set_state(f, x, FILE_OFFERED, "%s", "");
        break;
    default: break;
    }
}

static void take_into_service(struct files *f, struct file *x) {
    struct model *m = files_find_model(f, x->model);
    assert(m); /* made with the offer */
    memcpy(m->path, x->path, sizeof m->path);
    m->serving = true;
    m->retire = m->barred = false;
    m->gone_at = 0;
    m->version = x->version;
    if (m->last_version < x->version) m->last_version = x->version;
    m->policy = x->policy;
    m->build = f->options.build;
    m->identity = x->imported;
    m->closed_ns = x->imported_ns;
    m->digests = x->digests;
    m->verdict = x->verdict;
    m->pruned = x->pruned;
    m->canary = x->canary;
    m->total = x->total;
    m->repaired = x->repaired;
    m->probe_asked = x->probe_asked;
    m->bytes = x->bytes;
    keep(f, m, x->image);
}

void files_on_answer(struct files *f, const struct link_message *m, uint64_t now) {
    for (size_t i = 0; i < f->n; i++) {
        struct file *x = f->list[i];
        if (x->state != FILE_OFFERED || strcmp(x->model, m->model) != 0 || x->version != m->model_version)
            continue;
        if (m->accepted) take_into_service(f, x);
        files_drop_image(x);
        if (m->accepted)
            files_set_state(f, x, FILE_SERVING, "%s", "");
        else
            files_set_state(f, x, FILE_REJECTED, "clpd refused the image: %s", m->reason);
        if (x->stale) files_restart(f, x, now);
        files_rank(f, now);
        return;
    }
}

bool files_on_serving(struct files *f, const struct link_message *m) {
    if (!model_file_name_is_valid(m->model)) return true;
    struct model *model = files_add_model(f, m->model);
    struct file *x = files_find_path(f, m->path);
    if (!model) return false;
    model->serving = true;
    state_digests_get(m, &model->digests);
    model->policy = m->policy;
    model->build = m->build;
    model->repaired = m->repaired;
    model->probe_asked = m->probe;
    model->identity = m->identity;
    model->closed_ns = m->closed_ns;
    model->verdict = (enum verdict)m->verdict;
    model->pruned = m->pruned_channels;
    model->canary = m->canary;
    model->total = m->total_channels;
    model->bytes = m->image_bytes;
    model->version = m->model_version;
    if (model->last_version < model->version) model->last_version = model->version;
    memcpy(model->path, m->path, sizeof model->path);
    if (!x || x->gone || !model_file_same(&x->identity, &m->identity)) return true;
    if (x->state == FILE_IMPORTING) x->stale = true; /* needless: stop, the next scan finds it served */
    if (x->state == FILE_SEALED) {
        files_drop_image(x);
        files_restart(f, x, 0);
    }
    if (x->state == FILE_SEEN || x->state == FILE_SETTLING) files_adopt(f, x, model);
    return true;
}

void files_count_from(struct files *f, const char *model, uint64_t last_version) {
    struct model *m = files_add_model(f, model);
    if (m && m->last_version < last_version) m->last_version = last_version;
}

void files_on_kept(struct files *f, const struct state_record *r) {
    const struct state_image *i = &r->current;
    struct model *m = files_add_model(f, r->model);
    if (!m) return;
    m->serving = true;
    m->version = i->version;
    m->policy = i->policy;
    m->build = i->build;
    m->identity = i->identity;
    m->digests = i->digests;
    m->verdict = (enum verdict)i->verdict;
    m->pruned = i->pruned;
    m->canary = i->canary;
    m->total = i->total;
    m->repaired = i->repaired;
    m->probe_asked = i->probe;
    m->bytes = i->bytes;
    m->closed_ns = i->closed_ns;
    memcpy(m->path, i->path, sizeof m->path);
    files_count_from(f, r->model, r->last_version);
    struct file *x = files_find_path(f, m->path);
    if (x && x->state == FILE_SERVING && model_file_same(&x->imported, &m->identity)) {
        files_adopt(f, x, m); /* the same file, in another of its two versions: repaired, or not */
        x->dirty = true;
    }
}

bool files_serves(const struct files *f, const char *model) {
    const struct model *m = files_find_model(f, model);
    return m && m->serving;
}

void files_on_record(struct files *f, const struct state_record *r) {
    const struct state_image *i = &r->current;
    const struct model *m = files_find_model(f, r->model);
    if (m && m->serving && i->version && m->version == i->version &&
        memcmp(m->digests.model, i->digests.model, sizeof i->digests.model) == 0)
        files_on_kept(f, r);
}

/* --- what people ask for ----------------------------------------------------------------- */

/* A held file that is what its model is served from now, or a serving one that was rolled back from. */
static void settle_held(struct files *f, struct file *x, const struct model *m) {
    if (m->barred && x->state == FILE_SERVING &&
        memcmp(&x->digests, &m->left.digests, sizeof x->digests) == 0) {
        files_hold_barred(f, x, m);
    } else if (m->serving && x->state == FILE_HELD && files_is_serving(f, x) &&
               model_file_same(&x->imported, &m->identity)) {
        files_restart(f, x, 0); /* from held to serving it is two steps */
        files_adopt(f, x, m);
    }
}

void files_bar(struct files *f, const struct state_record *r) {
    struct model *m = files_add_model(f, r->model);
    if (!m) return;
    m->barred = state_digests_are_set(&r->barred);
    m->left = r->other;
    m->left.digests = r->barred;
    m->left.identity = r->barred_identity;
    memcpy(m->barred_reason, r->barred_reason, sizeof m->barred_reason);
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->list[i]->model, r->model) == 0 && !f->list[i]->gone) settle_held(f, f->list[i], m);
}

const char *files_held(const struct files *f, const char *model, struct spawn_digests *digests) {
    for (size_t i = 0; i < f->n; i++) {
        const struct file *x = f->list[i];
        if (x->state != FILE_HELD || x->gone || !x->has_digests || strcmp(x->model, model) != 0) continue;
        *digests = x->digests;
        return x->path;
    }
    return NULL;
}

void files_release(struct files *f, const char *path, uint64_t now) {
    struct file *x = files_find_path(f, path);
    if (!x || x->state != FILE_HELD) return;
    files_restart(f, x, now);
    x->complete = x->verify = true; /* complete: nobody has changed it since */
}

bool files_knows(const struct files *f, const char *path) {
    const struct file *x = files_find_path(f, path);
    return x && !x->gone;
}

bool files_is_offering(const struct files *f, const char *model) {
    return model_awaits_answer(f, model);
}

void files_set_busy(struct files *f, const char *model, bool busy) {
    struct model *m = busy ? files_add_model(f, model) : files_find_model(f, model);
    if (m) m->busy = busy;
}

/* --- probes ------------------------------------------------------------------------------ */

static void describe_subject(const struct files *f, struct file *x, struct files_subject *out) {
    const struct model *m = files_find_model(f, x->model);
    const bool serves = x->state == FILE_SERVING && m && m->serving && strcmp(m->path, x->path) == 0;
    *out = (struct files_subject){.identity = x->imported,
                                  .digests = x->digests,
                                  .version = serves ? x->version : 0,
                                  .asked = x->probe_asked,
                                  .repaired = x->repaired};
    if (!(serves || x->state == FILE_PROBING) || !x->present || x->gone || !x->has_digests) return;
    out->job.file = x;
    memcpy(out->job.path, x->path, sizeof x->path);
    memcpy(out->job.model, x->model, sizeof x->model);
    memcpy(out->job.external, x->external, sizeof x->external);
}

bool files_subject(const struct files *f, size_t i, struct files_subject *out) {
    if (i >= f->n) return false;
    describe_subject(f, f->list[i], out);
    return true;
}

void files_subject_of(const struct files *f, const char *model, struct files_subject *out) {
    const struct model *m = files_find_model(f, model);
    struct file *x = m && m->serving ? files_find_path(f, m->path) : NULL;
    *out = (struct files_subject){.version = 0};
    if (x) describe_subject(f, x, out);
}

bool files_served(const struct files *f, const char *model, struct files_served *out) {
    const struct model *m = files_find_model(f, model);
    if (!m || !m->serving) return false;
    *out = (struct files_served){m->digests, m->version, m->repaired};
    return true;
}

void files_probe_progress(struct files *f, const char *path, const char *words) {
    struct file *x = files_find_path(f, path);
    if (x && x->state == FILE_PROBING) files_set_state(f, x, FILE_PROBING, "%s", words);
}

void files_probed(struct files *f, const char *path, const struct spawn_digests *d, const char *held,
                  uint64_t now) {
    struct file *x = files_find_path(f, path);
    if (!x || x->state != FILE_PROBING || memcmp(&x->digests, d, sizeof *d) != 0) return;
    if (held) {
        files_drop_image(x);
        files_set_state(f, x, FILE_HELD, "%s; clpctl accept %s serves it all the same", held, x->model);
    } else {
        files_set_state(f, x, FILE_SEALED, "%s", "");
    }
    files_rank(f, now);
}

void files_repair(struct files *f, const char *path, uint64_t now) {
    struct file *x = files_find_path(f, path);
    if (x && x->present && !x->gone && (x->state == FILE_SERVING || x->state == FILE_PROBING))
        look_again(f, x, now);
}

bool files_settled(const struct files *f) {
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i]->initial && !f->list[i]->gone && !files_serves(f, f->list[i]->model)) return false;
    return f->scanned;
}
