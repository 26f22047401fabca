/* guard/helper: jobs are done in their order, all of them, and awaiting waits for the last. */
#include "guard/helper.h"
#include "tests/suite.h"

#include <pthread.h>

enum { JOBS = 100 };

struct job {
    int number;
    pthread_t by;
};

static int n_done, order[JOBS];
static struct job jobs[JOBS];

static void note(void *arg) {
    struct job *j = arg;
    j->by = pthread_self();
    order[n_done++] = j->number;
}

static void in_order(void) {
    struct helper *h = helper_start();
    CU_ASSERT_TRUE(helper_is_there(h));
    n_done = 0;
    for (int i = 0; i < JOBS; i++) {
        jobs[i].number = i;
        helper_begin(h, note, &jobs[i]);
    }
    helper_await(h);
    CU_ASSERT_EQUAL(n_done, JOBS);
    for (int i = 0; i < JOBS; i++) {
        CU_ASSERT_EQUAL(order[i], i);
        CU_ASSERT_FALSE(pthread_equal(jobs[i].by, pthread_self()));
    }
    helper_run(h, note, (n_done = 0, &jobs[7]));
    CU_ASSERT_EQUAL(n_done, 1);
    CU_ASSERT_EQUAL(order[0], 7);
}

SUITE(helper, {"jobs in their order", in_order});
