/* Loops of either back end, for tests. */
#ifndef TESTS_LOOP_CASE_H
#define TESTS_LOOP_CASE_H

#include "daemon/loop.h"

#define SECOND 1000000000ull

struct loop *case_loop(enum loop_kind kind, uint32_t streams); /* NULL: this kernel has no such back end */
void case_on_loops(void (*test)(struct loop *l));              /* on each that it has */
bool case_turn_until(struct loop *l, const bool *flag);        /* or until two seconds have passed */

#endif
