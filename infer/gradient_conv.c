/* Convolutions backwards: the slopes of the output, convolved with the filters
 * turned around (inputs and outputs of each group change places, taps are read
 * from the end), are the slopes of the input. What runs is therefore a forward
 * kernel again, and whichever is fastest.
 *
 *   stride 1        slopes [N,M,OH,OW]  --turned-->  [N,C,H,W], added where it belongs
 *   1x1, strided    the same at the output's size, then every value to its place
 *   else strided    slopes are spread first, zeros between them
 *
 * The image holds the weights in the order that its kernel reads; the same order, applied
 * to the numbers 0, 1, 2, …, tells where each came from. */
#include "infer/gradient_internal.h"

#include "infer/algorithm.h"
#include "infer/conv.h"
#include "infer/simd.h"

#include <stdlib.h>
#include <string.h>

static void *floats(size_t n) {
    const size_t bytes = (n * sizeof(float) + IMAGE_ALIGN - 1) / IMAGE_ALIGN * IMAGE_ALIGN + IMAGE_ALIGN;
    void *p = aligned_alloc(IMAGE_ALIGN, bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

/* --- weights ------------------------------------------------------------------------------ */

/* Two digits per index, so that both are whole as floats; 0 is what spare lanes hold. */
static bool fill_digits(float *to, int64_t n, int shift) {
    if (!to) return false;
    for (int64_t i = 0; i < n; i++) to[i] = (float)(shift ? i >> shift : (i & 0xfff) + 1);
    return true;
}

/* What was packed for `s` in ONNX's order again. */
static int unpack(const struct image_step *s, const struct shape *w, const float *packed, float *to) {
    const int64_t n = shape_elements(w);
    const size_t bytes = algorithm_weight_bytes(s->algorithm, OP_CONV, &s->params, w),
                 all = bytes / sizeof(float);
    float *index = floats((size_t)n), *low = floats(all), *high = floats(all);
    const bool ok = low && high && fill_digits(index, n, 0);
    if (ok) {
        algorithm_pack_weight(s->algorithm, OP_CONV, &s->params, w, NULL, index, low);
        (void)fill_digits(index, n, 12);
        algorithm_pack_weight(s->algorithm, OP_CONV, &s->params, w, NULL, index, high);
        for (size_t i = 0; i < all; i++)
            if (low[i] > 0) to[(int64_t)high[i] * 4096 + (int64_t)low[i] - 1] = packed[i];
    }
    free(index);
    free(low);
    free(high);
    return ok ? 0 : -1;
}

/* W [M,C/g,taps] to [C,M/g,taps from the end]. */
static void turn(const struct conv *c, const float *from, float *to) {
    for (int64_t g = 0; g < c->groups; g++)
        for (int64_t k = 0; k < c->group_channels; k++)
            for (int64_t m = 0; m < c->group_filters; m++) {
                const float *x = from + ((g * c->group_filters + m) * c->group_channels + k) * c->window;
                for (int64_t t = c->window - 1; t >= 0; t--) *to++ = x[t];
            }
}

void gradient_conv_pack(struct gradient_conv *c) {
    struct conv geometry = {.groups = c->back.params.window.groups, .window = 1};
    const struct shape *w = &c->weight_tensor.shape;
    geometry.group_channels = w->dim[1];
    geometry.group_filters = w->dim[0] / geometry.groups;
    geometry.window = shape_product(w, 2, w->rank);
    float *turned = floats((size_t)shape_elements(w));
    algorithm_pack_weight(c->forward.algorithm, OP_CONV, &c->forward.params, w, NULL, c->weight, c->packed);
    if (!turned) abort(); /* a sandboxed process that has run out of memory has nothing to save */
    turn(&geometry, c->weight, turned);
    algorithm_pack_weight(c->back.algorithm, OP_CONV, &c->back.params, &c->turned_tensor.shape, NULL, turned,
                          c->turned);
    free(turned);
}

/* --- the two convolutions ----------------------------------------------------------------- */

static struct shape spatial_shape(const struct op_window *w, int64_t images, int64_t channels,
                                  const int64_t size[OP_SPATIAL]) {
    struct shape s = {.rank = 2 + w->spatial, .dim = {images, channels}};
    for (int d = 0; d < w->spatial; d++) s.dim[2 + d] = size[OP_SPATIAL - w->spatial + d];
    return s;
}

static bool is_point(const struct conv *c) {
    for (int d = 0; d < OP_SPATIAL; d++)
        if (c->kernel[d] != 1 || c->pad[d] != 0) return false;
    return true;
}

/* The window of the way back, and the size of the slopes that it slides over. */
static int plan_window(struct gradient_conv *g, const struct conv *c, int64_t size[OP_SPATIAL],
                       struct err *e) {
    struct op_window *w = &g->back.params.window;
    for (int d = 0; d < OP_SPATIAL; d++) {
        const int64_t reach = (c->kernel[d] - 1) * c->dilation[d];
        size[d] = g->point ? c->out[d] : (c->out[d] - 1) * c->stride[d] + 1;
        const int64_t begin = reach - c->pad[d], end = g->point ? 0 : c->in[d] - size[d] + c->pad[d];
        if (begin < 0 || end < 0 || end > OP_MAX_PAD)
            return err_set(e, ERR_UNSUPPORTED, "no slope goes through padding that is wider than the kernel");
        w->stride[d] = 1;
        w->pad_begin[d] = (int32_t)begin;
        w->pad_end[d] = (int32_t)end;
    }
    return 0;
}

static uint32_t fastest(uint32_t own, const union op_params *p, const struct shape in[2],
                        const struct shape *out, bool blocked) {
    const uint32_t best = algorithm_choose(image_host_isa(), OP_CONV, p, in, 2, out);
    if (!blocked) {
        const uint32_t plain = algorithm_choose(ISA_GENERIC, OP_CONV, p, in, 2, out);
        return own == ALG_CONV_REFERENCE ? own : plain;
    }
    const bool takes_blocks = best == ALG_CONV_DIRECT || best == ALG_CONV_CHANNELWISE ||
                              best == ALG_CONV_WINOGRAD_2 || best == ALG_CONV_WINOGRAD_4;
    return takes_blocks ? best : own;
}

static int plan_back(struct gradient_conv *g, const struct conv *c, const struct image_tensor *x,
                     const struct image_tensor *out, struct err *e) {
    struct op_window *w = &g->back.params.window;
    const bool blocked = out->layout == LAYOUT_BLOCKED;
    int64_t size[OP_SPATIAL], strides = c->stride[0] * c->stride[1] * c->stride[2];
    *w = g->forward.params.window;
    g->point = strides > 1 && is_point(c);
    g->spread = strides > 1 && !g->point;
    g->reblocked = blocked && x->layout == LAYOUT_PLAIN;
    if (plan_window(g, c, size, e)) return -1;
    g->slope_tensor = *out;
    g->slope_tensor.shape = spatial_shape(w, c->images, c->filters, size);
    g->back_tensor = *x;
    g->back_tensor.layout = out->layout;
    if (g->point) g->back_tensor.shape = spatial_shape(w, c->images, c->channels, c->out);
    g->turned_tensor = g->weight_tensor;
    g->turned_tensor.shape.dim[0] = c->channels;
    g->turned_tensor.shape.dim[1] = c->group_filters;
    const struct shape in[2] = {g->slope_tensor.shape, g->turned_tensor.shape};
    g->back.algorithm = fastest(blocked ? ALG_CONV_DIRECT : ALG_CONV_IM2COL, &g->back.params, in,
                                &g->back_tensor.shape, blocked);
    if (!algorithm_fits(g->back.algorithm, OP_CONV, &g->back.params, in, 2, &g->back_tensor.shape)) {
        if (blocked)
            return err_set(e, ERR_UNSUPPORTED, "no slope goes through a convolution of this kind (%s)",
                           algorithm_name(g->back.algorithm));
        g->back.algorithm = ALG_CONV_REFERENCE;
    }
    g->spread_floats = g->spread ? (size_t)floats_of(&g->slope_tensor) : 0;
    g->back_floats = g->point || g->reblocked ? (size_t)floats_of(&g->back_tensor) : 0;
    return 0;
}

static size_t scratch_of(const struct gradient_conv *g, const struct shape *x, const struct shape *out) {
    const struct shape fore[2] = {*x, g->weight_tensor.shape},
                       back[2] = {g->slope_tensor.shape, g->turned_tensor.shape};
    const size_t a = algorithm_scratch_bytes(g->forward.algorithm, OP_CONV, &g->forward.params, fore, 2, out),
                 b = algorithm_scratch_bytes(g->back.algorithm, OP_CONV, &g->back.params, back, 2,
                                             &g->back_tensor.shape);
    return (a > b ? a : b) / sizeof(float) + 2 * IMAGE_ALIGN;
}

static int take_weights(struct gradient_conv *g, const struct image *img, const struct image_step *s,
                        struct err *e) {
    const uint32_t *operands = image_operands(img, s);
    const struct image_tensor *w = image_tensor_at(img, operands[1]),
                              *b = s->n_inputs > 2 ? image_tensor_at(img, operands[2]) : NULL;
    const size_t n = (size_t)shape_elements(&w->shape);
    g->filters = (uint32_t)w->shape.dim[0];
    g->weight = floats(n);
    g->silent = calloc(g->filters, 1);
    float *was = floats(n);
    g->was = was;
    if (b) {
        g->was_bias = image_constant(img, b);
        g->bias = floats(g->filters);
    }
    if (!g->weight || !g->silent || !was || (b && !g->bias) ||
        unpack(s, &w->shape, image_constant(img, w), was))
        return err_set(e, ERR_SYSTEM, "out of memory for the weights");
    memcpy(g->weight, was, n * sizeof(float));
    if (b) memcpy(g->bias, g->was_bias, g->filters * sizeof(float));
    return 0;
}

int gradient_conv_make(const struct image *img, const struct image_step *s, struct gradient_conv **result,
                       size_t *scratch, struct err *e) {
    const uint32_t *operands = image_operands(img, s);
    const struct image_tensor *x = image_tensor_at(img, operands[0]), *w = image_tensor_at(img, operands[1]),
                              *b = s->n_inputs > 2 ? image_tensor_at(img, operands[2]) : NULL,
                              *out = image_tensor_at(img, s->output);
    if (!w || w->place != PLACE_CONSTANT || (b && b->place != PLACE_CONSTANT) ||
        s->algorithm == ALG_CONV_WINOGRAD_2 || s->algorithm == ALG_CONV_WINOGRAD_4)
        return err_set(e, ERR_UNSUPPORTED,
                       "its filters are not there as they are: not an image for gradients");
    struct gradient_conv *g = *result = calloc(1, sizeof *g);
    if (!g) return err_set(e, ERR_SYSTEM, "out of memory for a convolution");
    struct conv c;
    conv_describe(&s->params.window, &x->shape, &out->shape, &c);
    g->weight_tensor = *w;
    g->forward = g->back = *s;
    g->back.residual = 0;
    g->back.activation = ACT_NONE;
    g->back.act_min = g->back.act_max = 0;
    const struct shape in[2] = {x->shape, w->shape};
    if (s->algorithm == ALG_CONV_DIRECT)
        g->forward.algorithm = fastest(s->algorithm, &s->params, in, &out->shape, true);
    if (take_weights(g, img, s, e) || plan_back(g, &c, x, out, e)) return -1;
    g->packed =
        floats(algorithm_weight_bytes(g->forward.algorithm, OP_CONV, &s->params, &w->shape) / sizeof(float));
    g->turned =
        floats(algorithm_weight_bytes(g->back.algorithm, OP_CONV, &g->back.params, &g->turned_tensor.shape) /
               sizeof(float));
    if (!g->packed || !g->turned) return err_set(e, ERR_SYSTEM, "out of memory for the weights");
    gradient_conv_pack(g);
    *scratch = scratch_of(g, &x->shape, &out->shape);
    return 0;
}

void gradient_conv_free(struct gradient_conv *c) {
    if (!c) return;
    free(c->weight);
    free((void *)(uintptr_t)c->was);
    free(c->bias);
    free(c->packed);
    free(c->turned);
    free(c->silent);
    free(c);
}

/* --- running ------------------------------------------------------------------------------ */

/* from: a pixel for each output position, to: the same `stride` apart. `unit` floats are one pixel. */
static void spread_plane(const struct conv *c, const float *from, float *to, const int64_t size[OP_SPATIAL],
                         int64_t unit, bool add) {
    for (int64_t z = 0; z < c->out[0]; z++)
        for (int64_t y = 0; y < c->out[1]; y++) {
            float *row = to + ((z * c->stride[0] * size[1] + y * c->stride[1]) * size[2]) * unit;
            for (int64_t x = 0; x < c->out[2]; x++, row += c->stride[2] * unit)
                for (int64_t j = 0; j < unit; j++) row[j] = add ? row[j] + *from++ : *from++;
        }
}

static void spread_slopes(const struct gradient_call *call, const struct conv *c,
                          const struct gradient_conv *g, float *to) {
    const bool blocked = call->dout.t->layout == LAYOUT_BLOCKED;
    const int64_t unit = blocked ? LAYOUT_LANES : 1;
    const int64_t planes = c->images * (blocked ? layout_blocks(c->filters) : c->filters);
    int64_t size[OP_SPATIAL], plane = unit;
    for (int d = 0; d < OP_SPATIAL; d++) plane *= size[d] = (c->out[d] - 1) * c->stride[d] + 1;
    memset(to, 0, call->n_items * g->spread_floats * sizeof *to);
    for (uint32_t i = 0; i < call->n_items; i++)
        for (int64_t p = 0; p < planes; p++)
            spread_plane(c, view_item(&call->dout, i) + p * c->out_plane * unit,
                         to + i * g->spread_floats + (size_t)(p * plane), size, unit, false);
}

/* What came out at the output's size, or in blocks, goes to its place in the input's slopes. */
static void bring_home(const struct gradient_call *call, const struct conv *c, const struct gradient_conv *g,
                       const float *back) {
    const struct spread_shape from = spread_of(&g->back_tensor), to = spread_of(call->din[0].t);
    const struct conv at_once = {.out = {1, 1, from.plane}, .stride = {1, 1, 1}};
    const struct conv *way = g->point ? c : &at_once;
    for (uint32_t i = 0; i < call->n_items; i++)
        for (int64_t n = 0; n < from.images; n++)
            for (int64_t k = 0; k < from.channels; k++) {
                const float *x = back + i * g->back_floats + spread_at(&from, n, k);
                float *y = view_item(&call->din[0], i) + spread_at(&to, n, k);
                for (int64_t z = 0; z < way->out[0]; z++)
                    for (int64_t row = 0; row < way->out[1]; row++)
                        for (int64_t col = 0; col < way->out[2]; col++, x += from.step) {
                            const int64_t place =
                                g->point ? (z * c->stride[0] * c->in[1] + row * c->stride[1]) * c->in[2] +
                                               col * c->stride[2]
                                         : col;
                            y[place * to.step] += *x;
                        }
            }
}

static void add_residual(const struct gradient_call *c) {
    const int64_t n = floats_of(c->dout.t);
    if (!c->dres.base) return;
    for (uint32_t i = 0; i < c->n_items; i++) {
        const float *from = view_item(&c->dout, i);
        float *to = view_item(&c->dres, i);
        for (int64_t k = 0; k < n; k++) to[k] += from[k];
    }
}

void gradient_of_conv(const struct gradient_call *call) {
    const struct gradient_conv *g = call->own->conv;
    add_residual(call);
    if (!call->din[0].base) return;
    struct conv c;
    conv_describe(&g->forward.params.window, &call->in[0].t->shape, &call->out.t->shape, &c);
    float *spread = call->scratch, *back = spread + call->n_items * g->spread_floats,
          *rest = back + call->n_items * g->back_floats;
    rest += (IMAGE_ALIGN - (uintptr_t)rest % IMAGE_ALIGN) % IMAGE_ALIGN / sizeof(float);
    struct view in[2] = {call->dout, {.t = &g->turned_tensor, .base = g->turned}};
    struct view out = call->din[0];
    if (g->spread) {
        spread_slopes(call, &c, g, spread);
        in[0] = (struct view){.t = &g->slope_tensor, .base = spread, .stride = g->spread_floats};
    }
    const bool aside = g->point || g->reblocked;
    if (aside) out = (struct view){.t = &g->back_tensor, .base = back, .stride = g->back_floats};
    kernel_find(OP_CONV, g->back.algorithm)(&(struct kernel_call){.step = &g->back,
                                                                  .n_items = call->n_items,
                                                                  .n_inputs = 2,
                                                                  .in = in,
                                                                  .residual = aside ? (struct view){0} : out,
                                                                  .out = out,
                                                                  .scratch = rest});
    if (aside) bring_home(call, &c, g, back);
}
