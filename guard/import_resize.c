/* Resize and Upsample: along each axis they either pick elements or are a product with a small constant
 * matrix of weights. */
#include "guard/import_node.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum coordinates {
    HALF_PIXEL,
    PYTORCH_HALF_PIXEL,
    ALIGN_CORNERS,
    ASYMMETRIC,
    HALF_PIXEL_SYMMETRIC,
    HALF_PIXEL_FOR_NEAREST,
    CROP,
    COORDINATES
};
enum rounding { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL, ROUNDINGS };
enum interpolation { NEAREST, LINEAR, CUBIC, INTERPOLATIONS };

struct resize {
    int32_t mode, coordinates, rounding;
    int32_t exclude_outside;
    double cubic;
    float extrapolation;
    double crop[SHAPE_MAX_RANK][2]; /* per axis: begin and end of what is kept, of a length of 1 */
};

static int choose(const struct import_node *n, const char *name, const char *absent, const char *const *words,
                  int32_t count, int32_t *out) {
    const struct text given = import_text(n, name, absent);
    char all[ERR_TEXT] = "";
    size_t at = 0;
    for (*out = 0; *out < count; ++*out)
        if (text_is(given, words[*out])) return 0;
    for (int32_t i = 0; i < count; i++)
        at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", i ? ", " : "", words[i]);
    return err_set(n->e, ERR_UNSUPPORTED, "attribute '%s' is '%.*s'; accepted are %s", name, TEXT_ARGS(given),
                   all);
}

static double source(const struct resize *r, int32_t axis, int64_t o, int64_t in, int64_t out, double scale) {
    const double x = (double)o;
    switch (r->coordinates) {
    case ALIGN_CORNERS: { /* the length before it is rounded down, as the reference has it */
        const double length = scale * (double)in;
        return length == 1 ? 0 : x * (double)(in - 1) / (length - 1);
    }
    case ASYMMETRIC: return x / scale;
    case PYTORCH_HALF_PIXEL: return out == 1 ? 0 : (x + 0.5) / scale - 0.5;
    case HALF_PIXEL_FOR_NEAREST: return (x + 0.5) / scale;
    case CROP: {
        const double begin = r->crop[axis][0], end = r->crop[axis][1], last = (double)(in - 1);
        return out > 1 ? begin * last + x * (end - begin) * last / (double)(out - 1)
                       : (begin + end) / 2 * last;
    }
    case HALF_PIXEL_SYMMETRIC: {
        const double adjust = (double)out / (scale * (double)in), centre = (double)in / 2;
        return centre * (1 - adjust) + (x + 0.5) / scale - 0.5;
    }
    default: return (x + 0.5) / scale - 0.5;
    }
}

static int64_t nearest(const struct resize *r, double x) {
    switch (r->rounding) {
    case FLOOR: return (int64_t)floor(x);
    case CEIL: return (int64_t)ceil(x);
    case ROUND_PREFER_CEIL: return (int64_t)floor(x + 0.5);
    default: return (int64_t)ceil(x - 0.5);
    }
}

static int64_t inside(int64_t i, int64_t n) {
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static double cubic_weight(double a, double t) {
    t = fabs(t);
    if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

/* What each input element along the axis adds to output `o`. */
static void fill_weights(const struct resize *r, double x, int64_t n, float *row) {
    const int64_t base = (int64_t)floor(x);
    const double t = x - (double)base;
    double w[4] = {0, 1 - t, t, 0}, sum = 0;
    for (int k = 0; k < 4; k++) {
        if (r->mode == CUBIC) w[k] = cubic_weight(r->cubic, t - (double)(k - 1));
        if (r->mode == CUBIC && r->exclude_outside && (base + k - 1 < 0 || base + k - 1 >= n)) w[k] = 0;
        sum += w[k];
    }
    for (int k = 0; k < 4; k++) row[inside(base + k - 1, n)] += (float)(w[k] / sum);
}

/* One axis from its length to `to`; nearest picks, the others multiply by weights. */
static struct operand *scale_axis(struct import_node *n, const struct resize *r, int32_t output,
                                  struct operand *in, int32_t axis, int64_t to, double scale) {
    const struct shape *s = import_shape(in, 0);
    const int64_t from = s->dim[axis];
    const bool last = axis == s->rank - 1;
    float *f;
    if (r->mode == NEAREST) {
        struct operand *const two[2] = {in,
                                        import_new_constant(n, &(struct shape){.rank = 1, .dim = {to}}, &f)};
        for (int64_t o = 0; two[1] && o < to; o++)
            if (import_index(n, inside(nearest(r, source(r, axis, o, from, to, scale)), from), &f[o]))
                return NULL;
        return two[1] ? import_emit(n, output, OP_GATHER, &(union op_params){.axis = {.axis = axis}}, NULL,
                                    two, 2)
                      : NULL;
    }
    /* Last axis: X [.., from] * W [from, to]. Else: W [to, from] * X [.., from, rest]. */
    const struct shape matrix = {.rank = 2, .dim = {last ? from : to, last ? to : from}};
    struct operand *w = import_new_constant(n, &matrix, &f);
    float *row = w ? calloc((size_t)from, sizeof *row) : NULL;
    if (!row) return w ? ((void)err_set(n->e, ERR_LIMIT, "out of memory"), NULL) : NULL;
    for (int64_t o = 0; o < to; o++) {
        memset(row, 0, (size_t)from * sizeof *row);
        fill_weights(r, source(r, axis, o, from, to, scale), from, row);
        for (int64_t i = 0; i < from; i++) f[last ? i * to + o : o * from + i] = row[i];
    }
    free(row);
    if (last) return import_emit_two(n, output, OP_MATMUL, in, w);
    struct shape flat[2], back[2];
    for (int lane = 0; lane < n->lanes; lane++) {
        const struct shape *x = import_shape(in, lane);
        flat[lane] = *x;
        flat[lane].rank = axis + 2;
        flat[lane].dim[axis + 1] = shape_product(x, axis + 1, x->rank);
        for (int32_t i = axis + 2; i < SHAPE_MAX_RANK; i++) flat[lane].dim[i] = 0;
        back[lane] = *x;
        back[lane].dim[axis] = to;
    }
    if (s->rank == axis + 2) return import_emit_two(n, output, OP_MATMUL, w, in);
    return import_emit_reshape(
        n, output, import_emit_two(n, -1, OP_MATMUL, w, import_emit_reshape(n, -1, in, flat)), back);
}

/* The same, and what lies outside of the input is one value. */
static struct operand *resize_axis(struct import_node *n, const struct resize *r, int32_t output,
                                   struct operand *in, int32_t axis, int64_t to, double scale) {
    const struct shape *s = import_shape(in, 0);
    const int64_t from = s->dim[axis];
    struct shape along = {.rank = s->rank};
    bool any = false;
    float *f;
    for (int32_t i = 0; i < s->rank; i++) along.dim[i] = i == axis ? to : 1;
    struct operand *outside = r->coordinates == CROP ? import_new_constant(n, &along, &f) : NULL;
    if (r->coordinates == CROP && !outside) return NULL;
    for (int64_t o = 0; outside && o < to; o++) {
        const double x = source(r, axis, o, from, to, scale);
        f[o] = x < 0 || x > (double)(from - 1);
        any = any || f[o] != 0;
    }
    struct operand *scaled = scale_axis(n, r, any ? -1 : output, in, axis, to, scale);
    struct operand *const choice[3] = {outside, any ? import_new_number(n, r->extrapolation) : NULL, scaled};
    if (!any || !scaled || !choice[1]) return any && !choice[1] ? NULL : scaled;
    return import_emit(n, output, OP_WHERE, NULL, NULL, choice, 3);
}

/* Scales of the axes in floats; 0 where there are none. */
static int read_scales(const struct import_node *n, const struct operand *o, float *out, int most) {
    if (!o) return 0;
    if (o->kind != OPERAND_CONSTANT || o->constant[0] != o->constant[1] || !o->constant[0]->f ||
        o->constant[0]->count > most)
        return err_set(n->e, ERR_UNSUPPORTED, "its scales ('%.*s') must be a constant list of floats",
                       TEXT_ARGS(o->name));
    for (int64_t i = 0; i < o->constant[0]->count; i++) out[i] = o->constant[0]->f[i];
    return (int)o->constant[0]->count;
}

struct target {
    int64_t size[SHAPE_MAX_RANK];
    double scale[SHAPE_MAX_RANK];
};

static int find_target(const struct import_node *n, const struct operand *scales, const struct operand *sizes,
                       int lane, struct target *t) {
    const struct shape *in = import_shape(n->in[0], lane);
    float scale[SHAPE_MAX_RANK];
    int64_t size[SHAPE_MAX_RANK], axes[SHAPE_MAX_RANK];
    const int n_scales = read_scales(n, scales, scale, SHAPE_MAX_RANK);
    const int n_sizes = sizes && n_scales == 0 ? import_int_input(n, sizes, lane, size, SHAPE_MAX_RANK) : 0;
    int n_axes = import_ints(n, "axes", axes, SHAPE_MAX_RANK);
    if (n_scales < 0 || n_sizes < 0 || n_axes < 0) return -1;
    for (int32_t i = 0; n_axes == 0 && i < in->rank; i++) axes[i] = i;
    if (n_axes == 0) n_axes = in->rank;
    if (n_scales + n_sizes != n_axes) return err_set(n->e, ERR_FORMAT, "it needs %d scales or sizes", n_axes);
    for (int32_t i = 0; i < in->rank; i++) {
        t->size[i] = in->dim[i];
        t->scale[i] = 1;
    }
    for (int k = 0; k < n_axes; k++) {
        int32_t axis;
        if (import_axis(axes[k], in->rank, &axis, n->e)) return -1;
        if (n_scales && (!isfinite(scale[k]) || scale[k] <= 0))
            return err_set(n->e, ERR_VALUE, "a scale of %g", (double)scale[k]);
        t->scale[axis] = n_scales ? (double)scale[k] : (double)size[k] / (double)in->dim[axis];
        const double length = n_scales ? floor((double)in->dim[axis] * t->scale[axis]) : (double)size[k];
        if (!(length >= 1 && length <= OP_MAX_WINDOW))
            return err_set(n->e, ERR_LIMIT, "%g elements along axis %d; accepted are 1 to %d", length, axis,
                           OP_MAX_WINDOW);
        t->size[axis] = (int64_t)length;
    }
    return 0;
}

static int resize(struct import_node *n, const struct resize *r, const struct operand *scales,
                  const struct operand *sizes) {
    const int32_t rank = import_shape(n->in[0], 0)->rank;
    struct target t[2];
    int32_t last = -1;
    for (int lane = 0; lane < n->lanes; lane++)
        if (find_target(n, scales, sizes, lane, &t[lane])) return -1;
    bool changes[SHAPE_MAX_RANK];
    for (int32_t i = 0; i < rank; i++) {
        const bool batch =
            n->lanes == 2 && import_shape(n->in[0], 0)->dim[i] != import_shape(n->in[0], 1)->dim[i];
        const bool crops = r->coordinates == CROP && (r->crop[i][0] != 0 || r->crop[i][1] != 1);
        changes[i] = crops || t[0].size[i] != import_shape(n->in[0], 0)->dim[i] || t[0].scale[i] != 1;
        if (batch && !crops && t[1].size[i] == import_shape(n->in[0], 1)->dim[i]) continue;
        if (batch || (n->lanes == 2 && t[0].size[i] != t[1].size[i]))
            return err_set(n->e, ERR_UNSUPPORTED, "it resizes the batch");
        if (changes[i]) last = i;
    }
    if (last < 0) return import_emit_simple(n, OP_IDENTITY, NULL, 1);
    struct operand *x = n->in[0];
    for (int32_t i = 0; i <= last && x; i++)
        if (changes[i]) x = resize_axis(n, r, i == last ? 0 : -1, x, i, t[0].size[i], t[0].scale[i]);
    return x ? 0 : -1;
}

static const char *const mode_names[] = {"nearest", "linear", "cubic"};

/* Up to operator set 10: asymmetric, and nearest rounds down. */
static int emit_resize_10(struct import_node *n) {
    struct resize r = {.coordinates = ASYMMETRIC, .rounding = FLOOR};
    const struct text mode = import_text(n, "mode", "nearest");
    r.mode = text_is(mode, "bilinear") ? LINEAR : NEAREST; /* Upsample 7 called it so */
    if (r.mode == NEAREST && choose(n, "mode", "nearest", mode_names, 2, &r.mode)) return -1;
    return resize(n, &r, n->in[1], NULL);
}

static int emit_upsample_7(struct import_node *n) {
    struct resize r = {.coordinates = ASYMMETRIC, .rounding = FLOOR};
    const struct onnx_attribute *a = import_attribute(n, "scales");
    const int32_t rank = import_shape(n->in[0], 0)->rank;
    float *f;
    const struct text mode = import_text(n, "mode", "nearest");
    r.mode = text_is(mode, "bilinear") ? LINEAR : NEAREST;
    if (r.mode == NEAREST && choose(n, "mode", "nearest", mode_names, 2, &r.mode)) return -1;
    if (!a || wire_left(&a->floats) != (size_t)rank * sizeof *f)
        return err_set(n->e, ERR_FORMAT, "attribute 'scales' must have %d values", rank);
    struct operand *scales = import_new_constant(n, &(struct shape){.rank = 1, .dim = {rank}}, &f);
    if (!scales) return -1;
    memcpy(f, a->floats.at, (size_t)rank * sizeof *f);
    return resize(n, &r, scales, NULL);
}

/* roi: where the kept part of each axis (or of each that `axes` names) begins, then where each ends. */
static int read_crop(const struct import_node *n, struct resize *r) {
    const int32_t rank = import_shape(n->in[0], 0)->rank;
    const struct operand *roi = import_input(n, 1);
    int64_t axes[SHAPE_MAX_RANK];
    int n_axes = import_ints(n, "axes", axes, SHAPE_MAX_RANK);
    if (n_axes < 0) return -1;
    for (int32_t i = 0; i < rank; i++) {
        r->crop[i][1] = 1;
        if (n_axes == 0) axes[i] = i;
    }
    if (r->coordinates != CROP) return 0;
    if (n_axes == 0) n_axes = rank;
    const struct tensor *t = roi ? import_weights(n, 1, "roi") : NULL;
    if (roi && !t) return -1;
    if (!t || t->count != 2 * n_axes)
        return err_set(n->e, ERR_FORMAT, "tf_crop_and_resize needs a roi of %d values", 2 * n_axes);
    for (int k = 0; k < n_axes; k++) {
        int32_t axis;
        if (import_axis(axes[k], rank, &axis, n->e)) return -1;
        r->crop[axis][0] = (double)t->f[k];
        r->crop[axis][1] = (double)t->f[n_axes + k];
        if (!(fabs(r->crop[axis][0]) <= OP_MAX_PAD && fabs(r->crop[axis][1]) <= OP_MAX_PAD))
            return err_set(n->e, ERR_VALUE, "its roi reaches from %g to %g", r->crop[axis][0],
                           r->crop[axis][1]);
    }
    return 0;
}

static int emit_resize(struct import_node *n) {
    static const char *const coordinates[] = {
        "half_pixel",           "pytorch_half_pixel",   "align_corners",     "asymmetric",
        "half_pixel_symmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    struct resize r = {0};
    int32_t antialias;
    if (choose(n, "mode", "nearest", mode_names, INTERPOLATIONS, &r.mode) ||
        choose(n, "coordinate_transformation_mode", "half_pixel", coordinates, COORDINATES, &r.coordinates) ||
        choose(n, "nearest_mode", "round_prefer_floor", roundings, ROUNDINGS, &r.rounding) ||
        import_flag(n, "exclude_outside", 0, &r.exclude_outside) ||
        import_flag(n, "antialias", 0, &antialias))
        return -1;
    r.extrapolation = import_float(n, "extrapolation_value", 0);
    if (read_crop(n, &r)) return -1;
    r.cubic = (double)import_float(n, "cubic_coeff_a", -0.75f);
    if (antialias) return err_set(n->e, ERR_UNSUPPORTED, "antialias is 1; accepted is 0");
    if (import_attribute(n, "keep_aspect_ratio_policy") &&
        !text_is(import_text(n, "keep_aspect_ratio_policy", ""), "stretch"))
        return err_set(n->e, ERR_UNSUPPORTED, "keep_aspect_ratio_policy must be stretch");
    return resize(n, &r, import_input(n, 2), import_input(n, 3));
}

const struct import_row import_rows_resize[] = {
    {"Upsample", 7, 8, 1, 1, "mode:s scales:F", emit_upsample_7, NULL, false},
    {"Upsample", 9, 9, 2, 2, "mode:s", emit_resize_10, NULL, false},
    {"Resize", 10, 10, 2, 2, "mode:s", emit_resize_10, NULL, false},
    {"Resize", 11, 1000, 1, 4,
     "antialias:i axes:I coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i "
     "extrapolation_value:f "
     "keep_aspect_ratio_policy:s mode:s nearest_mode:s",
     emit_resize, NULL, false},
    {0},
};
