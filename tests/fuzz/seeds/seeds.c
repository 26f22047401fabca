/* Puts seeds where the targets look for them; `make fuzz-corpus` runs this from the root of the checkout. */
#include "tests/fuzz/seeds/seeds.h"

#include "tests/suite.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static void make_folder(const char *path) {
    CU_ASSERT_FATAL(mkdir(path, 0777) == 0 || errno == EEXIST);
}

void seed_write(const char *target, const char *name, const void *bytes, size_t n) {
    char path[256];
    (void)snprintf(path, sizeof path, "tests/fuzz/corpus/%s", target);
    make_folder("tests/fuzz/corpus");
    make_folder(path);
    (void)snprintf(path, sizeof path, "tests/fuzz/corpus/%s/%s", target, name);
    FILE *f = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_FATAL(fwrite(bytes, 1, n, f) == n);
    CU_ASSERT_FATAL(fclose(f) == 0);
}

void seed_text(const char *target, const char *name, const char *text) {
    seed_write(target, name, text, strlen(text));
}
