/* Kernel cases over blocked tensors; see kernel_blocked.h. */
#include "tests/kernel_blocked.h"

#include "infer/algorithm.h"
#include "infer/layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct memory {
    void *mapping;
    size_t bytes;
};

struct blocked { /* a tensor laid out anew */
    struct image_tensor t;
    struct view v;
    struct memory m;
};

/* `floats` of them, 64-byte aligned if they are a multiple of 16, the last one right before a guard page. */
static float *guarded(struct memory *m, size_t floats) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE),
                 bytes = (floats * sizeof(float) + page - 1) / page * page;
    m->bytes = bytes + page;
    m->mapping = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->mapping == MAP_FAILED || mprotect((char *)m->mapping + bytes, page, PROT_NONE)) abort();
    return (float *)(void *)((char *)m->mapping + bytes - floats * sizeof(float));
}

static int64_t place_of(const struct shape *s, int64_t n, int64_t c, int64_t p) {
    const int64_t plane = s->dim[2] * s->dim[3];
    return ((n * layout_blocks(s->dim[1]) + c / LAYOUT_LANES) * plane + p) * LAYOUT_LANES + c % LAYOUT_LANES;
}

static void copy_item(const struct shape *s, float *blocked, float *plain, bool back) {
    const int64_t plane = s->dim[2] * s->dim[3];
    for (int64_t n = 0; n < s->dim[0]; n++)
        for (int64_t c = 0; c < s->dim[1]; c++)
            for (int64_t p = 0; p < plane; p++) {
                float *b = &blocked[place_of(s, n, c, p)], *a = &plain[(n * s->dim[1] + c) * plane + p];
                *(back ? a : b) = *(back ? b : a);
            }
}

static void lay_out(struct blocked *b, const struct view *from, uint32_t items, bool copy) {
    b->t = *from->t;
    b->t.layout = LAYOUT_BLOCKED;
    b->t.bytes = layout_bytes(LAYOUT_BLOCKED, &b->t.shape);
    const size_t floats = b->t.bytes / sizeof(float);
    b->v = (struct view){.t = &b->t, .base = guarded(&b->m, floats * items), .stride = floats};
    for (size_t i = 0; i < floats * items; i++) b->v.base[i] = NAN;
    for (uint32_t i = 0; copy && i < items; i++)
        copy_item(&b->t.shape, view_item(&b->v, i), view_item(from, i), false);
}

static void pack(struct blocked *b, const struct kernel_case *f, uint32_t algorithm) {
    const struct view *from = &f->in[1];
    const size_t bytes = algorithm_weight_bytes(algorithm, OP_CONV, &f->step.params, &from->t->shape);
    b->t = *from->t;
    b->t.bytes = bytes;
    b->v = (struct view){.t = &b->t, .base = guarded(&b->m, bytes / sizeof(float))};
    algorithm_pack_weight(algorithm, OP_CONV, &f->step.params, &from->t->shape, NULL, from->base, b->v.base);
}

float *case_run_blocked(struct kernel_case *f, uint32_t algorithm, bool blocked_input) {
    return case_run_together(f, algorithm, blocked_input, NULL);
}

float *case_run_together(struct kernel_case *f, uint32_t algorithm, bool blocked_input,
                         struct team_seat *seat) {
    const enum op op = (enum op)f->step.op;
    const struct shape *out = &f->out.t->shape;
    if (!algorithm_fits(algorithm, op, &f->step.params, f->shapes, (int)f->n_inputs, out)) return NULL;
    struct blocked in[CASE_TENSORS] = {0}, residual = {0}, result = {0};
    struct view views[CASE_TENSORS];
    for (uint32_t k = 0; k < f->n_inputs; k++) {
        const bool constant = f->in[k].t && f->in[k].t->place == PLACE_CONSTANT;
        if (f->in[k].t && !constant && blocked_input) lay_out(&in[k], &f->in[k], f->n_items, true);
        if (op == OP_CONV && k == 1) pack(&in[k], f, algorithm);
        views[k] = in[k].v.t ? in[k].v : f->in[k];
    }
    if (f->residual.t) lay_out(&residual, &f->residual, f->n_items, true);
    lay_out(&result, &f->out, f->n_items, false);
    const size_t scratch =
        algorithm_scratch_bytes(algorithm, op, &f->step.params, f->shapes, (int)f->n_inputs, out);
    const size_t step = (scratch / sizeof(float) + 15) / 16 * 16; /* the last hand's ends at the guard */
    const size_t floats = step * (team_hands(seat) - 1) + scratch / sizeof(float);
    struct memory m = {0};
    f->step.algorithm = algorithm;
    const struct kernel_call call = {.step = &f->step,
                                     .n_items = f->n_items,
                                     .n_inputs = f->n_inputs,
                                     .in = views,
                                     .residual = residual.v,
                                     .out = result.v,
                                     .scratch = scratch ? guarded(&m, floats) : NULL,
                                     .scratch_step = step,
                                     .seat = seat};
    kernel_find(op, algorithm)(&call);
    const int64_t n = shape_elements(out);
    float *all = malloc((size_t)case_outputs(f) * sizeof *all);
    if (!all) abort();
    for (uint32_t i = 0; i < f->n_items; i++) copy_item(out, view_item(&result.v, i), all + i * n, true);
    const struct memory *maps[] = {&m, &residual.m, &result.m};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        if (maps[i]->mapping) (void)munmap(maps[i]->mapping, maps[i]->bytes);
    for (uint32_t k = 0; k < f->n_inputs; k++)
        if (in[k].m.mapping) (void)munmap(in[k].m.mapping, in[k].m.bytes);
    return all;
}
