/* Writes a plan as an image, into memory that the caller has made room for.
 *
 * Weights go from the model's file straight to where they belong, packed and
 * scaled on the way; nothing of their size is held in between, but for one weight
 * at a time, where channels of it were taken out. The same plan and metadata give
 * the same bytes. */
#include "infer/algorithm.h"
#include "infer/image_internal.h"
#include "infer/plan_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- layout ------------------------------------------------------------------------------- */

/* Names are cut to what a fixed buffer of IMAGE_NAME holds, not inside a UTF-8 character. */
static size_t name_bytes(const char *name) {
    size_t n = strnlen(name, IMAGE_NAME);
    if (n < IMAGE_NAME) return n;
    n = IMAGE_NAME - 1;
    while (n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80) n--;
    return n;
}

/* "" first, then the names of tensors, of steps, and the labels. */
static uint64_t string_bytes(const struct plan *p, const struct plan_metadata *m) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < p->n_image_tensors; i++) n += name_bytes(p->tensors[p->order[i]].name) + 1;
    for (int32_t i = 0; i < p->n_steps; i++)
        if (!p->steps[i].gone) n += name_bytes(p->steps[i].name) + 1;
    for (uint32_t i = 0; i < m->n_labels; i++) n += strlen(m->labels[i]) + 1;
    return n;
}

/* Fills in sections[]; returns the size of the file. */
static uint64_t lay_out(const struct plan *p, const struct plan_metadata *m, struct image_section *sections) {
    const uint64_t bytes[SECTION_COUNT] = {
        [SECTION_TENSORS] = p->n_image_tensors * sizeof(struct image_tensor),
        [SECTION_OPERANDS] = p->n_image_operands * sizeof(uint32_t),
        [SECTION_STEPS] = p->n_image_steps * sizeof(struct image_step),
        [SECTION_STRINGS] = string_bytes(p, m),
        [SECTION_REPORT] = m->report_bytes,
        [SECTION_CONSTANTS] = p->constant_bytes,
    };
    uint64_t end = sizeof(struct image_header);
    for (int i = 0; i < SECTION_COUNT; i++) {
        sections[i] = (struct image_section){image_align(end), bytes[i]};
        end = sections[i].offset + bytes[i];
    }
    return end;
}

size_t plan_image_bytes(const struct plan *p, const struct plan_metadata *m) {
    struct image_section sections[SECTION_COUNT];
    return (size_t)lay_out(p, m, sections);
}

/* --- sections ------------------------------------------------------------------------------ */

struct writer {
    const struct plan *p;
    const struct plan_metadata *m;
    uint8_t *out;
    struct image_header *h;
    uint32_t strings; /* bytes written so far */
};

static uint8_t *section(const struct writer *w, int index) {
    return w->out + w->h->sections[index].offset;
}

static uint32_t write_string(struct writer *w, const char *s, size_t n) {
    const uint32_t at = w->strings;
    memcpy(section(w, SECTION_STRINGS) + at, s, n); /* the NUL is there: `out` is zeroed */
    w->strings += (uint32_t)n + 1;
    return at;
}

static void write_tensors(struct writer *w) {
    struct image_tensor *out = (void *)section(w, SECTION_TENSORS);
    for (uint32_t i = 0; i < w->p->n_image_tensors; i++) {
        const struct plan_tensor *t = &w->p->tensors[w->p->order[i]];
        out[i] = (struct image_tensor){
            .shape = t->shape,
            .place = t->data       ? PLACE_CONSTANT
                     : t->is_input ? PLACE_INPUT
                                   : PLACE_ARENA,
            .layout = t->layout,
            .offset = t->offset,
            .bytes = t->bytes,
            .name = write_string(w, t->name, name_bytes(t->name)),
        };
    }
}

static uint32_t image_index(const struct plan *p, int32_t tensor) {
    return tensor < 0 ? IMAGE_NO_TENSOR : p->tensors[tensor].index;
}

static uint64_t count_multiply_adds(const struct plan *p, const struct plan_step *s) {
    struct shape in[OP_MAX_INPUTS];
    plan_input_shapes(p, s, in);
    return algorithm_multiply_adds(s->op, &s->params, in, s->n_inputs, &p->tensors[s->output].shape);
}

static void write_steps(struct writer *w) {
    struct image_step *out = (void *)section(w, SECTION_STEPS);
    uint32_t *operands = (void *)section(w, SECTION_OPERANDS), n_operands = 0;
    for (int32_t i = 0; i < w->p->n_steps; i++) {
        const struct plan_step *s = &w->p->steps[i];
        if (s->gone) continue;
        *out = (struct image_step){
            .op = s->op,
            .algorithm = s->algorithm,
            .first_operand = n_operands,
            .n_inputs = (uint32_t)s->n_inputs,
            .residual = image_index(w->p, s->residual),
            .output = image_index(w->p, s->output),
            .activation = s->activation,
            .act_min = s->act_min,
            .act_max = s->act_max,
            .act_params = s->act_params,
            .act_op = s->activation == ACT_FUNCTION ? (uint32_t)s->act_op : 0,
            .name = write_string(w, s->name, name_bytes(s->name)),
            .multiply_adds = count_multiply_adds(w->p, s),
        };
        memcpy(&out->params, &s->params, op_params_bytes(s->op));
        for (int32_t k = 0; k < s->n_inputs; k++) operands[n_operands++] = image_index(w->p, s->inputs[k]);
        w->h->multiply_adds += out->multiply_adds;
        out++;
    }
}

static void write_labels(struct writer *w) {
    w->h->labels = w->m->n_labels ? w->strings : 0;
    for (uint32_t i = 0; i < w->m->n_labels; i++)
        (void)write_string(w, w->m->labels[i], strlen(w->m->labels[i]));
}

/* What stays of a weight whose channels were partly taken out, to be freed by the caller; NULL: out of
 * memory. */
static float *pick_weight(const struct plan_constant *c) {
    const struct plan_pick *k = c->pick;
    const int64_t rows = c->shape.dim[0], columns = c->shape.dim[1];
    const size_t each = (size_t)shape_product(&c->shape, 2, c->shape.rank);
    float *all = malloc((size_t)(rows * columns) * each * sizeof *all), *to = all;
    for (int64_t r = 0; all && r < rows; r++) {
        const float *row = c->data + (k->rows ? k->rows[r] : r) * k->all_columns * (int64_t)each;
        if (!k->columns) memcpy(to, row, (size_t)columns * each * sizeof *to);
        for (int64_t i = 0; k->columns && i < columns; i++)
            memcpy(to + (size_t)i * each, row + (size_t)k->columns[i] * each, each * sizeof *to);
        to += (size_t)columns * each;
    }
    return all;
}

static int write_constants(const struct writer *w, struct err *e) {
    for (int32_t i = 0; i < w->p->n_constants; i++) {
        const struct plan_constant *c = &w->p->constants[i];
        const struct plan_step *s = c->packed_for;
        uint8_t *to = section(w, SECTION_CONSTANTS) + c->offset;
        float *picked = c->pick ? pick_weight(c) : NULL;
        if (c->pick && !picked) return plan_out_of_memory(e);
        const float *from = picked ? picked : c->data;
        if (s)
            algorithm_pack_weight(s->algorithm, s->op, &s->params, &c->shape, s->scale, from, to);
        else
            memcpy(to, from, c->bytes);
        free(picked);
    }
    return 0;
}

/* --- header ----------------------------------------------------------------------------------- */

/* Whether the first output is what a Softmax puts out, under whichever shape. */
static bool ends_in_softmax(const struct plan *p) {
    uint64_t shift;
    const int32_t producer = p->tensors[plan_storage(p, p->outputs[0], &shift)].producer;
    return producer >= 0 && p->steps[producer].op == OP_SOFTMAX;
}

static void write_header(struct writer *w) {
    const struct plan *p = w->p;
    const struct graph *g = p->graph;
    struct image_header *h = w->h;
    memcpy(h->magic, IMAGE_MAGIC, sizeof h->magic);
    h->version = IMAGE_VERSION;
    h->isa = p->options.isa;
    memcpy(h->source_sha256, w->m->source_sha256, sizeof h->source_sha256);
    h->bytes = lay_out(p, w->m, h->sections);
    h->n_tensors = p->n_image_tensors;
    h->n_operands = p->n_image_operands;
    h->n_steps = p->n_image_steps;
    h->n_labels = w->m->n_labels;
    h->n_inputs = (uint32_t)g->n_inputs;
    h->n_outputs = (uint32_t)g->n_outputs;
    for (int32_t i = 0; i < g->n_inputs; i++) h->inputs[i] = image_index(p, p->inputs[i]);
    for (int32_t i = 0; i < g->n_outputs; i++) h->outputs[i] = image_index(p, p->outputs[i]);
    h->slab_bytes = p->slab_bytes;
    h->parameters = p->parameters;
    h->item_images = (uint32_t)g->item_images;
    h->output_is_probability = ends_in_softmax(p);
    h->preprocess = w->m->preprocess;
    if (image_all_zero(&h->preprocess, sizeof h->preprocess)) {
        h->preprocess.scale = 1;
        for (int c = 0; c < 4; c++) h->preprocess.std[c] = 1;
    }
}

static int check_metadata(const struct plan *p, const struct plan_metadata *m, struct err *e) {
    if (m->n_labels > IMAGE_MAX_LABELS)
        return err_set(e, ERR_LIMIT, "%u labels; %d are possible", m->n_labels, IMAGE_MAX_LABELS);
    if (m->report_bytes > IMAGE_MAX_REPORT)
        return err_set(e, ERR_LIMIT, "the report has %zu bytes; %u are possible", m->report_bytes,
                       IMAGE_MAX_REPORT);
    if (string_bytes(p, m) > IMAGE_MAX_STRINGS)
        return err_set(e, ERR_LIMIT, "names and labels take more than %u bytes", IMAGE_MAX_STRINGS);
    return 0;
}

int image_write(const struct plan *p, const struct plan_metadata *m, uint8_t *out, size_t bytes,
                struct err *e) {
    if (check_metadata(p, m, e)) return -1;
    if (bytes != plan_image_bytes(p, m))
        return err_set(e, ERR_INTERNAL, "%zu bytes of room for an image of %zu", bytes,
                       plan_image_bytes(p, m));
    if ((uintptr_t)out % IMAGE_ALIGN != 0)
        return err_set(e, ERR_INTERNAL, "the room for the image is not aligned");
    struct writer w = {.p = p, .m = m, .out = out, .h = (void *)out, .strings = 1};
    write_header(&w);
    if (image_check_preprocess(&w.h->preprocess, e)) return -1;
    write_tensors(&w);
    write_steps(&w);
    write_labels(&w);
    if (m->report_bytes) memcpy(section(&w, SECTION_REPORT), m->report, m->report_bytes);
    if (write_constants(&w, e)) return -1;
    image_digest(out, bytes, w.h->self_sha256);
    return 0;
}
