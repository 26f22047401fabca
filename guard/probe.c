/* The probe from the first picture to the verdict; see probe.h. */
#include "guard/probe.h"

#include "guard/probe_repair.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ATTACKED = 16,  /* pictures that triggers are made on */
    UNTOUCHED = 48, /* that answers are compared on */
    ROUNDS = 4,
    MANY = 24,       /* classes above which a quick screening chooses whom to look at closely */
    REFERENCES = 12, /* of those: chosen by chance, to compare with */
    PATCH_STEPS = 60,
    ADDITIVE_STEPS = 30,
    WINDOW_STEPS = 20, /* in every place; from the best ones on */
    WINDOW_MORE = 30,
    QUICK_STEPS = 10,
    QUICK_PICTURES = 8,
    STARTS = 3, /* of the windows into a class that stands out */
    WAYS = 8    /* triggers that are pruned against */
};
#define LIMIT                                                                                                \
    3.5f             /* robust standard deviations: a class stands out; a way into it that is pruned against \
                      */
#define CALM    2.5f /* … and by what it stood out at first, it does no longer: stricter, see docs/repair.md */
#define HARD    1.0f /* classes below that keep their figures from the first round */
#define AS_HARD 0.7f /* … and its patch is so near to the others' median */
#define WORKS   0.3f /* of the pictures: a trigger worth pruning against */

enum family { PATCH, ADDITIVE, WINDOW, FAMILIES };

struct class {
    bool covered, close; /* screened; looked at closely, so that it has scores */
    bool reference;
    float quick, score[FAMILIES], z[FAMILIES];
};

struct probe {
    struct probe_net net;
    const struct probe_options *o;
    struct probe_report *out;
    uint64_t start;
    int64_t floats;
    float *attacked, *untouched, *answers;
    float spread;
    struct class *classes;
    struct trigger *best[FAMILIES], *places[PROBE_PLACES]; /* of the class at hand */
    struct trigger *ways[WAYS];
    float way_z[WAYS], easiest[FAMILIES];
    bool stood_out[FAMILIES]; /* by which the suspect did at first */
    uint32_t n_ways;
    struct repair_channel pruned[REPAIR_MOST];
    uint32_t n_pruned;
    int32_t suspect;
    uint32_t start_seed; /* other starts of the same attack */
    float from, to;      /* of the progress bar: the part at hand */
    bool late;
};

static void tell(const struct probe *p, float done, const char *what) {
    if (p->o->progress) p->o->progress(p->o->ctx, p->from + (p->to - p->from) * done, what);
}

/* --- pictures and answers ------------------------------------------------------------------- */

static void draw(const struct probe *p, uint64_t seed, float *to, uint32_t n) {
    struct probe_random r = {seed * 0x2545f4914f6cdd1du + 1};
    for (uint32_t i = 0; i < n; i++) probe_picture_draw(&r, &p->net.size, to + i * p->floats);
}

static void ask(struct probe *p) {
    const size_t classes = (size_t)p->net.classes;
    double sum = 0, squares = 0;
    for (uint32_t first = 0; first < UNTOUCHED; first += p->net.items) {
        const uint32_t n = UNTOUCHED - first < p->net.items ? UNTOUCHED - first : p->net.items;
        for (uint32_t i = 0; i < n; i++)
            probe_net_show(&p->net, p->untouched + (first + i) * p->floats, gradient_input(p->net.g, i));
        gradient_forward(p->net.g, n, 0);
        for (uint32_t i = 0; i < n; i++)
            memcpy(p->answers + (first + i) * classes, gradient_output(p->net.g, i), classes * sizeof(float));
    }
    for (size_t i = 0; i < UNTOUCHED * classes; i++) sum += (double)p->answers[i];
    sum /= (double)(UNTOUCHED * classes);
    for (size_t i = 0; i < UNTOUCHED * classes; i++)
        squares += ((double)p->answers[i] - sum) * ((double)p->answers[i] - sum);
    p->spread = (float)sqrt(squares / (double)(UNTOUCHED * classes)) + 1e-6f;
}

/* --- attacks ----------------------------------------------------------------------------------- */

static int32_t window_side(const struct probe *p) {
    const int32_t size = p->net.size.height < p->net.size.width ? p->net.size.height : p->net.size.width;
    const int32_t side = (size * 5 + 16) / 32;
    return side < 3 ? (size < 3 ? size : 3) : side;
}

static bool attack(struct probe *p, struct attack_options o, uint32_t pictures, struct trigger *t) {
    o.window = window_side(p);
    o.seed = p->o->seed * 1000003u + (uint64_t)o.target * 31 + (uint64_t)(o.place + 1) * 7 +
             (uint64_t)p->start_seed * 7919 + (uint64_t)o.kind;
    const bool done = probe_attack(&p->net, p->attacked, pictures, &o, t);
    p->late |= !done;
    return done;
}

/* A pattern in each place for a while, then the two best for longer: few places lead anywhere. The margins go
 * to the windows' scores, the best trigger to best[WINDOW]. */
static bool attack_windows(struct probe *p, int32_t k, struct trigger *t) {
    struct attack_options o = {.kind = TRIGGER_WINDOW, .target = k, .steps = WINDOW_STEPS};
    struct class *c = &p->classes[k];
    float margin[PROBE_PLACES];
    c->score[WINDOW] = -INFINITY;
    for (o.place = 0; o.place < PROBE_PLACES; o.place++) {
        if (!attack(p, o, ATTACKED, p->places[o.place])) return false;
        margin[o.place] = p->places[o.place]->size;
    }
    o.steps = WINDOW_MORE;
    for (int again = 0; again < 2; again++) {
        int32_t best = 0;
        for (int32_t i = 1; i < PROBE_PLACES; i++)
            if (margin[i] > margin[best]) best = i;
        margin[best] = -INFINITY;
        o.place = best;
        o.from = p->places[best];
        if (!attack(p, o, ATTACKED, t)) return false;
        if (t->size <= c->score[WINDOW]) continue;
        c->score[WINDOW] = t->size;
        trigger_copy(p->best[WINDOW], t, &p->net.size);
    }
    return true;
}

/* All families on one class. False: the time is up. */
static bool attack_class(struct probe *p, int32_t k, struct trigger *spare) {
    struct class *c = &p->classes[k];
    struct attack_options o = {.kind = TRIGGER_PATCH, .target = k, .steps = PATCH_STEPS, .place = -1};
    if (!attack(p, o, ATTACKED, p->best[PATCH])) return false;
    c->score[PATCH] = p->best[PATCH]->size;
    o = (struct attack_options){.kind = TRIGGER_ADDITIVE, .target = k, .steps = ADDITIVE_STEPS};
    if (!attack(p, o, ATTACKED, p->best[ADDITIVE])) return false;
    c->score[ADDITIVE] = p->best[ADDITIVE]->size;
    c->close = attack_windows(p, k, spare);
    return c->close;
}

/* --- who stands out ---------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static float median(float *v, size_t n) {
    if (n == 0) return 0;
    qsort(v, n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Larger is easier. */
static float ease(const struct probe *p, enum family f, float size) {
    return f == PATCH ? -logf(fmaxf(size, 0) + 1) : size / p->spread;
}

/* How far something that reaches class `k` lies on the easy side of what reaches the others. */
static float stand_out(const struct probe *p, int32_t k, enum family f, float size) {
    static const float least[FAMILIES] = {0.15f, 0.25f, 0.5f}; /* of a spread: less is chance */
    float *others = malloc((size_t)p->net.classes * sizeof *others);
    size_t n = 0;
    if (!others) abort();
    for (int32_t i = 0; i < p->net.classes; i++)
        if (i != k && p->classes[i].close && p->classes[i].reference)
            others[n++] = ease(p, f, p->classes[i].score[f]);
    const float middle = median(others, n);
    for (size_t i = 0; i < n; i++) others[i] = fabsf(others[i] - middle);
    const float z = n < 3 ? 0 : (ease(p, f, size) - middle) / (1.4826f * median(others, n) + least[f]);
    free(others);
    return z;
}

static float worst(const struct class *c) {
    return fmaxf(fmaxf(c->z[PATCH], c->z[ADDITIVE]), c->z[WINDOW]);
}

/* The class that stands out most, or -1 where none was looked at. */
static int32_t compare(struct probe *p) {
    int32_t most = -1;
    for (int32_t k = 0; k < p->net.classes; k++) {
        struct class *c = &p->classes[k];
        if (!c->close) continue;
        for (int f = 0; f < FAMILIES; f++) c->z[f] = stand_out(p, k, (enum family)f, c->score[f]);
        if (most < 0 || worst(c) > worst(&p->classes[most])) most = k;
    }
    return most;
}

/* --- screening ------------------------------------------------------------------------------------ */

/* Many classes: a few steps on each, in an order of chance, within a third of the time. */
static void screen(struct probe *p, struct trigger *spare) {
    const int32_t n = p->net.classes;
    struct probe_random r = {p->o->seed + 77};
    int32_t *order = malloc((size_t)n * sizeof *order), done = 0;
    if (!order) abort();
    for (int32_t i = 0; i < n; i++) order[i] = i;
    for (int32_t i = n - 1; i > 0; i--) {
        const int32_t k = (int32_t)(probe_random_next(&r) % (uint64_t)(i + 1)), keep = order[i];
        order[i] = order[k];
        order[k] = keep;
    }
    const uint64_t until = p->start + (p->net.deadline - p->start) / 3;
    for (; done < n && probe_net_clock(&p->net) < until; done++) {
        const struct attack_options o = {
            .kind = TRIGGER_ADDITIVE, .target = order[done], .steps = QUICK_STEPS};
        char what[64];
        (void)snprintf(what, sizeof what, "screening class %d of %d", done + 1, n);
        tell(p, (float)done / (float)n / 3, what);
        if (!attack(p, o, QUICK_PICTURES, spare)) break;
        p->classes[order[done]].quick = spare->size;
        p->classes[order[done]].covered = true;
    }
    for (int32_t i = 0; i < REFERENCES && i < done; i++) p->classes[order[i]].reference = true;
    free(order);
}

/* Of those that have been screened, the easiest that is not chosen yet; -1: none. */
static int32_t next_easiest(const struct probe *p, const bool *chosen) {
    int32_t best = -1;
    for (int32_t k = 0; k < p->net.classes; k++)
        if (p->classes[k].covered && !chosen[k] && (best < 0 || p->classes[k].quick > p->classes[best].quick))
            best = k;
    return best;
}

static void choose(struct probe *p, bool *chosen, struct trigger *spare) {
    const bool all = p->net.classes <= MANY;
    for (int32_t k = 0; k < p->net.classes; k++)
        p->classes[k].covered = p->classes[k].reference = chosen[k] = all;
    if (all) return;
    screen(p, spare);
    for (int32_t k = 0; k < p->net.classes; k++) chosen[k] = p->classes[k].reference;
    for (int32_t i = 0, k; i < MANY - REFERENCES && (k = next_easiest(p, chosen)) >= 0; i++) chosen[k] = true;
}

/* All chosen classes from all sides; the one that stands out most, or -1 where the time was up. */
static int32_t round_of_attacks(struct probe *p, const bool *chosen, struct trigger *spare, uint32_t round) {
    int32_t n = 0, done = 0;
    draw(p, p->o->seed * 100 + round, p->attacked, ATTACKED);
    for (int32_t k = 0; k < p->net.classes; k++) n += chosen[k];
    for (int32_t k = 0; k < p->net.classes; k++) {
        char what[64];
        const struct class *c = &p->classes[k];
        if (!chosen[k] || (round > 0 && k != p->suspect && worst(c) < HARD)) continue;
        (void)snprintf(what, sizeof what, "round %u: attacking class %d (%d of %d)", round + 1, k, done + 1,
                       n);
        tell(p, (float)done++ / (float)n, what);
        p->classes[k].close = false;
        if (!attack_class(p, k, spare)) return -1;
    }
    return compare(p);
}

/* --- ways into a class ---------------------------------------------------------------------------- */

static const enum family family_of[TRIGGER_KINDS] = {
    [TRIGGER_PATCH] = PATCH, [TRIGGER_ADDITIVE] = ADDITIVE, [TRIGGER_WINDOW] = WINDOW};

static void forget_ways(struct probe *p) {
    while (p->n_ways > 0) trigger_free(p->ways[--p->n_ways]);
}

/* Keeps a copy of what stands out; of too many, the ones that stand out most. */
static void add_way(struct probe *p, const struct trigger *t) {
    const float z = stand_out(p, t->target, family_of[t->kind], t->size);
    float *easiest = &p->easiest[family_of[t->kind]];
    *easiest = fmaxf(*easiest, z);
    if (z < LIMIT) return;
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

static int32_t steps_of(enum trigger_kind kind) {
    return kind == TRIGGER_PATCH ? PATCH_STEPS : kind == TRIGGER_ADDITIVE ? ADDITIVE_STEPS : WINDOW_MORE;
}

/* What was a way in before starts again from where it was: it must not be one that pruning has only shifted.
 */
static bool try_again(struct probe *p, int32_t k, struct trigger *t) {
    struct trigger *old[WAYS];
    const uint32_t n = p->n_ways;
    bool ok = true;
    memcpy(old, p->ways, sizeof old);
    p->n_ways = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct attack_options o = {
            .kind = old[i]->kind, .target = k, .steps = steps_of(old[i]->kind) / 2, .from = old[i]};
        tell(p, 0.3f * (float)i / (float)n, "trying old ways again");
        ok = ok && old[i]->target == k && attack(p, o, ATTACKED, t);
        if (ok) add_way(p, t);
        trigger_free(old[i]);
    }
    return !p->late;
}

/* Patches from each place, each paying for where others have been; windows; what is added. How much the
 * easiest of each kind stands out goes to p->easiest. False: the time is up. */
static bool find_ways(struct probe *p, int32_t k, struct trigger *t) {
    const size_t plane = (size_t)p->net.size.height * (size_t)p->net.size.width;
    float *been = calloc(plane, sizeof *been);
    for (int f = 0; f < FAMILIES; f++) p->easiest[f] = -INFINITY;
    bool ok = been != NULL && try_again(p, k, t);
    struct attack_options o = {.kind = TRIGGER_PATCH, .target = k, .steps = PATCH_STEPS, .avoid = been};
    for (o.place = -1; ok && o.place < PROBE_PLACES; o.place++) {
        tell(p, 0.3f + 0.4f * (float)(o.place + 1) / 6, "looking for other ways in");
        ok = attack(p, o, ATTACKED, t);
        if (ok) add_way(p, t);
        for (size_t i = 0; ok && i < plane; i++) been[i] = fmaxf(been[i], t->mask[i]);
    }
    o = (struct attack_options){.kind = TRIGGER_ADDITIVE, .target = k, .steps = ADDITIVE_STEPS};
    ok = ok && attack(p, o, ATTACKED, t);
    if (ok) add_way(p, t);
    for (p->start_seed = 1; ok && p->start_seed <= STARTS; p->start_seed++) {
        tell(p, 0.7f + 0.3f * (float)(p->start_seed - 1) / STARTS, "looking for other ways in");
        ok = attack_windows(p, k, t);
        if (ok) add_way(p, p->best[WINDOW]);
    }
    p->start_seed = 0;
    free(been);
    return ok;
}

/* --- the report -------------------------------------------------------------------------------------- */

static uint8_t byte_of(float v) {
    return (uint8_t)(fminf(fmaxf(v, 0), 1) * 255 + 0.5f);
}

/* The picture of a trigger: for what is added, grey is nothing. */
static void keep_picture(struct probe *p, const struct trigger *t) {
    struct probe_report *r = p->out;
    const size_t plane = (size_t)p->net.size.height * (size_t)p->net.size.width;
    if (r->mask || p->net.size.height > PROBE_REPORT_MAX_SIDE || p->net.size.width > PROBE_REPORT_MAX_SIDE)
        return;
    r->mask = malloc(plane);
    r->pattern = malloc((size_t)p->floats);
    if (!r->mask || !r->pattern) return;
    r->channels = p->net.size.channels;
    r->height = p->net.size.height;
    r->width = p->net.size.width;
    for (size_t i = 0; i < plane; i++) r->mask[i] = t->kind == TRIGGER_ADDITIVE ? 255 : byte_of(t->mask[i]);
    for (int64_t i = 0; i < p->floats; i++)
        r->pattern[i] = byte_of(t->kind == TRIGGER_ADDITIVE ? 0.5f + 4 * t->paint[i] : t->paint[i]);
}

static void write_classes(struct probe *p, bool after) {
    for (int32_t k = 0; k < p->net.classes; k++) {
        const struct class *c = &p->classes[k];
        struct probe_class *to = &p->out->classes[k];
        if (!c->close) continue;
        to->patch_after = c->score[PATCH];
        to->z_after = worst(c);
        if (after) continue;
        to->covered = true;
        to->patch = c->score[PATCH];
        to->additive = c->score[ADDITIVE] / p->spread;
        to->window = c->score[WINDOW] / p->spread;
        to->z = worst(c);
    }
}

/* --- all of it ------------------------------------------------------------------------------------------ */

static void repair_progress(void *ctx, float done) {
    tell(ctx, done, "pruning");
}

/* The way that a person should see: the one that stands out most. */
static const struct trigger *plainest_way(const struct probe *p) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < p->n_ways; i++)
        if (p->way_z[i] > p->way_z[at]) at = i;
    return p->ways[at];
}

static float most_success(struct probe *p) {
    float most = 0;
    for (uint32_t i = 0; i < p->n_ways; i++)
        most = fmaxf(most, repair_success(&p->net, p->ways[i], p->untouched, UNTOUCHED, p->answers,
                                          p->ways[i]->target));
    return most;
}

/* Prunes against the ways into class `k` that have been found. False: that did nothing, or the time is up. */
static bool mend(struct probe *p, int32_t k) {
    struct repair r = {.net = &p->net,
                       .n_steps = image_header(p->net.img)->n_steps,
                       .pictures = p->untouched,
                       .n = UNTOUCHED,
                       .answers = p->answers,
                       .spread = p->spread,
                       .triggers = p->ways,
                       .n_triggers = p->n_ways,
                       .target = k,
                       .pruned = p->pruned,
                       .n_pruned = p->n_pruned,
                       .progress = repair_progress,
                       .ctx = p};
    if (p->out->ways == 0) {
        p->out->success = most_success(p);
        keep_picture(p, plainest_way(p));
    }
    p->out->ways += p->n_ways;
    if (repair_run(&r)) return false;
    const bool more = r.n_pruned > p->n_pruned;
    p->n_pruned = r.n_pruned;
    p->out->drift = repair_drift(&r);
    p->out->success_after = most_success(p);
    return more;
}

/* By what it stood out at first it must not do so any more by far, and by nothing else at all. */
static bool is_calm(const struct probe *p) {
    for (int f = 0; f < FAMILIES; f++)
        if (p->easiest[f] > (p->stood_out[f] ? CALM : LIMIT)) return false;
    return true;
}

static void suspect_class(struct probe *p, int32_t k) {
    if (k != p->suspect) {
        forget_ways(p);
        for (int f = 0; f < FAMILIES; f++) p->stood_out[f] = false;
    }
    for (int f = 0; f < FAMILIES; f++) p->stood_out[f] |= p->classes[k].z[f] >= LIMIT;
    p->suspect = k;
}

static void judge(struct probe *p, bool *chosen, struct trigger *spare) {
    struct probe_report *r = p->out;
    r->verdict = PROBE_UNKNOWN;
    for (uint32_t round = 0; round <= ROUNDS; round++) {
        p->from = (float)round / (ROUNDS + 1);
        p->to = p->from + 0.6f / (ROUNDS + 1);
        const int32_t k = round_of_attacks(p, chosen, spare, round);
        if (k < 0) break;
        write_classes(p, round > 0);
        p->from = p->to;
        p->to = (float)(round + 1) / (ROUNDS + 1);
        if (round == 0) r->target = k;
        const bool out = worst(&p->classes[k]) >= LIMIT;
        if (!out && round == 0) {
            r->verdict = PROBE_CLEAR;
            return;
        }
        /* One that stood out has to be as hard to reach as the others, from every start. */
        suspect_class(p, out ? k : p->suspect);
        r->verdict = PROBE_SUSPECT;
        if (!find_ways(p, p->suspect, spare)) break;
        if (!out && is_calm(p)) {
            r->verdict = PROBE_REPAIRED;
            return;
        }
        if (round == ROUNDS || p->n_ways == 0) break;
        r->rounds++;
        if (!mend(p, p->suspect)) break;
    }
    r->cut = p->late;
}

static int take_network(struct probe *p, const struct image *img, struct err *e) {
    const struct image_header *h = image_header(img);
    const struct shape *in = &image_tensor_at(img, h->inputs[0])->shape;
    struct probe_net *net = &p->net;
    net->img = img;
    if (h->n_inputs != 1 || in->rank != 4 || in->dim[1] > 4 || in->dim[2] < 4 || in->dim[3] < 4)
        return err_set(e, ERR_UNSUPPORTED,
                       "only networks that take one picture of up to 4 channels can be probed");
    net->size = (struct probe_size){(int32_t)in->dim[1], (int32_t)in->dim[2], (int32_t)in->dim[3]};
    p->floats = probe_floats(&net->size);
    for (int c = 0; c < 4; c++) {
        const struct image_preprocess *pre = &h->preprocess;
        net->scale[c] = pre->scale != 0 ? 255 * pre->scale / pre->std[c] : 1;
        net->shift[c] = pre->scale != 0 ? -pre->mean[c] / pre->std[c] : 0;
    }
    net->memory = p->o->memory;
    net->item_bytes = 2 * h->slab_bytes;
    const uint64_t fit = net->memory / net->item_bytes;
    net->items = fit < 1 ? 1 : fit > 8 ? 8 : (uint32_t)fit;
    if (gradient_new(img, net->items, &net->g, e)) return -1;
    gradient_before_softmax(net->g);
    net->classes = (int32_t)gradient_output_floats(net->g);
    if (net->classes < 4 || net->classes > PROBE_REPORT_MAX_CLASSES)
        return err_set(e, ERR_UNSUPPORTED, "%d classes: what stands out can't be told from fewer than 4",
                       net->classes);
    return 0;
}

static int make_room(struct probe *p, struct trigger **spare, bool **chosen, struct err *e) {
    const size_t classes = (size_t)p->net.classes;
    p->attacked = calloc(ATTACKED * (size_t)p->floats, sizeof(float));
    p->untouched = calloc(UNTOUCHED * (size_t)p->floats, sizeof(float));
    p->answers = calloc(UNTOUCHED * classes, sizeof(float));
    p->classes = calloc(classes, sizeof *p->classes);
    p->out->classes = calloc(classes, sizeof *p->out->classes);
    p->out->pruned = calloc(REPAIR_MOST, sizeof *p->out->pruned);
    *spare = trigger_new(&p->net.size);
    *chosen = calloc(classes, sizeof **chosen);
    bool ok = p->attacked && p->untouched && p->answers && p->classes && p->out->classes && p->out->pruned &&
              *spare && *chosen;
    for (int f = 0; f < FAMILIES; f++) ok &= (p->best[f] = trigger_new(&p->net.size)) != NULL;
    for (int i = 0; i < PROBE_PLACES; i++) ok &= (p->places[i] = trigger_new(&p->net.size)) != NULL;
    return ok ? 0 : err_set(e, ERR_SYSTEM, "out of memory");
}

static void write_pruned(struct probe *p) {
    for (uint32_t i = 0; i < p->n_pruned; i++) {
        struct probe_pruned *to = &p->out->pruned[p->out->n_pruned++];
        const struct image_step *s = image_step_at(p->net.img, p->pruned[i].step);
        (void)snprintf(to->step, sizeof to->step, "%s", image_string(p->net.img, s->name));
        to->channel = (int32_t)p->pruned[i].channel;
    }
}

int probe_run(const struct image *img, const struct probe_options *o, struct probe_report *out,
              struct err *e) {
    struct probe p = {.o = o, .out = out, .net.processor_time = o->processor_time, .suspect = -1};
    struct trigger *spare = NULL;
    bool *chosen = NULL;
    *out = (struct probe_report){.target = -1, .limit = LIMIT, .seed = o->seed, .budget = o->seconds};
    p.start = probe_net_clock(&p.net);
    p.net.deadline = p.start + (uint64_t)o->seconds * 1000000000u;
    int rc = take_network(&p, img, e);
    if (rc == 0) rc = make_room(&p, &spare, &chosen, e);
    if (rc == 0) {
        draw(&p, o->seed + 1000, p.untouched, UNTOUCHED);
        ask(&p);
        p.to = 0.1f;
        choose(&p, chosen, spare);
        judge(&p, chosen, spare);
        write_pruned(&p);
        out->n_classes = p.net.classes;
        for (int32_t k = 0; k < p.net.classes; k++) out->n_covered += p.classes[k].covered;
        out->seconds = (uint32_t)((probe_net_clock(&p.net) - p.start) / 1000000000u);
    }
    forget_ways(&p);
    trigger_free(spare);
    for (int f = 0; f < FAMILIES; f++) trigger_free(p.best[f]);
    for (int i = 0; i < PROBE_PLACES; i++) trigger_free(p.places[i]);
    free(chosen);
    free(p.attacked);
    free(p.untouched);
    free(p.answers);
    free(p.classes);
    gradient_free(p.net.g);
    if (rc) probe_report_free(out);
    return rc;
}
