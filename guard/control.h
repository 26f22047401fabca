/* What a person asks for through clpd: rollback and accept, each answered when it is done.
 *
 *   rollback   the image before the one that serves is offered again; its answer decides. The
 *              version that was left is barred: held until somebody accepts it, or another file comes
 *   accept     the held file is noted as accepted and imported once more; serving or not is the answer. Where
 *              none is held and the probe has a repaired network on offer, that
 *
 * clpd has checked who asks. One owner, one thread; a few at a time, one for each model. */
#ifndef GUARD_CONTROL_H
#define GUARD_CONTROL_H

#include "guard/files.h"
#include "guard/keeper.h"
#include "guard/probes.h"

#define CONTROL_ASKS 8

struct control_ask {
    enum { CONTROL_FREE, CONTROL_TO_OFFER, CONTROL_OFFERED, CONTROL_IMPORTING, CONTROL_TO_ANSWER } state;
    uint64_t ticket, version;
    uint32_t action; /* enum link_action */
    int fd;          /* TO_OFFER: the image */
    bool done;       /* TO_ANSWER */
    char model[LINK_MODEL], path[LINK_PATH], who[LINK_REASON], text[LINK_REASON];
};

struct control { /* zero it but for the first four */
    struct keeper *keeper;
    struct files *files;
    struct probes *probes;
    uint64_t policy; /* in force: struct state_image */
    struct control_ask asks[CONTROL_ASKS];
};

void control_take(struct control *c, const struct link_message *m, uint64_t now); /* LINK_CONTROL */
/* The guard's own rollback, for nobody: what serves is suspect. */
void control_fall_back(struct control *c, const char *model, const char *why);
/* The next message for clpd, *fd to go with it (stays ours) or -1, until control_sent. */
bool control_next(struct control *c, struct link_message *m, int *fd);
void control_sent(struct control *c, const struct link_message *m);
/* Whether the answer was to one of these offers. */
bool control_on_answer(struct control *c, const struct link_message *m);
/* A step of a file, as files_trace_fn has it; touches nothing but what is asked for. */
void control_on_file(struct control *c, const struct link_message *m);
void control_end(struct control *c);

#endif
