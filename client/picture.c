/* Resampling as two passes of one routine over [outer, length, inner]:
 *
 *   columns  outer = rows, length = width,  inner = channels
 *   rows     outer = 1,    length = height, inner = width * channels
 *
 * In fixed point and rounded to bytes between the passes, as Pillow has it:
 * whoever trained a network with Pillow gets here what the network has seen. */
#include "client/picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHT_BITS 22 /* 8 bits of pixel and 2 of headroom leave this of 32 */

void picture_free(struct picture *p) {
    free(p->data);
    *p = (struct picture){0};
}

int picture_alloc(struct picture *p, uint32_t format, uint32_t n, uint32_t h, uint32_t w, uint32_t c,
                  struct err *e) {
    *p = (struct picture){0};
    if (n == 0 || h == 0 || w == 0 || c == 0)
        return err_set(e, ERR_VALUE, "a picture without pixels (%ux%u)", w, h);
    if (h > PICTURE_MAX_SIDE || w > PICTURE_MAX_SIDE)
        return err_set(e, ERR_LIMIT, "%ux%u pixels: no side may have more than %d", w, h, PICTURE_MAX_SIDE);
    uint64_t pixels = (uint64_t)h * w; /* at most 2^30, so that the product below can't overflow */
    if (c > 65535 || pixels * n > PICTURE_MAX_PIXELS)
        return err_set(e, ERR_LIMIT, "%u pictures of %ux%u: more than %u pixels", n, w, h,
                       PICTURE_MAX_PIXELS);
    size_t bytes = (size_t)(pixels * n * c) * (format == CLPD_F32_NCHW ? sizeof(float) : 1);
    void *data = malloc(bytes);
    if (!data) return err_set(e, ERR_SYSTEM, "out of memory for %zu bytes of pixels", bytes);
    *p = (struct picture){.format = format, .n = n, .h = h, .w = w, .c = c, .data = data, .bytes = bytes};
    return 0;
}

/* --- resampling ------------------------------------------------------------------- */

struct taps { /* of one output position */
    uint32_t first, n;
    const int32_t *weights;
};

struct filter {
    struct taps *taps; /* one per output position */
    int32_t *weights;
};

static void free_filter(struct filter *f) {
    free(f->taps);
    free(f->weights);
}

/* The triangle of half-width `reach` around `centre`, cut at the edges and scaled to sum 1. */
static void set_taps(struct taps *t, int32_t *weights, double *room, double centre, double reach,
                     uint32_t from) {
    double first = floor(centre - reach + 0.5), end = floor(centre + reach + 0.5), sum = 0;
    t->first = first > 0 ? (uint32_t)first : 0;
    t->n = (end < from ? (uint32_t)end : from) - t->first;
    t->weights = weights;
    for (uint32_t i = 0; i < t->n; i++) {
        double d = fabs((t->first + i + 0.5 - centre) / reach);
        room[i] = d < 1 ? 1 - d : 0;
        sum += room[i];
    }
    for (uint32_t i = 0; i < t->n; i++) weights[i] = (int32_t)floor(room[i] / sum * (1 << WEIGHT_BITS) + 0.5);
}

static int make_filter(struct filter *f, uint32_t from, uint32_t to, struct err *e) {
    double scale = (double)from / to, reach = scale > 1 ? scale : 1;
    size_t most = (size_t)ceil(reach) * 2 + 1;
    f->taps = calloc(to, sizeof *f->taps);
    f->weights = calloc(to * most, sizeof *f->weights);
    double *room = calloc(most, sizeof *room);
    if (!f->taps || !f->weights || !room) {
        free(room);
        return err_set(e, ERR_SYSTEM, "out of memory for resizing"); /* the caller frees the rest */
    }
    for (uint32_t i = 0; i < to; i++)
        set_taps(&f->taps[i], f->weights + i * most, room, (i + 0.5) * scale, reach, from);
    free(room);
    return 0;
}

/* in: [outer, from, inner], out: [outer, to, inner], sums: [inner] */
static void resample(const uint8_t *restrict in, uint8_t *restrict out, int32_t *restrict sums,
                     const struct filter *f, size_t outer, uint32_t from, uint32_t to, size_t inner) {
    for (size_t o = 0; o < outer; o++, in += from * inner)
        for (uint32_t i = 0; i < to; i++, out += inner) {
            const struct taps *t = &f->taps[i];
            const uint8_t *row = in + t->first * inner;
            for (size_t k = 0; k < inner; k++) sums[k] = 1 << (WEIGHT_BITS - 1);
            for (uint32_t j = 0; j < t->n; j++, row += inner)
                for (size_t k = 0; k < inner; k++) sums[k] += t->weights[j] * row[k];
            for (size_t k = 0; k < inner; k++) {
                int32_t v = sums[k] >> WEIGHT_BITS;
                out[k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
        }
}

int picture_resize(const struct picture *in, uint32_t h, uint32_t w, struct picture *out, struct err *e) {
    struct filter columns = {0}, rows = {0};
    struct picture middle = {0};
    int32_t *sums = NULL;
    int rc = -1;
    *out = (struct picture){0};
    if (in->format != CLPD_U8_NHWC)
        return err_set(e, ERR_VALUE, "float32 input has to have the model's own size, %ux%u", w, h);
    if (picture_alloc(&middle, in->format, in->n, in->h, w, in->c, e)) goto out;
    if (picture_alloc(out, in->format, in->n, h, w, in->c, e)) goto out;
    if (make_filter(&columns, in->w, w, e) || make_filter(&rows, in->h, h, e)) goto out;
    sums = calloc((size_t)w * in->c, sizeof *sums);
    if (!sums) {
        err_set(e, ERR_SYSTEM, "out of memory for resizing");
        goto out;
    }
    resample(in->data, middle.data, sums, &columns, (size_t)in->n * in->h, in->w, w, in->c);
    resample(middle.data, out->data, sums, &rows, in->n, in->h, h, (size_t)w * in->c);
    rc = 0;
out:
    if (rc) picture_free(out);
    picture_free(&middle);
    free_filter(&columns);
    free_filter(&rows);
    free(sums);
    return rc;
}

int picture_to_gray(struct picture *p, struct err *e) {
    if (p->format != CLPD_U8_NHWC || p->c != 3)
        return err_set(e, ERR_VALUE, "only RGB of 8 bits is turned into gray, not %u channels", p->c);
    uint8_t *out = p->data;
    const uint8_t *in = p->data;
    p->bytes /= 3;
    p->c = 1;
    for (size_t i = 0; i < p->bytes; i++, in += 3) /* the weights are of 2^16 */
        out[i] = (uint8_t)((in[0] * 19595u + in[1] * 38470u + in[2] * 7471u + 32768u) >> 16);
    return 0;
}
