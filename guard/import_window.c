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
    const struct tensor *weight = import_weights(n, 1, "the weight");
    if (!weight || (import_input(n, 2) && !import_weights(n, 2, "the bias"))) return -1;
    const int64_t group = import_int(n, "group", 1);
    if (group < 1 || group > INT32_MAX)
        return err_set(n->e, ERR_FORMAT, "attribute 'group' is %lld", (long long)group);
    if (weight->shape.rank != import_shape(n->in[0], 0)->rank)
        return err_set(n->e, ERR_FORMAT, "its weight has %d dimensions and its input has %d",
                       weight->shape.rank, import_shape(n->in[0], 0)->rank);
    if (read_window(n, weight->shape.dim + 2, &p.window, &explicit_pads)) return -1;
    p.window.groups = (int32_t)group;
    return import_emit_simple(n, OP_CONV, &p, n->n_in);
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
    {"AveragePool", OPSET_ANY, 1, 1, ATTRIBUTES " ceil_mode:i count_include_pad:i", emit_average_pool, NULL,
     false},
    {"GlobalAveragePool", OPSET_ANY, 1, 1, "", emit_global_average_pool, NULL, false},
    {0},
};
