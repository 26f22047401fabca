/* A bar on stderr for whatever takes longer than a second: how far it is, or how long it has taken.
 *
 * A thread of its own draws, five times a second, so that nobody who works has to think of it; it shares
 * stderr with others by the stream's lock. Nothing is started where no person is watching. Begin and end by
 * one thread; `set` by any. */
#ifndef CLIENT_PROGRESS_H
#define CLIENT_PROGRESS_H

#include "client/terminal.h"

#include <pthread.h>
#include <stdint.h>

enum { PROGRESS_TEXT = 160 };

struct progress {
    const struct terminal *terminal;
    char what[PROGRESS_TEXT], note[PROGRESS_TEXT]; /* note: under `lock` */
    double done;                                   /* 0 to 1; below 0: not known. Under `lock` */
    double expected_s;                             /* 0: not known; else the time itself is the measure */
    uint64_t began_ns;
    bool running, stop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
};

/* "importing x". `expected_s`: how long it will take, where that is known; else 0. */
void progress_begin(struct progress *p, const struct terminal *t, double expected_s, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* How much of it is done, and a word beside the bar ("" for none). */
void progress_set(struct progress *p, double done, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void progress_end(struct progress *p); /* wipes the line */

/* The line as it is drawn, into buf. `done` below 0: not known. */
void progress_line(char *buf, size_t cap, const struct terminal *t, const char *what, const char *note,
                   double done, double elapsed_s);

#endif
