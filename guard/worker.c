/* The import worker, from start to end:
 *
 *   arguments -> sizes -> SANDBOX -> copy -> sidecar -> import -> CLP -> plan -> image -> report (sent)
 *                                     `-> digests (sent)        or: -> onnx_prune -> report (sent)
 *
 * Nothing of any file is read before the sandbox stands. A helper takes the digests beside the import (before
 * it, where somebody vouches for the file: worker_digest.h), and then its share of the image. Memory is given
 * back by ending. */
#include "guard/worker.h"

#include "config/sidecar.h"
#include "guard/clp.h"
#include "guard/helper.h"
#include "guard/import.h"
#include "guard/onnx_prune.h"
#include "guard/repair_list.h"
#include "guard/sandbox.h"
#include "guard/worker_digest.h"
#include "guard/worker_wire.h"
#include "infer/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READ_TOGETHER ((size_t)2 << 20) /* bytes: one large page */

struct file {
    int fd; /* -1: none */
    size_t size;
    const uint8_t *bytes;
};

struct work {
    struct file model, sidecar_file, external, repair, canary;
    int output, report_fd;
    const char *external_name, *label;
    bool prune, plain, gradient, bf16, guard_off, measure, sidecar_secret, vouched;
    float threshold;
    enum policy_statistic statistic;
    enum policy_sidecar sidecar_may;
    enum policy_probe probe;
    uint32_t seconds;
    uint64_t memory, max_output;

    struct helper *helper;
    struct worker_digest digest;
    struct sidecar sidecar;
    struct onnx_model *onnx;
    struct graph *graph;
    struct clp_result clp;
    struct report report;
    struct plan_metadata *meta; /* while the image is written */
    uint64_t written, plan_start;
};

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- arguments ------------------------------------------------------------------------- */

static bool parse_number(const char *text, uint64_t max, uint64_t *out) {
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || n > max) return false;
    *out = n;
    return true;
}

static bool parse_fd(const char *text, int *fd) {
    uint64_t n;
    if (!parse_number(text, SANDBOX_MAX_FD - 1, &n) || n < 3) return false;
    *fd = (int)n;
    return true;
}

enum {
    OPT_MODE = 1,
    OPT_THRESHOLD,
    OPT_STATISTIC,
    OPT_SIDECAR_MAY,
    OPT_PROBE,
    OPT_PRECISION,
    OPT_GUARD,
    OPT_DIGEST,
    OPT_MODEL,
    OPT_OUTPUT,
    OPT_REPORT,
    OPT_SIDECAR,
    OPT_QUOTES,
    OPT_EXTERNAL,
    OPT_EXTERNAL_NAME,
    OPT_REPAIR,
    OPT_CANARY,
    OPT_SECONDS,
    OPT_MEMORY,
    OPT_BYTES,
    OPT_NAME
};

static bool take_option(struct work *w, int option, const char *value) {
    uint64_t n;
    char *end;
    switch (option) {
    case OPT_MODE:
        w->prune = strcmp(value, "prune") == 0;
        w->plain = strcmp(value, "plain") == 0;
        w->gradient = strcmp(value, "gradient") == 0;
        return w->prune || w->plain || w->gradient || strcmp(value, "image") == 0;
    case OPT_THRESHOLD: w->threshold = strtof(value, &end); return end != value && !*end && w->threshold > 0;
    case OPT_STATISTIC:
        if (!parse_number(value, STATISTIC_COUNT - 1, &n)) return false;
        w->statistic = (enum policy_statistic)n;
        return true;
    case OPT_SIDECAR_MAY:
        if (!parse_number(value, SIDECAR_NOTHING, &n)) return false;
        w->sidecar_may = (enum policy_sidecar)n;
        return true;
    case OPT_PROBE:
        if (!parse_number(value, PROBE_BEFORE_SERVING, &n)) return false;
        w->probe = (enum policy_probe)n;
        return true;
    case OPT_PRECISION: w->bf16 = strcmp(value, "bf16") == 0; return w->bf16 || strcmp(value, "float32") == 0;
    case OPT_GUARD:
        w->guard_off = strcmp(value, "off") == 0;
        w->measure = strcmp(value, "measure") == 0;
        return w->guard_off || w->measure || strcmp(value, "on") == 0;
    case OPT_DIGEST:
        w->vouched = strcmp(value, "first") == 0;
        return w->vouched || strcmp(value, "beside") == 0;
    case OPT_MODEL: return parse_fd(value, &w->model.fd);
    case OPT_OUTPUT: return parse_fd(value, &w->output);
    case OPT_REPORT: return parse_fd(value, &w->report_fd);
    case OPT_SIDECAR: return parse_fd(value, &w->sidecar_file.fd);
    case OPT_QUOTES:
        w->sidecar_secret = strcmp(value, "off") == 0;
        return w->sidecar_secret || strcmp(value, "on") == 0;
    case OPT_EXTERNAL: return parse_fd(value, &w->external.fd);
    case OPT_REPAIR: return parse_fd(value, &w->repair.fd);
    case OPT_CANARY: return parse_fd(value, &w->canary.fd);
    case OPT_EXTERNAL_NAME: w->external_name = value; return true;
    case OPT_SECONDS:
        if (!parse_number(value, 1000000, &n) || n == 0) return false;
        w->seconds = (uint32_t)n;
        return true;
    case OPT_MEMORY: return parse_number(value, INT64_MAX, &w->memory) && w->memory > 0;
    case OPT_BYTES: return parse_number(value, INT64_MAX, &w->max_output) && w->max_output > 0;
    case OPT_NAME: w->label = value; return true;
    default: return false;
    }
}

static bool parse_arguments(struct work *w, int argc, char **argv) {
    static const struct option options[] = {{"mode", 1, NULL, OPT_MODE},
                                            {"threshold", 1, NULL, OPT_THRESHOLD},
                                            {"statistic", 1, NULL, OPT_STATISTIC},
                                            {"sidecar", 1, NULL, OPT_SIDECAR_MAY},
                                            {"probe", 1, NULL, OPT_PROBE},
                                            {"precision", 1, NULL, OPT_PRECISION},
                                            {"guard", 1, NULL, OPT_GUARD},
                                            {"digest", 1, NULL, OPT_DIGEST},
                                            {"model-fd", 1, NULL, OPT_MODEL},
                                            {"output-fd", 1, NULL, OPT_OUTPUT},
                                            {"report-fd", 1, NULL, OPT_REPORT},
                                            {"sidecar-fd", 1, NULL, OPT_SIDECAR},
                                            {"sidecar-quotes", 1, NULL, OPT_QUOTES},
                                            {"external-fd", 1, NULL, OPT_EXTERNAL},
                                            {"external-name", 1, NULL, OPT_EXTERNAL_NAME},
                                            {"repair-fd", 1, NULL, OPT_REPAIR},
                                            {"canary-fd", 1, NULL, OPT_CANARY},
                                            {"seconds", 1, NULL, OPT_SECONDS},
                                            {"memory", 1, NULL, OPT_MEMORY},
                                            {"output", 1, NULL, OPT_BYTES},
                                            {"name", 1, NULL, OPT_NAME},
                                            {0}};
    int option;
    *w = (struct work){.model.fd = -1,
                       .sidecar_file.fd = -1,
                       .external.fd = -1,
                       .repair.fd = -1,
                       .canary.fd = -1,
                       .output = -1,
                       .report_fd = -1,
                       .label = "model.onnx",
                       .threshold = 3};
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
        if (!take_option(w, option, optarg)) return false;
    return optind == argc && w->model.fd >= 0 && w->output >= 0 && w->report_fd >= 0 && w->seconds &&
           w->memory && w->max_output && (w->external.fd >= 0) == (w->external_name != NULL) &&
           !(w->guard_off && w->repair.fd >= 0);
}

/* --- files ----------------------------------------------------------------------------- */

/* Sizes are asked for before the sandbox, which has no fstat. */
static int measure(struct file *f, const char *what, struct err *e) {
    struct stat st;
    if (f->fd < 0) return 0;
    if (fstat(f->fd, &st) < 0) return err_set(e, ERR_SYSTEM, "%s: %s", what, strerror(errno));
    if (!S_ISREG(st.st_mode)) return err_set(e, ERR_UNSUPPORTED, "%s is not a regular file", what);
    f->size = (size_t)st.st_size;
    return 0;
}

struct reading { /* of a part of a file */
    int fd;
    uint8_t *to;
    size_t from, end;
    int error; /* errno; -1: it ends before */
};

static void read_part(void *arg) {
    struct reading *r = arg;
    while (r->from < r->end && !r->error) {
        const ssize_t n = pread(r->fd, r->to + r->from, r->end - r->from, (off_t)r->from);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) r->error = n < 0 ? errno : -1;
        if (n > 0) r->from += (size_t)n;
    }
}

/* By both threads where there is much: new pages and the copy into them take as long as the disk does. */
static int read_all(struct helper *h, int fd, uint8_t *to, size_t size) {
    const size_t half = size < READ_TOGETHER ? 0 : size / 2 / READ_TOGETHER * READ_TOGETHER;
    struct reading first = {.fd = fd, .to = to, .end = half},
                   second = {.fd = fd, .to = to, .from = half, .end = size};
    if (half) helper_begin(h, read_part, &first);
    read_part(&second);
    if (half) helper_await(h);
    return first.error ? first.error : second.error;
}

/* A copy of our own: whoever still has the file mapped for writing could change a view of it between the
 * digest, CLP's look at a weight and its way into the image, and no time of the file would tell. */
static int take_copy(struct helper *h, struct file *f, const char *what, struct err *e) {
    if (f->fd < 0 || f->size == 0) return 0;
    uint8_t *p = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return err_set(e, errno == ENOMEM ? ERR_LIMIT : ERR_SYSTEM,
                       "%s: no memory for its %zu bytes: %s; is guard.worker.memory too small?", what,
                       f->size, strerror(errno));
    (void)madvise(p, f->size, MADV_HUGEPAGE); /* a fault for 2 MiB instead of 512 */
    const int error = read_all(h, f->fd, p, f->size);
    if (error > 0) return err_set(e, ERR_SYSTEM, "%s: reading it: %s", what, strerror(error));
    if (error) return err_set(e, ERR_SYSTEM, "%s was cut: it changed while it was read", what);
    if (mprotect(p, f->size, PROT_READ) < 0) return err_set(e, ERR_SYSTEM, "mprotect: %s", strerror(errno));
    f->bytes = p;
    return 0;
}

static int open_files(struct work *w, struct err *e) {
    const uint64_t start = now_ns();
    struct helper *h = w->helper;
    if (take_copy(h, &w->model, "the model", e) < 0 ||
        take_copy(h, &w->sidecar_file, "its .yaml file", e) < 0 ||
        take_copy(h, &w->external, "its data file", e) < 0 ||
        take_copy(h, &w->repair, "the probe's list", e) < 0 || take_copy(h, &w->canary, "its samples", e) < 0)
        return -1;
    struct worker_digest *d = &w->digest;
    worker_digest_open(d, w->helper, w->report_fd);
    worker_digest_add(d, 0, w->model.bytes, w->model.size, d->digests.model);
    if (w->sidecar_file.fd >= 0)
        worker_digest_add(d, 1, w->sidecar_file.bytes, w->sidecar_file.size, d->digests.sidecar);
    if (w->external.fd >= 0)
        worker_digest_add(d, 2, w->external.bytes, w->external.size, d->digests.external);
    if (w->canary.fd >= 0) worker_digest_add(d, 3, w->canary.bytes, w->canary.size, d->digests.canary);
    worker_digest_begin(d, w->vouched);
    w->report.read_ns = now_ns() - start;
    return 0;
}

/* The line has to do. */
static void take_quotes_out(const char *name, struct err *e) {
    unsigned line = 0;
    const size_t n = strlen(name);
    if (strncmp(e->text, name, n) == 0 && e->text[n] == ':')
        line = (unsigned)strtoul(e->text + n + 1, NULL, 10);
    char where[24] = "";
    if (line) (void)snprintf(where, sizeof where, ":%u", line);
    (void)err_set(
        e, e->code,
        "%s%s: can't be used. It is a link out of the model's folder, so what stands there is not quoted; "
        "look with `clpctl scan` at a copy of both files",
        name, where);
}

static int read_sidecar(struct work *w, struct err *e) {
    char name[160];
    size_t stem = strlen(w->label);
    if (stem > 5 && strcmp(w->label + stem - 5, ".onnx") == 0) stem -= 5;
    (void)snprintf(name, sizeof name, "%.*s.yaml", (int)stem, w->label);
    if (w->sidecar_file.fd < 0) {
        sidecar_defaults(&w->sidecar);
        return 0;
    }
    static const uint8_t nothing[1];
    int rc = sidecar_parse(&w->sidecar, name, w->sidecar_file.bytes ? w->sidecar_file.bytes : nothing,
                           w->sidecar_file.size, e);
    if (rc < 0 && w->sidecar_secret) take_quotes_out(name, e);
    return rc;
}

static int check_probe_may(const struct work *w, struct err *e) {
    static const char *const words[] = {"off", "background", "before-serving"};
    const struct sidecar *s = &w->sidecar;
    if (!s->has_probe || w->sidecar_may == SIDECAR_ANYTHING) return 0;
    if (w->sidecar_may == SIDECAR_NOTHING)
        return err_set(e, ERR_VALUE,
                       "the .yaml file sets guard.probe, which guard.sidecar doesn't allow; put it under "
                       "guard.overrides in clpd's configuration");
    if (s->probe >= (uint32_t)w->probe) return 0;
    return err_set(e, ERR_VALUE,
                   "the .yaml file sets guard.probe to %s, and clpd's own is %s: it may only be stricter "
                   "(guard.sidecar); put it under guard.overrides in clpd's configuration",
                   words[s->probe], words[w->probe]);
}

/* It comes from where the model comes from: what it asks for is not what the operator wants. */
static int check_sidecar_may(const struct work *w, struct err *e) {
    const struct sidecar *s = &w->sidecar;
    if (check_probe_may(w, e) < 0) return -1;
    if (!s->has_threshold || w->sidecar_may == SIDECAR_ANYTHING) return 0;
    if (w->sidecar_may == SIDECAR_NOTHING)
        return err_set(e, ERR_VALUE,
                       "the .yaml file sets guard.threshold, which guard.sidecar doesn't allow; put it under "
                       "guard.overrides in clpd's configuration");
    if (s->threshold <= w->threshold) return 0;
    return err_set(e, ERR_VALUE,
                   "the .yaml file sets guard.threshold to %g, above clpd's own %g: it may only be stricter "
                   "(guard.sidecar); put it under guard.overrides in clpd's configuration",
                   (double)s->threshold, (double)w->threshold);
}

/* --- the work -------------------------------------------------------------------------- */

/* Classes: the last dimension of the first output that is not 1 ([1,1000,1,1] of SqueezeNet). */
static int64_t count_classes(const struct graph *g) {
    const struct shape *s = &g->values[g->outputs[0]].shape;
    for (int32_t d = s->rank - 1; d >= 0; d--)
        if (s->dim[d] != 1) return s->dim[d];
    return 1;
}

static int check_sidecar_fits(const struct work *w, struct err *e) {
    const struct sidecar *s = &w->sidecar;
    const struct shape *in = &w->graph->values[w->graph->inputs[0]].shape;
    uint32_t given = s->n_mean > 1 ? s->n_mean : s->n_std;
    int64_t classes = count_classes(w->graph);
    if (s->n_labels && s->n_labels != classes)
        return err_set(e, ERR_VALUE,
                       "the .yaml file has %u labels, but the network has %lld classes; give one label for "
                       "each",
                       s->n_labels, (long long)classes);
    if (given > 1 && (in->rank != 4 || in->dim[1] != given))
        return err_set(e, ERR_VALUE,
                       "the .yaml file has mean or std for %u channels, but the network takes %lld", given,
                       in->rank == 4 ? (long long)in->dim[1] : 0LL);
    return 0;
}

/* The name of the data file that the model asks for, if that is not what was handed in. */
static bool find_needed_file(const struct work *w, char name[SPAWN_NAME]) {
    struct onnx_model *m = NULL;
    struct err ignored;
    if (onnx_model_read(w->model.bytes, w->model.size, &m, &ignored) < 0) return false;
    bool found = false;
    for (int32_t i = 0; i < m->n_initializers && !found; i++) {
        struct onnx_tensor t;
        if (onnx_tensor_read(m, m->initializers[i].body, &t, &ignored) < 0) break;
        if (!t.is_external || t.location.n >= SPAWN_NAME) continue;
        memcpy(name, t.location.p, t.location.n);
        name[t.location.n] = 0;
        found = strlen(name) == t.location.n && worker_wire_name_is_bare(name) &&
                (!w->external_name || strcmp(name, w->external_name) != 0);
        break; /* one location for the whole file: the importer says so where there are more */
    }
    onnx_model_free(m);
    return found;
}

/* import_options' done, and a sink's. */
static void give_back(void *ctx, const void *at, size_t n) {
    struct work *w = ctx;
    worker_digest_give_back(&w->digest, at, n);
}

static int import(struct work *w, struct err *e) {
    uint64_t start = now_ns();
    const struct import_options o = {.external = w->external.bytes,
                                     .external_bytes = w->external.size,
                                     .external_name = w->external_name,
                                     .done = w->prune ? NULL : give_back,
                                     .ctx = w};
    if (w->model.size == 0) return err_set(e, ERR_TRUNCATED, "the file is empty");
    if (import_onnx(w->model.bytes, w->model.size, &o, &w->onnx, &w->graph, e) < 0) return -1;
    w->report.import_ns = now_ns() - start;
    return check_sidecar_fits(w, e);
}

static int repair(struct work *w, struct err *e) {
    uint64_t start = now_ns();
    const struct clp_options o = {.threshold = w->sidecar.has_threshold ? w->sidecar.threshold : w->threshold,
                                  .statistic = w->statistic,
                                  .measure = w->measure};
    if (w->guard_off) {
        w->report.threshold = o.threshold;
        w->report.statistic = o.statistic;
        w->report.verdict = VERDICT_GUARD_OFF;
    } else if (clp_apply(w->graph, &o, &w->report, &w->clp, e) < 0) {
        return -1;
    }
    w->report.clp_ns = now_ns() - start;
    w->report.probe = w->sidecar.has_probe ? 1 + w->sidecar.probe : 0;
    if (w->repair.fd < 0) return 0;
    if (w->measure) repair_list_instead(&w->report, &w->clp);
    return repair_list_apply(w->graph, w->repair.bytes, w->repair.size, &w->report, &w->clp, e);
}

static int no_room(size_t bytes, struct err *e) {
    return err_set(e, ERR_LIMIT,
                   "no room for %zu bytes of compiled model: %s; is guard.worker.memory too small?", bytes,
                   strerror(errno));
}

static int make_output(struct work *w, size_t bytes, struct err *e) {
    if (bytes == 0 || bytes > w->max_output)
        return err_set(e, ERR_LIMIT, "the compiled model takes %zu bytes, over guard.worker.output (%llu)",
                       bytes, (unsigned long long)w->max_output);
    return ftruncate(w->output, (off_t)bytes) < 0 ? no_room(bytes, e) : 0;
}

/* plan_sink's. Written, not mapped: a page that is written as a whole need be neither zeroed nor mapped
 * first. */
static int put_piece(void *ctx, uint64_t at, const void *bytes, size_t n, struct err *e) {
    const struct work *w = ctx;
    for (size_t done = 0; done < n;) {
        const ssize_t some = pwrite(w->output, (const uint8_t *)bytes + done, n - done, (off_t)(at + done));
        if (some < 0 && errno == EINTR) continue;
        if (some < 0) return no_room(n, e);
        done += (size_t)some;
    }
    return 0;
}

static void spread(void *ctx, void (*fn)(void *arg), void *arg) {
    struct work *w = ctx;
    if (helper_is_there(w->helper)) helper_begin(w->helper, fn, arg);
    fn(arg);
    helper_await(w->helper);
}

/* By now the digest is known, or nearly. The report has room for it already. */
static int fill_in_digest(void *ctx, struct err *e) {
    struct work *w = ctx;
    size_t n;
    if (worker_digest_await(&w->digest) < 0)
        return err_set(e, ERR_SYSTEM, "nobody listens to the import worker");
    w->report.plan_ns = now_ns() - w->plan_start;
    memcpy(w->report.source_sha256, w->digest.digests.model, sizeof w->report.source_sha256);
    memcpy(w->meta->source_sha256, w->digest.digests.model, sizeof w->meta->source_sha256);
    uint8_t *report = report_encode(&w->report, &n);
    if (!report || n != w->meta->report_bytes)
        return err_set(e, ERR_LIMIT, "out of memory for the report; raise guard.worker.memory");
    w->meta->report = report;
    return 0;
}

static int compile(struct work *w, struct err *e) {
    const struct sidecar *s = &w->sidecar;
    const struct plan_options options = {
        .isa = image_host_isa_for(w->bf16 && !w->gradient), .reference = w->plain, .keep = w->gradient};
    struct plan_metadata meta = {
        .labels = (const char *const *)s->labels,
        .n_labels = s->n_labels,
        .preprocess = {.scale = s->scale, .channel_order = s->bgr ? ORDER_BGR : ORDER_RGB}};
    memcpy(meta.preprocess.mean, s->mean, sizeof s->mean);
    memcpy(meta.preprocess.std, s->std, sizeof s->std);
    const struct plan_sink sink = {
        .put = put_piece, .done = give_back, .spread = spread, .last = fill_in_digest, .ctx = w};
    struct plan *plan = NULL;
    w->plan_start = now_ns();
    w->meta = &meta;
    if (plan_make(w->graph, &options, &plan, e) < 0) return -1;
    struct plan_sizes sizes;
    plan_measure(plan, &sizes);
    w->report.parameters = sizes.parameters;
    w->report.multiply_adds = sizes.multiply_adds;
    w->report.parameters_before = sizes.parameters_before;
    w->report.multiply_adds_before = sizes.multiply_adds_before;
    meta.report = report_encode(&w->report, &meta.report_bytes);
    if (!meta.report) return err_set(e, ERR_LIMIT, "out of memory for the report; raise guard.worker.memory");
    size_t bytes = plan_image_bytes(plan, &meta);
    if (make_output(w, bytes, e) < 0 || image_send(plan, &meta, &sink, e) < 0) return -1;
    w->report.plan_ns = now_ns() - w->plan_start;
    w->written = bytes;
    return 0;
}

/* splice_write_fn */
static int write_piece(void *ctx, const void *bytes, size_t n, struct err *e) {
    struct work *w = ctx;
    const char *p = bytes;
    if (n > w->max_output - w->written)
        return err_set(e, ERR_LIMIT, "the repaired file takes more than the %llu bytes allowed",
                       (unsigned long long)w->max_output);
    for (size_t left = n; left > 0;) {
        ssize_t done = write(w->output, p, left);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return err_set(e, ERR_SYSTEM, "writing the repaired file: %s", strerror(errno));
        p += done;
        left -= (size_t)done;
    }
    w->written += n;
    return 0;
}

static int write_repaired(struct work *w, struct err *e) {
    struct prune_notes notes = {.threshold = (double)w->report.threshold};
    struct prune_edit *edits = calloc((size_t)w->clp.n_edits + 1, sizeof *edits);
    if (!edits) return err_set(e, ERR_LIMIT, "out of memory; raise guard.worker.memory");
    for (int32_t i = 0; i < w->clp.n_edits; i++)
        edits[i] = (struct prune_edit){.conv = w->clp.edits[i].conv,
                                       .norm = w->clp.edits[i].norm,
                                       .channels = w->clp.edits[i].channels,
                                       .n = w->clp.edits[i].n};
    if (worker_digest_await(&w->digest) < 0)
        return err_set(e, ERR_SYSTEM, "nobody listens to the import worker");
    memcpy(notes.source_sha256, w->digest.digests.model, sizeof notes.source_sha256);
    memcpy(w->report.source_sha256, notes.source_sha256, sizeof notes.source_sha256);
    return onnx_prune(w->onnx, w->graph, edits, w->clp.n_edits, &notes, write_piece, w, e);
}

static int do_work(struct work *w, struct err *e) {
    if (read_sidecar(w, e) < 0 || check_sidecar_may(w, e) < 0 || import(w, e) < 0 || repair(w, e) < 0)
        return -1;
    return w->prune ? write_repaired(w, e) : compile(w, e);
}

/* --- the frame around it --------------------------------------------------------------- */

static void on_helper(void *ctx, void (*fn)(void *arg), void *arg) {
    helper_run(ctx, fn, arg);
}

static int enter_sandbox(struct work *w, char note[ERR_TEXT], struct err *e) {
    struct sandbox_options o = {.seconds = w->seconds, .memory = w->memory, .output = w->max_output};
    w->helper = helper_start();
    if (helper_is_there(w->helper)) o.elsewhere = on_helper, o.elsewhere_ctx = w->helper;
    const int keep[] = {w->model.fd,  w->sidecar_file.fd, w->external.fd, w->repair.fd,
                        w->canary.fd, w->output,          w->report_fd};
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
        if (keep[i] >= 0) o.keep |= UINT64_C(1) << keep[i];
    return sandbox_enter(&o, note, e);
}

_Noreturn static void end(int rc) {
    _exit(rc == 0 ? 0 : 3); /* 3: the spawner did not hear us out */
}

int worker_main(int argc, char **argv) {
    static struct work w;
    struct err e = {0};
    char note[ERR_TEXT] = "", needed[SPAWN_NAME];
    if (!parse_arguments(&w, argc, argv)) {
        (void)fprintf(stderr, "clp-guard worker is started by clp-guard and clpctl, not by hand\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_DFL); /* nobody listens: stop */
    if (measure(&w.model, "the model", &e) < 0 || measure(&w.sidecar_file, "its .yaml file", &e) < 0 ||
        measure(&w.external, "its data file", &e) < 0 || measure(&w.repair, "the probe's list", &e) < 0 ||
        measure(&w.canary, "its samples", &e) < 0 || enter_sandbox(&w, note, &e) < 0 ||
        open_files(&w, &e) < 0)
        end(worker_send_error(w.report_fd, &e));
    const int rc = do_work(&w, &e);
    if (worker_digest_await(&w.digest) < 0 || (note[0] && worker_send_note(w.report_fd, note) < 0)) end(-1);
    if (rc == 0) end(worker_send_done(w.report_fd, w.written, &w.report));
    if (e.code != ERR_TRUNCATED && !w.graph && find_needed_file(&w, needed))
        end(worker_send_needs(w.report_fd, needed));
    end(worker_send_error(w.report_fd, &e));
}
