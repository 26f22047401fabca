/* A probe that misbehaves as the file "how" beside it says: what a hostile image could make of the real one,
 * or a worse one that never entered its sandbox. A test program: it stands in the place of clp-probe. */
#include "guard/probe_wire.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REPORT = 4, CLASSES = 8, FILTERS = 12 }; /* as spawn_probe.c gives it; of tests/e2e/backdoor.py */

static volatile int zero;

static void report(enum probe_verdict v, int32_t n_pruned, const char *layer, int32_t classes) {
    static struct probe_class list[CLASSES];
    static struct probe_pruned pruned[FILTERS];
    struct probe_report r = {.verdict = v,
                             .limit = 3.5f,
                             .n_classes = classes,
                             .n_covered = classes,
                             .classes = list,
                             .target = classes ? 0 : -1,
                             .n_pruned = n_pruned,
                             .pruned = pruned};
    for (int k = 0; k < classes; k++)
        list[k] = (struct probe_class){.covered = true, .patch = 9, .z = k ? 0 : 5};
    for (int k = 0; k < n_pruned; k++) {
        (void)snprintf(pruned[k].step, sizeof pruned[k].step, "%s", layer);
        pruned[k].channel = k;
    }
    (void)probe_send_done(REPORT, &r);
}

static void say(const char *text) {
    struct err e = {.code = ERR_VALUE};
    (void)snprintf(e.text, sizeof e.text, "%s", text);
    (void)probe_send_error(REPORT, &e);
}

static void frame(uint32_t magic, uint32_t type, uint32_t bytes) {
    static const uint8_t body[8192];
    const uint32_t head[] = {magic, type, bytes};
    if (write(REPORT, head, sizeof head) > 0) (void)!write(REPORT, body, bytes);
}

static void misbehave(const char *how) {
    if (strcmp(how, "abort") == 0) abort();
    if (strcmp(how, "crash") == 0) *(volatile int *)(uintptr_t)zero = 1;
    if (strcmp(how, "rubbish") == 0) frame(0x31504c43u, PROBE_DONE, 7);
    if (strcmp(how, "magic") == 0) frame(7, PROBE_PROGRESS, 4);
    if (strcmp(how, "long") == 0) frame(0x31504c43u, PROBE_NOTE, 5000);
    if (strcmp(how, "twice") == 0) say("once"), say("and again");
    if (strcmp(how, "terminal") == 0) say("red \x1b[31m and\nmore \x07 lines");
    if (strcmp(how, "empty") == 0) report(PROBE_CLEAR, 0, "", 0);
    if (strcmp(how, "hang") == 0)
        for (;;) (void)pause();
    while (strcmp(how, "chatter") == 0 && probe_send_progress(REPORT, 0.5f, "bla bla") == 0) continue;
    if (strcmp(how, "clear") == 0) report(PROBE_CLEAR, 0, "", CLASSES);
    if (strcmp(how, "suspect") == 0) report(PROBE_SUSPECT, 0, "", CLASSES);
    if (strcmp(how, "no such channel") == 0) report(PROBE_REPAIRED, 1, "/no such", CLASSES);
    if (strcmp(how, "one channel") == 0) report(PROBE_REPAIRED, 1, "/conv", CLASSES);
    if (strcmp(how, "all channels") == 0) report(PROBE_REPAIRED, FILTERS, "/conv", CLASSES);
}

int main(void) {
    char path[4096], how[64] = "";
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
    char *slash = n > 0 ? (path[n] = 0, strrchr(path, '/')) : NULL;
    if (!slash) return 1;
    strcpy(slash + 1, "how");
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, how, sizeof how - 1) < 0) return 1;
    (void)close(fd);
    misbehave(how);
    return 0;
}
