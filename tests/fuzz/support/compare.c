/* Runs images by engine and by interpreter and holds the results against each other; see compare.h. */
#include "tests/fuzz/support/compare.h"

#include "infer/engine.h"
#include "infer/image_internal.h"
#include "infer/simd_levels.h"
#include "tests/fuzz/support/fuzz.h"
#include "tests/twin.h"

#include <math.h>
#include <string.h>

/* --- one run ------------------------------------------------------------------------------- */

struct inputs {
    float *of[IMAGE_MAX_IO];
};

static uint32_t next(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 24;
}

static bool make_inputs(const struct image *img, struct inputs *in) {
    const struct image_header *h = image_header(img);
    uint32_t state = 7;
    for (uint32_t k = 0; k < h->n_inputs; k++) {
        const size_t n = engine_input_bytes(img, k, INPUT_F32_NCHW) / sizeof(float);
        in->of[k] = malloc(n * sizeof(float));
        if (!in->of[k]) return false;
        for (size_t i = 0; i < n; i++) in->of[k][i] = (float)(next(&state) % 7) - 3;
    }
    return true;
}

static void free_inputs(struct inputs *in) {
    for (uint32_t k = 0; k < IMAGE_MAX_IO; k++) free(in->of[k]);
}

static size_t floats_of(const struct image *img, uint32_t output) {
    return (size_t)image_tensor_at(img, image_header(img)->outputs[output])->bytes / sizeof(float);
}

static size_t count_outputs(const struct image *img) {
    size_t n = 0;
    for (uint32_t k = 0; k < image_header(img)->n_outputs; k++) n += floats_of(img, k);
    return n;
}

/* All outputs, one behind the other; NULL: out of memory. */
static float *run_engine(const struct image *img, const struct inputs *in) {
    static struct engine *en;
    struct engine_item item = {.format = INPUT_F32_NCHW};
    struct err e = {0};
    float *all = malloc(count_outputs(img) * sizeof *all), *at = all;
    if (!en) en = engine_new();
    for (uint32_t k = 0; k < image_header(img)->n_inputs; k++) item.inputs[k] = in->of[k];
    if (!all || !en || engine_reserve(en, img, 1, &e)) return all;
    FUZZ_MUST(engine_run(en, img, 1, &item) == 0, "a checked image");
    for (uint32_t k = 0; k < image_header(img)->n_outputs; k++) {
        memcpy(at, engine_output(en, 0, k), floats_of(img, k) * sizeof *at);
        at += floats_of(img, k);
    }
    return all;
}

static float *run_twin(const struct image *img, const struct inputs *in) {
    const float *of[IMAGE_MAX_IO];
    for (int k = 0; k < IMAGE_MAX_IO; k++) of[k] = in->of[k];
    return twin_run(img, of);
}

/* The largest difference, relative to the largest number; -1: there are some that are no numbers. */
static double difference(const float *a, const float *b, size_t n) {
    double worst = 0, largest = 1;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i])) return -1;
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

/* --- engine and interpreter ------------------------------------------------------------------ */

static bool has_step(const struct image *img, enum op op) {
    for (uint32_t i = 0; i < image_header(img)->n_steps; i++)
        if (image_step_at(img, i)->op == op) return true;
    return false;
}

/* The interpreter knows plain tensors and weights only; blocked ones are compared plan by plan, below. */
static bool is_plain(const struct image *img) {
    for (uint32_t i = 0; i < image_header(img)->n_tensors; i++)
        if (image_tensor_at(img, i)->layout != LAYOUT_PLAIN) return false;
    return true;
}

/* Fractions that become exponents may differ by any factor. */
static bool is_exact(const struct image *img) {
    return !has_step(img, OP_SOFTMAX) || (!has_step(img, OP_AVERAGE_POOL) && !has_step(img, OP_CLIP) &&
                                          !has_step(img, OP_GLOBAL_AVERAGE_POOL));
}

/* The same image with constants from -2 to 2; NULL: out of memory. */
static uint8_t *with_integers(const struct image *img) {
    struct image_header *h = NULL;
    uint32_t state = 3;
    if (posix_memalign((void **)&h, IMAGE_ALIGN, img->size)) return NULL;
    memcpy(h, img->bytes, img->size);
    const struct image_section s = h->sections[SECTION_CONSTANTS];
    for (uint64_t i = 0; i + 4 <= s.bytes; i += 4)
        memcpy((uint8_t *)h + s.offset + i, &(float){(float)(next(&state) % 5) - 2}, 4);
    image_checksum((uint8_t *)h, img->size, h->self_checksum);
    return (uint8_t *)h;
}

static void check_same(const struct image *img, const float *a, const float *b, const char *what) {
    const double d = a && b ? difference(a, b, count_outputs(img)) : 0;
    FUZZ_MUST(d < 0.01, "the results differ by %g: %s", d, what);
}

/* By each set of instructions that this host has, and by the interpreter. */
static void run_all_ways(const struct image *img) {
    struct inputs in = {{0}};
    float *exact = NULL;
    if (make_inputs(img, &in)) {
        simd_level_limit(SIMD_128);
        exact = run_engine(img, &in);
        for (enum simd_level level = SIMD_256; level < SIMD_LEVELS; level++) {
            simd_level_limit(level);
            float *other = run_engine(img, &in);
            check_same(img, other, exact, "levels");
            free(other);
        }
        float *twin = is_plain(img) ? run_twin(img, &in) : NULL;
        check_same(img, twin, exact, "interpreter");
        free(twin);
    }
    free(exact);
    free_inputs(&in);
}

void fuzz_compare_engine(const struct image *img) {
    uint8_t *bytes = is_exact(img) ? with_integers(img) : NULL;
    struct image *whole = NULL;
    struct err e = {0};
    if (!bytes) return;
    FUZZ_MUST(image_check(bytes, img->size, &whole, &e) == 0, "other constants: %s", e.text);
    run_all_ways(whole);
    image_unmap(whole);
    free(bytes);
}

/* --- two plans --------------------------------------------------------------------------------- */

void fuzz_compare_plans(const struct image *planned, const struct image *plain) {
    struct inputs in = {{0}};
    const size_t n = count_outputs(plain);
    FUZZ_MUST(n == count_outputs(planned), "%zu outputs and %zu", count_outputs(planned), n);
    float *fast = NULL, *slow = NULL, *exact = NULL;
    if (make_inputs(plain, &in)) {
        fast = run_engine(planned, &in);
        slow = run_engine(plain, &in);
        exact = run_twin(plain, &in);
    }
    if (fast && slow && exact) {
        const double rounding = difference(slow, exact, n), d = difference(fast, exact, n);
        if (rounding >= 0 && rounding < 1e-6) FUZZ_MUST(d < 0.01, "the plans' results differ by %g", d);
    }
    free(fast);
    free(slow);
    free(exact);
    free_inputs(&in);
}
