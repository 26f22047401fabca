/* Writes a plan as an image: the constants in parts, then the head, which tells of all of it.
 *
 * A part is a few rows of one weight: what it becomes lies in a buffer that fits the cache, is summed up
 * there and goes to its places in the image; nothing of a weight's size is held in between. Parts depend on
 * nothing but the model's file, so any number of threads take them, in order. The same plan and metadata give
 * the same bytes. */
#include "infer/algorithm.h"
#include "infer/image_internal.h"
#include "infer/layout.h"
#include "infer/plan_internal.h"

#include <pthread.h>
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
    uint8_t *out; /* the head: all before the constants */
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

/* --- constants: the bulk, and the last section ------------------------------------------------ */

#define PART ((uint64_t)512 << 10) /* bytes of a part, or the least that a part can be */

struct sending {
    const struct plan *p;
    const struct plan_sink *sink;
    uint64_t base; /* where the constants begin */
    /* Held while a part goes out: a file takes one writer at a time anyway, and threads that meet there for
     * each of 36 pieces sleep and wake for each. */
    pthread_mutex_t out;
    pthread_mutex_t lock;
    /* under the lock */
    int32_t constant; /* the next part: of which constant, and from which of its units on */
    int64_t unit;
    struct checksum sum;
    bool failed;
    struct err e;
};

struct hand { /* of one thread; room is used again and again, since new memory is slow */
    struct sending *s;
    struct checksum sum;
    float *picked, *packed;
    size_t picked_room, packed_room; /* floats */
};

/* How a constant is cut. A unit is 16 rows: filters of a block, and whole blocks of the checksum. A packed
 * weight lies in planes one behind another (Winograd's points), with a piece of each unit in all of them. */
struct cut {
    int64_t rows, units, each; /* each: units of a part */
    uint64_t planes, unit;     /* unit: bytes in a plane; 0: just bytes, PART at a time */
};

/* What goes into the image as it stands, but for channels that were taken out; the rest is packed. */
static bool is_copied(const struct plan_constant *c) {
    const struct plan_step *s = c->packed_for;
    return !s || algorithm_keeps_weight(s->algorithm, s->op, s->scale);
}

static struct cut cut_of(const struct plan_constant *c) {
    struct cut k = {.rows = 1, .planes = 1, .each = 1};
    if (is_copied(c) && !c->pick) {
        k.units = (int64_t)((c->bytes + PART - 1) / PART);
        return k;
    }
    const struct plan_step *s = c->packed_for;
    k.rows = c->shape.dim[0];
    k.units = (k.rows + LAYOUT_LANES - 1) / LAYOUT_LANES;
    if (!is_copied(c)) k.planes = algorithm_weight_planes(s->algorithm, s->op);
    const bool blocked = !is_copied(c) && algorithm_weight_is_blocked(s->algorithm, s->op);
    k.unit = blocked ? c->bytes / k.planes / (uint64_t)k.units : c->bytes / (uint64_t)k.rows * LAYOUT_LANES;
    const uint64_t unit = k.unit * k.planes;
    if (unit < PART) k.each = (int64_t)(PART / unit);
    /* Filters of a group are packed by where their group begins: some rows alone would be taken for other
     * groups. */
    if (blocked && s->params.window.groups > 1) k.each = k.units;
    return k;
}

/* One row of what stays of a weight, in floats. */
static size_t row_floats(const struct plan_constant *c) {
    return (size_t)shape_product(&c->shape, 1, c->shape.rank);
}

/* The row of the source that row `r` is taken from. */
static const float *source_row(const struct plan_constant *c, int64_t r) {
    const struct plan_pick *k = c->pick;
    if (!k) return c->data + (size_t)r * row_floats(c);
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

static int make_room(float **at, size_t *room, size_t floats, struct err *e) {
    if (floats <= *room) return 0;
    free(*at);
    *at = aligned_alloc(IMAGE_ALIGN, image_align(floats * sizeof **at));
    *room = *at ? floats : 0;
    return *at ? 0 : plan_out_of_memory(e);
}

/* A part's pieces of `n` bytes, one of each plane. */
static int put(struct hand *h, const struct plan_constant *c, uint64_t planes, uint64_t at, const void *bytes,
               size_t n, struct err *e) {
    struct sending *s = h->s;
    const uint64_t first = s->base + c->offset + at, step = c->bytes / planes;
    const uint8_t *from = bytes;
    int rc = 0;
    for (uint64_t i = 0; i < planes; i++) checksum_add(&h->sum, first + i * step, from + i * n, n);
    pthread_mutex_lock(&s->out);
    for (uint64_t i = 0; i < planes && rc == 0; i++)
        rc = s->sink->put(s->sink->ctx, first + i * step, from + i * n, n, e);
    pthread_mutex_unlock(&s->out);
    return rc;
}

static void give_back(const struct sending *s, const struct plan_constant *c, const void *from,
                      const void *end) {
    const size_t n = (size_t)((const uint8_t *)end - (const uint8_t *)from);
    if (c->alone && s->sink->done && n) s->sink->done(s->sink->ctx, from, n);
}

static int send_copy(struct hand *h, const struct plan_constant *c, int64_t part, struct err *e) {
    const uint64_t at = (uint64_t)part * PART, n = c->bytes - at < PART ? c->bytes - at : PART;
    const uint8_t *from = (const uint8_t *)c->data + at;
    if (put(h, c, 1, at, from, n, e)) return -1;
    give_back(h->s, c, from, from + n);
    return 0;
}

/* Rows from `first` on as they stand in the image, in h->packed (or, unchanged, where they are). */
static int make_rows(struct hand *h, const struct plan_constant *c, int64_t first, int64_t n, size_t bytes,
                     const float **made, struct err *e) {
    const struct plan_step *s = c->packed_for;
    const float *rows = source_row(c, first);
    if (c->pick) {
        if (make_room(&h->picked, &h->picked_room, (size_t)n * row_floats(c), e)) return -1;
        pick_rows(c, first, n, h->picked);
        rows = h->picked;
    }
    *made = rows;
    if (is_copied(c)) return 0;
    if (make_room(&h->packed, &h->packed_room, bytes / sizeof(float), e)) return -1;
    struct shape shape = c->shape;
    shape.dim[0] = n;
    const bool by_row = s->op != OP_GEMM || s->params.gemm.trans_b; /* else every row has all outputs */
    algorithm_pack_weight(s->algorithm, s->op, &s->params, &shape,
                          s->scale && by_row ? s->scale + first : s->scale, rows, h->packed);
    *made = h->packed;
    return 0;
}

static int send_rows(struct hand *h, const struct plan_constant *c, const struct cut *k, int64_t unit,
                     struct err *e) {
    const int64_t end = unit + k->each < k->units ? unit + k->each : k->units;
    const int64_t first = unit * LAYOUT_LANES, last = end == k->units ? k->rows : end * LAYOUT_LANES;
    const uint64_t plane = c->bytes / k->planes, at = (uint64_t)unit * k->unit;
    const uint64_t n = end == k->units ? plane - at : (uint64_t)(end - unit) * k->unit;
    const float *made;
    if (make_rows(h, c, first, last - first, n * k->planes, &made, e)) return -1;
    if (put(h, c, k->planes, at, made, n, e)) return -1;
    give_back(h->s, c, unit ? (const void *)source_row(c, first) : c->data,
              end == k->units ? (const uint8_t *)c->data + plan_source_bytes(c)
                              : (const uint8_t *)source_row(c, last));
    return 0;
}

/* The next part; NULL: there is none any more. */
static const struct plan_constant *take_part(struct sending *s, struct cut *k, int64_t *unit) {
    const struct plan_constant *c = NULL;
    pthread_mutex_lock(&s->lock);
    if (!s->failed && s->constant < s->p->n_constants) {
        c = &s->p->constants[s->constant];
        *k = cut_of(c);
        *unit = s->unit;
        s->unit += k->each;
        if (s->unit >= k->units) s->constant++, s->unit = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

static void send_parts(void *arg) {
    struct hand h = {.s = arg};
    const struct plan_constant *c;
    struct err e = {0};
    struct cut k;
    int64_t unit;
    int rc = 0;
    while (rc == 0 && (c = take_part(h.s, &k, &unit)))
        rc = k.unit ? send_rows(&h, c, &k, unit, &e) : send_copy(&h, c, unit, &e);
    pthread_mutex_lock(&h.s->lock);
    checksum_merge(&h.s->sum, &h.sum);
    if (rc && !h.s->failed) h.s->e = e;
    h.s->failed |= rc != 0;
    pthread_mutex_unlock(&h.s->lock);
    free(h.picked);
    free(h.packed);
}

static int send_constants(const struct plan *p, const struct plan_sink *sink, uint64_t base,
                          struct checksum *sum, struct err *e) {
    struct sending s = {.p = p,
                        .sink = sink,
                        .base = base,
                        .out = PTHREAD_MUTEX_INITIALIZER,
                        .lock = PTHREAD_MUTEX_INITIALIZER};
    if (sink->spread)
        sink->spread(sink->ctx, send_parts, &s);
    else
        send_parts(&s);
    *sum = s.sum;
    if (s.failed && e) *e = s.e;
    return s.failed ? -1 : 0;
}

/* --- header ----------------------------------------------------------------------------------- */

/* Whether the first output is what a Softmax puts out, under whichever shape. */
static bool ends_in_softmax(const struct plan *p) {
    uint64_t shift;
    const int32_t producer = p->tensors[plan_storage(p, p->outputs[0], &shift)].producer;
    return producer >= 0 && p->steps[producer].op == OP_SOFTMAX;
}

static void preprocess_of(const struct plan_metadata *m, struct image_preprocess *out) {
    *out = m->preprocess;
    if (!image_all_zero(out, sizeof *out)) return;
    out->scale = 1;
    for (int c = 0; c < 4; c++) out->std[c] = 1;
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
    preprocess_of(w->m, &h->preprocess);
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

static int send_head(struct writer *w, const struct plan_sink *sink, uint64_t size, struct checksum *sum,
                     struct err *e) {
    write_header(w);
    write_tensors(w);
    write_steps(w);
    write_labels(w);
    if (w->m->report_bytes) memcpy(section(w, SECTION_REPORT), w->m->report, w->m->report_bytes);
    const uint64_t whole = w->h->bytes;
    image_checksum_head(sum, w->out, size);
    checksum_final(sum, whole, w->h->self_checksum);
    return sink->put(sink->ctx, 0, w->out, size, e);
}

int image_send(const struct plan *p, const struct plan_metadata *m, const struct plan_sink *sink,
               struct err *e) {
    struct image_section sections[SECTION_COUNT];
    struct image_preprocess preprocess;
    struct checksum sum;
    preprocess_of(m, &preprocess);
    if (check_metadata(p, m, e) || image_check_preprocess(&preprocess, e)) return -1;
    (void)lay_out(p, m, sections);
    const uint64_t base = sections[SECTION_CONSTANTS].offset;
    struct writer w = {.p = p, .m = m, .strings = 1, .out = aligned_alloc(IMAGE_ALIGN, base)};
    if (!w.out) return plan_out_of_memory(e);
    memset(w.out, 0, base);
    w.h = (void *)w.out;
    int rc = send_constants(p, sink, base, &sum, e);
    if (rc == 0 && sink->last) rc = sink->last(sink->ctx, e);
    if (rc == 0) rc = send_head(&w, sink, base, &sum, e);
    free(w.out);
    return rc;
}

/* --- into memory ------------------------------------------------------------------------------- */

static int put_in_memory(void *ctx, uint64_t at, const void *bytes, size_t n, struct err *e) {
    (void)e;
    memcpy((uint8_t *)ctx + at, bytes, n);
    return 0;
}

int image_write(const struct plan *p, const struct plan_metadata *m, uint8_t *out, size_t bytes,
                struct err *e) {
    const struct plan_sink sink = {.put = put_in_memory, .ctx = out};
    if (check_metadata(p, m, e)) return -1;
    if (bytes != plan_image_bytes(p, m))
        return err_set(e, ERR_INTERNAL, "%zu bytes of room for an image of %zu", bytes,
                       plan_image_bytes(p, m));
    if ((uintptr_t)out % IMAGE_ALIGN != 0)
        return err_set(e, ERR_INTERNAL, "the room for the image is not aligned");
    return image_send(p, m, &sink, e);
}
