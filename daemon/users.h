/* What each user holds of the house: limits of one connection mean little to who opens many.
 * A user is a uid, as SO_PEERCRED tells it. The loop's thread only. */
#ifndef DAEMON_USERS_H
#define DAEMON_USERS_H

#include <stdint.h>
#include <sys/types.h>

struct user {
    uid_t uid;
    uint32_t connections;
    uint32_t requests; /* slots that are taken, and those of rings, used or not */
    struct user *next;
};

struct users { /* zero at first */
    struct user *first;
};

/* The user of one more connection. NULL: no memory. */
struct user *users_get(struct users *u, uid_t uid);
/* One connection less; the last one's end forgets the user. */
void users_put(struct users *u, struct user *user);

#endif
