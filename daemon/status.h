/* The daemon as JSON, schema 1: the bodies of CLPD_STATUS and CLPD_MODELS.
 * docs/protocol.md lists the keys; scripts rely on them. The loop's thread only. */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

#include "daemon/file_table.h"
#include "daemon/models.h"
#include "daemon/server.h"

struct status_facts { /* all borrowed */
    const struct server *server;
    const struct models *models;
    struct workers *workers;
    const struct file_table *files;
    const char *io_backend;
    const char *guard_state, *guard_watching;
    uint64_t guard_restarts;
    uint64_t started_ns; /* loop_clock */
    uint32_t max_batch;
};

/* malloc'ed text, *bytes without the NUL. NULL: out of memory. */
char *status_text(const struct status_facts *f, size_t *bytes);
/* The answer to a CONTROL that is done: what was done, for a person. malloc'ed; NULL: no memory. */
char *status_done_text(const char *what);
char *status_models_text(const struct status_facts *f, size_t *bytes);

#endif
