/* From operator and algorithm to kernel. */
#include "infer/kernels_all.h"

static const kernel_fn of_op[OP_COUNT] = {
    [OP_BATCH_NORM] = kernel_batch_norm,
    [OP_RELU] = kernel_relu,
    [OP_CLIP] = kernel_clip,
    [OP_ADD] = kernel_add,
    [OP_MUL] = kernel_mul,
    [OP_MAX_POOL] = kernel_max_pool,
    [OP_AVERAGE_POOL] = kernel_average_pool,
    [OP_GLOBAL_AVERAGE_POOL] = kernel_global_average_pool,
    [OP_RESHAPE] = kernel_copy,
    [OP_GEMM] = kernel_gemm,
    [OP_MATMUL] = kernel_matmul,
    [OP_SOFTMAX] = kernel_softmax,
    [OP_CONCAT] = kernel_concat,
    [OP_IDENTITY] = kernel_copy,
    [OP_LAYER_NORM] = kernel_layer_norm,
    [OP_FUNCTION_FIRST... OP_FUNCTION_LAST] = kernel_function,
    [OP_PAIR_FIRST... OP_PAIR_LAST] = kernel_pair,
    [OP_WHERE] = kernel_where,
    [OP_REDUCE_FIRST... OP_REDUCE_LAST] = kernel_reduce,
    [OP_TRANSPOSE] = kernel_transpose,
    [OP_SLICE] = kernel_slice,
    [OP_EXPAND] = kernel_expand,
    [OP_PAD] = kernel_pad,
    [OP_GATHER] = kernel_gather,
    [OP_LRN] = kernel_lrn,
    [OP_INSTANCE_NORM] = kernel_instance_norm,
    [OP_CONV_TRANSPOSE] = kernel_conv_transpose,
    [OP_HARDMAX] = kernel_hardmax,
};

static const kernel_fn of_algorithm[ALG_COUNT] = {
    /* of OP_CONV */
    [ALG_CONV_REFERENCE] = kernel_conv_reference,     [ALG_CONV_IM2COL] = kernel_conv_im2col,
    [ALG_CONV_POINTWISE] = kernel_conv_pointwise,     [ALG_CONV_DEPTHWISE] = kernel_conv_depthwise,
    [ALG_CONV_DIRECT] = kernel_conv_direct,           [ALG_CONV_FIRST] = kernel_conv_first,
    [ALG_CONV_CHANNELWISE] = kernel_conv_channelwise, [ALG_CONV_WINOGRAD_2] = kernel_conv_winograd_2,
    [ALG_CONV_WINOGRAD_4] = kernel_conv_winograd_4,   [ALG_CONV_DIRECT_BF16] = kernel_conv_direct_bf16,
};

kernel_fn kernel_find(uint32_t op, uint32_t algorithm) {
    if (op >= OP_COUNT || algorithm >= ALG_COUNT) return NULL;
    if (op == OP_CONV) return of_algorithm[algorithm];
    if (op == OP_IDENTITY && algorithm == ALG_REORDER) return kernel_reorder;
    return algorithm == ALG_DEFAULT ? of_op[op] : NULL;
}
