/* guard/notice: one clean line, with a priority only where the journal reads. */
#include "guard/notice.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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

/* As if the pipe were the journal's stream. */
static void to_journal(void) {
    struct stat st;
    char stream[64];
    CU_ASSERT_EQUAL(fstat(2, &st), 0);
    (void)snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    (void)setenv("JOURNAL_STREAM", stream, 1);
    plain();
}

static void entry(void) {
    static const struct notice_field fields[] = {{"MODEL", "a"}, {"REASON", "x\ny=\x1b"}, {"EMPTY", ""}};
    notice_entry(LOG_LEVEL_WARNING, "a is held", fields, 3);
}

static void entries(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char got[1024] = "";
    (void)snprintf(at.sun_path, sizeof at.sun_path, "/tmp/clpd-journal-%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    notice_set_journal(at.sun_path);
    CU_ASSERT_STRING_EQUAL(heard(entry), "");
    CU_ASSERT_TRUE(recv(fd, got, sizeof got - 1, MSG_DONTWAIT) > 0);
    CU_ASSERT_STRING_EQUAL(got, "MESSAGE=a is held\nPRIORITY=4\nSYSLOG_IDENTIFIER=clp-guard\nMODEL=a\n"
                                "REASON=x?y=?\n");
    (void)close(fd);
    (void)unlink(at.sun_path); /* nobody listens: the line has to do */
    CU_ASSERT_STRING_EQUAL(heard(entry), "clp-guard: warning: a is held\n");
    notice_set_journal(NULL);
    CU_ASSERT_STRING_EQUAL(heard(entry), "clp-guard: warning: a is held\n");
}

static void lines(void) {
    char *stream = getenv("JOURNAL_STREAM") ? strdup(getenv("JOURNAL_STREAM")) : NULL;
    (void)unsetenv("JOURNAL_STREAM");
    CU_ASSERT_STRING_EQUAL(heard(plain), "clp-guard: warning: x.onnx is bad\n");
    CU_ASSERT_STRING_EQUAL(heard(dirty), "clp-guard: a?[31mb?c\n");
    CU_ASSERT_STRING_EQUAL(heard(quiet), "");
    CU_ASSERT_EQUAL(strlen(heard(endless)), 1023);
    CU_ASSERT_EQUAL(text[1022], '\n');
    (void)setenv("JOURNAL_STREAM", "8:1", 1); /* of another stderr: it was redirected */
    CU_ASSERT_STRING_EQUAL(heard(plain), "clp-guard: warning: x.onnx is bad\n");
    CU_ASSERT_STRING_EQUAL(heard(to_journal), "<4>clp-guard: x.onnx is bad\n");
    notice_set_level(LOG_LEVEL_ERROR);
    CU_ASSERT_STRING_EQUAL(heard(plain), "");
    notice_set_level(LOG_LEVEL_INFO);
    (void)unsetenv("JOURNAL_STREAM");
    if (stream) (void)setenv("JOURNAL_STREAM", stream, 1);
    free(stream);
}

SUITE(notice, {"one clean line each", lines}, {"entries with fields", entries});
