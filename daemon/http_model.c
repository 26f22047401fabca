/* What there is to know: the server, its models, their statistics, the repository. */
#include "daemon/http_internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Ends a text that was written by open_memstream. */
static void answer_stream(struct http_exchange *x, FILE *to, char **text, const size_t *n) {
    if (to && fclose(to)) {
        free(*text);
        *text = NULL;
    }
    http_answer(x, 200, HTTP_JSON, to ? *text : NULL, *n);
}

void http_server(struct http_exchange *x) {
    static const char text[] =
        "{\"name\":\"clpd\",\"version\":\"" CLPD_VERSION "\",\"extensions\":[\"binary_tensor_data\","
        "\"classification\",\"model_repository\",\"statistics\"]}";
    http_answer(x, 200, HTTP_JSON, strdup(text), sizeof text - 1);
}

void http_server_ready(struct http_exchange *x) {
    struct catalogue_list *l = catalogue_get(x->plane->all->catalogue);
    const bool ready = l && l->ready && !atomic_load(&x->plane->all->draining);
    catalogue_put(l);
    if (ready)
        http_answer(x, 200, HTTP_JSON, strdup("{\"ready\":true}"), 14);
    else
        http_fail(x, 400, "not ready: models are still being imported, or the daemon is stopping");
}

/* --- metadata ---------------------------------------------------------------------------------- */

static void put_tensor(FILE *to, const struct image *img, uint32_t index) {
    const struct image_tensor *t = image_tensor_at(img, index);
    (void)fputs("{\"name\":", to);
    oip_put_text(to, image_string(img, t->name));
    (void)fputs(",\"datatype\":\"FP32\",\"shape\":[-1", to);
    for (int i = 1; i < t->shape.rank; i++) (void)fprintf(to, ",%" PRId64, (int64_t)t->shape.dim[i]);
    (void)fputs("]}", to);
}

void http_model(struct http_exchange *x) {
    struct catalogue_list *list;
    const struct catalogue_model *m = http_find_model(x, &list);
    char *text = NULL;
    size_t n = 0;
    if (!m) return;
    const struct image *img = m->version->image;
    FILE *to = open_memstream(&text, &n);
    if (to) {
        (void)fputs("{\"name\":", to);
        oip_put_text(to, m->name);
        (void)fprintf(to, ",\"versions\":[\"%" PRIu64 "\"],\"platform\":\"clpd\",\"inputs\":[",
                      m->version->number);
        put_tensor(to, img, image_header(img)->inputs[0]);
        (void)fputs("],\"outputs\":[", to);
        put_tensor(to, img, image_header(img)->outputs[0]);
        (void)fputs("]}", to);
    }
    catalogue_put(list);
    answer_stream(x, to, &text, &n);
}

void http_model_ready(struct http_exchange *x) {
    struct catalogue_list *list;
    const struct catalogue_model *m = http_find_model(x, &list);
    char *text = NULL;
    size_t n = 0;
    if (!m) return;
    FILE *to = open_memstream(&text, &n);
    if (to) {
        (void)fputs("{\"name\":", to);
        oip_put_text(to, m->name);
        (void)fputs(",\"ready\":true}", to);
    }
    catalogue_put(list);
    answer_stream(x, to, &text, &n);
}

/* --- statistics ----------------------------------------------------------------------------------- */

static void put_pair(FILE *to, const char *key, uint64_t count, uint64_t ns) {
    (void)fprintf(to, "\"%s\":{\"count\":%" PRIu64 ",\"ns\":%" PRIu64 "}", key, count, ns);
}

/* Input and output cost nothing of their own here: tensors are computed where they arrived. */
static void put_model_stats(FILE *to, const struct catalogue_model *m) {
    const struct metrics_version *s = &m->version->metrics;
    const uint64_t ok = metrics_read(&s->ok), queue = metrics_read(&s->queue.sum),
                   compute = metrics_read(&s->compute.sum);
    (void)fputs("{\"name\":", to);
    oip_put_text(to, m->name);
    (void)fprintf(to,
                  ",\"version\":\"%" PRIu64 "\",\"last_inference\":%" PRIu64 ",\"inference_count\":%" PRIu64
                  ",\"execution_count\":%" PRIu64 ",\"inference_stats\":{",
                  m->version->number, metrics_read(&s->last_ns) / 1000000u, metrics_read(&s->pictures),
                  metrics_histogram_count(&s->batch, METRICS_SIZES));
    put_pair(to, "success", ok, queue + compute);
    (void)fputc(',', to);
    put_pair(to, "fail", metrics_read(&s->failed), 0);
    (void)fputc(',', to);
    put_pair(to, "queue", ok, queue);
    (void)fputc(',', to);
    put_pair(to, "compute_input", ok, 0);
    (void)fputc(',', to);
    put_pair(to, "compute_infer", ok, compute);
    (void)fputc(',', to);
    put_pair(to, "compute_output", ok, 0);
    (void)fputc(',', to);
    put_pair(to, "cache_hit", 0, 0);
    (void)fputc(',', to);
    put_pair(to, "cache_miss", 0, 0);
    (void)fputs("},\"batch_stats\":[", to);
    for (uint32_t i = 0, some = 0; i <= METRICS_SIZES; i++) {
        const uint64_t n = metrics_read(&s->batch.buckets[i]);
        if (!n) continue;
        (void)fprintf(to, "%s{\"batch_size\":%u,", some++ ? "," : "", 1u << i);
        put_pair(to, "compute_input", n, 0);
        (void)fputc(',', to);
        put_pair(to, "compute_infer", n, metrics_read(&s->batch_ns[i]));
        (void)fputc(',', to);
        put_pair(to, "compute_output", n, 0);
        (void)fputc('}', to);
    }
    (void)fputs("],\"memory_usage\":[]}", to);
}

void http_stats(struct http_exchange *x) {
    struct catalogue_list *list = NULL;
    const struct catalogue_model *one = NULL;
    char *text = NULL;
    size_t n = 0;
    if (x->route.what == HTTP_MODEL_STATS) {
        one = http_find_model(x, &list);
        if (!one) return;
    } else {
        list = catalogue_get(x->plane->all->catalogue);
    }
    FILE *to = open_memstream(&text, &n);
    if (to) {
        (void)fputs("{\"model_stats\":[", to);
        if (one) put_model_stats(to, one);
        for (uint32_t i = 0; !one && list && i < list->n; i++) {
            if (i) (void)fputc(',', to);
            put_model_stats(to, &list->models[i]);
        }
        (void)fputs("]}", to);
    }
    catalogue_put(list);
    answer_stream(x, to, &text, &n);
}

/* --- the repository ------------------------------------------------------------------------------- */

static bool wants_ready_alone(struct http_exchange *x, bool *ready) {
    json_error_t why;
    *ready = false;
    if (x->body_bytes == 0) return true;
    json_t *q = json_loadb((const char *)x->body, x->body_bytes, JSON_REJECT_DUPLICATES, &why);
    const json_t *r = json_object_get(q, "ready");
    const bool ok = json_is_object(q) && (!r || json_is_boolean(r));
    if (ok) *ready = json_is_true(r);
    if (!ok) http_fail(x, 400, "the body has to be {} or {\"ready\":true}");
    json_decref(q);
    return ok;
}

static const char *text_of(const json_t *o, const char *key) {
    const char *t = json_string_value(json_object_get(o, key));
    return t ? t : "";
}

/* Files that are not served: what became of them, and why. */
static json_t *unserved(const json_t *file) {
    const char *state = text_of(file, "state");
    if (strcmp(state, "serving") == 0 || strcmp(state, "superseded") == 0) return NULL;
    const bool bad = strcmp(state, "rejected") == 0;
    const char *name = text_of(file, "model")[0] ? text_of(file, "model") : text_of(file, "path");
    const char *reason = text_of(file, "reason");
    return json_pack("{s:s,s:s,s:s}", "name", name, "state",
                     bad || strcmp(state, "held") == 0 ? "UNAVAILABLE" : "LOADING", "reason",
                     reason[0] ? reason : state);
}

static json_t *index_of(const json_t *tables, bool ready_alone) {
    json_t *out = json_array(), *one;
    size_t i;
    const json_t *v;
    for (i = 0; i < json_array_size(json_object_get(tables, "models")); i++) {
        v = json_array_get(json_object_get(tables, "models"), i);
        char version[24];
        (void)snprintf(version, sizeof version, "%lld",
                       (long long)json_integer_value(json_object_get(v, "version")));
        one = json_pack("{s:s,s:s,s:s,s:s}", "name", text_of(v, "name"), "version", version, "state", "READY",
                        "reason", "");
        if (one) (void)json_array_append_new(out, one);
    }
    for (i = 0; i < json_array_size(json_object_get(tables, "files")); i++) {
        v = json_array_get(json_object_get(tables, "files"), i);
        one = ready_alone ? NULL : unserved(v);
        if (one) (void)json_array_append_new(out, one);
    }
    return out;
}

void http_index(struct http_exchange *x) {
    bool ready;
    if (!wants_ready_alone(x, &ready)) return;
    char *text = http_line_query(x, CLPD_MODELS);
    if (!text) return;
    json_t *tables = json_loads(text, 0, NULL), *out = index_of(tables, ready);
    char *answer = json_dumps(out, JSON_COMPACT);
    http_answer(x, 200, HTTP_JSON, answer, answer ? strlen(answer) : 0);
    json_decref(out);
    json_decref(tables);
    free(text);
}

/* --- load and unload -------------------------------------------------------------------------------- */

static const json_t *find_file(const json_t *tables, const char *model, bool *serves) {
    size_t i;
    const json_t *v, *found = NULL;
    *serves = false;
    for (i = 0; i < json_array_size(json_object_get(tables, "models")); i++) {
        v = json_array_get(json_object_get(tables, "models"), i);
        *serves |= strcmp(text_of(v, "name"), model) == 0;
    }
    for (i = 0; i < json_array_size(json_object_get(tables, "files")); i++) {
        v = json_array_get(json_object_get(tables, "files"), i);
        if (strcmp(text_of(v, "model"), model) != 0) continue;
        if (!found || strcmp(text_of(v, "state"), "superseded") != 0) found = v;
    }
    return found;
}

/* The model folder decides what is served, and only what went through the guard: so `load` tells whether the
 * model serves, or what became of its file; and `unload` is the folder's owner's to do, by removing the file.
 */
void http_load(struct http_exchange *x) {
    bool serves;
    if (x->route.what == HTTP_UNLOAD) {
        http_fail(x, 403, "clpd serves what is in its model folder: remove the file of \"%s\" to unload it",
                  x->route.model);
        return;
    }
    char *text = http_line_query(x, CLPD_MODELS);
    if (!text) return;
    json_t *tables = json_loads(text, 0, NULL);
    const json_t *file = find_file(tables, x->route.model, &serves);
    if (serves)
        http_answer(x, 200, HTTP_JSON, strdup("{}"), 2);
    else if (!file)
        http_fail(x, 404, "no file of a model \"%s\" is in the model folder", x->route.model);
    else
        http_fail(x, 400, "\"%s\" is %s%s%s", x->route.model, text_of(file, "state"),
                  text_of(file, "reason")[0] ? ": " : "", text_of(file, "reason"));
    json_decref(tables);
    free(text);
}
