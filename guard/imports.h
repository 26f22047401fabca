/* The imports that run, each by a worker process of its own: taken from the table of
 * files, opened, watched over, and their results brought back to it. At most
 * guard.worker.count at once, so that one that takes its whole time limit does not
 * hold up the others. Part of the guard's one thread; blocks for the end of a worker
 * that was killed, and for nothing else. */
#ifndef GUARD_IMPORTS_H
#define GUARD_IMPORTS_H

#include "config/config.h"
#include "guard/canary.h"
#include "guard/files.h"
#include "guard/keeper.h"
#include "guard/model_file.h"
#include "guard/policy.h"
#include "guard/probe_book.h"
#include "guard/watch.h"

#define IMPORTS_MAX 16

struct import {
    bool taken;
    struct spawn *worker; /* NULL: not started yet */
    struct file_job job;
    struct model_files opened;
    bool admitted; /* policies_admit has had nothing against it */
    bool repairs;  /* with the channels that its probe named */
    /* Where there are samples and something was pruned: the network as it came is made by a second worker,
     * and both are compared. */
    bool made; /* `result` holds what the first worker made */
    struct spawn_result result;
    struct canary *canary;
};

struct imports { /* all pointers are borrowed */
    const struct config *config;
    struct files *files;
    const struct policies *policies; /* set by the owner, and again when the settings have changed */
    struct keeper *keeper;           /* set by the owner: knows what people have accepted */
    struct probe_book *book;         /* set by the owner */
    const struct watch *watch;       /* set by the owner, and again when another folder is watched */
    int epoll;
    struct import list[IMPORTS_MAX];
    char last_note[ERR_TEXT];
};

/* What every import of this model asks its worker for; `opened` and `label` are borrowed. */
void imports_request(struct spawn_request *r, const struct config *c, const struct policy *policy,
                     const struct model_files *opened, const char *label);

/* Workers are added to `epoll` with data.u64 = (n + 1) << 32. */
void imports_init(struct imports *i, const struct config *c, struct files *f, int epoll);
/* The next file, `importing` from now on; to be followed by imports_launch. NULL: nothing to do, or no room.
 */
struct import *imports_take(struct imports *i);
void imports_launch(struct imports *i, struct import *x);
/* Something came from the worker that `event` (as above) stands for. */
void imports_step(struct imports *i, uint64_t event, uint64_t now);
/* Those whose file has changed or gone meanwhile. */
void imports_stop_stale(struct imports *i, uint64_t now);
/* At the end; the table of files is not told. */
void imports_stop_all(struct imports *i);

/* Stands for the settings that an import's outcome depends on: with others a file
 * that was rejected is worth another try. For model_file_stat. */
uint64_t imports_salt(const struct imports *i);

#endif
