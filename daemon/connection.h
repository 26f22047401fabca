/* One client of the stream socket: frames in, replies out.
 *
 *   OPEN     frames are read
 *   ENDING   no more is read (the peer said so, or its framing is broken); what is in flight is answered
 *   CLOSING  the loop is closing the stream; requests that run come back to nobody
 *
 * Nothing a client does can cost more than its limits: it is not read from while
 * `inflight` of its requests are unanswered or unread, so it can't make us queue
 * without bound. The loop's thread only. */
#ifndef DAEMON_CONNECTION_H
#define DAEMON_CONNECTION_H

#include "daemon/outlet.h"
#include "daemon/server.h"

#include <sys/socket.h>

#define CONNECTION_REFUSALS 16 /* answers that need no slot; that many may be unsent */
#define CONNECTION_JSON     4
#define CONNECTION_RINGS    64         /* of one connection */
#define CONNECTION_DIRECT   4096       /* a tensor with more than this to come is received in place, */
#define CONNECTION_PIECE    (1u << 20) /* in pieces, so that a stalled client can be told from a slow one */

enum connection_state { CONNECTION_OPEN, CONNECTION_ENDING, CONNECTION_CLOSING };

struct lent;
struct lent_line;
struct ring;

struct refusal {
    struct frame_out out;
    bool used;
    uint8_t bytes[FRAME_REFUSAL];
};

struct connection {
    struct server *server;
    struct loop_stream *stream; /* NULL: closed */
    enum connection_state state;
    struct ucred peer;           /* who it was when it connected */
    struct user *user;           /* NULL: a line of the daemon's own, */
    struct lent_line *lent_line; /* and how HTTP finds it */
    struct batcher_client client;

    /* reading */
    bool receiving;
    uint8_t head[FRAME_HEADER + FRAME_INFER];
    size_t head_have;
    struct clpd_header header;
    uint64_t header_ns;
    struct slot *filling;      /* its tensor is arriving */
    size_t asked;              /* of it, by loop_receive_into */
    uint64_t skip;             /* bytes of a refused body that are still to come */
    uint8_t stash[LOOP_CHUNK]; /* what came behind the point where reading had to stop */
    size_t stash_at, stash_n;
    uint64_t read_ns;

    /* answering */
    uint32_t n_inflight; /* slots that are ours: filling, waiting, running, unsent */
    uint32_t n_refusals, n_json, n_rings, ring_slots;
    struct ring *rings[CONNECTION_RINGS];
    struct refusal refusals[CONNECTION_REFUSALS];
    struct frame_out *out, **out_end;
    size_t out_sent; /* bytes of the first */
    struct outlet outlet;
    bool sending;
    bool waits; /* for something of its own to come back before it reads on or ends */
    struct iovec iov[LOOP_MAX_IOV];
    uint64_t write_ns;

    bool dirty;
    struct connection *next_dirty;
    struct connection *next, *previous;
};

/* Takes fd, and with it one connection of the user's (NULL: the daemon's own). NULL: no memory or no place;
 * fd is closed, the user still the caller's. */
struct connection *connection_open(struct server *s, int fd, struct user *user);
/* Ends it now: what waits is cancelled. */
void connection_close(struct connection *c);
/* A request over one of the daemon's own lines whose tensor lies elsewhere. Takes the loan. */
void connection_take_lent(struct connection *c, struct lent *t);
/* Does what can be done at the turn's end: sends, reads on, ends. */
void connection_proceed(struct connection *c);
/* A request comes back, from a worker by way of the loop, or refused by the batcher. */
void connection_answer(struct connection *c, struct slot *slot);
int connection_peer(const struct connection *c, struct ucred *peer); /* who it is; its socket */
/* What the server's `control` has put off: the connection may be closing by now. CLPD_OK, or a status; the
 * JSON text (malloc'ed, taken) of the answer, or NULL, and the text of the refusal. */
void connection_control_done(struct connection *c, uint64_t id, uint32_t status, char *json,
                             const char *text);
bool connection_is_quiet(const struct connection *c); /* nothing in flight, nothing unsent */
bool connection_is_stalled(const struct connection *c, uint64_t now);

#endif
