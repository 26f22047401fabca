/* Starts one clp-probe, watches over it and takes its report. What it says is
 * treated as hostile, as an import worker's. One owner, one thread. The caller
 * must leave SIGCHLD alone.
 *
 *   start -> (fd is readable: step -> progress) … -> over -> finish */
#ifndef GUARD_SPAWN_PROBE_H
#define GUARD_SPAWN_PROBE_H

#include "guard/priority.h"
#include "guard/probe_report.h"

struct spawn_probe {
    int image_fd; /* sealed, of plan_options.keep; not taken */
    uint32_t seconds, seed;
    uint64_t memory;     /* for activations */
    bool processor_time; /* `seconds` are of the processor: beside a daemon that serves it may get little of
                            it */
    enum priority priority;
    void (*progress)(void *ctx, float done, const char *what); /* of spawn_probe_run; or NULL */
    void *ctx;
};

struct probing;

/* 0 and *out, to be ended with spawn_probe_finish; or -1 with `e` set. */
int spawn_probe_start(struct probing **out, const struct spawn_probe *r, struct err *e);
/* Readable when spawn_probe_step has something to do; owned by the record. */
int spawn_probe_fd(const struct probing *p);
/* Takes what is there, never blocks. True: it is over, spawn_probe_finish will not wait. */
bool spawn_probe_step(struct probing *p);
/* What it said last: 0..1, and *what in its words (printable; "": nothing yet). */
float spawn_probe_progress(const struct probing *p, const char **what);
/* Ends it (kills what still runs), judges, frees it. 0 and `out`, to be freed; or -1 with `e` set. `note`:
 * what the probe had to say besides, or empty. */
int spawn_probe_finish(struct probing *p, struct probe_report *out, char note[ERR_TEXT], struct err *e);

/* All of it, waiting. */
int spawn_probe_run(const struct spawn_probe *r, struct probe_report *out, char note[ERR_TEXT],
                    struct err *e);

#endif
