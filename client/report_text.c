/* Scan report as a table: one line per scored layer with the distribution of
 * its bounds drawn in block characters, then what was not scored, by reason. */
#include "client/report_text.h"
#include "client/report_view.h"
#include "client/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STRIP = 24, WIDE = 100 };

static enum style verdict_style(enum verdict v) {
    return v == VERDICT_PRUNED ? STYLE_RED : v == VERDICT_UNCHANGED ? STYLE_GREEN : STYLE_YELLOW;
}

/* --- the strip: how many channels have which bound, and where the cut-off lies ------ */

struct strip {
    int count[STRIP], cut; /* cut: the cell that the cut-off falls into */
};

static struct strip strip_of(const struct report_layer *l) {
    struct strip s = {.cut = STRIP - 1};
    float low = l->mean, high = l->cutoff;
    for (int32_t i = 0; i < l->channels; i++) {
        low = fminf(low, l->uclc[i]);
        high = fmaxf(high, l->uclc[i]);
    }
    double width = ((double)high - (double)low) / STRIP;
    if (!(width > 0)) {
        s.count[STRIP / 2] = l->channels;
        return s;
    }
    for (int32_t i = 0; i < l->channels; i++) {
        int at = (int)(((double)l->uclc[i] - (double)low) / width);
        s.count[at < 0 ? 0 : at >= STRIP ? STRIP - 1 : at]++;
    }
    int cut = (int)(((double)l->cutoff - (double)low) / width);
    s.cut = cut >= STRIP ? STRIP - 1 : cut;
    return s;
}

static void add_strip(struct table *table, const struct report_layer *l, const struct terminal *t) {
    static const char *const blocks[9] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    struct strip s = strip_of(l);
    int most = 1;
    for (int i = 0; i < STRIP; i++) most = s.count[i] > most ? s.count[i] : most;
    char text[STRIP * 24] = "";
    for (int i = 0; i < STRIP; i++) {
        /* By the root, so that the single channel that matters can be seen beside a hundred. */
        int height = (int)ceil(8 * sqrt((double)s.count[i] / most));
        const char *cell = blocks[height];
        enum style style = i > s.cut || (i == s.cut && l->n_pruned) ? STYLE_RED : STYLE_DIM;
        if (s.count[i] == 0 && i == s.cut) cell = "┊";
        strcat(text, terminal_begin(t, style));
        strcat(text, cell);
        strcat(text, terminal_end(t, style));
    }
    table_add_painted(table, text, STRIP);
}

/* --- one line per scored layer ------------------------------------------------------ */

static void add_pruned(struct table *table, const struct report_layer *l, const struct terminal *t,
                       int room) {
    char text[256] = "";
    size_t used = 0;
    int32_t i = 0;
    if (room > (int)sizeof text - 32) room = (int)sizeof text - 32;
    for (; i < l->n_pruned; i++) {
        char one[16];
        int n = snprintf(one, sizeof one, "%s%d", i ? " " : "", (int)l->pruned[i]);
        if (used + (size_t)n + (i + 1 < l->n_pruned ? 6 : 0) > (size_t)room) break;
        memcpy(text + used, one, (size_t)n + 1);
        used += (size_t)n;
    }
    if (i < l->n_pruned) (void)snprintf(text + used, sizeof text - used, " +%d more", (int)(l->n_pruned - i));
    if (l->n_pruned)
        table_add(table, STYLE_RED, "%s", text);
    else
        table_add(table, STYLE_DIM, "%s", t->unicode ? "–" : "-");
}

static void add_layer(struct table *table, const struct report_layer *l, const struct terminal *t,
                      bool strip) {
    enum style hot = l->n_pruned ? STYLE_RED : STYLE_PLAIN;
    table_add(table, l->n_pruned ? STYLE_BOLD : STYLE_PLAIN, "%s", l->name);
    table_add(table, STYLE_PLAIN, "%d", (int)l->channels);
    table_add(table, STYLE_PLAIN, "%.4g", (double)l->mean);
    table_add(table, STYLE_PLAIN, "%.4g", (double)l->cutoff);
    table_add(table, hot, "%.2f", report_view_max_z(l));
    if (strip) add_strip(table, l, t);
    add_pruned(table, l, t, t->columns ? 28 : 220);
}

static void print_layers(FILE *to, const struct report *r, const struct terminal *t, bool pruned_only) {
    bool strip = t->unicode && (t->columns == 0 ? t->is_terminal : t->columns >= WIDE) && !pruned_only;
    struct table *table = table_new(strip ? "lrrrrll" : "lrrrrl");
    if (!table) return;
    static const char *const heads[] = {"layer", "channels", "mean", "cut-off", "max z"};
    for (int i = 0; i < 5; i++) table_add(table, STYLE_DIM, "%s", heads[i]);
    if (strip) table_add(table, STYLE_DIM, "distribution");
    table_add(table, STYLE_DIM, "pruned");
    for (int32_t i = 0; i < r->n_layers; i++) {
        const struct report_layer *l = &r->layers[i];
        if (l->scored && (l->n_pruned || !pruned_only)) add_layer(table, l, t, strip);
    }
    table_print(table, to, t);
    table_free(table);
}

/* --- what was not scored, or can never fire: the same reason once ------------------- */

static bool same_reason(const struct report_layer *a, const struct report_layer *b) {
    return a->reason && b->reason && a->scored == b->scored && strcmp(a->reason, b->reason) == 0;
}

static void print_reason(FILE *to, const struct report *r, int32_t first, const struct terminal *t) {
    const struct report_layer *l = &r->layers[first];
    char text[1200], clean[256];
    int32_t n = 0, shown = 0;
    for (int32_t i = first; i < r->n_layers; i++) n += same_reason(l, &r->layers[i]);
    (void)snprintf(text, sizeof text, "%d layer%s %s: %s", (int)n, n == 1 ? "" : "s",
                   l->scored ? "without effect" : "not scored",
                   terminal_clean(clean, sizeof clean, l->reason));
    (void)fprintf(to, "\n%s", terminal_begin(t, STYLE_YELLOW));
    terminal_wrap(to, t, 0, text);
    (void)fprintf(to, "%s%s", terminal_end(t, STYLE_YELLOW), terminal_begin(t, STYLE_DIM));
    text[0] = 0;
    for (int32_t i = first; i < r->n_layers && shown < 4; i++) {
        if (!same_reason(l, &r->layers[i])) continue;
        size_t used = strlen(text);
        (void)snprintf(text + used, sizeof text - used, "%s%s", shown++ ? ", " : "",
                       terminal_clean(clean, sizeof clean, r->layers[i].name));
    }
    size_t used = strlen(text);
    if (shown < n) (void)snprintf(text + used, sizeof text - used, " and %d more", (int)(n - shown));
    terminal_wrap(to, t, 2, text);
    (void)fputs(terminal_end(t, STYLE_DIM), to);
}

static void print_reasons(FILE *to, const struct report *r, const struct terminal *t) {
    for (int32_t i = 0; i < r->n_layers; i++) {
        bool seen = r->layers[i].reason == NULL;
        for (int32_t k = 0; k < i && !seen; k++) seen = same_reason(&r->layers[k], &r->layers[i]);
        if (!seen) print_reason(to, r, i, t);
    }
}

/* --- the whole ----------------------------------------------------------------------- */

static void print_verdict(FILE *to, const struct report *r, const struct terminal *t) {
    char summary[160];
    enum style s = verdict_style(r->verdict);
    (void)fprintf(to, "%s%s%s  %s\n", terminal_begin(t, s), verdict_name(r->verdict), terminal_end(t, s),
                  report_view_summary(summary, sizeof summary, r));
}

void report_text_print(FILE *to, const char *model, const struct report *r, const struct terminal *t) {
    char name[512], work[96];
    (void)fprintf(to, "%s%s%s\n", terminal_begin(t, STYLE_BOLD), terminal_clean(name, sizeof name, model),
                  terminal_end(t, STYLE_BOLD));
    print_verdict(to, r, t);
    (void)fprintf(to, "%ssha256 ", terminal_begin(t, STYLE_DIM));
    for (int i = 0; i < 32; i++) (void)fprintf(to, "%02x", r->source_sha256[i]);
    if (r->parameters)
        (void)fprintf(to, "\nparameters %s   multiply-adds %s",
                      report_view_size(name, sizeof name, r->parameters, r->parameters_before),
                      report_view_size(work, sizeof work, r->multiply_adds, r->multiply_adds_before));
    (void)fprintf(to, "\ncut-off %s + %g %s   import %.1f ms   CLP %.1f ms   plan %.1f ms%s\n\n",
                  r->statistic == STATISTIC_MEAN_STD ? "mean" : "median", (double)r->threshold,
                  r->statistic == STATISTIC_MEAN_STD ? "std" : "x 1.4826 MAD", (double)r->import_ns / 1e6,
                  (double)r->clp_ns / 1e6, (double)r->plan_ns / 1e6, terminal_end(t, STYLE_DIM));
    if (report_view_scored_layers(r)) print_layers(to, r, t, false);
    print_reasons(to, r, t);
}

void report_text_print_line(FILE *to, const char *model, int name_width, const struct report *r,
                            const struct terminal *t) {
    char name[512];
    (void)terminal_clean(name, sizeof name, model);
    int gap = name_width - terminal_width(name);
    (void)fprintf(to, "%s%*s  ", name, gap > 0 ? gap : 0, "");
    print_verdict(to, r, t);
    for (int32_t i = 0; i < r->n_layers; i++) {
        const struct report_layer *l = &r->layers[i];
        if (!l->n_pruned) continue;
        (void)fprintf(to, "    %s:", terminal_clean(name, sizeof name, l->name));
        for (int32_t k = 0; k < l->n_pruned && k < 16; k++) (void)fprintf(to, " %d", (int)l->pruned[k]);
        if (l->n_pruned > 16) (void)fprintf(to, " and %d more", (int)l->n_pruned - 16);
        (void)fputc('\n', to);
    }
}
