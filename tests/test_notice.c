/* guard/notice: one clean line, with a priority only where the journal reads. */
#include "guard/notice.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char text[4096];

/* What `tell` writes to stderr. */
static const char *heard(void (*tell)(void)) {
    int ends[2], kept = dup(2);
    CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
    CU_ASSERT_TRUE_FATAL(kept >= 0 && dup2(ends[1], 2) == 2);
    (void)close(ends[1]);
    tell();
    (void)dup2(kept, 2);
    (void)close(kept);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    (void)close(ends[0]);
    return text;
}

static void plain(void) {
    notice(LOG_LEVEL_WARNING, "%s is bad", "x.onnx");
}
static void dirty(void) {
    notice(LOG_LEVEL_INFO, "a\x1b[31mb\nc");
}
static void quiet(void) {
    notice(LOG_LEVEL_DEBUG, "not of interest");
}
static void endless(void) {
    char big[3000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    notice(LOG_LEVEL_ERROR, "%s", big);
}

static void lines(void) {
    char *stream = getenv("JOURNAL_STREAM") ? strdup(getenv("JOURNAL_STREAM")) : NULL;
    (void)unsetenv("JOURNAL_STREAM");
    CU_ASSERT_STRING_EQUAL(heard(plain), "clp-guard: warning: x.onnx is bad\n");
    CU_ASSERT_STRING_EQUAL(heard(dirty), "clp-guard: a?[31mb?c\n");
    CU_ASSERT_STRING_EQUAL(heard(quiet), "");
    CU_ASSERT_EQUAL(strlen(heard(endless)), 1023);
    CU_ASSERT_EQUAL(text[1022], '\n');
    (void)setenv("JOURNAL_STREAM", "8:1", 1);
    CU_ASSERT_STRING_EQUAL(heard(plain), "<4>clp-guard: x.onnx is bad\n");
    notice_set_level(LOG_LEVEL_ERROR);
    CU_ASSERT_STRING_EQUAL(heard(plain), "");
    notice_set_level(LOG_LEVEL_INFO);
    (void)unsetenv("JOURNAL_STREAM");
    if (stream) (void)setenv("JOURNAL_STREAM", stream, 1);
    free(stream);
}

SUITE(notice, {"one clean line each", lines});
