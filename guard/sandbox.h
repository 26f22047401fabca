/* Takes everything from the calling process but a few descriptors, memory and
 * CPU time, for good, before a byte of a hostile file is read. One thread, or two that it is told of.
 *
 *   descriptors -> rlimits -> no_new_privs -> not dumpable -> dies with its parent
 *               -> Landlock -> seccomp
 *
 * Each step is verified after it; a step that did not take is an error, and the
 * caller must not go on. The one exception is a kernel without Landlock: seccomp
 * stands alone then, and the note says so. */
#ifndef GUARD_SANDBOX_H
#define GUARD_SANDBOX_H

#include "infer/err.h"

#include <stdbool.h>
#include <stdint.h>

#define SANDBOX_MAX_FD 64

struct sandbox_options {
    uint64_t keep;    /* bit n: descriptor n stays open; every other one is closed */
    uint32_t seconds; /* of CPU time */
    uint64_t memory;  /* of address space, in bytes */
    uint64_t output;  /* largest file that can be written, in bytes */
    /* The one other thread that there may be, or NULL: runs fn(arg) on it and waits. Landlock is a matter of
     * each thread; seccomp's filter is put on both at once. */
    void (*elsewhere)(void *ctx, void (*fn)(void *arg), void *arg);
    void *elsewhere_ctx;
};

/* 0, or -1 with `e` set: nothing must be read or parsed then. `note` gets one
 * line where something is weaker than it should be, else it is empty. */
int sandbox_enter(const struct sandbox_options *o, char note[ERR_TEXT], struct err *e);

/* Built with a sanitizer, which needs system calls of its own: forbidden calls
 * then fail instead of killing, and address space is not limited. */
bool sandbox_is_wide(void);

#endif
