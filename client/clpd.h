/* libclpd: ask clpd what is in a picture, over its Unix socket.
 *
 *     struct clpd *c;
 *     if (clpd_connect(NULL, &c) == 0) {
 *         struct clpd_request q = {.model = "signs", .format = CLPD_U8_NHWC,
 *                                  .dims = {1, 224, 224, 3}, .data = pixels, .top_k = 5};
 *         struct clpd_result r;
 *         if (clpd_classify(c, &q, &r) == 0 && r.status == CLPD_OK)
 *             puts(clpd_result_label(&r, &r.top[0]));
 *         clpd_close(c);
 *     }
 *
 * Threads: a connection is used by one thread at a time, and may wander from
 * thread to thread. Different connections are independent. There is no global
 * state, no signal is raised (MSG_NOSIGNAL), nothing is printed.
 *
 * Errors: 0 or more is success, a negative number is -errno. A request that
 * the daemon refused is not an error of the call: it is a result whose status
 * is not CLPD_OK. After -EPROTO, -ECONNRESET, -EPIPE or -ETIMEDOUT the
 * connection is of no more use: close it and connect again. clpd_error says
 * what happened in words. Every size in a reply is checked before it is used;
 * what is not a proper answer to a request of this connection is -EPROTO. */
#ifndef CLPD_H
#define CLPD_H

#if defined(__cplusplus) && !defined(_Static_assert)
#define _Static_assert static_assert /* wire.h is C */
#endif
#include "ring.h" /* and wire.h: beside this file, in the sources and where it is installed */

#ifdef __cplusplus
extern "C" {
#endif

#define CLPD_DEFAULT_SOCKET "/run/clpd/clpd.sock"

struct clpd; /* a connection */

struct clpd_request {
    const char *model;            /* NULL or "": the only model that the daemon serves */
    uint32_t format;              /* enum clpd_format */
    uint32_t dims[CLPD_MAX_RANK]; /* the batch first; U8: N, H, W, C; unused ones 0 */
    const void *data;             /* the tensor, dense; borrowed during the call */
    uint32_t timeout_us;          /* what the daemon may take; 0: any time */
    uint16_t top_k;               /* best classes wanted per picture */
    uint8_t want_scores;          /* 1: all scores too */
};

struct clpd_result {  /* its pointers stay valid until the next poll, classify or query on the connection */
    uint64_t id;      /* the request's, from clpd_submit */
    uint32_t status;  /* enum clpd_status */
    const char *text; /* why, where status is not CLPD_OK; else "" */
    uint32_t items, classes, top_k;
    uint64_t version;              /* of the model that answered all pictures of this request */
    uint64_t queue_ns, compute_ns; /* waiting for, and in, the batch of `batch` pictures */
    uint32_t batch;
    uint8_t sha256[32];         /* of the ONNX file */
    const float *scores;        /* [items][classes], or NULL */
    const struct clpd_top *top; /* [items][top_k], best first, or NULL */
    const char *labels;         /* see clpd_result_label */
    uint32_t label_bytes;
    const char *json; /* the answer to a query, NUL-terminated; else NULL */
    size_t json_bytes;
};

/* NULL: $CLPD_SOCKET, or else CLPD_DEFAULT_SOCKET. *out is NULL on failure. */
int clpd_connect(const char *path, struct clpd **out);
/* Over a connected stream socket, which is taken (closed where this fails): one that was passed, or of a
 * pair. */
int clpd_adopt(int fd, struct clpd **out);
void clpd_close(struct clpd *c); /* NULL is fine */

/* Longest that submit, classify and query wait for the daemon, in ms; -1 (so at first): for ever. */
void clpd_set_timeout(struct clpd *c, int ms);

/* One picture (or batch) in, its classes out. -EBUSY while submitted requests are unanswered. */
int clpd_classify(struct clpd *c, const struct clpd_request *q, struct clpd_result *r);

/* CLPD_STATUS or CLPD_MODELS: r->json. -EBUSY as above. */
/* CLPD_ROLLBACK or CLPD_ACCEPT of a model; r->json when it is done ({"text": what was done}), else a status
 * and its text. May take as long as an import does: see clpd_set_timeout. */
int clpd_control(struct clpd *c, enum clpd_action action, const char *model, struct clpd_result *r);
int clpd_query(struct clpd *c, enum clpd_frame_type what, struct clpd_result *r);

/* Pipelining: submit as many as you like, take the answers in the order in
 * which they come. clpd_submit returns once the kernel has the whole request;
 * while it waits for room it takes in answers, so that neither side blocks the
 * other. *id (NULL is fine) is never 0. -EINVAL: dims or format make no sense. */
int clpd_submit(struct clpd *c, const struct clpd_request *q, uint64_t *id);
/* 1: *r is an answer; 0: none within timeout_ms (0: look only, -1: no limit), or none awaited. */
int clpd_poll(struct clpd *c, int timeout_ms, struct clpd_result *r);
/* Requests without an answer so far. */
uint32_t clpd_pending(const struct clpd *c);
/* For poll(2) and epoll(7) beside other descriptors: readable means call clpd_poll(c, 0, r) until 0. */
int clpd_fd(const struct clpd *c);

/* --- shared memory: without the kernel, and without a copy ----------------------------------
 *
 * A ring is a few slots that clpd and this process both have in memory. Write the tensor into a slot, submit
 * it, and the engine reads it where it lies; the answer comes into the same slot. Under load neither side
 * enters the kernel.
 *
 *     const struct clpd_ring_options o = {.tensor_bytes = 224 * 224 * 3};
 *     struct clpd_ring *g;
 *     uint32_t slot;
 *     if (clpd_ring_open(NULL, &o, &g, NULL, 0)) ...
 *     clpd_ring_take(g, &slot);
 *     read_camera(clpd_ring_tensor(g, slot));
 *     clpd_ring_submit(g, slot, &q, NULL);
 *     if (clpd_ring_poll(g, -1, &r, &slot) == 1) ...
 *     clpd_ring_give(g, slot);
 *     clpd_ring_close(g);
 *
 * Threads: as a connection: one at a time. A thread that wants its own opens its own. */

struct clpd_ring;

struct clpd_ring_options {
    uint32_t slots; /* a power of two; 0: 8 */
    int32_t
        spin_us; /* how long poll looks before it sleeps; 0: up to 50, as pays off; negative: not at all */
    uint64_t tensor_bytes; /* of the largest tensor */
    uint64_t reply_bytes;  /* of the largest answer; 0: CLPD_RING_REPLY_BYTES */
    /* How long a daemon that goes away (a restart, a crash) is waited for, in ms; 0: 10 s; negative: not at
     * all. When it is back, the ring is opened again where it was in memory, and what was unanswered is asked
     * again, in poll: no other thread may be writing into a slot meanwhile. */
    int32_t patience_ms;
};

/* A connection of its own, and a ring on it. 0; -errno; or a positive enum clpd_status where the daemon has
 * none to give, and why in `why` (NULL is fine). *out is NULL but with 0. */
int clpd_ring_open(const char *path, const struct clpd_ring_options *o, struct clpd_ring **out, char *why,
                   size_t room);
void clpd_ring_close(struct clpd_ring *g); /* NULL is fine. What is under way is dropped */

/* A free slot. 0, or -EAGAIN: give one back first, or poll. */
int clpd_ring_take(struct clpd_ring *g, uint32_t *slot);
/* Where its tensor goes: 64-byte aligned, tensor_bytes long. Yours from take to submit, and again after poll.
 */
void *clpd_ring_tensor(struct clpd_ring *g, uint32_t slot);
/* Hands a slot that was taken (or answered, and not given back) over. q->data is not looked at. 0 or -errno.
 */
int clpd_ring_submit(struct clpd_ring *g, uint32_t slot, const struct clpd_request *q, uint64_t *id);
/* As clpd_poll. 1: *r is the answer that *slot holds; what *r points to lies there, until give or submit. */
int clpd_ring_poll(struct clpd_ring *g, int timeout_ms, struct clpd_result *r, uint32_t *slot);
void clpd_ring_give(struct clpd_ring *g, uint32_t slot);
/* For a ring that will be idle: the memory of free slots goes back to the system, and what they hold is lost.
 * It comes again as they are used. Returns how many bytes. */
uint64_t clpd_ring_trim(struct clpd_ring *g);
uint32_t clpd_ring_pending(const struct clpd_ring *g);

/* All of it in one call, with a copy of q->data; *r stays valid until the next call. -EBUSY while others are
 * pending, -ETIMEDOUT after timeout_ms (-1: never), after which the ring is of no more use. */
int clpd_ring_classify(struct clpd_ring *g, const struct clpd_request *q, int timeout_ms,
                       struct clpd_result *r);

/* What the last failed call on this ring was about; never NULL. */
const char *clpd_ring_error(const struct clpd_ring *g);

/* The label of an entry of r->top, or NULL where the model has none. */
const char *clpd_result_label(const struct clpd_result *r, const struct clpd_top *t);
/* What the last failed call on this connection was about; never NULL. */
const char *clpd_error(const struct clpd *c);
/* "busy", "no-model", …; "unknown" for what is none. */
const char *clpd_status_name(uint32_t status);

#ifdef __cplusplus
}
#endif
#endif
