/* An ONNX model under test, all the way: imported, planned, run by the engine. */
#ifndef TESTS_IMPORT_RUN_H
#define TESTS_IMPORT_RUN_H

#include "tests/import_case.h"

/* Ends the model and runs it on `items` items of input, `each` floats per item;
 * output 0 of all must be these `n` numbers within 1e-5. Says on stderr where not. */
bool import_run_gives(struct onnx_build *m, const float *input, size_t each, uint32_t items,
                      const float *want, size_t n);

#endif
