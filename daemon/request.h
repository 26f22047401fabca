/* A request as batcher and workers see it, whatever brought it: a stream
 * connection now, shared-memory rings and HTTP later.
 *
 * The transport owns it and fills the first part; it must stand still from
 * batcher_push until `complete` is called. Tensor and reply lie where the
 * transport says, so neither is copied. */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

#include "client/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct version;        /* daemon/version.h */
struct batcher_queue;  /* daemon/batcher.h: one per model */
struct batcher_client; /* daemon/batcher.h: who asks */
struct batcher_flow;

struct request {
    /* by the transport, before it is pushed */
    struct batcher_queue *queue;
    struct batcher_client *client;
    struct version *version; /* it was checked against; referenced by this request */
    uint64_t key;            /* only requests of one key share a batch: the version's signature */
    const uint8_t *input;    /* the tensor, 4-byte aligned */
    uint32_t items;          /* of the engine; at least 1 */
    uint32_t format;         /* enum clpd_format */
    uint32_t top_k;          /* cut to the number of classes */
    bool want_scores;
    uint64_t arrived_ns;  /* last byte; loop_now's clock */
    uint64_t deadline_ns; /* 0: none */
    uint8_t *reply;       /* where clpd_reply and what follows go; 8-byte aligned */
    size_t reply_room;
    /* Called once when it is through, on the thread that saw to that (a worker,
     * or whoever dropped it). Must not block; hands it back to its transport. */
    void (*complete)(struct request *r);

    /* the answer; `reply` holds reply_bytes where status is CLPD_OK */
    uint32_t status; /* enum clpd_status */
    bool alone;      /* nothing else is completed with it, so nothing is gathered by waiting */
    size_t reply_bytes;

    /* links, of the batcher while it is queued */
    struct request *next, *previous;
    struct batcher_flow *flow;
};

#endif
