/* The import worker's work in process: what it does with a file, without sandbox and pipe. */
#ifndef TESTS_FUZZ_PIPELINE_H
#define TESTS_FUZZ_PIPELINE_H

#include "guard/clp.h"
#include "guard/import.h"

struct pipeline {
    struct onnx_model *model;
    struct graph *graph;
    struct report report;
    struct clp_result clp;
};

/* Import and CLP, with 4 KiB of weights beside the file as "w.data". False: refused, in order. */
bool pipeline_begin(struct pipeline *p, const uint8_t *bytes, size_t size);
/* Plan and image; the image passes its check, and runs where it is small. */
void pipeline_compile(struct pipeline *p);
/* The repaired file: it can be imported again, and says that the same channels were pruned. */
void pipeline_repair(struct pipeline *p);
void pipeline_end(struct pipeline *p);

#endif
