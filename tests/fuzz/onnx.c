/* A model file of any content: refused with a reason, or scored, compiled and run. */
#include "tests/fuzz/support/fuzz.h"
#include "tests/fuzz/support/pipeline.h"

FUZZ_MUTATOR(fuzz_mutate_protobuf);

FUZZ(onnx, 16384) {
    struct pipeline p;
    if (pipeline_begin(&p, bytes, size)) pipeline_compile(&p);
    pipeline_end(&p);
    return 0;
}
