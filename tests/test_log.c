/* Log lines: one write each, clean, cut, with the journal's priorities where they belong. */
#include "daemon/log.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What log_line writes while stderr is a pipe. */
static const char *written(enum log_level level, const char *text) {
    static char got[4 * LOG_TEXT];
    int ends[2], before = dup(STDERR_FILENO);
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    errno = 77;
    log_line(level, "%s", text);
    CU_ASSERT_EQUAL(errno, 77);
    dup2(before, STDERR_FILENO);
    close(before);
    close(ends[1]);
    ssize_t n = read(ends[0], got, sizeof got - 1);
    got[n > 0 ? n : 0] = 0;
    close(ends[0]);
    return got;
}

static void lines(void) {
    char expect[64], *huge = malloc(3000);
    log_set_level(LOG_LEVEL_INFO);
    (void)snprintf(expect, sizeof expect, "clpd[%d]: warning: attention\n", (int)getpid());
    CU_ASSERT_STRING_EQUAL(written(LOG_LEVEL_WARNING, "attention"), expect);
    (void)snprintf(expect, sizeof expect, "clpd[%d]: a?[31mb?\n", (int)getpid());
    CU_ASSERT_STRING_EQUAL(written(LOG_LEVEL_INFO, "a\x1b[31mb\n"), expect);
    CU_ASSERT_STRING_EQUAL(written(LOG_LEVEL_DEBUG, "quiet"), "");
    memset(huge, 'x', 2999);
    huge[2999] = 0;
    const char *cut = written(LOG_LEVEL_ERROR, huge);
    CU_ASSERT_TRUE(strlen(cut) < LOG_TEXT && cut[strlen(cut) - 1] == '\n');
    free(huge);
    log_set_level(LOG_LEVEL_ERROR);
    CU_ASSERT_STRING_EQUAL(written(LOG_LEVEL_WARNING, "quiet"), "");
}

SUITE(log, {"one clean line per event", lines});
