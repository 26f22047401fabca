/* Runs an image that image_check has let through, as the daemon would. */
#ifndef TESTS_FUZZ_RUN_IMAGE_H
#define TESTS_FUZZ_RUN_IMAGE_H

#include "infer/image.h"

/* What can be run some thousand times a second. */
bool fuzz_image_is_small(const struct image *img);

/* Small ones only; others are left alone. Batches of two, floats and pictures.
 * What an item gives must not depend on its neighbour, nor on what lay in the
 * arena before: that would be another client's data. */
void fuzz_try_image(const struct image *img);

#endif
