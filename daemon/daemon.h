/* clpd as a whole: puts the parts together, runs them, takes them apart. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "config/config.h"

/* Serves until SIGTERM or SIGINT. `config_path` is read again on SIGHUP, and by
 * the guard. 0, or -1 with `e` set: what kept it from serving. */
int daemon_run(const char *config_path, const struct config *config, struct err *e);

#endif
