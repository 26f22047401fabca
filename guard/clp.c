/* Channel Lipschitzness based Pruning over a graph: score, decide, zero.
 *
 *   pair (clp_pairing.c) -> score every channel (clp_sigma.c) -> cut-off per layer -> zero
 *
 * Scores are all taken before anything is changed, so that the order of the
 * layers can't matter where they share a constant. */
#include "guard/clp.h"
#include "guard/clp_pairing.h"
#include "guard/clp_sigma.h"

#include "infer/sort.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char note_same[] =
    "more than half of its bounds are the same: the median says nothing about the others";
static const char note_too_few[] = "too few channels for this threshold: it can never fire";

static int out_of_memory(struct err *e) {
    return err_set(e, ERR_LIMIT, "CLP: out of memory; raise guard.worker.memory");
}

/* |gamma_k| / sqrt(v_k), without epsilon as in the authors' code; 1 without a normalisation. */
static int channel_gain(const struct graph *g, int32_t norm, int32_t k, double *gain, struct err *e) {
    *gain = 1;
    if (norm < 0) return 0;
    const struct node *bn = &g->nodes[norm];
    const float *gamma = g->values[bn->inputs[1]].data, *var = g->values[bn->inputs[4]].data;
    if (!gamma || !var)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: its scale or variance is computed at run time; "
                       "export the network in evaluation mode",
                       bn->name);
    if (!(var[k] > 0) || !isfinite(gamma[k]))
        return err_set(e, ERR_VALUE,
                       "%s: the variance of channel %d is %g, the scale %g; a variance must be "
                       "positive. The file is damaged or was made to switch CLP off: export it again",
                       bn->name, (int)k, (double)var[k], (double)gamma[k]);
    *gain = fabs((double)gamma[k]) / sqrt((double)var[k]);
    return 0;
}

/* sigma: [channels], scratch. */
static int score_layer(const struct graph *g, int32_t conv, int32_t norm, struct report_layer *layer,
                       double *sigma, struct err *e) {
    const struct value *weight = &g->values[g->nodes[conv].inputs[1]];
    int64_t per_channel = shape_elements(&weight->shape) / weight->shape.dim[0];
    int rows = (int)weight->shape.dim[1], cols = (int)(per_channel / weight->shape.dim[1]);
    double gain, sum = 0, squares = 0;
    layer->uclc = calloc((size_t)layer->channels, sizeof *layer->uclc);
    layer->pruned = calloc((size_t)layer->channels, sizeof *layer->pruned);
    if (!layer->uclc || !layer->pruned || clp_sigma_max(weight->data, layer->channels, rows, cols, sigma) < 0)
        return out_of_memory(e);
    for (int32_t k = 0; k < layer->channels; k++) {
        if (channel_gain(g, norm, k, &gain, e) < 0) return -1;
        double uclc = sigma[k] * gain;
        /* Infinity would lift the cut-off out of reach for the whole layer. */
        if (!isfinite((float)uclc))
            return err_set(e, ERR_VALUE,
                           "%s: the Lipschitz bound of channel %d is not finite; the weights are "
                           "damaged or were made to switch CLP off",
                           g->nodes[conv].name, (int)k);
        layer->uclc[k] = (float)uclc;
        sum += (double)layer->uclc[k];
    }
    double mean = sum / layer->channels;
    for (int32_t k = 0; k < layer->channels; k++)
        squares += ((double)layer->uclc[k] - mean) * ((double)layer->uclc[k] - mean);
    layer->mean = (float)mean;
    layer->std = layer->channels > 1 ? (float)sqrt(squares / (layer->channels - 1)) : 0;
    return 0;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Sorts v: [n]. */
static double median(double *v, int32_t n) {
    sort_records(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* room: [channels]. 1.4826 makes the median distance of normal numbers their standard deviation. */
static void measure_by_median(struct report_layer *layer, double *room) {
    for (int32_t k = 0; k < layer->channels; k++) room[k] = (double)layer->uclc[k];
    const double middle = median(room, layer->channels);
    for (int32_t k = 0; k < layer->channels; k++) room[k] = fabs((double)layer->uclc[k] - middle);
    layer->mean = (float)middle;
    layer->std = (float)(1.4826 * median(room, layer->channels));
}

static void decide(struct report_layer *layer, float u, enum policy_statistic statistic) {
    double n = layer->channels, cutoff = (double)layer->mean + (double)u * (double)layer->std;
    layer->max_attainable_z = (float)((n - 1) / sqrt(n));
    layer->cutoff = (float)cutoff;
    /* A single channel deviates most when all others are equal: z = (N-1)/sqrt(N). */
    if (statistic == STATISTIC_MEDIAN_MAD) {
        layer->max_attainable_z = FLT_MAX; /* nothing that one channel does moves the median distance */
        if (layer->channels < 3)
            layer->reason = note_too_few;
        else if (layer->std == 0)
            layer->reason = note_same;
    } else if (layer->max_attainable_z <= u) {
        layer->reason = note_too_few;
    }
    for (int32_t k = 0; k < layer->channels && !layer->reason; k++)
        if ((double)layer->uclc[k] > cutoff) layer->pruned[layer->n_pruned++] = k;
}

static int fill_layer(const struct graph *g, struct clp_uses *uses, int32_t conv, const struct clp_options *o,
                      struct report_layer *layer, int32_t *norm, struct err *e) {
    const struct node *node = &g->nodes[conv];
    struct clp_pairing pair = clp_pair(g, uses, conv);
    *norm = pair.norm;
    layer->name = strdup(node->name);
    if (!layer->name) return out_of_memory(e);
    layer->channels = (int32_t)g->values[node->inputs[1]].shape.dim[0];
    layer->scored = !pair.reason;
    layer->reason = pair.reason;
    layer->norm = pair.norm >= 0 ? NORM_BN : NORM_FOLDED_OR_NONE;
    if (!layer->scored) return 0;
    double *sigma = calloc((size_t)layer->channels, sizeof *sigma);
    int rc = sigma ? score_layer(g, conv, pair.norm, layer, sigma, e) : out_of_memory(e);
    if (rc == 0 && o->statistic == STATISTIC_MEDIAN_MAD) measure_by_median(layer, sigma);
    free(sigma);
    if (rc == 0) decide(layer, o->threshold, o->statistic);
    return rc;
}

static int zero_input(struct graph *g, int32_t node, int32_t slot, int64_t per_channel,
                      const struct clp_edit *edit, struct err *e) {
    if (slot >= g->nodes[node].n_inputs || g->nodes[node].inputs[slot] < 0) return 0;
    float *data = graph_edit_input(g, node, slot);
    if (!data)
        return err_set(e, ERR_UNSUPPORTED, "%s: can't prune, its input %d is computed at run time",
                       g->nodes[node].name, (int)slot);
    for (int32_t i = 0; i < edit->n; i++)
        memset(data + edit->channels[i] * per_channel, 0, (size_t)per_channel * sizeof *data);
    return 0;
}

/* The channel then puts out exactly zero: gamma = beta = 0, or W[k] = bias[k] = 0. */
int clp_prune(struct graph *g, const struct clp_edit *edit, struct err *e) {
    if (edit->norm >= 0)
        return zero_input(g, edit->norm, 1, 1, edit, e) < 0 || zero_input(g, edit->norm, 2, 1, edit, e) < 0
                   ? -1
                   : 0;
    const struct shape *w = &g->values[g->nodes[edit->conv].inputs[1]].shape;
    int64_t per_channel = shape_elements(w) / w->dim[0];
    return zero_input(g, edit->conv, 1, per_channel, edit, e) < 0 ||
                   zero_input(g, edit->conv, 2, 1, edit, e) < 0
               ? -1
               : 0;
}

static int score_all(const struct graph *g, struct clp_uses *uses, const struct clp_options *o,
                     struct report *r, struct clp_result *out, struct err *e) {
    int32_t scored = 0;
    for (int32_t n = 0; n < g->n_nodes; n++) {
        if (g->nodes[n].dead || g->nodes[n].op != OP_CONV) continue;
        int32_t norm;
        struct report_layer *layer = &r->layers[r->n_layers++];
        if (fill_layer(g, uses, n, o, layer, &norm, e) < 0) return -1;
        scored += layer->scored;
        r->total_channels += layer->scored ? layer->channels : 0;
        r->pruned_channels += layer->n_pruned;
        if (layer->n_pruned)
            out->edits[out->n_edits++] = (struct clp_edit){n, norm, layer->pruned, layer->n_pruned};
    }
    r->verdict = r->pruned_channels ? VERDICT_PRUNED : scored ? VERDICT_UNCHANGED : VERDICT_NOT_APPLICABLE;
    return 0;
}

int clp_apply(struct graph *g, const struct clp_options *o, struct report *r, struct clp_result *out,
              struct err *e) {
    int rc = -1;
    size_t convs = 0;
    struct clp_uses *uses = clp_uses_new(g);
    *out = (struct clp_result){0};
    for (int32_t n = 0; n < g->n_nodes; n++) convs += !g->nodes[n].dead && g->nodes[n].op == OP_CONV;
    r->threshold = o->threshold;
    r->statistic = o->statistic;
    r->layers = calloc(convs + 1, sizeof *r->layers);
    out->edits = calloc(convs + 1, sizeof *out->edits);
    if (!uses || !r->layers || !out->edits) {
        out_of_memory(e);
        goto out;
    }
    if (score_all(g, uses, o, r, out, e) < 0) goto out;
    for (int32_t i = 0; i < out->n_edits && !o->measure; i++)
        if (clp_prune(g, &out->edits[i], e) < 0) goto out;
    rc = 0;
out:
    clp_uses_free(uses);
    if (rc < 0) clp_result_free(out);
    return rc;
}

void clp_result_free(struct clp_result *c) {
    free(c->edits);
    *c = (struct clp_result){0};
}
