/* daemon/probe_note: a report is taken whole and sound, or refused. */
#include "daemon/probe_note.h"

#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int file_of(const void *bytes, size_t n) {
    const int fd = memfd_create("t", MFD_CLOEXEC);
    CU_ASSERT_FATAL(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    return fd;
}

static void test_taken(void) {
    const struct link_message m = {.type = LINK_PROBE, .state = PROBE_KNOWN, .model = "net"};
    const struct probe_report r = {.verdict = PROBE_SUSPECT, .target = -1};
    struct err e = {0};
    size_t n = 0;
    uint8_t *bytes = probe_report_encode(&r, &n);
    int fd = file_of(bytes, n);
    struct probe_note *note = probe_note_new(&m, fd, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(note);
    CU_ASSERT(note->bytes == n && memcmp(note->report, bytes, n) == 0 &&
              strcmp(note->facts.model, "net") == 0);
    probe_note_get(note);
    probe_note_put(note);
    probe_note_put(note);
    probe_note_put(NULL);
    (void)close(fd);
    bytes[0] ^= 64;
    fd = file_of(bytes, n);
    CU_ASSERT_PTR_NULL(probe_note_new(&m, fd, &e)); /* damaged */
    (void)close(fd);
    fd = file_of("", 0);
    CU_ASSERT_PTR_NULL(probe_note_new(&m, fd, &e));
    (void)close(fd);
    note = probe_note_new(&m, -1, &e); /* how far it is */
    CU_ASSERT(note && note->bytes == 0);
    probe_note_put(note);
    free(bytes);
}

SUITE(probe_note, {"a sound report, or none", test_taken});
