/* The probes' records of all models, and what follows from them: whether a file may be served, whether it is
 * imported with the channels that its probe named. One owner, one thread; written to disk by the keeper.
 *
 * What a verdict leads to is policy (config.h):
 *
 *                 it waits (before-serving)          it serves already (background)
 *   clear         served                             nothing
 *   repaired      imported anew, with the channels   the same: a new version; on_repaired: hold waits for
 * accept suspect, or   on_suspect: serve      served      nothing no verdict                fall-back  held
 * where another version serves; else served hold       held        as fall-back */
#ifndef GUARD_PROBE_BOOK_H
#define GUARD_PROBE_BOOK_H

#include "guard/keeper.h"
#include "guard/policy.h"
#include "guard/probe_record.h"

struct probe_entry {
    struct probe_record record;
    struct link_identity identity; /* of the file that was found to have these contents */
    bool untold;                   /* clpd does not know it yet */
    bool tried; /* since this guard was started its file has been sent to be imported with the channels */
};

struct probe_book { /* zero it but for the first two */
    struct keeper *keeper;
    const struct policies *policies; /* set again when the settings have changed */
    struct probe_entry *list;
    size_t n;
};

/* What is kept about the contents of kept images; `trouble` is told of what is of no use. */
void probe_book_load(struct probe_book *b, state_trouble_fn trouble, void *arg);
void probe_book_free(struct probe_book *b);

/* NULL: these contents were not probed. (They were attacked as they came, so no policy of CLP's has a part in
 * it.) Valid until probe_book_enter. */
struct probe_entry *probe_book_find(const struct probe_book *b, const char *model,
                                    const struct spawn_digests *d);
/* Takes the record, in place of one of the same contents, and keeps it; one that is `passing` only in memory.
 * NULL: out of memory (then it is freed). */
struct probe_entry *probe_book_enter(struct probe_book *b, struct probe_record *r, bool passing);
/* The caller has changed it. */
void probe_book_keep(const struct probe_book *b, const struct probe_entry *e);

/* --- imports ------------------------------------------------------------------------------ */

/* Whether these contents are to be imported with the channels of their record. */
bool probe_book_repairs(const struct probe_book *b, const char *model, const struct spawn_digests *d);
/* A memfd with them for the file of this identity; -1: none; -2 with `e` set. */
int probe_book_list(const struct probe_book *b, const char *model, const struct link_identity *id,
                    struct err *e);
/* This identity has these contents, or (NULL) others than was thought. */
void probe_book_identify(const struct probe_book *b, const char *model, const struct spawn_digests *d,
                         const struct link_identity *id);
/* They can't be applied: what serves is what CLP left. */
void probe_book_repair_failed(struct probe_book *b, const char *model, const struct spawn_digests *d,
                              const struct err *why);

enum probe_gate { PROBE_GATE_SERVE, PROBE_GATE_WAIT, PROBE_GATE_HOLD };
struct probe_case_of { /* an import that has succeeded */
    const char *model;
    const struct spawn_digests *digests;
    uint32_t asked;    /* struct report */
    bool repaired;     /* it was imported with its channels */
    bool other_serves; /* another network of this model is in service */
};
/* `why` is set where it is not served. */
enum probe_gate probe_book_judge(const struct probe_book *b, const struct probe_case_of *c, struct err *why);
/* Whether what serves is to go back to the version before it. */
bool probe_book_falls_back(const struct probe_book *b, const struct probe_entry *e);
/* One sentence about the verdict, for journal and status. */
const char *probe_book_sentence(const struct probe_record *r, char room[ERR_TEXT]);

#endif
