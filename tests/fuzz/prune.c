/* A model file of any content: what was accepted can be written out repaired and read again. */
#include "tests/fuzz/support/fuzz.h"
#include "tests/fuzz/support/pipeline.h"

FUZZ_MUTATOR(fuzz_mutate_protobuf);

FUZZ(prune, 16384) {
    struct pipeline p;
    if (pipeline_begin(&p, bytes, size)) pipeline_repair(&p);
    pipeline_end(&p);
    return 0;
}
