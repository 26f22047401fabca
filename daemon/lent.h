/* A tensor that HTTP lends to the loop: it is computed where it lies, instead of being sent through a socket.
 *
 *   lent        the tensor's memory, counted: the exchange that may still need what stands around it, and the
 * slot that computes from it. The last one frees it; any thread. lent_line   how a loan finds the loop's end
 * of a line: that end may have been closed meanwhile, which only the loop knows. Counted: HTTP's end, the
 * loop's, and each loan on its way. `connection` is the loop's.
 *
 * The answer comes over the line, as every client's does. */
#ifndef DAEMON_LENT_H
#define DAEMON_LENT_H

#include "client/wire.h"
#include "daemon/loop.h"

struct connection;

struct lent_line {
    _Atomic uint32_t references;
    struct connection *connection; /* NULL: not open yet, or closed */
};

struct lent {
    struct loop_post post;
    _Atomic uint32_t references;
    struct lent_line *line; /* a reference, until the loop has it */
    uint64_t id;
    struct clpd_infer head;
    const uint8_t *tensor; /* 4-byte aligned, within `memory` */
    size_t bytes;
    void *memory; /* malloc'ed */
};

struct lent_line *lent_line_new(void); /* one reference; NULL: no memory */
struct lent_line *lent_line_get(struct lent_line *l);
void lent_line_put(struct lent_line *l); /* NULL: nothing */

/* Takes `memory` where it succeeds. One reference; NULL: no memory. */
struct lent *lent_new(void *memory, const void *tensor, size_t bytes);
struct lent *lent_get(struct lent *t);
void lent_put(struct lent *t); /* NULL: nothing */

#endif
