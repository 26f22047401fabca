/* Shape rules of what slides a window: convolution and pooling.
 *
 * Parameters come from untrusted records and kernels index with them without
 * looking again, so each is bounded here: with kernel, stride and dilation
 * within OP_MAX_WINDOW and the padded extent within INT32_MAX, every position
 * start + tap * dilation fits in an int. */
#include "infer/op_rules.h"

static const char *const axis_name[OP_SPATIAL] = {"depth", "height", "width"};

/* Dilated extent of the window: the distance from its first tap to one past its last. */
static int64_t window_extent(const struct op_window *w, int a) {
    return (int64_t)(w->kernel[a] - 1) * w->dilation[a] + 1;
}

static int64_t divide_down(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && a < 0);
}

static int check_axis_params(const struct op_window *w, int a, struct err *e) {
    const bool absent = a < OP_SPATIAL - w->spatial;
    if (w->kernel[a] < 1 || w->kernel[a] > OP_MAX_WINDOW)
        return err_set(e, ERR_LIMIT, "kernel %d along %s is outside 1 to %d", w->kernel[a], axis_name[a],
                       OP_MAX_WINDOW);
    if (w->stride[a] < 1 || w->stride[a] > OP_MAX_WINDOW)
        return err_set(e, ERR_LIMIT, "stride %d along %s is outside 1 to %d", w->stride[a], axis_name[a],
                       OP_MAX_WINDOW);
    if (w->dilation[a] < 1 || w->dilation[a] > OP_MAX_WINDOW)
        return err_set(e, ERR_LIMIT, "dilation %d along %s is outside 1 to %d", w->dilation[a], axis_name[a],
                       OP_MAX_WINDOW);
    if (w->pad_begin[a] < 0 || w->pad_begin[a] > OP_MAX_PAD || w->pad_end[a] < 0 ||
        w->pad_end[a] > OP_MAX_PAD)
        return err_set(e, ERR_LIMIT, "padding %d, %d along %s is outside 0 to %d", w->pad_begin[a],
                       w->pad_end[a], axis_name[a], OP_MAX_PAD);
    if (absent && (w->kernel[a] != 1 || w->stride[a] != 1 || w->dilation[a] != 1 || w->pad_begin[a] != 0 ||
                   w->pad_end[a] != 0))
        return err_set(e, ERR_FORMAT, "a window over %d axes has parameters along %s", w->spatial,
                       axis_name[a]);
    return 0;
}

static int check_params(const struct op_window *w, const struct shape *x, struct err *e) {
    if (w->spatial < 1 || w->spatial > OP_SPATIAL)
        return err_set(e, ERR_UNSUPPORTED, "%d spatial axes; 1 to %d are supported", w->spatial, OP_SPATIAL);
    if (x->rank != 2 + w->spatial)
        return err_set(e, ERR_FORMAT, "input %s does not have a batch, channels and %d spatial axes",
                       SHAPE_TEXT(x), w->spatial);
    if ((w->ceil_mode | 1) != 1 || (w->count_include_pad | 1) != 1)
        return err_set(e, ERR_FORMAT, "a flag of the window is neither 0 nor 1");
    for (int a = 0; a < OP_SPATIAL; a++)
        if (check_axis_params(w, a, e)) return -1;
    return 0;
}

/* PyTorch's and ONNX's rule: as many windows as start inside input and padding;
 * in ceil mode also a last one that runs past the end, as long as it starts
 * inside the input or the padding before it. */
static int64_t count_windows(const struct op_window *w, int a, int64_t in) {
    const int64_t room = in + w->pad_begin[a] + w->pad_end[a] - window_extent(w, a);
    int64_t n = divide_down(room + (w->ceil_mode ? w->stride[a] - 1 : 0), w->stride[a]) + 1;
    if (w->ceil_mode && (n - 1) * w->stride[a] >= in + w->pad_begin[a]) n--;
    return n;
}

static int infer_output(const struct op_window *w, const struct shape *x, int64_t channels, struct shape *out,
                        struct err *e) {
    *out = (struct shape){.rank = x->rank, .dim = {x->dim[0], channels}};
    for (int s = 0; s < w->spatial; s++) {
        const int a = OP_SPATIAL - w->spatial + s;
        const int64_t in = x->dim[2 + s];
        if (in + w->pad_begin[a] + w->pad_end[a] > INT32_MAX)
            return err_set(e, ERR_LIMIT, "input %s is too large along %s", SHAPE_TEXT(x), axis_name[a]);
        const int64_t n = count_windows(w, a, in);
        if (n < 1)
            return err_set(e, ERR_FORMAT, "a window of %lld does not fit into input %s along %s",
                           (long long)window_extent(w, a), SHAPE_TEXT(x), axis_name[a]);
        out->dim[2 + s] = n;
    }
    return 0;
}

int op_rule_conv(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                 struct err *e) {
    const struct op_window *w = &p->window;
    const struct shape *x = &in[0], *weight = &in[1];
    if (check_params(w, x, e)) return -1;
    if (w->ceil_mode || w->count_include_pad)
        return err_set(e, ERR_FORMAT, "a convolution has flags of a pool");
    if (weight->rank != x->rank)
        return err_set(e, ERR_FORMAT, "weight %s does not go with input %s", SHAPE_TEXT(weight),
                       SHAPE_TEXT(x));
    const int64_t m = weight->dim[0], c = x->dim[1];
    if (w->groups < 1 || c % w->groups != 0 || m % w->groups != 0)
        return err_set(e, ERR_FORMAT, "%d groups do not divide %lld input and %lld output channels",
                       w->groups, (long long)c, (long long)m);
    if (weight->dim[1] != c / w->groups)
        return err_set(e, ERR_FORMAT, "weight %s does not go with input %s in %d groups", SHAPE_TEXT(weight),
                       SHAPE_TEXT(x), w->groups);
    for (int s = 0; s < w->spatial; s++)
        if (weight->dim[2 + s] != w->kernel[OP_SPATIAL - w->spatial + s])
            return err_set(e, ERR_FORMAT, "kernel_shape contradicts weight %s", SHAPE_TEXT(weight));
    if (!op_input_absent(in, n_in, 2) && (in[2].rank != 1 || in[2].dim[0] != m))
        return err_set(e, ERR_FORMAT, "bias %s is not [%lld]", SHAPE_TEXT(&in[2]), (long long)m);
    return infer_output(w, x, m, out, e);
}

/* A pooling window that sees padding only has no value: a maximum over nothing,
 * a mean of 0/0. Only windows that reach over an edge can, and there are no more of
 * those than there is padding, so looking at each of them is cheap. */
static bool sees_input(const struct op_window *w, int a, int64_t in, int64_t start) {
    const int64_t skipped = start < 0 ? (-start + w->dilation[a] - 1) / w->dilation[a] : 0;
    return skipped < w->kernel[a] && start + skipped * w->dilation[a] < in;
}

static bool every_window_sees_input(const struct op_window *w, int a, int64_t in, int64_t n) {
    const int64_t extent = window_extent(w, a);
    for (int64_t o = 0; o < n; o++) {
        const int64_t start = o * w->stride[a] - w->pad_begin[a];
        if (start >= 0) break;
        if (!sees_input(w, a, in, start)) return false;
    }
    for (int64_t o = n - 1; o >= 0; o--) {
        const int64_t start = o * w->stride[a] - w->pad_begin[a];
        if (start < 0 || start + extent <= in) break;
        if (!sees_input(w, a, in, start)) return false;
    }
    return true;
}

static int check_pool(const struct op_window *w, const struct shape *x, struct shape *out, struct err *e) {
    if (check_params(w, x, e)) return -1;
    if (w->groups != 1) return err_set(e, ERR_FORMAT, "a pool has groups");
    if (infer_output(w, x, x->dim[1], out, e)) return -1;
    for (int s = 0; s < w->spatial; s++) {
        const int a = OP_SPATIAL - w->spatial + s;
        if (!every_window_sees_input(w, a, x->dim[2 + s], out->dim[2 + s]))
            return err_set(
                e, ERR_UNSUPPORTED,
                "a window along %s lies in the padding alone; padding must be smaller than the kernel",
                axis_name[a]);
    }
    return 0;
}

int op_rule_max_pool(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                     struct err *e) {
    (void)n_in;
    if (p->window.count_include_pad) return err_set(e, ERR_FORMAT, "count_include_pad in a max pool");
    return check_pool(&p->window, &in[0], out, e);
}

int op_rule_average_pool(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                         struct err *e) {
    (void)n_in;
    return check_pool(&p->window, &in[0], out, e);
}

/* The other way round: each input value is spread over a window of the output, of
 * which the padding is then cut off. */
static int transposed_output(const struct op_conv_transpose *t, const struct shape *x, struct shape *out,
                             struct err *e) {
    const struct op_window *w = &t->window;
    for (int a = 0; a < OP_SPATIAL; a++) {
        const int s = a - (OP_SPATIAL - w->spatial);
        if (t->output_pad[a] < 0 || t->output_pad[a] > (s < 0 ? 0 : OP_MAX_PAD))
            return err_set(e, ERR_LIMIT, "output padding %d along %s", t->output_pad[a], axis_name[a]);
        if (s < 0) continue;
        /* 2^31 windows of 2^15 each, and 2^30 for one: far from 2^63 */
        const int64_t n = (x->dim[2 + s] - 1) * w->stride[a] + window_extent(w, a) - w->pad_begin[a] -
                          w->pad_end[a] + t->output_pad[a];
        if (n < 1 || n > INT32_MAX / 2)
            return err_set(e, ERR_FORMAT, "the result would have %lld elements along %s", (long long)n,
                           axis_name[a]);
        out->dim[2 + s] = n;
    }
    return 0;
}

int op_rule_conv_transpose(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                           struct err *e) {
    const struct op_window *w = &p->conv_transpose.window;
    const struct shape *x = &in[0], *weight = &in[1];
    if (check_params(w, x, e)) return -1;
    if (w->ceil_mode || w->count_include_pad)
        return err_set(e, ERR_FORMAT, "a convolution has flags of a pool");
    if (weight->rank != x->rank || weight->dim[0] != x->dim[1] || w->groups < 1 ||
        x->dim[1] % w->groups != 0 || weight->dim[1] > INT32_MAX / w->groups)
        return err_set(e, ERR_FORMAT, "weight %s does not go with input %s in %d groups", SHAPE_TEXT(weight),
                       SHAPE_TEXT(x), w->groups);
    for (int s = 0; s < w->spatial; s++)
        if (weight->dim[2 + s] != w->kernel[OP_SPATIAL - w->spatial + s])
            return err_set(e, ERR_FORMAT, "kernel_shape contradicts weight %s", SHAPE_TEXT(weight));
    const int64_t m = weight->dim[1] * w->groups;
    if (!op_input_absent(in, n_in, 2) && (in[2].rank != 1 || in[2].dim[0] != m))
        return err_set(e, ERR_FORMAT, "bias %s is not [%lld]", SHAPE_TEXT(&in[2]), (long long)m);
    *out = (struct shape){.rank = x->rank, .dim = {x->dim[0], m}};
    return transposed_output(&p->conv_transpose, x, out, e);
}
