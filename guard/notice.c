/* One write(2) a line, so that lines of clpd and clp-guard never mix; the
 * journal's priorities where stderr is the journal (systemd.exec(5)). */
#include "guard/notice.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum log_level least_level = LOG_LEVEL_INFO;

void notice_set_level(enum log_level least) {
    least_level = least;
}

void notice(enum log_level level, const char *fmt, ...) {
    static const char *const priorities[] = {"<7>", "<6>", "<4>", "<3>"};
    static const char *const words[] = {"debug: ", "", "warning: ", "error: "};
    char line[1024];
    va_list ap;
    if (level < least_level) return;
    bool journal = getenv("JOURNAL_STREAM") != NULL;
    size_t head = (size_t)snprintf(line, sizeof line, "%sclp-guard: %s", journal ? priorities[level] : "",
                                   journal ? "" : words[level]);
    va_start(ap, fmt);
    int n = vsnprintf(line + head, sizeof line - head - 1, fmt, ap);
    va_end(ap);
    size_t size = head + (n < 0 ? 0 : (size_t)n);
    if (size > sizeof line - 2) size = sizeof line - 2;
    for (size_t i = head; i < size; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) line[i] = '?'; /* names come from anyone */
    line[size] = '\n';
    if (write(STDERR_FILENO, line, size + 1) < 0) return; /* nobody left to tell */
}
