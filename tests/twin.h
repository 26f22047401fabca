/* A plain interpreter of images, one item: no BLAS, no tricks, double sums. What
 * plans are held against; it shares no code with the engine. */
#ifndef TESTS_TWIN_H
#define TESTS_TWIN_H

#include "infer/image.h"

/* Outputs one after the other, to be freed by the caller; NULL: out of memory
 * or an operator that it lacks. The slab starts out as NaN and is exactly as
 * large as the image says, so that what reads or writes wrongly shows. */
float *twin_run(const struct image *img, const float *const *inputs);

#endif
