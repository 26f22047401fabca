/* Decides which requests run together, and when. Pure: no clock, no lock, no
 * thread, no allocation after batcher_open; workers.c calls it under its lock.
 *
 *   model ring:   queue -> queue -> queue          whose turn it is: one batch each
 *   queue:        flow, flow, flow                 one per client that waits for this model
 *   flow:         request -> request -> request    first come, first served
 *
 * Between models: round robin by batch. Between clients of a model: start-time
 * fair queueing (Goyal, Vin, Cheng 1996) with the number of items as length, so
 * a client that floods, or sends large requests, gets no more than its share.
 * No artificial delay: what waits is given to whoever asks. */
#ifndef DAEMON_BATCHER_H
#define DAEMON_BATCHER_H

#include "daemon/request.h"
#include "infer/err.h"

#define BATCHER_MAX_ITEMS 1024 /* of one batch: engine.max_batch's upper end */

struct batcher_flow {
    struct batcher_queue *queue;
    struct batcher_client *client;
    struct request *first, *last;
    uint64_t start; /* virtual time, in items */
    struct batcher_flow *next, *previous;
    struct batcher_flow *next_of_client;
};

struct batcher_queue { /* embedded in a model; zero but for max_items */
    uint32_t max_items;
    uint32_t n_waiting;
    uint64_t items_waiting;
    uint64_t virtual_now;
    struct batcher_flow *first, *last;
    struct batcher_queue *next, *previous; /* in the ring while anything waits */
};

struct batcher_client { /* embedded in whoever sends requests; zero at first */
    struct batcher_flow *flows;
    uint32_t n_waiting;
    const struct batcher_queue *last_queue; /* where a flow of ours ended, and when: sending one at a time */
    uint64_t last_finish;                   /* must not make anyone forget what was had before */
};

struct batcher {
    uint32_t limit;
    uint32_t n_waiting;         /* requests */
    _Atomic uint32_t n_running; /* the same; counted down by any thread */
    uint64_t earliest;          /* no waiting request has an earlier deadline; 0: none has one */
    uint32_t n_queues;
    struct batcher_queue *first, *last;
    struct batcher_flow *flows, *free_flows;
};

/* Room for `limit` requests, waiting and running together. 0, or -1: out of memory. */
int batcher_open(struct batcher *b, uint32_t limit, struct err *e);
void batcher_close(struct batcher *b);

/* Queues r. false: `limit` is reached; r is untouched, the answer is CLPD_BUSY. */
bool batcher_push(struct batcher *b, struct request *r);

/* Takes the next batch: requests of one queue and one key, together at most
 * queue->max_items items, or a single larger one. While `idle` other workers
 * have nothing to do, they are left their share. `out` has room for
 * BATCHER_MAX_ITEMS. Returns how many; *expired is a chain (by next) of
 * requests whose time was up before they could run. Those taken count as
 * running until batcher_finish. */
uint32_t batcher_take(struct batcher *b, uint64_t now, uint32_t idle, struct request **out,
                      struct request **expired);
void batcher_finish(struct batcher *b, uint32_t n); /* any thread, without the rest's lock */

/* Each gives a chain (by next) of what it took out of the queues. */
struct request *batcher_cancel(struct batcher *b, struct batcher_client *c);
struct request *batcher_expire(struct batcher *b, uint64_t now);
struct request *batcher_drain(struct batcher *b);

/* When to call batcher_expire: 0 if never. May be early, is never late. */
uint64_t batcher_next_deadline(const struct batcher *b);

#endif
