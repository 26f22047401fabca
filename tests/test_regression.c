/* Everything that the fuzz targets start from, and all that ever broke one, in the ordinary test run.
 *
 * tests/fuzz/corpus/TARGET and tests/fuzz/regression/TARGET are replayed in a child
 * process each, so that a crash is a failed test with the file's name. */
#include "infer/image.h"
#include "tests/fuzz/support/fuzz.h"
#include "tests/suite.h"

#include <dirent.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOWEST 20 /* seconds for one input; sanitizers and a busy machine included */

extern const struct fuzz_target *const __start_fuzz_targets[], *const __stop_fuzz_targets[];

struct progress { /* shared with the child */
    char file[512];
    unsigned done;
};

/* A copy that ends where the memory ends. */
static uint8_t *read_file(const char *path, size_t longest, size_t *n) {
    uint8_t *room = malloc(longest + 1), *exact = NULL;
    FILE *f = fopen(path, "rb");
    if (f && room) *n = fread(room, 1, longest + 1, f);
    if (f && room && *n <= longest) exact = malloc(*n ? *n : 1);
    if (exact) memcpy(exact, room, *n);
    if (f) (void)fclose(f);
    free(room);
    return exact;
}

static void replay_folder(const struct fuzz_target *t, const char *folder, struct progress *p) {
    char path[256];
    (void)snprintf(path, sizeof path, "tests/fuzz/%s/%s", folder, t->name);
    DIR *dir = opendir(path);
    if (!dir) return; /* no input has broken it yet */
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        size_t n = 0;
        if (d->d_name[0] == '.') continue;
        (void)snprintf(p->file, sizeof p->file, "%s/%s", path, d->d_name);
        uint8_t *bytes = read_file(p->file, t->longest, &n);
        if (!bytes) _exit(3); /* unreadable, or longer than the target takes */
        (void)alarm(SLOWEST);
        (void)t->run(bytes, n);
        (void)alarm(0);
        free(bytes);
        p->done++;
    }
    (void)closedir(dir);
}

static void replay(const struct fuzz_target *t, struct progress *p) {
    memset(p, 0, sizeof *p);
    fflush(NULL);
    const pid_t child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0) {
        replay_folder(t, "corpus", p);
        replay_folder(t, "regression", p);
        _exit(p->done ? 0 : 4);
    }
    int status = -1;
    CU_ASSERT_FATAL(waitpid(child, &status, 0) == child);
    CU_ASSERT_EQUAL(status, 0);
    if (status == 0) return;
    fprintf(stderr, "\n  %s: %s\n  ", p->done || p->file[0] ? p->file : "no inputs",
            WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "failed");
}

static void all_inputs(void) {
    struct progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(p != MAP_FAILED);
    for (const struct fuzz_target *const *t = __start_fuzz_targets; t < __stop_fuzz_targets; t++)
        replay(*t, p);
    (void)munmap(p, sizeof *p);
}

/* Images of an older format would all be refused at the first field, and test nothing. */
static void images_are_current(void) {
    DIR *dir = opendir("tests/fuzz/corpus/image");
    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct image_header h = {.version = 0};
        char path[512];
        if (d->d_name[0] == '.') continue;
        (void)snprintf(path, sizeof path, "tests/fuzz/corpus/image/%s", d->d_name);
        FILE *f = fopen(path, "rb");
        CU_ASSERT_FATAL(f && fread(&h, sizeof h, 1, f) == 1);
        (void)fclose(f);
        if (h.version != IMAGE_VERSION) fprintf(stderr, "\n  %s: run 'make fuzz-corpus'\n", path);
        CU_ASSERT_EQUAL(h.version, IMAGE_VERSION);
    }
    (void)closedir(dir);
}

SUITE(regression, {"inputs of the fuzz targets", all_inputs},
      {"images are of today's format", images_are_current});
