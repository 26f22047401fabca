/* Who may send on a connection: the loop, or a worker that has an answer while the loop sleeps.
 *
 *   FREE -> LOOP -> FREE       the loop has something to send; for good once the connection ends
 *   FREE -> WORKER -> FREE     a worker's answer went out whole
 *           WORKER -> HANDED -> LOOP     or in part: the rest is the loop's, and nobody sends before it
 *
 * A worker that answers by itself wakes the client, and nobody else: waking the loop first costs a thread's
 * wake-up more. */
#ifndef DAEMON_OUTLET_H
#define DAEMON_OUTLET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum outlet_holder { OUTLET_FREE, OUTLET_LOOP, OUTLET_WORKER, OUTLET_HANDED };

struct outlet {
    int fd; /* borrowed; open until the loop has taken the outlet for good */
    _Atomic uint32_t holder;
};

/* A worker's: sends what the socket takes at once. n: all of it; less: the rest is to be handed to the loop,
 * by outlet_adopt; 0: nothing was done. */
size_t outlet_send(struct outlet *o, const uint8_t *bytes, size_t n);

/* The loop's. true: it may send, until outlet_free. false: a worker sends, or its rest comes first; the post
 * that follows says when to try again. It does not wait: a worker that wakes its client may lose its CPU to
 * it. */
bool outlet_take(struct outlet *o);
/* For good, before the descriptor is closed: waits for a worker that sends, which does not block. */
void outlet_end(struct outlet *o);
void outlet_adopt(struct outlet *o); /* the rest is here */
void outlet_free(struct outlet *o);

#endif
