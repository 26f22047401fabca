/* Which algorithms a step can take, what they cost, and how their weights lie
 * in the image. Known to planner, validator and engine alike; no BLAS here.
 * Adding a faster convolution means: an enum in image.h, what it can run and its
 * scratch in conv.c, its place in algorithm_choose, a kernel in kernel_find. Executor and format stay as they
 * are. */
#ifndef INFER_ALGORITHM_H
#define INFER_ALGORITHM_H

#include "infer/image.h"

const char *algorithm_name(uint32_t algorithm);

/* Whether `algorithm` may run this operator with these shapes. */
bool algorithm_fits(uint32_t algorithm, enum op op, const union op_params *p, const struct shape *in,
                    int n_in, const struct shape *out);

/* The one to take. */
uint32_t algorithm_choose(enum image_isa isa, enum op op, const union op_params *p, const struct shape *in,
                          int n_in, const struct shape *out);

/* The same without those whose weights are transformed (Winograd): see plan_options.keep. */
uint32_t algorithm_choose_direct(enum image_isa isa, enum op op, const union op_params *p,
                                 const struct shape *in, int n_in, const struct shape *out);

/* Bytes of scratch that a kernel needs for this step. */
size_t algorithm_scratch_bytes(uint32_t algorithm, enum op op, const union op_params *p,
                               const struct shape *in, int n_in, const struct shape *out);

/* How a packed weight is cut by filters: it lies in so many equal planes (Winograd's points, else 1), in each
 * of which filters come in order; blocked: in whole groups of 16, with zeros for those that are missing. */
uint32_t algorithm_weight_planes(uint32_t algorithm, enum op op);
bool algorithm_weight_is_blocked(uint32_t algorithm, enum op op);

/* Whether packing is copying. */
bool algorithm_keeps_weight(uint32_t algorithm, enum op op, const double *scale);
/* Bytes of the weight constant (input 1) as the algorithm wants it, and the packing itself.
 * `scale`, one factor per output channel, is multiplied in on the way (folded
 * normalisation), so that no scaled copy of a large weight ever exists; NULL: none. */
size_t algorithm_weight_bytes(uint32_t algorithm, enum op op, const union op_params *p,
                              const struct shape *weight);
void algorithm_pack_weight(uint32_t algorithm, enum op op, const union op_params *p,
                           const struct shape *weight, const double *scale, const float *from, void *to);

/* Whether kernels of this operator apply step->activation (and, for OP_CONV only, step->residual). */
bool algorithm_takes_activation(enum op op);

/* Multiply-adds of one item, for people and for the cost model. */
uint64_t algorithm_multiply_adds(enum op op, const union op_params *p, const struct shape *in, int n_in,
                                 const struct shape *out);

#endif
