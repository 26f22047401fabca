/* Built with jansson; a failed allocation anywhere makes the whole NULL. */
#include "daemon/status.h"

#include "guard/canary.h"
#include "guard/report.h"
#include "infer/digest.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static json_int_t number(uint64_t n) {
    return n > INT64_MAX ? INT64_MAX : (json_int_t)n;
}

/* File names are bytes; JSON is UTF-8. What is not becomes '?'. A new reference. */
static json_t *text(const char *s) {
    json_t *j = json_string(s);
    if (j) return j;
    char *copy = strdup(s);
    for (char *c = copy; copy && *c; c++)
        if (*c & 0x80) *c = '?';
    j = copy ? json_string(copy) : NULL;
    free(copy);
    return j;
}

static json_t *digest_or_null(const uint8_t digest[DIGEST_BYTES]) {
    static const uint8_t none[DIGEST_BYTES];
    char hex[2 * DIGEST_BYTES + 1];
    return memcmp(digest, none, sizeof none) == 0 ? json_null() : json_string(digest_text(digest, hex));
}

/* "2026-01-31T12:00:00Z" */
static json_t *time_text(uint64_t ns) {
    char buf[32];
    struct tm tm;
    const time_t t = (time_t)(ns / 1000000000u);
    if (!gmtime_r(&t, &tm) || strftime(buf, sizeof buf, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) return json_null();
    return json_string(buf);
}

/* Takes the document. */
static char *dump(json_t *document, size_t *bytes) {
    char *out = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    *bytes = out ? strlen(out) : 0;
    return out;
}

char *status_text(const struct status_facts *f, size_t *bytes) {
    const struct server_counters *c = &f->server->counters;
    struct workers_counters w;
    workers_count_up(f->workers, &w);
    const uint64_t uptime = (loop_clock() - f->started_ns) / 1000000000u;
    json_t *counters = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "requests", number(c->requests), "ok",
                                 number(c->ok), "busy", number(c->busy), "deadline", number(c->deadline),
                                 "errors", number(c->errors), "batches", number(w.batches), "items",
                                 number(w.items), "swaps", number(models_swaps(f->models)));
    json_t *guard = json_pack("{s:s,s:o,s:I}", "state", f->guard_state, "watching",
                              f->guard_watching[0] ? text(f->guard_watching) : json_null(), "restarts",
                              number(f->guard_restarts));
    return dump(json_pack("{s:i,s:s,s:i,s:I,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "schema", 1, "version",
                          CLPD_VERSION, "pid", (int)getpid(), "uptime_s", number(uptime), "io_backend",
                          f->io_backend, "threads", number(workers_count(f->workers)), "max_batch",
                          number(f->max_batch), "connections", number(f->server->n_connections), "rings",
                          number(f->server->n_rings), "queue", number(workers_queued(f->workers)), "models",
                          number(models_count(f->models)), "counters", counters, "guard", guard),
                bytes);
}

static json_t *input_json(const struct version *v) {
    json_t *shape = json_array();
    for (uint32_t i = 0; i < v->input.rank; i++)
        if (json_array_append_new(shape, json_integer(v->input.dims[i]))) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:o,s:b}", "shape", shape, "u8", v->input.u8_bytes != 0);
}

/* [value, count] for each bucket that has any. */
static json_t *put_bucket(json_t *to, uint64_t value, uint64_t count) {
    if (to && count && json_array_append_new(to, json_pack("[I,I]", number(value), number(count)))) {
        json_decref(to);
        return NULL;
    }
    return to;
}

/* What this version has done so far; who looks twice has what it did between. */
static json_t *figures_json(const struct metrics_version *m) {
    json_t *spans = json_array(), *sizes = json_array();
    for (uint32_t i = 0; i < METRICS_SPANS; i++)
        spans = put_bucket(spans, metrics_span_middle(i), metrics_read(&m->spans[i]));
    for (uint32_t i = 0; i <= METRICS_SIZES; i++)
        sizes = put_bucket(sizes, 1u << i, metrics_read(&m->batch.buckets[i]));
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "ok", number(metrics_read(&m->ok)), "failed",
                     number(metrics_read(&m->failed)), "pictures", number(metrics_read(&m->pictures)),
                     "queue_ns", number(metrics_read(&m->queue.sum)), "compute_ns",
                     number(metrics_read(&m->compute.sum)), "latency_ns", spans, "batch_sizes", sizes);
}

/* null: it was not probed, or not yet. */
static json_t *probe_json(const struct probe_note *n) {
    if (!n) return json_null();
    const struct link_message *f = &n->facts;
    const bool known = f->state == PROBE_KNOWN;
    return json_pack(
        "{s:s,s:i,s:o,s:o,s:b,s:I}", "state", probe_stage_name(f->state), "percent", (int)f->count, "verdict",
        known ? json_string(probe_verdict_name((enum probe_verdict)f->verdict)) : json_null(), "text",
        text(f->reason), "repaired", f->accepted, "pruned_channels", (json_int_t)f->pruned_channels);
}

/* null: there were no samples, or nothing was pruned. */
static json_t *canary_json(uint32_t share) {
    if (share == 0) return json_null();
    return json_pack("{s:i,s:i}", "samples", (int)canary_samples(share), "agreed", (int)canary_agreed(share));
}

static json_t *model_json(const struct model *m) {
    const struct version *v = m->current;
    return json_pack("{s:o,s:I,s:o,s:s,s:s,s:I,s:I,s:o,s:o,s:I,s:b,s:s,s:I,s:I,s:o,s:o,s:o}", "name",
                     text(m->name), "version", number(v->number), "sha256", digest_or_null(v->sha256),
                     "state", "serving", "verdict", verdict_name((enum verdict)v->verdict), "pruned_channels",
                     (json_int_t)v->pruned_channels, "total_channels", (json_int_t)v->total_channels,
                     "canary", canary_json(v->canary), "input", input_json(v), "classes", number(v->classes),
                     "labels", image_header(v->image)->n_labels != 0, "compiled_for",
                     image_isa_name(image_header(v->image)->isa), "requests", number(models_requests(m)),
                     "image_bytes", number(v->image_bytes), "loaded_at", time_text(v->loaded_ns), "figures",
                     figures_json(&v->metrics), "probe", probe_json(m->probe));
}

static json_t *file_json(const struct file_line *l) {
    const bool known = l->state == FILE_OFFERED || l->state == FILE_SERVING || l->state == FILE_SEALED ||
                       l->state == FILE_HELD || l->state == FILE_PROBING;
    return json_pack("{s:o,s:o,s:s,s:o,s:o,s:o,s:I}", "path", text(l->path), "model",
                     l->model[0] ? text(l->model) : json_null(), "state", file_state_name(l->state), "reason",
                     l->reason[0] ? text(l->reason) : json_null(), "sha256", digest_or_null(l->sha256),
                     "verdict", known ? json_string(verdict_name((enum verdict)l->verdict)) : json_null(),
                     "version", number(l->version));
}

char *status_models_text(const struct status_facts *f, size_t *bytes) {
    json_t *models = json_array(), *files = json_array();
    const struct model *m;
    int rc = 0;
    for (uint32_t i = 0; (m = models_at(f->models, i)); i++)
        if (m->current) rc |= json_array_append_new(models, model_json(m));
    for (size_t i = 0; i < f->files->n; i++)
        rc |= json_array_append_new(files, file_json(&f->files->lines[i]));
    if (rc) {
        json_decref(models);
        json_decref(files);
        *bytes = 0;
        return NULL;
    }
    return dump(json_pack("{s:i,s:o,s:o,s:I}", "schema", 1, "models", models, "files", files,
                          "files_not_listed", number(f->files->dropped)),
                bytes);
}

char *status_done_text(const char *what) {
    size_t bytes;
    return dump(json_pack("{s:i,s:o}", "schema", 1, "text", text(what)), &bytes);
}
