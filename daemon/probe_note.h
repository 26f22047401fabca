/* What the guard last said of the probe of a model's contents: facts for people, and the report for the page.
 * Immutable but for the count; any thread. */
#ifndef DAEMON_PROBE_NOTE_H
#define DAEMON_PROBE_NOTE_H

#include "guard/link.h"
#include "guard/probe_report.h"

struct probe_note {
    _Atomic uint32_t references;
    struct link_message facts; /* LINK_PROBE */
    size_t bytes;              /* 0: no report */
    uint8_t report[];          /* encoded; it was decoded once, so it is sound */
};

/* One reference; fd (-1: none) stays the caller's. NULL with `e` set: no memory, or not a report. */
struct probe_note *probe_note_new(const struct link_message *m, int fd, struct err *e);
void probe_note_get(struct probe_note *n);
void probe_note_put(struct probe_note *n); /* NULL is fine */

const char *probe_stage_name(uint32_t stage); /* "waiting", "running", "known", "failed" */

#endif
