/* One step with tensors of random numbers, for tests of kernels. Every tensor
 * and the scratch end at a page that can't be touched, so that reading or
 * writing one float too far is a crash; outputs start as NaN, so that a value
 * left out shows. Numbers are the same in every run. One thread. */
#ifndef TESTS_KERNEL_FIXTURE_H
#define TESTS_KERNEL_FIXTURE_H

#include "infer/kernels.h"

#define FIXTURE_TENSORS 12

struct fixture_memory {
    void *mapping;
    size_t bytes;
    float *at;
};

struct fixture {
    struct image_step step;
    struct image_tensor tensors[FIXTURE_TENSORS];
    struct view in[FIXTURE_TENSORS];
    struct shape shapes[FIXTURE_TENSORS];
    struct view residual, out;
    const float *pointers[FIXTURE_TENSORS][64];
    struct fixture_memory memory[FIXTURE_TENSORS * 2];
    int n_memory;
    uint32_t n_inputs, n_items;
    uint64_t seed;
};

#define SHAPE(...)                                                                                           \
    ((struct shape){.rank = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), .dim = {__VA_ARGS__}})
#define ABSENT ((struct shape){.rank = -1})

struct fixture *fixture_new(enum op op, uint32_t n_items);
void fixture_free(struct fixture *f);

/* Next input: computed (one per item), constant (one for all), from the caller
 * (a pointer per item, in no order), or absent. */
void fixture_add(struct fixture *f, struct shape s);
void fixture_add_constant(struct fixture *f, struct shape s);
void fixture_add_caller(struct fixture *f, struct shape s);
void fixture_add_absent(struct fixture *f);

/* Output (and residual), by op_check. false: it says no. */
bool fixture_finish(struct fixture *f, bool with_residual);

/* Runs the kernel of `algorithm`, with the scratch that algorithm_scratch_bytes
 * says, into a fresh output. Returns all items' outputs, one behind the other,
 * to be freed; NULL where the algorithm does not fit. */
float *fixture_run(struct fixture *f, uint32_t algorithm);
int64_t fixture_outputs(const struct fixture *f); /* floats of that */

/* Input `k` of item `i`. */
float *fixture_input(const struct fixture *f, uint32_t k, uint32_t i);

float fixture_random(struct fixture *f); /* in [-1, 1) */

/* Whether all |a - b| <= tolerance * max(1, |b|), NaN and infinities being equal to themselves;
 * says on stderr where not. */
bool fixture_close(const char *what, const float *a, const float *b, int64_t n, float tolerance);

#endif
