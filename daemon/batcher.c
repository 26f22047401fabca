/* Queues as doubly linked lists; every request that waits is in exactly one flow. */
#include "daemon/batcher.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

int batcher_open(struct batcher *b, uint32_t limit, struct err *e) {
    *b = (struct batcher){.limit = limit};
    b->flows = calloc(limit, sizeof *b->flows);
    if (!b->flows) return err_set(e, ERR_SYSTEM, "out of memory for %u queued requests", limit);
    for (uint32_t i = limit; i-- > 0;) {
        b->flows[i].next = b->free_flows;
        b->free_flows = &b->flows[i];
    }
    return 0;
}

void batcher_close(struct batcher *b) {
    free(b->flows);
    *b = (struct batcher){0};
}

/* --- the model ring ------------------------------------------------------------------ */

static void ring_add(struct batcher *b, struct batcher_queue *q) {
    q->next = NULL;
    q->previous = b->last;
    if (b->last)
        b->last->next = q;
    else
        b->first = q;
    b->last = q;
    b->n_queues++;
}

static void ring_remove(struct batcher *b, struct batcher_queue *q) {
    if (q->previous)
        q->previous->next = q->next;
    else
        b->first = q->next;
    if (q->next)
        q->next->previous = q->previous;
    else
        b->last = q->previous;
    q->next = q->previous = NULL;
    b->n_queues--;
}

/* --- flows ----------------------------------------------------------------------------- */

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static void flow_to_end(struct batcher_queue *q, struct batcher_flow *f) {
    f->next = NULL;
    f->previous = q->last;
    if (q->last)
        q->last->next = f;
    else
        q->first = f;
    q->last = f;
}

static void flow_unlink(struct batcher_queue *q, struct batcher_flow *f) {
    if (f->previous)
        f->previous->next = f->next;
    else
        q->first = f->next;
    if (f->next)
        f->next->previous = f->previous;
    else
        q->last = f->previous;
    f->next = f->previous = NULL;
}

static struct batcher_flow *flow_of(const struct batcher_client *c, const struct batcher_queue *q) {
    struct batcher_flow *f = c->flows;
    while (f && f->queue != q) f = f->next_of_client; /* a client asks few models at once */
    return f;
}

/* There are as many flows as requests may wait, so one is always free here. */
static struct batcher_flow *flow_open(struct batcher *b, struct batcher_client *c, struct batcher_queue *q) {
    struct batcher_flow *f = b->free_flows;
    assert(f);
    b->free_flows = f->next;
    *f = (struct batcher_flow){.queue = q, .client = c, .next_of_client = c->flows};
    f->start = c->last_queue == q ? later(q->virtual_now, c->last_finish) : q->virtual_now;
    c->flows = f;
    if (!q->first) ring_add(b, q);
    flow_to_end(q, f);
    return f;
}

static void flow_close(struct batcher *b, struct batcher_flow *f) {
    struct batcher_queue *q = f->queue;
    struct batcher_client *c = f->client;
    struct batcher_flow **link = &c->flows;
    while (*link != f) link = &(*link)->next_of_client;
    *link = f->next_of_client;
    c->last_queue = q;
    c->last_finish = f->start;
    flow_unlink(q, f);
    if (!q->first) ring_remove(b, q);
    f->next = b->free_flows;
    b->free_flows = f;
}

/* Out of its flow, which goes with its last request. */
static void request_remove(struct batcher *b, struct request *r) {
    struct batcher_flow *f = r->flow;
    if (r->previous)
        r->previous->next = r->next;
    else
        f->first = r->next;
    if (r->next)
        r->next->previous = r->previous;
    else
        f->last = r->previous;
    r->next = r->previous = NULL;
    r->flow = NULL;
    b->n_waiting--;
    f->client->n_waiting--;
    f->queue->n_waiting--;
    f->queue->items_waiting -= r->items;
    if (!f->first) flow_close(b, f);
}

/* --- in --------------------------------------------------------------------------------- */

bool batcher_push(struct batcher *b, struct request *r) {
    if ((uint64_t)b->n_waiting + b->n_running >= b->limit) return false;
    struct batcher_flow *f = flow_of(r->client, r->queue);
    if (!f) f = flow_open(b, r->client, r->queue);
    r->flow = f;
    r->next = NULL;
    r->previous = f->last;
    if (f->last)
        f->last->next = r;
    else
        f->first = r;
    f->last = r;
    b->n_waiting++;
    f->client->n_waiting++;
    f->queue->n_waiting++;
    f->queue->items_waiting += r->items;
    if (r->deadline_ns && (!b->earliest || r->deadline_ns < b->earliest)) b->earliest = r->deadline_ns;
    return true;
}

/* --- out -------------------------------------------------------------------------------- */

static bool is_late(const struct request *r, uint64_t now) {
    return r->deadline_ns && r->deadline_ns <= now;
}

static void chain_add(struct request ***tail, struct request *r) {
    r->next = NULL;
    **tail = r;
    *tail = &r->next;
}

/* Takes late requests off the heads of q's flows. false: nothing is left, q is out of the ring. */
static bool drop_late_heads(struct batcher *b, struct batcher_queue *q, uint64_t now,
                            struct request ***expired) {
    if (!b->earliest || b->earliest > now) return q->first != NULL; /* the usual case: nobody is late */
    for (struct batcher_flow *f = q->first, *next; f; f = next) {
        next = f->next; /* f may be closed with its last request */
        for (struct request *r = f->first, *behind; r && is_late(r, now); r = behind) {
            behind = r->next;
            request_remove(b, r);
            chain_add(expired, r);
        }
    }
    return q->first != NULL;
}

static bool fits(const struct request *r, uint64_t key, uint32_t n, uint64_t room) {
    return n == 0 || (r->key == key && r->items <= room);
}

/* The flow with the earliest start whose first request fits; on equal terms who
 * has waited longer. No start lies before virtual_now, but for flows that did
 * not fit when it was their turn, so the search ends early. */
static struct batcher_flow *choose_flow(const struct batcher_queue *q, uint64_t key, uint32_t n,
                                        uint64_t room) {
    struct batcher_flow *best = NULL;
    for (struct batcher_flow *f = q->first; f; f = f->next) {
        if (!fits(f->first, key, n, room)) continue;
        if (!best || f->start < best->start) best = f;
        if (best->start <= q->virtual_now) break;
    }
    return best;
}

static struct request *take_first(struct batcher *b, struct batcher_flow *f) {
    struct batcher_queue *q = f->queue;
    struct request *r = f->first;
    q->virtual_now = later(q->virtual_now, f->start);
    f->start += r->items;
    if (r->next) { /* f stays: to the end, so that equals take turns */
        flow_unlink(q, f);
        flow_to_end(q, f);
    }
    request_remove(b, r);
    (void)atomic_fetch_add_explicit(&b->n_running, 1, memory_order_relaxed);
    return r;
}

/* What this batch may hold: all that waits, shared with the idle workers that no other queue keeps busy. */
static uint64_t share_of(const struct batcher *b, const struct batcher_queue *q, uint32_t idle) {
    const uint32_t others = b->n_queues - 1;
    const uint64_t hands = 1 + (uint64_t)(idle > others ? idle - others : 0);
    const uint64_t share = (q->items_waiting + hands - 1) / hands;
    return share < q->max_items ? share : q->max_items;
}

uint32_t batcher_take(struct batcher *b, uint64_t now, uint32_t idle, struct request **out,
                      struct request **expired) {
    *expired = NULL;
    while (b->first && !drop_late_heads(b, b->first, now, &expired)) {}
    struct batcher_queue *q = b->first;
    if (!q) return 0;
    ring_remove(b, q); /* it has had its turn */
    ring_add(b, q);
    uint64_t room = share_of(b, q, idle), key = 0;
    uint32_t n = 0;
    while (q->first && n < BATCHER_MAX_ITEMS) {
        struct batcher_flow *f = choose_flow(q, key, n, room);
        if (!f) break;
        struct request *r = take_first(b, f);
        key = r->key;
        out[n++] = r;
        room -= r->items < room ? r->items : room;
        if (room == 0 || (q->first && !drop_late_heads(b, q, now, &expired))) break;
    }
    return n;
}

void batcher_finish(struct batcher *b, uint32_t n) {
    const uint32_t before = atomic_fetch_sub_explicit(&b->n_running, n, memory_order_relaxed);
    assert(n <= before);
    (void)before;
}

struct request *batcher_cancel(struct batcher *b, struct batcher_client *c) {
    struct request *chain = NULL, **tail = &chain;
    while (c->flows) {
        struct request *r = c->flows->first;
        request_remove(b, r);
        chain_add(&tail, r);
    }
    return chain;
}

struct request *batcher_drain(struct batcher *b) {
    struct request *chain = NULL, **tail = &chain;
    while (b->first) {
        struct request *r = b->first->first->first;
        request_remove(b, r);
        chain_add(&tail, r);
    }
    return chain;
}

/* Looks at every request that waits, but only when a deadline has come. */
struct request *batcher_expire(struct batcher *b, uint64_t now) {
    struct request *chain = NULL, **tail = &chain;
    if (!b->earliest || b->earliest > now) return NULL;
    b->earliest = 0;
    for (struct batcher_queue *q = b->first, *next_queue; q; q = next_queue) {
        next_queue = q->next;
        for (struct batcher_flow *f = q->first, *next_flow; f; f = next_flow) {
            next_flow = f->next;
            for (struct request *r = f->first, *next; r; r = next) {
                next = r->next;
                if (is_late(r, now)) {
                    request_remove(b, r);
                    chain_add(&tail, r);
                } else if (r->deadline_ns && (!b->earliest || r->deadline_ns < b->earliest))
                    b->earliest = r->deadline_ns;
            }
        }
    }
    return chain;
}

uint64_t batcher_next_deadline(const struct batcher *b) {
    return b->earliest;
}
