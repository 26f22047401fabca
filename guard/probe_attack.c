/* The attacks; see probe_attack.h. Adam over a few thousand numbers, whose slopes
 * are summed up over the pictures, some at a time. */
#include "guard/probe_attack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t probe_net_clock(const struct probe_net *n) {
    struct timespec t;
    (void)clock_gettime(n->processor_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool probe_net_late(const struct probe_net *n) {
    return probe_net_clock(n) >= n->deadline;
}

/* --- triggers --------------------------------------------------------------------------------- */

struct trigger *trigger_new(const struct probe_size *s) {
    const size_t plane = (size_t)s->height * (size_t)s->width;
    struct trigger *t = calloc(1, sizeof *t + (plane + (size_t)probe_floats(s)) * sizeof(float));
    if (!t) return NULL;
    t->mask = (float *)(void *)(t + 1);
    t->paint = t->mask + plane;
    return t;
}

void trigger_free(struct trigger *t) {
    free(t);
}

void trigger_copy(struct trigger *to, const struct trigger *from, const struct probe_size *s) {
    const size_t plane = (size_t)s->height * (size_t)s->width;
    to->kind = from->kind;
    to->target = from->target;
    to->size = from->size;
    to->success = from->success;
    to->length = from->length;
    memcpy(to->mask, from->mask, plane * sizeof *to->mask);
    memcpy(to->paint, from->paint, (size_t)probe_floats(s) * sizeof *to->paint);
}

void trigger_apply(const struct trigger *t, const struct probe_size *s, const float *picture, float *to) {
    const int64_t plane = (int64_t)s->height * s->width;
    for (int32_t c = 0; c < s->channels; c++)
        for (int64_t p = 0; p < plane; p++, picture++, to++) {
            const float v = t->paint[c * plane + p], m = t->mask[p];
            if (trigger_is_added(t->kind))
                *to = fminf(fmaxf(*picture + v, 0), 1);
            else
                *to = (1 - m) * *picture + m * v;
        }
}

void probe_net_show(const struct probe_net *n, const float *picture, float *to) {
    const int64_t plane = (int64_t)n->size.height * n->size.width;
    for (int32_t c = 0; c < n->size.channels; c++)
        for (int64_t p = 0; p < plane; p++) *to++ = *picture++ * n->scale[c] + n->shift[c];
}

int32_t probe_top(const float *logits, int32_t classes) {
    int32_t top = 0;
    for (int32_t k = 1; k < classes; k++)
        if (logits[k] > logits[top]) top = k;
    return top;
}

float probe_margin(const float *logits, int32_t classes, int32_t target) {
    float other = -INFINITY;
    for (int32_t k = 0; k < classes; k++)
        if (k != target && logits[k] > other) other = logits[k];
    return logits[target] - other;
}

/* --- losses ------------------------------------------------------------------------------------- */

/* Cross-entropy of `target`, or its logit under the soft maximum of the others; the slope goes to `seed`. */
static double loss_of(const float *logits, int32_t classes, int32_t target, bool entropy, float weight,
                      float *seed) {
    float most = -INFINITY;
    double sum = 0;
    for (int32_t k = 0; k < classes; k++)
        if ((entropy || k != target) && logits[k] > most) most = logits[k];
    for (int32_t k = 0; k < classes; k++)
        if (entropy || k != target) sum += (double)expf(logits[k] - most);
    for (int32_t k = 0; k < classes; k++) {
        const float share = entropy || k != target ? (float)((double)expf(logits[k] - most) / sum) : 0;
        seed[k] = weight * (share - (k == target ? 1.0f : 0));
    }
    return log(sum) + (double)most - (double)logits[target];
}

/* --- one attack ----------------------------------------------------------------------------------- */

struct attack {
    struct probe_net *net;
    const struct attack_options *o;
    struct trigger *t;
    const float *pictures;
    uint32_t n;
    int64_t plane, floats, params;
    float *logit;                  /* parameters: mask logits [plane], then paint [floats] */
    float *slope, *first, *second; /* of the same size */
    float *shown;                  /* one picture with the trigger on it */
    float scratch[];
};

static float sigmoid(float x) {
    return 1 / (1 + expf(-x));
}

static void put_on(struct attack *a) {
    struct trigger *t = a->t;
    if (a->o->kind == TRIGGER_PATCH)
        for (int64_t p = 0; p < a->plane; p++) t->mask[p] = sigmoid(a->logit[p]);
    for (int64_t i = 0; i < a->floats; i++) {
        const float v = a->logit[a->plane + i];
        t->paint[i] = trigger_is_added(a->o->kind) ? v : sigmoid(v);
    }
}

/* From d loss / d what the network sees of one picture to the parameters. */
static void collect(struct attack *a, const float *picture, const float *seen) {
    const struct trigger *t = a->t;
    for (int32_t c = 0; c < a->net->size.channels; c++)
        for (int64_t p = 0; p < a->plane; p++) {
            const int64_t i = c * a->plane + p;
            const float s = seen[i] * a->net->scale[c], u = picture[i], v = t->paint[i];
            if (trigger_is_added(t->kind)) {
                if (u + v > 0 && u + v < 1) a->slope[a->plane + i] += s;
                continue;
            }
            const float m = t->mask[p];
            a->slope[a->plane + i] += s * m * v * (1 - v);
            if (t->kind == TRIGGER_PATCH) a->slope[p] += s * (v - u) * m * (1 - m);
        }
}

/* Which pictures: the one `i` behind the `first`, round and round. */
static const float *picture_of(const struct attack *a, uint32_t first, uint32_t i) {
    return a->pictures + (first + i) % a->n * a->floats;
}

/* What is lost on picture `i` of the engine, which is number `at`; its slopes go to the engine's seed. */
static double lose(struct attack *a, uint32_t i, uint32_t at, uint32_t count, uint32_t *hits) {
    const struct probe_net *net = a->net;
    const float *logits = gradient_output(net->g, i);
    const bool away = a->o->target < 0;
    const int32_t k = away ? a->o->own[at] : a->o->target;
    *hits += (probe_top(logits, net->classes) == k) != away;
    const double loss = loss_of(logits, net->classes, k, a->o->kind == TRIGGER_PATCH,
                                (away ? -1.0f : 1.0f) / (float)count, gradient_seed(net->g, i));
    return away ? -loss : loss;
}

/* The mean loss over `count` pictures from `from` on, and, where `back`, its slopes; *hits: pictures that
 * went where they should. */
static double look(struct attack *a, uint32_t from, uint32_t count, bool back, uint32_t *hits) {
    struct probe_net *net = a->net;
    double sum = 0;
    *hits = 0;
    memset(a->slope, 0, (size_t)a->params * sizeof *a->slope);
    for (uint32_t first = from; first < from + count; first += net->items) {
        const uint32_t left = from + count - first, n = left < net->items ? left : net->items;
        for (uint32_t i = 0; i < n; i++) {
            trigger_apply(a->t, &net->size, picture_of(a, first, i), a->shown);
            probe_net_show(net, a->shown, gradient_input(net->g, i));
        }
        gradient_forward(net->g, n, 0);
        for (uint32_t i = 0; i < n; i++) sum += lose(a, i, (first + i) % a->n, count, hits);
        if (!back) continue;
        gradient_backward(net->g, n);
        for (uint32_t i = 0; i < n; i++) collect(a, picture_of(a, first, i), gradient_slope(net->g, i));
    }
    if (back) net->pictures += count;
    return sum / count;
}

/* Price of a pixel: that of a patch in a picture of 32 x 32, whatever the size. */
static float price(const struct attack *a) {
    return 0.002f * 1024 / (float)a->plane;
}

static double add_price(struct attack *a) {
    double area = 0;
    for (int64_t p = 0; p < a->plane; p++) {
        const float m = a->t->mask[p], avoid = a->o->avoid ? 4 * a->o->avoid[p] : 0;
        area += (double)m;
        a->slope[p] += price(a) * (1 + avoid) * m * (1 - m);
    }
    return area;
}

static void adam(struct attack *a, int32_t step, float rate) {
    const float b1 = 0.9f, b2 = 0.999f, c1 = 1 - powf(b1, (float)step), c2 = 1 - powf(b2, (float)step);
    for (int64_t i = a->o->kind == TRIGGER_PATCH ? 0 : a->plane; i < a->params; i++) {
        a->first[i] = b1 * a->first[i] + (1 - b1) * a->slope[i];
        a->second[i] = b2 * a->second[i] + (1 - b2) * a->slope[i] * a->slope[i];
        a->logit[i] -= rate * (a->first[i] / c1) / (sqrtf(a->second[i] / c2) + 1e-8f);
    }
}

static void shorten(struct attack *a) {
    const double length = a->o->length > 0 ? (double)a->o->length : 1,
                 most = length * sqrt((double)a->floats / 3072.0);
    double square = 0;
    float *v = a->logit + a->plane;
    for (int64_t i = 0; i < a->floats; i++) square += (double)v[i] * (double)v[i];
    const float by = (float)(most / sqrt(square));
    for (int64_t i = 0; by < 1 && i < a->floats; i++) v[i] *= by;
}

/* Top left corner of a window of `side` at the place. */
static void corner(const struct attack *a, int32_t side, int32_t *y, int32_t *x) {
    const int32_t n = a->o->grid, last = n > 1 ? n - 1 : 1;
    *y = a->o->place / n * (a->net->size.height - side) / last;
    *x = a->o->place % n * (a->net->size.width - side) / last;
}

static bool is_inside(const struct attack *a, int64_t p, int32_t side) {
    const struct probe_size *s = &a->net->size;
    int32_t y, x;
    const int32_t row = (int32_t)(p / s->width), col = (int32_t)(p % s->width);
    corner(a, side, &y, &x);
    return row >= y && row < y + side && col >= x && col < x + side;
}

static void begin(struct attack *a) {
    struct probe_random r = {a->o->seed};
    const struct attack_options *o = a->o;
    for (int64_t p = 0; p < a->plane; p++) {
        a->logit[p] = -2;
        if (o->kind == TRIGGER_PATCH && o->place >= 0) a->logit[p] = is_inside(a, p, o->window * 2) ? 0 : -5;
        if (o->kind >= TRIGGER_WINDOW) a->t->mask[p] = is_inside(a, p, o->window) ? 1 : 0;
    }
    for (int64_t i = 0; i < a->floats; i++)
        a->logit[a->plane + i] =
            trigger_is_added(o->kind) ? 0.01f * probe_random_normal(&r) : probe_random_unit(&r);
}

/* From a trigger that is there already: its numbers back into what they are the sigmoid of. */
static float logit_of(float v) {
    const float inside = fminf(fmaxf(v, 0.01f), 0.99f);
    return logf(inside / (1 - inside));
}

static void begin_from(struct attack *a, const struct trigger *t) {
    for (int64_t p = 0; p < a->plane; p++) {
        a->logit[p] = logit_of(t->mask[p]);
        a->t->mask[p] = t->mask[p];
    }
    for (int64_t i = 0; i < a->floats; i++)
        a->logit[a->plane + i] = trigger_is_added(t->kind) ? t->paint[i] : logit_of(t->paint[i]);
}

static bool run(struct attack *a) {
    static const float rates[TRIGGER_KINDS] = {
        [TRIGGER_PATCH] = 0.15f, [TRIGGER_ADDITIVE] = 0.05f, [TRIGGER_WINDOW] = 0.3f, [TRIGGER_AREA] = 0.3f};
    const bool patch = a->o->kind == TRIGGER_PATCH;
    const uint32_t some = a->o->at_once && a->o->at_once < a->n ? a->o->at_once : a->n;
    uint32_t hits = 0;
    int32_t step = 0;
    for (; step < a->o->steps && !probe_net_late(a->net); step++) {
        put_on(a);
        (void)look(a, (uint32_t)step * some % a->n, some, true, &hits);
        if (patch) (void)add_price(a);
        adam(a, step + 1, rates[a->o->kind]);
        if (trigger_is_added(a->o->kind)) shorten(a);
    }
    put_on(a);
    const double loss = look(a, 0, a->n, false, &hits), area = patch ? add_price(a) : 0;
    a->t->size = (float)(patch ? area + loss / (double)price(a) : -loss);
    a->t->success = (float)hits / (float)a->n;
    return step == a->o->steps;
}

bool probe_attack(struct probe_net *net, const float *pictures, uint32_t n, const struct attack_options *o,
                  struct trigger *t) {
    const int64_t plane = (int64_t)net->size.height * net->size.width, floats = probe_floats(&net->size);
    const size_t params = (size_t)(plane + floats);
    struct attack *a = calloc(1, sizeof *a + (4 * params + (size_t)floats) * sizeof(float));
    if (!a) return false;
    *a = (struct attack){.net = net,
                         .o = o,
                         .t = t,
                         .pictures = pictures,
                         .n = n,
                         .plane = plane,
                         .floats = floats,
                         .params = (int64_t)params};
    a->logit = a->scratch;
    a->slope = a->logit + params;
    a->first = a->slope + params;
    a->second = a->first + params;
    a->shown = a->second + params;
    t->kind = o->kind;
    t->target = o->target;
    t->length = o->length;
    memset(t->mask, 0, (size_t)plane * sizeof *t->mask);
    if (o->from)
        begin_from(a, o->from);
    else
        begin(a);
    const bool done = run(a);
    free(a);
    return done;
}
