/* Plain waves that are added everywhere, as a striped trigger is. A search by slopes passes them by: at that
 * length it finds something easier into every class. But there are few of them, and what one does to every
 * class shows in the answers alone, so each is tried (docs/repair.md). */
#include "guard/probe_internal.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265f

enum {
    CYCLES = 8, /* across a picture, at most */
    PHASES = 4,
    ROW = 2 * CYCLES + 1,
    WAVES = PHASES * (CYCLES + CYCLES * ROW), /* one of each pair that are each other's mirror image */
    SHOWN = 6                                 /* pictures */
};

/* Its length is LONGEST in a picture of 3 x 32 x 32. False: a picture of this size has no such wave. */
static bool draw_wave(const struct probe *p, uint32_t number, float *to) {
    const int32_t height = p->net.size.height, width = p->net.size.width, i = (int32_t)number / PHASES;
    const int32_t across = i < CYCLES ? 0 : 1 + (i - CYCLES) / ROW,
                  down = i < CYCLES ? i + 1 : (i - CYCLES) % ROW - CYCLES;
    double square = 0;
    if (2 * across > width || 2 * (down < 0 ? -down : down) > height) return false;
    for (int32_t y = 0; y < height; y++)
        for (int32_t x = 0; x < width; x++) {
            const float turns = (float)(across * x) / (float)width + (float)(down * y) / (float)height;
            const float v = sinf(2 * PI * turns + PI / 2 * (float)(number % PHASES));
            to[y * width + x] = v;
            square += (double)v * (double)v;
        }
    if (square < 0.01 * height * width) return false; /* all of it falls between the pixels */
    const float by = LONGEST * sqrtf((float)(height * width) / 1024 / 3) / sqrtf((float)square);
    for (int32_t j = 0; j < height * width; j++) to[j] *= by;
    for (int32_t c = 1; c < p->net.size.channels; c++)
        memcpy(to + c * height * width, to, (size_t)(height * width) * sizeof *to);
    return true;
}

/* Keeps the ones that win most, the best first. */
static void rank(struct class *c, uint32_t number, float won) {
    if (won <= c->wave[BEST_WAVES - 1].won) return;
    uint32_t at = BEST_WAVES - 1;
    for (; at > 0 && c->wave[at - 1].won < won; at--) c->wave[at] = c->wave[at - 1];
    c->wave[at] = (struct wave){won, number};
}

/* What it wins for every class, on the first pictures of the round. */
static void try_wave(struct probe *p, uint32_t number, struct trigger *t) {
    const int32_t classes = p->net.classes;
    if (!draw_wave(p, number, t->paint)) return;
    for (int32_t k = 0; k < classes; k++) p->won[k] = 0;
    for (uint32_t first = 0; first < SHOWN; first += p->net.items) {
        const uint32_t n = SHOWN - first < p->net.items ? SHOWN - first : p->net.items;
        for (uint32_t i = 0; i < n; i++) {
            trigger_apply(t, &p->net.size, p->drawn + (first + i) * p->floats, p->shown);
            probe_net_show(&p->net, p->shown, gradient_input(p->net.g, i));
        }
        gradient_forward(p->net.g, n, 0);
        for (uint32_t i = 0; i < n; i++) {
            float *row = gradient_seed(p->net.g, i);
            probe_soft_margins(gradient_output(p->net.g, i), classes, row);
            for (int32_t k = 0; k < classes; k++)
                p->won[k] += (row[k] - p->margins[(first + i) * (uint32_t)classes + (uint32_t)k]) / SHOWN;
        }
    }
    for (int32_t k = 0; k < classes; k++) rank(&p->classes[k], number, p->won[k]);
}

bool probe_screen_waves(struct probe *p, struct trigger *spare) {
    spare->kind = TRIGGER_WAVE;
    probe_tell(p, 0, "trying waves");
    for (int32_t k = 0; k < p->net.classes; k++)
        for (int i = 0; i < BEST_WAVES; i++) p->classes[k].wave[i] = (struct wave){-INFINITY, 0};
    for (uint32_t number = 0; number < WAVES && !p->late; number++) {
        try_wave(p, number, spare);
        p->late |= probe_net_late(&p->net);
    }
    return !p->late;
}

bool probe_attack_wave(struct probe *p, int32_t k, uint32_t place, struct trigger *t) {
    struct trigger *const from = p->places[0];
    from->kind = TRIGGER_WAVE;
    if (!draw_wave(p, p->classes[k].wave[place].number, from->paint))
        memset(from->paint, 0, (size_t)p->floats * sizeof *from->paint); /* none at all: it wins nothing */
    p->late |= probe_net_late(&p->net);
    const struct attack_options o = {.kind = TRIGGER_WAVE, .target = k, .from = from};
    return !p->late && probe_attack_once(p, o, ATTACKED, t);
}
