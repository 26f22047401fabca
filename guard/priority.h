/* Whoever computes, reads or writes beside a daemon that serves: its requests come first. */
#ifndef GUARD_PRIORITY_H
#define GUARD_PRIORITY_H

#include <stdbool.h>
#include <sys/types.h>

enum priority {
    PRIORITY_SAME, /* as whoever starts it */
    PRIORITY_LOW,  /* a tenth of a CPU that others want: nice 10, in the background, I/O last */
    PRIORITY_IDLE  /* nothing of it, nor of the disk */
};

static inline enum priority priority_beside_daemon(bool idle) {
    return idle ? PRIORITY_IDLE : PRIORITY_LOW;
}

/* Of the thread `tid`, 0: the calling one, and of the threads and processes that it starts from then on.
 * Where the system refuses, it is merely less polite.
 *
 * With PRIORITY_IDLE it gives way the moment that somebody else wakes up, but where the cores are never idle
 * an import then takes ten times as long (measured: 50 swaps under full load in 230 s instead of 23): so that
 * is the operator's choice. */
void priority_lower(pid_t tid, enum priority p);

#endif
