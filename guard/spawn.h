/* Starts one import worker (clp-guard worker), watches over it and judges what
 * it brings back. The worker reads hostile files, so it is treated as taken
 * over: everything it says is bounded and cross-checked, and what it wrote is
 * sealed only once it is gone.
 *
 * Opens no file: descriptors come in, one sealed memfd comes out. Knows nothing
 * of the guard's state; clpctl uses it too. One owner, one thread. The caller
 * must leave SIGCHLD alone (not SIG_IGN), or exits can't be told apart. */
#ifndef GUARD_SPAWN_H
#define GUARD_SPAWN_H

#include "guard/priority.h"
#include "guard/report.h"

#include <limits.h>

#define SPAWN_NAME  256 /* of an external data file, with the NUL */
#define SPAWN_NOTES 4

enum spawn_mode {
    SPAWN_IMAGE,    /* the compiled model */
    SPAWN_PLAIN,    /* the same by plain kernels, nothing fused: to compare with */
    SPAWN_GRADIENT, /* the same so that gradients can run through it: for clp-probe */
    SPAWN_PRUNE     /* the repaired ONNX file */
};

struct spawn_request {      /* start from spawn_defaults; all borrowed during spawn_start only */
    const char *guard_path; /* what to execute: from spawn_find_guard */
    enum spawn_mode mode;
    float threshold; /* u; NAME.yaml may have another, as `sidecar` allows */
    enum policy_statistic statistic;
    enum policy_sidecar sidecar;
    enum policy_probe probe; /* in force; NAME.yaml may ask for another, as `sidecar` allows */
    bool bf16;               /* products of bfloat16 where that pays and this CPU has them; of SPAWN_IMAGE */
    bool vouched;   /* somebody vouches for these bytes: their digest first, and then a look at them */
    bool guard_off; /* compile as it is, for comparisons */
    bool measure;   /* CLP measures and prunes nothing; with repair_fd that list is all that is pruned */
    enum priority priority;    /* the worker's: lower for the guard beside a serving daemon */
    int model_fd;              /* regular files, read-only; none is taken */
    int sidecar_fd;            /* -1: none */
    bool sidecar_secret;       /* messages about it must not quote it */
    int external_fd;           /* -1: none */
    int canary_fd;             /* -1: none; its digest is taken, and that is all */
    int repair_fd;             /* -1: none; else channels to prune, besides CLP's: guard/repair_list.h */
    const char *external_name; /* the bare file name of external_fd */
    uint32_t seconds;          /* wall-clock time without what it waited for a CPU; the same for CPU time */
    uint64_t memory, output;   /* bytes of address space, and of what it may write */
    const char *label;         /* for messages: the model's file name */
};

struct spawn_digests { /* all zero where there is no such file */
    uint8_t model[32], sidecar[32], external[32], canary[32];
};

struct spawn_result { /* to be freed with spawn_result_free */
    struct err err;   /* code ERR_NONE: it worked */
    int fd;           /* sealed memfd, or -1; yours: set it to -1 when you take it */
    uint64_t bytes;
    bool has_digests; /* also where it failed later: what was read */
    struct spawn_digests digests;
    struct report report;   /* where it worked */
    uint32_t canary;        /* not the worker's: what the samples said, as canary_share; 0: nothing */
    char needs[SPAWN_NAME]; /* err is set, and the model wants this file beside it; a bare name, checked */
    char notes[SPAWN_NOTES][ERR_TEXT]; /* what the worker had to say besides; empty ones at the end */
};

struct spawn;

void spawn_defaults(struct spawn_request *r);

/* Where clp-guard is, from our own executable: itself, beside it, or in
 * ../libexec/clpd. The environment has no say. 0, or -1 with `e` set. */
int spawn_find_guard(char path[PATH_MAX], struct err *e);

/* 0 and *out, to be ended with spawn_finish; or -1 with `e` set. */
int spawn_start(struct spawn **out, const struct spawn_request *r, struct err *e);

/* Readable when spawn_step has something to do; owned by the worker's record. */
int spawn_fd(const struct spawn *s);
/* Takes what is there, never blocks. True: it is over, spawn_finish will not wait. */
bool spawn_step(struct spawn *s);
/* What the worker read, as soon as it is known (long before it is done); else NULL. */
const struct spawn_digests *spawn_digests(const struct spawn *s);

/* Ends it (kills what still runs), judges, frees `s`. */
void spawn_finish(struct spawn *s, struct spawn_result *out);
void spawn_result_free(struct spawn_result *r);

/* All of it, waiting. 0, or -1 with out->err set; free `out` in both cases. */
int spawn_run(const struct spawn_request *r, struct spawn_result *out);

#endif
