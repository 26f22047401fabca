/* The kernels behind kernel_find. Each takes a step that op_check,
 * algorithm_fits and the image validator have passed, and checks nothing
 * again. A kernel may write where one of its inputs lies only if
 * it says so below. Any thread; no state. */
#ifndef INFER_KERNELS_ALL_H
#define INFER_KERNELS_ALL_H

#include "infer/kernels.h"

/* Convolutions; apply residual and activation; the residual may be the output itself. */
void kernel_conv_reference(const struct kernel_call *c);
void kernel_conv_im2col(const struct kernel_call *c);
void kernel_conv_pointwise(const struct kernel_call *c);
void kernel_conv_depthwise(const struct kernel_call *c);
/* … of blocked tensors (layout.h); `first` reads a plain one. */
void kernel_conv_direct(const struct kernel_call *c);
void kernel_conv_direct_bf16(const struct kernel_call *c); /* needs AVX512-BF16 */
void kernel_conv_first(const struct kernel_call *c);
void kernel_conv_channelwise(const struct kernel_call *c);
void kernel_conv_winograd_2(const struct kernel_call *c);
void kernel_conv_winograd_4(const struct kernel_call *c);

/* Elementwise; apply the activation; the output may be an input of its own shape. */
void kernel_add(const struct kernel_call *c);
void kernel_mul(const struct kernel_call *c);
void kernel_relu(const struct kernel_call *c);
void kernel_clip(const struct kernel_call *c);
void kernel_batch_norm(const struct kernel_call *c); /* X, scale, shift */
void kernel_copy(const struct kernel_call *c);       /* Identity, Reshape */
void kernel_reorder(const struct kernel_call *c);    /* from one layout to the other; never in place */

/* Matrix products; apply the activation. */
void kernel_gemm(const struct kernel_call *c);
void kernel_matmul(const struct kernel_call *c);

void kernel_max_pool(const struct kernel_call *c);
void kernel_average_pool(const struct kernel_call *c);
void kernel_global_average_pool(const struct kernel_call *c);

void kernel_softmax(const struct kernel_call *c);    /* the output may be the input */
void kernel_layer_norm(const struct kernel_call *c); /* the output may be the input */
void kernel_concat(const struct kernel_call *c);     /* inputs may already lie in their place */

/* Element by element; the output may be an input of its own shape. */
void kernel_function(const struct kernel_call *c);
void kernel_pair(const struct kernel_call *c);
void kernel_where(const struct kernel_call *c);

void kernel_reduce(const struct kernel_call *c);
void kernel_transpose(const struct kernel_call *c);
void kernel_slice(const struct kernel_call *c);
void kernel_expand(const struct kernel_call *c);
void kernel_pad(const struct kernel_call *c);
void kernel_gather(const struct kernel_call *c);
void kernel_lrn(const struct kernel_call *c);
void kernel_instance_norm(const struct kernel_call *c); /* the output may be the input */
void kernel_conv_transpose(const struct kernel_call *c);
void kernel_hardmax(const struct kernel_call *c);

/* Optional input `i`, or NULL. */
static inline const struct view *kernel_input(const struct kernel_call *c, uint32_t i) {
    return i < c->n_inputs && c->in[i].t ? &c->in[i] : NULL;
}

#endif
