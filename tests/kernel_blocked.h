/* Runs a kernel_case with its tensors blocked: computed inputs and the residual
 * are laid out anew, with NaN in their spare lanes (which may not reach any
 * other lane), weights packed, the output read back. */
#ifndef TESTS_KERNEL_BLOCKED_H
#define TESTS_KERNEL_BLOCKED_H

#include "tests/kernel_case.h"

#include "infer/simd_levels.h"

/* As case_run; NULL where the algorithm does not fit. `blocked_input`: whether computed inputs are. */
float *case_run_blocked(struct kernel_case *f, uint32_t algorithm, bool blocked_input);

/* The same with help; gives the very same floats. */
float *case_run_together(struct kernel_case *f, uint32_t algorithm, bool blocked_input,
                         struct team_seat *seat);

/* For every level of vector instructions that this host has: for (each_level …). */
#define EACH_LEVEL(level)                                                                                    \
    for (enum simd_level level = SIMD_128;                                                                   \
         level < SIMD_LEVELS && (simd_level_limit(level), simd_level() == level);                            \
         level++, simd_level_limit(SIMD_512))

#endif
