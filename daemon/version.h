/* One version of a model: a checked image with what serving needs of it at hand.
 *
 * Counted references: the model table holds one to the current version, every
 * request one to the version that it was checked against, every running batch one to
 * the version that it runs on. The last one hands it to the loader thread
 * (`retire`), which unmaps it: neither a worker nor the loop ever does.
 * Immutable but for the count; any thread. */
#ifndef DAEMON_VERSION_H
#define DAEMON_VERSION_H

#include "daemon/frame.h"
#include "daemon/loop.h"
#include "daemon/metrics.h"
#include "daemon/pace.h"
#include "guard/link.h"
#include "infer/image.h"

struct model;

struct version {
    _Atomic uint32_t references;
    void (*retire)(struct version *v); /* the last reference is gone; any thread, must not block */
    void *home;                        /* retire's */
    struct model *model;               /* set when it is published; NULL before */
    struct image *image;
    uint64_t number;    /* of the model's, from the guard */
    uint64_t signature; /* equal: a request checked against the one may run on the other */
    struct frame_input input;
    uint32_t pictures;   /* in one item of the engine */
    uint32_t classes;    /* scores per picture */
    uint32_t max_items;  /* of one engine run */
    bool is_probability; /* the scores are probabilities already */
    uint8_t sha256[32];
    uint32_t verdict; /* enum verdict */
    int64_t pruned_channels, total_channels;
    uint32_t canary; /* samples that keep their class after pruning, as canary_share; 0: there are none */
    uint64_t image_bytes;
    struct link_identity identity; /* of the file, and its path: for a guard that was restarted */
    char path[LINK_PATH];
    uint64_t policy; /* that it was decided under, as the guard says */
    uint64_t build;  /* as in struct link_message, like the next three */
    uint32_t repaired, probe;
    uint8_t beside[3][32];
    bool inherited;                /* from a clpd before this one */
    uint64_t closed_ns, loaded_ns; /* CLOCK_REALTIME: the file's last change; ready to serve */
    _Atomic uint64_t requests;     /* answered */
    bool here;                     /* the loop's own runner is warm for it */
    _Atomic uint64_t item_ns;      /* what one item takes, averaged; 0: never run */
    struct pace pace;
    struct metrics_version metrics;
    struct version *next; /* of the loader's list */
    struct loop_post post;
};

/* Takes `img` (also where it fails) and the facts of the guard's offer. At most
 * `max_batch` pictures will run at once. NULL with `e` set: not servable here. */
struct version *version_new(struct image *img, const struct link_message *offer, uint32_t max_batch,
                            uint64_t request_bytes, struct err *e);
void version_free(struct version *v); /* unmaps */

void version_get(struct version *v);
void version_put(struct version *v);

/* Whether what clients see is the same: input, classes, pictures per item. */
bool version_same_signature(const struct version *a, const struct version *b);

#endif
