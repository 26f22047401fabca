/* The life of a frame:
 *
 *   1 chunk arrives            connection_read.c: connection_received -> consume
 *   2 header, clpd_infer       take_head -> begin_request: model, shape, slot, or a refusal
 *   3 tensor                   has landed where the engine reads it (connection_landing), or is copied there,
 *                              at most LOOP_CHUNK bytes; what is still to come is received there
 *   4 whole                    staged; submitted at the turn's end
 *   5 computed                 a post brings the slot back: connection_answer; or, where the loop sleeps,
 *                              the worker sends the answer itself (daemon/outlet.h), and the post can wait
 *   6 sent                     gathered with others: on_sent; the slot is free
 */
#include "daemon/connection_internal.h"

#include "daemon/admit.h"
#include "daemon/lent.h"
#include "daemon/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct json_out {
    struct frame_out out;
    uint8_t bytes[];
};

static const char *state_name(enum connection_state s) {
    static const char *const names[] = {"open", "ending", "closing"};
    return names[s];
}

void connection_set_state(struct connection *c, enum connection_state to) {
    assert(to > c->state);
    log_debug("connection of pid %d: %s -> %s", (int)c->peer.pid, state_name(c->state), state_name(to));
    c->state = to;
}

/* --- answers ------------------------------------------------------------------------- */

void connection_put_out(struct connection *c, struct frame_out *o, uint8_t kind, const uint8_t *bytes,
                        size_t n) {
    *o = (struct frame_out){.bytes = bytes, .n = n, .kind = kind};
    if (!c->out) c->write_ns = loop_now(c->server->loop);
    *c->out_end = o;
    c->out_end = &o->next;
    server_mark_dirty(c->server, c);
}

void connection_refuse(struct connection *c, uint8_t type, uint32_t status, const char *text) {
    struct refusal *r = c->refusals;
    while (r->used) r++;
    assert(r < c->refusals + CONNECTION_REFUSALS);
    r->used = true;
    c->n_refusals++;
    server_count(c->server, status);
    connection_put_out(c, &r->out, OUT_REFUSAL, r->bytes,
                       frame_write_refusal(r->bytes, type, c->header.id, status, text));
}

bool connection_put_json(struct connection *c, uint64_t id, char *text, size_t n) {
    struct json_out *j = text ? malloc(sizeof *j + FRAME_HEADER + n) : NULL;
    if (j) memcpy(j->bytes + frame_write_header(j->bytes, CLPD_JSON_REPLY, id, n), text, n);
    free(text);
    if (!j) return false;
    c->n_json++;
    connection_put_out(c, &j->out, OUT_JSON, j->bytes, FRAME_HEADER + n);
    return true;
}

/* An answer that comes when it comes, so no place for it has been kept. */
static bool put_late_refusal(struct connection *c, uint64_t id, uint32_t status, const char *text) {
    struct json_out *j = malloc(sizeof *j + FRAME_REFUSAL);
    if (!j) return false;
    c->n_json++;
    connection_put_out(c, &j->out, OUT_JSON, j->bytes,
                       frame_write_refusal(j->bytes, CLPD_ERROR, id, status, text));
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
    const bool put = status == CLPD_OK ? connection_put_json(c, id, json, json ? strlen(json) : 0)
                                       : put_late_refusal(c, id, status, text);
    if (!put) connection_close(c); /* out of memory: it must not wait for ever */
}

int connection_peer(const struct connection *c, struct ucred *peer) {
    *peer = c->peer;
    return loop_stream_fd(c->stream);
}

void connection_give_slot(struct connection *c, struct slot *slot) {
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
        connection_give_slot(c, (struct slot *)(void *)((uint8_t *)o - offsetof(struct slot, out)));
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
        connection_give_slot(c, slot);
        server_mark_dirty(c->server, c);
        return;
    }
    if (slot->out.n == 0) frame_answer(c->server, slot);
    connection_put_out(c, &slot->out, OUT_SLOT, slot->frame, slot->out.n);
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
        connection_give_slot(c, slot);
        server_mark_dirty(c->server, c);
    }
}

void connection_complete(struct request *r) {
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
    if (c->filling) connection_give_slot(c, c->filling);
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

static const struct loop_stream_calls stream_calls = {connection_landing, connection_received, on_sent,
                                                      on_closed, on_gone};

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
    connection_set_state(c, CONNECTION_CLOSING);
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
    if (c->state == CONNECTION_OPEN) connection_read_on(c);
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
