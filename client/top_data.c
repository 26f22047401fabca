/* Differences of counters, and percentiles of differences of histograms. */
#include "client/top_data.h"

#include "client/histogram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct top_samples {
    struct top_data data;
    json_t *status, *models; /* the sample before; NULL at first */
    uint64_t then_ns;
    struct histogram one, all; /* of one model, and of them together, in the interval */
};

struct top_samples *top_samples_new(void) {
    return calloc(1, sizeof(struct top_samples));
}

void top_samples_free(struct top_samples *s) {
    if (!s) return;
    json_decref(s->status);
    json_decref(s->models);
    free(s->data.models);
    free(s->data.files);
    free(s);
}

const struct top_data *top_samples_data(const struct top_samples *s) {
    return &s->data;
}

/* --- reading ------------------------------------------------------------------------------- */

static long long number(const json_t *o, const char *key) {
    return (long long)json_integer_value(json_object_get(o, key));
}

static void text(const json_t *o, const char *key, char *to, size_t cap) {
    const char *t = json_string_value(json_object_get(o, key));
    (void)terminal_clean(to, cap, t ? t : "");
}

/* A counter that fell belongs to another daemon, or another version: it counts from 0. */
static double grown(const json_t *now, const json_t *then, const char *key) {
    const long long a = number(now, key), b = number(then, key);
    return (double)(a >= b ? a - b : a);
}

/* The same version of the same model, as it was before; NULL: it is new. */
static const json_t *find_before(const struct top_samples *s, const json_t *model) {
    const json_t *m;
    const char *name = json_string_value(json_object_get(model, "name"));
    const json_t *models = json_object_get(s->models, "models");
    for (size_t i = 0; name && i < json_array_size(models); i++) {
        m = json_array_get(models, i);
        const char *other = json_string_value(json_object_get(m, "name"));
        if (other && strcmp(other, name) == 0 && number(m, "version") == number(model, "version"))
            return json_object_get(m, "figures");
    }
    return NULL;
}

static long long pair_at(const json_t *pairs, size_t i, size_t which) {
    return (long long)json_integer_value(json_array_get(json_array_get(pairs, i), which));
}

/* The pairs of `now` less those of `then`; both ascend. */
static void subtract(const json_t *now, const json_t *then, struct histogram *out) {
    size_t k = 0;
    for (size_t i = 0; i < json_array_size(now); i++) {
        const long long value = pair_at(now, i, 0);
        long long n = pair_at(now, i, 1);
        while (k < json_array_size(then) && pair_at(then, k, 0) < value) k++;
        if (k < json_array_size(then) && pair_at(then, k, 0) == value) n -= pair_at(then, k, 1);
        if (value >= 0 && n > 0) histogram_add(out, (uint64_t)value, (uint64_t)n);
    }
}

static double batches_between(const json_t *now, const json_t *then) {
    double n = 0;
    for (size_t i = 0; i < json_array_size(now); i++) n += (double)pair_at(now, i, 1);
    for (size_t i = 0; i < json_array_size(then); i++) n -= (double)pair_at(then, i, 1);
    return n;
}

static double seconds_at(const struct histogram *h, double quantile) {
    return h->total ? (double)histogram_value_at(h, quantile) / 1e9 : NAN;
}

/* --- models ---------------------------------------------------------------------------------- */

static void tell_guard(const json_t *m, struct top_model *to) {
    const char *verdict = json_string_value(json_object_get(m, "verdict"));
    const bool pruned = verdict && strcmp(verdict, "pruned") == 0;
    char count[32];
    if (pruned)
        (void)snprintf(to->guard, sizeof to->guard, "pruned %s",
                       terminal_count(count, number(m, "pruned_channels")));
    else
        text(m, "verdict", to->guard, sizeof to->guard);
    to->tone = pruned ? STYLE_YELLOW : verdict && strcmp(verdict, "unchanged") == 0 ? STYLE_GREEN : STYLE_DIM;
}

static void read_model(struct top_samples *s, const json_t *m, double seconds, struct top_model *to) {
    const json_t *now = json_object_get(m, "figures"), *then = find_before(s, m);
    *to = (struct top_model){
        .version = number(m, "version"), .p50 = NAN, .p99 = NAN, .wait = NAN, .batch = NAN};
    text(m, "name", to->name, sizeof to->name);
    tell_guard(m, to);
    if (seconds <= 0) return;
    const double ok = grown(now, then, "ok");
    const double batches =
        batches_between(json_object_get(now, "batch_sizes"), json_object_get(then, "batch_sizes"));
    memset(&s->one, 0, sizeof s->one);
    subtract(json_object_get(now, "latency_ns"), json_object_get(then, "latency_ns"), &s->one);
    histogram_merge(&s->all, &s->one);
    to->rate = ok / seconds;
    to->failures = grown(now, then, "failed") / seconds;
    to->p50 = seconds_at(&s->one, 0.5);
    to->p99 = seconds_at(&s->one, 0.99);
    if (ok > 0) to->wait = grown(now, then, "queue_ns") / ok / 1e9;
    if (batches > 0) to->batch = grown(now, then, "pictures") / batches;
}

static int read_models(struct top_samples *s, const json_t *document, double seconds) {
    const json_t *models = json_object_get(document, "models");
    const size_t n = json_array_size(models);
    struct top_model *room = calloc(n + 1, sizeof *room);
    if (!room) return -1;
    memset(&s->all, 0, sizeof s->all);
    s->data.rate = 0;
    for (size_t i = 0; i < n; i++) {
        read_model(s, json_array_get(models, i), seconds, &room[i]);
        s->data.rate += room[i].rate;
    }
    free(s->data.models);
    s->data.models = room;
    s->data.n_models = n;
    s->data.p99 = seconds_at(&s->all, 0.99);
    return 0;
}

/* --- files, and the daemon itself ---------------------------------------------------------------- */

static int read_files(struct top_data *d, const json_t *document) {
    const json_t *files = json_object_get(document, "files");
    const size_t n = json_array_size(files);
    struct top_file *room = calloc(n + 1, sizeof *room);
    if (!room) return -1;
    free(d->files);
    d->files = room;
    d->n_files = d->n_serving = 0;
    d->n_files_in_all = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *f = json_array_get(files, i);
        const char *state = json_string_value(json_object_get(f, "state"));
        if (!state || strcmp(state, "superseded") == 0) continue;
        if (strcmp(state, "serving") == 0) {
            d->n_serving++;
            continue;
        }
        struct top_file *to = &room[d->n_files++];
        text(f, "path", to->path, sizeof to->path);
        text(f, "state", to->state, sizeof to->state);
        text(f, "reason", to->reason, sizeof to->reason);
    }
    return 0;
}

static void read_status(struct top_samples *s, const json_t *now, double seconds) {
    struct top_data *d = &s->data;
    const json_t *guard = json_object_get(now, "guard"), *counters = json_object_get(now, "counters");
    const json_t *before = json_object_get(s->status, "counters");
    text(now, "version", d->version, sizeof d->version);
    text(now, "io_backend", d->io, sizeof d->io);
    text(guard, "state", d->guard, sizeof d->guard);
    text(guard, "watching", d->watching, sizeof d->watching);
    d->restarts = number(guard, "restarts");
    d->uptime_s = number(now, "uptime_s");
    d->threads = number(now, "threads");
    d->connections = number(now, "connections");
    d->rings = number(now, "rings");
    d->queue = number(now, "queue");
    d->swaps = number(counters, "swaps");
    if (seconds <= 0) return;
    d->busy = grown(counters, before, "busy") / seconds;
    d->late = grown(counters, before, "deadline") / seconds;
    d->errors = grown(counters, before, "errors") / seconds;
}

static void remember(struct top_data *d) {
    if (d->n_history == TOP_HISTORY) {
        memmove(d->rates, d->rates + 1, sizeof d->rates - sizeof *d->rates);
        memmove(d->p99s, d->p99s + 1, sizeof d->p99s - sizeof *d->p99s);
        d->n_history--;
    }
    d->rates[d->n_history] = d->rate;
    d->p99s[d->n_history++] = isnan(d->p99) ? 0 : d->p99;
}

int top_samples_take(struct top_samples *s, json_t *status, json_t *models, uint64_t now_ns) {
    /* Another process: what it counted before is not what this one counts. */
    if (s->status && number(s->status, "pid") != number(status, "pid")) s->then_ns = 0;
    const double seconds = s->then_ns ? (double)(now_ns - s->then_ns) / 1e9 : 0;
    if (read_models(s, models, seconds) || read_files(&s->data, models)) return -1;
    read_status(s, status, seconds);
    s->data.known = seconds > 0;
    if (s->data.known) remember(&s->data);
    json_decref(s->status);
    json_decref(s->models);
    s->status = json_incref(status);
    s->models = json_incref(models);
    s->then_ns = now_ns;
    return 0;
}
