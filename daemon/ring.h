/* One ring in shared memory (client/ring.h), from being asked for to the last answer.
 *
 *   OPEN      a source of the lookout: workers take its requests, compute them in place, answer
 *   BROKEN    its client wrote what none of good will writes: nothing is taken any more, `closed` says why
 *   DETACHED  its connection is gone: what waits is cancelled, what runs comes back to nobody
 *             -> freed by the loop when the last request is through
 *
 * Nothing in the memory is read but `submitted` and requests, which are copied once and then checked. A ring
 * is one reference of its connection's and one of every request under way. ring_open and ring_detach: the
 * loop's thread. */
#ifndef DAEMON_RING_H
#define DAEMON_RING_H

#include "daemon/lookout.h"
#include "daemon/server.h"

#define RING_FDS 2 /* that a client gets: memory, bell */

struct ring;

/* Makes one for a client of the server's and puts it under the workers' eyes. Its descriptors are the
 * caller's to send and to close. NULL: v says why not. */
struct ring *ring_open(struct server *s, const struct clpd_ring_open *ask, struct clpd_ring_info *info,
                       int fds[RING_FDS], struct frame_verdict *v);
void ring_detach(struct ring *r);

#endif
