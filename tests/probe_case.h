/* A small classifier with a backdoor that was put in by hand, for the suites of the probe. */
#ifndef TESTS_PROBE_CASE_H
#define TESTS_PROBE_CASE_H

#include "tests/fixture_image.h"

struct graph;

enum { PROBE_CASE_CLASSES = 8, PROBE_CASE_TARGET = 5, PROBE_CASE_CHANNEL = 11 };

struct probe_case {
    struct graph *g;
    struct compiled c; /* for gradients */
};
/* [1,3,16,16] to 8 classes: 12 filters of chance; with `backdoor`, filter 11 answers to a checkerboard of 3 x
 * 3 in any place, and nothing else, and votes for class 5. Logits come bare, or through Softmax. */
struct probe_case probe_case_make(bool backdoor, bool softmax);
void probe_case_free(struct probe_case *p);

#endif
