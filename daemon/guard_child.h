/* clpd's child clp-guard: started, greeted, listened to, restarted with back-off
 * when it dies or talks nonsense. Serving never depends on it. The loop's thread only.
 *
 *   DOWN -> GREETING -> UP -> ENDING -> DOWN        back-off 0.1 s, doubling to 30 s
 *            any of these -> STOPPED                by guard_child_stop
 */
#ifndef DAEMON_GUARD_CHILD_H
#define DAEMON_GUARD_CHILD_H

#include "daemon/loop.h"
#include "guard/link.h"

#include <sys/types.h>

struct guard_child;

struct guard_child_calls {
    uint32_t (*served)(void *owner); /* how many models are served now */
    void (*greeted)(void *owner);    /* a new one is there: it awaits one LINK_SERVING for each of them */
    /* A message, HELLO excepted. Takes fd (LINK_OFFER; else -1). */
    void (*received)(void *owner, const struct link_message *m, int fd);
    bool (*can_greet)(void *owner); /* false: leave it waiting until guard_child_resume */
    bool (*can_take)(void *owner);  /* false: leave messages in the socket until guard_child_resume */
    void *owner;
};

/* One that is up and says nothing for `silence` ns (0: never mind) hangs: it is killed. Set after
 * guard_child_start, and again when the configuration changes. */
void guard_child_set_silence(struct guard_child *g, uint64_t silence);

/* `path` of the executable, `config` for its command line: both borrowed until
 * guard_child_free. NULL: no memory. Starts it at once. */
struct guard_child *guard_child_start(struct loop *l, const char *path, const char *config,
                                      const struct guard_child_calls *calls);
void guard_child_resume(struct guard_child *g);
/* Queues a message; version is filled in. Lost where no guard is up, since each new one is told anew. */
void guard_child_send(struct guard_child *g, const struct link_message *m);

/* Asks it to end. guard_child_is_stopped is true once it has; guard_child_free kills what is left. */
void guard_child_stop(struct guard_child *g);
bool guard_child_is_stopped(const struct guard_child *g);
void guard_child_free(struct guard_child *g); /* NULL is fine */

/* Counts guards: an answer to an offer of one that is gone is of no use to the next. */
uint64_t guard_child_ticket(const struct guard_child *g);
const char *guard_child_state(const struct guard_child *g); /* "up", "starting", "down", … */
/* How it notices changes in the folder, in its own words; "": not said yet. */
const char *guard_child_watching(const struct guard_child *g);
uint64_t guard_child_restarts(const struct guard_child *g);
pid_t guard_child_pid(const struct guard_child *g); /* 0: none */

/* clp-guard beside our own executable, or in ../libexec/clpd. malloc'ed; NULL with `e` set. */
char *guard_child_find(struct err *e);

#endif
