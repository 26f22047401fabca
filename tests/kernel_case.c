/* Steps for tests of kernels; see kernel_case.h. */
#include "tests/kernel_case.h"

#include "infer/algorithm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct kernel_case *case_new(enum op op, uint32_t n_items) {
    struct kernel_case *f = calloc(1, sizeof *f);
    if (!f) abort();
    f->step.op = op;
    f->n_items = n_items;
    f->seed = 0x9e3779b97f4a7c15u + op;
    f->residual = f->out = (struct view){.t = NULL};
    return f;
}

void case_free(struct kernel_case *f) {
    for (int i = 0; i < f->n_memory; i++)
        if (f->memory[i].mapping) (void)munmap(f->memory[i].mapping, f->memory[i].bytes);
    free(f);
}

float case_random(struct kernel_case *f) {
    f->seed ^= f->seed << 13;
    f->seed ^= f->seed >> 7;
    f->seed ^= f->seed << 17;
    return (float)(int32_t)(f->seed >> 32) / 2147483648.0f;
}

/* `floats` of them, the last one right before a guard page. */
static float *guarded(struct case_memory *m, size_t floats) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE),
                 bytes = (floats * sizeof(float) + page - 1) / page * page;
    m->bytes = bytes + page;
    m->mapping = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->mapping == MAP_FAILED || mprotect((char *)m->mapping + bytes, page, PROT_NONE)) abort();
    m->at = (float *)(void *)((char *)m->mapping + bytes - floats * sizeof(float));
    return m->at;
}

static struct view tensor(struct kernel_case *f, int slot, const struct shape *s, bool constant) {
    const size_t n = (size_t)shape_elements(s), stride = constant ? 0 : (n + 15) / 16 * 16 + 32;
    const size_t all = stride * (f->n_items - 1) + n;
    struct image_tensor *t = &f->tensors[slot];
    *t = (struct image_tensor){.shape = *s, .place = constant ? PLACE_CONSTANT : PLACE_ARENA, .bytes = n * 4};
    float *at = guarded(&f->memory[f->n_memory++], all);
    for (size_t i = 0; i < all; i++) at[i] = case_random(f);
    return (struct view){.t = t, .base = at, .stride = stride};
}

static void add(struct kernel_case *f, const struct shape *s, bool constant) {
    f->shapes[f->n_inputs] = *s;
    f->in[f->n_inputs] = tensor(f, (int)f->n_inputs, s, constant);
    f->n_inputs++;
}

void case_add(struct kernel_case *f, struct shape s) {
    add(f, &s, false);
}
void case_add_constant(struct kernel_case *f, struct shape s) {
    add(f, &s, true);
}

void case_add_caller(struct kernel_case *f, struct shape s) {
    const uint32_t k = f->n_inputs;
    add(f, &s, false);
    struct view *v = &f->in[k];
    for (uint32_t i = 0; i < f->n_items; i++) /* last item first: in no order that a stride could describe */
        f->pointers[k][i] = v->base + (size_t)(f->n_items - 1 - i) * v->stride;
    *v = (struct view){.t = v->t, .items = f->pointers[k]};
}

void case_add_absent(struct kernel_case *f) {
    f->shapes[f->n_inputs] = ABSENT;
    f->in[f->n_inputs++] = (struct view){.t = NULL};
}

bool case_finish(struct kernel_case *f, bool with_residual) {
    struct shape out;
    struct err e = {0};
    f->step.n_inputs = f->n_inputs;
    if (op_check((enum op)f->step.op, &f->step.params, f->shapes, (int)f->n_inputs, &out, &e)) return false;
    f->out = tensor(f, CASE_TENSORS - 1, &out, false);
    if (with_residual) f->residual = tensor(f, CASE_TENSORS - 2, &out, false);
    return true;
}

int64_t case_outputs(const struct kernel_case *f) {
    return shape_elements(&f->out.t->shape) * f->n_items;
}

float *case_input(const struct kernel_case *f, uint32_t k, uint32_t i) {
    return view_item(&f->in[k], i);
}

float *case_run(struct kernel_case *f, uint32_t algorithm) {
    const enum op op = (enum op)f->step.op;
    const struct shape *out = &f->out.t->shape;
    const int64_t n = shape_elements(out);
    if (!algorithm_fits(algorithm, op, &f->step.params, f->shapes, (int)f->n_inputs, out)) return NULL;
    const size_t scratch =
        algorithm_scratch_bytes(algorithm, op, &f->step.params, f->shapes, (int)f->n_inputs, out);
    struct case_memory m = {0};
    for (uint32_t i = 0; i < f->n_items; i++)
        for (int64_t k = 0; k < n; k++) view_item(&f->out, i)[k] = NAN;
    f->step.algorithm = algorithm;
    const struct kernel_call call = {.step = &f->step,
                                     .n_items = f->n_items,
                                     .n_inputs = f->n_inputs,
                                     .in = f->in,
                                     .residual = f->residual,
                                     .out = f->out,
                                     .scratch = scratch ? guarded(&m, (scratch + 63) / 64 * 16) : NULL};
    kernel_find(op, algorithm)(&call);
    if (m.mapping) (void)munmap(m.mapping, m.bytes);
    float *all = malloc((size_t)case_outputs(f) * sizeof *all);
    if (!all) abort();
    for (uint32_t i = 0; i < f->n_items; i++)
        memcpy(all + i * n, view_item(&f->out, i), (size_t)n * sizeof *all);
    return all;
}

bool case_close(const char *what, const float *a, const float *b, int64_t n, float tolerance) {
    for (int64_t i = 0; i < n; i++) {
        const float size = fabsf(b[i]) > 1 ? fabsf(b[i]) : 1;
        if (isnan(b[i]) ? isnan(a[i]) : isinf(b[i]) ? a[i] == b[i] : fabsf(a[i] - b[i]) <= tolerance * size)
            continue;
        fprintf(stderr, "\n%s: value %lld of %lld is %.9g where %.9g is expected\n", what, (long long)i,
                (long long)n, (double)a[i], (double)b[i]);
        return false;
    }
    return true;
}
