/* The run-time operators: one enum, one parameter record each, one shape rule each.
 *
 * Graph nodes and the steps of an image share these records, so they hold no
 * pointers and have a fixed layout. `op_check` is called for both: by the
 * importer, where it says what is wrong with a model, and by the image
 * validator, where it keeps a hostile image from reaching a kernel.
 * Pure functions, any thread. */
#ifndef INFER_OP_H
#define INFER_OP_H

#include "infer/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHAPE_MAX_RANK     8
#define SHAPE_MAX_ELEMENTS ((int64_t)1 << 31) /* per tensor and image: 8 GiB of float32 */
#define OP_MAX_INPUTS      256                /* DenseNet-201 concatenates 49 */
#define OP_SPATIAL         3                  /* depth, height, width; depth is 1 for pictures */
#define OP_MAX_WINDOW      32768              /* kernel, stride and dilation, per axis */
#define OP_MAX_PAD         4096               /* per side; ONNX lets it exceed the kernel in convolutions */

struct shape {
    int32_t rank;
    int32_t reserved;
    int64_t dim[SHAPE_MAX_RANK]; /* dims past rank are 0 */
};

/* Product of the dimensions; -1 where it overflows SHAPE_MAX_ELEMENTS or a dimension is negative. */
int64_t shape_elements(const struct shape *s);
bool shape_equal(const struct shape *a, const struct shape *b);
/* What a run-time tensor may have: rank 0 to 8, every dimension 1 to INT32_MAX
 * (so that kernels and BLAS may count in int), dims past rank 0, elements within the limit. */
bool shape_valid(const struct shape *s);
/* NumPy's rule; false where the two do not go together. */
bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *out);
/* Product of dim[from] .. dim[to - 1] of a valid shape; 1 where there are none. */
int64_t shape_product(const struct shape *s, int32_t from, int32_t to);
/* "[1,3,224,224]" into buf; returns buf. */
char *shape_text(const struct shape *s, char *buf, int cap);

enum op {
    OP_CONV,       /* X [N,C,(D,)H,W], W [M,C/groups,(kd,)kh,kw], optional B [M] */
    OP_BATCH_NORM, /* X, scale, B, mean, var: all [C]; in an image X, scale', shift': y = x * scale' + shift'
                    */
    OP_RELU,
    OP_CLIP,
    OP_ADD, /* A, B, broadcast as NumPy does */
    OP_MUL,
    OP_MAX_POOL,
    OP_AVERAGE_POOL,
    OP_GLOBAL_AVERAGE_POOL,
    OP_RESHAPE, /* also Flatten, Squeeze, Unsqueeze: the target is resolved at import */
    OP_GEMM,    /* A [M,K], B [K,N], optional C broadcast to [M,N] */
    OP_MATMUL,  /* as NumPy's matmul */
    OP_SOFTMAX,
    OP_CONCAT,
    OP_IDENTITY,   /* also Dropout at inference */
    OP_LAYER_NORM, /* X, scale, optional B, over the axes from params.norm.axis on */

    /* Functions of each element by itself: params.function. infer/function.h says what they compute. */
    OP_ABS,
    OP_NEG,
    OP_SQRT,
    OP_EXP,
    OP_LOG,
    OP_RECIPROCAL,
    OP_FLOOR,
    OP_CEIL,
    OP_ROUND,
    OP_SIGN,
    OP_SIGMOID,
    OP_TANH,
    OP_ERF,
    OP_GELU,
    OP_GELU_TANH,
    OP_SILU,
    OP_MISH,
    OP_SOFTPLUS,
    OP_SOFTSIGN,
    OP_HARD_SIGMOID,
    OP_HARD_SWISH,
    OP_LEAKY_RELU,
    OP_ELU,
    OP_SELU,
    OP_CELU,
    OP_THRESHOLDED_RELU,
    OP_SHRINK,
    OP_SIN,
    OP_COS,
    OP_TAN,
    OP_ASIN,
    OP_ACOS,
    OP_ATAN,
    OP_SINH,
    OP_COSH,
    OP_ASINH,
    OP_ACOSH,
    OP_ATANH,
    OP_NOT,
    OP_IS_NAN,
    OP_IS_INF,     /* truth is 1, all else 0 */
    OP_QUANTIZE,   /* clip(round(x / alpha) + beta, lo, hi), halves to even: an integer, kept as a float */
    OP_DEQUANTIZE, /* (x - beta) * alpha */

    /* Pairs of elements, broadcast as NumPy does: infer/pair.h. */
    OP_SUB,
    OP_DIV,
    OP_POW,
    OP_MIN,
    OP_MAX,
    OP_PRELU,
    OP_FMOD,
    OP_EQUAL,
    OP_LESS,
    OP_GREATER,
    OP_LESS_OR_EQUAL,
    OP_GREATER_OR_EQUAL,
    OP_WHERE, /* condition (0 or not), X, Y */

    /* Over params.reduce.axes: infer/reduce.h. */
    OP_REDUCE_MEAN,
    OP_REDUCE_SUM,
    OP_REDUCE_MAX,
    OP_REDUCE_MIN,
    OP_REDUCE_PROD,
    OP_REDUCE_L1,
    OP_REDUCE_L2,
    OP_REDUCE_LOG_SUM,
    OP_REDUCE_LOG_SUM_EXP,
    OP_REDUCE_SUM_SQUARE,

    OP_TRANSPOSE,
    OP_SLICE,
    OP_EXPAND, /* to params.reshape.target, with which X broadcasts */
    OP_PAD,
    OP_GATHER, /* X, indices along params.axis.axis: whole numbers, as floats; what is outside is brought in
                */
    OP_LRN,
    OP_INSTANCE_NORM,  /* X [N,C,...], scale [C], B [C]; params.batch_norm.epsilon */
    OP_CONV_TRANSPOSE, /* X [N,C,...], W [C,M/groups,...], optional B [M] */
    OP_HARDMAX,        /* as Softmax: params.axis */
    OP_COUNT
};
#define OP_FUNCTION_FIRST OP_ABS
#define OP_FUNCTION_LAST  OP_DEQUANTIZE
#define OP_PAIR_FIRST     OP_SUB
#define OP_PAIR_LAST      OP_GREATER_OR_EQUAL
#define OP_REDUCE_FIRST   OP_REDUCE_MEAN
#define OP_REDUCE_LAST    OP_REDUCE_SUM_SQUARE

struct op_window {   /* convolution and pools; [0] depth, [1] height, [2] width */
    int32_t spatial; /* spatial axes the model has: 1, 2 or 3; absent ones lead, with kernel 1 */
    int32_t groups;  /* convolution only; else 1 */
    int32_t kernel[OP_SPATIAL];
    int32_t stride[OP_SPATIAL];
    int32_t dilation[OP_SPATIAL];
    int32_t pad_begin[OP_SPATIAL]; /* resolved: auto_pad is gone */
    int32_t pad_end[OP_SPATIAL];
    int32_t ceil_mode; /* pools: the last window may run past the padding, but starts before its end */
    int32_t count_include_pad; /* average pool */
};
struct op_batch_norm {
    float epsilon;
};
struct op_clip {
    float min, max;
}; /* -INFINITY / INFINITY where absent */
struct op_gemm {
    float alpha, beta;
    int32_t trans_a, trans_b;
};
struct op_axis {
    int32_t axis;    /* 0..rank-1, negative ones resolved */
    int32_t flatten; /* Softmax before opset 13: over all axes from `axis` on */
};
struct op_reshape {
    struct shape target;
}; /* fully resolved, for one item */
struct op_norm {
    int32_t axis;
    float epsilon;
};
struct op_function {
    float alpha, beta, lo, hi;
}; /* what each means depends on the function; else 0 */
struct op_reduce {
    uint32_t axes; /* a bit each, at least one */
    int32_t keep;  /* as dimensions of 1 */
};
struct op_transpose {
    int32_t perm[SHAPE_MAX_RANK]; /* output axis i is input axis perm[i] */
};
struct op_slice {
    int32_t start[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK], count[SHAPE_MAX_RANK];
};
enum op_pad_mode { PAD_CONSTANT, PAD_EDGE, PAD_REFLECT, PAD_WRAP, PAD_MODES };
struct op_pad {
    int32_t mode;
    float value;
    int32_t begin[SHAPE_MAX_RANK], end[SHAPE_MAX_RANK];
};
struct op_lrn {
    int32_t size;
    float alpha, beta, bias;
};
struct op_conv_transpose {
    struct op_window window;
    int32_t output_pad[OP_SPATIAL];
};

union op_params {
    struct op_window window;
    struct op_batch_norm batch_norm;
    struct op_clip clip;
    struct op_gemm gemm;
    struct op_axis axis;
    struct op_reshape reshape;
    struct op_norm norm;
    struct op_function function;
    struct op_reduce reduce;
    struct op_transpose transpose;
    struct op_slice slice;
    struct op_pad pad;
    struct op_lrn lrn;
    struct op_conv_transpose conv_transpose;
    uint8_t raw[128];
};
_Static_assert(sizeof(union op_params) == 128, "op_params is part of the image format");

/* "Conv", "BatchNormalization", …: ONNX's names. */
const char *op_name(enum op op);

/* Bytes of the record in op_params that `op` uses; the rest of the union is zero in images. */
size_t op_params_bytes(enum op op);

/* Checks parameters and input shapes of one operator and gives its output's
 * shape. Absent optional inputs have rank -1. Every value that a kernel relies
 * on is checked here, from untrusted records. 0, or -1 with `e` set. */
int op_check(enum op op, const union op_params *p, const struct shape *in, int n_in, struct shape *out,
             struct err *e);

#endif
