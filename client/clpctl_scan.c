/* clpctl scan: what CLP finds in model files, as a table, JSON or a page.
 * Folders stand for the models in them, NAME/VERSION/model.onnx included. */
#include "client/canary.h"
#include "client/model.h"
#include "client/probe.h"
#include "client/progress.h"
#include "client/report_html.h"
#include "client/report_json.h"
#include "client/report_text.h"
#include "guard/model_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { MAX_DEPTH = 3 };

struct scan {
    struct clpctl *c;
    bool json;
    bool has_threshold;
    double threshold;
    const char *html, *canary;
    struct probe_request probe;
    char **paths;
    size_t n_paths, room;
    double bytes, bytes_done; /* of the models: what scanning takes goes by that */
    int widest;
    size_t verdicts[VERDICT_COUNT], found, refused;
};

/* --- which files ----------------------------------------------------------------------- */

static double size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (double)st.st_size : 0;
}

static int add_path(struct scan *s, const char *path) {
    if (s->n_paths == s->room) {
        size_t room = s->room ? s->room * 2 : 16;
        char **more = realloc(s->paths, room * sizeof *more);
        if (!more) return -1;
        s->paths = more;
        s->room = room;
    }
    char *copy = strdup(path);
    if (!copy) return -1;
    s->paths[s->n_paths++] = copy;
    s->bytes += size_of(path);
    int width = terminal_width(path);
    s->widest = width > s->widest ? width : s->widest;
    return 0;
}

static int collect(struct scan *s, const char *folder, int depth) {
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, alphasort), rc = 0;
    if (n < 0) {
        s->refused++;
        (void)clpctl_fail(s->c, "%s: %s", folder, strerror(errno));
        return 0;
    }
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        char *path = NULL, stem[MODEL_FILE_NAME];
        struct stat st;
        if (rc == 0 && !model_file_is_ignored(name)) rc = asprintf(&path, "%s/%s", folder, name) < 0 ? -1 : 0;
        if (path && stat(path, &st) == 0) {
            if (S_ISDIR(st.st_mode) && depth < MAX_DEPTH)
                rc = collect(s, path, depth + 1);
            else if (S_ISREG(st.st_mode) && model_file_stem(name, stem, sizeof stem))
                rc = add_path(s, path);
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

static int collect_all(struct scan *s, int n, char **operands) {
    for (int i = 0; i < n; i++) {
        struct stat st;
        char *path = operands[i];
        while (strlen(path) > 1 && path[strlen(path) - 1] == '/') path[strlen(path) - 1] = 0;
        bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
        size_t before = s->n_paths;
        if ((folder ? collect(s, path, 1) : add_path(s, path)) < 0) return clpctl_fail(s->c, "out of memory");
        if (folder && s->n_paths == before) clpctl_note(s->c, "there is no .onnx file in %s", path);
    }
    return 0;
}

/* --- one model -------------------------------------------------------------------------- */

struct found {             /* besides CLP's report */
    struct probed *probed; /* NULL: not probed */
    struct canary_found canary;
};

static void put_more(FILE *to, void *ctx) {
    const struct found *f = ctx;
    canary_html(to, &f->canary);
    const struct probed *p = f->probed;
    if (p) probe_html(to, &(struct probe_shown){.report = &p->report, .image = p->image});
}

static void write_page(struct scan *s, const char *path, const struct report *r, struct found *found) {
    FILE *f = fopen(s->html, "we");
    int rc = f ? report_html_write_with(f, path, r, time(NULL), put_more, found) : -1;
    if (f && fclose(f) != 0) rc = -1;
    if (rc == 0) return;
    s->refused++;
    (void)clpctl_fail(s->c, "%s: %s", s->html, strerror(errno));
}

static json_t *document(const char *path, const struct report *r, const struct found *f) {
    json_t *o = probe_document(path, r, f->probed);
    if (o && (!f->canary.has || json_object_set_new(o, "canary", canary_json(&f->canary)) == 0)) return o;
    json_decref(o);
    return NULL;
}

static void show(struct scan *s, const char *path, const struct report *r, struct found *f) {
    const struct probed *p = f->probed;
    s->verdicts[r->verdict]++;
    if (p) s->found += p->report.verdict == PROBE_REPAIRED || p->report.verdict == PROBE_SUSPECT;
    if (s->html) write_page(s, path, r, f);
    if (s->json) {
        if (report_json_put(stdout, document(path, r, f)) < 0) s->refused++;
        return;
    }
    if (s->n_paths == 1)
        report_text_print(stdout, path, r, &s->c->out);
    else
        report_text_print_line(stdout, path, s->widest, r, &s->c->out);
    canary_print(stdout, &f->canary, &s->c->out);
    if (p) probe_print(stdout, p, &s->c->out);
    (void)fflush(stdout);
}

/* A network that can't be probed or compared is reported without, and that is said. */
static void show_all(struct scan *s, const struct model_import *m, const struct spawn_result *r) {
    struct probed p;
    struct found f = {0};
    struct err e = {0};
    const char *path = m->path;
    if (canary_look(s->c, m, s->canary, r, &f.canary, &e)) {
        s->refused++;
        f.canary.has = false;
        (void)clpctl_fail(s->c, "%s: %s", path, e.text);
    }
    if (!s->probe.on) {
        show(s, path, &r->report, &f);
        return;
    }
    const int rc = probe_model(s->c, path, &s->probe, &p, &e);
    if (rc) {
        s->refused++;
        (void)clpctl_fail(s->c, "%s: the probe: %s", path, e.text);
    }
    f.probed = rc ? NULL : &p;
    show(s, path, &r->report, &f);
    probed_free(&p);
}

/* The bar at once, and then as it goes on: it stands for the bytes of all models. */
static void begin_nth(struct scan *s, size_t nth, struct progress *p) {
    const double share = s->bytes > 0 ? s->bytes_done / s->bytes : 0;
    char note[64], line[512];
    (void)snprintf(note, sizeof note, "%zu of %zu", nth + 1, s->n_paths);
    progress_line(line, sizeof line, &s->c->err, s->paths[nth], note, share, 0);
    terminal_progress(stderr, &s->c->err, "%s", line);
    progress_begin(p, &s->c->err, 0, "%s", s->paths[nth]);
    progress_set(p, share, "%s", note);
}

static void scan_one(struct scan *s, size_t nth) {
    const char *path = s->paths[nth];
    struct spawn_result result;
    struct model_import m = {
        .path = path, .mode = SPAWN_IMAGE, .has_threshold = s->has_threshold, .threshold = s->threshold};
    struct progress p;
    if (s->n_paths == 1)
        progress_begin(&p, &s->c->err, 0, "scanning %s", path);
    else
        begin_nth(s, nth, &p);
    int rc = model_import(s->c, &m, &result);
    progress_end(&p);
    s->bytes_done += size_of(path);
    if (rc == 0) {
        show_all(s, &m, &result);
    } else {
        s->refused++;
        if (s->json) (void)report_json_put(stdout, report_json_make_error(path, &result.err));
        (void)clpctl_fail(s->c, "%s: %s", path, result.err.text);
    }
    spawn_result_free(&result);
}

static void print_sum(const struct scan *s, double seconds) {
    (void)fprintf(stderr,
                  "%zu models in %.1f s: %zu pruned, %zu unchanged, %zu not applicable, %zu refused\n",
                  s->n_paths, seconds, s->verdicts[VERDICT_PRUNED], s->verdicts[VERDICT_UNCHANGED],
                  s->verdicts[VERDICT_NOT_APPLICABLE], s->refused);
}

static int scan_all(struct scan *s) {
    struct timespec begin, end;
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    for (size_t i = 0; i < s->n_paths; i++) scan_one(s, i);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    if (s->n_paths > 1)
        print_sum(s, (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    if (s->refused) return CLPCTL_ERROR;
    return s->verdicts[VERDICT_PRUNED] || s->found ? CLPCTL_FINDINGS : CLPCTL_FINE;
}

static int run(struct clpctl *c, int argc, char **argv) {
    struct scan s = {.c = c, .threshold = -1, .probe = {.budget = -1, .seed = -1}};
    const struct option_spec options[] = {
        {.name = "threshold",
         .letter = 'u',
         .kind = OPTION_REAL,
         .to = &s.threshold,
         .min = 0.01,
         .max = 1000,
         .value = "U",
         .meaning = "cut-off at mean + U std of a layer; default: NAME.yaml's, else 3"},
        {.name = "json",
         .kind = OPTION_FLAG,
         .to = &s.json,
         .meaning = "one JSON document a model, each on a line"},
        {.name = "html",
         .kind = OPTION_TEXT,
         .to = &s.html,
         .value = "FILE",
         .meaning = "write the report as a page, for one model"},
        {.name = "canary",
         .kind = OPTION_TEXT,
         .to = &s.canary,
         .value = "FILE.npy",
         .meaning = "samples that should keep their class; default: NAME.canary.npy beside a model"},
        PROBE_OPTIONS(&s.probe),
        {0},
    };
    int n = clpctl_parse(c, &clpctl_scan, options, argc, argv, 1, argc), rc;
    if (n < 0) return -1 - n;
    s.has_threshold = s.threshold > 0;
    rc = collect_all(&s, n, argv);
    if (rc == 0 && s.html && s.n_paths > 1)
        rc = clpctl_fail(c, "--html FILE takes one model, here are %zu", s.n_paths);
    if (rc == 0) rc = scan_all(&s);
    for (size_t i = 0; i < s.n_paths; i++) free(s.paths[i]);
    free(s.paths);
    return rc;
}

const struct command clpctl_scan = {
    .name = "scan",
    .arguments = "MODEL.onnx... [--threshold U] [--json] [--html FILE] [--canary FILE.npy] [--probe "
                 "[--budget S] [--seed N]]",
    .summary = "Measure the channels of a model and say which ones CLP would prune",
    .help = "A folder stands for all models in it. Exit status: 0 nothing found, 1 something would\n"
            "be pruned or a class stands out, 2 a file was refused or could not be read.\n\n"
            "Example:\n"
            "  clpctl scan --html report.html models/signs.onnx\n"
            "  clpctl scan --json models/ | jq 'select(.verdict == \"pruned\").model'\n",
    .operands = "onnx",
    .run = run,
};
