/* Counts of a load run: merging, and telling them to people and scripts. */
#include "client/load_report.h"
#include "client/clpd.h"
#include "client/report_json.h"

#include <string.h>

static void add_version(struct load_counts *c, uint64_t version, uint64_t answers) {
    uint32_t i = 0;
    while (i < c->n_versions && c->versions[i].version < version) i++;
    bool known = i < c->n_versions && c->versions[i].version == version;
    if (!known && c->n_versions == LOAD_VERSIONS) {
        if (i == LOAD_VERSIONS) i--;
    } else if (!known) {
        memmove(&c->versions[i + 1], &c->versions[i], (c->n_versions - i) * sizeof c->versions[0]);
        c->versions[i].version = version;
        c->versions[i].answers = 0;
        c->n_versions++;
    }
    c->versions[i].answers += answers;
}

void load_count_version(struct load_counts *c, uint64_t version) {
    if (c->n_versions && c->versions[c->n_versions - 1].version == version)
        c->versions[c->n_versions - 1].answers++; /* nearly always */
    else
        add_version(c, version, 1);
}

void load_counts_merge(struct load_counts *to, const struct load_counts *from) {
    const uint64_t answers = from->latency.total;
    if (to->n_clients++ == 0 || answers < to->fewest) to->fewest = answers;
    if (answers > to->most) to->most = answers;
    histogram_merge(&to->latency, &from->latency);
    to->sent += from->sent;
    to->busy += from->busy;
    to->lost += from->lost;
    to->unsent += from->unsent;
    to->reconnects += from->reconnects;
    for (int i = 0; i < LOAD_STATUSES; i++) to->by_status[i] += from->by_status[i];
    for (uint32_t i = 0; i < from->n_versions; i++)
        add_version(to, from->versions[i].version, from->versions[i].answers);
    if (from->finished > to->finished) to->finished = from->finished;
    if (!to->example[0]) memcpy(to->example, from->example, sizeof to->example);
}

uint64_t load_errors(const struct load_counts *c) {
    uint64_t n = c->lost;
    for (int i = 0; i < LOAD_STATUSES; i++) n += c->by_status[i];
    return n;
}

static double per_second(const struct load_settings *s, const struct load_counts *c) {
    return s->seconds > 0 ? (double)c->latency.total / s->seconds : 0;
}

static double milliseconds(const struct load_counts *c, double quantile) {
    return (double)histogram_value_at(&c->latency, quantile) / 1e6;
}

static void print_errors(FILE *to, const struct terminal *t, const struct load_counts *c) {
    uint64_t errors = load_errors(c);
    char n[32], clean[256];
    (void)fprintf(to, "errors    %s%s%s", errors ? terminal_begin(t, STYLE_RED) : "",
                  terminal_count(n, (long long)errors), errors ? terminal_end(t, STYLE_RED) : "");
    for (uint32_t i = 0; i < LOAD_STATUSES; i++)
        if (c->by_status[i])
            (void)fprintf(to, "   %s %s", clpd_status_name(i), terminal_count(n, (long long)c->by_status[i]));
    if (c->lost) (void)fprintf(to, "   lost %s", terminal_count(n, (long long)c->lost));
    if (c->reconnects) (void)fprintf(to, "   (%llu reconnects)", (unsigned long long)c->reconnects);
    (void)fprintf(to, "   busy %s\n", terminal_count(n, (long long)c->busy));
    if (c->example[0]) (void)fprintf(to, "          %s\n", terminal_clean(clean, sizeof clean, c->example));
    if (c->unsent)
        (void)fprintf(to, "unsent    %s   due, but --inflight requests of each client were unanswered\n",
                      terminal_count(n, (long long)c->unsent));
}

void load_report_print(FILE *to, const struct terminal *t, const struct load_settings *s,
                       const struct load_counts *c) {
    char n[32];
    (void)fprintf(to, "%s over %s: %u client%s, %u in flight each, %s\n", s->model, s->transport, s->clients,
                  s->clients == 1 ? "" : "s", s->inflight, s->rate > 0 ? "open loop" : "closed loop");
    (void)fprintf(to, "requests  %s in %.1f s", terminal_count(n, (long long)c->sent), s->seconds);
    if (s->rate > 0) (void)fprintf(to, " (%g/s wanted)", s->rate);
    (void)fprintf(to, "   %s%.1f/s answered%s\n", terminal_begin(t, STYLE_BOLD), per_second(s, c),
                  terminal_end(t, STYLE_BOLD));
    (void)fprintf(to, "latency   p50 %s%.3f ms%s   p90 %.3f   p99 %s%.3f%s   p99.9 %.3f   max %.3f\n",
                  terminal_begin(t, STYLE_BOLD), milliseconds(c, 0.5), terminal_end(t, STYLE_BOLD),
                  milliseconds(c, 0.9), terminal_begin(t, STYLE_BOLD), milliseconds(c, 0.99),
                  terminal_end(t, STYLE_BOLD), milliseconds(c, 0.999), milliseconds(c, 1));
    if (c->n_clients > 1) {
        (void)fprintf(to, "clients   fewest %s", terminal_count(n, (long long)c->fewest));
        (void)fprintf(to, "   most %s answers\n", terminal_count(n, (long long)c->most));
    }
    (void)fprintf(to, "versions ");
    for (uint32_t i = 0; i < c->n_versions; i++)
        (void)fprintf(to, " %llu: %s  ", (unsigned long long)c->versions[i].version,
                      terminal_count(n, (long long)c->versions[i].answers));
    (void)fputc('\n', to);
    print_errors(to, t, c);
}

static json_t *statuses_json(const struct load_counts *c) {
    json_t *o = json_object();
    for (uint32_t i = 0; i < LOAD_STATUSES; i++)
        if (c->by_status[i])
            (void)json_object_set_new(o, clpd_status_name(i), json_integer((json_int_t)c->by_status[i]));
    return o;
}

static json_t *micro(const struct load_counts *c, double quantile) {
    return json_real((double)(histogram_value_at(&c->latency, quantile) / 10) / 100);
}

json_t *load_report_json(const struct load_settings *s, const struct load_counts *c) {
    json_t *versions = json_array(), *by_version = json_array();
    for (uint32_t i = 0; i < c->n_versions; i++) {
        json_int_t version = (json_int_t)c->versions[i].version;
        (void)json_array_append_new(versions, json_integer(version));
        (void)json_array_append_new(by_version, json_pack("{s:I, s:I}", "version", version, "requests",
                                                          (json_int_t)c->versions[i].answers));
    }
    return json_pack(
        "{s:s, s:I, s:I, s:f, s:o, s:o, s:o, s:o, s:o, s:s, s:i, s:i, s:s, s:f, s:f, s:I, s:I, s:I, s:I, "
        "s:o, s:o, s:o, s:I, s:I}",
        "transport", s->transport, "requests", (json_int_t)c->sent, "errors", (json_int_t)load_errors(c),
        "rps", (double)(uint64_t)(per_second(s, c) * 100 + 0.5) / 100, "p50_us", micro(c, 0.5), "p99_us",
        micro(c, 0.99), "p999_us", micro(c, 0.999), "max_us", micro(c, 1), "versions", versions, "model",
        s->model, "clients", (int)s->clients, "inflight", (int)s->inflight, "loop",
        s->rate > 0 ? "open" : "closed", "rate", s->rate, "seconds",
        (double)(uint64_t)(s->seconds * 1000 + 0.5) / 1000, "busy", (json_int_t)c->busy, "lost",
        (json_int_t)c->lost, "unsent", (json_int_t)c->unsent, "reconnects", (json_int_t)c->reconnects,
        "p90_us", micro(c, 0.9), "by_status", statuses_json(c), "by_version", by_version, "fewest",
        (json_int_t)c->fewest, "most", (json_int_t)c->most);
}
