/* One line per event on stderr. Any thread: a line is one write(2), so lines never mix.
 * Under systemd's journal each line carries its priority as "<N>". */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include "config/config.h"

#define LOG_TEXT 1024 /* a longer line is cut */

/* Lines below `least` are dropped from now on. */
void log_set_level(enum log_level least);

/* Control characters that came in through the arguments are replaced by '?'. */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
