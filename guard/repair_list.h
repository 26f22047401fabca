/* The channels that a probe wants pruned, as text for the import worker, and their pruning.
 *
 * probe_report_channels writes it: one line each, the channel's number, a blank, the convolution's
 * name as the image has it (cut there to 63 bytes). Read in the sandbox; hostile. */
#ifndef GUARD_REPAIR_LIST_H
#define GUARD_REPAIR_LIST_H

#include "guard/clp.h"
#include "guard/probe_report.h"

/* After clp_apply that has only measured: nothing of what it found is pruned. */
void repair_list_instead(struct report *r, struct clp_result *out);
/* Prunes what the list says, besides what CLP has: appends to `out`, to the layers of `r` (clp_apply has made
 * them) and to its totals; its verdict becomes "pruned". A name that is not there, or that several
 * convolutions have, is an error; a channel that is pruned already is passed over. */
int repair_list_apply(struct graph *g, const uint8_t *bytes, size_t size, struct report *r,
                      struct clp_result *out, struct err *e);

#endif
