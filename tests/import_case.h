/* A model under test, from building to import: what the suites of the importer share. */
#ifndef TESTS_IMPORT_CASE_H
#define TESTS_IMPORT_CASE_H

#include "guard/import.h"
#include "tests/onnx_build.h"
#include "tests/suite.h"

#include <string.h>

struct import_case {
    struct pb file;
    struct onnx_model *model; /* NULL: refused, see e */
    struct graph *g;
    struct err e;
};

/* Ends the model and imports it. */
struct import_case import_case_make(struct onnx_build *m);
struct import_case import_case_make_with(struct onnx_build *m, const struct import_options *o);
void import_case_free(struct import_case *c);

/* Ends the model, which must be refused with this code and a message that holds `words`, or be accepted. */
bool import_case_refused(struct onnx_build *m, enum err_code code, const char *words);
bool import_case_accepted(struct onnx_build *m);

/* A model with input x of `dims`, output y, opset `opset`. */
struct onnx_build import_case_begin(int opset, const char *dims);

/* The node that makes the graph's first output, and a constant input of it. */
const struct node *import_case_last(const struct import_case *c);
const struct value *import_case_input(const struct import_case *c, const struct node *n, int32_t slot);
/* The shape of the first output is this text, such as "[1,3,8,8]". */
bool import_case_gives(const struct import_case *c, const char *shape);

#endif
