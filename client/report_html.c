/* The page: verdict and facts, the whole network at a glance, then a strip of
 * dots for each layer.
 *
 * All strips share one axis, z (standard deviations over the mean of the
 * layer), so that the cut-off is one line down the page. A strip is an SVG that
 * stretches to the width at hand; its dots are line caps of strokes that do not
 * scale, so that they stay round, and a dot costs a dozen bytes. Sorting is CSS
 * `order` switched by radio buttons: there is no script, and the page's own
 * policy forbids any. */
#include "client/report_html.h"
#include "client/report_html_style.h"
#include "client/report_view.h"
#include "client/terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1000, HEIGHT = 60, BINS = 200, EDGE = 10 };

struct axis {
    double low, high; /* z at the left and the right end */
};

/* --- text ---------------------------------------------------------------------------- */

static void put_text(FILE *to, const char *text) {
    char clean[1024];
    for (const char *s = terminal_clean(clean, sizeof clean, text); *s; s++) switch (*s) {
        case '&': (void)fputs("&amp;", to); break;
        case '<': (void)fputs("&lt;", to); break;
        case '>': (void)fputs("&gt;", to); break;
        case '"': (void)fputs("&quot;", to); break;
        case '\'': (void)fputs("&#39;", to); break;
        /* Names break after their slashes, dots and underscores; elsewhere only where nothing else helps. */
        case '/':
        case '.':
        case '_': (void)fprintf(to, "%c<wbr>", *s); break;
        default: (void)fputc(*s, to);
        }
}

/* For attributes and titles: no <wbr>. */
static void put_attribute(FILE *to, const char *text) {
    char clean[1024];
    for (const char *s = terminal_clean(clean, sizeof clean, text); *s; s++)
        if (strchr("&<>\"'", *s))
            (void)fprintf(to, "&#%d;", *s);
        else
            (void)fputc(*s, to);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* --- head ---------------------------------------------------------------------------- */

struct words {
    const char *title, *class_name, *meaning;
};

static struct words words_of(const struct report *r) {
    static const struct words words[VERDICT_COUNT] = {
        [VERDICT_PRUNED] =
            {"Pruned", "bad",
             "The Lipschitz bounds of these channels lie far above the others of their layer, as those "
             "of backdoor channels do. clpd serves the network without them. Pruning mitigates, it "
             "proves nothing: a harmless channel may be among them, and a backdoor may have been "
             "spread too thin to be seen."},
        [VERDICT_UNCHANGED] =
            {"Unchanged", "good",
             "No channel lies above the cut-off of its layer, so the network is served as it came. "
             "That is not proof that it is clean: a backdoor may have been spread too thin to be "
             "seen."},
        [VERDICT_NOT_APPLICABLE] =
            {"Not applicable", "open",
             "CLP judges convolutions by their normalisation, and this network has none that "
             "can be judged so. Nothing is known about it."},
        [VERDICT_GUARD_OFF] = {"Not scanned", "open",
                               "The guard was switched off. Nothing is known about the network."},
    };
    static const struct words by_probe = {"Repaired", "bad",
                                          "These are the channels that the probe's attacks live on; they are "
                                          "pruned in place of those that CLP would "
                                          "prune. Pruning mitigates, it proves nothing: the attacker's own "
                                          "trigger may be of a kind that the probe did "
                                          "not try."};
    if (r->repaired && r->verdict == VERDICT_PRUNED) return by_probe;
    return words[(unsigned)r->verdict < VERDICT_COUNT ? r->verdict : VERDICT_GUARD_OFF];
}

static void put_fact(FILE *to, const char *name, const char *value) {
    (void)fprintf(to, "<div><dt>%s</dt><dd>%s</dd></div>\n", name, value);
}

static void put_facts(FILE *to, const struct report *r) {
    char value[96];
    (void)fputs("<dl class=facts>\n", to);
    (void)snprintf(value, sizeof value,
                   r->statistic == STATISTIC_MEAN_STD ? "mean + %g std" : "median + %g * 1.4826 MAD",
                   (double)r->threshold);
    put_fact(to, "Cut-off", value);
    (void)snprintf(value, sizeof value, "%d scored of %d", (int)report_view_scored_layers(r),
                   (int)r->n_layers);
    put_fact(to, "Convolutions", value);
    if (r->parameters)
        put_fact(to, "Parameters",
                 report_view_size(value, sizeof value, r->parameters, r->parameters_before));
    if (r->multiply_adds)
        put_fact(to, "Multiply-adds",
                 report_view_size(value, sizeof value, r->multiply_adds, r->multiply_adds_before));
    (void)snprintf(value, sizeof value, "%.1f ms", (double)r->import_ns / 1e6);
    put_fact(to, "Import", value);
    (void)snprintf(value, sizeof value, "%.1f ms", (double)r->clp_ns / 1e6);
    put_fact(to, "CLP", value);
    (void)snprintf(value, sizeof value, "%.1f ms", (double)r->plan_ns / 1e6);
    put_fact(to, "Plan", value);
    (void)fputs("<div class=digest><dt>SHA-256</dt><dd><code>", to);
    for (int i = 0; i < 32; i++) (void)fprintf(to, i % 4 == 3 ? "%02x<wbr>" : "%02x", r->source_sha256[i]);
    (void)fputs("</code></dd></div>\n</dl>\n", to);
}

static void put_head(FILE *to, const char *model, const struct report *r) {
    char summary[160];
    struct words w = words_of(r);
    (void)fputs(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=color-scheme content=\"light dark\">\n"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:; style-src "
        "'unsafe-inline'\">\n"
        "<title>",
        to);
    put_attribute(to, base_name(model));
    (void)fprintf(
        to, ": %s</title>\n<style>%s</style>\n<body>\n<header class=%s>\n<p class=kind>CLP scan</p>\n<h1>",
        verdict_name(r->verdict), report_html_style, w.class_name);
    put_text(to, base_name(model));
    (void)fprintf(to, "</h1>\n<p class=verdict><b>%s</b> <span>%s</span></p>\n<p class=meaning>%s</p>\n",
                  w.title,
                  r->verdict == VERDICT_PRUNED || r->verdict == VERDICT_UNCHANGED
                      ? report_view_summary(summary, sizeof summary, r)
                      : "",
                  w.meaning);
    put_facts(to, r);
    (void)fputs("</header>\n", to);
}

/* --- the axis ------------------------------------------------------------------------- */

/* Up to five deviations past the cut-off; what lies beyond sits at the edge, with its figure told. */
static struct axis axis_of(const struct report *r) {
    struct axis a = {-2, (double)r->threshold + 1.5};
    double limit = (double)r->threshold + 5;
    for (int32_t i = 0; i < r->n_layers; i++) {
        const struct report_layer *l = &r->layers[i];
        if (!l->scored) continue;
        a.high = fmax(a.high, fmin(report_view_max_z(l) + 0.4, limit));
        for (int32_t k = 0; k < l->channels; k++)
            a.low = fmin(a.low, fmax(report_view_z(l, l->uclc[k]) - 0.2, -5));
    }
    return a;
}

static double place(const struct axis *a, double z) {
    double x = EDGE + (z - a->low) / (a->high - a->low) * (WIDTH - 2 * EDGE);
    return x < EDGE ? EDGE : x > WIDTH - EDGE ? WIDTH - EDGE : x;
}

static void put_axis(FILE *to, const struct report *r, const struct axis *a) {
    (void)fputs("<div class=axis aria-hidden=true><div>", to);
    double cut = place(a, (double)r->threshold), mean = place(a, 0), span = a->high - a->low;
    double step = span < 10 ? 1 : span < 20 ? 2 : ceil(span / 40) * 5;
    for (double z = ceil(a->low / step) * step; z <= a->high; z += step) {
        double x = place(a, z);
        if (fabs(x - cut) < 0.1 * WIDTH || fabs(x - mean) < 0.08 * WIDTH) continue; /* words stand there */
        (void)fprintf(to, "<i style=\"left:%.2f%%\">%s%g</i>", x / WIDTH * 100, z < 0 ? "−" : "", fabs(z));
    }
    (void)fprintf(to,
                  "<i style=\"left:%.2f%%\">mean</i>"
                  "<i class=cut style=\"left:%.2f%%\">cut-off</i></div></div>\n",
                  mean / WIDTH * 100, cut / WIDTH * 100);
}

/* --- one strip ------------------------------------------------------------------------ */

static bool is_pruned(const struct report_layer *l, int32_t channel) {
    int32_t low = 0, high = l->n_pruned;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (l->pruned[middle] < channel)
            low = middle + 1;
        else
            high = middle;
    }
    return low < l->n_pruned && l->pruned[low] == channel;
}

/* Dots of one bin are stacked around the middle: +0, +1, -1, +2, …, closer where they are many. */
static double stack(int nth, int of) {
    double step = fmin(4.5, (HEIGHT - 10.0) / of);
    return HEIGHT / 2.0 + step * (double)((nth + 1) / 2) * (nth % 2 ? 1 : -1);
}

static int bin_of(double x) {
    int b = (int)(x / WIDTH * BINS);
    return b < 0 ? 0 : b >= BINS ? BINS - 1 : b;
}

static void put_dots(FILE *to, const struct report_layer *l, const struct axis *a) {
    int in_bin[BINS] = {0}, done[BINS] = {0};
    for (int32_t k = 0; k < l->channels; k++) in_bin[bin_of(place(a, report_view_z(l, l->uclc[k])))]++;
    (void)fputs("<path class=d d=\"", to);
    for (int32_t k = 0; k < l->channels; k++) {
        if (is_pruned(l, k)) continue;
        double x = place(a, report_view_z(l, l->uclc[k]));
        int b = bin_of(x);
        (void)fprintf(to, "M%.4g %.3gh.1", x, stack(done[b]++, in_bin[b]));
    }
    (void)fputs("\"/>\n", to);
    for (int32_t i = 0; i < l->n_pruned; i++) {
        double z = report_view_z(l, l->uclc[l->pruned[i]]), x = place(a, z);
        int b = bin_of(x);
        (void)fprintf(to,
                      "<path class=p d=\"M%.4g %.3gh.1\"><title>channel %d: %.4g, z %.2f</title></path>\n", x,
                      stack(done[b]++, in_bin[b]), (int)l->pruned[i], (double)l->uclc[l->pruned[i]], z);
    }
}

static void put_strip(FILE *to, const struct report *r, const struct report_layer *l, const struct axis *a) {
    double cut = place(a, (double)r->threshold), mean = place(a, 0);
    (void)fprintf(
        to,
        "<svg class=strip viewBox=\"0 0 %d %d\" preserveAspectRatio=none role=img aria-label=\"%d channels "
        "from z %.1f to %.1f, %d above the cut-off\">\n",
        WIDTH, HEIGHT, (int)l->channels, a->low, report_view_max_z(l), (int)l->n_pruned);
    (void)fprintf(to, "<rect class=zone x=%.1f width=%.1f height=%d />", cut, WIDTH - cut, HEIGHT);
    (void)fprintf(to, "<path class=m d=\"M%.1f 0v%d\"/><path class=c d=\"M%.1f 0v%d\"/>\n", mean, HEIGHT, cut,
                  HEIGHT);
    put_dots(to, l, a);
    (void)fputs("</svg>\n", to);
}

/* --- layers ---------------------------------------------------------------------------- */

static void put_pruned(FILE *to, const struct report_layer *l) {
    if (!l->n_pruned) return;
    (void)fputs("<ul class=chips aria-label=\"pruned channels\">", to);
    for (int32_t i = 0; i < l->n_pruned; i++)
        (void)fprintf(to, "<li>%d <small>z %.2f</small></li>", (int)l->pruned[i],
                      report_view_z(l, l->uclc[l->pruned[i]]));
    (void)fputs("</ul>\n", to);
}

static void put_layer(FILE *to, const struct report *r, int32_t n, const struct axis *a) {
    const struct report_layer *l = &r->layers[n];
    (void)fprintf(to, "<li id=l%d class=\"layer%s\" style=\"--n:%d\">\n<div class=about>\n<h3>", (int)n,
                  l->n_pruned ? " hit" : "", (int)n);
    put_text(to, l->name);
    (void)fprintf(to,
                  "</h3>\n<p><span>%d channels</span> <span>mean %.4g</span> <span>cut-off %.4g</span> "
                  "<span>max z %.2f</span>%s</p>\n",
                  (int)l->channels, (double)l->mean, (double)l->cutoff, report_view_max_z(l),
                  l->norm == NORM_FOLDED_OR_NONE ? " <span>normalisation folded or none</span>" : "");
    if (l->reason) {
        (void)fputs("<p class=note>", to);
        put_text(to, l->reason);
        (void)fprintf(to, " (at most z %.2f)</p>\n", (double)l->max_attainable_z);
    }
    put_pruned(to, l);
    (void)fputs("</div>\n", to);
    put_strip(to, r, l, a);
    (void)fputs("</li>\n", to);
}

static void put_legend(FILE *to, const struct report *r, const struct axis *a) {
    bool beyond = false;
    for (int32_t i = 0; i < r->n_layers; i++) beyond |= report_view_max_z(&r->layers[i]) > a->high;
    (void)fprintf(
        to,
        "<p class=legend>Each dot is an output channel, placed by its Lipschitz bound: how many "
        "standard deviations it lies from the mean of its layer. %s%s</p>\n",
        r->repaired ? "<span class=red>Red</span> ones are pruned, as the probe found; CLP alone would prune "
                      "those right of the cut-off."
                    : "Right of the cut-off, <span class=red>red</span>, channels are pruned.",
        beyond ? " A dot at the right edge lies further out than the axis goes." : "");
}

static void put_layers(FILE *to, const struct report *r, const int32_t *order, const struct axis *a) {
    (void)fputs("<section>\n<h2>Layer by layer</h2>\n", to);
    put_legend(to, r, a);
    (void)fputs("<input type=radio name=sort id=by-interest checked>"
                "<label for=by-interest>by interest</label>"
                "<input type=radio name=sort id=by-network><label for=by-network>as in the network</label>\n",
                to);
    put_axis(to, r, a);
    (void)fputs("<ol class=layers>\n", to);
    for (int32_t i = 0; i < r->n_layers; i++)
        if (r->layers[order[i]].scored) put_layer(to, r, order[i], a);
    (void)fputs("</ol>\n</section>\n", to);
}

/* Bars of the largest z, as the network has its layers: where it was found. */
static void put_overview(FILE *to, const struct report *r, int32_t scored) {
    double most = (double)r->threshold * 1.25, slot = (double)WIDTH / scored, width = fmin(slot * 0.72, 40);
    for (int32_t i = 0; i < r->n_layers; i++) most = fmax(most, report_view_max_z(&r->layers[i]) * 1.05);
    (void)fprintf(
        to,
        "<section class=overview>\n<h2>From input to output</h2>\n<p class=legend>The largest bound of each "
        "layer, in standard deviations; the line is the cut-off.</p>\n"
        "<svg viewBox=\"0 0 %d 100\" preserveAspectRatio=none role=img aria-label=\"largest z of each "
        "layer\">\n",
        WIDTH);
    int32_t nth = 0;
    for (int32_t i = 0; i < r->n_layers; i++) {
        const struct report_layer *l = &r->layers[i];
        if (!l->scored) continue;
        double z = fmax(report_view_max_z(l), 0), h = 100 * z / most;
        (void)fprintf(to, "<a href=#l%d><rect class=%s x=%.1f y=%.1f width=%.1f height=%.1f /><title>",
                      (int)i, l->n_pruned ? "p" : "d", ((double)nth++ + 0.5) * slot - width / 2, 100 - h,
                      width, h);
        put_attribute(to, l->name);
        (void)fprintf(to, ": z %.2f</title></a>\n", z);
    }
    (void)fprintf(to, "<path class=c d=\"M0 %.1fh%d\"/>\n</svg>\n</section>\n",
                  100 - 100 * (double)r->threshold / most, WIDTH);
}

static void put_unscored(FILE *to, const struct report *r, const int32_t *order) {
    bool any = false;
    for (int32_t i = 0; i < r->n_layers; i++) {
        const struct report_layer *l = &r->layers[order[i]];
        if (l->scored) continue;
        if (!any) (void)fputs("<section>\n<h2>Not scored</h2>\n<ul class=unscored>\n", to);
        any = true;
        (void)fputs("<li><h3>", to);
        put_text(to, l->name);
        (void)fprintf(to, "</h3><p>%d channels; ", (int)l->channels);
        put_text(to, l->reason ? l->reason : "");
        (void)fputs("</p></li>\n", to);
    }
    if (any) (void)fputs("</ul>\n</section>\n", to);
}

int report_html_write(FILE *to, const char *model, const struct report *r, time_t made) {
    return report_html_write_with(to, model, r, made, NULL, NULL);
}

int report_html_write_with(FILE *to, const char *model, const struct report *r, time_t made,
                           void (*more)(FILE *to, void *ctx), void *ctx) {
    int32_t scored = report_view_scored_layers(r);
    int32_t *order = calloc((size_t)r->n_layers + 1, sizeof *order);
    if (!order) return -1;
    report_view_sort(r, order);
    struct axis axis = axis_of(r);
    put_head(to, model, r);
    (void)fputs("<main>\n", to);
    if (more) more(to, ctx);
    if (scored > 1) put_overview(to, r, scored);
    if (scored) put_layers(to, r, order, &axis);
    put_unscored(to, r, order);
    (void)fputs("</main>\n", to);
    free(order);
    struct tm when;
    char text[64] = "";
    if (gmtime_r(&made, &when)) (void)strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &when);
    (void)fprintf(to,
                  "<footer>%s, by clpctl " CLPD_VERSION
                  ". Channel Lipschitzness based Pruning: Zheng, Tang, Li "
                  "and Liu, ECCV 2022, arXiv 2208.03111.</footer>\n</body>\n</html>\n",
                  text);
    return ferror(to) || fflush(to) == EOF ? -1 : 0;
}
