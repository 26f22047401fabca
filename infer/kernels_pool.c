/* Pools. Maximum and sum are separable: a block of columns is first reduced
 * over the window's rows, all columns at once, then along the row.
 *
 *   rows of the window  ->  line[]: one value per input column, padding as the
 *                           neutral element  ->  out[]: taps dilation apart
 *
 * A NaN in a maximum's window is passed over; in a mean it shows. */
#include "infer/kernels_all.h"

#include "infer/conv.h"
#include "infer/kernels_blocked.h"
#include "infer/simd.h"

#include <math.h>
#include <string.h>

#define LINE_FLOATS 4096
#define LINE_SLACK  (2 * SIMD_LANES) /* strips may read, not use, what follows */

enum kind { KIND_MAX, KIND_SUM };

struct pool {
    struct conv c; /* a pool slides as a convolution does */
    const struct op_window *w;
    int64_t extent;    /* input columns from the first to the last tap */
    int64_t per_block; /* output columns of one block; 0: the window is too wide for a line */
};

SIMD_INLINE float neutral(enum kind k) {
    return k == KIND_MAX ? -INFINITY : 0;
}
SIMD_INLINE float join(enum kind k, float a, float b) {
    return k == KIND_SUM ? a + b : b > a ? b : a;
}

SIMD_INLINE void join_row(enum kind k, float *line, const float *row, int64_t n) {
    int64_t i = 0;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) {
        float strip[SIMD_LANES];
        SIMD_EACH(j) strip[j] = join(k, line[i + j], row[i + j]);
        memcpy(line + i, strip, sizeof strip);
    }
    for (; i < n; i++) line[i] = join(k, line[i], row[i]);
}

/* Taps of the window at `start` along axis `a`: [first, end) lie on the input. */
static void taps_inside(const struct conv *c, int a, int64_t start, int64_t *first, int64_t *end) {
    const int64_t d = c->dilation[a];
    *first = start < 0 ? (-start + d - 1) / d : 0;
    *end = start >= c->in[a] ? 0 : (c->in[a] - start + d - 1) / d;
    if (*end > c->kernel[a]) *end = c->kernel[a];
    if (*end < *first) *end = *first;
}

/* line: columns [left, left + n) of the plane, reduced over the window's rows at (z, y). */
SIMD_INLINE void reduce_rows(enum kind k, const struct conv *c, const float *plane, int64_t z, int64_t y,
                             int64_t left, int64_t n, float *line) {
    const int64_t lo = left < 0 ? -left : 0, hi = left + n > c->in[2] ? c->in[2] - left : n;
    int64_t z0, z1, y0, y1;
    taps_inside(c, 0, z, &z0, &z1);
    taps_inside(c, 1, y, &y0, &y1);
    for (int64_t i = 0; i < n + LINE_SLACK; i++) line[i] = neutral(k);
    if (hi <= lo) return;
    for (int64_t kz = z0; kz < z1; kz++)
        for (int64_t ky = y0; ky < y1; ky++) {
            const int64_t row = (z + kz * c->dilation[0]) * c->in[1] + y + ky * c->dilation[1];
            join_row(k, line + lo, plane + row * c->in[2] + left + lo, hi - lo);
        }
}

/* Sixteen outputs whose first taps are `stride` apart; 1 and 2 by vectors. */
SIMD_INLINE void load_taps(const float *from, int64_t stride, float *to) {
    if (stride == 1) {
        memcpy(to, from, SIMD_LANES * sizeof *to);
    } else if (stride == 2) {
        simd_evens(from, to);
    } else {
        SIMD_EACH(j) to[j] = from[j * stride];
    }
}

SIMD_INLINE void reduce_columns(enum kind k, const struct conv *c, const float *line, int64_t n, float *out) {
    const int64_t s = c->stride[2];
    int64_t i = 0;
    /* the last strip would reach beyond the line's slack where the stride is larger than 2 */
    const int64_t strips_end = s <= 2 ? n : n - n % SIMD_LANES;
    for (; i < strips_end; i += SIMD_LANES) {
        float sum[SIMD_LANES], taps[SIMD_LANES];
        load_taps(line + i * s, s, sum);
        for (int64_t kx = 1; kx < c->kernel[2]; kx++) {
            load_taps(line + i * s + kx * c->dilation[2], s, taps);
            SIMD_EACH(j) sum[j] = join(k, sum[j], taps[j]);
        }
        memcpy(out + i, sum, (size_t)(n - i < SIMD_LANES ? n - i : SIMD_LANES) * sizeof *out);
    }
    for (; i < n; i++) {
        float sum = line[i * s];
        for (int64_t kx = 1; kx < c->kernel[2]; kx++) sum = join(k, sum, line[i * s + kx * c->dilation[2]]);
        out[i] = sum;
    }
}

SIMD_INLINE void pool_row(enum kind k, const struct pool *p, const float *plane, int64_t z, int64_t y,
                          float *out) {
    const struct conv *c = &p->c;
    float line[LINE_FLOATS + LINE_SLACK];
    for (int64_t first = 0; first < c->out[2]; first += p->per_block) {
        const int64_t left = c->out[2] - first, n = left < p->per_block ? left : p->per_block;
        reduce_rows(k, c, plane, z, y, first * c->stride[2] - c->pad[2], (n - 1) * c->stride[2] + p->extent,
                    line);
        reduce_columns(k, c, line, n, out + first);
    }
}

SIMD_CLONES static void pool_row_max(const struct pool *p, const float *plane, int64_t z, int64_t y,
                                     float *out) {
    pool_row(KIND_MAX, p, plane, z, y, out);
}

SIMD_CLONES static void pool_row_sum(const struct pool *p, const float *plane, int64_t z, int64_t y,
                                     float *out) {
    pool_row(KIND_SUM, p, plane, z, y, out);
}

/* The same tap by tap, for windows wider than a line. */
static void pool_row_wide(enum kind k, const struct conv *c, const float *plane, int64_t z, int64_t y,
                          float *out) {
    int64_t z0, z1, y0, y1, x0, x1;
    taps_inside(c, 0, z, &z0, &z1);
    taps_inside(c, 1, y, &y0, &y1);
    for (int64_t i = 0; i < c->out[2]; i++) {
        const int64_t x = i * c->stride[2] - c->pad[2];
        taps_inside(c, 2, x, &x0, &x1);
        out[i] = neutral(k);
        for (int64_t kz = z0; kz < z1; kz++)
            for (int64_t ky = y0; ky < y1; ky++)
                for (int64_t kx = x0; kx < x1; kx++) {
                    const int64_t row = (z + kz * c->dilation[0]) * c->in[1] + y + ky * c->dilation[1];
                    out[i] = join(k, out[i], plane[row * c->in[2] + x + kx * c->dilation[2]]);
                }
    }
}

/* How many taps of the window at `start` a mean divides by: those on the
 * input, or, counting padding, those up to its end. A last window of ceil_mode
 * may run past the padding; what lies there never counts. */
static int64_t taps_counted(const struct pool *p, int a, int64_t start) {
    int64_t first, end;
    if (!p->w->count_include_pad) {
        taps_inside(&p->c, a, start, &first, &end);
        return end - first;
    }
    const int64_t room = p->c.in[a] + p->w->pad_end[a] - start, d = p->c.dilation[a];
    end = room <= 0 ? 0 : (room + d - 1) / d;
    return end < p->c.kernel[a] ? end : p->c.kernel[a];
}

SIMD_CLONES static void divide(float *out, int64_t n, float by) {
    int64_t i = 0;
    for (; i + SIMD_LANES <= n; i += SIMD_LANES) SIMD_EACH(j) out[i + j] /= by;
    for (; i < n; i++) out[i] /= by;
}

static void divide_row(const struct pool *p, int64_t z, int64_t y, float *out) {
    const struct conv *c = &p->c;
    const int64_t rows = taps_counted(p, 0, z) * taps_counted(p, 1, y), s = c->stride[2];
    int64_t same = 0; /* a run of windows that count alike */
    for (int64_t i = 0; i < c->out[2]; i += same) {
        const int64_t x = i * s - c->pad[2], count = rows * taps_counted(p, 2, x);
        same = 1;
        if (x >= 0 && x + p->extent <= c->in[2]) same = (c->in[2] - p->extent - x) / s + 1;
        if (same > c->out[2] - i) same = c->out[2] - i;
        divide(out + i, same, (float)(count > 0 ? count : 1));
    }
}

static void pool_plane(enum kind k, const struct pool *p, const float *plane, float *out) {
    const struct conv *c = &p->c;
    for (int64_t oz = 0; oz < c->out[0]; oz++)
        for (int64_t oy = 0; oy < c->out[1]; oy++, out += c->out[2]) {
            const int64_t z = oz * c->stride[0] - c->pad[0], y = oy * c->stride[1] - c->pad[1];
            if (p->per_block == 0)
                pool_row_wide(k, c, plane, z, y, out);
            else
                (k == KIND_MAX ? pool_row_max : pool_row_sum)(p, plane, z, y, out);
            if (k == KIND_SUM) divide_row(p, z, y, out);
        }
}

static void run_pool(const struct kernel_call *call, enum kind k) {
    if (kernel_is_blocked(call)) {
        kernel_blocked_pool(call, k == KIND_SUM);
        return;
    }
    struct pool p = {.w = &call->step->params.window};
    conv_describe(p.w, &call->in[0].t->shape, &call->out.t->shape, &p.c);
    p.extent = (p.c.kernel[2] - 1) * p.c.dilation[2] + 1;
    if (p.extent <= LINE_FLOATS) p.per_block = (LINE_FLOATS - p.extent) / p.c.stride[2] + 1;
    for (uint32_t i = 0; i < call->n_items; i++) {
        const float *x = view_item(&call->in[0], i);
        float *out = view_item(&call->out, i);
        for (int64_t plane = 0; plane < p.c.images * p.c.channels; plane++)
            pool_plane(k, &p, x + plane * p.c.in_plane, out + plane * p.c.out_plane);
    }
}

void kernel_max_pool(const struct kernel_call *c) {
    run_pool(c, KIND_MAX);
}
void kernel_average_pool(const struct kernel_call *c) {
    run_pool(c, KIND_SUM);
}

/* In chunks, so that a large plane's sum loses no more than a small one's. */
SIMD_CLONES static double sum_plane(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t done = 0; done < n;) {
        const int64_t chunk = n - done < 1024 ? n - done : 1024;
        float lanes[SIMD_LANES] = {0};
        int64_t i = 0;
        for (; i + SIMD_LANES <= chunk; i += SIMD_LANES) SIMD_EACH(j) lanes[j] += x[done + i + j];
        for (; i < chunk; i++) sum += (double)x[done + i];
        sum += simd_sum(lanes);
        done += chunk;
    }
    return sum;
}

void kernel_global_average_pool(const struct kernel_call *call) {
    if (kernel_is_blocked(call)) {
        kernel_blocked_mean(call);
        return;
    }
    const struct shape *s = &call->in[0].t->shape;
    const int64_t planes = s->dim[0] * s->dim[1];
    int64_t plane = 1;
    for (int32_t d = 2; d < s->rank; d++) plane *= s->dim[d];
    for (uint32_t i = 0; i < call->n_items; i++) {
        const float *x = view_item(&call->in[0], i);
        float *out = view_item(&call->out, i);
        for (int64_t p = 0; p < planes; p++)
            out[p] = (float)(sum_plane(x + p * plane, plane) / (double)plane);
    }
}
