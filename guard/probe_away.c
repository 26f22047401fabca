/* A pattern in one place that sends pictures away from where they belong, wherever to: with a backdoor of
 * many targets no class stands out, but its place does. Places are compared with one another; see probe.h. */
#include "guard/probe_internal.h"

#include <math.h>
#include <string.h>

#define LEAST 0.5f /* of a spread: less is chance */

enum { AWAY_PLACES = AWAY_GRID * AWAY_GRID };

static float stand_out(const struct probe *p, const float won[AWAY_PLACES], int best) {
    float others[AWAY_PLACES];
    size_t n = 0;
    for (int i = 0; i < AWAY_PLACES; i++)
        if (i != best) others[n++] = won[i] / p->spread;
    const float middle = probe_median(others, n);
    for (size_t i = 0; i < n; i++) others[i] = fabsf(others[i] - middle);
    return (won[best] / p->spread - middle) / (1.4826f * probe_median(others, n) + LEAST);
}

float probe_attack_away(struct probe *p, struct trigger *spare) {
    struct attack_options o = {.kind = TRIGGER_WINDOW, .target = -1, .steps = AWAY_STEPS, .grid = AWAY_GRID};
    struct trigger *const most = p->places[0];
    float won[AWAY_PLACES];
    int best = 0;
    for (o.place = 0; o.place < AWAY_PLACES; o.place++) {
        if (!probe_attack_once(p, o, ATTACKED, spare)) return NAN;
        won[o.place] = spare->size;
        if (o.place > 0 && won[o.place] <= won[best]) continue;
        best = o.place;
        trigger_copy(most, spare, &p->net.size);
    }
    const float z = stand_out(p, won, best);
    o.steps = WINDOW_LAST;
    o.place = best;
    o.from = most;
    if (!probe_attack_once(p, o, ATTACKED, p->best[TRIGGER_WINDOW])) return NAN;
    return p->best[TRIGGER_WINDOW]->success >= WORKS ? z : fminf(z, 0);
}

void probe_add_away(struct probe *p, float z) {
    struct trigger *copy = p->n_ways < WAYS ? trigger_new(&p->net.size) : NULL;
    if (!copy) return;
    trigger_copy(copy, p->best[TRIGGER_WINDOW], &p->net.size);
    p->way_z[p->n_ways] = z;
    p->ways[p->n_ways++] = copy;
}
