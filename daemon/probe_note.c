/* A copy of what the descriptor holds, so that nobody can change it after the check. */
#include "daemon/probe_note.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_report(struct probe_note *n, int fd, struct err *e) {
    struct probe_report r;
    size_t have = 0;
    while (have < n->bytes) {
        const ssize_t got = pread(fd, n->report + have, n->bytes - have, (off_t)have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return err_set(e, ERR_SYSTEM, "the probe's report can't be read");
        have += (size_t)got;
    }
    if (probe_report_decode(n->report, n->bytes, &r, e)) return -1;
    probe_report_free(&r);
    return 0;
}

struct probe_note *probe_note_new(const struct link_message *m, int fd, struct err *e) {
    struct stat st = {0};
    if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_size <= 0 || (uint64_t)st.st_size > PROBE_REPORT_MAX_BYTES)) {
        (void)err_set(e, ERR_FORMAT, "the probe's report has an impossible size");
        return NULL;
    }
    struct probe_note *n = malloc(sizeof *n + (size_t)st.st_size);
    if (!n) {
        (void)err_set(e, ERR_SYSTEM, "no memory for the probe's report");
        return NULL;
    }
    atomic_init(&n->references, 1);
    n->facts = *m;
    n->bytes = (size_t)st.st_size;
    if (fd < 0 || read_report(n, fd, e) == 0) return n;
    free(n);
    return NULL;
}

void probe_note_get(struct probe_note *n) {
    (void)atomic_fetch_add_explicit(&n->references, 1, memory_order_relaxed);
}

void probe_note_put(struct probe_note *n) {
    if (n && atomic_fetch_sub_explicit(&n->references, 1, memory_order_acq_rel) == 1) free(n);
}

const char *probe_stage_name(uint32_t stage) {
    static const char *const names[PROBE_STAGES] = {"none", "waiting", "running", "known", "failed"};
    return stage < PROBE_STAGES ? names[stage] : "none";
}
