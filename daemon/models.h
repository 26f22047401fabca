/* The model table: which version of which model serves, and how a new one gets there.
 *
 *   offer -> loader thread: image_map (checks all), version_new, every worker warmed
 *         -> loop thread: published (`current` changes under the workers' lock)
 *         -> a large one: run once, unless somebody has asked meanwhile -> answered, its predecessor let go
 *   last reference of the old one gone -> loader thread: unmapped
 *
 * Offers are dealt with one at a time, in the order in which they came; requests
 * flow meanwhile. The loop's thread only, but for models_current, and models_find and models_count under the
 * workers' lock. */
#ifndef DAEMON_MODELS_H
#define DAEMON_MODELS_H

#include "daemon/probe_note.h"
#include "daemon/workers.h"

#define MODELS_MAX        256
#define MODELS_MAX_OFFERS 64 /* that may wait for the loader */

struct model {
    char name[LINK_MODEL];
    bool used;
    struct batcher_queue queue;
    struct version *current;  /* one reference; NULL: retired. Changed under the workers' lock */
    uint32_t n_versions;      /* that exist: the place is free when there is none any more */
    uint64_t requests_before; /* of versions that are gone */
    struct probe_note *probe; /* of what `current` was made from; NULL: nothing is known */
};

struct models;

struct models_calls { /* on the loop's thread */
    /* An offer was dealt with: v serves (NULL: refused, `why` says why). `ticket` as given to models_offer.
     */
    void (*answered)(void *owner, const struct link_message *offer, uint64_t ticket, const struct version *v,
                     const char *why);
    void (*done)(void *owner);    /* after each offer and each retirement; NULL: not wanted */
    void (*changed)(void *owner); /* what serves is another than before; NULL is fine */
    /* v has begun to serve, its image lies in fd (borrowed); it has ceased to, after its successor has begun.
     * NULL is fine. */
    void (*begun)(void *owner, const struct link_message *offer, int fd, uint64_t ticket);
    void (*ceased)(void *owner, const struct version *v);
    void *owner;
};

/* Starts the loader thread. Borrows loop and workers until models_close. NULL with `e` set. */
struct models *models_open(struct loop *l, struct workers *w, uint32_t max_batch, uint64_t request_bytes,
                           const struct models_calls *calls, struct err *e);
/* Ends the loader; after it nothing is published any more. Call it before workers_stop. 0, or -ETIMEDOUT
 * where it is still at work at `limit` (loop_clock): a model that is being warmed can't be interrupted. */
#define MODELS_NO_LIMIT UINT64_MAX
int models_stop(struct models *m, uint64_t limit);
/* Unmaps everything; after workers_stop, when no request is left. NULL is fine. */
void models_close(struct models *m);

/* Takes fd. false: too many offers wait, or no memory; fd is closed, answer with a refusal. */
bool models_offer(struct models *m, const struct link_message *offer, int fd, uint64_t ticket);
bool models_can_take_offer(const struct models *m);
/* Stops serving it, after the offers that came before; what waits is still computed. false: no memory. */
bool models_retire(struct models *m, const char *name);

/* Takes the reference. What it says of contents that are not served is dropped. */
void models_note_probe(struct models *m, struct probe_note *n);

/* The version that a request to `name` is held against ("": the only model), or NULL. Borrowed. */
struct version *models_find(const struct models *m, const char *name);
/* The i-th place of the table: NULL past the end; `current` is NULL where nothing serves. */
const struct model *models_at(const struct models *m, uint32_t i);
uint32_t models_count(const struct models *m); /* that serve */
uint64_t models_requests(const struct model *model);
uint64_t models_swaps(const struct models *m); /* a version took another one's place */
bool models_are_idle(const struct models *m);  /* no offer waits or is being loaded */

/* For workers_start. */
struct version *models_current(const struct batcher_queue *q);

#endif
