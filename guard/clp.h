/* Channel Lipschitzness based Pruning (Zheng, Tang, Li, Liu: "Data-free
 * Backdoor Removal based on Channel Lipschitzness", ECCV 2022, arXiv
 * 2208.03111), on the graph as imported, before anything is folded.
 *
 * For each convolution the upper bound of every output channel's Lipschitz
 * constant: UCLC_k = sigma_max(W[k] as [c_in/groups, kh*kw]) * |gamma_k| / sqrt(var_k).
 * Channels above mean + u * std of their layer (std with N-1) are set to
 * exactly zero. With median-mad the median stands for the mean, and 1.4826 times the
 * median distance from it for std, which decoys can't move. Which normalisation belongs to which convolution
 * is read from the graph's edges; docs/clp.md has the rules and their reasons. */
#ifndef GUARD_CLP_H
#define GUARD_CLP_H

#include "guard/report.h"
#include "infer/graph.h"

struct clp_options {
    float threshold; /* u; the paper's default is 3 */
    enum policy_statistic statistic;
    bool measure; /* says what it would prune, and prunes nothing */
};

struct clp_edit {            /* what was pruned in one convolution */
    int32_t conv, norm;      /* graph node indices; norm -1: filters and bias were zeroed */
    const int32_t *channels; /* borrowed from the report */
    int32_t n;
};

struct clp_result {
    struct clp_edit *edits;
    int32_t n_edits;
};

/* Measures and prunes `g`; fills r->layers, verdict, totals and threshold.
 * 0, or -1 with `e` set (a variance <= 0, out of memory); then g is unusable. */
int clp_apply(struct graph *g, const struct clp_options *o, struct report *r, struct clp_result *out,
              struct err *e);
/* Zeroes the channels of one edit, as clp_apply does with those that it finds. */
int clp_prune(struct graph *g, const struct clp_edit *edit, struct err *e);
void clp_result_free(struct clp_result *c);

#endif
