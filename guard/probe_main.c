/* clp-probe: attacks one compiled network in a cage, and says what it found.
 *
 *   arguments -> the image (sizes and seals only) -> OpenBLAS's memory -> SANDBOX
 *             -> image_check -> probe_run -> report (sent)
 *
 * A program of its own, since the import worker must not be linked with OpenBLAS
 * and this one must. It gets the sealed image and a pipe, never a model file.
 * Not a byte of the image is interpreted before the sandbox stands. One thread. */
#include "guard/engine_cage.h"
#include "guard/probe.h"
#include "guard/probe_wire.h"
#include "guard/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLACK 60 /* seconds of processor time past the budget, before the kernel ends it */

struct job {
    int image_fd, report_fd;
    struct probe_options options;
    const uint8_t *bytes;
    size_t size;
};

static bool parse_number(const char *text, uint64_t max, uint64_t *out) {
    char *end;
    errno = 0;
    const unsigned long long n = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || n > max) return false;
    *out = n;
    return true;
}

static bool parse_arguments(struct job *j, int argc, char **argv) {
    static const struct option options[] = {{"image-fd", 1, NULL, 'i'},
                                            {"report-fd", 1, NULL, 'r'},
                                            {"seconds", 1, NULL, 's'},
                                            {"seed", 1, NULL, 'd'},
                                            {"memory", 1, NULL, 'm'},
                                            {"clock", 1, NULL, 'c'},
                                            {0}};
    int option;
    *j = (struct job){.image_fd = -1, .report_fd = -1};
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        uint64_t n;
        if (option == 'c') {
            j->options.processor_time = strcmp(optarg, "processor") == 0;
            if (!j->options.processor_time && strcmp(optarg, "wall") != 0) return false;
            continue;
        }
        if (option == '?' || !parse_number(optarg, INT64_MAX, &n)) return false;
        if (option == 'm') j->options.memory = n;
        if (option != 'm' && n > INT32_MAX) return false;
        if (option == 'i') j->image_fd = (int)n;
        if (option == 'r') j->report_fd = (int)n;
        if (option == 's') j->options.seconds = (uint32_t)n;
        if (option == 'd') j->options.seed = (uint32_t)n;
    }
    return optind == argc && j->image_fd >= 3 && j->report_fd >= 3 && j->image_fd < SANDBOX_MAX_FD &&
           j->report_fd < SANDBOX_MAX_FD && j->options.seconds && j->options.memory;
}

/* Where memory runs out the kernel shall take this process, not the daemon that serves. Without /proc it
 * can't be said. */
static void go_first(void) {
    const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (write(fd, "1000", 4) < 0) { /* then it is as any other */
    }
    (void)close(fd);
}

static int enter_sandbox(const struct job *j, char note[ERR_TEXT], struct err *e) {
    const struct sandbox_options o = {.keep = UINT64_C(1) << j->image_fd | UINT64_C(1) << j->report_fd,
                                      .seconds = j->options.seconds + SLACK,
                                      .memory = j->options.memory + 4 * j->size + ((uint64_t)1 << 30),
                                      .output = 1};
    return sandbox_enter(&o, note, e);
}

static void send_progress(void *ctx, float done, const char *what) {
    const struct job *j = ctx;
    (void)probe_send_progress(j->report_fd, done, what);
}

static int work(struct job *j, struct probe_report *r, struct err *e) {
    struct image *img;
    if (image_check(j->bytes, j->size, &img, e)) return -1;
    const int rc = probe_run(img, &j->options, r, e);
    image_unmap(img);
    return rc;
}

int main(int argc, char **argv) {
    static struct job j;
    struct probe_report r = {0};
    struct err e = {0};
    char note[ERR_TEXT] = "";
    if (argc == 2 && strcmp(argv[1], "--version") == 0) return printf("clp-probe %s\n", CLPD_VERSION) < 0;
    if (!parse_arguments(&j, argc, argv)) {
        (void)fprintf(stderr, "clp-probe is started by clp-guard and clpctl, not by hand\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_DFL); /* nobody listens: stop */
    j.options.progress = send_progress;
    j.options.ctx = &j;
    go_first();
    int rc = engine_cage_map(j.image_fd, &j.bytes, &j.size, &e);
    if (rc == 0) rc = engine_cage_be_alone(&e);
    if (rc == 0) rc = enter_sandbox(&j, note, &e);
    if (rc == 0 && note[0]) (void)probe_send_note(j.report_fd, note);
    if (rc == 0) rc = work(&j, &r, &e);
    rc = rc == 0 ? probe_send_done(j.report_fd, &r) : probe_send_error(j.report_fd, &e);
    _exit(rc == 0 ? 0 : 3);
}
