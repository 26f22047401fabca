/* Two networks of one model and a file of samples. See canary.h. */
#include "client/canary.h"

#include "guard/model_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES ((off_t)256 << 20) /* as in the daemon */

/* NAME.canary.npy beside the model, where it is there. */
static bool find_samples(const char *model, char path[PATH_MAX]) {
    const char *slash = strrchr(model, '/'), *name = slash ? slash + 1 : model;
    char canary[MODEL_FILE_NAME];
    struct stat st;
    model_file_canary_name(name, canary);
    const int n = snprintf(path, PATH_MAX, "%.*s%s", (int)(name - model), model, canary);
    return canary[0] && n < PATH_MAX && stat(path, &st) == 0;
}

static int read_samples(const char *path, uint8_t **bytes, size_t *size, struct err *e) {
    FILE *f = fopen(path, "re");
    struct stat st;
    *bytes = NULL;
    if (!f || fstat(fileno(f), &st) < 0) {
        (void)err_set(e, ERR_SYSTEM, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode) || st.st_size < 1 || st.st_size > MOST_BYTES) {
        (void)err_set(e, ERR_LIMIT, "%s: samples are a file of 1 to %lld bytes", path, (long long)MOST_BYTES);
    } else {
        *size = (size_t)st.st_size;
        *bytes = malloc(*size);
        if (*bytes && fread(*bytes, 1, *size, f) != *size) {
            free(*bytes);
            *bytes = NULL;
        }
        if (!*bytes) (void)err_set(e, ERR_SYSTEM, "%s: it can't be read", path);
    }
    if (f) (void)fclose(f);
    return *bytes ? 0 : -1;
}

static int compare(const struct clpctl *c, struct model_import m, const struct spawn_result *repaired,
                   const uint8_t *bytes, size_t size, struct canary_found *out, struct err *e) {
    struct spawn_result came = {.fd = -1};
    struct image *before = NULL, *after = NULL;
    m.guard_off = true;
    int rc = model_import(c, &m, &came);
    if (rc < 0) *e = came.err;
    if (rc == 0 && memcmp(came.digests.model, repaired->digests.model, sizeof came.digests.model) != 0)
        rc = err_set(e, ERR_SYSTEM, "the model changed while it was compared");
    if (rc == 0) rc = image_map(came.fd, true, &before, e);
    if (rc == 0) rc = image_map(repaired->fd, true, &after, e);
    if (rc == 0) rc = agree_measure(before, after, bytes, size, &out->agree, e);
    image_unmap(before);
    image_unmap(after);
    spawn_result_free(&came);
    return rc;
}

int canary_look(const struct clpctl *c, const struct model_import *m, const char *samples,
                const struct spawn_result *repaired, struct canary_found *out, struct err *e) {
    uint8_t *bytes;
    size_t size;
    *out = (struct canary_found){0};
    out->has =
        samples ? snprintf(out->file, sizeof out->file, "%s", samples) > 0 : find_samples(m->path, out->file);
    if (!out->has) return 0;
    out->equal = repaired->report.pruned_channels == 0;
    if (out->equal) return 0;
    if (read_samples(out->file, &bytes, &size, e)) return -1;
    const int rc = compare(c, *m, repaired, bytes, size, out, e);
    free(bytes);
    return rc ? err_prefix(e, "%s", out->file) : 0;
}

/* --- for people and scripts ----------------------------------------------------------------- */

void canary_print(FILE *to, const struct canary_found *f, const struct terminal *t) {
    const struct agree *a = &f->agree;
    if (!f->has) return;
    if (f->equal) {
        (void)fprintf(to, "canary: nothing was pruned, so no sample can change\n");
        return;
    }
    const enum style s = a->agreed == a->samples ? STYLE_GREEN : STYLE_YELLOW;
    (void)fprintf(to, "canary: %s%u of %u samples keep their class%s", terminal_begin(t, s), a->agreed,
                  a->samples, terminal_end(t, s));
    for (uint32_t i = 0; i < a->n_flips; i++)
        (void)fprintf(to, "%s%u: %u to %u", i ? ", " : "; sample ", a->flips[i].sample, a->flips[i].before,
                      a->flips[i].after);
    (void)fprintf(to, "%s\n", a->samples - a->agreed > a->n_flips ? ", ..." : "");
}

json_t *canary_json(const struct canary_found *f) {
    const struct agree *a = &f->agree;
    if (!f->has || f->equal) return json_null();
    json_t *flips = json_array();
    for (uint32_t i = 0; i < a->n_flips && flips; i++)
        if (json_array_append_new(flips,
                                  json_pack("{s:i, s:i, s:i}", "sample", (int)a->flips[i].sample, "before",
                                            (int)a->flips[i].before, "after", (int)a->flips[i].after))) {
            json_decref(flips);
            flips = NULL;
        }
    return json_pack("{s:i, s:i, s:o}", "samples", (int)a->samples, "agreed", (int)a->agreed, "flips", flips);
}

void canary_html(FILE *to, const struct canary_found *f) {
    const struct agree *a = &f->agree;
    if (!f->has || f->equal) return;
    (void)fprintf(to,
                  "<section class=overview>\n<h2>Samples</h2>\n<p>%u of %u samples that lay beside the model "
                  "keep their "
                  "class when it is repaired.</p>\n",
                  a->agreed, a->samples);
    if (a->n_flips) (void)fputs("<ul class=chips aria-label=\"samples that change\">", to);
    for (uint32_t i = 0; i < a->n_flips; i++)
        (void)fprintf(to, "<li>%u <small>class %u to %u</small></li>", a->flips[i].sample, a->flips[i].before,
                      a->flips[i].after);
    if (a->n_flips) (void)fputs("</ul>\n", to);
    (void)fputs("</section>\n", to);
}
