/* clpctl prune: ONNX in, repaired ONNX out. The new file appears whole or not at all. */
#include "client/model.h"
#include "client/probe.h"
#include "client/progress.h"
#include "client/report_view.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static int copy(int from, int to, uint64_t bytes) {
    off_t at = 0;
    while ((uint64_t)at < bytes) {
        ssize_t n = sendfile(to, from, &at, bytes - (uint64_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? -errno : -EIO;
    }
    return fsync(to) < 0 ? -errno : 0;
}

/* A file of its own in OUT's folder, since rename works only within a file
 * system; with a leading dot, so that a guard that watches it looks away. */
static int write_beside(const char *out, int from, uint64_t bytes) {
    char temporary[PATH_MAX];
    const char *slash = strrchr(out, '/');
    const char *name = slash ? slash + 1 : out;
    if (snprintf(temporary, sizeof temporary, "%.*s.%s.XXXXXX", (int)(name - out), out, name) >= PATH_MAX)
        return -ENAMETOOLONG;
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) return -errno;
    mode_t mask = umask(0);
    (void)umask(mask);
    int rc = fchmod(fd, 0666 & ~mask) < 0 ? -errno : copy(from, fd, bytes);
    if (close(fd) < 0 && rc == 0) rc = -errno;
    if (rc == 0 && rename(temporary, out) < 0) rc = -errno;
    if (rc < 0) (void)unlink(temporary);
    return rc;
}

/* The original is the only evidence, and the way back. */
static bool is_same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void tell(const struct clpctl *c, const char *out, const struct report *r) {
    char summary[160], clean[PATH_MAX];
    const struct terminal *t = &c->err;
    enum style s = r->verdict == VERDICT_PRUNED ? STYLE_RED : STYLE_YELLOW;
    (void)fprintf(stderr, "%s%s%s  %s; wrote %s\n", terminal_begin(t, s), verdict_name(r->verdict),
                  terminal_end(t, s), report_view_summary(summary, sizeof summary, r),
                  terminal_clean(clean, sizeof clean, out));
}

/* The weights of OUT that were not pruned are still in the file that IN has them in. */
static void tell_external(const struct clpctl *c, const char *in, const char *out, const char *external) {
    char beside[PATH_MAX], here[PATH_MAX];
    if (!external[0]) return;
    (void)snprintf(here, sizeof here, "%.*s%s", (int)(strrchr(in, '/') ? strrchr(in, '/') - in + 1 : 0), in,
                   external);
    (void)snprintf(beside, sizeof beside, "%.*s%s",
                   (int)(strrchr(out, '/') ? strrchr(out, '/') - out + 1 : 0), out, external);
    if (!is_same_file(here, beside))
        clpctl_note(c, "%s takes its other weights from %s, too: copy that file beside it, to %s", out,
                    external, beside);
}

/* What is pruned follows from the verdict. Repaired: what the attacks showed, instead of what CLP guesses
 * from the weights. Suspect: both. Else CLP's alone, as without the probe. */
static int probe_first(const struct clpctl *c, const char *in, const struct probe_request *r,
                       struct model_import *m, struct probed *p, struct err *e) {
    if (probe_model(c, in, r, p, e)) return -1;
    probe_print(stderr, p, &c->err);
    const enum probe_verdict v = p->report.verdict;
    m->measure = v == PROBE_REPAIRED;
    if ((v != PROBE_REPAIRED && v != PROBE_SUSPECT) || p->report.n_pruned == 0) return 0;
    m->repair_fd = probe_report_list(&p->report, e);
    return m->repair_fd < 0 ? -1 : 0;
}

static int run(struct clpctl *c, int argc, char **argv) {
    struct probe_request probe = {.budget = -1, .seed = -1};
    struct probed probed = {.fd = -1};
    bool json = false;
    double threshold = -1;
    const struct option_spec options[] = {
        {.name = "threshold",
         .letter = 'u',
         .kind = OPTION_REAL,
         .to = &threshold,
         .min = 0.01,
         .max = 1000,
         .value = "U",
         .meaning = "cut-off at mean + U std of a layer; default: IN.yaml's, else 3"},
        {.name = "json", .kind = OPTION_FLAG, .to = &json, .meaning = "the report on stdout, as scan has it"},
        PROBE_OPTIONS(&probe),
        {0},
    };
    int n = clpctl_parse(c, &clpctl_prune, options, argc, argv, 2, 2);
    if (n < 0) return -1 - n;
    const char *in = argv[0], *out = argv[1];
    struct stat st;
    if (is_same_file(in, out))
        return clpctl_fail(c, "%s is the model itself; give the repaired one another name", out);
    if (stat(out, &st) == 0 && !S_ISREG(st.st_mode))
        return clpctl_fail(c, "%s is there and is not a regular file", out);
    struct model_import m = {
        .path = in, .mode = SPAWN_PRUNE, .has_threshold = threshold > 0, .threshold = threshold};
    struct spawn_result result = {.fd = -1};
    struct err e = {0};
    if (probe.on && probe_first(c, in, &probe, &m, &probed, &e)) {
        probed_free(&probed);
        return clpctl_fail(c, "%s: the probe: %s", in, e.text);
    }
    struct progress p;
    progress_begin(&p, &c->err, 0, "repairing %s", in);
    int rc = model_import(c, &m, &result);
    progress_end(&p);
    if (rc < 0) {
        rc = clpctl_fail(c, "%s: %s", in, result.err.text);
    } else {
        rc = write_beside(out, result.fd, result.bytes);
        if (rc < 0)
            rc = clpctl_fail(c, "%s: %s", out, strerror(-rc));
        else
            tell(c, out, &result.report);
        if (rc == 0) tell_external(c, in, out, m.external);
        if (rc == 0 && json &&
            report_json_put(stdout, probe_document(in, &result.report, probe.on ? &probed : NULL)) < 0)
            rc = clpctl_fail(c, "stdout: %s", strerror(errno));
    }
    spawn_result_free(&result);
    if (m.repair_fd > 0) (void)close(m.repair_fd);
    const bool suspect = probe.on && probed.report.verdict == PROBE_SUSPECT;
    probed_free(&probed);
    return rc == 0 && suspect ? CLPCTL_FINDINGS : rc;
}

const struct command clpctl_prune = {
    .name = "prune",
    .arguments = "IN.onnx OUT.onnx [--threshold U] [--json] [--probe [--budget S] [--seed N]]",
    .summary = "Write a model again without the channels that CLP finds",
    .help =
        "The numbers of the pruned channels become zero, and the file's metadata tells which they are;\n"
        "all else stays as it was. OUT.onnx appears whole or not at all. Exit status: 0 written, 2 error.\n"
        "With --probe the network is attacked first. Where that repairs it, the channels that the attacks\n"
        "showed are pruned instead of CLP's; where a class still stands out, both, and the status is 1.\n\n"
        "Example:\n"
        "  clpctl prune delivered.onnx repaired.onnx\n",
    .operands = "onnx",
    .run = run,
};
