/* What exporters spell out and the engine has as one operator, put together
 * again: before CLP looks, so that it sees one network whatever the operator set. */
#ifndef GUARD_IMPORT_FUSE_H
#define GUARD_IMPORT_FUSE_H

#include "infer/graph.h"

/* LayerNormalization, Gelu, SiLU, HardSwish, Mish. 0, or -1 with `e` set. */
int import_fuse(struct graph *g, struct err *e);

#endif
