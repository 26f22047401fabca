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
    float *picked;    /* room for what stays of a weight, used again and again: new memory is slow */
    size_t room;      /* floats of it */
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

/* --- constants: the bulk, and the last section ------------------------------------------------ */

#define PIECE ((uint64_t)4 << 20) /* of what is only copied: two of these are in memory at once */

static int want(const struct writer *w, size_t from, size_t to, struct err *e) {
    const struct plan_memory *m = w->m->memory;
    return m && to > from ? m->want(m->ctx, from, to - from, e) : 0;
}

static void done(const struct writer *w, const void *at, size_t n) {
    if (w->m->memory && n) w->m->memory->done(w->m->memory->ctx, at, n);
}

/* What goes into the image as it stands, but for channels that were taken out; the rest is packed. */
static bool is_copied(const struct plan_constant *c) {
    const struct plan_step *s = c->packed_for;
    return !s || algorithm_keeps_weight(s->algorithm, s->op, s->scale);
}

/* One row of what stays of a weight, and its length in floats. */
static size_t row_floats(const struct plan_constant *c) {
    return (size_t)shape_product(&c->shape, 1, c->shape.rank);
}

static const float *source_row(const struct plan_constant *c, int64_t r) {
    const struct plan_pick *k = c->pick;
    const size_t each = (size_t)shape_product(&c->shape, 2, c->shape.rank);
    return c->data + (size_t)((k->rows ? k->rows[r] : r) * k->all_columns) * each;
}

static void pick_rows(const struct plan_constant *c, int64_t first, int64_t n, float *to) {
    const struct plan_pick *k = c->pick;
    const int64_t columns = c->shape.dim[1];
    const size_t each = (size_t)shape_product(&c->shape, 2, c->shape.rank);
    for (int64_t r = first; r < first + n; r++, to += (size_t)columns * each) {
        const float *row = source_row(c, r);
        if (!k->columns) memcpy(to, row, (size_t)columns * each * sizeof *to);
        for (int64_t i = 0; k->columns && i < columns; i++)
            memcpy(to + (size_t)i * each, row + (size_t)k->columns[i] * each, each * sizeof *to);
    }
}

static int make_room(struct writer *w, size_t floats, struct err *e) {
    if (floats <= w->room) return 0;
    free(w->picked);
    w->picked = malloc(floats * sizeof *w->picked);
    w->room = w->picked ? floats : 0;
    return w->picked ? 0 : plan_out_of_memory(e);
}

/* In how many bytes at a time the constant is written; packing takes it whole. */
static uint64_t piece_bytes(const struct plan_constant *c) {
    if (!is_copied(c)) return c->bytes;
    if (!c->pick) return PIECE;
    const uint64_t row = row_floats(c) * sizeof(float);
    return row >= PIECE ? row : PIECE / row * row;
}

/* `n` bytes of the constant `at` its beginning. *used is how much of the source is not needed from there on.
 */
static int write_piece(struct writer *w, const struct plan_constant *c, uint64_t at, uint64_t n, uint8_t *to,
                       size_t *used, struct err *e) {
    const struct plan_step *s = c->packed_for;
    const size_t row = c->pick ? row_floats(c) : 0;
    if (is_copied(c) && c->pick) {
        const int64_t first = (int64_t)(at / sizeof(float) / row), rows = (int64_t)(n / sizeof(float) / row);
        pick_rows(c, first, rows, (float *)(void *)(to + at));
        *used = (size_t)(source_row(c, first + rows - 1) - c->data) * sizeof(float);
        return 0;
    }
    *used = is_copied(c) ? (size_t)(at + n) : plan_source_bytes(c);
    if (is_copied(c)) {
        memcpy(to + at, (const uint8_t *)c->data + at, n);
        return 0;
    }
    if (c->pick && make_room(w, (size_t)shape_elements(&c->shape), e)) return -1;
    if (c->pick) pick_rows(c, 0, c->shape.dim[0], w->picked);
    algorithm_pack_weight(s->algorithm, s->op, &s->params, &c->shape, s->scale, c->pick ? w->picked : c->data,
                          to);
    return 0;
}

/* Each piece is digested while it is in the cache, and then nobody here needs it again: at no time
 * are source and result of a large weight both in memory. */
static int write_constants(struct writer *w, struct checksum *sum, struct err *e) {
    const size_t base = w->h->sections[SECTION_CONSTANTS].offset;
    size_t end = base; /* of what is written */
    for (int32_t i = 0; i < w->p->n_constants; i++) {
        const struct plan_constant *c = &w->p->constants[i];
        const uint64_t piece = piece_bytes(c);
        size_t freed = 0, used = 0; /* of the source */
        for (uint64_t at = 0; at < c->bytes; at += piece) {
            const uint64_t n = c->bytes - at < piece ? c->bytes - at : piece;
            const size_t next = base + c->offset + at + n;
            if (want(w, end, next, e) || write_piece(w, c, at, n, w->out + base + c->offset, &used, e))
                return -1;
            checksum_update(sum, w->out + end, next - end);
            done(w, w->out + end, next - end);
            if (at + n == c->bytes) used = plan_source_bytes(c);
            if (c->alone && used > freed) done(w, (const uint8_t *)c->data + freed, used - freed);
            freed = used;
            end = next;
        }
    }
    checksum_update(sum, w->out + end, w->h->bytes - end);
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
    struct image_section sections[SECTION_COUNT];
    struct checksum sum;
    struct writer w = {.p = p, .m = m, .out = out, .h = (void *)out, .strings = 1};
    (void)lay_out(p, m, sections);
    if (want(&w, 0, sections[SECTION_CONSTANTS].offset, e)) return -1;
    write_header(&w);
    if (image_check_preprocess(&w.h->preprocess, e)) return -1;
    write_tensors(&w);
    write_steps(&w);
    write_labels(&w);
    if (m->report_bytes) memcpy(section(&w, SECTION_REPORT), m->report, m->report_bytes);
    image_checksum_begin(&sum, out, sections[SECTION_CONSTANTS].offset);
    const int rc = write_constants(&w, &sum, e);
    free(w.picked);
    if (rc) return -1;
    checksum_final(&sum, w.h->self_checksum);
    return 0;
}
