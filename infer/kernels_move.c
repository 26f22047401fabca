/* Kernels of what moves and repeats elements: Transpose, Slice, Expand, Pad, Gather.
 *
 * The first three are one thing, out[index] = in[offset + sum of index * stride].
 * Axes that go on where the next inner one ends are merged; then rows are
 * copied, or, where another axis is the one that lies together in the input,
 * tiles are turned over, so that both sides are read and written by cache lines. */
#include "infer/kernels_all.h"

#include <string.h>

struct axis {
    int64_t n, from, to; /* elements, strides */
};

struct moves { /* axes[0] is the innermost of the output */
    struct axis axes[SHAPE_MAX_RANK];
    int32_t rank;
};

static void describe_moves(const struct shape *out, const int64_t *stride, struct moves *m) {
    int64_t to = 1;
    m->rank = 0;
    for (int32_t i = out->rank - 1; i >= 0; to *= out->dim[i--]) {
        struct axis *last = m->rank ? &m->axes[m->rank - 1] : NULL;
        if (out->dim[i] == 1) continue;
        if (last && stride[i] == last->from * last->n)
            last->n *= out->dim[i];
        else
            m->axes[m->rank++] = (struct axis){out->dim[i], stride[i], to};
    }
    if (m->rank == 0) m->axes[m->rank++] = (struct axis){1, 1, 1};
}

/* Brings the axis along which the input is contiguous next to the innermost. */
static void prefer_contiguous(struct moves *m) {
    if (m->axes[0].from == 1) return;
    for (int32_t i = 2; i < m->rank; i++)
        if (m->axes[i].from == 1) {
            const struct axis x = m->axes[i];
            m->axes[i] = m->axes[1];
            m->axes[1] = x;
            return;
        }
}

static void copy_row(const struct axis *x, const float *from, float *to) {
    if (x->from == 1) {
        memcpy(to, from, (size_t)x->n * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < x->n; i++) to[i] = from[i * x->from];
}

/* x is the output's innermost axis, y the input's. */
static void turn_tiles(const struct axis *x, const struct axis *y, const float *from, float *to) {
    enum { TILE = 16 };
    for (int64_t j = 0; j < y->n; j += TILE)
        for (int64_t i = 0; i < x->n; i += TILE) {
            const int64_t je = j + TILE < y->n ? j + TILE : y->n, ie = i + TILE < x->n ? i + TILE : x->n;
            for (int64_t b = j; b < je; b++)
                for (int64_t a = i; a < ie; a++) to[b * y->to + a] = from[b + a * x->from];
        }
}

static void move_item(const struct moves *m, const float *from, float *to) {
    const bool turn = m->rank > 1 && m->axes[0].from != 1 && m->axes[1].from == 1;
    const int32_t first = turn ? 2 : 1;
    int64_t index[SHAPE_MAX_RANK] = {0};
    for (int32_t d = first - 1; d < m->rank;) {
        if (turn)
            turn_tiles(&m->axes[0], &m->axes[1], from, to);
        else
            copy_row(&m->axes[0], from, to);
        for (d = first; d < m->rank; d++) { /* odometer */
            const struct axis *x = &m->axes[d];
            from += x->from;
            to += x->to;
            if (++index[d] < x->n) break;
            from -= x->from * x->n;
            to -= x->to * x->n;
            index[d] = 0;
        }
    }
}

static void move_items(const struct kernel_call *c, int64_t offset, const int64_t *stride) {
    struct moves m;
    describe_moves(&c->out.t->shape, stride, &m);
    prefer_contiguous(&m);
    for (uint32_t i = 0; i < c->n_items; i++)
        move_item(&m, view_item(&c->in[0], i) + offset, view_item(&c->out, i));
}

static void row_major(const struct shape *s, int64_t *stride) {
    int64_t step = 1;
    for (int32_t d = s->rank - 1; d >= 0; d--) {
        stride[d] = step;
        step *= s->dim[d];
    }
}

void kernel_transpose(const struct kernel_call *c) {
    int64_t stride[SHAPE_MAX_RANK], moved[SHAPE_MAX_RANK];
    const struct shape *s = &c->in[0].t->shape;
    row_major(s, stride);
    for (int32_t i = 0; i < s->rank; i++) moved[i] = stride[c->step->params.transpose.perm[i]];
    move_items(c, 0, moved);
}

void kernel_slice(const struct kernel_call *c) {
    int64_t stride[SHAPE_MAX_RANK], offset = 0;
    const struct shape *s = &c->in[0].t->shape;
    const struct op_slice *p = &c->step->params.slice;
    row_major(s, stride);
    for (int32_t i = 0; i < s->rank; i++) {
        offset += stride[i] * p->start[i];
        stride[i] *= p->step[i];
    }
    move_items(c, offset, stride);
}

void kernel_expand(const struct kernel_call *c) {
    const struct shape *in = &c->in[0].t->shape, *out = &c->out.t->shape;
    int64_t stride[SHAPE_MAX_RANK], spread[SHAPE_MAX_RANK] = {0};
    row_major(in, stride);
    for (int32_t i = 0; i < in->rank; i++)
        if (in->dim[i] != 1) spread[i + out->rank - in->rank] = stride[i];
    move_items(c, 0, spread);
}

/* --- Pad ------------------------------------------------------------------------------------ */

struct padded { /* from axis `d` inwards */
    const struct op_pad *p;
    const struct shape *in;
    int64_t in_step[SHAPE_MAX_RANK], out_step[SHAPE_MAX_RANK];
};

static void fill(float *to, int64_t n, float value) {
    for (int64_t i = 0; i < n; i++) to[i] = value;
}

/* Where output position `i` comes from; -1: from nowhere. */
static int64_t source_of(const struct op_pad *p, int64_t i, int64_t n) {
    if (i >= 0 && i < n) return i;
    switch (p->mode) {
    case PAD_EDGE: return i < 0 ? 0 : n - 1;
    case PAD_REFLECT: return i < 0 ? -i : 2 * (n - 1) - i;
    case PAD_WRAP: return i < 0 ? i + n : i - n;
    default: return -1;
    }
}

static void pad_axis(const struct padded *x, int32_t d, const float *from, float *to) {
    const int64_t n = x->in->dim[d], begin = x->p->begin[d], all = begin + n + x->p->end[d];
    const bool innermost = d == x->in->rank - 1;
    for (int64_t o = 0; o < all; o++) {
        const int64_t i = source_of(x->p, o - begin, n);
        if (innermost && i == 0 && o == begin) {
            memcpy(to + o, from, (size_t)n * sizeof *to);
            o += n - 1;
        } else if (innermost) {
            to[o] = i < 0 ? x->p->value : from[i];
        } else if (i < 0) {
            fill(to + o * x->out_step[d], x->out_step[d], x->p->value);
        } else {
            pad_axis(x, d + 1, from + i * x->in_step[d], to + o * x->out_step[d]);
        }
    }
}

void kernel_pad(const struct kernel_call *c) {
    struct padded x = {.p = &c->step->params.pad, .in = &c->in[0].t->shape};
    row_major(x.in, x.in_step);
    row_major(&c->out.t->shape, x.out_step);
    for (uint32_t i = 0; i < c->n_items; i++) {
        if (x.in->rank == 0)
            *view_item(&c->out, i) = *view_item(&c->in[0], i);
        else
            pad_axis(&x, 0, view_item(&c->in[0], i), view_item(&c->out, i));
    }
}

/* --- Gather ----------------------------------------------------------------------------------- */

/* Indices are checked at import; in a hostile image they may be anything, but lead nowhere else. */
static int64_t index_of(float f, int64_t n) {
    if (!(f > 0)) return 0; /* NaN, too */
    return f < (float)n ? (int64_t)f : n - 1;
}

void kernel_gather(const struct kernel_call *c) {
    const struct shape *s = &c->in[0].t->shape;
    const int32_t axis = c->step->params.axis.axis;
    const int64_t outer = shape_product(s, 0, axis), n = s->dim[axis],
                  inner = shape_product(s, axis + 1, s->rank), count = shape_elements(&c->in[1].t->shape);
    for (uint32_t i = 0; i < c->n_items; i++) {
        const float *from = view_item(&c->in[0], i), *indices = view_item(&c->in[1], i);
        float *to = view_item(&c->out, i);
        for (int64_t o = 0; o < outer; o++, from += n * inner)
            for (int64_t k = 0; k < count; k++, to += inner)
                memcpy(to, from + index_of(indices[k], n) * inner, (size_t)inner * sizeof *to);
    }
}
