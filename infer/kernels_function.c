/* Kernels of what works element by element: functions, pairs, choices; and reductions. */
#include "infer/kernels_all.h"

#include "infer/function.h"
#include "infer/kernels_blocked.h"
#include "infer/pair.h"
#include "infer/reduce.h"

void kernel_function(const struct kernel_call *c) {
    const int64_t n = kernel_floats(&c->out);
    for (uint32_t i = 0; i < c->n_items; i++)
        function_run((enum op)c->step->op, &c->step->params.function, view_item(&c->in[0], i),
                     view_item(&c->out, i), n);
}

void kernel_pair(const struct kernel_call *c) {
    for (uint32_t i = 0; i < c->n_items; i++)
        pair_run((enum op)c->step->op, &c->in[0].t->shape, view_item(&c->in[0], i), &c->in[1].t->shape,
                 view_item(&c->in[1], i), &c->out.t->shape, view_item(&c->out, i));
}

void kernel_where(const struct kernel_call *c) {
    const struct shape *const s[] = {&c->in[0].t->shape, &c->in[1].t->shape, &c->in[2].t->shape};
    for (uint32_t i = 0; i < c->n_items; i++)
        pair_where(s, view_item(&c->in[0], i), view_item(&c->in[1], i), view_item(&c->in[2], i),
                   &c->out.t->shape, view_item(&c->out, i));
}

void kernel_reduce(const struct kernel_call *c) {
    for (uint32_t i = 0; i < c->n_items; i++)
        reduce_run((enum op)c->step->op, c->step->params.reduce.axes, &c->in[0].t->shape,
                   view_item(&c->in[0], i), view_item(&c->out, i));
}
