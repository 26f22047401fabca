/* sched(7), ioprio_set(2), sched_setattr(2). */
#include "guard/priority.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOW_NICE = 10, IDLE_NICE = 19 };

#define SLICE_NS 100000000u /* the longest that one may ask for */

/* Who is woken takes the CPU at once only from somebody whose slice ends later; else it waits for the next
 * tick, 4 ms of them. So the slice is a long one, which nobody is made to wait for. From Linux 6.12 on slices
 * may be asked for; before, the field means nothing for this policy. */
static void set_batch(pid_t tid) {
    const struct { /* as in linux/sched/types.h, which can't be included beside sched.h */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } a = {.size = sizeof a, .policy = SCHED_BATCH, .nice = LOW_NICE, .runtime = SLICE_NS};
    const struct sched_param none = {0};
    (void)sched_setscheduler(tid, SCHED_BATCH, &none);
    (void)syscall(SYS_sched_setattr, tid, &a, 0);
}

void priority_lower(pid_t tid, enum priority p) {
    enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_CLASS_BE = 2, IOPRIO_CLASS_IDLE = 3, IOPRIO_CLASS_SHIFT = 13 };
    const struct sched_param none = {0};
    if (p == PRIORITY_SAME) return;
    (void)setpriority(PRIO_PROCESS, (id_t)tid, p == PRIORITY_IDLE ? IDLE_NICE : LOW_NICE);
    if (p == PRIORITY_IDLE)
        (void)sched_setscheduler(tid, SCHED_IDLE, &none);
    else
        set_batch(tid);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, tid,
                  p == PRIORITY_IDLE ? IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT
                                     : IOPRIO_CLASS_BE << IOPRIO_CLASS_SHIFT | 7);
}
