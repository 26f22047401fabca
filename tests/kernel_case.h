/* One step with tensors of random numbers, for tests of kernels. Every tensor
 * and the scratch end at a page that can't be touched, so that reading or
 * writing one float too far is a crash; outputs start as NaN, so that a value
 * left out shows. Numbers are the same in every run. One thread. */
#ifndef TESTS_KERNEL_CASE_H
#define TESTS_KERNEL_CASE_H

#include "infer/kernels.h"

#define CASE_TENSORS 12

struct case_memory {
    void *mapping;
    size_t bytes;
    float *at;
};

struct kernel_case {
    struct image_step step;
    struct image_tensor tensors[CASE_TENSORS];
    struct view in[CASE_TENSORS];
    struct shape shapes[CASE_TENSORS];
    struct view residual, out;
    const float *pointers[CASE_TENSORS][64];
    struct case_memory memory[CASE_TENSORS * 2];
    int n_memory;
    uint32_t n_inputs, n_items;
    uint64_t seed;
};

#define SHAPE(...)                                                                                           \
    ((struct shape){.rank = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), .dim = {__VA_ARGS__}})
#define ABSENT ((struct shape){.rank = -1})

struct kernel_case *case_new(enum op op, uint32_t n_items);
void case_free(struct kernel_case *f);

/* Next input: computed (one per item), constant (one for all), from the caller
 * (a pointer per item, in no order), or absent. */
void case_add(struct kernel_case *f, struct shape s);
void case_add_constant(struct kernel_case *f, struct shape s);
void case_add_caller(struct kernel_case *f, struct shape s);
void case_add_absent(struct kernel_case *f);

/* Output (and residual), by op_check. false: it says no. */
bool case_finish(struct kernel_case *f, bool with_residual);

/* Runs the kernel of `algorithm`, with the scratch that algorithm_scratch_bytes
 * says, into a fresh output. Returns all items' outputs, one behind the other,
 * to be freed; NULL where the algorithm does not fit. */
float *case_run(struct kernel_case *f, uint32_t algorithm);
int64_t case_outputs(const struct kernel_case *f); /* floats of that */

/* Input `k` of item `i`. */
float *case_input(const struct kernel_case *f, uint32_t k, uint32_t i);

float case_random(struct kernel_case *f); /* in [-1, 1) */

/* Whether all |a - b| <= tolerance * max(1, |b|), NaN and infinities being equal to themselves;
 * says on stderr where not. */
bool case_close(const char *what, const float *a, const float *b, int64_t n, float tolerance);

#endif
