/* The status page, the figures that keep it alive, and the guard's reports as pages. Everything that comes
 * from a file or a model is escaped: names are chosen by whoever delivered the model. */
#include "daemon/http_page.h"

#include "client/probe_html.h"
#include "client/report_html.h"
#include "daemon/http_internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void put_text(FILE *to, const char *text) {
    for (; *text; text++)
        if (strchr("&<>\"'", *text))
            (void)fprintf(to, "&#%d;", *text);
        else if ((unsigned char)*text < 0x20 || *text == 0x7f)
            (void)fputc('?', to);
        else
            (void)fputc(*text, to);
}

/* For a path in an address: only what needs no escape there stays. */
static void put_address(FILE *to, const char *text) {
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("-._~", c))
            (void)fputc(c, to);
        else
            (void)fprintf(to, "%%%02X", c);
    }
}

static const char *text_of(const json_t *o, const char *key) {
    const char *t = json_string_value(json_object_get(o, key));
    return t ? t : "";
}

static long long number_of(const json_t *o, const char *key) {
    return (long long)json_integer_value(json_object_get(o, key));
}

/* 12345678 as 12,345,678 */
static const char *grouped(char buf[32], long long n) {
    char digits[24];
    const int all = snprintf(digits, sizeof digits, "%lld", n < 0 ? 0 : n);
    int at = 0;
    for (int i = 0; i < all; i++) {
        if (i && (all - i) % 3 == 0) buf[at++] = ',';
        buf[at++] = digits[i];
    }
    buf[at] = 0;
    return buf;
}

static const char *size_text(char buf[32], double bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int u = 0;
    for (; bytes >= 999.5 && u < 4; u++) bytes /= 1000;
    (void)snprintf(buf, 32, "%.3g %s", bytes, units[u]);
    return buf;
}

static const char *time_text(char buf[48], long long s) {
    if (s < 60)
        (void)snprintf(buf, 48, "%lld s", s);
    else if (s < 3600)
        (void)snprintf(buf, 48, "%lld min", s / 60);
    else if (s < 86400)
        (void)snprintf(buf, 48, "%lld h %lld min", s / 3600, s % 3600 / 60);
    else
        (void)snprintf(buf, 48, "%lld d %lld h", s / 86400, s % 86400 / 3600);
    return buf;
}

/* --- the page's parts ----------------------------------------------------------------------- */

static void put_fact(FILE *to, const char *name, const char *value) {
    (void)fprintf(to, "<div><dt>%s</dt><dd>", name);
    put_text(to, value);
    (void)fputs("</dd></div>", to);
}

static void put_head(FILE *to, const json_t *s) {
    const json_t *counters = json_object_get(s, "counters"), *guard = json_object_get(s, "guard");
    const char *state = text_of(guard, "state");
    const bool up = strcmp(state, "up") == 0, serves = number_of(s, "models") > 0;
    char buf[48];
    (void)fprintf(to, "<header><h1>clpd<small>%s</small></h1><p class='state %s'><span class=lamp></span>",
                  CLPD_VERSION,
                  up && serves ? "good"
                  : up         ? ""
                               : "bad");
    (void)fprintf(to, "%lld model%s served; the guard is ", number_of(s, "models"),
                  number_of(s, "models") == 1 ? "" : "s");
    put_text(to, state);
    (void)fputs(".</p><dl class=facts>", to);
    put_fact(to, "Requests", grouped(buf, number_of(counters, "requests")));
    put_fact(to, "Failed", grouped(buf, number_of(counters, "requests") - number_of(counters, "ok")));
    put_fact(to, "Swaps", grouped(buf, number_of(counters, "swaps")));
    put_fact(to, "Connections", grouped(buf, number_of(s, "connections")));
    put_fact(to, "Workers", grouped(buf, number_of(s, "threads")));
    put_fact(to, "I/O", text_of(s, "io_backend"));
    put_fact(to, "Up for", time_text(buf, number_of(s, "uptime_s")));
    (void)fputs("</dl></header>", to);
}

static void put_live(FILE *to) {
    (void)fputs("<div class=live><div class=card><p>Requests per second</p><b id=rate>&#8211;</b>"
                "<svg id=rate-line viewBox='0 0 300 60' preserveAspectRatio=none aria-hidden=true><path "
                "class=f /><path /></svg></div>"
                "<div class=card><p>Waiting and computing, 99th percentile</p><b id=lat>&#8211;</b><small "
                "id=mid></small>"
                "<svg id=lat-line viewBox='0 0 300 60' preserveAspectRatio=none aria-hidden=true><path "
                "class=f /><path /></svg></div></div>",
                to);
}

static const char *tone_of_verdict(const char *v) {
    return strcmp(v, "pruned") == 0 ? "bad" : strcmp(v, "unchanged") == 0 ? "good" : "";
}

static void put_shape(FILE *to, const json_t *model) {
    const json_t *shape = json_object_get(json_object_get(model, "input"), "shape"), *d;
    size_t i;
    for (i = 0; i < json_array_size(shape); i++) {
        d = json_array_get(shape, i);
        (void)fprintf(to, "%s%lld", i ? " × " : "", (long long)json_integer_value(d));
    }
}

/* "2026-01-31T12:00:00Z" as "2026-01-31 12:00" */
static void put_moment(FILE *to, const char *moment) {
    if (strlen(moment) >= 16 && moment[10] == 'T') (void)fprintf(to, "%.10s %.5s", moment, moment + 11);
}

/* "42 %", or the verdict; the tone tells, and the title has it in words. */
static void put_probe_cell(FILE *to, const json_t *p) {
    const char *state = text_of(p, "state"), *verdict = text_of(p, "verdict");
    const bool runs = strcmp(state, "running") == 0;
    if (!state[0]) {
        (void)fputs("<span class=dim>&#8211;</span>", to);
        return;
    }
    (void)fprintf(to, "<span class='tag %s' title='",
                  runs                              ? "plain"
                  : strcmp(verdict, "clear") == 0   ? "good"
                  : strcmp(verdict, "suspect") == 0 ? "bad"
                                                    : "");
    put_text(to, text_of(p, "text"));
    (void)fputs("'>", to);
    if (runs)
        (void)fprintf(to, "%lld&#160;%%", number_of(p, "percent"));
    else
        put_text(to, verdict[0] ? verdict : "no verdict");
    (void)fputs("</span>", to);
}

static void put_model(FILE *to, const json_t *m) {
    char buf[48];
    const char *name = text_of(m, "name"), *verdict = text_of(m, "verdict");
    (void)fputs("<tr><td data-h=Model><b>", to);
    put_text(to, name);
    (void)fprintf(to,
                  "</b></td><td data-h=Version class=r>%lld</td><td data-h=Guard><span><span class='tag %s'>",
                  number_of(m, "version"), tone_of_verdict(verdict));
    put_text(to, verdict);
    (void)fputs("</span> <a href='reports/", to);
    put_address(to, name);
    (void)fputs("'>report</a></span></td><td data-h=Probe>", to);
    put_probe_cell(to, json_object_get(m, "probe"));
    (void)fprintf(to, "</td><td data-h='Pruned channels' class=r>%lld of ", number_of(m, "pruned_channels"));
    (void)fputs(grouped(buf, number_of(m, "total_channels")), to);
    const json_t *canary = json_object_get(m, "canary");
    if (json_is_object(canary))
        (void)fprintf(to, "<br><small>%lld of %lld samples keep their class</small>",
                      number_of(canary, "agreed"), number_of(canary, "samples"));
    (void)fputs("</td><td data-h=Input>", to);
    put_shape(to, m);
    (void)fprintf(to,
                  "</td><td data-h=Classes class=r>%s</td><td data-h=Requests class=r><span data-requests='",
                  grouped(buf, number_of(m, "classes")));
    put_text(to, name);
    (void)fprintf(to, "'>%s</span><span class=now data-rate='", grouped(buf, number_of(m, "requests")));
    put_text(to, name);
    (void)fputs("'></span></td>", to);
    (void)fprintf(to, "<td data-h=Size class=r>%s</td><td data-h='Served since' class=r>",
                  size_text(buf, (double)number_of(m, "image_bytes")));
    put_moment(to, text_of(m, "loaded_at"));
    (void)fputs("</td></tr>", to);
}

static void put_models(FILE *to, const json_t *tables) {
    const json_t *models = json_object_get(tables, "models"), *m;
    size_t i;
    (void)fputs("<h2>Models</h2>", to);
    if (json_array_size(models) == 0) {
        (void)fputs("<p class=empty>None is served. Put NAME.onnx into the model folder.</p>", to);
        return;
    }
    (void)fputs("<div class=scroll><table><thead><tr><th>Model<th class=r>Version<th>Guard<th>Probe<th "
                "class=r>Pruned "
                "channels<th>Input"
                "<th class=r>Classes<th class=r>Requests<th class=r>Size<th class=r>Served since "
                "(UTC)</tr></thead><tbody>",
                to);
    for (i = 0; i < json_array_size(models); i++) {
        m = json_array_get(models, i);
        put_model(to, m);
    }
    (void)fputs("</tbody></table></div>", to);
}

static const char *tone_of_state(const char *s) {
    return strcmp(s, "serving") == 0      ? "good"
           : strcmp(s, "rejected") == 0   ? "bad"
           : strcmp(s, "superseded") == 0 ? "plain"
                                          : "";
}

static void put_files(FILE *to, const json_t *tables) {
    const json_t *files = json_object_get(tables, "files"), *f;
    size_t i;
    (void)fputs("<h2>Files in the model folder</h2>", to);
    if (json_array_size(files) == 0) {
        (void)fputs("<p class=empty>The guard has seen none.</p>", to);
        return;
    }
    (void)fputs("<div class=scroll><table><thead><tr><th>File<th>State<th>What there is to "
                "say<th>SHA-256</tr></thead><tbody>",
                to);
    for (i = 0; i < json_array_size(files); i++) {
        f = json_array_get(files, i);
        const char *digest = text_of(f, "sha256");
        (void)fputs("<tr><td data-h=File><b>", to);
        put_text(to, text_of(f, "path"));
        (void)fprintf(to, "</b></td><td data-h=State><span class='tag %s'>",
                      tone_of_state(text_of(f, "state")));
        put_text(to, text_of(f, "state"));
        (void)fputs("</span></td><td data-h=Why>", to);
        if (text_of(f, "reason")[0])
            put_text(to, text_of(f, "reason"));
        else
            (void)fputs("<span class=dim>&#8211;</span>", to);
        (void)fprintf(to, "</td><td data-h=SHA-256><code>%.12s</code></td></tr>", digest[0] ? digest : "–");
    }
    (void)fputs("</tbody></table></div>", to);
}

static void put_page(FILE *to, const json_t *status, const json_t *tables) {
    char now[32] = "";
    struct tm tm;
    const time_t t = time(NULL);
    if (gmtime_r(&t, &tm)) (void)strftime(now, sizeof now, "%Y-%m-%d %H:%M:%S UTC", &tm);
    (void)fprintf(to,
                  "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
                  "content='width=device-width,initial-scale=1'>"
                  "<title>clpd</title><link rel=icon href='data:,'><style>%s</style><body>",
                  page_style);
    put_head(to, status);
    put_live(to);
    put_models(to, tables);
    put_files(to, tables);
    (void)fprintf(to,
                  "<footer><a href=metrics>Metrics</a><a href=v2>Open Inference Protocol</a>As of "
                  "%s</footer><script>%s</script></html>\n",
                  now, page_script);
}

void http_page(struct http_exchange *x) {
    char *status = http_line_query(x, CLPD_STATUS), *tables = status ? http_line_query(x, CLPD_MODELS) : NULL;
    char *text = NULL;
    size_t n = 0;
    if (!tables) {
        free(status);
        return;
    }
    json_t *s = json_loads(status, 0, NULL), *t = json_loads(tables, 0, NULL);
    FILE *to = open_memstream(&text, &n);
    if (to) put_page(to, s, t);
    if (to && fclose(to)) {
        free(text);
        text = NULL;
    }
    json_decref(s);
    json_decref(t);
    free(status);
    free(tables);
    http_answer(x, 200, HTTP_HTML, to ? text : NULL, n);
}

/* --- live figures ------------------------------------------------------------------------------ */

/* As in MODELS (docs/protocol.md): [middle, requests] of each bucket that has any. */
static void put_spans(FILE *to, const struct metrics_version *s) {
    const char *comma = "";
    for (uint32_t i = 0; i < METRICS_SPANS; i++) {
        const uint64_t n = metrics_read(&s->spans[i]);
        if (n) (void)fprintf(to, "%s[%" PRIu64 ",%" PRIu64 "]", comma, metrics_span_middle(i), n);
        if (n) comma = ",";
    }
}

void http_live_figures(struct http_exchange *x) {
    struct catalogue_list *l = catalogue_get(x->plane->all->catalogue);
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    if (to) {
        (void)fprintf(to, "{\"schema\":1,\"t_ns\":%" PRIu64 ",\"models\":[", loop_clock());
        for (uint32_t i = 0; l && i < l->n; i++) {
            const struct catalogue_model *m = &l->models[i];
            const struct metrics_version *s = &m->version->metrics;
            (void)fputs(i ? ",{\"name\":" : "{\"name\":", to);
            oip_put_text(to, m->name);
            (void)fprintf(to,
                          ",\"version\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"ok\":%" PRIu64
                          ",\"pictures\":%" PRIu64 ",\"queue_ns\":%" PRIu64 ",\"compute_ns\":%" PRIu64
                          ",\"latency_ns\":[",
                          m->version->number, m->requests_before + metrics_read(&m->version->requests),
                          metrics_read(&s->ok), metrics_read(&s->pictures), metrics_read(&s->queue.sum),
                          metrics_read(&s->compute.sum));
            put_spans(to, s);
            (void)fputs("]}", to);
        }
        (void)fputs("]}", to);
        if (fclose(to)) {
            free(text);
            text = NULL;
        }
    }
    catalogue_put(l);
    http_answer(x, 200, HTTP_JSON, to ? text : NULL, n);
}

/* --- reports -------------------------------------------------------------------------------------- */

struct probed_page {
    struct probe_report report;
    struct probe_shown shown;
};

static void put_probe(FILE *to, void *ctx) {
    const struct probed_page *p = ctx;
    probe_html(to, &p->shown);
}

/* False: nothing is known of a probe. */
static bool take_probe(const struct catalogue_model *m, struct probed_page *p) {
    struct err e;
    if (!m->probe || probe_report_decode(m->probe->report, m->probe->bytes, &p->report, &e)) return false;
    const bool repaired = m->probe->facts.accepted;
    p->shown = (struct probe_shown){.report = &p->report,
                                    .image = m->version->image,
                                    .service = repaired ? "The network that serves is the repaired one; "
                                                          "<code>clpctl rollback</code> goes back to the "
                                                          "one before."
                                               : p->report.verdict == PROBE_REPAIRED
                                                   ? "The network that serves is the one before the repair; "
                                                     "<code>clpctl accept</code> takes the "
                                                     "repaired one."
                                                   : NULL};
    return true;
}

void http_report(struct http_exchange *x) {
    struct catalogue_list *list;
    const struct catalogue_model *m = http_find_model(x, &list);
    struct report r = {0};
    struct probed_page probe = {.report.target = -1};
    struct err e = {0};
    char *text = NULL;
    size_t n = 0, bytes;
    if (!m) return;
    const void *section = image_report(m->version->image, &bytes);
    if (!section || report_decode(section, bytes, &r, &e)) {
        http_fail(x, 404, "there is no report on \"%s\": %s", m->name,
                  e.text[0] ? e.text : "its image has none");
    } else {
        FILE *to = open_memstream(&text, &n);
        const bool probed = take_probe(m, &probe);
        int rc = to ? report_html_write_with(to, m->version->path, &r,
                                             (time_t)(m->version->loaded_ns / 1000000000u),
                                             probed ? put_probe : NULL, &probe)
                    : -1;
        if (to && fclose(to)) rc = -1;
        if (rc) {
            free(text);
            text = NULL;
        }
        http_answer(x, 200, HTTP_HTML, text, n);
        report_free(&r);
        probe_report_free(&probe.report);
    }
    catalogue_put(list);
}
