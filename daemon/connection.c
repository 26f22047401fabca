/* The life of a frame:
 *
 *   1 chunk arrives            on_received -> consume
 *   2 header, clpd_infer       take_head -> begin_request: model, shape, slot, or a refusal
 *   3 tensor                   the rest of the chunk is copied into the slot (at most LOOP_CHUNK bytes);
 *                              what is still to come is received where the engine reads it
 *   4 whole                    staged; submitted at the turn's end
 *   5 computed                 a post brings the slot back: connection_answer; or, where the loop sleeps, the
 *                              worker sends the answer itself (daemon/outlet.h), and the post can wait
 *   6 sent                     gathered with others: on_sent; the slot is free
 */
#include "daemon/connection.h"

#include "daemon/admit.h"
#include "daemon/lent.h"
#include "daemon/log.h"
#include "daemon/ring.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUT_SLOT, OUT_REFUSAL, OUT_JSON, OUT_RING };

struct json_out {
    struct frame_out out;
    uint8_t bytes[];
};

struct ring_out {
    struct frame_out out;
    int fds[RING_FDS];
    uint8_t bytes[sizeof(struct clpd_header) + sizeof(struct clpd_ring_info)];
};

static const char *state_name(enum connection_state s) {
    static const char *const names[] = {"open", "ending", "closing"};
    return names[s];
}

static void set_state(struct connection *c, enum connection_state to) {
    assert(to > c->state);
    log_debug("connection of pid %d: %s -> %s", (int)c->peer.pid, state_name(c->state), state_name(to));
    c->state = to;
}

/* --- answers ------------------------------------------------------------------------- */

static void put_out(struct connection *c, struct frame_out *o, uint8_t kind, const uint8_t *bytes, size_t n) {
    *o = (struct frame_out){.bytes = bytes, .n = n, .kind = kind};
    if (!c->out) c->write_ns = loop_now(c->server->loop);
    *c->out_end = o;
    c->out_end = &o->next;
    server_mark_dirty(c->server, c);
}

/* An answer that needs no slot. There is room: reading stops before it runs out. */
static void refuse(struct connection *c, uint8_t type, uint32_t status, const char *text) {
    struct refusal *r = c->refusals;
    while (r->used) r++;
    assert(r < c->refusals + CONNECTION_REFUSALS);
    r->used = true;
    c->n_refusals++;
    server_count(c->server, status);
    put_out(c, &r->out, OUT_REFUSAL, r->bytes,
            frame_write_refusal(r->bytes, type, c->header.id, status, text));
}

/* Takes the text. */
static bool put_json(struct connection *c, uint64_t id, char *text, size_t n) {
    struct json_out *j = text ? malloc(sizeof *j + FRAME_HEADER + n) : NULL;
    if (j) memcpy(j->bytes + frame_write_header(j->bytes, CLPD_JSON_REPLY, id, n), text, n);
    free(text);
    if (!j) return false;
    c->n_json++;
    put_out(c, &j->out, OUT_JSON, j->bytes, FRAME_HEADER + n);
    return true;
}

static void answer_json(struct connection *c) {
    struct server *s = c->server;
    size_t n = 0;
    char *text = s->describe ? s->describe(s->describe_owner, c->header.type, &n) : NULL;
    if (!put_json(c, c->header.id, text, n)) refuse(c, CLPD_ERROR, CLPD_INTERNAL, "out of memory");
}

/* An answer that comes when it comes, so no place for it has been kept. */
static bool put_late_refusal(struct connection *c, uint64_t id, uint32_t status, const char *text) {
    struct json_out *j = malloc(sizeof *j + FRAME_REFUSAL);
    if (!j) return false;
    c->n_json++;
    put_out(c, &j->out, OUT_JSON, j->bytes, frame_write_refusal(j->bytes, CLPD_ERROR, id, status, text));
    return true;
}

void connection_control_done(struct connection *c, uint64_t id, uint32_t status, char *json,
                             const char *text) {
    c->n_inflight--;
    server_mark_dirty(c->server, c);
    if (c->state == CONNECTION_CLOSING) {
        free(json);
        return;
    }
    server_count(c->server, status);
    const bool put = status == CLPD_OK ? put_json(c, id, json, json ? strlen(json) : 0)
                                       : put_late_refusal(c, id, status, text);
    if (!put) connection_close(c); /* out of memory: it must not wait for ever */
}

int connection_peer(const struct connection *c, struct ucred *peer) {
    *peer = c->peer;
    return loop_stream_fd(c->stream);
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
    refuse(c, CLPD_ERROR, v.status, why);
}

static void give_slot(struct connection *c, struct slot *slot) {
    if (slot->request.version) version_put(slot->request.version);
    slot->request.version = NULL;
    if (slot->lent) slot->tensor_bytes = 0; /* none of our own pages were touched */
    lent_put(slot->lent);
    slot->lent = NULL;
    slots_give(&c->server->slots, slot, loop_now(c->server->loop));
    c->n_inflight--;
    if (c->user) c->user->requests--;
}

/* A frame has been sent, or never will be. */
static void release_out(struct connection *c, struct frame_out *o) {
    if (o->kind == OUT_SLOT) {
        give_slot(c, (struct slot *)(void *)((uint8_t *)o - offsetof(struct slot, out)));
    } else if (o->kind == OUT_REFUSAL) {
        ((struct refusal *)(void *)o)->used = false;
        c->n_refusals--;
    } else if (o->kind == OUT_RING) {
        struct ring_out *ring = (struct ring_out *)(void *)o; /* its first member */
        for (int i = 0; i < RING_FDS; i++) (void)close(ring->fds[i]);
        free(ring);
    } else {
        c->n_json--;
        free(o); /* the first member of its json_out */
    }
}

/* The answer as it goes out. Any thread. */
static void frame_answer(struct server *s, struct slot *slot) {
    struct request *r = &slot->request;
    server_count(s, r->status);
    version_put(r->version); /* an old one need not wait for a slow reader */
    r->version = NULL;
    if (r->status == CLPD_OK)
        slot->out.n =
            frame_write_header(slot->frame, CLPD_INFER_REPLY, slot->id, r->reply_bytes) + r->reply_bytes;
    else
        slot->out.n = frame_write_refusal(slot->frame, CLPD_INFER_REPLY, slot->id, r->status,
                                          admit_status_text(r->status));
}

void connection_answer(struct connection *c, struct slot *slot) {
    if (c->state == CONNECTION_CLOSING) { /* nobody reads it */
        give_slot(c, slot);
        server_mark_dirty(c->server, c);
        return;
    }
    if (slot->out.n == 0) frame_answer(c->server, slot);
    put_out(c, &slot->out, OUT_SLOT, slot->frame, slot->out.n);
}

/* What a worker could not send of it goes before everything else. */
static void adopt(struct connection *c, struct slot *slot) {
    outlet_adopt(&c->outlet);
    slot->out = (struct frame_out){.bytes = slot->frame, .n = slot->out.n, .kind = OUT_SLOT, .next = c->out};
    if (!c->out) c->out_end = &slot->out.next;
    c->out = &slot->out;
    c->out_sent = slot->sent;
    c->write_ns = loop_now(c->server->loop);
    server_mark_dirty(c->server, c);
}

/* --- requests -------------------------------------------------------------------------- */

static void on_back(struct loop_post *p) {
    struct slot *slot = (struct slot *)(void *)((uint8_t *)p - offsetof(struct slot, post));
    struct connection *c = slot->owner;
    if (slot->sent == 0 || c->state == CONNECTION_CLOSING) {
        connection_answer(c, slot);
    } else if (slot->sent < slot->out.n) {
        adopt(c, slot);
    } else {
        c->write_ns = loop_now(c->server->loop);
        give_slot(c, slot);
        server_mark_dirty(c->server, c);
    }
}

/* On a worker's thread, or ours. */
static void complete(struct request *r) {
    struct slot *slot = (struct slot *)r; /* its first member */
    struct connection *c = slot->owner;
    struct server *s = c->server;
    slot->post.run = on_back;
    if (r->alone && loop_sleeps(s->loop)) {
        frame_answer(s, slot);
        slot->sent = outlet_send(&c->outlet, slot->frame, slot->out.n);
    }
    if (slot->sent && slot->sent == slot->out.n)
        loop_post_lazily(s->loop, &slot->post);
    else
        loop_post(s->loop, &slot->post);
}

static void refuse_request(struct connection *c, uint32_t status, const char *text) {
    refuse(c, CLPD_INFER_REPLY, status, text);
    c->skip = c->header.bytes - FRAME_INFER;
}

static void fill_slot(struct connection *c, struct slot *slot, const struct admission *a) {
    struct request *r = &slot->request;
    slot->owner = c;
    slot->id = c->header.id;
    slot->tensor_bytes = c->header.bytes - FRAME_INFER;
    admit_fill(a, r, c->header_ns);
    r->client = &c->client;
    r->complete = complete;
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
        refuse(c, CLPD_ERROR, v.status, v.text);
        return;
    }
    c->rings[c->n_rings++] = ring;
    c->ring_slots += info.slots;
    if (c->user) c->user->requests += info.slots;
    const size_t n = frame_write_header(out->bytes, CLPD_RING_REPLY, c->header.id, sizeof info);
    memcpy(out->bytes + n, &info, sizeof info);
    put_out(c, &out->out, OUT_RING, out->bytes, n + sizeof info);
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
    refuse(c, c->header.type == CLPD_INFER && v.fate == FRAME_SKIPS ? CLPD_INFER_REPLY : CLPD_ERROR, v.status,
           v.text);
    if (v.fate == FRAME_SKIPS)
        c->skip = c->header.bytes;
    else
        set_state(c, CONNECTION_ENDING);
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
            memcpy(slot->tensor + slot->received, bytes + at, take);
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
        give_slot(c, c->filling);
        c->filling = NULL;
    }
    set_state(c, CONNECTION_ENDING);
    server_mark_dirty(c->server, c);
}

static void on_received(void *owner, const uint8_t *bytes, ssize_t n) {
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

static void read_on(struct connection *c) {
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

/* --- sending -------------------------------------------------------------------------------- */

static void send_out(struct connection *c) {
    unsigned n = 0;
    size_t skip = c->out_sent;
    if (c->sending || !c->out || !outlet_take(&c->outlet)) return;
    c->sending = true;
    if (c->out->kind == OUT_RING && skip == 0) { /* alone: descriptors go with the first byte */
        const struct ring_out *ring = (const struct ring_out *)(const void *)c->out;
        c->iov[0] = (struct iovec){(uint8_t *)(uintptr_t)c->out->bytes, c->out->n};
        loop_send_fds(c->stream, c->iov, 1, ring->fds, RING_FDS);
        return;
    }
    for (struct frame_out *o = c->out; o && n < LOOP_MAX_IOV && (n == 0 || o->kind != OUT_RING);
         o = o->next, n++) {
        c->iov[n] = (struct iovec){(uint8_t *)(uintptr_t)o->bytes + skip, o->n - skip};
        skip = 0;
    }
    loop_send(c->stream, c->iov, n);
}

static void on_sent(void *owner, ssize_t n) {
    struct connection *c = owner;
    c->sending = false;
    c->write_ns = loop_now(c->server->loop);
    if (n < 0) { /* EPIPE: it is gone */
        connection_close(c);
        return;
    }
    size_t left = c->out_sent + (size_t)n;
    while (c->out && left >= c->out->n) {
        struct frame_out *o = c->out;
        left -= o->n;
        c->out = o->next;
        if (!c->out) c->out_end = &c->out;
        release_out(c, o);
    }
    c->out_sent = left;
    if (!c->out && c->state == CONNECTION_OPEN) outlet_free(&c->outlet);
    server_mark_dirty(c->server, c);
}

/* --- beginning and end ------------------------------------------------------------------------ */

static void on_closed(void *owner) {
    struct connection *c = owner;
    c->stream = NULL;
    if (c->filling) give_slot(c, c->filling);
    c->filling = NULL;
    while (c->out) {
        struct frame_out *o = c->out;
        c->out = o->next;
        release_out(c, o);
    }
    server_mark_dirty(c->server, c);
}

/* Also while it is not read from, since it has as many requests under way as it may: nobody wants the
 * answers. */
static void on_gone(void *owner) {
    struct connection *c = owner;
    connection_close(c);
    server_mark_dirty(c->server, c);
}

static const struct loop_stream_calls stream_calls = {on_received, on_sent, on_closed, on_gone};

struct connection *connection_open(struct server *s, int fd, struct user *user) {
    struct connection *c = calloc(1, sizeof *c);
    socklen_t n = sizeof c->peer;
    if (!c) {
        (void)close(fd);
        return NULL;
    }
    c->server = s;
    c->user = user;
    c->out_end = &c->out;
    c->read_ns = c->write_ns = loop_now(s->loop);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->peer, &n))
        c->peer = (struct ucred){.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
    if (loop_stream_open(s->loop, fd, &stream_calls, c, &c->stream)) {
        free(c);
        return NULL;
    }
    c->outlet.fd = fd;
    return c;
}

void connection_close(struct connection *c) {
    if (c->state == CONNECTION_CLOSING) return;
    set_state(c, CONNECTION_CLOSING);
    outlet_end(&c->outlet); /* no worker uses the descriptor from here on */
    loop_stream_close(c->stream);
    workers_cancel(c->server->workers, &c->client);
    while (c->n_rings) ring_detach(c->rings[--c->n_rings]);
}

bool connection_is_quiet(const struct connection *c) {
    return c->n_inflight == 0 && !c->out;
}

/* A worker's lazy post must wake the loop where that is what we wait for. */
static void note_waiting(struct connection *c, bool waits) {
    if (c->waits == waits) return;
    c->waits = waits;
    if (waits)
        c->server->n_waiting++;
    else
        c->server->n_waiting--;
}

void connection_proceed(struct connection *c) {
    if (c->state != CONNECTION_CLOSING) send_out(c);
    if (c->state == CONNECTION_OPEN) read_on(c);
    if (c->state != CONNECTION_CLOSING) send_out(c); /* what that refused */
    if (c->state == CONNECTION_ENDING && connection_is_quiet(c)) connection_close(c);
    if (c->state == CONNECTION_CLOSING && !c->stream && c->n_inflight == 0) {
        if (c->user) {
            c->user->requests -= c->ring_slots;
            users_put(&c->server->users, c->user);
        }
        note_waiting(c, false);
        server_forget(c->server, c);
        free(c);
    } else {
        note_waiting(c, c->state != CONNECTION_OPEN || !c->receiving || (c->out && !c->sending));
    }
}

bool connection_is_stalled(const struct connection *c, uint64_t now) {
    if (c->state == CONNECTION_CLOSING) return false;
    const uint64_t idle = c->user ? c->server->limits.idle_ns : 0,
                   last = c->read_ns > c->write_ns ? c->read_ns : c->write_ns;
    if (idle && !c->n_rings && connection_is_quiet(c) && now > last && now - last > idle) return true;
    const bool in_frame = c->receiving && (c->head_have || c->filling || c->skip);
    return (in_frame && now - c->read_ns > SERVER_STALL) || (c->out && now - c->write_ns > SERVER_STALL);
}
