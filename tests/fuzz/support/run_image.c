/* Runs small images several times over; see run_image.h. */
#include "tests/fuzz/support/run_image.h"

#include "infer/engine.h"
#include "infer/image_internal.h"
#include "tests/fuzz/support/compare.h"
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

#define MOST_BYTES ((uint64_t)1 << 20) /* of a slab, of the scratch */
#define MOST_WORK  ((uint64_t)1 << 22) /* of one item, as the check counts it: some ms */

bool fuzz_image_is_small(const struct image *img) {
    const struct image_header *h = image_header(img);
    uint64_t work = 0;
    if (h->slab_bytes > MOST_BYTES || image_scratch_bytes(img) > MOST_BYTES) return false;
    for (uint32_t i = 0; i < h->n_steps && work <= MOST_WORK; i++) {
        const struct image_step *s = image_step_at(img, i);
        struct shape in[OP_MAX_INPUTS];
        for (uint32_t k = 0; k < s->n_inputs; k++) {
            const struct image_tensor *t = image_tensor_at(img, image_operands(img, s)[k]);
            in[k] = t ? t->shape : (struct shape){.rank = -1};
        }
        work += image_step_work((enum op)s->op, &s->params, in, (int)s->n_inputs,
                                &image_tensor_at(img, s->output)->shape);
    }
    return work <= MOST_WORK;
}

/* --- inputs: exactly as large as they have to be, so that a byte too far shows ----------- */

static void fill(uint8_t *bytes, size_t n, bool floats, uint32_t seed) {
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    for (size_t i = 0; floats && i + 4 <= n; i += 4) {
        const float f = (float)((int32_t)bytes[i] - 128) / 64;
        memcpy(bytes + i, &f, sizeof f);
    }
}

static bool make_item(const struct image *img, uint32_t format, uint32_t seed, struct engine_item *item) {
    *item = (struct engine_item){.format = format};
    for (uint32_t k = 0; k < image_header(img)->n_inputs; k++) {
        const size_t n = engine_input_bytes(img, k, format);
        uint8_t *bytes = n ? malloc(n) : NULL;
        if (!bytes) return false;
        fill(bytes, n, format == INPUT_F32_NCHW, seed + k);
        item->inputs[k] = bytes;
    }
    return true;
}

static void free_item(struct engine_item *item) {
    for (uint32_t k = 0; k < IMAGE_MAX_IO; k++) free((void *)(uintptr_t)item->inputs[k]);
}

/* --- runs ---------------------------------------------------------------------------------- */

static size_t output_bytes(const struct image *img, uint32_t k) {
    return (size_t)image_tensor_at(img, image_header(img)->outputs[k])->bytes;
}

/* Runs {first, second} and has the outputs of `second`: copied to `kept`, or held against it. */
static void run(struct engine *en, const struct image *img, const struct engine_item *first,
                const struct engine_item *second, uint8_t *kept, bool compare) {
    const struct engine_item both[2] = {*first, *second};
    FUZZ_MUST(engine_run(en, img, 2, both) == 0, "a checked image");
    for (uint32_t k = 0; k < image_header(img)->n_outputs; k++) {
        const float *out = engine_output(en, 1, k);
        const size_t n = output_bytes(img, k);
        FUZZ_MUST(out, "output %u", k);
        if (compare) FUZZ_MUST(memcmp(kept, out, n) == 0, "output %u depends on older data", k);
        memcpy(kept, out, n);
        kept += n;
    }
}

static void run_format(struct engine *en, const struct image *img, uint32_t format) {
    struct engine_item a = {0}, b = {0}, c = {0};
    size_t n = 1;
    for (uint32_t k = 0; k < image_header(img)->n_outputs; k++) n += output_bytes(img, k);
    uint8_t *kept = malloc(n);
    if (kept && make_item(img, format, 1, &a) && make_item(img, format, 2, &b) &&
        make_item(img, format, 3, &c)) {
        run(en, img, &b, &c, kept, false);
        run(en, img, &b, &a, kept, false); /* after c */
        uint8_t *other = malloc(n);
        if (other) run(en, img, &a, &b, other, false);
        free(other);
        run(en, img, &c, &a, kept, true); /* after b */
    }
    free(kept);
    free_item(&a);
    free_item(&b);
    free_item(&c);
}

void fuzz_try_image(const struct image *img) {
    static struct engine *en; /* kept: what an earlier image left in the arena is part of the test */
    struct err e = {0};
    if (!fuzz_image_is_small(img)) return;
    if (!en) en = engine_new();
    FUZZ_MUST(en && engine_reserve(en, img, 2, &e) == 0, "%s", e.text);
    run_format(en, img, INPUT_F32_NCHW);
    if (engine_input_bytes(img, 0, INPUT_U8_NHWC)) run_format(en, img, INPUT_U8_NHWC);
    fuzz_compare_engine(img);
}
