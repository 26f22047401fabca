/* One operator on constants, and what became of it. */
#ifndef TESTS_EVALUATE_CASE_H
#define TESTS_EVALUATE_CASE_H

#include "tests/import_case.h"

/* A model whose nodes may compute "r" from constants; x is [1]. */
struct onnx_build evaluate_case_begin(int opset);
void evaluate_case_ints(struct onnx_build *m, const char *name, const char *dims, int n,
                        ...); /* n times int */
void evaluate_case_floats(struct onnx_build *m, const char *name, const char *dims, int n,
                          ...); /* n times double */
/* Ends the model; "r" must have this shape and these elements (n times double). */
bool evaluate_case_gives(struct onnx_build *m, const char *shape, int n, ...);
/* The same for an operator whose "r" may not come about. */
bool evaluate_case_refused(struct onnx_build *m, enum err_code code, const char *words);

#endif
