/* Draws dead leaves; see probe_picture.h. */
#include "guard/probe_picture.h"

#include <math.h>

uint64_t probe_random_next(struct probe_random *r) {
    uint64_t x = r->state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

float probe_random_unit(struct probe_random *r) {
    return (float)(probe_random_next(r) >> 40) / (float)(1 << 24);
}

float probe_random_normal(struct probe_random *r) {
    const float u = 1 - probe_random_unit(r), v = probe_random_unit(r);
    return sqrtf(-2 * logf(u)) * cosf(6.28318531f * v);
}

struct leaf {
    float y, x, radius, flat; /* flat: height of a box against its width; 0: a disc */
    float colour[8];
};

static struct leaf pick(struct probe_random *r, const struct probe_size *s) {
    const float size = (float)(s->height < s->width ? s->height : s->width), unit = size / 16;
    struct leaf l = {.radius = 1.2f * fminf(unit / (probe_random_unit(r) * 0.95f + 0.05f), size / 2)};
    l.y = probe_random_unit(r) * (float)s->height;
    l.x = probe_random_unit(r) * (float)s->width;
    const float grey = probe_random_unit(r) * 0.2f;
    for (int c = 0; c < s->channels && c < 8; c++) l.colour[c] = probe_random_unit(r) * 0.8f + grey;
    if (probe_random_next(r) & 1) l.flat = 0.4f + 0.6f * probe_random_unit(r);
    return l;
}

static int at_least(float v, int lo) {
    return v < (float)lo ? lo : (int)v;
}
static int at_most(float v, int hi) {
    return v > (float)hi ? hi : (int)v;
}

static void paint(const struct leaf *l, const struct probe_size *s, float *to) {
    const float high = l->flat > 0 ? l->radius * l->flat : l->radius;
    const int y1 = at_most(l->y + high + 1, s->height), x1 = at_most(l->x + l->radius + 1, s->width);
    for (int y = at_least(l->y - high, 0); y < y1; y++)
        for (int x = at_least(l->x - l->radius, 0); x < x1; x++) {
            const float dy = (float)y - l->y, dx = (float)x - l->x;
            if (l->flat > 0 ? fabsf(dy) >= high || fabsf(dx) >= l->radius
                            : dy * dy + dx * dx >= l->radius * l->radius)
                continue;
            for (int c = 0; c < s->channels; c++) to[(c * s->height + y) * s->width + x] = l->colour[c & 7];
        }
}

void probe_picture_draw(struct probe_random *r, const struct probe_size *s, float *to) {
    enum { LEAVES = 120 };
    for (int c = 0; c < s->channels; c++) {
        const float ground = probe_random_unit(r);
        for (int p = 0; p < s->height * s->width; p++) to[c * s->height * s->width + p] = ground;
    }
    for (int i = 0; i < LEAVES; i++) {
        const struct leaf l = pick(r, s);
        paint(&l, s, to);
    }
}
