/* Who may change what is served, and who waits for the answer.
 *
 *   CONTROL frame -> may this peer? -> LINK_CONTROL to the guard -> LINK_CONTROLLED -> CONTROL_REPLY
 *
 * The guard does the work; here is only the list of those who asked. The loop's thread only. */
#ifndef DAEMON_DESK_H
#define DAEMON_DESK_H

#include "client/wire.h"
#include "guard/link.h"

#include <sys/socket.h>

#define DESK_WAITING 8 /* at once: more are told to try again */

struct connection;
struct desk_waiter {
    struct connection *connection; /* NULL: free */
    uint64_t id, ticket;
};
struct desk { /* zero it to begin */
    struct desk_waiter list[DESK_WAITING];
    uint64_t tickets;
};

/* root, the daemon's own user, or a member of `group` ("": nobody else). `fd` is the peer's socket, for its
 * other groups. Whoever is nobody here (PrivateUsers= maps all others to that) is nobody. */
bool desk_allows(const struct ucred *peer, int fd, const char *group);

/* Notes the asker; *m is what the guard is to be told. False: too many wait already. */
bool desk_note(struct desk *d, struct connection *c, uint64_t id, const struct ucred *peer,
               const struct clpd_control *q, struct link_message *m);
/* Whoever asked under this ticket, and no longer waits; connection NULL: nobody. */
struct desk_waiter desk_settle(struct desk *d, uint64_t ticket);
/* Anybody who waits, and no longer does: the guard is gone, or the daemon stops. */
struct desk_waiter desk_drop(struct desk *d);

#endif
