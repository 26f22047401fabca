/* Keeps the state folder (state.h) up to date beside the guard's loop: the records in
 * memory, and a thread that writes, so that a slow disk delays no import and no request.
 * The loop's thread calls; the writer touches nothing but its own queue. */
#ifndef GUARD_KEEPER_H
#define GUARD_KEEPER_H

#include "guard/state.h"

struct keeper;

/* Opens the folder and reads what is there. Without a usable folder (`e` says why) it
 * still remembers, and writes nothing. NULL: out of memory. `trouble` is told
 * of every record that is of no use. */
struct keeper *keeper_open(const char *folder, state_trouble_fn trouble, void *arg, struct err *e);
/* Waits for what is still to be written. NULL is fine. */
void keeper_close(struct keeper *k);

size_t keeper_count(const struct keeper *k);
struct state_record *keeper_at(struct keeper *k, size_t i);
/* NULL: nothing is known about it. Valid until keeper_add of another model. */
struct state_record *keeper_find(struct keeper *k, const char *model);
struct state_record *keeper_add(struct keeper *k, const char *model); /* finds it, too; NULL: out of memory */

/* This version serves now, made into an image that lies in `fd` (borrowed; -1: it is kept already): the one
 * before becomes `other`. */
void keeper_serves(struct keeper *k, const char *model, const struct state_image *image, int fd);
/* The model is no longer served: its images go, its count of versions stays. */
void keeper_retired(struct keeper *k, const char *model);
/* The caller has changed the record: write it. */
void keeper_write(struct keeper *k, const struct state_record *r);

/* What a probe found about these contents of the model: takes `bytes` (malloc'ed). */
void keeper_keep_probe(struct keeper *k, const char *model, const struct spawn_digests *d, uint8_t *bytes,
                       size_t n);
/* As state_load_probe. */
uint8_t *keeper_load_probe(const struct keeper *k, const char *model, const struct spawn_digests *d,
                           size_t most, size_t *n, struct err *e);

/* A sealed memfd, or -1 with `e` set. */
int keeper_load(struct keeper *k, const struct state_record *r, const struct state_image *image,
                struct err *e);

/* The LINK_OFFER that goes to clpd with such a memfd. */
struct link_message keeper_offer(const char model[LINK_MODEL], const struct state_image *image);

int keeper_fd(
    const struct keeper *k); /* readable: keeper_failure has something to say; -1: there is no writer */
/* What could not be written, and why; false: nothing more. */
bool keeper_failure(struct keeper *k, char model[LINK_MODEL], struct err *e);

#endif
