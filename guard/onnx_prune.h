/* ONNX in, repaired ONNX out: the file as it came, with pruned channels set to zero.
 *
 * Where a convolution is followed by a batch normalisation the channel's scale
 * and bias become zero, else its filter and bias; its output is then exactly
 * zero in any runtime. All other bytes stay as they are: names, operator sets,
 * metadata, the other weights. A tensor that other nodes use too, or that is no
 * plain tensor inside the file (an alias, a computed constant, external data)
 * is left alone: the node gets a new initializer of its own instead.
 * Three entries tell what was done, in the model's metadata:
 *   clpd.source_sha256   digest of the file that came in, in hex
 *   clpd.threshold       u
 *   clpd.pruned          "layer:3,17;layer2:5"; in layer names the bytes % : ; ,
 *                        and control characters are written as %XX
 * Single thread. */
#ifndef GUARD_ONNX_PRUNE_H
#define GUARD_ONNX_PRUNE_H

#include "guard/onnx_model.h"
#include "guard/splice.h"
#include "infer/graph.h"

struct prune_edit {
    int32_t conv; /* graph node index */
    int32_t norm; /* graph node index or -1 */
    const int32_t *channels;
    int32_t n;
};

struct prune_notes {
    uint8_t source_sha256[32];
    double threshold;
};

/* `g` is the graph that import_onnx made of `m`, before plan_make has folded
 * anything in it; edits made by CLP are fine. The repaired file goes to `write`
 * piece by piece. 0, or -1 with `e` set; what was written is then worthless. */
int onnx_prune(struct onnx_model *m, const struct graph *g, const struct prune_edit *edits, int32_t n_edits,
               const struct prune_notes *notes, splice_write_fn write, void *ctx, struct err *e);

#endif
