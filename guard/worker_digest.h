/* The digests of an import worker's files, taken beside the import, or before it where somebody vouches for
 * them.
 *
 *   begin: [model -> sidecar -> external -> canary], sent as they are known   ||   give_back, give_back, ...
 * await
 *
 * A parser that is taken over could lie about a digest that is still to be sent; it lies about the network
 * just as well, so that only matters where the digest is why the network may be served at all: `first`, then.
 * What the import needs no more is given back to the kernel as soon as it is digested, too. */
#ifndef GUARD_WORKER_DIGEST_H
#define GUARD_WORKER_DIGEST_H

#include "guard/helper.h"
#include "guard/spawn.h"

#include <pthread.h>

#define DIGEST_FILES   4
#define DIGEST_PENDING 4096
#define DIGEST_AHEAD   ((size_t)64 << 20) /* bytes that may wait for it: then the import waits, too */

struct digest_range {
    const uint8_t *at;
    size_t n;
};

struct worker_digest {
    struct helper *helper;
    int report_fd;
    struct {
        const uint8_t *bytes;
        size_t size;
        uint8_t *out; /* NULL: there is no such file */
    } files[DIGEST_FILES];
    struct spawn_digests digests;
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t more;
    size_t done[DIGEST_FILES]; /* bytes */
    bool over;
    int sent; /* of worker_send_digests */
    struct digest_range pending[DIGEST_PENDING];
    uint32_t n_pending;
    size_t pending_bytes;
};

/* `bytes` are the worker's own copies and stay; all of it stays where it is until the end. */
void worker_digest_open(struct worker_digest *d, struct helper *h, int report_fd);
void worker_digest_add(struct worker_digest *d, int index, const uint8_t *bytes, size_t size,
                       uint8_t out[32]);
/* `first`: comes back when they are sent. */
void worker_digest_begin(struct worker_digest *d, bool first);
/* Until they are known and sent: 0, or -errno of sending them. */
int worker_digest_await(struct worker_digest *d);
/* These bytes are needed for the digest alone: whole pages go back to the kernel once that has seen them. Any
 * memory may be named. Any thread. */
void worker_digest_give_back(struct worker_digest *d, const void *at, size_t n);

#endif
