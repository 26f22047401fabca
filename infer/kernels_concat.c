/* Concatenation: per outer index one copy of each input's part. An input that
 * was computed in its place already (see image.h) is left there; another may be
 * copied from there. */
#include "infer/kernels_all.h"

#include "infer/kernels_blocked.h"

#include <string.h>

static void copy_parts(const float *from, float *to, int64_t outer, int64_t part, int64_t whole) {
    for (int64_t o = 0; o < outer; o++) {
        const float *x = from + o * part;
        float *place = to + o * whole;
        if (x != place) memcpy(place, x, (size_t)part * sizeof *place);
    }
}

void kernel_concat(const struct kernel_call *c) {
    const struct shape *s = &c->out.t->shape;
    const int32_t axis = c->step->params.axis.axis;
    const int64_t outer = shape_product(s, 0, axis);
    const int64_t whole = kernel_floats(&c->out) / outer; /* with spare lanes, where blocked */
    int64_t at = 0;
    for (uint32_t k = 0; k < c->n_inputs; k++) {
        const int64_t part = kernel_floats(&c->in[k]) / outer;
        for (uint32_t i = 0; i < c->n_items; i++)
            copy_parts(view_item(&c->in[k], i), view_item(&c->out, i) + at, outer, part, whole);
        at += part;
    }
}
