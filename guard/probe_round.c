/* One round of the probe: pictures, the attacks on every class, and who stands out; see probe.h. */
#include "guard/probe_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- pictures and answers ------------------------------------------------------------------- */

void probe_draw(const struct probe *p, uint64_t seed, float *to, uint32_t n) {
    struct probe_random r = {seed * 0x2545f4914f6cdd1du + 1};
    for (uint32_t i = 0; i < n; i++) probe_picture_draw(&r, &p->net.size, to + i * p->floats);
}

/* What the network says to pictures [n][floats], to [n][classes]. */
static void ask(struct probe *p, const float *pictures, uint32_t count, float *answers) {
    const size_t classes = (size_t)p->net.classes;
    for (uint32_t first = 0; first < count; first += p->net.items) {
        const uint32_t n = count - first < p->net.items ? count - first : p->net.items;
        for (uint32_t i = 0; i < n; i++)
            probe_net_show(&p->net, pictures + (first + i) * p->floats, gradient_input(p->net.g, i));
        gradient_forward(p->net.g, n, 0);
        for (uint32_t i = 0; i < n; i++)
            memcpy(answers + (first + i) * classes, gradient_output(p->net.g, i), classes * sizeof(float));
    }
}

static void draw_of_pool(const struct probe *p, uint32_t i, uint32_t to) {
    probe_draw(p, (p->o->seed + 1000) * 1009 + i, p->untouched + (size_t)to * (size_t)p->floats, 1);
}

/* Of a pool, each class's in turn: networks say of most such pictures the same, and what is compared on that
 * class's alone shows nothing of the others. The pool is as large as a little of the time allows. */
static void draw_untouched(struct probe *p) {
    const size_t classes = (size_t)p->net.classes;
    const uint64_t until = p->start + (p->net.deadline - p->start) / 20;
    int32_t top[POOL];
    uint32_t n = 0, pool = 0;
    do {
        for (uint32_t k = 0; k < UNTOUCHED; k++) draw_of_pool(p, pool + k, k);
        ask(p, p->untouched, UNTOUCHED, p->answers);
        for (uint32_t k = 0; k < UNTOUCHED; k++)
            top[pool + k] = probe_top(p->answers + k * classes, p->net.classes);
        pool += UNTOUCHED;
    } while (pool < POOL && probe_net_clock(&p->net) < until);
    while (n < UNTOUCHED)
        for (int32_t c = 0; c < p->net.classes && n < UNTOUCHED; c++) {
            uint32_t i = 0;
            while (i < pool && top[i] != c) i++;
            if (i == pool) continue;
            top[i] = -1;
            draw_of_pool(p, i, n++);
        }
}

void probe_ask_untouched(struct probe *p) {
    const size_t classes = (size_t)p->net.classes;
    draw_untouched(p);
    double sum = 0, squares = 0;
    ask(p, p->untouched, UNTOUCHED, p->answers);
    for (size_t i = 0; i < UNTOUCHED * classes; i++) sum += (double)p->answers[i];
    sum /= (double)(UNTOUCHED * classes);
    for (size_t i = 0; i < UNTOUCHED * classes; i++)
        squares += ((double)p->answers[i] - sum) * ((double)p->answers[i] - sum);
    p->spread = (float)sqrt(squares / (double)(UNTOUCHED * classes)) + 1e-6f;
}

void probe_soft_margins(const float *logits, int32_t classes, float *margins) {
    float most = logits[0];
    double sum = 0;
    for (int32_t k = 0; k < classes; k++) most = fmaxf(most, logits[k]);
    for (int32_t k = 0; k < classes; k++) sum += (double)expf(logits[k] - most);
    for (int32_t k = 0; k < classes; k++) {
        const double others = sum - (double)expf(logits[k] - most);
        margins[k] = logits[k] - most - logf((float)fmax(others, 1e-30));
    }
}

/* The pictures of a round, and how near each is to each class. */
void probe_draw_round(struct probe *p, uint32_t round) {
    const int32_t classes = p->net.classes;
    probe_draw(p, p->o->seed * 100 + round, p->drawn, DRAWN);
    ask(p, p->drawn, DRAWN, p->margins);
    for (float *row = p->margins; row < p->margins + DRAWN * (size_t)classes; row += classes)
        probe_soft_margins(row, classes, row);
    p->aim = AIM_NOTHING;
}

/* Target -1: the first ones, and what the network says to them. */
static void stay(struct probe *p) {
    const int32_t classes = p->net.classes;
    memcpy(p->attacked, p->drawn, ATTACKED * (size_t)p->floats * sizeof(float));
    for (int i = 0; i < ATTACKED; i++) {
        const float *row = p->margins + i * classes;
        p->own[i] = probe_top(row, classes);
        p->base -= row[p->own[i]] / ATTACKED;
    }
}

/* Classes have a start of their own on pictures that are nobody's: what counts is how far a trigger brings
 * them from there. */
static void aim_at(struct probe *p, int32_t k) {
    bool taken[DRAWN] = {false};
    if (p->aim == k) return;
    p->aim = k;
    p->base = 0;
    if (k < 0) {
        stay(p);
        return;
    }
    for (int n = 0; n < ATTACKED; n++) {
        int least = -1;
        for (int i = 0; i < DRAWN; i++)
            if (!taken[i] &&
                (least < 0 || p->margins[i * p->net.classes + k] < p->margins[least * p->net.classes + k]))
                least = i;
        taken[least] = true;
        p->base += p->margins[least * p->net.classes + k] / ATTACKED;
        memcpy(p->attacked + n * p->floats, p->drawn + least * p->floats, (size_t)p->floats * sizeof(float));
    }
}

/* --- attacks ----------------------------------------------------------------------------------- */

/* Of a picture of 32: 5, or 12 for an area. */
static int32_t side_of(const struct probe *p, enum trigger_kind kind) {
    const int32_t size = p->net.size.height < p->net.size.width ? p->net.size.height : p->net.size.width;
    const int32_t side = (size * (kind == TRIGGER_AREA ? 12 : 5) + 16) / 32;
    return side < 3 ? (size < 3 ? size : 3) : side;
}

bool probe_attack_once(struct probe *p, struct attack_options o, uint32_t pictures, struct trigger *t) {
    o.window = side_of(p, o.kind);
    if (!o.at_once) o.at_once = AT_ONCE;
    o.own = p->own;
    o.seed = p->o->seed * 1000003u + (uint64_t)o.target * 31 + (uint64_t)(o.place + 1) * 7 +
             (uint64_t)p->start_seed * 7919 + (uint64_t)o.kind;
    aim_at(p, o.target);
    const bool done = probe_attack(&p->net, p->attacked, pictures, &o, t);
    if (o.kind != TRIGGER_PATCH) t->size -= p->base;
    p->late |= !done;
    return done;
}

/* The place of the largest margin that is not yet -INFINITY; it is so afterwards. */
static int32_t take_best(float margin[PLACES]) {
    int32_t best = 0;
    for (int32_t i = 1; i < PLACES; i++)
        if (margin[i] > margin[best]) best = i;
    margin[best] = -INFINITY;
    return best;
}

/* In each place for a while, then in the two best, then in the better one: few places lead anywhere. Where
 * none does for a window, that is all: most classes have no place for one. */
bool probe_attack_places(struct probe *p, enum trigger_kind f, int32_t k, struct trigger *t) {
    const bool area = f == TRIGGER_AREA;
    struct attack_options o = {.kind = area ? TRIGGER_AREA : TRIGGER_WINDOW,
                               .target = k,
                               .grid = 3,
                               .at_once = AT_FIRST,
                               .steps = area ? AREA_STEPS : WINDOW_STEPS};
    float margin[PLACES], success = 0;
    for (o.place = 0; o.place < PLACES; o.place++) {
        margin[o.place] = -INFINITY;
        if (!area && o.place % 2) continue;
        if (!probe_attack_once(p, o, ATTACKED, p->places[o.place])) return false;
        margin[o.place] = p->places[o.place]->size;
        success = fmaxf(success, p->places[o.place]->success);
    }
    const int32_t best[2] = {take_best(margin), take_best(margin)};
    if (!area && success < LEADS) {
        trigger_copy(p->best[f], p->places[best[0]], &p->net.size);
        return true;
    }
    o.steps = WINDOW_MORE;
    o.at_once = 0;
    for (int i = 0; i < 2; i++) {
        o.place = best[i];
        o.from = p->places[best[i]];
        if (!probe_attack_once(p, o, ATTACKED, t)) return false;
        trigger_copy(p->places[best[i]], t, &p->net.size);
    }
    const bool second = p->places[best[1]]->size > p->places[best[0]]->size;
    o.steps = WINDOW_LAST;
    o.place = best[second];
    o.from = p->places[best[second]];
    return probe_attack_once(p, o, ATTACKED, p->best[f]);
}

/* All kinds on one class. False: the time is up. */
static bool attack_class(struct probe *p, int32_t k, struct trigger *spare) {
    struct class *c = &p->classes[k];
    struct attack_options o = {
        .kind = TRIGGER_PATCH, .target = k, .steps = PATCH_STEPS, .grid = 3, .place = -1};
    if (!probe_attack_once(p, o, ATTACKED, p->best[TRIGGER_PATCH])) return false;
    o = (struct attack_options){.kind = TRIGGER_ADDITIVE, .target = k, .steps = ADDITIVE_STEPS};
    if (!probe_attack_once(p, o, ATTACKED, p->best[TRIGGER_ADDITIVE])) return false;
    if (!probe_attack_wave(p, k, 0, p->best[TRIGGER_WAVE])) return false;
    if (!probe_attack_places(p, TRIGGER_WINDOW, k, spare) || !probe_attack_places(p, TRIGGER_AREA, k, spare))
        return false;
    for (int f = 0; f < TRIGGER_KINDS; f++) {
        c->score[f] = p->best[f]->size;
        c->success[f] = p->best[f]->success;
    }
    return c->close = true;
}

/* --- who stands out ---------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

float probe_median(float *v, size_t n) {
    if (n == 0) return 0;
    qsort(v, n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Larger is easier. */
static float ease(const struct probe *p, enum trigger_kind f, float size) {
    return f == TRIGGER_PATCH ? -logf(fmaxf(size, 0) + 1) : size / p->spread;
}

/* How easy the other classes are; how many were looked at. */
static size_t look_at_others(const struct probe *p, int32_t k, enum trigger_kind f, float *middle,
                             float *deviation) {
    /* Of a spread: less is chance. How wide the others lie says little of what can be added, more of areas:
     * see docs/repair.md. */
    static const float least[TRIGGER_KINDS] = {[TRIGGER_PATCH] = 0.15f,
                                               [TRIGGER_ADDITIVE] = 0.7f,
                                               [TRIGGER_WAVE] = 1.1f,
                                               [TRIGGER_WINDOW] = 1.2f,
                                               [TRIGGER_AREA] = 0.85f};
    static const float counts[TRIGGER_KINDS] = {[TRIGGER_PATCH] = 1,
                                                [TRIGGER_ADDITIVE] = 0.2f,
                                                [TRIGGER_WAVE] = 0.2f,
                                                [TRIGGER_WINDOW] = 0.4f,
                                                [TRIGGER_AREA] = 1.7f};
    float *others = malloc((size_t)p->net.classes * sizeof *others);
    size_t n = 0;
    if (!others) abort();
    for (int32_t i = 0; i < p->net.classes; i++)
        if (i != k && p->classes[i].close && p->classes[i].reference)
            others[n++] = ease(p, f, p->classes[i].score[f]);
    *middle = probe_median(others, n);
    for (size_t i = 0; i < n; i++) others[i] = fabsf(others[i] - *middle);
    *deviation = counts[f] * 1.4826f * probe_median(others, n) + least[f];
    free(others);
    return n;
}

float probe_stand_out(const struct probe *p, int32_t k, enum trigger_kind f, float size, float success) {
    float middle, deviation;
    const size_t n = look_at_others(p, k, f, &middle, &deviation);
    const float z = n < 3 ? 0 : (ease(p, f, size) - middle) / deviation;
    return success >= WORKS ? z : fminf(z, 0);
}

float probe_nature(const struct probe *p, int32_t k, enum trigger_kind f) {
    float middle, deviation;
    (void)look_at_others(p, k, f, &middle, &deviation);
    return middle;
}

float probe_worst(const struct class *c) {
    float most = c->z[0];
    for (int f = 1; f < TRIGGER_KINDS; f++) most = fmaxf(most, c->z[f]);
    return most;
}

/* What is as plain as that is no class's nature. */
static float plain(const struct probe *p) {
    return fmaxf(LIMIT, fminf(PLAIN * p->plainest, NATURE));
}

float probe_by_nature(const struct probe *p, const struct class *c, enum trigger_kind f) {
    return probe_plainness(f, c->first[f]) < plain(p) || c->first[f] < LIMIT
               ? fmaxf(LIMIT + STARTED, c->first[f])
               : LIMIT;
}

/* In a first round nothing is known of what it is by nature. */
bool probe_is_out(const struct probe *p, const struct class *c) {
    for (int f = 0; f < TRIGGER_KINDS; f++)
        if (c->z[f] >= (p->round > 0 ? probe_by_nature(p, c, (enum trigger_kind)f) : LIMIT)) return true;
    return false;
}

static float plainest(const struct class *c) {
    float most = 0;
    for (int f = 0; f < TRIGGER_KINDS; f++)
        most = fmaxf(most, probe_plainness((enum trigger_kind)f, c->z[f]));
    return most;
}

void probe_accuse(struct probe *p) {
    p->plainest = 0;
    for (int32_t k = 0; k < p->net.classes; k++)
        if (p->classes[k].close) p->plainest = fmaxf(p->plainest, plainest(&p->classes[k]));
    for (int32_t k = 0; k < p->net.classes; k++) {
        struct class *c = &p->classes[k];
        if (!c->close) continue;
        memcpy(c->first, c->z, sizeof c->first);
        c->suspected = probe_worst(c) >= LIMIT && plainest(c) >= plain(p);
        c->watched = !c->suspected && probe_worst(c) >= LIMIT;
    }
}

int32_t probe_find_out(const struct probe *p) {
    int32_t most = -1;
    for (int32_t k = 0; k < p->net.classes; k++) {
        const struct class *c = &p->classes[k];
        if (!c->close || !c->suspected || !probe_is_out(p, c)) continue;
        if (most < 0 || probe_worst(c) > probe_worst(&p->classes[most])) most = k;
    }
    return most;
}

/* The class that stands out most, or -1 where none was looked at. */
static int32_t compare(struct probe *p) {
    int32_t most = -1;
    for (int32_t k = 0; k < p->net.classes; k++) {
        struct class *c = &p->classes[k];
        if (!c->close || (p->round > 0 && !c->suspected && !c->watched)) continue;
        for (int f = 0; f < TRIGGER_KINDS; f++)
            c->z[f] = probe_stand_out(p, k, (enum trigger_kind)f, c->score[f], c->success[f]);
        if (most < 0 || probe_worst(c) > probe_worst(&p->classes[most])) most = k;
    }
    if (p->round == 0 && most >= 0) probe_accuse(p);
    return most;
}

/* --- screening ------------------------------------------------------------------------------------ */

/* Many classes: a few steps on each, in an order of chance, within a third of the time. */
static void screen(struct probe *p, struct trigger *spare) {
    probe_draw_round(p, 0);
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
        probe_tell(p, (float)done / (float)n / 3, what);
        if (!probe_attack_once(p, o, QUICK_PICTURES, spare)) break;
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

void probe_choose(struct probe *p, bool *chosen, struct trigger *spare) {
    const bool all = p->net.classes <= MANY;
    for (int32_t k = 0; k < p->net.classes; k++)
        p->classes[k].covered = p->classes[k].reference = chosen[k] = all;
    if (all) return;
    screen(p, spare);
    for (int32_t k = 0; k < p->net.classes; k++) chosen[k] = p->classes[k].reference;
    for (int32_t i = 0, k; i < MANY - REFERENCES && (k = next_easiest(p, chosen)) >= 0; i++) chosen[k] = true;
}

/* All chosen classes from all sides; the one that stands out most, or -1 where the time was up. */
int32_t probe_attack_all(struct probe *p, const bool *chosen, struct trigger *spare) {
    int32_t n = 0, done = 0;
    probe_draw_round(p, p->round);
    if (!probe_screen_waves(p, spare)) return -1;
    for (int32_t k = 0; k < p->net.classes; k++) n += chosen[k];
    for (int32_t k = 0; k < p->net.classes; k++) {
        char what[64];
        const struct class *c = &p->classes[k];
        if (!chosen[k] || (p->round > 0 && !c->suspected && !c->watched)) continue;
        (void)snprintf(what, sizeof what, "round %u: attacking class %d (%d of %d)", p->round + 1, k,
                       done + 1, n);
        probe_tell(p, (float)done++ / (float)n, what);
        p->classes[k].close = false;
        if (!attack_class(p, k, spare)) return -1;
    }
    return compare(p);
}
