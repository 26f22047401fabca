/* Every decision about a model as one entry in the journal: a line for people, and
 * fields for programs (systemd/clpd.catalog explains each):
 *
 *   MESSAGE_ID, MODEL, FILE, VERSION, SHA256, VERDICT, PRUNED, TOTAL, REASON
 *
 *   journalctl MESSAGE_ID=89ab00bd81db42698f229a590cc7abaa     everything that was ever rejected
 *   journalctl MODEL=signs                                     the story of one model
 *
 * Where stderr is not the journal, the line alone goes there. One thread. */
#ifndef GUARD_DECISION_H
#define GUARD_DECISION_H

#include "guard/link.h"

enum decision {
    DECISION_SERVED, /* a new version serves; nothing was pruned */
    DECISION_PRUNED, /* a new version serves, repaired by CLP */
    DECISION_HELD,   /* waits for a person: clpctl accept */
    DECISION_REJECTED,
    DECISION_SUPERSEDED,     /* another file of the model comes first */
    DECISION_RETIRED,        /* the file is gone: no longer served */
    DECISION_ROLLED_BACK,    /* by a person */
    DECISION_ACCEPTED,       /* by a person, in spite of the policy */
    DECISION_RESTORED,       /* served again from what was kept */
    DECISION_STATE_REFUSED,  /* what was kept is of no use */
    DECISION_STATE_FAILED,   /* could not be kept */
    DECISION_PROBE_CLEAR,    /* its probe: no class stands out */
    DECISION_PROBE_REPAIRED, /* one stood out, and pruning has mended it */
    DECISION_PROBE_SUSPECT,  /* one stands out, and was not mended */
    DECISION_PROBE_UNKNOWN,  /* no verdict */
    DECISION_COUNT
};

/* 32 hexadecimal digits: its MESSAGE_ID, fixed for good. */
const char *decision_id(enum decision d);

/* What is known about it comes from `m` (as in LINK_FILE); empty and zero fields are left out. */
void decision_note(enum decision d, const struct link_message *m);

#endif
