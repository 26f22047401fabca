/* A list: there are few users, and connections come and go far less often than requests. */
#include "daemon/users.h"

#include <assert.h>
#include <stdlib.h>

struct user *users_get(struct users *u, uid_t uid) {
    struct user *user = u->first;
    while (user && user->uid != uid) user = user->next;
    if (!user) {
        user = calloc(1, sizeof *user);
        if (!user) return NULL;
        user->uid = uid;
        user->next = u->first;
        u->first = user;
    }
    user->connections++;
    return user;
}

void users_put(struct users *u, struct user *user) {
    if (--user->connections) return;
    assert(user->requests == 0);
    struct user **link = &u->first;
    while (*link != user) link = &(*link)->next;
    *link = user->next;
    free(user);
}
