/* Writes the first inputs of the fuzz targets: small good ones, so that a fuzzer starts behind the first
 * checks. */
#ifndef TESTS_FUZZ_SEEDS_H
#define TESTS_FUZZ_SEEDS_H

#include <stddef.h>
#include <stdint.h>

/* tests/fuzz/corpus/TARGET/NAME. A failure ends the run. */
void seed_write(const char *target, const char *name, const void *bytes, size_t n);
void seed_text(const char *target, const char *name, const char *text);

#endif
