/* The wall between a file and the engine: checks everything in an image, in the
 * order in which later checks rely on earlier ones.
 *
 *   header -> sections -> checksum (or later: image_verify) -> strings -> metadata -> tensors -> steps
 *
 * Time and memory are linear in the size of the file, there is no recursion,
 * and no count is believed before the bytes that it counts have been seen.
 * Steps have their own file, image_check_steps.c. */
#include "infer/checksum.h"
#include "infer/image_internal.h"
#include "infer/layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool image_all_zero(const void *bytes, size_t n) {
    const uint8_t *b = bytes;
    for (size_t i = 0; i < n; i++)
        if (b[i]) return false;
    return true;
}

void image_checksum_head(struct checksum *c, const uint8_t *bytes, size_t size) {
    static const uint8_t zero[sizeof((struct image_header *)0)->self_checksum];
    struct image_header h;
    memcpy(&h, bytes, sizeof h);
    memcpy(h.self_checksum, zero, sizeof zero);
    checksum_add(c, 0, &h, sizeof h);
    checksum_add(c, sizeof h, bytes + sizeof h, size - sizeof h);
}

void image_checksum(const uint8_t *bytes, size_t size, uint8_t out[32]) {
    struct checksum c = {{0}};
    image_checksum_head(&c, bytes, size);
    checksum_final(&c, size, out);
}

/* --- header and sections ------------------------------------------------------------ */

static int check_header(const uint8_t *bytes, size_t size, struct err *e) {
    const struct image_header *h = (const void *)bytes;
    if (size < sizeof *h)
        return err_set(e, ERR_TRUNCATED, "an image has at least %zu bytes, this %zu", sizeof *h, size);
    if ((uintptr_t)bytes % IMAGE_ALIGN != 0)
        return err_set(e, ERR_INTERNAL, "the image is not 64-byte aligned in memory");
    if (memcmp(h->magic, IMAGE_MAGIC, sizeof h->magic) != 0)
        return err_set(e, ERR_FORMAT, "this is no image of clpd");
    if (h->version != IMAGE_VERSION)
        return err_set(e, ERR_UNSUPPORTED, "format version %u, this program has %d; import the model again",
                       h->version, IMAGE_VERSION);
    if (h->isa >= ISA_COUNT) return err_set(e, ERR_FORMAT, "instruction set %u does not exist", h->isa);
    if (!image_isa_runs_here(h->isa))
        return err_set(e, ERR_UNSUPPORTED,
                       "compiled for %s, which this host lacks (it has %s); import the model again",
                       image_isa_name(h->isa), image_isa_name(image_host_isa()));
    if (h->bytes > size)
        return err_set(e, ERR_TRUNCATED, "%zu bytes of %llu are there", size, (unsigned long long)h->bytes);
    if (h->bytes < size)
        return err_set(e, ERR_FORMAT, "%llu bytes, but the file has %zu", (unsigned long long)h->bytes, size);
    if (h->reserved0 != 0 || !image_all_zero(h->reserved, sizeof h->reserved))
        return err_set(e, ERR_FORMAT, "reserved fields of the header are not zero");
    return 0;
}

static const char *const section_name[SECTION_COUNT] = {"tensors", "operands", "steps",
                                                        "strings", "report",   "constants"};

/* Sections lie one behind the other, each at the next multiple of 64: there is
 * one right offset for each, so nothing can overlap or hide. */
static int check_sections(const struct image_header *h, struct err *e) {
    const struct {
        uint64_t records, record_bytes, min, max;
    } want[SECTION_COUNT] = {
        [SECTION_TENSORS] = {h->n_tensors, sizeof(struct image_tensor), 1, IMAGE_MAX_TENSORS},
        [SECTION_OPERANDS] = {h->n_operands, sizeof(uint32_t), 1, IMAGE_MAX_OPERANDS},
        [SECTION_STEPS] = {h->n_steps, sizeof(struct image_step), 1, IMAGE_MAX_STEPS},
        [SECTION_STRINGS] = {h->sections[SECTION_STRINGS].bytes, 1, 1, IMAGE_MAX_STRINGS},
        [SECTION_REPORT] = {h->sections[SECTION_REPORT].bytes, 1, 0, IMAGE_MAX_REPORT},
        [SECTION_CONSTANTS] = {h->sections[SECTION_CONSTANTS].bytes, 1, 0, IMAGE_MAX_BYTES},
    };
    uint64_t end = sizeof *h;
    for (int i = 0; i < SECTION_COUNT; i++) {
        const struct image_section s = h->sections[i];
        if (want[i].records < want[i].min || want[i].records > want[i].max)
            return err_set(e, ERR_LIMIT, "section %s has %llu records; %llu to %llu are possible",
                           section_name[i], (unsigned long long)want[i].records,
                           (unsigned long long)want[i].min, (unsigned long long)want[i].max);
        if (s.bytes != want[i].records * want[i].record_bytes)
            return err_set(e, ERR_FORMAT, "section %s has %llu bytes for %llu records", section_name[i],
                           (unsigned long long)s.bytes, (unsigned long long)want[i].records);
        if (s.offset != image_align(end))
            return err_set(e, ERR_FORMAT, "section %s starts at %llu and not at %llu", section_name[i],
                           (unsigned long long)s.offset, (unsigned long long)image_align(end));
        end = s.offset + s.bytes; /* each at most 16 GiB: far from 2^64 */
        if (end > h->bytes)
            return err_set(e, ERR_FORMAT, "section %s reaches beyond the file", section_name[i]);
    }
    if (end != h->bytes) return err_set(e, ERR_FORMAT, "bytes are left over behind the constants");
    return 0;
}

int image_compare_checksum(const struct image *img, const uint8_t sum[CHECKSUM_BYTES], struct err *e) {
    if (memcmp(sum, image_header(img)->self_checksum, CHECKSUM_BYTES) == 0) return 0;
    return err_set(e, ERR_FORMAT, "damaged: its checksum is not the one in it; import the model again");
}

int image_verify(const struct image *img, struct err *e) {
    uint8_t sum[CHECKSUM_BYTES];
    image_checksum(img->bytes, img->size, sum);
    return image_compare_checksum(img, sum, e);
}

/* --- strings and metadata ------------------------------------------------------------ */

const char *image_find_name(const struct image_view *v, uint32_t offset) {
    const uint64_t bytes = v->h->sections[SECTION_STRINGS].bytes;
    if (offset >= bytes) return NULL;
    const char *s = v->strings + offset;
    const size_t left = bytes - offset; /* the section's last byte is NUL */
    return strnlen(s, left < IMAGE_NAME ? left : IMAGE_NAME) < IMAGE_NAME ? s : NULL;
}

static int check_labels(const struct image_view *v, struct image *img, struct err *e) {
    const struct image_header *h = v->h;
    const uint64_t bytes = h->sections[SECTION_STRINGS].bytes;
    if (v->strings[bytes - 1] != 0) return err_set(e, ERR_FORMAT, "the strings do not end with NUL");
    if (h->n_labels > IMAGE_MAX_LABELS) return err_set(e, ERR_LIMIT, "more than %d labels", IMAGE_MAX_LABELS);
    if (h->n_labels > bytes)
        return err_set(e, ERR_FORMAT, "%u labels in %llu bytes", h->n_labels, (unsigned long long)bytes);
    img->labels = calloc((size_t)h->n_labels + 1, sizeof *img->labels);
    if (!img->labels) return err_set(e, ERR_LIMIT, "out of memory");
    uint64_t at = h->labels;
    for (uint32_t i = 0; i < h->n_labels; i++) {
        if (at >= bytes) return err_set(e, ERR_FORMAT, "label %u lies outside the strings", i);
        img->labels[i] = (uint32_t)at;
        at += strlen(v->strings + at) + 1; /* ends within the section, whose last byte is NUL */
    }
    return 0;
}

int image_check_preprocess(const struct image_preprocess *p, struct err *e) {
    if (!isfinite(p->scale)) return err_set(e, ERR_VALUE, "preprocessing: scale is not a number");
    for (int c = 0; c < 4; c++)
        if (!isfinite(p->mean[c]) || !isfinite(p->std[c]) || p->std[c] <= 0)
            return err_set(e, ERR_VALUE,
                           "preprocessing of channel %d: mean must be a number, std a positive one", c);
    if (p->channel_order > ORDER_BGR)
        return err_set(e, ERR_FORMAT, "preprocessing: channel order %u", p->channel_order);
    if (!image_all_zero(p->reserved, sizeof p->reserved))
        return err_set(e, ERR_FORMAT, "reserved fields of the preprocessing are not zero");
    return 0;
}

static int check_inputs_outputs(const struct image_view *v, struct err *e) {
    const struct image_header *h = v->h;
    if (h->n_inputs < 1 || h->n_inputs > IMAGE_MAX_IO || h->n_outputs < 1 || h->n_outputs > IMAGE_MAX_IO)
        return err_set(e, ERR_LIMIT, "%u inputs and %u outputs; 1 to %d are possible", h->n_inputs,
                       h->n_outputs, IMAGE_MAX_IO);
    for (uint32_t i = 0; i < h->n_inputs; i++) {
        if (h->inputs[i] >= h->n_tensors || v->tensors[h->inputs[i]].place != PLACE_INPUT)
            return err_set(e, ERR_FORMAT, "input %u is tensor %u, which is none", i, h->inputs[i]);
        for (uint32_t k = 0; k < i; k++)
            if (h->inputs[k] == h->inputs[i])
                return err_set(e, ERR_FORMAT, "inputs %u and %u are one tensor", k, i);
    }
    for (uint32_t i = 0; i < h->n_outputs; i++)
        if (h->outputs[i] >= h->n_tensors || v->tensors[h->outputs[i]].place != PLACE_ARENA ||
            v->tensors[h->outputs[i]].layout != LAYOUT_PLAIN)
            return err_set(e, ERR_FORMAT, "output %u is tensor %u, which is not a plain one in the arena", i,
                           h->outputs[i]);
    for (uint32_t i = 0; i < IMAGE_MAX_IO; i++)
        if ((i >= h->n_inputs && h->inputs[i]) || (i >= h->n_outputs && h->outputs[i]))
            return err_set(e, ERR_FORMAT, "unused entries of inputs or outputs are not zero");
    return 0;
}

static int check_metadata(const struct image_view *v, struct err *e) {
    const struct image_header *h = v->h;
    if (h->item_images < 1 || h->item_images > INT32_MAX)
        return err_set(e, ERR_FORMAT, "an item of %u pictures", h->item_images);
    if (h->output_is_probability > 1)
        return err_set(e, ERR_FORMAT, "a flag of the header is neither 0 nor 1");
    if (h->slab_bytes > IMAGE_MAX_SLAB || h->slab_bytes % IMAGE_ALIGN != 0)
        return err_set(e, ERR_LIMIT, "%llu bytes of arena per item; multiples of 64 up to 2^36 are possible",
                       (unsigned long long)h->slab_bytes);
    const size_t least = h->isa == ISA_AVX512_BF16 ? sizeof(uint16_t) : sizeof(float); /* of one parameter */
    if (h->parameters > h->sections[SECTION_CONSTANTS].bytes / least)
        return err_set(e, ERR_FORMAT, "more parameters than constants");
    if (image_check_preprocess(&h->preprocess, e)) return -1;
    return check_inputs_outputs(v, e);
}

/* --- tensors -------------------------------------------------------------------------- */

static int check_tensor(const struct image_view *v, const struct image_tensor *t, struct err *e) {
    if (t->place > PLACE_INPUT) return err_set(e, ERR_FORMAT, "place %u does not exist", t->place);
    if (t->shape.reserved != 0 || !image_all_zero(t->reserved, sizeof t->reserved))
        return err_set(e, ERR_FORMAT, "reserved fields are not zero");
    if (!shape_valid(&t->shape)) return err_set(e, ERR_FORMAT, "its shape is not possible");
    if (t->layout >= LAYOUT_COUNT || !layout_takes_shape(t->layout, &t->shape))
        return err_set(e, ERR_FORMAT, "layout %u does not exist, or not for its shape", t->layout);
    if (t->layout != LAYOUT_PLAIN && t->place != PLACE_ARENA)
        return err_set(e, ERR_FORMAT, "layout %u where only plain tensors are possible", t->layout);

    const bool constant = t->place == PLACE_CONSTANT;
    const uint64_t room = constant ? v->h->sections[SECTION_CONSTANTS].bytes : v->h->slab_bytes;
    if (t->bytes == 0 || t->bytes > room || t->offset > room - t->bytes)
        return err_set(e, ERR_FORMAT, "bytes %llu to +%llu lie outside the %s of %llu",
                       (unsigned long long)t->offset, (unsigned long long)t->bytes,
                       constant ? "constants" : "slab", (unsigned long long)room);
    /* What a constant has to occupy depends on the step that reads it; see there. */
    if (!constant && t->bytes != layout_bytes(t->layout, &t->shape))
        return err_set(e, ERR_FORMAT, "%llu bytes are not those of its shape and layout",
                       (unsigned long long)t->bytes);
    /* In the slab, plain tensors may be slices of a concatenation, at any float; blocks are whole. */
    if (t->offset % (t->place == PLACE_ARENA && t->layout == LAYOUT_PLAIN ? sizeof(float) : IMAGE_ALIGN) != 0)
        return err_set(e, ERR_FORMAT, "offset %llu is not aligned", (unsigned long long)t->offset);
    return 0;
}

static int check_tensors(const struct image_view *v, struct err *e) {
    uint32_t inputs = 0;
    for (uint32_t i = 0; i < v->h->n_tensors; i++) {
        const struct image_tensor *t = &v->tensors[i];
        const char *name = image_find_name(v, t->name);
        if (!name)
            return err_set(e, ERR_FORMAT, "the name of tensor %u lies outside the strings or is too long", i);
        if (check_tensor(v, t, e)) return err_prefix(e, "tensor %u (%s)", i, name);
        inputs += t->place == PLACE_INPUT;
    }
    if (inputs != v->h->n_inputs)
        return err_set(e, ERR_FORMAT, "%u tensors are inputs, but the model has %u", inputs, v->h->n_inputs);
    return 0;
}

/* ---------------------------------------------------------------------------------------- */

static int check_contents(const struct image_view *v, struct image *img, struct err *e) {
    if (check_labels(v, img, e)) return -1;
    if (check_metadata(v, e) || check_tensors(v, e)) return -1;
    return image_check_steps(v, &img->scratch_bytes, e);
}

static int check_image(const uint8_t *bytes, size_t size, bool verify, struct image **out, struct err *e) {
    *out = NULL;
    const struct image_header *h = (const void *)bytes;
    if (check_header(bytes, size, e) || check_sections(h, e)) return -1;
    const struct image_view v = {
        .bytes = bytes,
        .size = size,
        .h = h,
        .tensors = (const void *)image_section(bytes, SECTION_TENSORS),
        .operands = (const void *)image_section(bytes, SECTION_OPERANDS),
        .steps = (const void *)image_section(bytes, SECTION_STEPS),
        .strings = (const void *)image_section(bytes, SECTION_STRINGS),
    };
    struct image *img = calloc(1, sizeof *img);
    if (!img) return err_set(e, ERR_LIMIT, "out of memory");
    img->bytes = bytes;
    img->size = size;
    if ((verify && image_verify(img, e)) || check_contents(&v, img, e)) {
        image_unmap(img);
        return -1;
    }
    *out = img;
    return 0;
}

int image_check(const uint8_t *bytes, size_t size, struct image **out, struct err *e) {
    return check_image(bytes, size, true, out, e);
}

int image_check_ahead(const uint8_t *bytes, size_t size, struct image **out, struct err *e) {
    return check_image(bytes, size, false, out, e);
}
