/* clp-probe: attacks one compiled network in a cage, and says what it found.
 *
 *   arguments -> the image (sizes and seals only) -> OpenBLAS's memory -> SANDBOX
 *             -> image_check -> probe_run -> report (sent)
 *
 * A program of its own, since the import worker must not be linked with OpenBLAS
 * and this one must. It gets the sealed image and a pipe, never a model file.
 * Not a byte of the image is interpreted before the sandbox stands. One thread. */
#include "guard/probe.h"
#include "guard/probe_wire.h"
#include "guard/sandbox.h"
#include "infer/blas.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
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

static int take_image(struct job *j, struct err *e) {
    struct stat st;
    if (fstat(j->image_fd, &st) < 0) return err_set(e, ERR_SYSTEM, "the image: %s", strerror(errno));
    const int seals = fcntl(j->image_fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS)
        return err_set(e, ERR_VALUE, "the image is not sealed: its owner could change it");
    j->size = (size_t)st.st_size;
    void *p = mmap(NULL, j->size, PROT_READ, MAP_PRIVATE, j->image_fd, 0);
    if (p == MAP_FAILED) return err_set(e, ERR_SYSTEM, "mapping the image: %s", strerror(errno));
    j->bytes = p;
    return 0;
}

/* seccomp binds the thread that asks for it; OpenBLAS starts some as it is loaded, which blas_init ends. */
static int be_alone(struct err *e) {
    enum { N = 96 };
    static float a[N * N], b[N * N], c[N * N];
    int threads = 0;
    blas_init();
    blas_sgemm(&(struct blas_product){
        .m = N, .n = N, .k = N, .alpha = 1, .a = a, .lda = N, .b = b, .ldb = N, .c = c, .ldc = N});
    DIR *dir = opendir("/proc/self/task");
    if (!dir) return err_set(e, ERR_SYSTEM, "/proc/self/task: %s; is /proc mounted?", strerror(errno));
    for (const struct dirent *d; (d = readdir(dir));) threads += d->d_name[0] != '.';
    (void)closedir(dir);
    if (threads == 1) return 0;
    return err_set(
        e, ERR_SYSTEM,
        "OpenBLAS has started threads (%d), which no sandbox would hold; set OPENBLAS_NUM_THREADS=1",
        threads);
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
    int rc = take_image(&j, &e);
    if (rc == 0) rc = be_alone(&e);
    if (rc == 0) rc = enter_sandbox(&j, note, &e);
    if (rc == 0 && note[0]) (void)probe_send_note(j.report_fd, note);
    if (rc == 0) rc = work(&j, &r, &e);
    rc = rc == 0 ? probe_send_done(j.report_fd, &r) : probe_send_error(j.report_fd, &e);
    _exit(rc == 0 ? 0 : 3);
}
