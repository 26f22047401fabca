/* The probe's section of the page: the verdict in words, the found trigger as a
 * picture, and the sizes of the smallest patches over the classes. */
#include "client/probe.h"

#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1000, HEIGHT = 120 };

static const char *meaning(enum probe_verdict v) {
    static const char *const texts[] = {
        [PROBE_CLEAR] =
            "Every class took about the same effort to reach. That is what a clean network looks like; a "
            "backdoor without one target class, or one that no patch and no small change finds, looks so, "
            "too.",
        [PROBE_REPAIRED] =
            "One class was far easier to reach than the others. Channels that its triggers live on were "
            "pruned, until it was as hard to reach as the others, from every start. A trigger of a kind "
            "that was not tried may still be there.",
        [PROBE_SUSPECT] =
            "One class is far easier to reach than the others, and pruning did not change that. It may be "
            "easy by nature; it may be a backdoor. Do not trust this network without a look at the data.",
        [PROBE_UNKNOWN] = "The time was too short to say anything. Give the probe a larger budget."};
    return texts[v];
}

static void put_escaped(FILE *to, const char *s) {
    for (; *s; s++)
        if (strchr("&<>\"'", *s))
            (void)fprintf(to, "&#%d;", *s);
        else
            (void)fputc(*s, to);
}

/* --- the trigger ------------------------------------------------------------------------------------ */

static void put_base64(FILE *to, const uint8_t *p, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        const uint32_t v =
            (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0u);
        (void)fputc(digits[v >> 18], to);
        (void)fputc(digits[v >> 12 & 63], to);
        (void)fputc(i + 1 < n ? digits[v >> 6 & 63] : '=', to);
        (void)fputc(i + 2 < n ? digits[v & 63] : '=', to);
    }
}

/* [height,width,4]: the pattern, as solid as its mask. */
static uint8_t *pixels_of(const struct probe_report *r) {
    const size_t plane = (size_t)r->height * (size_t)r->width;
    uint8_t *p = malloc(plane * 4);
    for (size_t i = 0; p && i < plane; i++) {
        for (size_t c = 0; c < 3; c++) p[i * 4 + c] = r->pattern[(r->channels < 3 ? 0 : c) * plane + i];
        p[i * 4 + 3] = r->mask[i];
    }
    return p;
}

static void put_trigger(FILE *to, const struct probe_report *r) {
    if (!r->mask || !r->pattern || r->channels < 1) return;
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)r->width,
                     .height = (png_uint_32)r->height,
                     .format = PNG_FORMAT_RGBA};
    uint8_t *pixels = pixels_of(r);
    png_alloc_size_t n = pixels ? PNG_IMAGE_PNG_SIZE_MAX(png) : 0;
    uint8_t *bytes = n ? malloc(n) : NULL;
    if (bytes && png_image_write_to_memory(&png, bytes, &n, 0, pixels, 0, NULL)) {
        (void)fputs("<figure style=\"margin:0 0 1rem\"><img alt=\"the trigger that was found\" width=192 "
                    "style=\"image-rendering:pixelated;border:1px solid;background:#777\" "
                    "src=\"data:image/png;base64,",
                    to);
        put_base64(to, bytes, n);
        (void)fputs("\"><figcaption>The trigger that was found: what it paints is solid, the rest is "
                    "clear.</figcaption></figure>\n",
                    to);
    }
    png_image_free(&png);
    free(bytes);
    free(pixels);
}

/* --- the curve ----------------------------------------------------------------------------------------- */

static void put_curve(FILE *to, const struct probed *p) {
    const struct probe_report *r = &p->report;
    double most = 1;
    int32_t n = 0, nth = 0;
    for (int32_t k = 0; k < r->n_classes; k++) {
        if (!r->classes[k].covered) continue;
        most = fmax(most, fmax((double)r->classes[k].patch, (double)r->classes[k].patch_after));
        n++;
    }
    if (n == 0) return;
    const double slot = (double)WIDTH / n, width = fmin(slot * 0.7, 40);
    (void)fprintf(to,
                  "<p class=legend>The smallest patch that sends every picture to a class, in pixels, class "
                  "by class. The one "
                  "that stands out is <span class=red>red</span>; the line on it is after the repair.</p>\n"
                  "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=none role=img aria-label=\"patch sizes "
                  "over classes\" "
                  "style=\"width:100%%;height:8rem\">\n",
                  WIDTH, HEIGHT);
    for (int32_t k = 0; k < r->n_classes; k++) {
        const struct probe_class *c = &r->classes[k];
        char name[160];
        if (!c->covered) continue;
        const double x = (nth++ + 0.5) * slot - width / 2, h = (double)c->patch / most * HEIGHT;
        const bool out = k == r->target && r->verdict != PROBE_CLEAR;
        (void)fprintf(to, "<rect class=%s x=%.1f y=%.1f width=%.1f height=%.1f ><title>", out ? "p" : "d", x,
                      HEIGHT - h, width, h);
        put_escaped(to, probe_class_name(name, sizeof name, p->image, k));
        (void)fprintf(to, ": %.1f pixels, z %.1f</title></rect>\n", (double)c->patch, (double)c->z);
        if (r->n_pruned)
            (void)fprintf(to, "<path class=c d=\"M%.1f %.1fh%.1f\"/>\n", x,
                          HEIGHT - (double)c->patch_after / most * HEIGHT, width);
    }
    (void)fputs("</svg>\n", to);
}

void probe_html(FILE *to, const struct probed *p) {
    const struct probe_report *r = &p->report;
    char name[160];
    (void)fprintf(to, "<section class=\"overview probe\">\n<h2>Probe: %s</h2>\n<p>%s</p>\n",
                  probe_verdict_text(r->verdict), meaning(r->verdict));
    if (r->target >= 0 && r->verdict != PROBE_CLEAR) {
        const struct probe_class *c = &r->classes[r->target];
        (void)fputs("<p>Class ", to);
        put_escaped(to, probe_class_name(name, sizeof name, p->image, r->target));
        (void)fprintf(to, ": %.1f robust deviations from the others (limit %.1f)", (double)c->z,
                      (double)r->limit);
        if (r->n_pruned)
            (void)fprintf(to, ", %.1f after %d channels were pruned; drift of the answers %.3f",
                          (double)c->z_after, r->n_pruned, (double)r->drift);
        (void)fputs(".</p>\n", to);
        put_trigger(to, r);
    }
    put_curve(to, p);
    (void)fprintf(to, "<p class=legend>%d of %d classes covered in %u s of %u; seed %u.%s</p>\n</section>\n",
                  r->n_covered, r->n_classes, r->seconds, r->budget, r->seed,
                  r->cut ? " The budget was too short for all of it." : "");
}
