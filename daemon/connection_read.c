/* What a client says: bytes to frames, frames to requests. The way of a frame is told in connection.c. */
#include "daemon/connection_internal.h"

#include "daemon/admit.h"
#include "daemon/lent.h"
#include "daemon/ring.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* --- requests -------------------------------------------------------------------------- */

static void refuse_request(struct connection *c, uint32_t status, const char *text) {
    connection_refuse(c, CLPD_INFER_REPLY, status, text);
    c->skip = c->header.bytes - FRAME_INFER;
}

static void fill_slot(struct connection *c, struct slot *slot, const struct admission *a) {
    struct request *r = &slot->request;
    slot->owner = c;
    slot->id = c->header.id;
    slot->tensor_bytes = c->header.bytes - FRAME_INFER;
    admit_fill(a, r, c->header_ns);
    r->client = &c->client;
    r->complete = connection_complete;
    c->filling = slot;
    c->n_inflight++;
    if (c->user) c->user->requests++;
}

#define OVER_SHARE "this user has as many requests under way as one may (limits.user_queue): try again later"

/* Whether `more` would be over what one user may hold. */
static bool is_over_share(const struct connection *c, uint32_t more) {
    const uint32_t most = c->server->limits.user_queue;
    return c->user && most && (c->user->requests >= most || more > most - c->user->requests);
}

/* The head of a request is here: what is wrong with it is said now, and its tensor dropped as it comes. */
static void begin_request(struct connection *c) {
    struct server *s = c->server;
    const struct admit_limits room = {.tensor_bytes = s->limits.request_bytes,
                                      .reply_room = s->slots.frame_room - FRAME_HEADER};
    struct clpd_infer q;
    struct frame_verdict verdict;
    struct admission a;
    memcpy(&q, c->head + FRAME_HEADER, sizeof q);
    admit(s->models, &q, c->header.bytes - FRAME_INFER, &room, &a, &verdict);
    if (verdict.fate != FRAME_TAKE) {
        refuse_request(c, verdict.status, verdict.text);
        return;
    }
    const bool over = is_over_share(c, 1);
    struct slot *slot = s->draining || over ? NULL : slots_take(&s->slots);
    if (slot) {
        fill_slot(c, slot, &a);
        return;
    }
    admit_drop(&a);
    if (s->draining)
        refuse_request(c, CLPD_SHUTTING_DOWN, admit_status_text(CLPD_SHUTTING_DOWN));
    else
        refuse_request(c, CLPD_BUSY, over ? OVER_SHARE : admit_status_text(CLPD_BUSY));
}

static void tensor_is_whole(struct connection *c) {
    struct slot *slot = c->filling;
    c->filling = NULL;
    slot->request.arrived_ns = loop_now(c->server->loop);
    server_stage(c->server, &slot->request);
}

void connection_take_lent(struct connection *c, struct lent *t) {
    c->header = (struct clpd_header){
        .type = CLPD_INFER, .id = t->id, .bytes = FRAME_INFER + t->bytes}; /* as if it had come as a frame */
    c->header_ns = loop_now(c->server->loop);
    memcpy(c->head + FRAME_HEADER, &t->head, sizeof t->head);
    begin_request(c);
    server_mark_dirty(c->server, c);
    if (!c->filling) {
        c->skip = 0; /* refused, and nothing of it is to come */
        lent_put(t);
        return;
    }
    c->filling->lent = t;
    c->filling->request.input = t->tensor;
    c->filling->received = c->filling->tensor_bytes;
    tensor_is_whole(c);
}

/* --- questions and commands --------------------------------------------------------------- */

static void answer_json(struct connection *c) {
    struct server *s = c->server;
    size_t n = 0;
    char *text = s->describe ? s->describe(s->describe_owner, c->header.type, &n) : NULL;
    if (!connection_put_json(c, c->header.id, text, n))
        connection_refuse(c, CLPD_ERROR, CLPD_INTERNAL, "out of memory");
}

static void take_control(struct connection *c) {
    struct server *s = c->server;
    struct clpd_control q;
    struct frame_verdict v;
    const char *why = v.text;
    frame_read_control(c->head + FRAME_HEADER, &q, &v);
    if (v.fate == FRAME_TAKE) {
        c->n_inflight++;
        v.status = s->control ? s->control(s->describe_owner, c, c->header.id, &q, &why) : CLPD_FORBIDDEN;
        if (v.status == CLPD_OK) return;
        c->n_inflight--;
    }
    connection_refuse(c, CLPD_ERROR, v.status, why);
}

/* --- rings ------------------------------------------------------------------------------- */

static void open_ring(struct connection *c) {
    struct server *s = c->server;
    struct clpd_ring_open ask;
    struct clpd_ring_info info;
    struct frame_verdict v = {.status = CLPD_INTERNAL, .text = "out of memory for a ring"};
    struct ring *ring = NULL;
    struct ring_out *out = calloc(1, sizeof *out);
    memcpy(&ask, c->head + FRAME_HEADER, sizeof ask);
    if (out && s->draining)
        v = (struct frame_verdict){.status = CLPD_SHUTTING_DOWN, .text = "the daemon is stopping"};
    else if (out && c->n_rings == CONNECTION_RINGS)
        v = (struct frame_verdict){.status = CLPD_BUSY,
                                   .text = "this connection has as many rings as it may"};
    else if (out && is_over_share(c, ask.slots))
        v = (struct frame_verdict){.status = CLPD_BUSY, .text = OVER_SHARE};
    else if (out)
        ring = ring_open(s, &ask, &info, out->fds, &v);
    if (!ring) {
        free(out);
        connection_refuse(c, CLPD_ERROR, v.status, v.text);
        return;
    }
    c->rings[c->n_rings++] = ring;
    c->ring_slots += info.slots;
    if (c->user) c->user->requests += info.slots;
    const size_t n = frame_write_header(out->bytes, CLPD_RING_REPLY, c->header.id, sizeof info);
    memcpy(out->bytes + n, &info, sizeof info);
    connection_put_out(c, &out->out, OUT_RING, out->bytes, n + sizeof info);
}

/* --- frames ------------------------------------------------------------------------------ */

/* Whether another frame may be begun: each takes at most one slot, refusal or JSON text. */
static bool may_begin(const struct connection *c) {
    return c->n_inflight < c->server->limits.inflight && c->n_refusals < CONNECTION_REFUSALS &&
           c->n_json < CONNECTION_JSON;
}

/* What belongs to the head of a frame of this type, besides its header. */
static size_t body_of(uint8_t type) {
    return type == CLPD_INFER       ? FRAME_INFER
           : type == CLPD_RING_OPEN ? sizeof(struct clpd_ring_open)
           : type == CLPD_CONTROL   ? sizeof(struct clpd_control)
                                    : 0;
}

/* The first 32 bytes are here. */
static void take_header(struct connection *c) {
    struct frame_verdict v;
    frame_read_header(c->head, &c->header, &v);
    c->header_ns = loop_now(c->server->loop);
    if (v.fate == FRAME_TAKE && body_of(c->header.type)) return; /* comes next */
    c->head_have = 0;
    if (v.fate == FRAME_TAKE) {
        answer_json(c);
        return;
    }
    connection_refuse(c,
                      c->header.type == CLPD_INFER && v.fate == FRAME_SKIPS ? CLPD_INFER_REPLY : CLPD_ERROR,
                      v.status, v.text);
    if (v.fate == FRAME_SKIPS)
        c->skip = c->header.bytes;
    else
        connection_set_state(c, CONNECTION_ENDING);
}

static size_t take_head(struct connection *c, const uint8_t *bytes, size_t n) {
    const bool in_header = c->head_have < FRAME_HEADER;
    const size_t want = in_header ? FRAME_HEADER : FRAME_HEADER + body_of(c->header.type);
    const size_t take = n < want - c->head_have ? n : want - c->head_have;
    memcpy(c->head + c->head_have, bytes, take);
    c->head_have += take;
    if (c->head_have < want) return take;
    if (in_header) {
        take_header(c);
        return take;
    }
    c->head_have = 0;
    if (c->header.type == CLPD_INFER)
        begin_request(c);
    else if (c->header.type == CLPD_CONTROL)
        take_control(c);
    else
        open_ring(c);
    return take;
}

/* Takes bytes until there are none, or no frame may be begun. Returns how many. */
static size_t consume(struct connection *c, const uint8_t *bytes, size_t n) {
    size_t at = 0;
    while (at < n && c->state == CONNECTION_OPEN) {
        const size_t left = n - at;
        if (c->skip) {
            const size_t take = left < c->skip ? left : (size_t)c->skip;
            c->skip -= take;
            at += take;
        } else if (c->filling) {
            struct slot *slot = c->filling;
            const size_t rest = slot->tensor_bytes - slot->received, take = left < rest ? left : rest;
            uint8_t *to = slot->tensor + slot->received;
            if (to != bytes + at) memmove(to, bytes + at, take); /* what landed may lie further back */
            slot->received += take;
            at += take;
            if (slot->received == slot->tensor_bytes) tensor_is_whole(c);
        } else if (c->head_have || may_begin(c)) {
            at += take_head(c, bytes + at, left);
        } else {
            break;
        }
    }
    return at;
}

/* --- reading ------------------------------------------------------------------------------- */

/* The peer sends no more. Closed altogether, nobody reads what we would compute. */
static void on_end(struct connection *c) {
    struct pollfd p = {.fd = loop_stream_fd(c->stream)};
    if (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR))) {
        connection_close(c);
        return;
    }
    if (c->filling) { /* half a request */
        connection_give_slot(c, c->filling);
        c->filling = NULL;
    }
    connection_set_state(c, CONNECTION_ENDING);
    server_mark_dirty(c->server, c);
}

/* A frame's head goes in front of the tensor of the slot that the next request gets: then its tensor is where
 * it belongs. Bytes of something else do no harm there. */
uint8_t *connection_landing(void *owner) {
    const struct connection *c = owner;
    return c->head_have || c->filling || c->skip ? NULL : slots_landing(&c->server->slots);
}

void connection_received(void *owner, const uint8_t *bytes, ssize_t n) {
    struct connection *c = owner;
    c->receiving = false;
    c->read_ns = loop_now(c->server->loop);
    if (c->state != CONNECTION_OPEN) return;
    server_mark_dirty(c->server, c);
    if (n < 0) {
        connection_close(c);
    } else if (n == 0) {
        on_end(c);
    } else if (bytes) {
        const size_t taken = consume(c, bytes, (size_t)n);
        c->stash_at = 0;
        c->stash_n = (size_t)n - taken;
        memcpy(c->stash, bytes + taken, c->stash_n);
    } else {
        c->filling->received += (size_t)n;
        if ((size_t)n < c->asked)
            on_end(c);
        else if (c->filling->received == c->filling->tensor_bytes)
            tensor_is_whole(c);
    }
}

void connection_read_on(struct connection *c) {
    if (c->receiving) return;
    if (c->stash_n) {
        const size_t taken = consume(c, c->stash + c->stash_at, c->stash_n);
        c->stash_at += taken;
        c->stash_n -= taken;
    }
    if (c->stash_n || c->state != CONNECTION_OPEN) return;
    const struct slot *slot = c->filling;
    if (!slot && !c->head_have && !c->skip && !may_begin(c)) return;
    c->receiving = true;
    c->asked = slot ? slot->tensor_bytes - slot->received : 0;
    if (c->asked > CONNECTION_PIECE) c->asked = CONNECTION_PIECE;
    if (c->asked > CONNECTION_DIRECT)
        loop_receive_into(c->stream, slot->tensor + slot->received, c->asked);
    else
        loop_receive(c->stream);
}
