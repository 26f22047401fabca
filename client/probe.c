/* Runs the probe for clpctl, and tells people and scripts what it found. */
#include "client/probe.h"

#include "client/model.h"
#include "client/progress.h"
#include "client/report_json.h"
#include "guard/spawn_probe.h"

#include <string.h>
#include <unistd.h>

#define MEMORY ((uint64_t)1 << 30) /* for activations */

static void show_progress(void *ctx, float done, const char *what) {
    char clean[128];
    progress_set(ctx, (double)done, "%s", terminal_clean(clean, sizeof clean, what));
}

int probe_model(const struct clpctl *c, const char *path, const struct probe_request *r, struct probed *out,
                struct err *e) {
    struct model_import m = {.path = path, .mode = SPAWN_GRADIENT, .guard_off = true};
    struct progress p;
    struct spawn_result result;
    char note[ERR_TEXT];
    *out = (struct probed){.fd = -1};
    progress_begin(&p, &c->err, 0, "probing %s", path);
    int rc = model_import(c, &m, &result);
    if (rc < 0) {
        *e = result.err;
    } else {
        const struct spawn_probe s = {.image_fd = result.fd,
                                      .seconds = (uint32_t)(r->budget > 0 ? r->budget : PROBE_DEFAULT_BUDGET),
                                      .seed = (uint32_t)(r->seed > 0 ? r->seed : 0),
                                      .memory = MEMORY,
                                      .progress = show_progress,
                                      .ctx = &p};
        rc = spawn_probe_run(&s, &out->report, note, e);
        if (note[0]) clpctl_note(c, "%s: %s", path, note);
    }
    progress_end(&p);
    if (rc == 0) rc = image_map(result.fd, true, &out->image, e);
    if (rc == 0 && out->report.target >= 0 && out->report.n_classes == 0)
        rc = err_set(e, ERR_FORMAT, "the probe's report is damaged");
    spawn_result_free(&result);
    return rc < 0 ? -1 : 0;
}

void probed_free(struct probed *p) {
    image_unmap(p->image);
    probe_report_free(&p->report);
    *p = (struct probed){.fd = -1};
}

/* --- for the terminal --------------------------------------------------------------------------- */

static enum style style_of(enum probe_verdict v) {
    static const enum style styles[] = {[PROBE_CLEAR] = STYLE_GREEN,
                                        [PROBE_REPAIRED] = STYLE_YELLOW,
                                        [PROBE_SUSPECT] = STYLE_RED,
                                        [PROBE_UNKNOWN] = STYLE_YELLOW};
    return styles[v];
}

static void print_target(FILE *to, const struct probed *p) {
    const struct probe_report *r = &p->report;
    char name[160];
    const struct probe_class *c = &r->classes[r->target];
    (void)fprintf(
        to, "  class %s stands out by %.1f deviations (limit %.1f): a patch of %.0f pixels reaches it\n",
        probe_class_name(name, sizeof name, p->image, r->target), (double)c->z, (double)r->limit,
        (double)c->patch);
    if (r->n_pruned)
        (void)fprintf(to,
                      "  %d channels pruned in %u rounds: deviations %.1f -> %.1f, patch %.0f -> %.0f "
                      "pixels, drift %.3f\n",
                      r->n_pruned, r->rounds, (double)c->z, (double)c->z_after, (double)c->patch,
                      (double)c->patch_after, (double)r->drift);
}

void probe_print(FILE *to, const struct probed *p, const struct terminal *t) {
    const struct probe_report *r = &p->report;
    const enum style s = style_of(r->verdict);
    (void)fprintf(to, "probe: %s%s%s, %d of %d classes covered in %u s%s\n", terminal_begin(t, s),
                  probe_verdict_text(r->verdict), terminal_end(t, s), r->n_covered, r->n_classes, r->seconds,
                  r->cut ? "; the budget was too short for all of it" : "");
    if (r->target >= 0 && r->verdict != PROBE_CLEAR) print_target(to, p);
    if (r->target < 0 && (r->verdict == PROBE_REPAIRED || r->verdict == PROBE_SUSPECT))
        (void)fprintf(to, "  no class stands out, but a place does: a pattern there sends pictures away from "
                          "their classes\n");
}

/* --- for scripts --------------------------------------------------------------------------------- */

static json_t *classes_json(const struct probe_report *r) {
    json_t *a = json_array();
    for (int32_t k = 0; a && k < r->n_classes; k++) {
        const struct probe_class *c = &r->classes[k];
        if (!c->covered) continue;
        json_t *o = json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "class", k, "patch",
                              report_json_float(c->patch), "additive", report_json_float(c->additive), "wave",
                              report_json_float(c->wave), "window", report_json_float(c->window), "area",
                              report_json_float(c->area), "z", report_json_float(c->z), "patch_after",
                              report_json_float(c->patch_after), "z_after", report_json_float(c->z_after));
        if (!o || json_array_append_new(a, o)) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

static json_t *pruned_json(const struct probe_report *r) {
    json_t *a = json_array();
    for (int32_t i = 0; a && i < r->n_pruned; i++)
        if (json_array_append_new(a, json_pack("{s:o, s:i}", "layer", report_json_string(r->pruned[i].step),
                                               "channel", r->pruned[i].channel))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

json_t *probe_json(const struct probed *p) {
    const struct probe_report *r = &p->report;
    return json_pack("{s:s, s:i, s:o, s:i, s:i, s:o, s:o, s:o, s:i, s:i, s:i, s:b, s:i, s:i, s:o, s:o}",
                     "verdict", probe_verdict_name(r->verdict), "target", (int)r->target, "limit",
                     report_json_float(r->limit), "rounds", (int)r->rounds, "ways", (int)r->ways, "success",
                     report_json_float(r->success), "success_after", report_json_float(r->success_after),
                     "drift", report_json_float(r->drift), "seed", (int)r->seed, "seconds", (int)r->seconds,
                     "budget", (int)r->budget, "cut", (int)r->cut, "classes_covered", (int)r->n_covered,
                     "classes_total", (int)r->n_classes, "pruned", pruned_json(r), "classes",
                     classes_json(r));
}

json_t *probe_document(const char *path, const struct report *r, const struct probed *p) {
    json_t *o = report_json_make(path, r);
    if (!o || !p || json_object_set_new(o, "probe", probe_json(p)) == 0) return o;
    json_decref(o);
    return NULL;
}
