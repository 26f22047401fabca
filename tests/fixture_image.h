/* Compiled images for tests: plan, write, check, and compare what they compute. */
#ifndef TESTS_FIXTURE_IMAGE_H
#define TESTS_FIXTURE_IMAGE_H

#include "infer/plan.h"

struct compiled {
    uint8_t *bytes; /* 64-byte aligned; freed by fixture_discard */
    size_t size;
    struct image *img;
};

/* Plans `g`, writes the image (two labels, a report) and has it checked; a failure ends the test. */
struct compiled fixture_compile(struct graph *g, bool reference);
/* For this host: blocked tensors and all; run it with the engine, the twin knows plain ones only. */
struct compiled fixture_compile_here(struct graph *g);
/* The same, with channels that are zero left in. */
struct compiled fixture_compile_masked(struct graph *g);
/* For gradients: everything is kept. */
struct compiled fixture_compile_keep(struct graph *g, bool blocked);
struct compiled fixture_compile_with(struct graph *g, bool reference, const struct plan_metadata *m);
void fixture_discard(struct compiled *c);

/* The digest once more, after an edit. */
void fixture_reseal(uint8_t *bytes, size_t size);

/* Records of an image that may be edited. */
struct image_header *fixture_header(uint8_t *bytes);
struct image_tensor *fixture_tensor(uint8_t *bytes, uint32_t index);
struct image_step *fixture_step(uint8_t *bytes, uint32_t index);
uint32_t *fixture_operands(uint8_t *bytes);

/* The step of that operator (the `nth`), or UINT32_MAX; and how many there are. */
uint32_t fixture_find_step(const struct image *img, enum op op, uint32_t nth);
uint32_t fixture_count_steps(const struct image *img, enum op op);

/* Compiles `g` both ways, runs both on random inputs; the largest difference
 * in an output, relative to its largest number. Ends the test where they cannot run. */
double fixture_difference(struct graph *g);

#endif
