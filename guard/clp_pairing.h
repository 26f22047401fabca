/* Which normalisation a convolution's channels meet, read from the graph's
 * edges; and which convolutions CLP has nothing to say about, with the reason.
 * Pure reads of the graph. */
#ifndef GUARD_CLP_PAIRING_H
#define GUARD_CLP_PAIRING_H

#include "infer/graph.h"

struct clp_pairing {
    const char *reason; /* why the convolution is not scored; NULL: it is. A fixed text */
    int32_t norm;       /* node index of its BatchNormalization, or -1: none, or folded by the exporter */
};

/* `uses` is the index that clp_uses_new made for this graph. */
struct clp_uses;
struct clp_uses *clp_uses_new(const struct graph *g); /* NULL: out of memory */
void clp_uses_free(struct clp_uses *u);

struct clp_pairing clp_pair(const struct graph *g, struct clp_uses *uses, int32_t conv);

#endif
