/* Operators that slide a window: Conv, MaxPool, AveragePool, GlobalAveragePool.
 * auto_pad is resolved here, so that the engine knows explicit padding only. */
#include "guard/import_node.h"

#define ATTRIBUTES "auto_pad:s dilations:I kernel_shape:I pads:I strides:I"

/* Attributes as they are given, per spatial axis, before they are known to fit int32. */
struct window {
    int spatial;
    int64_t kernel[OP_SPATIAL], stride[OP_SPATIAL], dilation[OP_SPATIAL];
    int64_t pad_begin[OP_SPATIAL], pad_end[OP_SPATIAL];
};

/* One value per spatial axis, or `absent` for each. */
static int read_per_axis(const struct import_node *n, const char *name, int spatial, const int64_t *absent,
                         int64_t *out) {
    int64_t values[2 * OP_SPATIAL];
    const int count = import_ints(n, name, values, 2 * OP_SPATIAL);
    if (count < 0) return -1;
    if (count && count != spatial)
        return err_set(n->e, ERR_FORMAT, "attribute '%s' has %d values; the input has %d spatial axes", name,
                       count, spatial);
    for (int i = 0; i < spatial; i++) {
        out[i] = count ? values[i] : absent[i];
        if (out[i] < 1 || out[i] > OP_MAX_WINDOW)
            return err_set(n->e, ERR_LIMIT, "attribute '%s' is %lld; accepted are 1 to %d", name,
                           (long long)out[i], OP_MAX_WINDOW);
    }
    return 0;
}

static int read_pads(const struct import_node *n, struct window *w, bool *given) {
    int64_t values[2 * OP_SPATIAL];
    const int count = import_ints(n, "pads", values, 2 * OP_SPATIAL);
    if (count < 0) return -1;
    if (count && count != 2 * w->spatial)
        return err_set(n->e, ERR_FORMAT,
                       "attribute 'pads' has %d values; %d are needed, begin and end of each axis", count,
                       2 * w->spatial);
    *given = false;
    for (int i = 0; i < w->spatial; i++) {
        w->pad_begin[i] = count ? values[i] : 0;
        w->pad_end[i] = count ? values[w->spatial + i] : 0;
        if (w->pad_begin[i] < 0 || w->pad_begin[i] > OP_MAX_PAD || w->pad_end[i] < 0 ||
            w->pad_end[i] > OP_MAX_PAD)
            return err_set(n->e, ERR_LIMIT, "attribute 'pads' is %lld, %lld on axis %d; accepted are 0 to %d",
                           (long long)w->pad_begin[i], (long long)w->pad_end[i], i, OP_MAX_PAD);
        *given = *given || w->pad_begin[i] || w->pad_end[i];
    }
    return 0;
}

/* SAME: as many outputs as strides begin in the input; an odd rest goes to the end or the beginning. */
static void pad_same(struct window *w, const struct shape *x, bool upper) {
    for (int i = 0; i < w->spatial; i++) {
        const int64_t in = x->dim[2 + i], extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
        const int64_t out = (in + w->stride[i] - 1) / w->stride[i];
        int64_t total = (out - 1) * w->stride[i] + extent - in;
        if (total < 0) total = 0;
        w->pad_begin[i] = upper ? total / 2 : total - total / 2;
        w->pad_end[i] = total - w->pad_begin[i];
    }
}

/* *explicit_pads: the attribute counts, and with it ceil_mode; else the number of outputs is given. */
static int resolve_pads(const struct import_node *n, struct window *w, const struct shape *x,
                        bool *explicit_pads) {
    const struct text mode = import_text(n, "auto_pad", "NOTSET");
    bool given = false;
    if (read_pads(n, w, &given)) return -1;
    *explicit_pads = mode.n == 0 || text_is(mode, "NOTSET");
    if (*explicit_pads) return 0;
    if (given)
        return err_set(n->e, ERR_FORMAT,
                       "'pads' and auto_pad '%.*s' contradict each other; one of them is needed",
                       TEXT_ARGS(mode));
    if (text_is(mode, "SAME_UPPER") || text_is(mode, "SAME_LOWER"))
        pad_same(w, x, text_is(mode, "SAME_UPPER"));
    else if (!text_is(mode, "VALID"))
        return err_set(n->e, ERR_FORMAT,
                       "auto_pad is '%.*s'; accepted are NOTSET, SAME_UPPER, SAME_LOWER and VALID",
                       TEXT_ARGS(mode));
    return 0;
}

static void fill_params(const struct window *w, struct op_window *p) {
    for (int a = 0; a < OP_SPATIAL; a++) p->kernel[a] = p->stride[a] = p->dilation[a] = 1;
    p->spatial = w->spatial;
    p->groups = 1;
    for (int i = 0; i < w->spatial; i++) {
        const int a = OP_SPATIAL - w->spatial + i;
        p->kernel[a] = (int32_t)w->kernel[i];
        p->stride[a] = (int32_t)w->stride[i];
        p->dilation[a] = (int32_t)w->dilation[i];
        p->pad_begin[a] = (int32_t)w->pad_begin[i];
        p->pad_end[a] = (int32_t)w->pad_end[i];
    }
}

/* `kernel` as the weights have it, or NULL where only the attribute can say. */
static int read_window(const struct import_node *n, const int64_t *kernel, struct op_window *p,
                       bool *explicit_pads) {
    static const int64_t ones[OP_SPATIAL] = {1, 1, 1};
    const struct shape *x = import_shape(n->in[0], 0);
    struct window w = {.spatial = x->rank - 2};
    if (w.spatial < 1 || w.spatial > OP_SPATIAL) {
        char text[128];
        return err_set(n->e, ERR_UNSUPPORTED,
                       "its input is %s; accepted are a batch, channels and 1 to %d spatial axes",
                       shape_text(x, text, sizeof text), OP_SPATIAL);
    }
    if (!kernel && !import_attribute(n, "kernel_shape"))
        return err_set(n->e, ERR_FORMAT, "attribute 'kernel_shape' is missing");
    if (read_per_axis(n, "kernel_shape", w.spatial, kernel ? kernel : ones, w.kernel) ||
        read_per_axis(n, "strides", w.spatial, ones, w.stride) ||
        read_per_axis(n, "dilations", w.spatial, ones, w.dilation) || resolve_pads(n, &w, x, explicit_pads))
        return -1;
    fill_params(&w, p);
    return 0;
}

static int emit_conv(struct import_node *n) {
    union op_params p = {0};
    bool explicit_pads;
    const struct shape *weight = import_shape(n->in[1], 0);
    const int64_t group = import_int(n, "group", 1);
    if (group < 1 || group > INT32_MAX)
        return err_set(n->e, ERR_FORMAT, "attribute 'group' is %lld", (long long)group);
    if (weight->rank != import_shape(n->in[0], 0)->rank)
        return err_set(n->e, ERR_FORMAT, "its weight has %d dimensions and its input has %d", weight->rank,
                       import_shape(n->in[0], 0)->rank);
    if (read_window(n, weight->dim + 2, &p.window, &explicit_pads)) return -1;
    p.window.groups = (int32_t)group;
    return import_emit_simple(n, OP_CONV, &p, n->n_in);
}

/* SAME: the result is `stride` times as long as the input; output_shape: as long as it says. The
 * padding is what is over. */
static int transposed_pads(const struct import_node *n, const struct shape *x, struct op_conv_transpose *p) {
    const struct text mode = import_text(n, "auto_pad", "NOTSET");
    const bool same = text_is(mode, "SAME_UPPER") || text_is(mode, "SAME_LOWER");
    struct op_window *w = &p->window;
    int64_t output[OP_SPATIAL + 2], pad[OP_SPATIAL];
    const int given = import_ints(n, "output_shape", output, OP_SPATIAL + 2);
    const int padded = import_ints(n, "output_padding", pad, OP_SPATIAL);
    if (given < 0 || padded < 0) return -1;
    if ((given && given != w->spatial && given != w->spatial + 2) || (padded && padded != w->spatial))
        return err_set(n->e, ERR_FORMAT, "output_shape or output_padding is not one number per spatial axis");
    for (int i = 0; i < w->spatial; i++) {
        const int a = OP_SPATIAL - w->spatial + i;
        if (padded && (pad[i] < 0 || pad[i] > OP_MAX_PAD))
            return err_set(n->e, ERR_LIMIT, "attribute 'output_padding' is %lld", (long long)pad[i]);
        p->output_pad[a] = padded ? (int32_t)pad[i] : 0;
        if (!given && !same) continue;
        const int64_t want = given ? output[given - w->spatial + i] : x->dim[2 + i] * w->stride[a];
        int64_t total = (x->dim[2 + i] - 1) * w->stride[a] + (int64_t)(w->kernel[a] - 1) * w->dilation[a] +
                        1 + p->output_pad[a] - want;
        if (total < 0 &&
            -total <= OP_MAX_PAD - p->output_pad[a]) { /* longer than all windows: zeros at the end */
            p->output_pad[a] += (int32_t)-total;
            total = 0;
        }
        if (total < 0 || total > OP_MAX_PAD)
            return err_set(n->e, ERR_LIMIT, "its output cannot be %lld long", (long long)want);
        const int64_t half = total / 2;
        w->pad_begin[a] = (int32_t)(text_is(mode, "SAME_UPPER") || !same ? half : total - half);
        if (!same && given) w->pad_begin[a] = (int32_t)(total - half);
        w->pad_end[a] = (int32_t)(total - w->pad_begin[a]);
    }
    return 0;
}

static int emit_conv_transpose(struct import_node *n) {
    union op_params p = {0};
    bool explicit_pads;
    const struct shape *x = import_shape(n->in[0], 0), *weight = import_shape(n->in[1], 0);
    const int64_t group = import_int(n, "group", 1);
    if (group < 1 || group > INT32_MAX)
        return err_set(n->e, ERR_FORMAT, "attribute 'group' is %lld", (long long)group);
    if (weight->rank != x->rank)
        return err_set(n->e, ERR_FORMAT, "its weight has %d dimensions and its input has %d", weight->rank,
                       x->rank);
    if (read_window(n, weight->dim + 2, &p.window, &explicit_pads)) return -1;
    p.window.groups = (int32_t)group;
    const struct op_window w = p.window;
    p = (union op_params){.conv_transpose = {.window = w}};
    if (transposed_pads(n, x, &p.conv_transpose)) return -1;
    return import_emit_simple(n, OP_CONV_TRANSPOSE, &p, n->n_in);
}

/* (mean of |x|^p, padding counted as 0, times the size of the window)^(1/p) */
static int emit_lp_pool(struct import_node *n) {
    union op_params w = {0};
    bool explicit_pads;
    const int64_t p = import_int(n, "p", 2);
    float taps = 1;
    if (read_window(n, NULL, &w.window, &explicit_pads)) return -1;
    if (p < 1 || p > 1000) return err_set(n->e, ERR_VALUE, "p is %lld; it must be 1 or more", (long long)p);
    if (import_int(n, "ceil_mode", 0) != 0)
        return err_set(n->e, ERR_UNSUPPORTED, "ceil_mode is 1; accepted is 0");
    w.window.count_include_pad = 1;
    for (int a = 0; a < OP_SPATIAL; a++) taps *= (float)w.window.kernel[a];
    struct operand *x = p == 2 ? import_emit_two(n, -1, OP_MUL, n->in[0], n->in[0])
                               : import_emit_one(n, -1, OP_ABS, NULL, n->in[0]);
    if (p > 2) x = import_emit_two(n, -1, OP_POW, x, import_new_number(n, (float)p));
    x = import_emit_one(n, -1, OP_AVERAGE_POOL, &w, x);
    x = import_emit_two(n, p == 1 ? 0 : -1, OP_MUL, x, import_new_number(n, taps));
    if (p == 2) x = import_emit_one(n, 0, OP_SQRT, NULL, x);
    if (p > 2) x = import_emit_two(n, 0, OP_POW, x, import_new_number(n, 1.0f / (float)p));
    return x ? 0 : -1;
}

static int emit_pool(struct import_node *n, enum op op) {
    union op_params p = {0};
    bool explicit_pads;
    if (read_window(n, NULL, &p.window, &explicit_pads) ||
        import_flag(n, "ceil_mode", 0, &p.window.ceil_mode) ||
        import_flag(n, "count_include_pad", 0, &p.window.count_include_pad))
        return -1;
    if (!explicit_pads) p.window.ceil_mode = 0;
    return import_emit_simple(n, op, &p, 1);
}

static int emit_max_pool(struct import_node *n) {
    int32_t order; /* of the indices only, which are not supported */
    return import_flag(n, "storage_order", 0, &order) ? -1 : emit_pool(n, OP_MAX_POOL);
}

static int emit_average_pool(struct import_node *n) {
    return emit_pool(n, OP_AVERAGE_POOL);
}

static int emit_global_average_pool(struct import_node *n) {
    return import_emit_simple(n, OP_GLOBAL_AVERAGE_POOL, NULL, 1);
}

const struct import_row import_rows_window[] = {
    {"Conv", OPSET_ANY, 2, 3, ATTRIBUTES " group:i", emit_conv, NULL, false},
    {"MaxPool", OPSET_ANY, 1, 1, ATTRIBUTES " ceil_mode:i storage_order:i", emit_max_pool, NULL, false},
    {"ConvTranspose", OPSET_ANY, 2, 3, ATTRIBUTES " group:i output_padding:I output_shape:I",
     emit_conv_transpose, NULL, false},
    {"LpPool", OPSET_ANY, 1, 1, ATTRIBUTES " ceil_mode:i p:i", emit_lp_pool, NULL, false},
    {"AveragePool", OPSET_ANY, 1, 1, ATTRIBUTES " ceil_mode:i count_include_pad:i", emit_average_pool, NULL,
     false},
    {"GlobalAveragePool", OPSET_ANY, 1, 1, "", emit_global_average_pool, NULL, false},
    {0},
};
