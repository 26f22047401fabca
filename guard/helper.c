/* A thread that sleeps on a condition until there is a job. See helper.h. */
#include "guard/helper.h"

#include <malloc.h>
#include <pthread.h>

#define STACK ((size_t)512 << 10)

struct helper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool there;
    /* under the lock */
    struct {
        helper_fn fn;
        void *arg;
    } jobs[HELPER_JOBS];   /* a ring */
    unsigned begun, asked; /* how many ever */
    bool busy;
};

static void *work(void *arg) {
    struct helper *h = arg;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (h->begun == h->asked) pthread_cond_wait(&h->change, &h->lock);
        const unsigned at = h->begun++ % HELPER_JOBS;
        const helper_fn fn = h->jobs[at].fn;
        void *const of = h->jobs[at].arg;
        h->busy = true;
        pthread_mutex_unlock(&h->lock);
        fn(of);
        pthread_mutex_lock(&h->lock);
        h->busy = false;
        pthread_cond_broadcast(&h->change);
    }
    return NULL; /* never */
}

static void begin(void *arg) {
    (void)arg;
}

struct helper *helper_start(void) {
    static struct helper h = {.lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};
    pthread_attr_t attributes;
    if (h.there) return &h;
    (void)mallopt(M_ARENA_MAX, 1);
    if (pthread_attr_init(&attributes)) return &h;
    h.there = pthread_attr_setstacksize(&attributes, STACK) == 0 &&
              pthread_create(&h.thread, &attributes, work, &h) == 0;
    (void)pthread_attr_destroy(&attributes);
    /* A thread that begins makes system calls (rseq, set_robust_list) that no worker may make later: it has
     * begun when it has done its first job. Where there is no Landlock, nothing else waits for it before the
     * filter. */
    helper_run(&h, begin, NULL);
    return &h;
}

bool helper_is_there(const struct helper *h) {
    return h->there;
}

void helper_begin(struct helper *h, helper_fn fn, void *arg) {
    if (!h->there) {
        fn(arg);
        return;
    }
    pthread_mutex_lock(&h->lock);
    while (h->asked - h->begun == HELPER_JOBS) pthread_cond_wait(&h->change, &h->lock);
    h->jobs[h->asked % HELPER_JOBS].fn = fn;
    h->jobs[h->asked++ % HELPER_JOBS].arg = arg;
    pthread_cond_broadcast(&h->change);
    pthread_mutex_unlock(&h->lock);
}

void helper_await(struct helper *h) {
    pthread_mutex_lock(&h->lock);
    while (h->busy || h->begun != h->asked) pthread_cond_wait(&h->change, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

void helper_run(struct helper *h, helper_fn fn, void *arg) {
    helper_begin(h, fn, arg);
    helper_await(h);
}
