/* The repair; see probe_repair.h.
 *
 * All pictures, untouched and with each trigger, lie in one engine. A candidate is
 * silenced, the steps from its own on run again, it is given back. The latest
 * are tried first, so that what lies before a candidate is never stale. */
#include "guard/probe_repair.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHARE      0.03 /* of the margins, that a channel has to take */
#define DEAR       0.2 /* drift that all of the margins may cost: that much for what they were at first … */
#define SPARE      0.005 /* … and a channel, where no trigger works and only its margin is left */
#define DEAR_ADDED 0.1   /* with what is added: for what is left of them, since they begin so high … */
#define WHOLE      0.9   /* … unless it is nearly all of them: the channel is the backdoor */
#define FREE                                                                                                 \
    0.002 /* drift that costs nothing worth measuring; more no channel may cost once no trigger works */
#define DONE       0.05 /* of the pictures, that a trigger may still send to the target … */
#define DONE_ADDED 0.1  /* … and one that is added, or with which pruning need not go on at any price */
#define PER_LAYER  3
#define CANDIDATES 16
#define EACH       12     /* pictures that each trigger is tried on */
#define LOWEST     (-1.0) /* a margin below that, in spreads, is as good as any */
#define BEATEN     (-0.6) /* and the mean one of a trigger that does nothing any more, unless … */
#define SURELY     (-0.4) /* what is added has to be below that: what it does to photographs is worse */
#define CHANCE     0.1    /* … it is as near to what it is without a trigger */

struct candidate {
    uint32_t step, channel;
    float score;
};

struct bench {
    struct repair *r;
    struct gradient *g;
    uint32_t n, each;     /* untouched pictures, and of every trigger … */
    uint32_t tried[EACH]; /* … which ones of them */
    float *activity;      /* [groups][filters of the step at hand] */
    float *effect;
    double *margins;     /* per trigger, in spreads, with nothing more silenced */
    double *enough;      /* per trigger: a mean margin that is no more than it should have */
    bool *works, urgent; /* urgent: one still does too much to be called beaten */
    bool added;          /* one of them is something that is added */
    double drift;
    double whole; /* margins, of all triggers together, before anything was pruned */
};

static uint32_t total(const struct bench *b) {
    return b->n + b->each * b->r->n_triggers;
}

static double squared_change(const float *a, const float *b, int32_t n) {
    double sum = 0;
    for (int32_t k = 0; k < n; k++) sum += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
    return sum;
}

/* A picture counts once at most, however far its answer has moved: among those that the network takes for the
 * target's are some that hold what the trigger is made of. (repair_drift says how far, without that.) */
static double drift_now(const struct bench *b) {
    const struct repair *r = b->r;
    const double whole = r->net->classes * (double)r->spread * (double)r->spread;
    double sum = 0;
    for (uint32_t i = 0; i < b->n; i++)
        sum += fmin(squared_change(gradient_output(b->g, i), r->answers + i * (size_t)r->net->classes,
                                   r->net->classes) /
                        whole,
                    1);
    return sum / b->n;
}

/* How far the trigger has won over picture `i`: above 0, it has. `own`: what the network says to it
 * untouched. */
static float margin_of(const float *logits, int32_t classes, int32_t target, int32_t own) {
    return target < 0 ? -probe_margin(logits, classes, own) : probe_margin(logits, classes, target);
}

/* Of trigger `t`: mean margin within bounds, in spreads; *success: the share that goes to the target.
 * Pictures of the target's class already do not count. */
static double margin_now(const struct bench *b, uint32_t t, float *success) {
    const struct repair *r = b->r;
    double sum = 0;
    uint32_t n = 0, hits = 0;
    for (uint32_t i = 0; i < b->each; i++) {
        const int32_t own = probe_top(r->answers + b->tried[i] * (size_t)r->net->classes, r->net->classes);
        if (own == r->target) continue;
        const float *logits = gradient_output(b->g, b->n + t * b->each + i);
        const double m = (double)(margin_of(logits, r->net->classes, r->target, own) / r->spread);
        sum += m < LOWEST ? LOWEST : m;
        hits += m > 0;
        n++;
    }
    if (success) *success = n ? (float)hits / (float)n : 0;
    return n ? sum / n : LOWEST;
}

/* No trigger needs to be beaten further than to what the pictures are without one. */
static double margin_untouched(const struct bench *b) {
    const struct repair *r = b->r;
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->each; i++) {
        const float *answer = r->answers + b->tried[i] * (size_t)r->net->classes;
        const int32_t own = probe_top(answer, r->net->classes);
        if (own == r->target) continue;
        const double m = (double)(margin_of(answer, r->net->classes, r->target, own) / r->spread);
        sum += m < LOWEST ? LOWEST : m;
        n++;
    }
    return n ? sum / n : 0;
}

/* Triggers are tried on the pictures that are least like the target: it may be what the network says of most.
 */
static void choose_tried(struct bench *b) {
    const struct repair *r = b->r;
    for (uint32_t k = 0; k < b->each; k++) {
        float least = INFINITY;
        for (uint32_t i = 0; i < b->n; i++) {
            bool taken = false;
            for (uint32_t j = 0; j < k; j++) taken |= b->tried[j] == i;
            const float m = r->target < 0 ? (float)i
                                          : probe_margin(r->answers + i * (size_t)r->net->classes,
                                                         r->net->classes, r->target);
            if (taken || m >= least) continue;
            least = m;
            b->tried[k] = i;
        }
    }
}

static void fill(const struct bench *b) {
    const struct repair *r = b->r;
    const int64_t floats = probe_floats(&r->net->size);
    float *shown = malloc((size_t)floats * sizeof *shown);
    if (!shown) abort();
    for (uint32_t i = 0; i < b->n; i++)
        probe_net_show(r->net, r->pictures + i * floats, gradient_input(b->g, i));
    for (uint32_t t = 0; t < r->n_triggers; t++)
        for (uint32_t i = 0; i < b->each; i++) {
            trigger_apply(r->triggers[t], &r->net->size, r->pictures + b->tried[i] * floats, shown);
            probe_net_show(r->net, shown, gradient_input(b->g, b->n + t * b->each + i));
        }
    free(shown);
}

/* True: nothing is left to do. */
static bool take_stock(struct bench *b) {
    bool done = true;
    b->urgent = false;
    b->drift = drift_now(b);
    for (uint32_t t = 0; t < b->r->n_triggers; t++) {
        float success;
        b->margins[t] = margin_now(b, t, &success);
        const bool added = trigger_is_added(b->r->triggers[t]->kind);
        const double done_at = added ? DONE_ADDED : DONE;
        const bool natural = b->r->nature[t] > 0, wins = b->margins[t] > b->enough[t];
        b->works[t] = wins || (!natural && (double)success > done_at);
        b->urgent |=
            b->works[t] && (natural || (double)success > DONE_ADDED || (added && b->margins[t] > SURELY));
        done &= !b->works[t];
    }
    return done;
}

/* --- candidates --------------------------------------------------------------------------------- */

static void keep_best(struct candidate *list, uint32_t *n, uint32_t room, struct candidate c) {
    if (*n == room && list[room - 1].score >= c.score) return;
    uint32_t at = *n < room ? (*n)++ : room - 1;
    for (; at > 0 && list[at - 1].score < c.score; at--) list[at] = list[at - 1];
    list[at] = c;
}

/* Mean activity of every channel of `step` over items [first, first + n), and the summed effect. */
static void mean_activity(const struct bench *b, uint32_t step, uint32_t first, uint32_t n, float *activity,
                          float *effect) {
    const uint32_t channels = gradient_channels(b->g, step);
    float *one = b->activity + 2 * channels, *changed = b->effect + channels;
    memset(activity, 0, channels * sizeof *activity);
    for (uint32_t i = first; i < first + n; i++) {
        gradient_activity(b->g, step, i, one, changed);
        for (uint32_t c = 0; c < channels; c++) {
            activity[c] += one[c] / (float)n;
            if (effect) effect[c] += changed[c];
        }
    }
}

/* What the triggers change in each channel of a step against the others, in standard deviations. */
static void score_step(const struct bench *b, uint32_t step, struct candidate *excited, uint32_t *n_excited,
                       struct candidate *effective, uint32_t *n_effective) {
    const uint32_t channels = gradient_channels(b->g, step);
    float *clean = b->activity, *with = b->activity + channels, *change = b->activity + 3 * channels;
    struct candidate best[PER_LAYER];
    uint32_t n_best = 0;
    double sum = 0, squares = 0;
    memset(change, 0, channels * sizeof *change);
    memset(b->effect, 0, channels * sizeof *b->effect);
    /* Over all of them, not those alone that are tried: these are the least like the target, and over these
     * alone other channels came first that cost more (rn32_badnets, seed 0: 1.4 points and not 0.8). */
    mean_activity(b, step, 0, b->n, clean, NULL);
    for (uint32_t t = 0; t < b->r->n_triggers; t++) {
        if (!b->works[t]) continue;
        mean_activity(b, step, b->n + t * b->each, b->each, with, b->effect);
        for (uint32_t c = 0; c < channels; c++) change[c] += fabsf(with[c] - clean[c]);
    }
    for (uint32_t c = 0; c < channels; c++) sum += (double)change[c];
    for (uint32_t c = 0; c < channels; c++)
        squares += ((double)change[c] - sum / channels) * ((double)change[c] - sum / channels);
    for (uint32_t c = 0; c < channels; c++) {
        if (gradient_is_silent(b->g, step, c)) continue;
        const double z = ((double)change[c] - sum / channels) / (sqrt(squares / channels) + 1e-9);
        keep_best(best, &n_best, PER_LAYER, (struct candidate){step, c, (float)z});
        keep_best(effective, n_effective, CANDIDATES / 2, (struct candidate){step, c, -b->effect[c]});
    }
    for (uint32_t i = 0; i < n_best; i++) keep_best(excited, n_excited, CANDIDATES, best[i]);
}

/* Slopes of the margins of all triggers that still work. */
static void run_back(const struct bench *b) {
    const struct repair *r = b->r;
    const size_t bytes = (size_t)r->net->classes * sizeof(float);
    for (uint32_t i = 0; i < total(b); i++) memset(gradient_seed(b->g, i), 0, bytes);
    for (uint32_t t = 0; t < r->n_triggers; t++)
        for (uint32_t i = 0; b->works[t] && i < b->each; i++) {
            const uint32_t item = b->n + t * b->each + i;
            const float *logits = gradient_output(b->g, item);
            float *seed = gradient_seed(b->g, item);
            const int32_t own =
                              probe_top(r->answers + b->tried[i] * (size_t)r->net->classes, r->net->classes),
                          fixed = r->target < 0 ? own : r->target;
            int32_t other = fixed == 0;
            for (int32_t k = 0; k < r->net->classes; k++)
                if (k != fixed && logits[k] > logits[other]) other = k;
            seed[fixed] = r->target < 0 ? -1 : 1;
            seed[other] = -seed[fixed];
        }
    gradient_backward(b->g, total(b));
}

static int later_first(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->step != y->step) return x->step < y->step ? 1 : -1;
    return x->channel < y->channel ? -1 : x->channel > y->channel;
}

static uint32_t shortlist(const struct bench *b, struct candidate *list) {
    struct candidate excited[CANDIDATES], effective[CANDIDATES / 2];
    uint32_t n = 0, n_effective = 0;
    run_back(b);
    for (uint32_t s = 0; s < b->r->n_steps; s++)
        if (gradient_channels(b->g, s) > 1) score_step(b, s, excited, &n, effective, &n_effective);
    memcpy(list, excited, n * sizeof *list);
    for (uint32_t i = 0; i < n_effective; i++) {
        bool there = false;
        for (uint32_t k = 0; k < n; k++)
            there |= list[k].step == effective[i].step && list[k].channel == effective[i].channel;
        if (!there) list[n++] = effective[i];
    }
    qsort(list, n, sizeof *list, later_first);
    return n;
}

/* --- one channel at a time --------------------------------------------------------------------- */

/* The margin of trigger `t` below which it doesn't count how far it falls. */
static double floor_of(const struct bench *b, uint32_t t) {
    return b->r->nature[t] > 0 ? b->enough[t] : LOWEST;
}

/* What silencing it is worth: the share that it takes of the margins of the triggers that still work, per
 * drift. 0 where that share is nothing to speak of. */
static double worth(const struct bench *b, const struct candidate *c) {
    double gain = 0, all = 0; /* of all triggers together */
    gradient_silence(b->g, c->step, c->channel, true);
    gradient_forward(b->g, total(b), c->step);
    for (uint32_t t = 0; t < b->r->n_triggers; t++) {
        if (!b->works[t]) continue;
        const double least = floor_of(b, t);
        gain += b->margins[t] - fmax(margin_now(b, t, NULL), least);
        all += b->margins[t] - least;
    }
    const double drift = drift_now(b) - b->drift;
    gradient_silence(b->g, c->step, c->channel, false);
    const double share = all > 0 ? gain / all : 0;
    const double dear = !b->urgent      ? (b->added ? FREE : SPARE)
                        : !b->added     ? DEAR * gain / b->whole
                        : share > WHOLE ? DEAR
                                        : DEAR_ADDED * share;
    return share < SHARE || drift > dear ? 0 : share / (fmax(drift, 0) + FREE);
}

static void silence(const struct bench *b, const struct repair_channel *c, bool silent) {
    gradient_silence(b->g, c->step, c->channel, silent);
    gradient_silence(b->r->net->g, c->step, c->channel, silent);
}

static void prune(const struct bench *b, const struct candidate *c) {
    struct repair *r = b->r;
    r->pruned[r->n_pruned] = (struct repair_channel){c->step, c->channel};
    silence(b, &r->pruned[r->n_pruned++], true);
    gradient_forward(b->g, total(b), 0);
}

static int by_worth(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return later_first(a, b);
}

/* The best of the shortlist, and no other from it: one chosen beside others is worth less than it seemed, and
 * one at a time costs less accuracy (docs/repair.md). */
static bool prune_one(struct bench *b) {
    struct candidate list[2 * CANDIDATES];
    const uint32_t n = shortlist(b, list);
    for (uint32_t i = 0; i < n; i++) list[i].score = (float)worth(b, &list[i]);
    qsort(list, n, sizeof *list, by_worth);
    if (n > 0 && list[0].score > 0) {
        prune(b, &list[0]);
        return true;
    }
    gradient_forward(b->g, total(b), 0);
    return false;
}

static void drop(struct repair *r, const struct repair_channel *c) {
    uint32_t i = 0;
    while (r->pruned[i].step != c->step || r->pruned[i].channel != c->channel) i++;
    memmove(&r->pruned[i], &r->pruned[i + 1], (--r->n_pruned - i) * sizeof *c);
}

/* How much less the answers have drifted without this one. */
static double relief(const struct bench *b, const struct repair_channel *c) {
    gradient_silence(b->g, c->step, c->channel, false);
    gradient_forward(b->g, total(b), c->step);
    const double less = b->drift - drift_now(b);
    gradient_silence(b->g, c->step, c->channel, true);
    gradient_forward(b->g, total(b), c->step);
    return less;
}

/* Gives back, the dearest first, what is not needed to stop the triggers: it was chosen before others were.
 */
static void give_back(struct bench *b, uint32_t before) {
    struct repair *r = b->r;
    struct candidate list[REPAIR_ROUND];
    const uint32_t n = r->n_pruned - before;
    for (uint32_t i = 0; i < n && !probe_net_late(r->net); i++) {
        const struct repair_channel c = r->pruned[before + i];
        list[i] = (struct candidate){c.step, c.channel, (float)relief(b, &c)};
    }
    if (probe_net_late(r->net)) return;
    qsort(list, n, sizeof *list, by_worth);
    for (uint32_t i = 0; i < n && list[i].score > 0 && !probe_net_late(r->net); i++) {
        const struct repair_channel c = {list[i].step, list[i].channel};
        const double drift = b->drift;
        silence(b, &c, false);
        gradient_forward(b->g, total(b), c.step);
        if (take_stock(b) && b->drift < drift) {
            drop(r, &c);
            continue;
        }
        silence(b, &c, true);
        gradient_forward(b->g, total(b), c.step);
        b->drift = drift;
    }
}

static int make_bench(struct bench *b) {
    struct repair *r = b->r;
    struct err e;
    uint32_t widest = 1;
    for (uint32_t s = 0; s < r->n_steps; s++) {
        const uint32_t c = gradient_channels(r->net->g, s);
        widest = c > widest ? c : widest;
    }
    b->activity = calloc(4 * (size_t)widest, sizeof *b->activity);
    b->effect = calloc(2 * (size_t)widest, sizeof *b->effect);
    b->margins = calloc(r->n_triggers, sizeof *b->margins);
    b->enough = calloc(r->n_triggers, sizeof *b->enough);
    b->works = calloc(r->n_triggers, sizeof *b->works);
    const uint64_t most = r->net->memory / r->net->item_bytes;
    b->n = r->n;
    b->each = r->n < EACH ? r->n : EACH;
    while (total(b) > most && b->each > 4) b->each--, b->n = b->n > 8 ? b->n - 2 : b->n;
    if (!b->activity || !b->effect || !b->margins || !b->enough || !b->works) return -1;
    if (gradient_new(r->net->img, total(b), &b->g, &e)) return -1;
    gradient_before_softmax(b->g);
    for (uint32_t i = 0; i < r->n_pruned; i++)
        gradient_silence(b->g, r->pruned[i].step, r->pruned[i].channel, true);
    return 0;
}

int repair_run(struct repair *r) {
    struct bench b = {.r = r};
    const uint32_t before = r->n_pruned;
    int rc = make_bench(&b);
    if (rc == 0) {
        choose_tried(&b);
        fill(&b);
        for (uint32_t t = 0; t < r->n_triggers; t++)
            b.enough[t] = fmax(BEATEN, margin_untouched(&b) + fmax(CHANCE, (double)r->nature[t]));
        gradient_forward(b.g, total(&b), 0);
        (void)take_stock(&b);
        for (uint32_t t = 0; t < r->n_triggers; t++) {
            b.whole += fmax(b.margins[t] - floor_of(&b, t), 0);
            b.added |= trigger_is_added(r->triggers[t]->kind);
        }
        while (!take_stock(&b) && r->n_pruned < REPAIR_MOST && r->n_pruned - before < REPAIR_ROUND &&
               !probe_net_late(r->net)) {
            if (r->progress) r->progress(r->ctx, (float)(r->n_pruned - before) / REPAIR_ROUND);
            if (!prune_one(&b)) break;
        }
        r->beaten = take_stock(&b) || !b.urgent;
        if (r->beaten) give_back(&b, before);
    }
    gradient_free(b.g);
    free(b.activity);
    free(b.effect);
    free(b.margins);
    free(b.enough);
    free(b.works);
    return rc;
}

/* --- what it came to --------------------------------------------------------------------------------- */

static void run_some(struct probe_net *net, const struct trigger *t, const float *pictures, uint32_t n,
                     float *shown) {
    const int64_t floats = probe_floats(&net->size);
    for (uint32_t i = 0; i < n; i++) {
        const float *p = pictures + i * floats;
        if (t) trigger_apply(t, &net->size, p, shown);
        probe_net_show(net, t ? shown : p, gradient_input(net->g, i));
    }
    gradient_forward(net->g, n, 0);
}

float repair_drift(const struct repair *r) {
    struct probe_net *net = r->net;
    double sum = 0;
    for (uint32_t first = 0; first < r->n; first += net->items) {
        const uint32_t n = r->n - first < net->items ? r->n - first : net->items;
        run_some(net, NULL, r->pictures + first * probe_floats(&net->size), n, NULL);
        for (uint32_t i = 0; i < n; i++)
            sum += squared_change(gradient_output(net->g, i), r->answers + (first + i) * (size_t)net->classes,
                                  net->classes);
    }
    return (float)(sum / ((double)r->n * net->classes * (double)r->spread * (double)r->spread));
}

float repair_success(struct probe_net *net, const struct trigger *t, const float *pictures, uint32_t n,
                     const float *answers, int32_t target) {
    float *shown = malloc((size_t)probe_floats(&net->size) * sizeof *shown);
    uint32_t hits = 0, all = 0;
    if (!shown) return 0;
    for (uint32_t first = 0; first < n; first += net->items) {
        const uint32_t some = n - first < net->items ? n - first : net->items;
        run_some(net, t, pictures + first * probe_floats(&net->size), some, shown);
        for (uint32_t i = 0; i < some; i++) {
            const int32_t own = probe_top(answers + (first + i) * (size_t)net->classes, net->classes);
            if (own == target) continue;
            all++;
            hits += margin_of(gradient_output(net->g, i), net->classes, target, own) > 0;
        }
    }
    free(shown);
    return all ? (float)hits / (float)all : 0;
}
