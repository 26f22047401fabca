/* What the guard has to say: a line on stderr, for a person or the journal; or an
 * entry of the journal with fields of its own. One thread. */
#ifndef GUARD_NOTICE_H
#define GUARD_NOTICE_H

#include "config/config.h"

struct notice_field {
    const char *name;  /* of the journal: A-Z, 0-9, '_' */
    const char *value; /* "": left out */
};

void notice_set_level(enum log_level least); /* lines below it are dropped */
void notice(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* `line` with these fields: one entry of the journal, or, where stderr isn't the journal, the line. */
void notice_entry(enum log_level level, const char *line, const struct notice_field *fields, size_t n);
/* Where the journal listens, in place of /run/systemd/journal/socket: for tests. NULL: as at the start. */
void notice_set_journal(const char *path);

#endif
