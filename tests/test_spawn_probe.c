/* clp-probe as a process of its own, in its cage: a report comes back; an image that is not sealed, or not
 * for gradients, is refused with a reason. */
#include "guard/spawn_probe.h"

#include "tests/probe_case.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int sealed(const struct compiled *c, bool seal) {
    const int fd = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CU_ASSERT_FATAL(fd >= 0 && write(fd, c->bytes, c->size) == (ssize_t)c->size);
    if (seal)
        CU_ASSERT_EQUAL(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
    return fd;
}

static void count_calls(void *ctx, float done, const char *what) {
    (void)done, (void)what;
    (*(int *)ctx)++;
}

static void test_runs(void) {
    struct probe_case p = probe_case_make(false, false);
    struct probe_report r;
    struct err e = {0};
    char note[ERR_TEXT];
    int calls = 0;
    const int fd = sealed(&p.c, true);
    const struct spawn_probe s = {.image_fd = fd,
                                  .seconds = 500,
                                  .memory = 1 << 26,

                                  .progress = count_calls,
                                  .ctx = &calls};
    const int rc = spawn_probe_run(&s, &r, note, &e);
    if (rc) fprintf(stderr, "\n%s\n", e.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_EQUAL(r.verdict, PROBE_CLEAR);
    CU_ASSERT_EQUAL(r.n_covered, PROBE_CASE_CLASSES);
    CU_ASSERT(calls > PROBE_CASE_CLASSES);
    probe_report_free(&r);
    (void)close(fd);
    probe_case_free(&p);
}

static void refused(const struct compiled *c, bool seal, const char *why) {
    struct probe_report r;
    struct err e = {0};
    char note[ERR_TEXT];
    const int fd = sealed(c, seal);
    const struct spawn_probe s = {.image_fd = fd, .seconds = 5, .memory = 1 << 26};
    CU_ASSERT(spawn_probe_run(&s, &r, note, &e) < 0);
    if (!strstr(e.text, why)) fprintf(stderr, "\n%s\n", e.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, why));
    (void)close(fd);
}

static void test_refuses(void) {
    struct probe_case p = probe_case_make(true, false);
    refused(&p.c, false, "not sealed");
    p.c.bytes[100] ^= 1;
    refused(&p.c, true, "");
    p.c.bytes[100] ^= 1;
    struct compiled serving = fixture_compile_here(p.g);
    refused(&serving, true, "serving");
    fixture_discard(&serving);
    probe_case_free(&p);
}

SUITE(spawn_probe, {"a caged probe reports", test_runs}, {"what it can't probe is refused", test_refuses});
