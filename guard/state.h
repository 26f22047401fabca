/* The state folder: the last good image of every model and the one before it, so
 * that a restart serves at once and `rollback` has something to go back to.
 *
 *   NAME@index       one record (struct state_record), replaced as a whole
 *   NAME@17.image    the compiled model of version 17, as it was sealed
 *   NAME@0123456789abcdef.probe    what a probe found about these contents (probe_record.h): of the images
 *                                  that the record names
 *
 * Written as temp file, fsync, rename, fsync of the folder; the record last. What no
 * record names is left over from a write that was cut short, and removed at the next
 * start. So a crash or a full disk at any moment leaves what was there before.
 *
 * Nothing read from here is believed for being here: a record carries its own
 * digest and is checked field by field; an image is copied into a sealed memfd, so that
 * nobody can change it after the check, must be the one that the record names, and is
 * then checked by clpd like any other.
 * The functions below hold nothing but the folder's descriptor; any thread, but
 * one at a time for one model. */
#ifndef GUARD_STATE_H
#define GUARD_STATE_H

#include "guard/link.h"
#include "guard/spawn.h"

#define STATE_MODELS 4096 /* records in one folder; more are not looked at */
#define STATE_REASON 256

struct state_image { /* version 0: none */
    uint64_t version, bytes, closed_ns;
    uint64_t policy, build; /* stand for the policy that it was decided under, and for what compiled it */
    struct link_identity identity;
    struct spawn_digests digests;
    uint8_t image_checksum[32]; /* as the image itself says */
    int64_t pruned, total;
    uint32_t verdict;
    uint16_t repaired;         /* 1: with the channels that its probe named */
    uint16_t probe;            /* as in struct report: what its NAME.yaml asked for */
    uint32_t canary, reserved; /* canary: as canary_share */
    char path[LINK_PATH];      /* of its model file */
};

struct state_record {
    char model[LINK_MODEL];
    uint64_t last_version;             /* the highest that was ever served: versions count on from it */
    struct state_image current, other; /* other: the one before, or after a rollback the one that was left */
    /* A file that is not to be served until somebody accepts it; all zero: none. */
    struct link_identity barred_identity;
    struct spawn_digests barred;
    char barred_reason[STATE_REASON];
    struct spawn_digests
        accepted; /* contents that a person has accepted in spite of the policy; all zero: none */
};

#define STATE_RECORD_BYTES 1792

/* Pure. 0, or -1 with `e` set. */
int state_record_decode(const uint8_t *bytes, size_t size, struct state_record *out, struct err *e);
void state_record_encode(const struct state_record *r, uint8_t out[STATE_RECORD_BYTES]);

/* The folder (made if it isn't there), opened and to be closed by the caller; or -1 with `e` set. */
int state_open(const char *folder, struct err *e);

/* What a damaged or foreign file is called, and why it is of no use. */
typedef void (*state_trouble_fn)(void *arg, const char *name, const char *why);

/* Reads all records into *out (to be freed), sorted by model, and removes what is left over from writes that
 * were cut short. A record that is of no use is told to `trouble` and removed. Their number, or -1 with `e`
 * set. */
int state_read_all(int folder, struct state_record **out, state_trouble_fn trouble, void *arg, struct err *e);

/* A sealed memfd with this image, the caller's; or -1 with `e` set: missing, damaged, foreign, or not for
 * this host and build. */
int state_load(int folder, const struct state_record *r, const struct state_image *image, struct err *e);

/* Writes the image (from `fd`, whatever its position; -1: it is there already), then the record, then removes
 * the images that the record doesn't name. 0; or -1 with `e` set, and the folder is as it was. */
int state_keep(int folder, const struct state_record *r, int fd, struct err *e);

/* The record of a probe of these contents, as probe_record_encode made it. 0, or -1 with `e` set. */
int state_keep_probe(int folder, const char *model, const struct spawn_digests *d, const uint8_t *bytes,
                     size_t n, struct err *e);
/* malloc'ed, *n bytes, at most `most`; NULL: there is none, or with `e` set one that can't be read. */
uint8_t *state_load_probe(int folder, const char *model, const struct spawn_digests *d, size_t most,
                          size_t *n, struct err *e);

bool state_digests_are_set(const struct spawn_digests *d);
/* As messages carry them: sha256, beside. */
void state_digests_put(const struct spawn_digests *d, struct link_message *m);
void state_digests_get(const struct link_message *m, struct spawn_digests *d);

#endif
