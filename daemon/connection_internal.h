/* What connection.c and connection_read.c share, and nobody else. */
#ifndef DAEMON_CONNECTION_INTERNAL_H
#define DAEMON_CONNECTION_INTERNAL_H

#include "daemon/connection.h"
#include "daemon/ring.h"

enum { OUT_SLOT, OUT_REFUSAL, OUT_JSON, OUT_RING };

struct ring_out {
    struct frame_out out;
    int fds[RING_FDS];
    uint8_t bytes[sizeof(struct clpd_header) + sizeof(struct clpd_ring_info)];
};

/* connection.c */
void connection_set_state(struct connection *c, enum connection_state to);
/* Queues n bytes, which lie still until they have been sent. */
void connection_put_out(struct connection *c, struct frame_out *o, uint8_t kind, const uint8_t *bytes,
                        size_t n);
/* An answer that needs no slot. There is room: reading stops before it runs out. */
void connection_refuse(struct connection *c, uint8_t type, uint32_t status, const char *text);
/* Takes the text. */
bool connection_put_json(struct connection *c, uint64_t id, char *text, size_t n);
void connection_give_slot(struct connection *c, struct slot *slot);
void connection_complete(struct request *r); /* on a worker's thread, or the loop's */

/* connection_read.c: two of the stream's calls, and what the turn's end does for reading */
uint8_t *connection_landing(void *owner);
void connection_received(void *owner, const uint8_t *bytes, ssize_t n);
void connection_read_on(struct connection *c);

#endif
