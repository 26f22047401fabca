/* One more thread for the import worker: it does one job after the other.
 *
 * Started before the sandbox, which allows no new thread, and brought into it by helper_run (sandbox.h says
 * what for). Where the system gives no thread, every job is done by the caller itself. One owner. */
#ifndef GUARD_HELPER_H
#define GUARD_HELPER_H

#include <stdbool.h>

#define HELPER_JOBS 4

struct helper; /* lives as long as the process */

typedef void (*helper_fn)(void *arg);

/* Never NULL, and one for the process. From here on the process has but one heap, so that a thread needs no
 * more system calls for it. */
struct helper *helper_start(void);
bool helper_is_there(const struct helper *h);
/* Adds a job, to be begun when those before it have ended; HELPER_JOBS at most wait at a time. */
void helper_begin(struct helper *h, helper_fn fn, void *arg);
/* Waits until the helper has nothing to do. */
void helper_await(struct helper *h);
/* Both: fn(arg) on the helper, and back when it is through. */
void helper_run(struct helper *h, helper_fn fn, void *arg);

#endif
