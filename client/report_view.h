/* What the terminal's and the page's view of a scan report have in common. Pure reads. */
#ifndef CLIENT_REPORT_VIEW_H
#define CLIENT_REPORT_VIEW_H

#include "guard/report.h"

/* How many standard deviations a bound lies over the mean of its layer; 0 where the layer has no spread. */
double report_view_z(const struct report_layer *l, float uclc);
/* z of the layer's largest bound; 0 where it is not scored. */
double report_view_max_z(const struct report_layer *l);

int32_t report_view_scored_layers(const struct report *r);
int32_t report_view_pruned_layers(const struct report *r);

/* "10 of 1,200 channels, in 8 of 20 layers": the verdict in figures; returns buf. */
char *report_view_summary(char *buf, size_t cap, const struct report *r);

/* Fills order[n_layers] with layer numbers, what a person wants to see first:
 * pruned ones, then the rest, by their largest z; then what can never fire,
 * then what was not scored, as the network has it. */
void report_view_sort(const struct report *r, int32_t *order);

/* "11.2 M, 3.5 % less than before pruning" into buf; returns buf. */
char *report_view_size(char *buf, size_t cap, uint64_t after, uint64_t before);

#endif
