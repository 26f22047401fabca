/* A small scan report for the tests of its views: two scored layers, one of them
 * with a pruned channel, one that can never fire, one unscored with a hostile name. */
#ifndef TESTS_REPORT_SAMPLE_H
#define TESTS_REPORT_SAMPLE_H

#include "guard/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_EVIL "</title><script>alert(1)</script>\033[2J&\"'\xff"

static inline struct report_layer sample_layer(const char *name, int32_t channels, float step,
                                               float outlier) {
    struct report_layer l = {.name = strdup(name), .channels = channels, .scored = true, .norm = NORM_BN};
    l.uclc = calloc((size_t)channels, sizeof *l.uclc);
    l.pruned = calloc((size_t)channels, sizeof *l.pruned);
    for (int32_t i = 0; i < channels; i++) l.uclc[i] = 1 + step * (float)(i % 5);
    l.mean = 1 + 2 * step;
    l.std = 2 * step;
    l.cutoff = l.mean + 3 * l.std;
    l.max_attainable_z = 4.5f;
    if (outlier > 0) {
        l.uclc[7] = outlier;
        l.pruned[l.n_pruned++] = 7;
    }
    return l;
}

static inline struct report sample_report(void) {
    struct report r = {.threshold = 3,
                       .verdict = VERDICT_PRUNED,
                       .pruned_channels = 1,
                       .total_channels = 44,
                       .import_ns = 1234567,
                       .clp_ns = 2000000,
                       .plan_ns = 999,
                       .parameters = 11200000,
                       .multiply_adds = 556,
                       .parameters_before = 11600000,
                       .multiply_adds_before = 560,
                       .n_layers = 4};
    for (int i = 0; i < 32; i++) r.source_sha256[i] = (uint8_t)i;
    r.layers = calloc(4, sizeof *r.layers);
    r.layers[0] = sample_layer("/stem/Conv", 16, 0.1f, 0);
    r.layers[1] = sample_layer("/body/Conv", 24, 0.1f, 2.5f);
    r.layers[1].norm = NORM_FOLDED_OR_NONE;
    r.layers[2] = sample_layer("/tiny/Conv", 4, 0.1f, 0);
    r.layers[2].max_attainable_z = 1.5f;
    r.layers[2].reason = "too few channels for this threshold: it can never fire";
    r.layers[3] = (struct report_layer){.name = strdup(SAMPLE_EVIL), .channels = 9, .reason = "a gate <b>"};
    return r;
}

/* What a view wrote, as one string to be freed. */
static inline char *sample_read(FILE *f) {
    long size = ftell(f);
    char *text = calloc((size_t)size + 1, 1);
    rewind(f);
    if (fread(text, 1, (size_t)size, f) != (size_t)size) text[0] = 0;
    (void)fclose(f);
    return text;
}

#endif
