/* One write(2) a line, so that lines of clpd and clp-guard never mix; the
 * journal's priorities where stderr is the journal (systemd.exec(5)).
 *
 * Entries go to the journal's own socket, one datagram each: "NAME=value\n" for every
 * field (systemd's JOURNAL_NATIVE_PROTOCOL). No value here has a newline, so its
 * other, binary form isn't needed, and neither is a library. */
#include "guard/notice.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define JOURNAL "/run/systemd/journal/socket"

static enum log_level least_level = LOG_LEVEL_INFO;
static const char *journal_path = NULL;

void notice_set_level(enum log_level least) {
    least_level = least;
}

void notice_set_journal(const char *path) {
    journal_path = path;
}

/* JOURNAL_STREAM names the device and inode that stderr has if it goes to the
 * journal; after a redirection they differ. */
static bool goes_to_journal(void) {
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device = 0, inode = 0;
    struct stat st;
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == device && st.st_ino == inode;
}

static void clean(char *s, size_t n) { /* names come from anyone */
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f) s[i] = '?';
}

void notice(enum log_level level, const char *fmt, ...) {
    static const char *const priorities[] = {"<7>", "<6>", "<4>", "<3>"};
    static const char *const words[] = {"debug: ", "", "warning: ", "error: "};
    char line[1024];
    va_list ap;
    if (level < least_level) return;
    bool journal = goes_to_journal();
    size_t head = (size_t)snprintf(line, sizeof line, "%sclp-guard: %s", journal ? priorities[level] : "",
                                   journal ? "" : words[level]);
    va_start(ap, fmt);
    int n = vsnprintf(line + head, sizeof line - head - 1, fmt, ap);
    va_end(ap);
    size_t size = head + (n < 0 ? 0 : (size_t)n);
    if (size > sizeof line - 2) size = sizeof line - 2;
    clean(line + head, size - head);
    line[size] = '\n';
    if (write(STDERR_FILENO, line, size + 1) < 0) return; /* nobody left to tell */
}

struct datagram {
    char bytes[4096];
    size_t n;
};

/* A field that has no room is left out. */
static void add_field(struct datagram *d, const char *name, const char *value) {
    const size_t room = sizeof d->bytes - d->n;
    if (!value[0]) return;
    const int n = snprintf(d->bytes + d->n, room, "%s=%s\n", name, value);
    if (n < 0 || (size_t)n >= room) return;
    clean(d->bytes + d->n, (size_t)n - 1);
    d->n += (size_t)n;
}

static bool send_to_journal(const struct datagram *d) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", journal_path ? journal_path : JOURNAL);
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    const bool sent =
        sendto(fd, d->bytes, d->n, MSG_NOSIGNAL, (const struct sockaddr *)&to, sizeof to) == (ssize_t)d->n;
    (void)close(fd);
    return sent;
}

void notice_entry(enum log_level level, const char *line, const struct notice_field *fields, size_t n) {
    static const char *const priorities[] = {"7", "6", "4", "3"};
    struct datagram d = {.n = 0};
    if (level < least_level) return;
    if (journal_path || goes_to_journal()) {
        add_field(&d, "MESSAGE", line);
        add_field(&d, "PRIORITY", priorities[level]);
        add_field(&d, "SYSLOG_IDENTIFIER", "clp-guard");
        for (size_t i = 0; i < n; i++) add_field(&d, fields[i].name, fields[i].value);
        if (send_to_journal(&d)) return;
    }
    notice(level, "%s", line);
}
