/* Opening a model and what lies beside it, importing, mapping. */
#include "client/model.h"
#include "client/progress.h"
#include "guard/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "a/b.onnx" to the folder "a", opened, and the name "b.onnx" in it. */
static int open_folder(const char *path, const char **name, struct err *e) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    int n = snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + (slash == path) : 1,
                     slash ? path : ".");
    if (n >= (int)sizeof folder || !**name || strlen(*name) >= MODEL_FILE_NAME)
        return err_set(e, ERR_VALUE, "%s is not the name of a file", path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_set(e, ERR_SYSTEM, "%s: %s", folder, strerror(errno));
    return fd;
}

static int run_worker(const struct model_import *m, const char *guard, const char *name,
                      const struct model_files *files, struct spawn_result *out) {
    struct spawn_request r;
    spawn_defaults(&r);
    r.guard_path = guard;
    r.mode = m->mode;
    r.guard_off = m->guard_off;
    r.bf16 = m->bf16;
    r.measure = m->measure;
    r.threshold = (float)(m->has_threshold ? m->threshold : MODEL_DEFAULT_THRESHOLD);
    r.model_fd = files->model_fd;
    r.sidecar_fd = m->has_threshold ? -1 : files->sidecar_fd;
    r.external_fd = files->external_fd;
    r.external_name = files->external_name;
    r.repair_fd = m->repair_fd > 0 ? m->repair_fd : -1;
    r.label = name;
    return spawn_run(&r, out);
}

static int import(struct model_import *m, const char *name, int folder, const char *guard,
                  struct spawn_result *out) {
    char external[MODEL_FILE_NAME] = "";
    for (int attempt = 0;; attempt++) {
        struct model_files files;
        struct err e = {0};
        if (model_file_open(folder, name, external, 0, &files, &e) < 0) {
            *out = (struct spawn_result){.fd = -1, .err = e};
            return -1;
        }
        int rc = run_worker(m, guard, name, &files, out);
        (void)snprintf(m->external, sizeof m->external, "%s", rc == 0 ? files.external_name : "");
        model_file_close(&files);
        /* The worker knows only now which file its weights are in: once more, with that one. */
        if (rc == 0 || !out->needs[0] || attempt > 0 || strcmp(out->needs, external) == 0) return rc;
        (void)snprintf(external, sizeof external, "%s", out->needs);
        spawn_result_free(out);
    }
}

/* Callers put the path in front. */
static void drop_name(struct err *e, const char *name) {
    size_t n = strlen(name);
    if (strncmp(e->text, name, n) == 0 && e->text[n] == ':' && e->text[n + 1] == ' ')
        memmove(e->text, e->text + n + 2, strlen(e->text + n + 2) + 1);
}

int model_import(const struct clpctl *c, struct model_import *m, struct spawn_result *out) {
    char guard[PATH_MAX];
    const char *name;
    struct err e = {0};
    *out = (struct spawn_result){.fd = -1};
    int folder = open_folder(m->path, &name, &e);
    if (folder < 0 || spawn_find_guard(guard, &e) < 0) {
        out->err = e;
        if (folder >= 0) (void)close(folder);
        return -1;
    }
    int rc = import(m, name, folder, guard, out);
    (void)close(folder);
    if (rc < 0) drop_name(&out->err, name);
    for (int i = 0; i < SPAWN_NOTES && out->notes[i][0]; i++) clpctl_note(c, "%s: %s", name, out->notes[i]);
    return rc;
}

int model_load(const struct clpctl *c, const struct model_import *wanted, struct model *out) {
    struct model_import m = *wanted;
    const char *path = m.path;
    struct err e = {0};
    *out = (struct model){.result.fd = -1};
    struct progress p;
    progress_begin(&p, &c->err, 0, "importing %s", path);
    int rc = model_import(c, &m, &out->result);
    progress_end(&p);
    if (rc < 0)
        e = out->result.err;
    else
        rc = image_map(out->result.fd, true, &out->image, &e);
    if (rc == 0) return 0;
    (void)clpctl_fail(c, "%s: %s", path, e.text);
    model_free(out);
    return -1;
}

bool model_precision(const struct clpctl *c, const char *text, struct model_import *m) {
    m->bf16 = strcmp(text, "bf16") == 0;
    if (!m->bf16 && strcmp(text, "float32") != 0) {
        (void)clpctl_fail(c, "--precision is float32 or bf16, not \"%s\"", text);
        return false;
    }
    if (m->bf16 && !image_isa_runs_here(ISA_AVX512_BF16))
        clpctl_note(c, "this CPU has no AVX512-BF16: computing in float32");
    else if (m->bf16 && !image_bf16_pays())
        clpctl_note(c, "this CPU multiplies bfloat16 slower than float32: clpd would compute in float32");
    return true;
}

void model_free(struct model *m) {
    image_unmap(m->image);
    m->image = NULL;
    spawn_result_free(&m->result);
}
