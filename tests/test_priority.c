/* guard/priority: a thread of its own is lowered, and asked what it has become. */
#include "guard/priority.h"

#include "tests/suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

struct seen {
    enum priority asked;
    int policy, nice;
    long ioprio;
    uint64_t slice_ns;
};

static void *lowered(void *arg) {
    struct seen *s = arg;
    struct { /* struct sched_attr, up to what is read */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } a = {.size = sizeof a};
    priority_lower(0, s->asked);
    s->policy = sched_getscheduler(0);
    s->nice = getpriority(PRIO_PROCESS, (id_t)gettid());
    s->ioprio = syscall(SYS_ioprio_get, 1, 0);
    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) == 0) s->slice_ns = a.runtime;
    return NULL;
}

static struct seen lower(enum priority asked) {
    struct seen s = {.asked = asked};
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, lowered, &s), 0);
    (void)pthread_join(thread, NULL);
    return s;
}

static void test_low(void) {
    const int before = getpriority(PRIO_PROCESS, 0);
    const struct seen s = lower(PRIORITY_LOW);
    CU_ASSERT_EQUAL(s.policy, SCHED_BATCH);
    CU_ASSERT_EQUAL(s.nice, 10);
    CU_ASSERT_EQUAL(s.ioprio, 2 << 13 | 7); /* best effort, the least of it */
    if (s.slice_ns == 0)                    /* before Linux 6.12 */
        suite_skip("priority", "this kernel gives no slices");
    else
        CU_ASSERT_EQUAL(s.slice_ns, 100000000);            /* longer than whoever is woken has */
    CU_ASSERT_EQUAL(getpriority(PRIO_PROCESS, 0), before); /* nobody else's */
}

static void test_same(void) {
    const int policy = sched_getscheduler(0), nice = getpriority(PRIO_PROCESS, 0);
    const struct seen s = lower(PRIORITY_SAME);
    CU_ASSERT_EQUAL(s.policy, policy);
    CU_ASSERT_EQUAL(s.nice, nice);
}

static void test_idle(void) {
    const struct seen s = lower(PRIORITY_IDLE);
    CU_ASSERT_EQUAL(s.policy, SCHED_IDLE);
    CU_ASSERT_EQUAL(s.nice, 19);
    CU_ASSERT_EQUAL(s.ioprio, 3 << 13);
}

SUITE(priority, {"as it was", test_same}, {"a small share, and a long slice", test_low},
      {"none of what others want", test_idle});
