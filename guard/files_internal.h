/* The table behind files.h: what files.c (scans, rank) and files_import.c
 * (imports, the link) share. Nobody else includes this. */
#ifndef GUARD_FILES_INTERNAL_H
#define GUARD_FILES_INTERNAL_H

#include "guard/files.h"

struct file {
    char path[LINK_PATH], model[LINK_MODEL];
    uint64_t number;
    enum file_state state;
    char reason[LINK_REASON];
    struct link_identity identity; /* as last seen */
    uint64_t closed_ns, changed_at;
    char external[SPAWN_NAME]; /* what it asked for */

    /* seen, settling */
    bool seen, present; /* by the scan that runs; by the last one that was complete */
    bool complete, ready, waiting, verify;
    uint64_t check_at, retry_at; /* waiting: look again, try again; 0: on a change only */
    uint64_t order;              /* ready: its place in the queue */
    uint32_t passes;             /* ready: so many that came later went first */
    uint32_t discards, attempts;

    /* importing and later */
    bool stale; /* changed since the import began */
    struct link_identity imported;
    uint64_t imported_ns, policy;
    struct spawn_digests digests;
    bool has_digests;
    enum verdict verdict;
    int64_t pruned, total;
    uint32_t canary;      /* as canary_share */
    bool repaired;        /* with the channels that its probe named */
    uint32_t probe_asked; /* by its NAME.yaml: struct report */
    int image;            /* probing, sealed, offered: the memfd, ours; else -1 */
    uint64_t bytes, version;

    bool initial;     /* found by the first scan, not dealt with yet */
    bool dirty, gone; /* for the link: its line has changed; is to be forgotten */
};

struct model { /* what clpd serves, or has served */
    char name[LINK_MODEL], path[LINK_PATH];
    bool serving, retire;           /* retire: is to be told */
    uint64_t version, last_version; /* last: the highest ever */
    uint64_t policy, build;
    struct link_identity identity;
    struct spawn_digests digests;
    enum verdict verdict;
    int64_t pruned, total;
    bool repaired;
    uint32_t probe_asked;
    uint32_t canary;
    uint64_t bytes, closed_ns;
    bool busy; /* clpd is being asked for another of its versions: nothing else is offered meanwhile */
    /* After a rollback: the version that was left, whose file is not to be served again by itself. */
    bool barred;
    struct state_image left;
    char barred_reason[STATE_REASON];
    uint64_t gone_at; /* since when there is no file; 0: there is one */
};

struct files {
    struct files_options options;
    struct file **list; /* by model, then rank, then path: see files_compare in files.c */
    size_t n;
    struct model **models;
    size_t n_models;
    uint64_t order;
    bool scanned; /* once at least */
    files_trace_fn trace;
    void *trace_arg;
    files_keep_fn keep;
    void *keep_arg;
};

/* The one place where a state changes; asserts that the step is legal. */
void files_set_state(struct files *f, struct file *x, enum file_state to, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
struct link_message files_describe(const struct file *x, uint32_t type);
void files_drop_image(struct file *x);
/* Back to `seen`: the next scan judges it anew, and it is due at once. */
void files_restart(struct files *f, struct file *x, uint64_t now);
/* These contents will not be served: newer ones lie there. files_restart has to follow. */
void files_outdate(struct files *f, struct file *x);
/* Waits for the file to change, or until `retry_at` (0: never). */
void files_wait(struct files *f, struct file *x, uint64_t retry_at, uint64_t now);
struct file *files_find_path(const struct files *f, const char *path);
struct model *files_find_model(const struct files *f, const char *name);
struct model *files_add_model(struct files *f, const char *name); /* finds it, too; NULL: out of memory */
void files_remove(struct files *f, struct file *x);
/* Which of several files of one model is it to be? */
void files_rank(struct files *f, uint64_t now);
/* This file is what its model is served from: nothing to import. */
void files_adopt(struct files *f, struct file *x, const struct model *m);
/* This file is what its model was rolled back from. */
void files_hold_barred(struct files *f, struct file *x, const struct model *m);
/* Whether this file is what its model is served from. */
bool files_is_serving(const struct files *f, const struct file *x);

#endif
