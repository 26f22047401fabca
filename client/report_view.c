/* Shared by the views of a scan report: z, counts, words, the order of interest. */
#include "client/report_view.h"
#include "client/terminal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

double report_view_z(const struct report_layer *l, float uclc) {
    return l->std > 0 ? ((double)uclc - (double)l->mean) / (double)l->std : 0;
}

double report_view_max_z(const struct report_layer *l) {
    if (!l->scored || l->channels == 0) return 0;
    float max = -FLT_MAX;
    for (int32_t i = 0; i < l->channels; i++) max = fmaxf(max, l->uclc[i]);
    return report_view_z(l, max);
}

int32_t report_view_scored_layers(const struct report *r) {
    int32_t n = 0;
    for (int32_t i = 0; i < r->n_layers; i++) n += r->layers[i].scored;
    return n;
}

int32_t report_view_pruned_layers(const struct report *r) {
    int32_t n = 0;
    for (int32_t i = 0; i < r->n_layers; i++) n += r->layers[i].n_pruned > 0;
    return n;
}

char *report_view_summary(char *buf, size_t cap, const struct report *r) {
    char pruned[32], total[32];
    int scored = (int)report_view_scored_layers(r);
    terminal_count(pruned, r->pruned_channels);
    terminal_count(total, r->total_channels);
    switch (r->verdict) {
    case VERDICT_PRUNED:
        (void)snprintf(buf, cap, "%s of %s channels, in %d of %d layers", pruned, total,
                       (int)report_view_pruned_layers(r), scored);
        break;
    case VERDICT_UNCHANGED:
        (void)snprintf(buf, cap, "none of %s channels in %d layers stands out", total, scored);
        break;
    case VERDICT_NOT_APPLICABLE:
        (void)snprintf(buf, cap, "no layer that CLP could judge: this says nothing about the model");
        break;
    default: (void)snprintf(buf, cap, "guard off: not scanned");
    }
    return buf;
}

struct ranked {
    int32_t layer;
    int rank; /* 0: pruned, 1: could have been, 2: can never fire, 3: not scored */
    double z;
};

static int by_interest(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    if (x->rank < 3 && x->z != y->z) return x->z > y->z ? -1 : 1;
    return x->layer < y->layer ? -1 : 1;
}

void report_view_sort(const struct report *r, int32_t *order) {
    struct ranked *ranked = calloc((size_t)r->n_layers + 1, sizeof *ranked);
    for (int32_t i = 0; i < r->n_layers; i++) {
        const struct report_layer *l = &r->layers[i];
        order[i] = i; /* out of memory: as the network has them */
        if (ranked)
            ranked[i] = (struct ranked){i,
                                        l->n_pruned                           ? 0
                                        : !l->scored                          ? 3
                                        : l->max_attainable_z <= r->threshold ? 2
                                                                              : 1,
                                        report_view_max_z(l)};
    }
    if (!ranked) return;
    qsort(ranked, (size_t)r->n_layers, sizeof *ranked, by_interest);
    for (int32_t i = 0; i < r->n_layers; i++) order[i] = ranked[i].layer;
    free(ranked);
}

static char *with_prefix(char buf[32], double n) {
    static const char *const units[] = {"", " k", " M", " G", " T"};
    int u = 0;
    for (; n >= 999.5 && u < 4; u++) n /= 1000;
    (void)snprintf(buf, 32, u ? "%.3g%s" : "%.0f%s", n, units[u]);
    return buf;
}

char *report_view_size(char *buf, size_t cap, uint64_t after, uint64_t before) {
    char number[32];
    (void)with_prefix(number, (double)after);
    if (before <= after)
        (void)snprintf(buf, cap, "%s", number);
    else
        (void)snprintf(buf, cap, "%s, %.2g %% less than before pruning", number,
                       100 * (double)(before - after) / (double)before);
    return buf;
}
