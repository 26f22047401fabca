/* The table of model files: scans come in, every file is brought to the state that
 * it should have. What happens from `importing` on is in files_import.c.
 *
 * A model can have several files: NAME.onnx comes first, then NAME/VERSION/model.onnx
 * by falling number. The first one that can be imported is taken, the others are
 * superseded; a file that is bad or not finished is passed over only where nothing
 * is being served, so that a half-copied new version never brings an old one back. */
#include "guard/files_internal.h"
#include "guard/model_file.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TO(STATE) (1u << FILE_##STATE)
static const unsigned legal[FILE_STATES] = {
    [FILE_SEEN] = TO(SETTLING) | TO(HELD) | TO(IMPORTING) | TO(REJECTED) | TO(SERVING) | TO(SUPERSEDED),
    [FILE_SETTLING] = TO(SEEN) | TO(HELD) | TO(REJECTED) | TO(SERVING) | TO(SUPERSEDED),
    [FILE_IMPORTING] = TO(PROBING) | TO(SEEN) | TO(HELD) | TO(SETTLING) | TO(SEALED) | TO(REJECTED) |
                       TO(SERVING) | TO(SUPERSEDED),
    [FILE_SEALED] = TO(SEEN) | TO(OFFERED) | TO(SUPERSEDED),
    [FILE_OFFERED] = TO(SERVING) | TO(REJECTED),
    [FILE_SERVING] = TO(SEEN) | TO(SUPERSEDED) | TO(HELD),
    [FILE_REJECTED] = TO(SEEN),
    [FILE_SUPERSEDED] = TO(SEEN),
    [FILE_HELD] = TO(SEEN) | TO(SUPERSEDED),
    [FILE_PROBING] = TO(SEEN) | TO(SEALED) | TO(HELD) | TO(SUPERSEDED),
};

void files_set_state(struct files *f, struct file *x, enum file_state to, const char *fmt, ...) {
    char reason[sizeof x->reason] = "";
    struct err clean; /* a text that was cut may end within a character */
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    (void)err_set(&clean, ERR_NONE, "%s", reason);
    (void)snprintf(reason, sizeof reason, "%s", clean.text);
    enum file_state from = x->state;
    if (from == to && strcmp(reason, x->reason) == 0) return;
    assert(from == to || (legal[from] & 1u << to));
    x->state = to;
    memcpy(x->reason, reason, sizeof reason);
    x->dirty = true;
    if (to == FILE_SERVING || to == FILE_REJECTED || to == FILE_SUPERSEDED || to == FILE_HELD ||
        to == FILE_PROBING)
        x->initial = false;
    if (!f->trace) return;
    const struct link_message m = files_describe(x, LINK_FILE);
    f->trace(f->trace_arg, &m, from);
}

/* --- the table ------------------------------------------------------------------------- */

struct files *files_new(const struct files_options *o) {
    struct files *f = calloc(1, sizeof *f);
    if (f) f->options = *o;
    return f;
}

void files_drop_image(struct file *x) {
    if (x->image >= 0) (void)close(x->image);
    x->image = -1;
}

void files_free(struct files *f) {
    if (!f) return;
    for (size_t i = 0; i < f->n; i++) {
        files_drop_image(f->list[i]);
        free(f->list[i]);
    }
    for (size_t i = 0; i < f->n_models; i++) free(f->models[i]);
    free(f->list);
    free(f->models);
    free(f);
}

void files_set_options(struct files *f, const struct files_options *o) {
    f->options = *o;
}

void files_set_trace(struct files *f, files_trace_fn fn, void *arg) {
    f->trace = fn;
    f->trace_arg = arg;
}

void files_set_keep(struct files *f, files_keep_fn fn, void *arg) {
    f->keep = fn;
    f->keep_arg = arg;
}

/* Files of one model stand together, the one that is preferred first. */
static int files_compare(const struct file *x, const char *model, uint64_t number, const char *path) {
    int c = strcmp(x->model, model);
    if (c) return c;
    if (x->number != number) {
        if (x->number == 0 || number == 0) return x->number == 0 ? -1 : 1;
        return x->number > number ? -1 : 1;
    }
    return strcmp(x->path, path);
}

/* Where it is, or would have to be put in. */
static size_t place_of(const struct files *f, const char *model, uint64_t number, const char *path) {
    size_t low = 0, high = f->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (files_compare(f->list[middle], model, number, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct file *insert(struct files *f, size_t at, const struct file_entry *e) {
    if (f->n == FILES_MAX) return NULL;
    struct file **bigger = realloc(f->list, (f->n + 1) * sizeof *bigger);
    struct file *x = bigger ? calloc(1, sizeof *x) : NULL;
    if (bigger) f->list = bigger;
    if (!x) return NULL;
    memmove(bigger + at + 1, bigger + at, (f->n - at) * sizeof *bigger);
    bigger[at] = x;
    f->n++;
    (void)snprintf(x->path, sizeof x->path, "%s", e->path);
    (void)snprintf(x->model, sizeof x->model, "%s", e->model);
    x->number = e->number;
    x->image = -1;
    x->initial = !f->scanned;
    x->dirty = true;
    return x;
}

void files_remove(struct files *f, struct file *x) {
    size_t at = place_of(f, x->model, x->number, x->path);
    assert(at < f->n && f->list[at] == x && x->state != FILE_IMPORTING);
    files_drop_image(x);
    free(x);
    memmove(f->list + at, f->list + at + 1, (--f->n - at) * sizeof *f->list);
}

struct file *files_find_path(const struct files *f, const char *path) {
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->list[i]->path, path) == 0) return f->list[i];
    return NULL;
}

struct model *files_find_model(const struct files *f, const char *name) {
    for (size_t i = 0; i < f->n_models; i++)
        if (strcmp(f->models[i]->name, name) == 0) return f->models[i];
    return NULL;
}

struct model *files_add_model(struct files *f, const char *name) {
    struct model *m = files_find_model(f, name);
    if (m) return m;
    struct model **bigger = realloc(f->models, (f->n_models + 1) * sizeof *bigger);
    if (!bigger) return NULL;
    f->models = bigger;
    m = calloc(1, sizeof *m);
    if (!m) return NULL;
    (void)snprintf(m->name, sizeof m->name, "%s", name);
    f->models[f->n_models++] = m;
    return m;
}

bool files_is_serving(const struct files *f, const struct file *x) {
    const struct model *m = files_find_model(f, x->model);
    return m && m->serving && strcmp(m->path, x->path) == 0;
}

const char *files_external(const struct files *f, const char *path) {
    const struct file *x = files_find_path(f, path);
    return x && x->external[0] ? x->external : NULL;
}

/* --- one file, as a scan saw it ---------------------------------------------------------- */

void files_wait(struct files *f, struct file *x, uint64_t retry_at, uint64_t now) {
    uint64_t quiet = now - x->changed_at, patience = quiet < 30000 ? quiet : 30000;
    if (patience < f->options.settle_ms) patience = f->options.settle_ms;
    x->waiting = true;
    x->initial = false;
    x->retry_at = retry_at;
    x->check_at = retry_at ? retry_at : now + patience; /* no event tells of a slow writer's next bytes */
}

void files_restart(struct files *f, struct file *x, uint64_t now) {
    x->stale = x->ready = x->waiting = false;
    x->changed_at = x->check_at = now;
    files_set_state(f, x, FILE_SEEN, "%s", "");
}

void files_outdate(struct files *f, struct file *x) {
    const bool initial = x->initial; /* the start waits for what lies there in the end */
    files_set_state(f, x, FILE_SUPERSEDED, "replaced or removed before it could be served");
    x->initial = initial;
}

void files_adopt(struct files *f, struct file *x, const struct model *m) {
    x->imported = m->identity;
    x->imported_ns = m->closed_ns;
    x->digests = m->digests;
    x->has_digests = true;
    x->version = m->version;
    x->verdict = m->verdict;
    x->pruned = m->pruned;
    x->canary = m->canary;
    x->total = m->total;
    x->repaired = m->repaired;
    x->probe_asked = m->probe_asked;
    x->bytes = m->bytes;
    x->discards = x->attempts = 0;
    files_set_state(f, x, FILE_SERVING, "%s", "");
}

void files_hold_barred(struct files *f, struct file *x, const struct model *m) {
    x->imported = m->left.identity;
    x->imported_ns = m->left.closed_ns;
    x->digests = m->left.digests;
    x->has_digests = true;
    x->version = m->left.version;
    x->verdict = (enum verdict)m->left.verdict;
    x->pruned = m->left.pruned;
    x->canary = m->left.canary;
    x->total = m->left.total;
    x->bytes = m->left.bytes;
    x->ready = x->waiting = false;
    files_set_state(f, x, FILE_HELD, "%s", m->barred_reason);
}

static void take_change(struct files *f, struct file *x, const struct file_entry *e, uint64_t now) {
    if (x->state == FILE_SETTLING)
        x->initial = false; /* somebody is writing: the start needn't wait for that */
    x->identity = e->identity;
    x->closed_ns = e->closed_ns;
    x->complete = e->complete || e->written;
    x->attempts = 0;
    if (x->state == FILE_IMPORTING || x->state == FILE_OFFERED) {
        x->stale = true;
        return;
    }
    files_drop_image(x);
    if (x->state == FILE_SEALED || x->state == FILE_PROBING || (x->state == FILE_SEEN && x->ready))
        files_outdate(f, x);
    files_restart(f, x, now);
}

/* seen or settling: can it be imported? */
static void judge(struct files *f, struct file *x, const struct file_entry *e, uint64_t now) {
    const struct model *m = files_find_model(f, x->model);
    const uint32_t settle = f->options.settle_ms;
    if (e->trouble && e->passing) {
        files_set_state(f, x, FILE_SETTLING, "%s", e->trouble);
        files_wait(f, x, 0, now);
    } else if (e->trouble) {
        files_set_state(f, x, FILE_REJECTED, "%s", e->trouble);
    } else if (!x->verify && files_is_serving(f, x) && model_file_same(&m->identity, &x->identity)) {
        files_adopt(f, x, m);
    } else if (!x->verify && m && m->barred && model_file_same(&m->left.identity, &x->identity)) {
        files_hold_barred(f, x, m);
    } else if (x->waiting && !(x->retry_at && now >= x->retry_at)) {
        if (now >= x->check_at) files_wait(f, x, x->retry_at, now);
    } else if (x->ready || x->waiting || x->complete || e->age_ms >= settle ||
               now - x->changed_at >= settle) {
        if (!x->ready) {
            x->order = ++f->order;
            x->passes = 0;
        }
        x->ready = true;
        x->waiting = false;
        files_set_state(f, x, FILE_SEEN, "complete: waiting for its turn");
    } else {
        x->check_at = x->changed_at + settle;
        files_set_state(f, x, FILE_SETTLING,
                        "changed a moment ago: waiting until it has been left alone for %u ms", settle);
    }
}

void files_scan_begin(struct files *f) {
    for (size_t i = 0; i < f->n; i++) f->list[i]->seen = false;
}

void files_scan_entry(struct files *f, const struct file_entry *e, uint64_t now) {
    size_t at = place_of(f, e->model, e->number, e->path);
    struct file *x = at < f->n && strcmp(f->list[at]->path, e->path) == 0 ? f->list[at] : NULL;
    bool fresh = !x || x->gone;
    if (!x) x = insert(f, at, e);
    if (!x) return;
    x->seen = x->present = true;
    x->gone = false;
    bool again = e->written && x->state != FILE_SEEN && x->state != FILE_SETTLING;
    if (again) x->verify = true;
    if (fresh || again || !model_file_same(&x->identity, &e->identity))
        take_change(f, x, e, now);
    else if (e->complete || e->written)
        x->complete = true;
    if (x->state == FILE_SEEN || x->state == FILE_SETTLING)
        judge(f, x, e, now);
    else if (x->state == FILE_SERVING)
        files_set_state(f, x, FILE_SERVING, "%s", "");
}

/* --- the end of a scan ------------------------------------------------------------------- */

static bool model_has_file(const struct files *f, const char *model) {
    for (size_t i = place_of(f, model, 0, ""); i < f->n && strcmp(f->list[i]->model, model) == 0; i++)
        if (f->list[i]->present) return true;
    return false;
}

static void forget(struct file *x) {
    files_drop_image(x);
    x->gone = true;
}

static void miss_file(struct files *f, struct file *x) {
    if (x->state == FILE_IMPORTING)
        x->stale = true; /* its end brings it back here */
    else if (x->state == FILE_SERVING && !model_has_file(f, x->model))
        files_set_state(f, x, FILE_SERVING, "the file is gone: still served, for at most %u s",
                        (f->options.retire_ms + 999) / 1000);
    else if (x->state != FILE_OFFERED)
        forget(x);
}

static void miss_model(struct files *f, struct model *m, uint64_t now) {
    if (!m->serving || model_has_file(f, m->name)) {
        m->gone_at = 0;
        return;
    }
    if (!m->gone_at) m->gone_at = now ? now : 1;
    if (now - m->gone_at < f->options.retire_ms) return;
    m->serving = m->barred = false;
    m->retire = true;
    m->gone_at = 0;
    struct file *x = files_find_path(f, m->path);
    if (x && x->state == FILE_SERVING) forget(x);
}

void files_scan_end(struct files *f, uint64_t now) {
    f->scanned = true;
    for (size_t i = 0; i < f->n; i++) f->list[i]->present = f->list[i]->seen;
    for (size_t i = 0; i < f->n; i++)
        if (!f->list[i]->present && !f->list[i]->gone) miss_file(f, f->list[i]);
    for (size_t i = 0; i < f->n_models; i++) miss_model(f, f->models[i], now);
    files_rank(f, now);
}

void files_scan_failed(struct files *f, const char *why, uint64_t now) {
    (void)now;
    f->scanned = true;
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i]->state == FILE_SERVING)
            files_set_state(f, f->list[i], FILE_SERVING, "%s: still served", why);
    for (size_t i = 0; i < f->n_models; i++) f->models[i]->gone_at = 0;
}

uint64_t files_next_scan(const struct files *f) {
    uint64_t next = FILES_NEVER;
    for (size_t i = 0; i < f->n; i++) {
        const struct file *x = f->list[i];
        bool awaits = (x->state == FILE_SEEN || x->state == FILE_SETTLING) && !x->ready;
        if (awaits && !x->gone && x->check_at < next) next = x->check_at;
    }
    for (size_t i = 0; i < f->n_models; i++) {
        uint64_t gone_at = f->models[i]->gone_at;
        if (gone_at && gone_at + f->options.retire_ms < next) next = gone_at + f->options.retire_ms;
    }
    return next;
}

/* --- several files of one model ---------------------------------------------------------- */

static bool is_hopeful(const struct file *x) {
    if (!x->present || x->gone || x->state == FILE_REJECTED || x->state == FILE_HELD) return false;
    return (x->state != FILE_SEEN && x->state != FILE_SETTLING) || x->ready;
}

static void supersede(struct files *f, struct file *x, const struct file *by) {
    switch (x->state) {
    case FILE_SERVING:
        if (by->state != FILE_SERVING) return; /* not yet */
        break;
    case FILE_PROBING:
    case FILE_SEALED: files_drop_image(x); break;
    case FILE_SEEN:
    case FILE_SETTLING:
    case FILE_HELD:
    case FILE_SUPERSEDED: break;
    default: return; /* runs its course, and is looked at again then */
    }
    files_set_state(f, x, FILE_SUPERSEDED, "%s comes first%s", by->path,
                    by->number ? " (the highest version)" : " (NAME.onnx before NAME/VERSION)");
}

static void rank_model(struct files *f, size_t from, size_t to, uint64_t now) {
    size_t best = to, serving = to;
    for (size_t i = to; i-- > from;) {
        if (is_hopeful(f->list[i])) best = i;
        if (f->list[i]->present && files_is_serving(f, f->list[i])) serving = i;
    }
    size_t first = best < serving ? best : serving;
    for (size_t i = first + 1; i < to; i++)
        if (!f->list[i]->gone) supersede(f, f->list[i], f->list[first]);
    if (first < to && first == best && f->list[best]->state == FILE_SUPERSEDED)
        files_restart(f, f->list[best], now);
}

void files_rank(struct files *f, uint64_t now) {
    for (size_t from = 0, to; from < f->n; from = to) {
        for (to = from + 1; to < f->n && strcmp(f->list[from]->model, f->list[to]->model) == 0;) to++;
        if (f->list[from]->model[0] && to - from > 1) rank_model(f, from, to, now);
        /* The only one left may have been superseded by one that is gone. */
        else if (f->list[from]->state == FILE_SUPERSEDED && !f->list[from]->gone)
            files_restart(f, f->list[from], now);
    }
}
