/* Runs the probes, one at a time, of what is served or waits for its verdict:
 *
 *   subject (files.h) -> import worker: an image for gradients -> clp-probe -> record (probe_book.h) -> what
 * follows
 *
 * The file is opened anew and has to have the contents that are served. A file that waits
 * goes before one that serves already. A crash, a hang or a lie of either process costs its verdict.
 * Part of the guard's one thread; blocks for the end of a process that was killed, and for nothing else. */
#ifndef GUARD_PROBES_H
#define GUARD_PROBES_H

#include "guard/probe_book.h"
#include "guard/watch.h"

struct probes;

struct probes_parts { /* borrowed */
    const struct config *config;
    struct files *files;
    struct probe_book *book;
    int epoll;       /* its processes are added with data.u64 = … */
    uint64_t source; /* … this */
    /* What serves is to go back to the version before it. */
    void (*fall_back)(void *arg, const char *model, const char *why);
    void *arg;
};

struct probes *probes_new(const struct probes_parts *p); /* NULL: out of memory */
void probes_free(struct probes *p);                      /* stops what runs */
/* Set by the owner, and again when the settings have changed or another folder is watched. */
void probes_set(struct probes *p, const struct policies *policies, const struct watch *watch, uint64_t salt);

/* Starts the next probe where none runs, and stops one that nobody wants any more. */
void probes_turn(struct probes *p, uint64_t now);
/* Something came from its processes. True: files may have changed their state. */
bool probes_step(struct probes *p, uint64_t now);

/* A version of this model was taken into service, or is another of its versions: clpd is told anew. */
void probes_on_serving(struct probes *p, const char *model);
/* A person wants the repaired network that was found, or no longer; false: there is none. NULL is fine. */
bool probes_accept(struct probes *p, const char *model, uint64_t now);
void probes_undecline(struct probes *p, const char *model, const struct spawn_digests *d);
void probes_decline(struct probes *p, const char *model, const struct spawn_digests *d);

/* The next message for clpd, *fd to go with it (stays ours) or -1, until probes_message_sent. */
bool probes_next_message(struct probes *p, struct link_message *m, int *fd);
void probes_message_sent(struct probes *p, const struct link_message *m);

#endif
