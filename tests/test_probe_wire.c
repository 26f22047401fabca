/* What a probe says arrives, whole or byte by byte; what a lying one says does not. */
#include "guard/probe_wire.h"

#include "tests/suite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t said[1 << 14];

/* All that `talk` sends; how many bytes. */
static size_t collect(void (*talk)(int fd)) {
    int ends[2];
    CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
    talk(ends[1]);
    (void)close(ends[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], said + n, sizeof said - n)) > 0;) n += (size_t)got;
    (void)close(ends[0]);
    return n;
}

static void talk_well(int fd) {
    struct probe_class c[4] = {{.covered = true, .patch = 3}};
    const struct probe_report r = {
        .verdict = PROBE_CLEAR, .target = 2, .n_classes = 4, .n_covered = 1, .classes = c};
    CU_ASSERT_EQUAL(probe_send_progress(fd, 0.25f, "attacking\033[2J"), 0);
    CU_ASSERT_EQUAL(probe_send_note(fd, "no Landlock here"), 0);
    CU_ASSERT_EQUAL(probe_send_done(fd, &r), 0);
}

static void talk_of_failure(int fd) {
    struct err e;
    (void)err_set(&e, ERR_UNSUPPORTED, "no slope goes through Floor");
    CU_ASSERT_EQUAL(probe_send_error(fd, &e), 0);
}

static void talk_twice(int fd) {
    talk_of_failure(fd);
    talk_of_failure(fd);
}

static int feed(struct probe_wire *w, size_t n, size_t piece, struct err *e) {
    int rc = 0;
    for (size_t at = 0; at < n && rc == 0; at += piece)
        rc = probe_wire_feed(w, said + at, n - at < piece ? n - at : piece, e);
    return rc;
}

static void test_good(void) {
    const size_t n = collect(talk_well);
    for (size_t piece = 1; piece <= n; piece += n - 1) {
        struct probe_wire w = {0};
        struct err e = {0};
        CU_ASSERT_EQUAL(feed(&w, n, piece, &e), 0);
        CU_ASSERT(w.ended && !w.failed);
        CU_ASSERT_EQUAL(w.done, 0.25f);
        CU_ASSERT_PTR_NULL(strchr(w.what, 27));
        CU_ASSERT_STRING_EQUAL(w.note, "no Landlock here");
        CU_ASSERT_EQUAL(w.report.target, 2);
        probe_wire_free(&w);
    }
}

static void test_failure(void) {
    struct probe_wire w = {0};
    struct err e = {0};
    const size_t n = collect(talk_of_failure);
    CU_ASSERT_EQUAL(feed(&w, n, n, &e), 0);
    CU_ASSERT(w.ended && w.failed);
    CU_ASSERT_STRING_EQUAL(w.error.text, "no slope goes through Floor");
    probe_wire_free(&w);
}

static void test_lies(void) {
    struct err e;
    struct probe_wire w = {0};
    size_t n = collect(talk_twice);
    CU_ASSERT(feed(&w, n, n, &e) < 0); /* two last words */
    probe_wire_free(&w);
    n = collect(talk_well);
    for (size_t at = 0; at < 12; at++) { /* the head of the first frame */
        struct probe_wire v = {0};
        said[at] ^= 0x80;
        CU_ASSERT(feed(&v, n, n, &e) < 0 || at >= 8);
        said[at] ^= 0x80;
        probe_wire_free(&v);
    }
}

SUITE(probe_wire, {"progress and report arrive", test_good}, {"a failure arrives", test_failure},
      {"lies are refused", test_lies});
