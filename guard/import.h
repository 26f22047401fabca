/* From ONNX bytes to a graph that can be scored and compiled, or the reason why not.
 *
 *   bytes -> onnx_model -> names resolved, dead nodes left out
 *         -> nodes in order: constants evaluated, the others emitted
 *         -> graph, with shapes of one item
 *
 * Accepted: IR versions 3 to 12, operator sets 7 to 23 of the default domain.
 * A free batch (a first dimension that is symbolic) is followed through the
 * network: every shape is inferred at batch 1 and 2, and an operator that mixes
 * the images of a batch is refused, since the engine runs a batch as a loop
 * over its images. Runs in the sandboxed worker; single thread. */
#ifndef GUARD_IMPORT_H
#define GUARD_IMPORT_H

#include "guard/onnx_model.h"
#include "infer/graph.h"

#define IMPORT_MIN_IR    3
#define IMPORT_MAX_IR    12
#define IMPORT_MIN_OPSET 7
#define IMPORT_MAX_OPSET 23

struct import_options { /* all zero is the default */
    /* Weights beside the model (external data): the one other file, by its bare name. */
    const uint8_t *external;
    size_t external_bytes;
    const char *external_name;
    /* Weights that do not lie aligned in `bytes` are moved instead of copied: this is told, piece by piece,
     * what of `bytes` is not looked at any more. The model is then of no use to onnx_prune. NULL: they are
     * copied. */
    void (*done)(void *ctx, const void *at, size_t n);
    void *ctx;
};

/* `bytes` (and the external ones) must outlive graph and model: weights are
 * views of them. `o` may be NULL. The model is kept for onnx_prune; the caller
 * frees both, in any order. ERR_TRUNCATED: the file is not finished; else the
 * message says which node or tensor is refused, and what is accepted. */
int import_onnx(const uint8_t *bytes, size_t size, const struct import_options *o, struct onnx_model **model,
                struct graph **g, struct err *e);

#endif
