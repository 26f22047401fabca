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
 * Runs in the import worker: no BLAS, no files, and no threads but those that a sink may lend. */
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

struct plan_metadata { /* all borrowed during the call */
    uint8_t source_sha256[32];
    struct image_preprocess preprocess; /* all zero: none, pictures go in as they are */
    const char *const *labels;
    uint32_t n_labels;
    const void *report;
    size_t report_bytes;
};

/* Where an image goes, piece by piece. What is NULL but `put` is done without. */
struct plan_sink {
    /* `n` bytes that stand `at` so many; pieces come in no order. 0, or -1 with `e` set. */
    int (*put)(void *ctx, uint64_t at, const void *bytes, size_t n, struct err *e);
    /* These bytes, of a constant that has gone into the image, are not looked at any more. */
    void (*done)(void *ctx, const void *at, size_t n);
    /* Calls fn(arg) on every thread that there is, this one among them, and waits for all: those above are
     * then called by several at once. */
    void (*spread)(void *ctx, void (*fn)(void *arg), void *arg);
    /* Before the head is written, which is last: source_sha256 and the report may still be filled in. */
    int (*last)(void *ctx, struct err *e);
    void *ctx;
};

struct plan; /* borrows the graph, which stays as it is: free the plan first */

int plan_make(struct graph *g, const struct plan_options *o, struct plan **out, struct err *e);
void plan_free(struct plan *p);

struct plan_sizes { /* per item; before: had no channel been taken out */
    uint64_t parameters, multiply_adds, parameters_before, multiply_adds_before;
};
void plan_measure(const struct plan *p, struct plan_sizes *sizes);

/* Size of the image to come. */
size_t plan_image_bytes(const struct plan *p, const struct plan_metadata *m);
/* Writes the image, checksum included. What is not put is zero. */
int image_send(const struct plan *p, const struct plan_metadata *m, const struct plan_sink *sink,
               struct err *e);
/* The same into `out` (zeroed, 64-byte aligned, plan_image_bytes long). */
int image_write(const struct plan *p, const struct plan_metadata *m, uint8_t *out, size_t bytes,
                struct err *e);

#endif
