/* /metrics: Prometheus's text. What versions count is read where it is counted; what belongs to the loop
 * (connections, files, the guard) is asked of it as any client may. */
#include "daemon/http_internal.h"

#include "guard/report.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void head(FILE *to, const char *name, const char *type, const char *help) {
    (void)fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_label(FILE *to, const char *text) {
    for (; *text; text++)
        if (*text == '\n')
            (void)fputs("\\n", to);
        else if (*text == '"' || *text == '\\')
            (void)fprintf(to, "\\%c", *text);
        else
            (void)fputc(*text & 0x80 || (unsigned char)*text < 0x20 ? '?' : *text, to);
}

/* model="…",version="…" without the braces */
static void put_model(FILE *to, const struct catalogue_model *m) {
    (void)fputs("model=\"", to);
    put_label(to, m->name);
    (void)fprintf(to, "\",version=\"%" PRIu64 "\"", m->version->number);
}

static void put_value(FILE *to, const char *name, const struct catalogue_model *m, uint64_t value) {
    (void)fprintf(to, "%s{", name);
    put_model(to, m);
    (void)fprintf(to, "} %" PRIu64 "\n", value);
}

static void put_histogram(FILE *to, const char *name, const struct catalogue_model *m,
                          const struct metrics_histogram *h, uint32_t bounds, bool is_time) {
    uint64_t below = 0;
    for (uint32_t i = 0; i <= bounds; i++) {
        below += metrics_read(&h->buckets[i]);
        (void)fprintf(to, "%s_bucket{", name);
        put_model(to, m);
        if (i == bounds)
            (void)fprintf(to, ",le=\"+Inf\"} %" PRIu64 "\n", below);
        else
            (void)fprintf(to, ",le=\"%g\"} %" PRIu64 "\n",
                          is_time ? metrics_time_bound(i) : (double)(1u << i), below);
    }
    (void)fprintf(to, "%s_sum{", name);
    put_model(to, m);
    (void)fprintf(to, "} %.9g\n", (double)metrics_read(&h->sum) / (is_time ? 1e9 : 1));
    put_value(to,
              is_time ? (strstr(name, "queue") ? "clpd_model_queue_seconds_count"
                                               : "clpd_model_compute_seconds_count")
                      : "clpd_model_batch_pictures_count",
              m, below);
}

static void put_times(FILE *to, const struct catalogue_list *l) {
    head(to, "clpd_model_queue_seconds", "histogram", "Time that requests waited for their batch to start.");
    for (uint32_t i = 0; i < l->n; i++)
        put_histogram(to, "clpd_model_queue_seconds", &l->models[i], &l->models[i].version->metrics.queue,
                      METRICS_TIMES, true);
    head(to, "clpd_model_compute_seconds", "histogram", "Time that the batch of a request took to compute.");
    for (uint32_t i = 0; i < l->n; i++)
        put_histogram(to, "clpd_model_compute_seconds", &l->models[i], &l->models[i].version->metrics.compute,
                      METRICS_TIMES, true);
    head(to, "clpd_model_batch_pictures", "histogram", "Pictures that were computed together.");
    for (uint32_t i = 0; i < l->n; i++)
        put_histogram(to, "clpd_model_batch_pictures", &l->models[i], &l->models[i].version->metrics.batch,
                      METRICS_SIZES, false);
}

static void put_models(FILE *to, const struct catalogue_list *l) {
    head(to, "clpd_model_requests_total", "counter", "Requests that were computed by this version.");
    for (uint32_t i = 0; i < l->n; i++)
        put_value(to, "clpd_model_requests_total", &l->models[i],
                  metrics_read(&l->models[i].version->metrics.ok));
    head(to, "clpd_model_request_failures_total", "counter", "Requests whose computation failed.");
    for (uint32_t i = 0; i < l->n; i++)
        put_value(to, "clpd_model_request_failures_total", &l->models[i],
                  metrics_read(&l->models[i].version->metrics.failed));
    head(to, "clpd_model_pictures_total", "counter", "Pictures that were computed by this version.");
    for (uint32_t i = 0; i < l->n; i++)
        put_value(to, "clpd_model_pictures_total", &l->models[i],
                  metrics_read(&l->models[i].version->metrics.pictures));
    put_times(to, l);
    head(to, "clpd_model_pruned_channels", "gauge", "Channels that the guard pruned.");
    for (uint32_t i = 0; i < l->n; i++)
        put_value(to, "clpd_model_pruned_channels", &l->models[i],
                  (uint64_t)l->models[i].version->pruned_channels);
    head(to, "clpd_model_scored_channels", "gauge", "Channels that the guard could score.");
    for (uint32_t i = 0; i < l->n; i++)
        put_value(to, "clpd_model_scored_channels", &l->models[i],
                  (uint64_t)l->models[i].version->total_channels);
    head(to, "clpd_model_image_bytes", "gauge", "Size of the compiled model.");
    for (uint32_t i = 0; i < l->n; i++)
        put_value(to, "clpd_model_image_bytes", &l->models[i], l->models[i].version->image_bytes);
    head(to, "clpd_model_verdict_info", "gauge", "What the guard found: always 1, the verdict is the label.");
    for (uint32_t i = 0; i < l->n; i++) {
        (void)fputs("clpd_model_verdict_info{", to);
        put_model(to, &l->models[i]);
        (void)fprintf(to, ",verdict=\"%s\"} 1\n", verdict_name((enum verdict)l->models[i].version->verdict));
    }
}

/* --- what the loop knows ---------------------------------------------------------------------------- */

static json_int_t number_in(const json_t *o, const char *group, const char *key) {
    return json_integer_value(json_object_get(group ? json_object_get(o, group) : o, key));
}

static void put_one(FILE *to, const char *name, const char *type, const char *help, long long value) {
    head(to, name, type, help);
    (void)fprintf(to, "%s %lld\n", name, value);
}

static void put_requests(FILE *to, const json_t *s) {
    static const char *const keys[] = {"busy", "deadline", "errors"};
    put_one(to, "clpd_requests_total", "counter",
            "Requests that were answered, whatever the answer, over all transports.",
            number_in(s, "counters", "requests"));
    head(to, "clpd_request_failures_total", "counter",
         "Requests that were not answered with classes, by what they were told.");
    for (size_t i = 0; i < 3; i++)
        (void)fprintf(to, "clpd_request_failures_total{status=\"%s\"} %lld\n", i == 2 ? "error" : keys[i],
                      (long long)number_in(s, "counters", keys[i]));
    put_one(to, "clpd_batches_total", "counter", "Batches that were computed.",
            number_in(s, "counters", "batches"));
    put_one(to, "clpd_swaps_total", "counter", "Versions that took another one's place.",
            number_in(s, "counters", "swaps"));
    put_one(to, "clpd_models", "gauge", "Models that are served.", number_in(s, NULL, "models"));
    put_one(to, "clpd_connections", "gauge", "Connections of the loop, those of the HTTP plane included.",
            number_in(s, NULL, "connections"));
    put_one(to, "clpd_queued_requests", "gauge", "Requests that wait or run.", number_in(s, NULL, "queue"));
    put_one(to, "clpd_workers", "gauge", "Inference threads.", number_in(s, NULL, "threads"));
}

static void put_guard(FILE *to, const json_t *s) {
    const char *state = json_string_value(json_object_get(json_object_get(s, "guard"), "state"));
    const char *backend = json_string_value(json_object_get(s, "io_backend"));
    put_one(to, "clpd_guard_up", "gauge", "Whether the guard runs and listens.",
            state && strcmp(state, "up") == 0);
    put_one(to, "clpd_guard_restarts_total", "counter", "Times that the guard was started anew.",
            number_in(s, "guard", "restarts"));
    head(to, "clpd_build_info", "gauge", "Always 1: version and I/O back end are the labels.");
    (void)fputs("clpd_build_info{version=\"" CLPD_VERSION "\",io_backend=\"", to);
    put_label(to, backend ? backend : "");
    (void)fputs("\"} 1\n", to);
}

/* One series a model: its verdict is a label, as the state of files is. */
static void put_probes(FILE *to, const json_t *tables) {
    const json_t *models = json_object_get(tables, "models");
    size_t i;
    head(to, "clpd_model_probe_info", "gauge",
         "Always 1: how the probe of what is served stands, and its verdict.");
    for (i = 0; i < json_array_size(models); i++) {
        const json_t *m = json_array_get(models, i), *p = json_object_get(m, "probe");
        const char *name = json_string_value(json_object_get(m, "name")),
                   *state = json_string_value(json_object_get(p, "state")),
                   *verdict = json_string_value(json_object_get(p, "verdict"));
        (void)fputs("clpd_model_probe_info{model=\"", to);
        put_label(to, name ? name : "");
        (void)fprintf(to, "\",state=\"%s\",verdict=\"%s\",repaired=\"%s\"} 1\n", state ? state : "none",
                      verdict ? verdict : "",
                      json_is_true(json_object_get(p, "repaired")) ? "true" : "false");
    }
    head(to, "clpd_model_probe_progress_ratio", "gauge", "How far the probe of what is served is, 0 to 1.");
    for (i = 0; i < json_array_size(models); i++) {
        const json_t *m = json_array_get(models, i), *p = json_object_get(m, "probe");
        const char *name = json_string_value(json_object_get(m, "name"));
        (void)fputs("clpd_model_probe_progress_ratio{model=\"", to);
        put_label(to, name ? name : "");
        (void)fprintf(to, "\"} %.2f\n", (double)json_integer_value(json_object_get(p, "percent")) / 100);
    }
}

static void put_files(FILE *to, const json_t *tables) {
    unsigned n[FILE_STATES] = {0};
    size_t i;
    const json_t *file;
    for (i = 0; i < json_array_size(json_object_get(tables, "files")); i++) {
        file = json_array_get(json_object_get(tables, "files"), i);
        const char *state = json_string_value(json_object_get(file, "state"));
        for (uint32_t k = 0; state && k < FILE_STATES; k++) n[k] += strcmp(state, file_state_name(k)) == 0;
    }
    head(to, "clpd_model_files", "gauge", "Files in the model folder by what has become of them.");
    for (uint32_t k = 0; k < FILE_STATES; k++)
        (void)fprintf(to, "clpd_model_files{state=\"%s\"} %u\n", file_state_name(k), n[k]);
}

/* --- the process -----------------------------------------------------------------------------------------
 */

static int count_descriptors(void) {
    DIR *d = opendir("/proc/self/fd");
    int n = -3; /* ".", ".." and the folder itself */
    if (!d) return 0;
    while (readdir(d)) n++;
    (void)closedir(d);
    return n > 0 ? n : 0;
}

static void put_process(FILE *to, uint64_t started_ns) {
    unsigned long long pages = 0, resident = 0;
    struct rusage u = {0};
    struct timespec t;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%llu %llu", &pages, &resident) != 2) pages = resident = 0;
    if (f) (void)fclose(f);
    (void)getrusage(RUSAGE_SELF, &u);
    (void)clock_gettime(CLOCK_REALTIME, &t);
    const long page = sysconf(_SC_PAGESIZE);
    put_one(to, "process_resident_memory_bytes", "gauge", "Resident memory.", (long long)resident * page);
    put_one(to, "process_virtual_memory_bytes", "gauge", "Address space.", (long long)pages * page);
    put_one(to, "process_open_fds", "gauge", "Open file descriptors.", count_descriptors());
    head(to, "process_cpu_seconds_total", "counter", "CPU time, of the user and of the kernel.");
    (void)fprintf(to, "process_cpu_seconds_total %.6f\n",
                  (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                      (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
    head(to, "process_start_time_seconds", "gauge", "When the daemon started, as a Unix time.");
    (void)fprintf(to, "process_start_time_seconds %.3f\n",
                  (double)t.tv_sec + (double)t.tv_nsec / 1e9 - (double)(loop_clock() - started_ns) / 1e9);
}

static void put_http(FILE *to, const struct http *h) {
    put_one(to, "clpd_http_connections", "gauge", "HTTP connections.",
            atomic_load_explicit(&h->connections, memory_order_relaxed));
    put_one(to, "clpd_http_requests_total", "counter", "HTTP requests that were answered.",
            (long long)metrics_read(&h->requests));
    head(to, "clpd_http_request_failures_total", "counter",
         "HTTP requests that were answered with an error, by class.");
    (void)fprintf(to, "clpd_http_request_failures_total{class=\"4xx\"} %" PRIu64 "\n",
                  metrics_read(&h->failures[4]));
    (void)fprintf(to, "clpd_http_request_failures_total{class=\"5xx\"} %" PRIu64 "\n",
                  metrics_read(&h->failures[5]));
    put_one(to, "clpd_http_body_bytes", "gauge", "Memory that the bodies of HTTP requests hold.",
            (long long)metrics_read(&h->held));
}

void http_metrics(struct http_exchange *x) {
    char *status = http_line_query(x, CLPD_STATUS), *tables = status ? http_line_query(x, CLPD_MODELS) : NULL;
    char *text = NULL;
    size_t n = 0;
    if (!tables) {
        free(status);
        return;
    }
    json_t *s = json_loads(status, 0, NULL), *t = json_loads(tables, 0, NULL);
    struct catalogue_list *l = catalogue_get(x->plane->all->catalogue);
    FILE *to = open_memstream(&text, &n);
    if (to) {
        put_guard(to, s);
        put_requests(to, s);
        if (l) put_models(to, l);
        put_files(to, t);
        put_probes(to, t);
        put_http(to, x->plane->all);
        put_process(to, x->plane->all->options.started_ns);
        if (fclose(to)) {
            free(text);
            text = NULL;
        }
    }
    catalogue_put(l);
    json_decref(s);
    json_decref(t);
    free(status);
    free(tables);
    http_answer(x, 200, HTTP_PLAIN, to ? text : NULL, n);
}
