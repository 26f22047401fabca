/* A fixed pool of request slots: each holds a request, its tensor and its reply,
 * from arrival until the reply has gone out. Nothing is allocated per request.
 *
 *   one mapping:  | reply | head | tensor | reply | head | tensor | …      each as large as the limits allow
 *
 * The head is room for that of the request's frame, so that both can be received in one piece.
 *
 * The mapping is not reserved: only pages that were touched exist. Slots are
 * used last in, first out, so under steady load the same few stay warm; pages of
 * large ones that lie idle are given back by slots_trim. The loop's thread only. */
#ifndef DAEMON_SLOTS_H
#define DAEMON_SLOTS_H

#include "daemon/frame.h"
#include "daemon/loop.h"
#include "daemon/request.h"

#define SLOT_HEAD        ((size_t)FRAME_HEADER + FRAME_INFER)
#define SLOT_REPLY_EXTRA ((size_t)64 << 10) /* a reply may be this much larger than the largest tensor */

struct lent;

struct slot {
    struct request request; /* first: a request of ours is its slot */
    struct loop_post post;  /* brings it back to the loop */
    void *owner;            /* the transport's */
    uint64_t id;            /* the client's */
    uint8_t *tensor;        /* page-aligned */
    struct lent *lent;      /* its tensor lies there instead; NULL: it does not */
    uint8_t *frame;         /* header and reply; request.reply lies FRAME_HEADER behind */
    size_t tensor_bytes;    /* of this request */
    size_t received;        /* of them */
    struct frame_out out;   /* of `frame`, when it is to be sent */
    size_t sent;            /* bytes of it that a worker has sent already */
    struct slot *next;      /* free list */
    bool taken;
    size_t touched_tensor, touched_frame; /* bytes that may have pages */
    uint64_t given_ns;
};

struct slots {
    struct slot *slots, *free;
    uint32_t n, n_taken;
    size_t tensor_room, frame_room; /* bytes of each slot */
    uint8_t *memory;
    size_t memory_bytes;
    uint32_t trim_at;
};

/* `n` slots for tensors of up to tensor_bytes. 0, or -1 with `e` set. */
int slots_open(struct slots *s, uint32_t n, uint64_t tensor_bytes, struct err *e);
void slots_close(struct slots *s);

struct slot *slots_take(struct slots *s); /* NULL: all are taken */
/* SLOT_HEAD bytes before the tensor of the slot that will be taken next, LOOP_CHUNK in all: for bytes that
 * are looked at before any request is submitted. NULL: all are taken. */
uint8_t *slots_landing(const struct slots *s);
/* `now` as loop_now. */
void slots_give(struct slots *s, struct slot *slot, uint64_t now);

/* Gives back at most a few MiB of idle pages, so that it never takes long. true: there is more. */
bool slots_trim(struct slots *s, uint64_t now);

#endif
