/* What is served, for threads that are not the loop: a list that never changes, replaced as a whole.
 *
 *   loop:    models change -> catalogue_publish -> a new list
 *   others:  catalogue_get -> read -> catalogue_put
 *
 * A list holds a reference to each version in it, so names, shapes, counters
 * and reports can be read without asking the loop. Whoever holds a list keeps
 * the images in it mapped: hold it for a moment only. */
#ifndef DAEMON_CATALOGUE_H
#define DAEMON_CATALOGUE_H

#include "daemon/models.h"

struct catalogue; /* where the lists are published */

struct catalogue_list {
    _Atomic uint32_t references;
    bool ready; /* the daemon says READY: every file that it found at start has been dealt with */
    uint64_t swaps;
    uint32_t n;
    struct catalogue_model {
        char name[LINK_MODEL];
        struct version *version;
        struct probe_note *probe; /* with a report, or NULL */
        uint64_t requests_before; /* of versions that are gone */
    } models[];
};

struct catalogue *catalogue_new(void);    /* NULL: no memory. Empty at first */
void catalogue_free(struct catalogue *c); /* NULL is fine; before models_close */

/* The loop's thread. Without memory the old list stays. */
void catalogue_publish(struct catalogue *c, const struct models *m, bool ready);
/* Nothing is served any more: lets every version go. */
void catalogue_clear(struct catalogue *c);

/* Any thread. NULL: nothing has been published. */
struct catalogue_list *catalogue_get(struct catalogue *c);
void catalogue_put(struct catalogue_list *l); /* NULL is fine */
const struct catalogue_model *catalogue_find(const struct catalogue_list *l, const char *name); /* or NULL */

#endif
