/* Starts one clp-probe, watches over it and takes its report. What it says is
 * treated as hostile, as an import worker's. Blocks; one owner, one thread. The
 * caller must leave SIGCHLD alone. */
#ifndef GUARD_SPAWN_PROBE_H
#define GUARD_SPAWN_PROBE_H

#include "guard/probe_report.h"

struct spawn_probe {
    int image_fd; /* sealed, of plan_options.keep; not taken */
    uint32_t seconds, seed;
    uint64_t memory; /* for activations */
    bool low_priority;
    void (*progress)(void *ctx, float done, const char *what); /* or NULL */
    void *ctx;
};

/* 0 and `out`, to be freed; or -1 with `e` set. `note`: what the probe had to say besides, or empty. */
int spawn_probe_run(const struct spawn_probe *r, struct probe_report *out, char note[ERR_TEXT],
                    struct err *e);

#endif
