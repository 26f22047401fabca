/* What the guard has to say: a line on stderr, for a person or the journal. One thread. */
#ifndef GUARD_NOTICE_H
#define GUARD_NOTICE_H

#include "config/config.h"

void notice_set_level(enum log_level least); /* lines below it are dropped */
void notice(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
