/* Ways into the class that stands out: several triggers, from several starts, and whether they are gone; see
 * probe.h. */
#include "guard/probe_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- ways into a class ---------------------------------------------------------------------------- */

void probe_forget_ways(struct probe *p) {
    while (p->n_ways > 0) trigger_free(p->ways[--p->n_ways]);
}

/* Whether it is only by this kind that the suspect stood out plainly. */
static bool is_alone(const struct probe *p, enum trigger_kind f) {
    for (int i = 0; i < TRIGGER_KINDS; i++)
        if (i != (int)f && probe_by_nature(p, &p->classes[p->suspect], (enum trigger_kind)i) <= LIMIT)
            return false;
    return true;
}

/* By what the suspect stood out at first, it has to stand out less than others before anything was done about
 * it; but where that was by far less than by something else, it may be how the class is by nature: then, and
 * by what it did not stand out by, no more than it did or than many starts are worth over the limit. */
float probe_allowed(const struct probe *p, enum trigger_kind f) {
    const float nature = probe_by_nature(p, &p->classes[p->suspect], f);
    static const float calm[TRIGGER_KINDS] = {[TRIGGER_PATCH] = CALM,
                                              [TRIGGER_ADDITIVE] = CALM_ADDED,
                                              [TRIGGER_WAVE] = CALM_ADDED,
                                              [TRIGGER_WINDOW] = CALM_WINDOW,
                                              [TRIGGER_AREA] = CALM};
    if (nature > LIMIT || p->round == 0) return nature;
    return f == TRIGGER_AREA && is_alone(p, f) ? CALM_ALONE : calm[f];
}

float probe_may_win(const struct probe *p, const struct trigger *way) {
    if (probe_is_longer(way)) return LONGER_WINS;
    if (way->kind != TRIGGER_AREA) return 0;
    return probe_nature(p, way->target, TRIGGER_AREA) * (is_alone(p, TRIGGER_AREA) ? ALONE_WINS : 1);
}

/* Of too many, the ones that stand out most. */
static void keep_way(struct probe *p, const struct trigger *t, float z) {
    struct trigger *copy = p->n_ways < WAYS ? trigger_new(&p->net.size) : NULL;
    uint32_t at = p->n_ways;
    if (copy) {
        p->ways[p->n_ways++] = copy;
    } else {
        for (uint32_t i = at = 0; i < p->n_ways; i++)
            if (p->way_z[i] < p->way_z[at]) at = i;
        if (p->n_ways == 0 || p->way_z[at] >= z) return;
        copy = p->ways[at];
    }
    p->way_z[at] = z;
    trigger_copy(copy, t, &p->net.size);
}

/* Keeps a copy of what stands out. */
static void add_way(struct probe *p, const struct trigger *t) {
    const enum trigger_kind f = t->kind;
    const float z = probe_stand_out(p, t->target, f, t->size, t->success);
    p->easiest[f] = fmaxf(p->easiest[f], z);
    if (z >= probe_allowed(p, f)) keep_way(p, t, z);
}

static int32_t steps_of(enum trigger_kind kind) {
    return kind == TRIGGER_PATCH ? PATCH_STEPS : kind == TRIGGER_ADDITIVE ? ADDITIVE_STEPS : WINDOW_MORE;
}

/* What was a way in before starts again from where it was: it must not be one that pruning has only shifted.
 * Waves don't: all of them are tried anew. */
static bool try_again(struct probe *p, int32_t k, struct trigger *t) {
    struct trigger *old[WAYS];
    const uint32_t n = p->n_ways;
    bool ok = true;
    memcpy(old, p->ways, sizeof old);
    p->n_ways = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct attack_options o = {
            .kind = old[i]->kind, .target = k, .steps = steps_of(old[i]->kind) / 2, .from = old[i]};
        probe_tell(p, 0.3f * (float)i / (float)n, "trying old ways again");
        if (old[i]->target == k && old[i]->kind != TRIGGER_WAVE) {
            ok = ok && probe_attack_once(p, o, ATTACKED, t);
            if (ok) add_way(p, t);
        }
        trigger_free(old[i]);
    }
    return !p->late;
}

/* What is added, and where it stands out longer ones as well: an attacker need not be sparing with it. */
static bool find_added(struct probe *p, int32_t k, struct trigger *t) {
    static const float longer[] = {2, LONGEST};
    struct attack_options o = {.kind = TRIGGER_ADDITIVE, .target = k, .steps = ADDITIVE_STEPS};
    if (!probe_attack_once(p, o, ATTACKED, t)) return false;
    add_way(p, t);
    const float z = p->easiest[TRIGGER_ADDITIVE];
    if (z < probe_allowed(p, TRIGGER_ADDITIVE)) return true;
    for (size_t i = 0; i < sizeof longer / sizeof *longer; i++) {
        o.length = longer[i];
        if (!probe_attack_once(p, o, ATTACKED, t)) return false;
        keep_way(p, t, z);
    }
    return true;
}

static bool find_waves(struct probe *p, int32_t k, struct trigger *t) {
    for (uint32_t i = 0; i < BEST_WAVES; i++) {
        if (!probe_attack_wave(p, k, i, t)) return false;
        for (int64_t j = 0; j < p->floats; j++) t->paint[j] *= STRONGER;
        add_way(p, t);
    }
    return true;
}

/* Patches from each place, each paying for where others have been; windows; what is added. How much the
 * easiest of each kind stands out goes to p->easiest. False: the time is up. */
bool probe_find_ways(struct probe *p, int32_t k, struct trigger *t) {
    const size_t plane = (size_t)p->net.size.height * (size_t)p->net.size.width;
    float *been = calloc(plane, sizeof *been);
    for (int f = 0; f < TRIGGER_KINDS; f++) p->easiest[f] = -INFINITY;
    bool ok = been != NULL && try_again(p, k, t);
    struct attack_options o = {
        .kind = TRIGGER_PATCH, .target = k, .steps = PATCH_STEPS, .grid = 3, .avoid = been};
    for (o.place = -1; ok && o.place < PLACES;
         o.place += o.place < 0 ? 1 : 2) { /* the corners and the middle */
        probe_tell(p, 0.3f + 0.4f * (float)(o.place + 1) / (PLACES + 1), "looking for other ways in");
        ok = probe_attack_once(p, o, ATTACKED, t);
        if (ok) add_way(p, t);
        for (size_t i = 0; ok && i < plane; i++) been[i] = fmaxf(been[i], t->mask[i]);
    }
    ok = ok && find_added(p, k, t) && find_waves(p, k, t);
    /* The first start is that of the round; in the first round it is known how far that came. */
    for (p->start_seed = p->round > 0 ? 0 : 1; ok && p->start_seed <= STARTS; p->start_seed++) {
        probe_tell(p, 0.7f + 0.3f * (float)p->start_seed / (STARTS + 1), "looking for other ways in");
        for (int f = TRIGGER_WINDOW; ok && f <= TRIGGER_AREA; f++) {
            ok = probe_attack_places(p, (enum trigger_kind)f, k, t);
            if (ok) add_way(p, p->best[f]);
        }
    }
    p->start_seed = 0;
    free(been);
    return ok;
}

static float plainness(const struct probe *p, uint32_t way) {
    return probe_plainness(p->ways[way]->kind, p->way_z[way]);
}

/* The plain ways come first; how many they are. What stands out far less than they do may be how the class is
 * by nature, and is expensive to prune: it has its turn once they are gone, if it is still there. */
uint32_t probe_plain_ways(struct probe *p) {
    float most = 0;
    bool small = false;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_ways; i++) small |= p->ways[i]->kind != TRIGGER_AREA;
    for (uint32_t i = 0; i < p->n_ways; i++)
        if (!small || p->ways[i]->kind != TRIGGER_AREA) most = fmaxf(most, plainness(p, i));
    for (uint32_t i = 0; i < p->n_ways; i++) {
        struct trigger *const way = p->ways[i];
        const float z = p->way_z[i];
        const bool added = trigger_is_added(way->kind) && z >= LIMIT; /* to be vouched for: always */
        if ((plainness(p, i) < PLAIN * most && !added) || (small && way->kind == TRIGGER_AREA)) continue;
        p->ways[i] = p->ways[n];
        p->way_z[i] = p->way_z[n];
        p->ways[n] = way;
        p->way_z[n++] = z;
    }
    return n;
}

float probe_most_success(struct probe *p) {
    float most = 0;
    for (uint32_t i = 0; i < p->n_ways; i++)
        if (!probe_is_longer(p->ways[i]))
            most = fmaxf(most, repair_success(&p->net, p->ways[i], p->untouched, UNTOUCHED, p->answers,
                                              p->ways[i]->target));
    return most;
}

bool probe_is_calm(const struct probe *p) {
    for (int f = 0; f < TRIGGER_KINDS; f++)
        if (p->easiest[f] >= probe_allowed(p, (enum trigger_kind)f)) return false;
    return true;
}

/* Of what is added, that nothing is easy to find any more says little: with all calm the trigger still
 * worked on 95 % of the pictures, until what had been found at every length was beaten (docs/repair.md). Nor
 * is anything vouched for while a class that was left alone still stands out. */
bool probe_can_vouch(const struct probe *p) {
    for (int32_t k = 0; k < p->net.classes; k++) {
        const struct class *c = &p->classes[k];
        const bool added = fmaxf(c->first[TRIGGER_ADDITIVE], c->first[TRIGGER_WAVE]) >= LIMIT;
        if (c->suspected && added && !c->added_beaten) return false;
        if (c->watched && probe_worst(c) >= LIMIT) return false;
    }
    return true;
}

void probe_suspect(struct probe *p, int32_t k) {
    if (k == p->suspect) return;
    probe_forget_ways(p);
    p->suspect = k;
}
