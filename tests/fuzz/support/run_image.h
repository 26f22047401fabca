/* Runs an image that image_check has let through, as the daemon would. */
#ifndef TESTS_FUZZ_RUN_IMAGE_H
#define TESTS_FUZZ_RUN_IMAGE_H

#include "infer/image.h"

/* Small ones only; others are left alone. Batches of two, floats and pictures.
 * What an item gives must not depend on its neighbour, nor on what lay in the
 * arena before: that would be another client's data. */
void fuzz_try_image(const struct image *img);

#endif
