/* Whether images compute the right numbers, where the numbers allow to say so. */
#ifndef TESTS_FUZZ_COMPARE_H
#define TESTS_FUZZ_COMPARE_H

#include "infer/image.h"

/* The engine with the instructions of every kind of host that can be had here, and against
 * the plain interpreter of tests/twin.h where that knows the layouts; with small whole
 * numbers for constants, so that hardly anything is rounded. */
void fuzz_compare_engine(const struct image *img);

/* Two plans of one network: as it will run, and with nothing fused or folded. Left alone
 * where rounding decides: where engine and interpreter differ on the plain one already. */
void fuzz_compare_plans(const struct image *planned, const struct image *plain);

#endif
