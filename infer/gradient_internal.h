/* What gradient*.c share: the engine that runs backwards, and one step of it. Nobody else includes this. */
#ifndef INFER_GRADIENT_INTERNAL_H
#define INFER_GRADIENT_INTERNAL_H

#include "infer/gradient.h"
#include "infer/kernels.h"
#include "infer/layout.h"

/* A convolution's own weights, and the convolution that takes its slopes back. */
struct gradient_conv {
    float *weight, *bias;        /* as they are now, in ONNX's order; bias NULL: none */
    const float *was, *was_bias; /* as they came */
    float *packed, *turned;      /* for the kernels: forward, and backward */
    uint8_t *silent;             /* [filters] */
    uint32_t filters;
    struct image_tensor weight_tensor, turned_tensor, slope_tensor, back_tensor;
    struct image_step forward, back;
    bool point;                        /* 1x1 with a stride: products first, then spread */
    bool spread;                       /* strided: slopes are spread with zeros between them before */
    bool reblocked;                    /* the input is plain, what goes back is blocked */
    size_t spread_floats, back_floats; /* of one item, in scratch */
};

struct gradient_step {
    struct gradient_conv *conv; /* OP_CONV, else NULL */
    int32_t *source;            /* moves: where each output element comes from, -1: nowhere; or NULL */
};

struct gradient {
    const struct image *img;
    const struct image_header *h;
    uint32_t items;
    float *values, *slopes; /* items x slab each */
    size_t slab;            /* floats */
    float *scratch;
    struct gradient_step *steps;
    uint32_t input, output; /* tensors */
    uint32_t n_steps;       /* that run */
};

/* One step on its way back. d*: slopes, base NULL where nobody wants them (constants). */
struct gradient_call {
    const struct image_step *step;
    const struct gradient_step *own;
    uint32_t n_items, n_inputs;
    const struct view *in;
    struct view out;
    const struct view *din;
    struct view dres, dout; /* dout: already past the step's activation */
    float *scratch;
};

/* A tensor as images, channels and places, whatever its layout. */
struct spread_shape {
    int64_t images, channels, plane;
    int64_t step; /* floats from one place of a channel to the next */
    bool blocked;
};
static inline struct spread_shape spread_of(const struct image_tensor *t) {
    const struct shape *s = &t->shape;
    const bool blocked = t->layout == LAYOUT_BLOCKED;
    return (struct spread_shape){.images = s->rank > 0 ? s->dim[0] : 1,
                                 .channels = s->rank > 1 ? s->dim[1] : 1,
                                 .plane = shape_product(s, 2, s->rank < 2 ? 2 : s->rank),
                                 .step = blocked ? LAYOUT_LANES : 1,
                                 .blocked = blocked};
}
static inline int64_t spread_at(const struct spread_shape *s, int64_t image, int64_t channel) {
    if (!s->blocked) return (image * s->channels + channel) * s->plane;
    return (image * layout_blocks(s->channels) + channel / LAYOUT_LANES) * s->plane * LAYOUT_LANES +
           channel % LAYOUT_LANES;
}
static inline int64_t floats_of(const struct image_tensor *t) {
    return (int64_t)(layout_bytes(t->layout, &t->shape) / sizeof(float));
}

/* Operators. Each adds to din; sizes and kinds have been checked by gradient_takes. */
typedef void (*gradient_fn)(const struct gradient_call *c);
/* NULL: no slope goes through it. */
gradient_fn gradient_find(const struct image *img, const struct image_step *s);

void gradient_activation(const struct gradient_call *c); /* dout *= the activation's slope, in place */

void gradient_of_conv(const struct gradient_call *c);
void gradient_of_gemm(const struct gradient_call *c);
void gradient_of_matmul(const struct gradient_call *c);
void gradient_of_max_pool(const struct gradient_call *c);
void gradient_of_average_pool(const struct gradient_call *c);
void gradient_of_global_average_pool(const struct gradient_call *c);
void gradient_of_batch_norm(const struct gradient_call *c);
void gradient_of_layer_norm(const struct gradient_call *c);
void gradient_of_softmax(const struct gradient_call *c);
void gradient_of_relu(const struct gradient_call *c);
void gradient_of_clip(const struct gradient_call *c);
void gradient_of_function(const struct gradient_call *c);
void gradient_of_pair(const struct gradient_call *c); /* Add, Mul, Sub, Div, Min, Max, PRelu */
void gradient_of_copy(const struct gradient_call *c);
void gradient_of_reorder(const struct gradient_call *c);
void gradient_of_concat(const struct gradient_call *c);
void gradient_of_move(const struct gradient_call *c); /* by own->source */
void gradient_of_mean(const struct gradient_call *c); /* ReduceMean, ReduceSum */
bool gradient_knows_function(enum op op);

/* Makes what OP_CONV needs; the floats of scratch for one item go to *scratch. */
int gradient_conv_make(const struct image *img, const struct image_step *s, struct gradient_conv **out,
                       size_t *scratch, struct err *e);
void gradient_conv_free(struct gradient_conv *c);
void gradient_conv_pack(struct gradient_conv *c); /* after a change of its weights */
/* Where each element of a move comes from; NULL: out of memory. */
int32_t *gradient_sources(const struct image *img, const struct image_step *s);

#endif
