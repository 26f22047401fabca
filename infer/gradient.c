/* The engine that runs backwards; see gradient.h. Forward it runs the image's own
 * steps, all items of a step at once; backwards the same steps from the end,
 * each adding to the slopes of what it read. */
#include "infer/gradient_internal.h"

#include "infer/blas.h"
#include "infer/kernels_all.h"

#include <stdlib.h>
#include <string.h>

/* --- what slopes go through ------------------------------------------------------------------ */

static bool is_constant(const struct image *img, uint32_t tensor) {
    const struct image_tensor *t = image_tensor_at(img, tensor);
    return !t || t->place == PLACE_CONSTANT;
}

static bool others_are_constant(const struct image *img, const struct image_step *s) {
    const uint32_t *operands = image_operands(img, s);
    for (uint32_t k = 1; k < s->n_inputs; k++)
        if (!is_constant(img, operands[k])) return false;
    return true;
}

static gradient_fn find_unary(enum op op) {
    switch ((int)op) {
    case OP_RELU: return gradient_of_relu;
    case OP_CLIP: return gradient_of_clip;
    case OP_MAX_POOL: return gradient_of_max_pool;
    case OP_AVERAGE_POOL: return gradient_of_average_pool;
    case OP_GLOBAL_AVERAGE_POOL: return gradient_of_global_average_pool;
    case OP_RESHAPE: return gradient_of_copy;
    case OP_SOFTMAX: return gradient_of_softmax;
    case OP_REDUCE_MEAN:
    case OP_REDUCE_SUM: return gradient_of_mean;
    case OP_TRANSPOSE:
    case OP_SLICE:
    case OP_EXPAND:
    case OP_PAD:
    case OP_GATHER: return gradient_of_move;
    case OP_BATCH_NORM: return gradient_of_batch_norm;
    case OP_LAYER_NORM: return gradient_of_layer_norm;
    case OP_GEMM: return gradient_of_gemm;
    case OP_MATMUL: return gradient_of_matmul;
    default: return gradient_knows_function(op) ? gradient_of_function : NULL;
    }
}

/* Element numbers go through floats (gradient_sources). */
static bool is_small(const struct image *img, const struct image_step *s) {
    return shape_elements(&image_tensor_at(img, image_operands(img, s)[0])->shape) < 1 << 24;
}

gradient_fn gradient_find(const struct image *img, const struct image_step *s) {
    const enum op op = (enum op)s->op;
    switch ((int)op) {
    case OP_CONV: return gradient_of_conv;
    case OP_IDENTITY: return s->algorithm == ALG_REORDER ? gradient_of_reorder : gradient_of_copy;
    case OP_CONCAT: return gradient_of_concat;
    case OP_ADD:
    case OP_MUL:
    case OP_SUB:
    case OP_DIV:
    case OP_MIN:
    case OP_MAX:
    case OP_PRELU: return gradient_of_pair;
    default: break;
    }
    const gradient_fn f = find_unary(op);
    if (!f || !others_are_constant(img, s)) return NULL;
    if (f == gradient_of_move && !is_small(img, s)) return NULL;
    if (op == OP_MATMUL && image_tensor_at(img, image_operands(img, s)[1])->shape.rank > 2) return NULL;
    return f;
}

/* --- making ------------------------------------------------------------------------------------ */

/* Steps of a plan that gives memory away twice would find other numbers than they left. */
static bool keeps_all(const struct image *img) {
    const struct image_header *h = image_header(img);
    for (uint32_t i = 0; i < h->n_steps; i++) {
        const struct image_tensor *a = image_tensor_at(img, image_step_at(img, i)->output);
        for (uint32_t k = 0; k < i; k++) {
            const struct image_tensor *b = image_tensor_at(img, image_step_at(img, k)->output);
            if (a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes) return false;
        }
    }
    return true;
}

static int check_image(const struct image *img, struct err *e) {
    const struct image_header *h = image_header(img);
    if (h->n_inputs != 1 || h->n_outputs != 1 || h->item_images != 1)
        return err_set(e, ERR_UNSUPPORTED,
                       "only networks of one input and one output, a picture at a time, have one slope");
    if (image_tensor_at(img, h->inputs[0])->layout != LAYOUT_PLAIN || !keeps_all(img))
        return err_set(e, ERR_VALUE, "the image was compiled for serving, not for gradients");
    for (uint32_t i = 0; i < h->n_steps; i++) {
        const struct image_step *s = image_step_at(img, i);
        if (!gradient_find(img, s))
            return err_set(e, ERR_UNSUPPORTED, "no slope goes through %s %s", op_name((enum op)s->op),
                           image_string(img, s->name));
    }
    return 0;
}

static int make_steps(struct gradient *g, size_t *scratch, struct err *e) {
    for (uint32_t i = 0; i < g->h->n_steps; i++) {
        const struct image_step *s = image_step_at(g->img, i);
        struct gradient_step *own = &g->steps[i];
        if (s->op == OP_CONV) {
            size_t need = 0;
            if (gradient_conv_make(g->img, s, &own->conv, &need, e))
                return err_prefix(e, "Conv %s", image_string(g->img, s->name));
            need += g->items * (own->conv->spread_floats + own->conv->back_floats);
            if (need > *scratch) *scratch = need;
        } else if (gradient_find(g->img, s) == gradient_of_move) {
            own->source = gradient_sources(g->img, s);
            if (!own->source) return err_set(e, ERR_SYSTEM, "out of memory for %s", op_name((enum op)s->op));
        }
    }
    return 0;
}

static void *floats(size_t n) {
    void *p = aligned_alloc(IMAGE_ALIGN, (n * sizeof(float) / IMAGE_ALIGN + 1) * IMAGE_ALIGN);
    if (p) memset(p, 0, n * sizeof(float));
    return p;
}

int gradient_new(const struct image *img, uint32_t items, struct gradient **out, struct err *e) {
    *out = NULL;
    if (check_image(img, e)) return -1;
    struct gradient *g = calloc(1, sizeof *g);
    if (!g) return err_set(e, ERR_SYSTEM, "out of memory");
    blas_init();
    g->img = img;
    g->h = image_header(img);
    g->items = items;
    g->slab = g->h->slab_bytes / sizeof(float);
    g->input = g->h->inputs[0];
    g->output = g->h->outputs[0];
    g->n_steps = g->h->n_steps;
    g->steps = calloc(g->n_steps, sizeof *g->steps);
    size_t scratch = image_scratch_bytes(img) / sizeof(float);
    int rc = g->steps ? make_steps(g, &scratch, e) : err_set(e, ERR_SYSTEM, "out of memory");
    if (rc == 0) {
        g->values = floats(g->slab * items);
        g->slopes = floats(g->slab * items);
        g->scratch = floats(scratch + IMAGE_ALIGN);
        if (!g->values || !g->slopes || !g->scratch)
            rc = err_set(e, ERR_LIMIT, "out of memory for %u pictures at once", items);
    }
    if (rc) {
        gradient_free(g);
        return -1;
    }
    *out = g;
    return 0;
}

void gradient_free(struct gradient *g) {
    if (!g) return;
    for (uint32_t i = 0; g->steps && i < g->h->n_steps; i++) {
        gradient_conv_free(g->steps[i].conv);
        free(g->steps[i].source);
    }
    free(g->steps);
    free(g->values);
    free(g->slopes);
    free(g->scratch);
    free(g);
}

/* --- running ------------------------------------------------------------------------------------ */

static struct view value_of(const struct gradient *g, uint32_t tensor) {
    const struct image_tensor *t = image_tensor_at(g->img, tensor);
    if (!t) return (struct view){0};
    if (t->place == PLACE_CONSTANT)
        return (struct view){.t = t, .base = (float *)(uintptr_t)image_constant(g->img, t)};
    return (struct view){.t = t, .base = g->values + t->offset / sizeof(float), .stride = g->slab};
}

static struct view slope_of(const struct gradient *g, uint32_t tensor) {
    const struct image_tensor *t = image_tensor_at(g->img, tensor);
    if (!t || t->place == PLACE_CONSTANT) return (struct view){.t = t};
    return (struct view){.t = t, .base = g->slopes + t->offset / sizeof(float), .stride = g->slab};
}

static void run_step(const struct gradient *g, uint32_t index, uint32_t n) {
    const struct image_step *s = image_step_at(g->img, index);
    const struct gradient_conv *conv = g->steps[index].conv;
    const uint32_t *operands = image_operands(g->img, s);
    struct view in[OP_MAX_INPUTS];
    for (uint32_t k = 0; k < s->n_inputs; k++) in[k] = value_of(g, operands[k]);
    if (conv) {
        in[1].base = conv->packed;
        if (conv->bias) in[2].base = conv->bias;
        s = &conv->forward;
    }
    kernel_find(s->op, s->algorithm)(&(struct kernel_call){.step = s,
                                                           .n_items = n,
                                                           .n_inputs = s->n_inputs,
                                                           .in = in,
                                                           .residual = value_of(g, s->residual),
                                                           .out = value_of(g, s->output),
                                                           .scratch = g->scratch});
}

void gradient_forward(struct gradient *g, uint32_t n, uint32_t from) {
    for (uint32_t i = from; i < g->n_steps; i++) run_step(g, i, n);
}

static void back_step(const struct gradient *g, uint32_t index, uint32_t n) {
    const struct image_step *s = image_step_at(g->img, index);
    const uint32_t *operands = image_operands(g->img, s);
    struct view in[OP_MAX_INPUTS], din[OP_MAX_INPUTS];
    for (uint32_t k = 0; k < s->n_inputs; k++) {
        in[k] = value_of(g, operands[k]);
        din[k] = slope_of(g, operands[k]);
    }
    if (s->n_inputs == 0) return;
    const struct gradient_call c = {.step = s,
                                    .own = &g->steps[index],
                                    .n_items = n,
                                    .n_inputs = s->n_inputs,
                                    .in = in,
                                    .out = value_of(g, s->output),
                                    .din = din,
                                    .dres = slope_of(g, s->residual),
                                    .dout = slope_of(g, s->output),
                                    .scratch = g->scratch};
    bool wanted = c.dres.base != NULL;
    for (uint32_t k = 0; k < s->n_inputs; k++) wanted |= din[k].base != NULL;
    if (!wanted) return;
    gradient_activation(&c);
    const gradient_fn f = gradient_find(g->img, s);
    if (f == gradient_of_conv || f == gradient_of_pair || f == gradient_of_concat || din[0].base) f(&c);
}

float *gradient_seed(struct gradient *g, uint32_t i) {
    const struct view v = slope_of(g, g->output);
    return view_item(&v, i);
}

/* Slopes of all but the output start at zero; the caller has written the output's. */
void gradient_backward(struct gradient *g, uint32_t n) {
    const struct image_tensor *out = image_tensor_at(g->img, g->output);
    const size_t at = out->offset / sizeof(float), floats_out = (size_t)floats_of(out);
    for (uint32_t i = 0; i < n; i++) {
        float *slab = g->slopes + i * g->slab;
        memset(slab, 0, at * sizeof *slab);
        memset(slab + at + floats_out, 0, (g->slab - at - floats_out) * sizeof *slab);
    }
    for (uint32_t i = g->n_steps; i > 0; i--) back_step(g, i - 1, n);
}

void gradient_before_softmax(struct gradient *g) {
    const struct image_step *last = image_step_at(g->img, g->n_steps - 1);
    const uint32_t before = image_operands(g->img, last)[0];
    if (last->op != OP_SOFTMAX || last->output != g->output ||
        image_tensor_at(g->img, before)->place != PLACE_ARENA)
        return;
    g->output = before;
    g->n_steps--;
}

float *gradient_input(struct gradient *g, uint32_t i) {
    const struct view v = value_of(g, g->input);
    return view_item(&v, i);
}
const float *gradient_output(const struct gradient *g, uint32_t i) {
    const struct view v = value_of(g, g->output);
    return view_item(&v, i);
}
const float *gradient_slope(const struct gradient *g, uint32_t i) {
    const struct view v = slope_of(g, g->input);
    return view_item(&v, i);
}

int64_t gradient_input_floats(const struct gradient *g) {
    return shape_elements(&image_tensor_at(g->img, g->input)->shape);
}
int64_t gradient_output_floats(const struct gradient *g) {
    return shape_elements(&image_tensor_at(g->img, g->output)->shape);
}

/* --- channels ------------------------------------------------------------------------------------- */

uint32_t gradient_channels(const struct gradient *g, uint32_t step) {
    return step < g->h->n_steps && g->steps[step].conv ? g->steps[step].conv->filters : 0;
}

bool gradient_is_silent(const struct gradient *g, uint32_t step, uint32_t channel) {
    return g->steps[step].conv->silent[channel];
}

void gradient_silence(struct gradient *g, uint32_t step, uint32_t channel, bool silent) {
    struct gradient_conv *c = g->steps[step].conv;
    const size_t each = (size_t)(shape_elements(&c->weight_tensor.shape) / c->filters);
    float *w = c->weight + channel * each;
    if (c->silent[channel] == silent) return;
    c->silent[channel] = silent;
    if (silent)
        memset(w, 0, each * sizeof *w);
    else
        memcpy(w, c->was + channel * each, each * sizeof *w);
    if (c->bias) c->bias[channel] = silent ? 0 : c->was_bias[channel];
    gradient_conv_pack(c);
}

void gradient_activity(const struct gradient *g, uint32_t step, uint32_t i, float *activity, float *effect) {
    const struct image_step *s = image_step_at(g->img, step);
    const struct view out = value_of(g, s->output), res = value_of(g, s->residual),
                      slope = slope_of(g, s->output);
    const struct spread_shape sp = spread_of(out.t);
    const bool cuts = s->activation != ACT_NONE && res.t;
    for (int64_t k = 0; k < sp.channels; k++) {
        double sum = 0, change = 0;
        for (int64_t n = 0; n < sp.images; n++) {
            const int64_t at = spread_at(&sp, n, k);
            const float *y = view_item(&out, i) + at, *d = view_item(&slope, i) + at,
                        *r = res.t ? view_item(&res, i) + at : NULL;
            for (int64_t p = 0; p < sp.plane; p++) {
                /* Where the activation has cut the sum off, what this channel added is not known. */
                const float v = y[p * sp.step], own = !cuts || v > 0 ? v - (r ? r[p * sp.step] : 0) : 0;
                sum += own > 0 ? (double)own : 0;
                change -= (double)own * (double)d[p * sp.step];
            }
        }
        if (activity) activity[k] = (float)(sum / (double)(sp.plane * sp.images));
        if (effect) effect[k] = (float)change;
    }
}
