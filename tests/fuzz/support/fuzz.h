/* What every fuzz target is made with: FUZZ(name, longest input) { … } defines it,
 * with `bytes` and `size` as its input.
 *
 * A target is compiled twice. With FUZZ_ALONE it is libFuzzer's entry point, one
 * program per target. In the ordinary test binary it is one of a list, found
 * through a linker section, and test_regression.c throws the kept inputs at it.
 * scripts/fuzz reads the name and the longest input out of that line. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "infer/err.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t room, unsigned seed);

struct fuzz_target {
    const char *name;
    size_t longest;
    int (*run)(const uint8_t *bytes, size_t size);
};

#ifdef FUZZ_ALONE
#define FUZZ(NAME, LONGEST) int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
#define FUZZ_MUTATOR(MUTATE)                                                                                 \
    size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t room, unsigned seed) {                \
        return MUTATE(bytes, size, room, seed);                                                              \
    }                                                                                                        \
    _Static_assert(1, "")
#else
#define FUZZ(NAME, LONGEST)                                                                                  \
    static int fuzz_run_##NAME(const uint8_t *bytes, size_t size);                                           \
    static const struct fuzz_target fuzz_target_##NAME = {#NAME, LONGEST, fuzz_run_##NAME};                  \
    __attribute__((used, section("fuzz_targets"))) static const struct fuzz_target *const fuzz_ref_##NAME =  \
        &fuzz_target_##NAME;                                                                                 \
    static int fuzz_run_##NAME(const uint8_t *bytes, size_t size)
#define FUZZ_MUTATOR(MUTATE) _Static_assert(1, "") /* only libFuzzer mutates */
#endif

/* What must hold whatever the input is; a crash that both libFuzzer and the test run notice. */
#define FUZZ_MUST(CONDITION, ...)                                                                            \
    do {                                                                                                     \
        if (CONDITION) break;                                                                                \
        fprintf(stderr, "%s:%d: does not hold: %s: ", __FILE__, __LINE__, #CONDITION);                       \
        fprintf(stderr, __VA_ARGS__);                                                                        \
        fputc('\n', stderr);                                                                                 \
        abort();                                                                                             \
    } while (0)

/* A refusal must be the input's fault and say so in one clean line. */
void fuzz_check_refusal(const struct err *e);

/* The mutators of tests/fuzz/alone. */
size_t fuzz_mutate_protobuf(uint8_t *bytes, size_t size, size_t room, unsigned seed);
size_t fuzz_mutate_image(uint8_t *bytes, size_t size, size_t room, unsigned seed);

#endif
