/* From graph to image: what runs, in which order, where every tensor lies.
 *
 *   graph -> fold (normalisation into convolutions, after CLP)
 *         -> shrink (channels that are zero, and all that only serves them, taken out)
 *         -> fuse (residual add, activation)
 *         -> choose (an algorithm per step)
 *         -> layout (blocked or plain; reordering where they meet)
 *         -> drop (dead nodes; reshapes and identities become other names of their input)
 *         -> place (arena offsets by lifetime; concatenations write in place)
 *         -> image_write
 *
 * Runs in the import worker: no BLAS, no threads, no files. */
#ifndef INFER_PLAN_H
#define INFER_PLAN_H

#include "infer/graph.h"
#include "infer/image.h"

struct plan_options {
    enum image_isa isa;
    bool keep_dead; /* zero channels stay in: to compare with */
    bool reference; /* every step by its plain twin, nothing fused: what tests compare with */
    bool keep;      /* for gradients: every output stays where it is to the end, and weights lie as they are
                     * or in an order that can be turned back (no Winograd); infer/gradient.h runs it */
};

/* Where memory is short: what image_write asks for and gives back on the way. Ranges of `out` come in order.
 */
struct plan_memory {
    /* `n` bytes of `out` from `offset` on are about to be written. 0, or -1 with `e` set. */
    int (*want)(void *ctx, size_t offset, size_t n, struct err *e);
    /* These bytes, of `out` or of a constant that went into it, are not looked at any more. */
    void (*done)(void *ctx, const void *at, size_t n);
    void *ctx;
};

struct plan_metadata { /* all borrowed during the call */
    uint8_t source_sha256[32];
    struct image_preprocess preprocess; /* all zero: none, pictures go in as they are */
    const char *const *labels;
    uint32_t n_labels;
    const void *report;
    size_t report_bytes;
    const struct plan_memory *memory; /* NULL: all of `out` is there, and nothing is given back */
};

struct plan; /* borrows the graph, which stays as it is: free the plan first */

int plan_make(struct graph *g, const struct plan_options *o, struct plan **out, struct err *e);
void plan_free(struct plan *p);

struct plan_sizes { /* per item; before: had no channel been taken out */
    uint64_t parameters, multiply_adds, parameters_before, multiply_adds_before;
};
void plan_measure(const struct plan *p, struct plan_sizes *sizes);

/* Size of the image to come, so that the caller can make room (ftruncate). */
size_t plan_image_bytes(const struct plan *p, const struct plan_metadata *m);
/* Writes the image into `out` (zeroed, 64-byte aligned, plan_image_bytes long), self digest included. */
int image_write(const struct plan *p, const struct plan_metadata *m, uint8_t *out, size_t bytes,
                struct err *e);

#endif
