/* Formats a line into a local buffer and writes it in one go. */
#include "daemon/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Atomic int least_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level least) {
    atomic_store_explicit(&least_level, (int)least, memory_order_relaxed);
}

/* systemd.exec(5): JOURNAL_STREAM names the device and inode that stderr has if
 * it goes to the journal; after a redirection they differ. */
static bool goes_to_journal(void) {
    static _Atomic int known = -1;
    int is = atomic_load_explicit(&known, memory_order_relaxed);
    if (is >= 0) return is == 1;
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device = 0, inode = 0;
    struct stat st;
    is = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
         st.st_dev == device && st.st_ino == inode;
    atomic_store_explicit(&known, is, memory_order_relaxed);
    return is == 1;
}

static const struct {
    const char *journal, *people;
} prefixes[] = {[LOG_LEVEL_DEBUG] = {"<7>", "debug: "},
                [LOG_LEVEL_INFO] = {"<6>", ""},
                [LOG_LEVEL_WARNING] = {"<4>", "warning: "},
                [LOG_LEVEL_ERROR] = {"<3>", "error: "}};

void log_line(enum log_level level, const char *fmt, ...) {
    if ((int)level < atomic_load_explicit(&least_level, memory_order_relaxed)) return;
    const int kept = errno;
    char line[LOG_TEXT];
    const int head = goes_to_journal()
                         ? snprintf(line, sizeof line, "%s", prefixes[level].journal)
                         : snprintf(line, sizeof line, "clpd[%d]: %s", (int)getpid(), prefixes[level].people);
    va_list args;
    va_start(args, fmt);
    const int text = vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, args);
    va_end(args);
    size_t n = text < 0 ? (size_t)head : (size_t)head + (size_t)text;
    if (n > sizeof line - 2) n = sizeof line - 2;
    for (size_t i = (size_t)head; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) line[i] = '?';
    line[n] = '\n';
    ssize_t written = write(STDERR_FILENO, line, n + 1);
    (void)written; /* there is nowhere to complain about stderr */
    errno = kept;
}
