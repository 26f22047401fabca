/* im2col. A tap (ky, kx) of a window reads the plane shifted by a constant, so
 * where neither stride nor padding changes the row length, a whole block is
 * one copy, with the columns that ran over an edge zeroed after. Else
 * a block goes row by row: a copy (stride 1) or a gather between zero edges. */
#include "infer/kernels_unfold.h"

#include "infer/simd.h"

#include <string.h>

struct tap {        /* one row of the matrix: which pixel of the window it is */
    int64_t dy, dx; /* from an output position (times stride) to the pixel; padding included */
};

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) {
    return v < lo ? lo : v > hi ? hi : v;
}
static void zero(float *to, int64_t n) {
    memset(to, 0, (size_t)n * sizeof *to);
}

SIMD_CLONES static void gather(const float *from, int64_t stride, float *to, int64_t n) {
    simd_gather(from, stride, to, n);
}

/* Output columns [from, to) of one row; `row`: the input row, or NULL where it is padding. */
static void unfold_span(const struct conv *c, const float *row, int64_t dx, int64_t from, int64_t to,
                        float *out) {
    const int64_t s = c->stride[2], w = c->in[2];
    if (!row) {
        zero(out, to - from);
        return;
    }
    /* inside: 0 <= col * s + dx < w */
    const int64_t lo = clamp(dx >= 0 ? 0 : (-dx + s - 1) / s, from, to);
    const int64_t hi = clamp(dx >= w ? 0 : (w - dx + s - 1) / s, lo, to);
    zero(out, lo - from);
    if (hi > lo && s == 1)
        memcpy(out + (lo - from), row + lo + dx, (size_t)(hi - lo) * sizeof *out);
    else if (hi > lo)
        gather(row + lo * s + dx, s, out + (lo - from), hi - lo);
    zero(out + (hi - from), to - hi);
}

static void unfold_rows(const struct conv *c, const float *plane, struct tap t, int64_t first, int64_t count,
                        float *out) {
    int64_t y = first / c->out[2], x = first % c->out[2];
    for (int64_t done = 0; done < count; y++, x = 0) {
        const int64_t end = clamp(x + count - done, 0, c->out[2]), iy = y * c->stride[1] + t.dy;
        const float *row = iy >= 0 && iy < c->in[1] ? plane + iy * c->in[2] : NULL;
        unfold_span(c, row, t.dx, x, end, out + done);
        done += end - x;
    }
}

/* Zeroes columns [from, to) of every row of the block. */
static void zero_columns(const struct conv *c, int64_t first, int64_t count, int64_t from, int64_t to,
                         float *out) {
    const int64_t w = c->out[2];
    for (int64_t start = -(first % w); start < count; start += w)
        for (int64_t i = clamp(start + from, 0, count); i < clamp(start + to, 0, count); i++) out[i] = 0;
}

static void unfold_shifted(const struct conv *c, const float *plane, struct tap t, int64_t first,
                           int64_t count, float *out) {
    const int64_t w = c->out[2], shift = first + t.dy * w + t.dx;
    const int64_t lo = clamp(-shift, 0, count), hi = clamp(c->in_plane - shift, lo, count);
    zero(out, lo);
    if (hi > lo) memcpy(out + lo, plane + shift + lo, (size_t)(hi - lo) * sizeof *out);
    zero(out + hi, count - hi);
    if (t.dx < 0) zero_columns(c, first, count, 0, clamp(-t.dx, 0, w), out);
    if (t.dx > 0) zero_columns(c, first, count, clamp(w - t.dx, 0, w), w, out);
}

void unfold(const struct conv *c, const float *x, int64_t first, int64_t count, float *to, int64_t ld) {
    const bool shifted = c->stride[1] == 1 && c->stride[2] == 1 && c->in[2] == c->out[2];
    for (int64_t channel = 0; channel < c->group_channels; channel++, x += c->in_plane)
        for (int64_t ky = 0; ky < c->kernel[1]; ky++)
            for (int64_t kx = 0; kx < c->kernel[2]; kx++, to += ld) {
                const struct tap t = {ky * c->dilation[1] - c->pad[1], kx * c->dilation[2] - c->pad[2]};
                (shifted ? unfold_shifted : unfold_rows)(c, x, t, first, count, to);
            }
}
