/* What a kernel gets. Shapes are per item; kernels loop over the items of the
 * batch, so that one that gains from several (a matrix product that reads its
 * weights once) can take them together. Every kernel has a plain C twin. */
#ifndef INFER_KERNELS_H
#define INFER_KERNELS_H

#include "infer/image.h"
#include "infer/team.h"

struct view { /* a tensor of the running batch */
    const struct image_tensor *t;
    const float *const *items; /* inputs of the model: a pointer per item; else NULL */
    float *base;               /* else: item 0 */
    size_t stride;             /* floats from item to item; 0 for constants */
};

static inline float *view_item(const struct view *v, uint32_t i) {
    return v->items ? (float *)(uintptr_t)v->items[i] : v->base + (size_t)i * v->stride;
}

struct kernel_call {
    const struct image_step *step;
    uint32_t n_items;
    uint32_t n_inputs;
    const struct view *in; /* absent optional inputs have t == NULL */
    struct view residual;  /* t == NULL: none */
    struct view out;
    float *scratch;         /* algorithm_scratch_bytes() of it, 64-byte aligned; */
    size_t scratch_step;    /* floats to that of the next hand */
    struct team_seat *seat; /* who helps; or NULL */
};

static inline float *kernel_scratch(const struct kernel_call *c, uint32_t hand) {
    return c->scratch + hand * c->scratch_step;
}

typedef void (*kernel_fn)(const struct kernel_call *c);

/* The kernel for this step; NULL where there is none (image_check refuses such a step). */
kernel_fn kernel_find(uint32_t op, uint32_t algorithm);

#endif
