/* The lookout without threads: what is new, whom it asks to ring, and that nobody is passed over. */
#include "daemon/lookout.h"
#include "daemon/loop.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SOURCES = 5 };

struct fake {
    struct lookout_source source; /* first */
    uint32_t submitted, sleeps, cpu, pulled, expected;
    struct request requests[256];
};

static struct request *pull(struct lookout_source *s, uint32_t most, uint64_t now) {
    struct fake *f = (struct fake *)s;
    struct request *chain = NULL, **end = &chain;
    uint32_t taken = atomic_load(&s->taken);
    for (; taken != f->submitted && most; most--) {
        struct request *r = &f->requests[taken++ % 256];
        *r = (struct request){.arrived_ns = now};
        *end = r;
        end = &r->next;
        f->pulled++;
    }
    atomic_store(&s->taken, taken);
    return chain;
}

static void expect(const struct lookout_source *s) {
    ((struct fake *)(void *)(uintptr_t)s)->expected++;
}

static void open_lookout(struct lookout *l, struct fake fakes[SOURCES]) {
    struct err e;
    CU_ASSERT_EQUAL_FATAL(lookout_open(l, 1000, &e), 0);
    memset(fakes, 0, SOURCES * sizeof *fakes);
    for (int i = 0; i < SOURCES; i++) {
        struct fake *f = &fakes[i];
        f->source = (struct lookout_source){.submitted = &f->submitted,
                                            .sleeps = &f->sleeps,
                                            .cpu = &f->cpu,
                                            .bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                            .pull = pull,
                                            .expect = expect};
        CU_ASSERT_EQUAL_FATAL(lookout_add(l, &f->source), 0);
    }
}

static void close_lookout(struct lookout *l, struct fake fakes[SOURCES]) {
    for (int i = 0; i < SOURCES; i++) close(fakes[i].source.bell);
    lookout_close(l);
}

static uint32_t count(const struct request *chain) {
    uint32_t n = 0;
    for (; chain; chain = chain->next) n++;
    return n;
}

static struct fake fakes[SOURCES];

static void new_requests(void) {
    struct lookout l;
    open_lookout(&l, fakes);
    CU_ASSERT_FALSE(lookout_look(&l));
    fakes[3].submitted = 2;
    CU_ASSERT_TRUE(lookout_look(&l));
    CU_ASSERT_EQUAL(count(lookout_pull(&l, 1)), 2);
    CU_ASSERT_FALSE(lookout_look(&l));
    CU_ASSERT_PTR_NULL(lookout_pull(&l, 1));
    atomic_store(&l.looking, true); /* by another thread */
    fakes[0].submitted = 1;
    CU_ASSERT_FALSE(lookout_look(&l));
    atomic_store(&l.looking, false);
    CU_ASSERT_TRUE(lookout_look(&l));
    close_lookout(&l, fakes);
}

static void arming(void) {
    struct lookout l;
    open_lookout(&l, fakes);
    CU_ASSERT_EQUAL(fakes[1].sleeps, 1); /* a new one rings: the watcher may be asleep already */
    CU_ASSERT_TRUE(lookout_arm(&l));
    fakes[1].submitted++;
    CU_ASSERT_FALSE(lookout_arm(&l)); /* came in between: no sleep */
    CU_ASSERT_EQUAL(count(lookout_pull(&l, 1)), 1);
    CU_ASSERT_TRUE(fakes[1].sleeps == 0 && fakes[0].sleeps == 1);
    /* A client that rang for an earlier sleep may take the flag of this one away: it is set whatever we wrote
     * last. */
    fakes[0].sleeps = 0;
    CU_ASSERT_TRUE(lookout_arm(&l));
    CU_ASSERT_TRUE(fakes[0].sleeps == 1 && fakes[1].sleeps == 1);
    const uint64_t one = 1;
    CU_ASSERT_EQUAL(write(fakes[2].source.bell, &one, sizeof one), sizeof one);
    lookout_sleep(&l); /* comes back */
    CU_ASSERT_EQUAL(write(fakes[2].source.bell, &one, sizeof one), sizeof one);
    lookout_sleep(&l); /* by edge: nobody has read the bell */
    lookout_wake(&l);
    lookout_sleep(&l);
    close_lookout(&l, fakes);
}

/* One worker sleeps by the flags while another, done with something else, takes what has just come: a client
 * that has not rung yet still has to, or neither its bell nor anybody would ever wake the sleeper. */
static void taking_beside_a_sleeper(void) {
    struct lookout l;
    open_lookout(&l, fakes);
    CU_ASSERT_TRUE(lookout_arm(&l));
    fakes[2].submitted++;
    CU_ASSERT_EQUAL(count(lookout_pull(&l, 1)), 1);
    CU_ASSERT_EQUAL(fakes[2].sleeps, 1);
    lookout_learn(&l, 1, false); /* it is awake */
    fakes[2].submitted++;
    CU_ASSERT_EQUAL(count(lookout_pull(&l, 1)), 1);
    CU_ASSERT_EQUAL(fakes[2].sleeps, 0);
    close_lookout(&l, fakes);
}

/* One that always has more than its share doesn't keep the others waiting. */
static void shares(void) {
    struct lookout l;
    open_lookout(&l, fakes);
    for (int round = 0; round < 10; round++) {
        fakes[0].submitted = atomic_load(&fakes[0].source.taken) + 200;
        for (int i = 1; i < SOURCES; i++) fakes[i].submitted++;
        CU_ASSERT_TRUE(count(lookout_pull(&l, 1)) <= LOOKOUT_PULL);
        for (int i = 1; i < SOURCES; i++) CU_ASSERT_EQUAL(fakes[i].pulled, (uint32_t)round + 1);
    }
    CU_ASSERT_TRUE(fakes[0].pulled >= 10 * (LOOKOUT_PULL / SOURCES));
    close_lookout(&l, fakes);
}

static void removing(void) {
    struct lookout l;
    open_lookout(&l, fakes);
    lookout_remove(&l, &fakes[1].source);
    lookout_remove(&l, &fakes[4].source);
    for (int i = 0; i < SOURCES; i++) fakes[i].submitted = 1;
    CU_ASSERT_EQUAL(count(lookout_pull(&l, 1)), 3);
    CU_ASSERT_TRUE(fakes[1].pulled == 0 && fakes[4].pulled == 0);
    lookout_remove(&l, &fakes[0].source);
    lookout_remove(&l, &fakes[3].source);
    lookout_remove(&l, &fakes[2].source);
    CU_ASSERT_EQUAL(l.n, 0);
    CU_ASSERT_FALSE(lookout_look(&l));
    CU_ASSERT_PTR_NULL(lookout_pull(&l, 1));
    close_lookout(&l, fakes);
}

/* Who spins says whether something came, fetches it, and leaves the clients' flags alone. */
static void spinning(void) {
    struct lookout l;
    _Atomic bool on = true;
    open_lookout(&l, fakes);
    CU_ASSERT_FALSE(lookout_spin(&l, &on, loop_clock())); /* ends by itself */
    for (int i = 0; i < SOURCES; i++) fakes[i].sleeps = 0;
    fakes[2].submitted = 1;
    CU_ASSERT_TRUE(lookout_spin(&l, &on, loop_clock()));
    CU_ASSERT_EQUAL(fakes[2].expected, 1);
    CU_ASSERT_EQUAL(fakes[1].expected, 0);
    for (int i = 0; i < SOURCES; i++) CU_ASSERT_EQUAL(fakes[i].sleeps, 0);
    fakes[2].source.taken = 1;
    on = false;
    CU_ASSERT_FALSE(lookout_spin(&l, &on, loop_clock()));
    close_lookout(&l, fakes);
}

/* Only the client that asked last counts, and only if it says where it is. */
static void beside(void) {
    struct lookout l;
    open_lookout(&l, fakes);
    CU_ASSERT_FALSE(lookout_is_beside(&l, 0));
    fakes[1].cpu = 3;
    fakes[1].submitted++;
    CU_ASSERT_FALSE(lookout_is_beside(&l, 2));
    CU_ASSERT_EQUAL(count(lookout_pull(&l, 1)), 1);
    CU_ASSERT_TRUE(lookout_is_beside(&l, 2));
    CU_ASSERT_FALSE(lookout_is_beside(&l, 3));
    CU_ASSERT_FALSE(lookout_is_beside(&l, -1));
    fakes[4].submitted++;
    CU_ASSERT_EQUAL(count(lookout_pull(&l, 1)), 1);
    CU_ASSERT_FALSE(lookout_is_beside(&l, -1)); /* it says 0: nowhere */
    CU_ASSERT_FALSE(lookout_is_beside(&l, 2));
    fakes[1].submitted++;
    CU_ASSERT_EQUAL(count(lookout_pull(&l, 1)), 1);
    lookout_remove(&l, &fakes[1].source);
    CU_ASSERT_FALSE(lookout_is_beside(&l, 2));
    close_lookout(&l, fakes);
}

SUITE(lookout, {"what is new is seen and taken", new_requests},
      {"who spins finds it and leaves the flags", spinning}, {"a client on the same CPU is known", beside},
      {"clients are asked to ring before sleep", arming},
      {"what a sleeper sleeps by stays", taking_beside_a_sleeper}, {"everybody's turn comes", shares},
      {"what was removed is left alone", removing});
