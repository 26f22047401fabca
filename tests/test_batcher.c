/* The batcher: who runs next, together with whom; deadlines, cancellation, limits. */
#include "daemon/batcher.h"
#include "tests/mutate.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static struct batcher b;
static struct request pool[256];
static size_t n_pool;

static void open_batcher(uint32_t limit) {
    struct err e;
    n_pool = 0;
    memset(pool, 0, sizeof pool);
    CU_ASSERT_EQUAL_FATAL(batcher_open(&b, limit, &e), 0);
}

static struct request *ask(struct batcher_queue *q, struct batcher_client *c, uint32_t items,
                           uint64_t deadline) {
    struct request *r = &pool[n_pool++];
    r->queue = q;
    r->client = c;
    r->items = items;
    r->deadline_ns = deadline;
    return batcher_push(&b, r) ? r : NULL;
}

static uint32_t length(const struct request *chain) {
    uint32_t n = 0;
    for (; chain; chain = chain->next) n++;
    return n;
}

static uint32_t take(struct request **out) {
    struct request *late;
    const uint32_t n = batcher_take(&b, 1, 0, out, &late);
    CU_ASSERT_PTR_NULL(late);
    return n;
}

static void in_order(void) {
    struct batcher_queue q = {.max_items = 4};
    struct batcher_client c = {0};
    struct request *r[10], *out[BATCHER_MAX_ITEMS];
    open_batcher(100);
    CU_ASSERT_EQUAL(take(out), 0);
    for (int i = 0; i < 10; i++) r[i] = ask(&q, &c, 1, 0);
    CU_ASSERT_EQUAL(b.n_waiting, 10);
    CU_ASSERT_EQUAL(c.n_waiting, 10);
    CU_ASSERT_EQUAL(take(out), 4); /* the largest batch, at once */
    for (int i = 0; i < 4; i++) CU_ASSERT_PTR_EQUAL(out[i], r[i]);
    CU_ASSERT_EQUAL(take(out), 4);
    CU_ASSERT_EQUAL(take(out), 2); /* and what is left: nothing waits for a batch to fill up */
    CU_ASSERT_PTR_EQUAL(out[1], r[9]);
    CU_ASSERT_EQUAL(b.n_running, 10);
    batcher_finish(&b, 10);
    CU_ASSERT_EQUAL(b.n_waiting + b.n_running + c.n_waiting + q.n_waiting, 0);
    CU_ASSERT_PTR_NULL(c.flows);
    batcher_close(&b);
}

static void clients_share(void) {
    struct batcher_queue q = {.max_items = 2};
    struct batcher_client flood = {0}, quiet = {0};
    struct request *out[BATCHER_MAX_ITEMS];
    open_batcher(100);
    for (int i = 0; i < 20; i++) (void)ask(&q, &flood, 1, 0);
    CU_ASSERT_EQUAL(take(out), 2);
    struct request *late_comer = ask(&q, &quiet, 1, 0);
    CU_ASSERT_EQUAL(take(out), 2); /* not behind the other 18 */
    CU_ASSERT_TRUE(out[0] == late_comer || out[1] == late_comer);
    /* both send all the time: half each */
    uint32_t got = 0;
    for (int i = 0; i < 8; i++) {
        (void)ask(&q, &quiet, 1, 0);
        const uint32_t n = take(out);
        for (uint32_t k = 0; k < n; k++) got += out[k]->client == &quiet;
    }
    CU_ASSERT_TRUE(got >= 7);
    batcher_close(&b);
}

/* One asks for 8 pictures at a time, the other for one: they get the same number of pictures. */
static void items_count(void) {
    struct batcher_queue q = {.max_items = 8};
    struct batcher_client large = {0}, small = {0};
    struct request *out[BATCHER_MAX_ITEMS];
    uint32_t items[2] = {0, 0};
    open_batcher(200);
    for (int i = 0; i < 12; i++) (void)ask(&q, &large, 8, 0);
    for (int i = 0; i < 96; i++) (void)ask(&q, &small, 1, 0);
    for (int i = 0; i < 12; i++) {
        const uint32_t n = take(out);
        for (uint32_t k = 0; k < n; k++) items[out[k]->client == &small] += out[k]->items;
    }
    CU_ASSERT_TRUE(items[0] >= 40 && items[1] >= 40);
    batcher_close(&b);
}

/* The same where the large one sends its next request only when it has its answer. */
static void what_was_had_is_remembered(void) {
    struct batcher_queue q = {.max_items = 8};
    struct batcher_client large = {0}, small = {0};
    struct request *out[BATCHER_MAX_ITEMS];
    uint32_t items[2] = {0, 0};
    open_batcher(200);
    for (int i = 0; i < 100; i++) (void)ask(&q, &small, 1, 0);
    struct request *again = ask(&q, &large, 8, 0);
    for (int i = 0; i < 10; i++) {
        const uint32_t n = take(out);
        for (uint32_t k = 0; k < n; k++) {
            items[out[k]->client == &small] += out[k]->items;
            if (out[k] == again) CU_ASSERT_TRUE(batcher_push(&b, again));
        }
    }
    CU_ASSERT_TRUE(items[0] <= 48 && items[0] >= 32);
    batcher_close(&b);
}

static void models_take_turns(void) {
    struct batcher_queue q[3] = {{.max_items = 4}, {.max_items = 4}, {.max_items = 4}};
    struct batcher_client c = {0};
    struct request *out[BATCHER_MAX_ITEMS];
    int turns[3] = {0};
    open_batcher(100);
    for (int i = 0; i < 16; i++) (void)ask(&q[0], &c, 1, 0);
    for (int i = 0; i < 8; i++) (void)ask(&q[1], &c, 1, 0);
    (void)ask(&q[2], &c, 1, 0);
    for (int i = 0; i < 3; i++) {
        const uint32_t n = take(out);
        for (uint32_t k = 1; k < n; k++) CU_ASSERT_PTR_EQUAL(out[k]->queue, out[0]->queue);
        turns[out[0]->queue - q]++;
    }
    CU_ASSERT_TRUE(turns[0] == 1 && turns[1] == 1 && turns[2] == 1);
    while (take(out)) {}
    CU_ASSERT_EQUAL(b.n_running, 25);
    CU_ASSERT_EQUAL(b.n_queues, 0);
    batcher_close(&b);
}

static void large_and_mixed(void) {
    struct batcher_queue q = {.max_items = 4};
    struct batcher_client c[6] = {{0}};
    struct request *out[BATCHER_MAX_ITEMS];
    open_batcher(100);
    struct request *huge = ask(&q, &c[0], 100, 0), *three = ask(&q, &c[1], 3, 0), *two = ask(&q, &c[2], 2, 0),
                   *one = ask(&q, &c[2], 1, 0);
    CU_ASSERT_EQUAL(take(out), 1); /* alone: it takes several runs */
    CU_ASSERT_PTR_EQUAL(out[0], huge);
    CU_ASSERT_EQUAL(take(out), 1); /* two does not fit beside three, and one may not overtake it */
    CU_ASSERT_PTR_EQUAL(out[0], three);
    CU_ASSERT_EQUAL(take(out), 2);
    CU_ASSERT_TRUE(out[0] == two && out[1] == one);
    /* requests that were checked against another version don't mix */
    struct request *a = ask(&q, &c[3], 1, 0), *d = ask(&q, &c[4], 1, 0), *f = ask(&q, &c[5], 1, 0);
    d->key = 1;
    CU_ASSERT_EQUAL(take(out), 2);
    CU_ASSERT_TRUE(out[0] == a && out[1] == f);
    CU_ASSERT_EQUAL(take(out), 1);
    CU_ASSERT_PTR_EQUAL(out[0], d);
    batcher_close(&b);
}

static void shared_with_idle_workers(void) {
    struct batcher_queue q[2] = {{.max_items = 8}, {.max_items = 8}};
    struct batcher_client c = {0};
    struct request *out[BATCHER_MAX_ITEMS], *late;
    open_batcher(100);
    for (int i = 0; i < 8; i++) (void)ask(&q[0], &c, 1, 0);
    CU_ASSERT_EQUAL(batcher_take(&b, 1, 1, out, &late), 4);
    CU_ASSERT_EQUAL(batcher_take(&b, 1, 0, out, &late), 4);
    for (int i = 0; i < 8; i++) (void)ask(&q[0], &c, 1, 0);
    (void)ask(&q[1], &c, 1, 0); /* the idle one has this to do */
    CU_ASSERT_EQUAL(batcher_take(&b, 1, 1, out, &late), 8);
    batcher_close(&b);
}

static void deadlines(void) {
    struct batcher_queue q = {.max_items = 8};
    struct batcher_client c = {0}, d = {0};
    struct request *out[BATCHER_MAX_ITEMS], *late;
    open_batcher(100);
    CU_ASSERT_EQUAL(batcher_next_deadline(&b), 0);
    (void)ask(&q, &c, 1, 0);
    (void)ask(&q, &c, 1, 500);
    (void)ask(&q, &c, 1, 300);
    (void)ask(&q, &d, 1, 100);
    CU_ASSERT_EQUAL(batcher_next_deadline(&b), 100);
    CU_ASSERT_PTR_NULL(batcher_expire(&b, 99));
    CU_ASSERT_EQUAL(length(batcher_expire(&b, 100)), 1); /* from the middle of a flow, too: */
    CU_ASSERT_EQUAL(batcher_next_deadline(&b), 300);
    CU_ASSERT_EQUAL(length(batcher_expire(&b, 400)), 1);
    CU_ASSERT_EQUAL(batcher_next_deadline(&b), 500);
    /* at the moment of taking, nothing late is computed */
    (void)ask(&q, &d, 1, 450);
    (void)ask(&q, &d, 1, 600);
    CU_ASSERT_EQUAL(batcher_take(&b, 550, 0, out, &late), 2);
    CU_ASSERT_EQUAL(length(late), 2);
    CU_ASSERT_TRUE(late->deadline_ns == 450 || late->deadline_ns == 500);
    CU_ASSERT_EQUAL(b.n_waiting, 0);
    /* all late: nothing to run */
    (void)ask(&q, &c, 1, 10);
    (void)ask(&q, &c, 1, 10);
    CU_ASSERT_EQUAL(batcher_take(&b, 550, 0, out, &late), 0);
    CU_ASSERT_EQUAL(length(late), 2);
    CU_ASSERT_PTR_NULL(b.first);
    batcher_close(&b);
}

static void limits_and_cancelling(void) {
    struct batcher_queue q[2] = {{.max_items = 2}, {.max_items = 2}};
    struct batcher_client c = {0}, d = {0};
    struct request *out[BATCHER_MAX_ITEMS];
    open_batcher(4);
    for (int i = 0; i < 4; i++) CU_ASSERT_PTR_NOT_NULL(ask(&q[i % 2], i < 3 ? &c : &d, 1, 0));
    CU_ASSERT_PTR_NULL(ask(&q[0], &c, 1, 0));
    CU_ASSERT_EQUAL(take(out), 2); /* running ones count */
    CU_ASSERT_PTR_NULL(ask(&q[0], &c, 1, 0));
    batcher_finish(&b, 2);
    CU_ASSERT_PTR_NOT_NULL(ask(&q[0], &c, 1, 0));
    CU_ASSERT_EQUAL(length(batcher_cancel(&b, &c)), 2);
    CU_ASSERT_EQUAL(length(batcher_cancel(&b, &c)), 0);
    CU_ASSERT_EQUAL(b.n_waiting, 1);
    CU_ASSERT_EQUAL(d.n_waiting, 1);
    CU_ASSERT_EQUAL(length(batcher_drain(&b)), 1);
    CU_ASSERT_EQUAL(b.n_waiting + b.n_running + b.n_queues, 0);
    batcher_close(&b);
}

/* Random operations against a plain model: nothing is lost, doubled, late, mixed or out of its client's
 * order. */
enum { QUEUES = 4, CLIENTS = 6, REQUESTS = 200, STEPS = 200000 };
struct book {
    struct request r;
    int where; /* 0 free, 1 waits, 2 runs */
    uint64_t stamp;
};
static struct book book[REQUESTS];
static struct batcher_queue queues[QUEUES];
static struct batcher_client clients[CLIENTS];

static void leave(struct request *chain, uint32_t *waiting) {
    while (chain) {
        struct request *next = chain->next;
        struct book *k = (struct book *)chain;
        CU_ASSERT_EQUAL(k->where, 1);
        k->where = 0;
        --*waiting;
        chain = next;
    }
}

static void check_batch(struct request **out, uint32_t n, uint64_t now) {
    uint64_t items = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct book *k = (struct book *)out[i];
        CU_ASSERT_EQUAL(k->where, 1);
        CU_ASSERT_TRUE(out[i]->queue == out[0]->queue && out[i]->key == out[0]->key);
        CU_ASSERT_FALSE(out[i]->deadline_ns && out[i]->deadline_ns <= now);
        items += out[i]->items;
        for (int j = 0; j < REQUESTS; j++) /* none of the same client and model waits that came before */
            CU_ASSERT_FALSE(book[j].where == 1 && book[j].r.client == out[i]->client &&
                            book[j].r.queue == out[i]->queue && book[j].stamp < k->stamp &&
                            !(book[j].r.deadline_ns && book[j].r.deadline_ns <= now));
        k->where = 2;
    }
    CU_ASSERT_TRUE(n == 1 || items <= out[0]->queue->max_items);
}

static void at_random(void) {
    uint64_t seed = 99, now = 1;
    uint32_t waiting = 0, running = 0;
    struct request *out[BATCHER_MAX_ITEMS];
    open_batcher(100);
    for (size_t i = 0; i < QUEUES; i++) queues[i].max_items = (uint32_t)(1 + i * 3);
    for (int step = 0; step < STEPS; step++, now += mutate_below(&seed, 3)) {
        const size_t what = mutate_below(&seed, 20);
        struct book *k = &book[mutate_below(&seed, REQUESTS)];
        if (what < 12 && k->where == 0) {
            k->r =
                (struct request){.queue = &queues[mutate_below(&seed, QUEUES)],
                                 .client = &clients[mutate_below(&seed, CLIENTS)],
                                 .items = (uint32_t)(1 + mutate_below(&seed, 12)),
                                 .key = mutate_below(&seed, 10) == 0,
                                 .deadline_ns = mutate_below(&seed, 3) ? 0 : now + mutate_below(&seed, 200)};
            k->stamp = (uint64_t)step + 1;
            const bool in = batcher_push(&b, &k->r);
            CU_ASSERT_EQUAL(in, waiting + running < 100);
            if (in) k->where = 1, waiting++;
        } else if (what < 18) {
            struct request *late;
            const uint32_t n = batcher_take(&b, now, (uint32_t)mutate_below(&seed, 3), out, &late);
            leave(late, &waiting);
            if (n)
                check_batch(out, n, now);
            else
                CU_ASSERT_EQUAL(waiting, 0); /* work-conserving */
            waiting -= n;
            batcher_finish(&b, n);
            for (uint32_t i = 0; i < n; i++) ((struct book *)out[i])->where = 0;
        } else if (what == 18) {
            leave(batcher_expire(&b, now), &waiting);
            for (int j = 0; j < REQUESTS; j++)
                CU_ASSERT_FALSE(book[j].where == 1 && book[j].r.deadline_ns && book[j].r.deadline_ns <= now);
        } else if (mutate_below(&seed, 10) == 0) {
            leave(batcher_cancel(&b, &clients[mutate_below(&seed, CLIENTS)]), &waiting);
        }
        CU_ASSERT_EQUAL(b.n_waiting, waiting);
    }
    leave(batcher_drain(&b), &waiting);
    CU_ASSERT_EQUAL(waiting, 0);
    batcher_close(&b);
}

SUITE(batcher, {"first come, first served, up to the largest batch", in_order},
      {"a flood does not shut out others", clients_share}, {"pictures count, not requests", items_count},
      {"also between requests", what_was_had_is_remembered}, {"models take turns", models_take_turns},
      {"large requests and other versions", large_and_mixed},
      {"idle workers get their share", shared_with_idle_workers}, {"deadlines", deadlines},
      {"limits and cancelling", limits_and_cancelling},
      {"200,000 random steps against a plain model", at_random});
