/* A list of eight, and the groups of a peer. */
#include "daemon/desk.h"

#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OVERFLOW_ID 65534u /* user_namespaces(7): what has no name in this namespace */
#define GROUPS      256    /* of one peer; with more, those beyond don't count */

static bool is_in_group(const struct ucred *peer, int fd, gid_t group) {
    gid_t groups[GROUPS];
    socklen_t bytes = sizeof groups;
    if (group == OVERFLOW_ID) return false;
    if (peer->gid == group) return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) < 0) return false;
    for (size_t i = 0; i < bytes / sizeof groups[0]; i++)
        if (groups[i] == group) return true;
    return false;
}

bool desk_allows(const struct ucred *peer, int fd, const char *group) {
    if (peer->pid == 0 || peer->uid == (uid_t)-1) return false; /* not known */
    if (peer->uid == 0) return true;
    if (peer->uid == geteuid()) return peer->uid != OVERFLOW_ID;
    const struct group *g = group[0] ? getgrnam(group) : NULL;
    return g && is_in_group(peer, fd, g->gr_gid);
}

bool desk_note(struct desk *d, struct connection *c, uint64_t id, const struct ucred *peer,
               const struct clpd_control *q, struct link_message *m) {
    struct desk_waiter *w = d->list;
    while (w < d->list + DESK_WAITING && w->connection) w++;
    if (w == d->list + DESK_WAITING) return false;
    *w = (struct desk_waiter){.connection = c, .id = id, .ticket = ++d->tickets};
    *m = (struct link_message){.type = LINK_CONTROL,
                               .model_version = w->ticket,
                               .count = q->action == CLPD_ROLLBACK ? LINK_ROLLBACK : LINK_ACCEPT};
    memcpy(m->model, q->model, sizeof m->model);
    (void)snprintf(m->reason, sizeof m->reason, "user %u (process %d)", (unsigned)peer->uid, (int)peer->pid);
    return true;
}

static struct desk_waiter take(struct desk_waiter *w) {
    const struct desk_waiter was = *w;
    w->connection = NULL;
    return was;
}

struct desk_waiter desk_settle(struct desk *d, uint64_t ticket) {
    for (int i = 0; i < DESK_WAITING; i++)
        if (d->list[i].connection && d->list[i].ticket == ticket) return take(&d->list[i]);
    return (struct desk_waiter){0};
}

struct desk_waiter desk_drop(struct desk *d) {
    for (int i = 0; i < DESK_WAITING; i++)
        if (d->list[i].connection) return take(&d->list[i]);
    return (struct desk_waiter){0};
}
