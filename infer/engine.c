/* The executor: resolves each step's tensors to memory and calls its kernel.
 *
 *   arena:  | slab of item 0 | slab of item 1 | …   a tensor: slab + offset
 *   input:  the caller's floats as they lie; uint8 pictures are converted into
 *           the slab first
 *
 * Steps whose weights outweigh their activations (the late, small and deep
 * ones) take the whole batch at once, so that the weights are read once. Runs of
 * other steps take item after item through all of them: an item's activations
 * then stay in cache from step to step, where those of a batch would not.
 *
 * Everything a run needs is made by engine_reserve. One engine, one thread, and
 * the helpers of the team that it has joined. */
#include "infer/engine.h"

#include "infer/blas.h"
#include "infer/kernels.h"
#include "infer/preprocess.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ENGINE_POISONS
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ENGINE_POISONS
#endif
#ifdef ENGINE_POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes)   ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#define ENGINE_MOST_ARENA ((size_t)128 << 30) /* parts of steps are counted in 32 bits */

struct block { /* anonymous pages, all present */
    uint8_t *at;
    size_t bytes;
};

struct output {
    const float *base;
    size_t stride;
};

struct engine {
    struct block arena, scratch;
    struct team_seat *seat;        /* or NULL: alone */
    const float **inputs;          /* input k of item i: inputs[k * room + i] */
    uint32_t room;                 /* items */
    struct view in[OP_MAX_INPUTS]; /* of the step that runs */
    struct output outputs[IMAGE_MAX_IO];
    uint32_t n_outputs, n_items; /* of the last run */
    struct preprocess preprocess;
    uint64_t *profile;
    uint32_t profile_steps;
};

struct engine *engine_new(void) {
    blas_init();
    return calloc(1, sizeof(struct engine));
}

bool engine_join(struct engine *en, struct team *t) {
    team_leave(en->seat);
    en->seat = team_sit(t);
    return en->seat != NULL;
}

/* --- memory ------------------------------------------------------------------------- */

static void block_free(struct block *b) {
    if (!b->at) return;
    ASAN_UNPOISON_MEMORY_REGION(b->at, b->bytes); /* whoever maps this range next knows nothing of it */
    (void)munmap(b->at, b->bytes);
    *b = (struct block){NULL, 0};
}

/* Only the first `used` bytes may be touched: what lies behind belongs to larger batches. */
static void block_use(const struct block *b, size_t used) {
    if (!b->at) return;
    ASAN_UNPOISON_MEMORY_REGION(b->at, used);
    ASAN_POISON_MEMORY_REGION(b->at + used, b->bytes - used);
}

static int block_grow(struct block *b, size_t bytes, const char *what, struct err *e) {
    if (bytes <= b->bytes) return 0;
    const long page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES);
    const size_t memory = page > 0 && pages > 0 ? (size_t)page * (size_t)pages : SIZE_MAX;
    if (bytes > memory / 2) /* pages are made present at once: rather an error than the OOM killer */
        return err_set(e, ERR_LIMIT,
                       "the %s would take %zu MiB, more than half of this host's memory; use smaller batches",
                       what, bytes >> 20);
    uint8_t *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return err_set(e, ERR_SYSTEM, "mmap of %zu MiB for the %s: %s", bytes >> 20, what, strerror(errno));
    (void)madvise(at, bytes, MADV_HUGEPAGE); /* fewer TLB misses; not every kernel has it */
    for (size_t i = 0; i < bytes; i += (size_t)(page > 0 ? page : 4096)) *(volatile uint8_t *)(at + i) = 0;
    block_free(b);
    *b = (struct block){at, bytes};
    return 0;
}

static int room_grow(struct engine *en, uint32_t items, struct err *e) {
    if (items <= en->room) return 0;
    const float **inputs = calloc((size_t)items * IMAGE_MAX_IO, sizeof *inputs);
    if (!inputs) return err_set(e, ERR_SYSTEM, "out of memory for batches of %u", items);
    free(en->inputs);
    en->inputs = inputs;
    en->room = items;
    return 0;
}

/* Of one hand. An odd number of lines: else all hands' scratch would lie in the same sets of the cache. */
static size_t scratch_step(const struct image *img) {
    const size_t lines = image_scratch_bytes(img) / IMAGE_ALIGN + 1;
    return (lines | 1) * IMAGE_ALIGN;
}

static size_t scratch_bytes(const struct engine *en, const struct image *img) {
    size_t all;
    return __builtin_mul_overflow(scratch_step(img), team_hands(en->seat), &all) ? SIZE_MAX : all;
}

int engine_reserve(struct engine *en, const struct image *img, uint32_t items, struct err *e) {
    size_t arena;
    if (items == 0 || items > ENGINE_MOST_ARENA / IMAGE_ALIGN ||
        __builtin_mul_overflow((size_t)image_header(img)->slab_bytes, (size_t)items, &arena))
        return err_set(e, ERR_LIMIT, "batches of %u items are not possible", items);
    if (arena > ENGINE_MOST_ARENA)
        return err_set(e, ERR_LIMIT, "batches of %u items would take more than 128 GiB", items);
    const uint8_t *before = en->arena.at;
    if (block_grow(&en->arena, arena, "arena", e)) return -1;
    if (en->arena.at != before) en->n_items = 0; /* the outputs went with the old one */
    if (block_grow(&en->scratch, scratch_bytes(en, img), "scratch memory", e)) return -1;
    return room_grow(en, items, e);
}

void engine_free(struct engine *en) {
    if (!en) return;
    block_free(&en->arena);
    block_free(&en->scratch);
    free(en->inputs);
    team_leave(en->seat);
    free(en);
}

void engine_warm_thread(void) {
    enum { N = 96 };
    float *room = calloc(3 * N * N, sizeof *room);
    if (!room) return; /* then the first run is a little slower */
    blas_sgemm(&(struct blas_product){.m = N,
                                      .n = N,
                                      .k = N,
                                      .alpha = 1,
                                      .a = room,
                                      .lda = N,
                                      .b = room + N * N,
                                      .ldb = N,
                                      .c = room + 2 * N * N,
                                      .ldc = N});
    free(room);
}

/* --- inputs ------------------------------------------------------------------------- */

size_t engine_input_bytes(const struct image *img, uint32_t k, uint32_t format) {
    const struct image_header *h = image_header(img);
    if (k >= h->n_inputs) return 0;
    const struct image_tensor *t = image_tensor_at(img, h->inputs[k]);
    if (format == INPUT_F32_NCHW) return t->bytes;
    if (format != INPUT_U8_NHWC || h->n_inputs != 1) return 0;
    if (t->shape.rank != 4 || !preprocess_takes(t->shape.dim[1])) return 0;
    return t->bytes / sizeof(float);
}

static float *slab_at(const struct engine *en, const struct image *img, uint32_t item, uint64_t offset) {
    return (float *)(void *)(en->arena.at + item * image_header(img)->slab_bytes + offset);
}

static const float *convert_picture(struct engine *en, const struct image *img, uint32_t item,
                                    const void *from) {
    const struct image_tensor *t = image_tensor_at(img, image_header(img)->inputs[0]);
    const struct shape *s = &t->shape;
    float *to = slab_at(en, img, item, t->offset);
    preprocess_run(&en->preprocess, from, s->dim[0], s->dim[2] * s->dim[3], to);
    return to;
}

/* Points en->inputs at the floats of every input of every item. */
static int take_inputs(struct engine *en, const struct image *img, uint32_t n,
                       const struct engine_item *items) {
    const struct image_header *h = image_header(img);
    bool prepared = false;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < h->n_inputs; k++) {
            const void *from = items[i].inputs[k];
            if (!from || engine_input_bytes(img, k, items[i].format) == 0) return -EINVAL;
            const float **place = &en->inputs[(size_t)k * en->room + i];
            if (items[i].format == INPUT_F32_NCHW) {
                if ((uintptr_t)from % sizeof(float) != 0) return -EINVAL;
                *place = from;
                continue;
            }
            if (!prepared)
                preprocess_prepare(&h->preprocess, image_tensor_at(img, h->inputs[k])->shape.dim[1],
                                   &en->preprocess);
            prepared = true;
            *place = convert_picture(en, img, i, from);
        }
    return 0;
}

/* --- steps -------------------------------------------------------------------------- */

static struct view view_of(const struct engine *en, const struct image *img, uint32_t tensor) {
    const struct image_header *h = image_header(img);
    const struct image_tensor *t = image_tensor_at(img, tensor);
    struct view v = {.t = t};
    if (!t) return v; /* IMAGE_NO_TENSOR: absent */
    if (t->place == PLACE_CONSTANT) {
        v.base = (float *)(uintptr_t)image_constant(img, t); /* read-only pages; kernels write outputs only */
        return v;
    }
    for (uint32_t k = 0; t->place == PLACE_INPUT && k < h->n_inputs; k++)
        if (h->inputs[k] == tensor) v.items = &en->inputs[(size_t)k * en->room];
    if (t->place == PLACE_INPUT) return v;
    v.base = slab_at(en, img, 0, t->offset);
    v.stride = h->slab_bytes / sizeof(float);
    return v;
}

struct slice { /* of the batch */
    uint32_t first, n;
};

static struct view slice_of(struct view v, struct slice s) {
    if (v.items) v.items += s.first;
    if (v.base) v.base += (size_t)s.first * v.stride;
    return v;
}

/* Handing a step out and waiting for the last part costs a microsecond or two: nothing that takes less than
 * three or so. */
static bool is_worth_help(const struct image *img, const struct image_step *s) {
    return s->multiply_adds > 250000 || image_tensor_at(img, s->output)->bytes > 64 * 1024;
}

static int run_step(struct engine *en, const struct image *img, const struct image_step *s,
                    struct slice slice) {
    const uint32_t *operands = image_operands(img, s);
    const kernel_fn kernel = kernel_find(s->op, s->algorithm);
    if (!kernel || s->n_inputs > OP_MAX_INPUTS) return -EINVAL; /* image_check lets no such step through */
    for (uint32_t k = 0; k < s->n_inputs; k++) en->in[k] = slice_of(view_of(en, img, operands[k]), slice);
    const struct kernel_call call = {.step = s,
                                     .n_items = slice.n,
                                     .n_inputs = s->n_inputs,
                                     .in = en->in,
                                     .residual = slice_of(view_of(en, img, s->residual), slice),
                                     .out = slice_of(view_of(en, img, s->output), slice),
                                     .scratch = (float *)(void *)en->scratch.at,
                                     .scratch_step = scratch_step(img) / sizeof(float),
                                     .seat = is_worth_help(img, s) ? en->seat : NULL};
    kernel(&call);
    return 0;
}

/* Whether a step reads more weights than activations. */
static bool gains_from_batch(const struct image *img, const struct image_step *s) {
    const uint32_t *operands = image_operands(img, s);
    uint64_t weights = 0, activations = image_tensor_at(img, s->output)->bytes;
    for (uint32_t k = 0; k < s->n_inputs; k++) {
        const struct image_tensor *t = image_tensor_at(img, operands[k]);
        if (t && t->place == PLACE_CONSTANT)
            weights += t->bytes;
        else if (t)
            activations += t->bytes;
    }
    return weights > activations;
}

static uint64_t now_ns(void) { /* vDSO: no system call */
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int run_profiled(struct engine *en, const struct image *img, uint32_t step, struct slice slice) {
    const bool profiled = en->profile && step < en->profile_steps;
    const uint64_t start = profiled ? now_ns() : 0;
    const int rc = run_step(en, img, image_step_at(img, step), slice);
    if (profiled) en->profile[step] += now_ns() - start;
    return rc;
}

static int run_steps(struct engine *en, const struct image *img, uint32_t n) {
    const uint32_t steps = image_header(img)->n_steps;
    for (uint32_t from = 0, to; from < steps; from = to) {
        const bool together = n == 1 || gains_from_batch(img, image_step_at(img, from));
        for (to = from + 1; to < steps && n > 1; to++) /* the run of steps that are alike in this */
            if (gains_from_batch(img, image_step_at(img, to)) != together) break;
        const uint32_t at_once = together ? n : 1;
        for (uint32_t first = 0; first < n; first += at_once)
            for (uint32_t i = from; i < to; i++)
                if (run_profiled(en, img, i, (struct slice){first, at_once})) return -EINVAL;
    }
    return 0;
}

int engine_run(struct engine *en, const struct image *img, uint32_t n, const struct engine_item *items) {
    const struct image_header *h = image_header(img);
    size_t used;
    en->n_items = 0;
    if (n == 0 || n > en->room || __builtin_mul_overflow((size_t)h->slab_bytes, (size_t)n, &used))
        return -EINVAL;
    if (used > en->arena.bytes || scratch_bytes(en, img) > en->scratch.bytes) return -EINVAL;
    block_use(&en->arena, used);
    block_use(&en->scratch, scratch_bytes(en, img));
    if (take_inputs(en, img, n, items)) return -EINVAL;
    team_begin(en->seat);
    const int rc = run_steps(en, img, n);
    team_end(en->seat);
    if (rc) return -EINVAL;
    for (uint32_t k = 0; k < h->n_outputs; k++) {
        const struct view v = view_of(en, img, h->outputs[k]);
        en->outputs[k] = (struct output){v.items ? NULL : v.base, v.stride};
    }
    en->n_outputs = h->n_outputs;
    en->n_items = n;
    return 0;
}

const float *engine_output(const struct engine *en, uint32_t i, uint32_t k) {
    if (i >= en->n_items || k >= en->n_outputs || !en->outputs[k].base) return NULL;
    return en->outputs[k].base + (size_t)i * en->outputs[k].stride;
}

void engine_profile(struct engine *en, uint64_t *ns_per_step, uint32_t n_steps) {
    if (ns_per_step) memset(ns_per_step, 0, n_steps * sizeof *ns_per_step);
    en->profile = ns_per_step;
    en->profile_steps = ns_per_step ? n_steps : 0;
}
