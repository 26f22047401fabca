/* Words, picture, two charts, facts; see probe_html.h. Everything that comes from a model is escaped. */
#include "client/probe_html.h"

#include "client/html_picture.h"
#include "client/terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 640, /* of a chart, in its own units */
    HEIGHT = 150,
    LEFT = 34,
    BOTTOM = 58, /* for labels; numbers need less */
    BOTTOM_NUMBERS = 22,
    TOP = 14,
    NAMED = 30,       /* bars that each have a name below them */
    MOST_SIDE = 256,  /* of the trigger's picture; larger ones are thinned out */
    NAME_BYTES = 160, /* of a class */
};

const char *probe_class_name(char *buf, int cap, const struct image *img, int32_t k) {
    const char *label = img && k >= 0 ? image_label(img, (uint32_t)k) : NULL;
    char clean[128];
    if (label)
        (void)snprintf(buf, (size_t)cap, "%d (%s)", k, terminal_clean(clean, sizeof clean, label));
    else
        (void)snprintf(buf, (size_t)cap, "%d", k);
    return buf;
}

static void put_escaped(FILE *to, const char *s) {
    for (; *s; s++)
        if (strchr("&<>\"'", *s))
            (void)fprintf(to, "&#%d;", *s);
        else
            (void)fputc(*s, to);
}

static void put_class(FILE *to, const struct probe_shown *s, int32_t k) {
    char name[NAME_BYTES];
    const char *label = s->image && k >= 0 ? image_label(s->image, (uint32_t)k) : NULL;
    char clean[128];
    if (label)
        put_escaped(to, terminal_clean(clean, sizeof clean, label));
    else
        (void)fprintf(to, "class %s", probe_class_name(name, sizeof name, NULL, k));
}

/* --- words -------------------------------------------------------------------------------------- */

struct words {
    const char *title, *tone, *meaning;
};

/* What no attack of ours would see, whatever the verdict. */
#define UNSEEN                                                                                               \
    "a backdoor with a trigger of another kind (a warp, or one made for each picture) looks the same"

static const struct words class_words[PROBE_VERDICTS] = {
    [PROBE_CLEAR] =
        {"No class stands out", "good",
         "It took about the same effort to drive pictures into each class: by a small patch, by a faint "
         "change of the whole picture, by a pattern in a small window and by one in a larger area. And no "
         "place of the picture sends pictures away from where they belong more than others do. That is no "
         "proof: " UNSEEN "."},
    [PROBE_REPAIRED] =
        {"Repaired", "open",
         "One class was reached far too easily, as the target of a backdoor is. The channels that its "
         "triggers live on were pruned, and after that it was as hard to reach as the others, by every "
         "attack that was tried and from every start. That is no proof that the attacker's own trigger is "
         "gone: " UNSEEN ". And nothing here measures accuracy, which takes pictures of your own."},
    [PROBE_SUSPECT] = {"Suspect, not repaired", "bad",
                       "One class is reached far too easily, and it could not be shown that pruning has "
                       "changed that. It may "
                       "be easy by nature; it may be a backdoor. Do not trust this network before somebody "
                       "has looked at it."},
    [PROBE_UNKNOWN] = {"Not known", "open",
                       "The budget was too short, or too little could be reached, to say anything about this "
                       "network: neither that it has a backdoor nor that it has none."}};

static const struct words place_words[PROBE_VERDICTS] = {
    [PROBE_REPAIRED] =
        {"Repaired", "open",
         "No class stands out, but a place did: a pattern there sent pictures away from where they belong, "
         "wherever to, as a backdoor with many targets does. The channels that it lives on were pruned, and "
         "after that no place was worse than the others. That is no proof that the attacker's own trigger is "
         "gone: " UNSEEN ". And nothing here measures accuracy, which takes pictures of your own."},
    [PROBE_SUSPECT] = {
        "Suspect, not repaired", "bad",
        "No class stands out, but a place does: a pattern there sends pictures away from where they belong, "
        "wherever to, and pruning did not change that. It may be so by nature; it may be a backdoor with "
        "many targets. Do not trust this network before somebody has looked at it."}};

static struct words words_of(const struct probe_report *r) {
    const enum probe_verdict v = r->verdict < PROBE_VERDICTS ? r->verdict : PROBE_UNKNOWN;
    return r->target < 0 && place_words[v].title ? place_words[v] : class_words[v];
}

static void put_verdict(FILE *to, const struct probe_shown *s) {
    const struct probe_report *r = s->report;
    const struct words w = words_of(r);
    (void)fprintf(to,
                  "<section class=\"probe %s\">\n<h2>Probe: attacked class by class</h2>\n"
                  "<p class=verdict><b>%s</b> <span>",
                  w.tone, w.title);
    if (r->target >= 0 && r->verdict != PROBE_UNKNOWN) {
        const struct probe_class *c = &r->classes[r->target];
        (void)fputs(r->verdict == PROBE_CLEAR ? "the easiest is " : "", to);
        put_class(to, s, r->target);
        (void)fprintf(to,
                      r->verdict == PROBE_CLEAR      ? ", %.1f deviations from the others; the limit is %.1f"
                      : r->verdict == PROBE_REPAIRED ? " stood out by %.1f deviations; the limit is %.1f"
                                                     : " stands out by %.1f deviations; the limit is %.1f",
                      (double)c->z, (double)r->limit);
    } else if (r->verdict == PROBE_REPAIRED || r->verdict == PROBE_SUSPECT) {
        (void)fputs("something drives pictures far too easily into other classes than theirs", to);
    }
    (void)fprintf(to, "</span></p>\n<p class=meaning>%s%s%s</p>\n", w.meaning, s->service ? " " : "",
                  s->service ? s->service : "");
}

/* --- the trigger ---------------------------------------------------------------------------------- */

static bool covers_all(const struct probe_report *r) {
    for (int32_t i = 0; i < r->height * r->width; i++)
        if (r->mask[i] < 250) return false;
    return true;
}

/* [height,width,4]: the pattern, as solid as its mask; every `step`-th pixel. */
static uint8_t *pixels_of(const struct probe_report *r, int32_t step, uint32_t *width, uint32_t *height) {
    const size_t plane = (size_t)r->height * (size_t)r->width;
    *width = (uint32_t)(r->width / step);
    *height = (uint32_t)(r->height / step);
    uint8_t *pixels = malloc((size_t)*width * *height * 4 + 1), *p = pixels;
    for (uint32_t y = 0; p && y < *height; y++)
        for (uint32_t x = 0; x < *width; x++) {
            const size_t i = (size_t)y * (size_t)step * (size_t)r->width + (size_t)x * (size_t)step;
            for (size_t c = 0; c < 3; c++) *p++ = r->pattern[(r->channels < 3 ? 0 : c) * plane + i];
            *p++ = r->mask[i];
        }
    return pixels;
}

static void put_success(FILE *to, const struct probe_shown *s) {
    const struct probe_report *r = s->report;
    (void)fprintf(to, " On other pictures it succeeds with %.0f %% of them", (double)r->success * 100);
    if (r->n_pruned)
        (void)fprintf(to, ", and with %.0f %% once the channels are pruned", (double)r->success_after * 100);
    (void)fputs(".", to);
}

static void put_trigger(FILE *to, const struct probe_shown *s) {
    const struct probe_report *r = s->report;
    if (!r->mask || !r->pattern || r->channels < 1) return;
    const int32_t side = r->height > r->width ? r->height : r->width,
                  step = (side + MOST_SIDE - 1) / MOST_SIDE;
    uint32_t width, height;
    uint8_t *pixels = pixels_of(r, step, &width, &height);
    if (!pixels) return;
    (void)fputs("<figure><img alt=\"the trigger that was found\" src=\"", to);
    html_picture_put(to, pixels, width, height);
    (void)fputs("\"><figcaption>The trigger that was found: put on a picture, it makes the network say <b>",
                to);
    if (r->target >= 0)
        put_class(to, s, r->target);
    else
        (void)fputs("something else", to);
    (void)fputs("</b>.", to);
    put_success(to, s);
    (void)fputs(covers_all(r)
                    ? " It is added to the whole picture: grey adds nothing, and it is shown four times as "
                      "strong as it is."
                    : " Where nothing is painted the picture shows through.",
                to);
    (void)fputs("</figcaption></figure>\n", to);
    free(pixels);
}

/* --- charts ----------------------------------------------------------------------------------------- */

struct chart {
    const char *title, *help, *unit;
    float (*before)(const struct probe_class *c);
    float (*after)(const struct probe_class *c);
    double limit; /* a line across; 0: none */
};

static float patch_before(const struct probe_class *c) {
    return c->patch;
}
static float patch_after(const struct probe_class *c) {
    return c->patch_after;
}
static float z_before(const struct probe_class *c) {
    return c->z;
}
static float z_after(const struct probe_class *c) {
    return c->z_after;
}

static bool is_marked(const struct probe_report *r, int32_t k) {
    return k == r->target && (r->verdict == PROBE_REPAIRED || r->verdict == PROBE_SUSPECT);
}

static double height_of(double value, double most) {
    return (HEIGHT - TOP) * fmin(fmax(value, 0), most) / most;
}

/* At most so many bytes, and no half a character at the end. */
static void cut(char *text, size_t most) {
    if (strlen(text) <= most) return;
    while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80) most--;
    text[most] = 0;
}

/* Labels stand aslant, numbers need not. */
static void put_name(FILE *to, const struct probe_shown *s, int32_t k, double x) {
    char name[128];
    const char *label = s->image ? image_label(s->image, (uint32_t)k) : NULL;
    const char *tone = is_marked(s->report, k) ? "red" : "dim";
    if (label)
        (void)fprintf(to, "<text class=\"t %s\" transform=\"translate(%.1f %d)rotate(-38)\">", tone, x + 4,
                      HEIGHT + 14);
    else
        (void)fprintf(to, "<text class=\"v %s\" x=%.1f y=%d>%d", tone, x, HEIGHT + 15, k);
    if (label) {
        (void)terminal_clean(name, sizeof name, label);
        cut(name, 14);
        put_escaped(to, name);
    }
    (void)fputs("</text>", to);
}

static void put_bar(FILE *to, const struct probe_shown *s, const struct chart *c, int32_t k, double middle,
                    double width, double most, bool named) {
    const struct probe_class *of = &s->report->classes[k];
    const double before = (double)c->before(of), after = (double)c->after(of), h = height_of(before, most);
    const bool marked = is_marked(s->report, k);
    char name[NAME_BYTES];
    (void)fprintf(to, "<g><title>");
    put_escaped(to, probe_class_name(name, sizeof name, s->image, k));
    (void)fprintf(to, ": %.1f %s", before, c->unit);
    if (marked && s->report->n_pruned) (void)fprintf(to, ", %.1f once repaired", after);
    (void)fprintf(to, "</title><rect class=%s x=%.1f y=%.1f width=%.1f height=%.1f rx=1.5 />",
                  marked ? "p" : "d", middle - width / 2, HEIGHT - h, width, fmax(h, 1));
    if (marked && s->report->n_pruned) {
        const double to_h = height_of(after, most);
        (void)fprintf(to, "<rect class=a x=%.1f y=%.1f width=%.1f height=%.1f rx=1.5 />",
                      middle - width / 2 - 2, HEIGHT - to_h, width + 4, fmax(to_h, 1));
    }
    if (marked)
        (void)fprintf(to, "<text class=\"v red\" x=%.1f y=%.1f>%.1f</text>", middle, HEIGHT - h - 3, before);
    if (named || marked) put_name(to, s, k, middle);
    (void)fputs("</g>\n", to);
}

static bool has_labels(const struct probe_shown *s) {
    return s->image && image_label(s->image, 0);
}

static void put_chart(FILE *to, const struct probe_shown *s, const struct chart *c) {
    const struct probe_report *r = s->report;
    double most = c->limit * 1.4;
    int32_t n = 0, nth = 0;
    for (int32_t k = 0; k < r->n_classes; k++) {
        if (!r->classes[k].covered) continue;
        most = fmax(most, fmax((double)c->before(&r->classes[k]), (double)c->after(&r->classes[k])));
        n++;
    }
    if (n == 0 || !(most > 0)) return;
    const double slot = (double)(WIDTH - LEFT) / n, width = fmin(slot * 0.66, 34);
    (void)fprintf(
        to,
        "<div><h3>%s</h3><p class=legend>%s</p>\n<svg viewBox=\"0 0 %d %d\" role=img aria-label=\"%s\">\n"
        "<path class=base d=\"M%d %dH%d\"/><text class=\"t dim\" x=%d y=%d>%.3g</text><text class=\"t dim\" "
        "x=%d "
        "y=%d>0</text>\n",
        c->title, c->help, WIDTH, HEIGHT + (has_labels(s) ? BOTTOM : BOTTOM_NUMBERS), c->title, LEFT, HEIGHT,
        WIDTH, LEFT - 5, TOP + 4, most, LEFT - 5, HEIGHT + 3);
    for (int32_t k = 0; k < r->n_classes; k++)
        if (r->classes[k].covered) put_bar(to, s, c, k, LEFT + (nth++ + 0.5) * slot, width, most, n <= NAMED);
    if (c->limit > 0) {
        const double y = HEIGHT - height_of(c->limit, most);
        (void)fprintf(to, "<path class=c d=\"M%d %.1fH%d\"/><text class=\"t red\" x=%d y=%.1f>%.1f</text>\n",
                      LEFT, y, WIDTH, LEFT - 5, y + 3, c->limit);
    }
    (void)fputs("</svg></div>\n", to);
}

static void put_charts(FILE *to, const struct probe_shown *s) {
    const struct chart charts[] = {{"How far each class stands out",
                                    "By the attack that finds it easiest (patch, perturbation, window or "
                                    "area), in robust standard deviations from "
                                    "the others. Above the line a "
                                    "class is suspect.",
                                    "deviations", z_before, z_after, (double)s->report->limit},
                                   {"The smallest patch that drives all pictures there",
                                    "In pixels. A class that a small patch reaches has a short bar.",
                                    "pixels", patch_before, patch_after, 0}};
    (void)fputs("<div class=charts>\n", to);
    for (size_t i = 0; i < sizeof charts / sizeof charts[0]; i++) put_chart(to, s, &charts[i]);
    if (s->report->n_pruned && s->report->verdict != PROBE_CLEAR)
        (void)fputs(
            "<p class=legend>The frame around the <span class=red>red</span> bar is the same class after the "
            "repair.</p>\n",
            to);
    (void)fputs("</div>\n", to);
}

/* --- facts -------------------------------------------------------------------------------------------- */

static void put_facts(FILE *to, const struct probe_report *r) {
    (void)fprintf(to,
                  "<dl class=facts><div><dt>Classes attacked</dt><dd>%d of %d</dd></div>"
                  "<div><dt>Ways in that were found</dt><dd>%u</dd></div>"
                  "<div><dt>Channels pruned</dt><dd>%d</dd></div>",
                  r->n_covered, r->n_classes, r->ways, r->n_pruned);
    if (r->n_pruned)
        (void)fprintf(
            to, "<div><dt>Drift of the answers</dt><dd>%.3f</dd></div><div><dt>Rounds</dt><dd>%u</dd></div>",
            (double)r->drift, r->rounds);
    (void)fprintf(to,
                  "<div><dt>Time</dt><dd>%u of %u s%s</dd></div><div><dt>Seed</dt><dd>%u</dd></div></dl>\n",
                  r->seconds, r->budget, r->cut ? ", too short" : "", r->seed);
}

static void put_pruned(FILE *to, const struct probe_report *r) {
    if (!r->n_pruned) return;
    (void)fprintf(to, "<details><summary>%d channel%s</summary><ul class=chips>", r->n_pruned,
                  r->n_pruned == 1 ? "" : "s");
    for (int32_t i = 0; i < r->n_pruned; i++) {
        char clean[128];
        (void)fputs("<li>", to);
        put_escaped(to, terminal_clean(clean, sizeof clean, r->pruned[i].step));
        (void)fprintf(to, " <small>%d</small></li>", r->pruned[i].channel);
    }
    (void)fputs("</ul></details>\n", to);
}

void probe_html(FILE *to, const struct probe_shown *s) {
    const struct probe_report *r = s->report;
    const bool found = r->verdict == PROBE_REPAIRED || r->verdict == PROBE_SUSPECT;
    put_verdict(to, s);
    (void)fputs("<div class=found>\n", to);
    if (found) put_trigger(to, s);
    put_charts(to, s);
    (void)fputs("</div>\n", to);
    put_facts(to, r);
    put_pruned(to, r);
    (void)fputs("</section>\n", to);
}
