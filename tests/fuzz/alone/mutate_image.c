/* A mutator for images: changes whole fields, to what others hold or to numbers at an
 * edge, and mostly makes the shapes and sums that follow from them agree again; else the
 * check would refuse nearly everything at the first contradiction.
 * libFuzzer calls it on one thread. */
#include "infer/algorithm.h"
#include "infer/image_internal.h"
#include "infer/layout.h"
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

static uint64_t state;

static uint32_t below(uint32_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return n ? (uint32_t)(state >> 33) % n : 0;
}

/* The input with its sections where a good image has them, or nothing to go by. */
struct parts {
    struct image_header *h;
    struct image_tensor *tensors;
    uint32_t *operands;
    struct image_step *steps;
    uint32_t n_tensors, n_operands, n_steps;
};

static void *find(uint8_t *bytes, size_t size, int section, size_t record, uint32_t *n) {
    const struct image_section s = ((struct image_header *)(void *)bytes)->sections[section];
    if (s.offset % IMAGE_ALIGN || s.offset > size || s.bytes > size - s.offset) return NULL;
    *n = (uint32_t)(s.bytes / record);
    return bytes + s.offset;
}

static bool open_parts(uint8_t *bytes, size_t size, struct parts *p) {
    if (size < sizeof *p->h) return false;
    p->h = (struct image_header *)(void *)bytes;
    p->tensors = find(bytes, size, SECTION_TENSORS, sizeof *p->tensors, &p->n_tensors);
    p->operands = find(bytes, size, SECTION_OPERANDS, sizeof *p->operands, &p->n_operands);
    p->steps = find(bytes, size, SECTION_STEPS, sizeof *p->steps, &p->n_steps);
    if (!p->tensors || !p->operands || !p->steps) return false;
    return p->n_tensors && p->n_operands && p->n_steps && (uint8_t *)p->tensors >= bytes + sizeof *p->h &&
           (uint8_t *)p->operands >= (uint8_t *)(p->tensors + p->n_tensors) &&
           (uint8_t *)p->steps >= (uint8_t *)(p->operands + p->n_operands); /* nothing overlaps */
}

/* --- changes ------------------------------------------------------------------------------ */

static void change_word(uint32_t *words, uint32_t n) {
    static const uint32_t edges[] = {0, 1, 2, 3, 4, 7, 8, 64, 255, 4096, 32768, INT32_MAX, UINT32_MAX};
    uint32_t *w = &words[below(n)];
    switch (below(5)) {
    case 0: *w = edges[below(sizeof edges / sizeof *edges)]; break;
    case 1: *w += below(9) - 4u; break;
    case 2: *w = words[below(n)]; break;
    case 3: *w ^= 1u << below(32); break;
    default: *w = below(16); break;
    }
}

static void change_bytes(uint8_t *bytes, size_t n) {
    (void)LLVMFuzzerMutate(bytes, n, n);
}

static void change_step(struct parts *p) {
    struct image_step *s = &p->steps[below(p->n_steps)];
    switch (below(6)) {
    case 0: *s = p->steps[below(p->n_steps)]; break;
    case 4: s->op = below(OP_COUNT); break;
    case 5: s->params = p->steps[below(p->n_steps)].params; break;
    case 1: change_word((uint32_t *)(void *)&s->params, sizeof s->params / 4); break;
    case 2: change_bytes(s->params.raw, sizeof s->params); break;
    default: change_word((uint32_t *)(void *)s, 13); break;
    }
}

static void change_tensor(struct parts *p) {
    struct image_tensor *t = &p->tensors[below(p->n_tensors)];
    switch (below(5)) {
    case 0: *t = p->tensors[below(p->n_tensors)]; break;
    case 1: t->shape.dim[below(SHAPE_MAX_RANK)] = 1 + below(9); break;
    case 2: t->offset += ((uint64_t)below(33) - 16) * (below(2) ? 4 : 64); break;
    case 3: t->offset = p->tensors[below(p->n_tensors)].offset; break;
    default: change_word((uint32_t *)(void *)t, sizeof *t / 4); break;
    }
}

/* --- and what follows from them --------------------------------------------------------------- */

static void agree_bytes(struct image_tensor *t) {
    if (t->layout < LAYOUT_COUNT && shape_valid(&t->shape) && layout_takes_shape(t->layout, &t->shape))
        t->bytes = layout_bytes(t->layout, &t->shape);
}

static void agree_weight(struct parts *p, const struct image_step *s, const struct shape *weight) {
    struct image_tensor *t = &p->tensors[p->operands[s->first_operand + 1]];
    if (t->place == PLACE_CONSTANT && below(4))
        t->bytes = algorithm_weight_bytes(s->algorithm, OP_CONV, &s->params, weight);
}

static void agree_step(struct parts *p, struct image_step *s, uint32_t *operands) {
    struct shape in[OP_MAX_INPUTS], out;
    s->first_operand = *operands;
    if (s->n_inputs > OP_MAX_INPUTS || s->n_inputs > p->n_operands - *operands) return;
    *operands += s->n_inputs;
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        const uint32_t t = p->operands[s->first_operand + i];
        if (t != IMAGE_NO_TENSOR && t >= p->n_tensors) return;
        in[i] = t == IMAGE_NO_TENSOR ? (struct shape){.rank = -1} : p->tensors[t].shape;
    }
    if (s->op >= OP_COUNT || s->output >= p->n_tensors) return;
    const size_t params = op_params_bytes((enum op)s->op);
    memset(s->params.raw + params, 0, sizeof s->params - params);
    if (op_check((enum op)s->op, &s->params, in, (int)s->n_inputs, &out, NULL)) return;
    p->tensors[s->output].shape = out;
    agree_bytes(&p->tensors[s->output]);
    s->multiply_adds = algorithm_multiply_adds((enum op)s->op, &s->params, in, (int)s->n_inputs, &out);
    p->h->multiply_adds += s->multiply_adds;
    const enum image_isa isa = below(2) ? ISA_GENERIC : image_host_isa();
    if (below(4) == 0)
        s->algorithm = algorithm_choose(isa, (enum op)s->op, &s->params, in, (int)s->n_inputs, &out);
    if (s->op == OP_CONV && algorithm_fits(s->algorithm, OP_CONV, &s->params, in, (int)s->n_inputs, &out))
        agree_weight(p, s, &in[1]);
}

static void make_agree(struct parts *p) {
    uint32_t operands = 0;
    for (uint32_t i = 0; i < p->n_tensors; i++) {
        if (p->tensors[i].place != PLACE_CONSTANT) agree_bytes(&p->tensors[i]);
    }
    p->h->multiply_adds = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) agree_step(p, &p->steps[i], &operands);
    for (uint32_t i = 0; i < p->n_tensors; i++) {
        const struct image_tensor *t = &p->tensors[i];
        const uint64_t end = t->offset + t->bytes;
        if (t->place != PLACE_CONSTANT && end > p->h->slab_bytes && end < 1 << 20)
            p->h->slab_bytes = image_align(end);
    }
}

size_t fuzz_mutate_image(uint8_t *bytes, size_t size, size_t room, unsigned seed) {
    uint8_t *aligned = NULL;
    struct parts p;
    state = seed;
    if (below(8) == 0 || posix_memalign((void **)&aligned, IMAGE_ALIGN, size + 1))
        return LLVMFuzzerMutate(bytes, size, room);
    memcpy(aligned, bytes, size);
    for (uint32_t times = open_parts(aligned, size, &p) ? 1 + below(4) : 0; times > 0; times--)
        switch (below(8)) {
        case 0: change_word((uint32_t *)(void *)p.h, sizeof *p.h / 4); break;
        case 1: p.operands[below(p.n_operands)] = below(p.n_tensors); break;
        case 2: change_word(p.operands, p.n_operands); break;
        case 3:
        case 4: change_tensor(&p); break;
        default: change_step(&p); break;
        }
    if (open_parts(aligned, size, &p) && below(8)) make_agree(&p);
    memcpy(bytes, aligned, size);
    free(aligned);
    return size;
}
