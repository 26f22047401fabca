/* At the start, before anything is scanned: what is kept is offered to clpd, so
 * that it serves while the files are still being looked at.
 *
 *   record -> decided under today's policy? -> loaded (sealed) -> offered -> answered -> files_on_kept
 *
 * What clpd serves already because systemd kept its image is held against today's policy first; where that is
 * another one, clpd is told to stop serving it before its door opens.
 *
 * What is of no use is dropped with its reason, and its file imported as if it were new. One owner, one
 * thread. */
#ifndef GUARD_RESTORE_H
#define GUARD_RESTORE_H

#include "guard/files.h"
#include "guard/keeper.h"

#define RESTORE_AT_ONCE 2 /* offers without an answer: one is loaded while the other is being checked */

struct restore { /* zero it but for the first three */
    struct keeper *keeper;
    struct files *files;
    uint64_t policy; /* in force */
    /* A kept image was of no use. */
    void (*refused)(void *arg, const struct state_record *r, uint64_t version, const char *why);
    void *arg;
    size_t n, next; /* records that there were at the start */
    uint32_t waiting;
    int fd; /* loaded for `next`, not sent yet; -1 */
    bool begun;
    char (*unfit)[LINK_MODEL]; /* to be told to clpd */
    size_t n_unfit, unfit_sent;
};

/* One of the models that clpd serves already. false: it was decided under another policy by an earlier clpd,
 * so it is not to be taken for one that serves. Before restore_begin. */
bool restore_allows(struct restore *r, const struct link_message *serving);
/* The records' counts of versions go to `files`; to be called once, when it is known what clpd serves
 * already. */
void restore_begin(struct restore *r);
/* The next offer, *fd to go with it (stays ours) until restore_sent, or the next model to stop serving (*fd
 * is -1); false: none now. */
bool restore_next(struct restore *r, struct link_message *m, int *fd);
void restore_sent(struct restore *r);
/* Whether the answer was to one of these offers. */
bool restore_on_answer(struct restore *r, const struct link_message *m);
bool restore_is_done(const struct restore *r); /* the first scan may begin */
void restore_end(struct restore *r);

#endif
