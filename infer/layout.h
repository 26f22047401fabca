/* How tensors lie in memory, and which layouts an operator takes.
 *
 *   LAYOUT_PLAIN    row-major, as ONNX has it
 *   LAYOUT_BLOCKED  [N,C,H,W] as [N][C/16][H][W][16]: the 16 channels of a block
 *                   lie side by side, so that a vector holds one pixel of all of
 *                   them. A last block that is not full is padded; what its
 *                   spare lanes hold is written by whoever writes the tensor,
 *                   and no kernel lets it into another lane.
 *
 * Planner and validator ask the same functions. Pure, any thread. */
#ifndef INFER_LAYOUT_H
#define INFER_LAYOUT_H

#include "infer/image.h"

#define LAYOUT_LANES 16 /* channels of one block */

static inline int64_t layout_blocks(int64_t channels) {
    return (channels + LAYOUT_LANES - 1) / LAYOUT_LANES;
}

/* Whether a tensor of this shape can lie so. */
bool layout_takes_shape(uint32_t layout, const struct shape *s);
/* Bytes of a tensor of a valid shape that it takes. */
uint64_t layout_bytes(uint32_t layout, const struct shape *s);

/* The layouts of a step's tensors; in[i] of absent inputs is LAYOUT_PLAIN. */
struct layouts {
    const uint32_t *in;
    int n_in;
    uint32_t out;
};
/* Whether the kernel of this step takes them. A residual always lies as the output does. */
bool layout_fits(uint32_t algorithm, enum op op, const union op_params *p, const struct shape *in,
                 const struct shape *out, const struct layouts *l);

#endif
