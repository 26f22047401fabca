/* The wall: every field of header and tensors, cut files, and thousands of spoilt
 * images. What is accepted nevertheless is run under a slab of exactly the
 * size it claims, filled with a pattern that may never come out. */
#include "infer/image.h"

#include "infer/algorithm.h"
#include "infer/engine.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/mutate.h"
#include "tests/suite.h"
#include "tests/twin.h"

#include <math.h>
#include <stddef.h>

/* --- one field at a time --------------------------------------------------------------- */

/* Whether the edited copy, sealed anew, is refused; the message must say something. */
static bool refused(uint8_t *bytes, size_t size, const char *expect) {
    struct image *img;
    struct err e = {0};
    fixture_reseal(bytes, size);
    const int rc = image_check(bytes, size, &img, &e);
    if (rc == 0)
        image_unmap(img);
    else
        CU_ASSERT(img == NULL && e.text[0] != 0);
    if (rc != 0 && expect && !strstr(e.text, expect)) {
        fprintf(stderr, "\nexpected \"%s\" in \"%s\"\n", expect, e.text);
        CU_FAIL("another message than expected");
    }
    return rc != 0;
}

struct edit {
    size_t offset; /* of a field in its record */
    uint32_t bytes;
    uint64_t value;
    const char *expect;
};
#define H(field, v, text)                                                                                    \
    { offsetof(struct image_header, field), sizeof((struct image_header *)0)->field, v, text }
#define T(field, v, text)                                                                                    \
    { offsetof(struct image_tensor, field), sizeof((struct image_tensor *)0)->field, v, text }

static void try_edits(const struct compiled *c, size_t record, const struct edit *edits, size_t n) {
    uint8_t *copy = aligned_alloc(64, (c->size + 63) / 64 * 64);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    for (size_t i = 0; i < n; i++) {
        memcpy(copy, c->bytes, c->size);
        memcpy(copy + record + edits[i].offset, &edits[i].value, edits[i].bytes);
        if (!refused(copy, c->size, edits[i].expect)) {
            fprintf(stderr, "\nedit %zu (%s) passed\n", i, edits[i].expect);
            CU_FAIL("an edit passed");
        }
    }
    free(copy);
}

static void every_header_field_is_checked(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile(g, false);
    const struct edit edits[] = {
        H(magic, 0, "no image"),
        H(version, IMAGE_VERSION + 1, "import the model again"),
        H(isa, ISA_COUNT, "instruction set"),
        H(isa, image_isa_runs_here(ISA_NEON) ? ISA_AVX2 : ISA_NEON,
          image_isa_runs_here(ISA_NEON) ? "avx2, which this host lacks (it has neon)"
                                        : "neon, which this host lacks"),
        H(bytes, c.size + 64, "are there"),
        H(bytes, c.size - 64, "but the file has"),
        H(n_tensors, 0, "section tensors"),
        H(n_tensors, UINT32_MAX, "section tensors"),
        H(n_tensors, image_header(c.img)->n_tensors + 1, "section tensors"),
        H(n_operands, UINT32_MAX, "section operands"),
        H(n_operands, 1, "section operands"),
        H(n_steps, 0, "section steps"),
        H(n_steps, 1u << 31, "section steps"),
        H(sections[0].offset, 0, "section tensors"),
        H(sections[0].offset, 576, "section tensors"),
        H(sections[2].bytes, UINT64_MAX, "section steps"),
        H(sections[3].bytes, 0, "section strings"),
        H(sections[3].bytes, UINT64_MAX, "section strings"),
        H(sections[3].offset, UINT64_MAX - 63, "section strings"),
        H(sections[4].bytes, (uint64_t)IMAGE_MAX_REPORT + 1, "section report"),
        H(sections[4].bytes, 1 << 20, "section report"),
        H(sections[5].bytes, UINT64_MAX - 511, "section constants"),
        H(sections[5].bytes, 64, "left over"),
        H(sections[5].offset, 0, "section constants"),
        H(n_labels, UINT32_MAX, "labels"),
        H(n_labels, 3, "label 2"),
        H(n_labels, IMAGE_MAX_LABELS, "label"),
        H(labels, UINT32_MAX, "label 0"),
        H(n_inputs, 0, "inputs"),
        H(n_inputs, 17, "inputs"),
        H(n_inputs, 2, "input"),
        H(n_outputs, 0, "outputs"),
        H(n_outputs, UINT32_MAX, "outputs"),
        H(inputs[0], UINT32_MAX, "input 0"),
        H(inputs[0], image_header(c.img)->outputs[0], "input 0"),
        H(inputs[3], 1, "unused"),
        H(outputs[0], UINT32_MAX, "output 0"),
        H(outputs[0], image_header(c.img)->inputs[0], "output 0"),
        H(outputs[15], 1, "unused"),
        H(slab_bytes, 0, "slab"),
        H(slab_bytes, 63, "arena"),
        H(slab_bytes, UINT64_MAX - 63, "arena"),
        H(slab_bytes, IMAGE_MAX_SLAB + 64, "arena"),
        H(slab_bytes, 64, "slab"),
        H(parameters, UINT64_MAX, "parameters"),
        H(multiply_adds, 1, "multiply-adds"),
        H(item_images, 0, "pictures"),
        H(item_images, UINT32_MAX, "pictures"),
        H(output_is_probability, 2, "flag"),
        H(reserved0, 1, "reserved"),
        H(reserved[71], 1, "reserved"),
        H(preprocess.std[2], 0, "channel 2"),
        H(preprocess.scale, 0x7fc00000, "scale"),
        H(preprocess.mean[3], 0x7f800000, "channel 3"),
        H(preprocess.channel_order, 2, "order"),
        H(preprocess.reserved[0], 1, "reserved"),
    };
    try_edits(&c, 0, edits, COUNT_OF(edits));
    fixture_discard(&c);
    graph_free(g);
}

static void every_tensor_field_is_checked(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile(g, false);
    const struct image_header *h = image_header(c.img);
    const uint64_t tensors = h->sections[SECTION_TENSORS].offset,
                   constants = h->sections[SECTION_CONSTANTS].bytes;
    const uint32_t arena = image_step_at(c.img, 0)->output,
                   constant = image_operands(c.img, image_step_at(c.img, 0))[1];
    const uint64_t bytes = image_tensor_at(c.img, arena)->bytes;
    const struct edit anywhere[] = {
        T(place, 3, NULL),
        T(place, UINT32_MAX, NULL),
        T(layout, 1, "layout"),
        T(name, UINT32_MAX, "name"),
        T(name, h->sections[SECTION_STRINGS].bytes, "name"),
        T(shape.rank, 9, "shape"),
        T(shape.rank, UINT32_MAX, "shape"),
        T(shape.rank, 0x80000000, "shape"),
        T(shape.reserved, 1, "reserved"),
        T(shape.dim[0], 0, "shape"),
        T(shape.dim[0], UINT64_MAX, "shape"),
        T(shape.dim[1], 1ull << 62, "shape"),
        T(shape.dim[7], 1, "shape"),
        T(reserved[6], 1, "reserved"),
        T(bytes, 0, "outside"),
        T(bytes, UINT64_MAX, "outside"),
        T(offset, UINT64_MAX, "outside"),
        T(offset, UINT64_MAX - bytes + 1, "outside"), /* offset + bytes wraps to 0 */
        T(offset, 1ull << 63, "outside"),
    };
    const uint32_t targets[] = {h->inputs[0], arena, constant};
    for (size_t i = 0; i < 3; i++)
        try_edits(&c, tensors + targets[i] * sizeof(struct image_tensor), anywhere, COUNT_OF(anywhere));
    const struct edit in_arena[] = {T(offset, h->slab_bytes - bytes + 64, "outside the slab"),
                                    T(offset, 2, "aligned"),
                                    T(bytes, bytes - 4, "shape"),
                                    T(bytes, bytes + 4, "shape"),
                                    T(place, PLACE_INPUT, "inputs"),
                                    T(place, PLACE_CONSTANT, "arena")};
    try_edits(&c, tensors + arena * sizeof(struct image_tensor), in_arena, COUNT_OF(in_arena));
    const struct edit in_constants[] = {T(offset, constants, "outside the constants"),
                                        T(offset, 4, "aligned"), T(bytes, 4, "are read"),
                                        T(place, PLACE_INPUT, "inputs"), T(place, PLACE_ARENA, NULL)};
    try_edits(&c, tensors + constant * sizeof(struct image_tensor), in_constants, COUNT_OF(in_constants));
    const struct edit in_input[] = {T(place, PLACE_ARENA, "input 0"), T(place, 7, "input 0"),
                                    T(offset, 4, "aligned"), T(shape.dim[1], 4, "shape")};
    try_edits(&c, tensors + h->inputs[0] * sizeof(struct image_tensor), in_input, COUNT_OF(in_input));
    fixture_discard(&c);
    graph_free(g);
}

static void damage_is_told_from_another_format(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile(g, false);
    struct image *img;
    struct err e = {0};
    for (size_t i = 0; i < 64; i++) {
        const size_t at = 512 + (c.size - 513) * i / 63;
        c.bytes[at] ^= 0x10;
        CU_ASSERT_EQUAL(image_check(c.bytes, c.size, &img, &e), -1);
        CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "damaged"));
        c.bytes[at] ^= 0x10;
    }
    CU_ASSERT_EQUAL(image_check(c.bytes + 64, c.size - 64, &img, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "no image"));
    fixture_discard(&c);
    graph_free(g);
}

/* Strings need no NUL of their own where the last one is missing. */
static void strings_end_in_their_section(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile(g, false);
    const struct image_section s = image_header(c.img)->sections[SECTION_STRINGS];
    c.bytes[s.offset + s.bytes - 1] = 'x';
    CU_ASSERT_TRUE(refused(c.bytes, c.size, "NUL"));
    c.bytes[s.offset + s.bytes - 1] = 0;
    memset(c.bytes + s.offset, 'x', s.bytes - 1); /* one string of the section's length */
    CU_ASSERT_TRUE(refused(c.bytes, c.size, NULL));
    fixture_discard(&c);
    graph_free(g);
}

/* Who prints a name may rely on IMAGE_NAME; labels may be longer. */
static void names_are_short(void) {
    char label[100];
    memset(label, 'x', 99);
    label[99] = 0;
    const char *const labels[] = {label};
    struct graph *g = fixture_resnet();
    struct compiled c =
        fixture_compile_with(g, false, &(struct plan_metadata){.labels = labels, .n_labels = 1});
    const uint32_t at = image_header(c.img)->labels;
    fixture_tensor(c.bytes, 0)->name = at + 36; /* 63 bytes and NUL */
    CU_ASSERT_FALSE(refused(c.bytes, c.size, "-"));
    fixture_tensor(c.bytes, 0)->name = at + 35;
    CU_ASSERT_TRUE(refused(c.bytes, c.size, "name of tensor 0"));
    fixture_tensor(c.bytes, 0)->name = at;
    CU_ASSERT_TRUE(refused(c.bytes, c.size, "name of tensor 0"));
    fixture_tensor(c.bytes, 0)->name = 0;
    fixture_step(c.bytes, 1)->name = at;
    CU_ASSERT_TRUE(refused(c.bytes, c.size, "name of step 1"));
    fixture_discard(&c);
    graph_free(g);
}

static void cut_files_are_refused(void) {
    struct graph *g = fixture_graph();
    fixture_output(g,
                   fixture_conv(g, fixture_input(g, SHAPE(1, 3, 4, 4)), 4, fixture_window(3, 1, 1, 1), true));
    struct compiled c = fixture_compile(g, false);
    struct mutate_room room;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, c.size + 64), 0);
    for (size_t size = 0; size < c.size; size++) {
        struct image *img;
        struct err e = {0};
        uint8_t *cut = mutate_room_put(&room, c.bytes, size); /* the byte behind it can't be read */
        CU_ASSERT_EQUAL(image_check(cut, size, &img, &e), -1);
        if (size % 64) continue;
        CU_ASSERT_EQUAL(e.code, ERR_TRUNCATED);
        if (size < sizeof(struct image_header)) continue;
        ((struct image_header *)(void *)cut)->bytes = size; /* and one that lies about it */
        CU_ASSERT_TRUE(refused(cut, size, NULL));
    }
    mutate_room_close(&room);
    fixture_discard(&c);
    graph_free(g);
}

/* --- thousands at random ------------------------------------------------------------------- */

/* What the engine relies on, checked once more in another way. */
static void check_invariants(const struct image *img) {
    const struct image_header *h = image_header(img);
    const uint64_t constants = h->sections[SECTION_CONSTANTS].bytes;
    CU_ASSERT_FATAL(image_scratch_bytes(img) <= (size_t)128 << 20);
    CU_ASSERT_FATAL(h->slab_bytes <= IMAGE_MAX_SLAB);
    for (uint32_t i = 0; i < h->n_tensors; i++) {
        const struct image_tensor *t = image_tensor_at(img, i);
        const uint64_t room = t->place == PLACE_CONSTANT ? constants : h->slab_bytes;
        CU_ASSERT_FATAL(t->place <= PLACE_INPUT && t->offset % 4 == 0 && t->offset <= room &&
                        t->bytes <= room - t->offset);
        CU_ASSERT_FATAL(strlen(image_string(img, t->name)) < IMAGE_NAME);
    }
    for (uint32_t i = 0; i < h->n_steps; i++) {
        const struct image_step *s = image_step_at(img, i);
        struct shape in[OP_MAX_INPUTS], out;
        CU_ASSERT_FATAL(s->op < OP_COUNT && s->n_inputs <= OP_MAX_INPUTS && s->output < h->n_tensors);
        CU_ASSERT_FATAL(image_tensor_at(img, s->output)->place == PLACE_ARENA);
        for (uint32_t k = 0; k < s->n_inputs; k++) {
            const uint32_t t = image_operands(img, s)[k];
            CU_ASSERT_FATAL(t == IMAGE_NO_TENSOR || t < h->n_tensors);
            in[k] = t == IMAGE_NO_TENSOR ? (struct shape){.rank = -1} : image_tensor_at(img, t)->shape;
            if (t != IMAGE_NO_TENSOR)
                CU_ASSERT_FATAL(image_tensor_at(img, t)->bytes >= (uint64_t)shape_elements(&in[k]) * 4);
        }
        CU_ASSERT_FATAL(op_check((enum op)s->op, &s->params, in, (int)s->n_inputs, &out, NULL) == 0);
        CU_ASSERT_FATAL(shape_equal(&out, &image_tensor_at(img, s->output)->shape));
        CU_ASSERT_FATAL(algorithm_fits(s->algorithm, (enum op)s->op, &s->params, in, (int)s->n_inputs, &out));
    }
    for (uint32_t i = 0; i < h->n_labels; i++) CU_ASSERT_PTR_NOT_NULL_FATAL(image_label(img, i));
}

static bool has_blocked_tensors(const struct image *img) {
    for (uint32_t i = 0; i < image_header(img)->n_tensors; i++)
        if (image_tensor_at(img, i)->layout != LAYOUT_PLAIN) return true;
    return false;
}

/* The twin knows plain tensors only: these go through the engine, for the sanitizers to watch. */
static void run_in_engine(const struct image *img, const float *const *inputs) {
    struct engine *en = engine_new();
    struct engine_item item = {.format = INPUT_F32_NCHW};
    struct err e = {0};
    CU_ASSERT_PTR_NOT_NULL_FATAL(en);
    memcpy(item.inputs, inputs, sizeof item.inputs);
    CU_ASSERT_EQUAL_FATAL(engine_reserve(en, img, 1, &e), 0);
    CU_ASSERT_EQUAL_FATAL(engine_run(en, img, 1, &item), 0);
    engine_free(en);
}

/* Runs it on ones. Bytes that no step of this run wrote are all ones; a request's
 * answer must never hold any, since in the engine they would be another request's. */
static void run_it(const struct image *img) {
    const struct image_header *h = image_header(img);
    float *inputs[IMAGE_MAX_IO] = {0};
    size_t floats = 0;
    if (h->slab_bytes > 1 << 20 || h->multiply_adds > 1 << 22) return;
    for (uint32_t i = 0; i < h->n_inputs; i++) {
        const size_t n = image_tensor_at(img, h->inputs[i])->bytes / sizeof(float);
        inputs[i] = malloc(n * sizeof(float));
        CU_ASSERT_PTR_NOT_NULL_FATAL(inputs[i]);
        for (size_t k = 0; k < n; k++) inputs[i][k] = 1;
    }
    for (uint32_t i = 0; i < h->n_outputs; i++)
        floats += image_tensor_at(img, h->outputs[i])->bytes / sizeof(float);
    const bool blocked = has_blocked_tensors(img);
    if (blocked) run_in_engine(img, (const float *const *)inputs);
    float *out = blocked ? NULL : twin_run(img, (const float *const *)inputs);
    for (size_t i = 0; out && i < floats; i++) {
        uint32_t bits;
        memcpy(&bits, &out[i], sizeof bits);
        CU_ASSERT_NOT_EQUAL_FATAL(bits, UINT32_MAX);
    }
    free(out);
    for (uint32_t i = 0; i < h->n_inputs; i++) free(inputs[i]);
}

static int accepted, tried;

static void try_image(uint8_t *bytes, size_t size) {
    struct image *img;
    struct err e = {0};
    tried++;
    fixture_reseal(bytes, size);
    if (image_check(bytes, size, &img, &e)) {
        CU_ASSERT_FATAL(img == NULL && e.text[0] != 0);
        return;
    }
    accepted++;
    check_invariants(img);
    run_it(img);
    image_unmap(img);
}

/* One or two words of header, tensors, operands or steps, made to look plausible. */
static void spoil_words(uint8_t *bytes, const uint8_t *good, size_t size, uint64_t *seed) {
    const struct image_header *h = (const void *)good;
    const size_t end = h->sections[SECTION_STRINGS].offset;
    memcpy(bytes, good, size);
    for (size_t n = 1 + mutate_below(seed, 2); n > 0; n--) {
        const size_t at = 8 + mutate_below(seed, end - 8) / 4 * 4, from = mutate_below(seed, end - 4) / 4 * 4;
        uint32_t v;
        memcpy(&v, bytes + at, 4);
        switch (mutate_below(seed, 8)) {
        case 0: v = 0; break;
        case 1: v += 1; break;
        case 2: v -= 1; break;
        case 3: v = (uint32_t)mutate_below(seed, h->n_tensors); break;
        case 4: v ^= 1u << mutate_below(seed, 32); break;
        case 5: v = UINT32_MAX; break;
        case 6: v += (uint32_t)mutate_below(seed, 9) * 64 - 256; break; /* offsets */
        default: memcpy(&v, good + from, 4); break;                     /* a word from elsewhere */
        }
        memcpy(bytes + at, &v, 4);
    }
}

static void spoilt_images_are_refused_or_harmless(void) {
    struct mutate_room room;
    uint64_t seed = 4711;
    for (uint64_t which = 0; which < 11; which++) { /* the last three with blocked tensors */
        struct graph *g = which % 8 == 0 ? fixture_resnet() : fixture_random_graph(which + 50, 12);
        struct compiled c = which > 7 ? fixture_compile_here(g) : fixture_compile(g, which == 7);
        CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, c.size + 64), 0);
        /* 64-byte aligned, and as near to the page that can't be touched as that allows */
        uint8_t *bytes = mutate_room_put(&room, c.bytes, (c.size + 63) / 64 * 64 - (c.size % 64 ? 64 : 0));
        if (c.size % 64) bytes -= 64;
        accepted = tried = 0;
        for (int i = 0; i < 1500; i++) {
            spoil_words(bytes, c.bytes, c.size, &seed);
            try_image(bytes, c.size);
        }
        for (int i = 0; i < 500; i++) { /* single bytes, anywhere */
            memcpy(bytes, c.bytes, c.size);
            bytes[mutate_below(&seed, c.size)] = (uint8_t)mutate_random(&seed);
            try_image(bytes, c.size);
        }
        CU_ASSERT(accepted > 0 && accepted < tried);
        mutate_room_close(&room);
        fixture_discard(&c);
        graph_free(g);
    }
}

SUITE(image_check, {"every header field is checked", every_header_field_is_checked},
      {"every tensor field is checked", every_tensor_field_is_checked},
      {"damage is told from another format", damage_is_told_from_another_format},
      {"strings end in their section", strings_end_in_their_section}, {"names are short", names_are_short},
      {"cut files are refused", cut_files_are_refused},
      {"spoilt images are refused or harmless", spoilt_images_are_refused_or_harmless});
