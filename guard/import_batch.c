/* Following the batch axis through the run-time operators.
 *
 * The engine runs a batch image by image. That gives the same result exactly if
 * every operator leaves the images apart: none may sum, normalise or
 * concatenate along the batch, and a reshape must keep it the outermost factor
 * of one axis. Each rule says where the batch ends up; the shapes at batch 1
 * and 2 must then differ there, by a factor of two, and nowhere else. */
#include "guard/import_batch.h"

#include <string.h>

typedef int (*rule_fn)(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                       struct batch_value *out, struct err *e);

static int mixes(struct err *e, const char *how) {
    return err_set(e, ERR_UNSUPPORTED,
                   "it mixes the images of a batch: %s. clpd runs each image by itself; export the model "
                   "with a fixed batch of 1",
                   how);
}

static int only_data_has_batch(const struct batch_value *in, int32_t n_in, struct err *e) {
    for (int32_t i = 1; i < n_in; i++)
        if (in[i].axis >= 0) return mixes(e, "its parameters depend on the image");
    return 0;
}

static int follow_same(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                       struct batch_value *out, struct err *e) {
    (void)p, (void)n_in, (void)e;
    out->axis = in[0].axis;
    return 0;
}

/* Convolutions, pools, batch normalisation: [batch, channels, …]. */
static int follow_channels(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                           struct batch_value *out, struct err *e) {
    (void)p;
    if (only_data_has_batch(in, n_in, e)) return -1;
    if (in[0].axis > 0) return mixes(e, "the batch is not the first axis of its input");
    out->axis = in[0].axis;
    return 0;
}

/* Where axis `axis` of an input of this rank lies once it is aligned at the last of `rank` axes. */
static int32_t aligned(int32_t axis, int32_t from_rank, int32_t rank) {
    return axis < 0 ? -1 : axis + rank - from_rank;
}

/* The batch of several inputs meets on one axis of the result. */
static int meet(int32_t a, int32_t b, int32_t *axis, struct err *e) {
    if (a >= 0 && b >= 0 && a != b) return mixes(e, "each image of one input meets every image of the other");
    *axis = a >= 0 ? a : b;
    return 0;
}

static int follow_broadcast(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                            struct batch_value *out, struct err *e) {
    (void)p;
    out->axis = -1;
    for (int32_t i = 0; i < n_in; i++)
        if (in[i].shape[0].rank >= 0 &&
            meet(out->axis, aligned(in[i].axis, in[i].shape[0].rank, out->shape[0].rank), &out->axis, e))
            return -1;
    return 0;
}

static int32_t only_difference(const struct shape *a, const struct shape *b) {
    int32_t axis = -1;
    if (a->rank != b->rank) return -1;
    for (int32_t i = 0; i < a->rank; i++) {
        if (a->dim[i] == b->dim[i]) continue;
        if (axis >= 0) return -1;
        axis = i;
    }
    return axis;
}

/* Elements lie in order [before, batch, after]; as long as as many come before, the
 * batch's place in that order is the same, however the rest is cut up. Some of what
 * comes before may end up in the batch's own axis (the attention of PyTorch's ViT
 * does so): rows stay rows, and the next reshape has to take them apart again. */
static int follow_reshape(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                          struct batch_value *out, struct err *e) {
    (void)p, (void)n_in;
    out->axis = -1;
    if (in[0].axis < 0) return 0;
    const int32_t axis = only_difference(&out->shape[0], &out->shape[1]);
    const int64_t before = shape_product(&in[0].shape[0], 0, in[0].axis) * in[0].outer;
    const int64_t around = axis < 0 ? 1 : shape_product(&out->shape[0], 0, axis);
    if (axis < 0 || before % around != 0 || out->shape[0].dim[axis] % (before / around) != 0)
        return mixes(e, "its new shape takes the batch apart");
    out->axis = axis;
    out->outer = before / around;
    return 0;
}

static int follow_gemm(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                       struct batch_value *out, struct err *e) {
    const int32_t row = p[0].gemm.trans_a ? 1 : 0, column = p[0].gemm.trans_b ? 0 : 1;
    int32_t axis = -1;
    if ((in[0].axis >= 0 && in[0].axis != row) || (in[1].axis >= 0 && in[1].axis != column))
        return mixes(e, "it sums over the batch");
    if (meet(in[0].axis >= 0 ? 0 : -1, in[1].axis >= 0 ? 1 : -1, &axis, e)) return -1;
    const int32_t c = n_in > 2 ? aligned(in[2].axis, in[2].shape[0].rank, 2) : -1;
    return meet(axis, c, &out->axis, e);
}

/* Where the batch of one factor ends up; -2: it is summed over. `matrix_axis` is
 * the one that the result keeps, `sum_axis` the one that it does not. */
static int32_t follow_factor(const struct batch_value *v, int32_t sum_axis, int32_t matrix_axis,
                             int32_t kept_at, int32_t broadcast_rank) {
    const int32_t rank = v->shape[0].rank;
    if (v->axis < 0) return -1;
    if (v->axis == sum_axis) return -2;
    if (v->axis == matrix_axis) return kept_at;
    return aligned(v->axis, rank - 2, broadcast_rank);
}

static int follow_matmul(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                         struct batch_value *out, struct err *e) {
    (void)p, (void)n_in;
    const int32_t ra = in[0].shape[0].rank, rb = in[1].shape[0].rank, r = out->shape[0].rank;
    const int32_t broadcast_rank = r - (ra > 1) - (rb > 1);
    const int32_t a = follow_factor(&in[0], ra - 1, ra - 2, r - 1 - (rb > 1), broadcast_rank);
    const int32_t b = follow_factor(&in[1], rb > 1 ? rb - 2 : 0, rb > 1 ? rb - 1 : -3, r - 1, broadcast_rank);
    if (a == -2 || b == -2) return mixes(e, "it sums over the batch");
    return meet(a, b, &out->axis, e);
}

static int follow_softmax(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                          struct batch_value *out, struct err *e) {
    (void)n_in;
    const struct op_axis *a = &p[0].axis;
    if (in[0].axis >= 0 && (a->flatten ? in[0].axis >= a->axis : in[0].axis == a->axis))
        return mixes(e, "it normalises along the batch");
    out->axis = in[0].axis;
    return 0;
}

static int follow_layer_norm(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                             struct batch_value *out, struct err *e) {
    if (only_data_has_batch(in, n_in, e)) return -1;
    if (in[0].axis >= p[0].norm.axis) return mixes(e, "it normalises along the batch");
    out->axis = in[0].axis;
    return 0;
}

static int follow_concat(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                         struct batch_value *out, struct err *e) {
    out->axis = -1;
    for (int32_t i = 0; i < n_in; i++)
        if (meet(out->axis, in[i].axis, &out->axis, e)) return -1;
    return out->axis >= 0 && out->axis == p[0].axis.axis ? mixes(e, "it concatenates along the batch") : 0;
}

static int follow_reduce(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                         struct batch_value *out, struct err *e) {
    const struct op_reduce *r = &p[0].reduce;
    (void)n_in;
    out->axis = in[0].axis;
    if (in[0].axis < 0) return 0;
    if (r->axes >> in[0].axis & 1) return mixes(e, "it reduces along the batch");
    for (int32_t i = 0; i < in[0].axis && !r->keep; i++) out->axis -= (int32_t)(r->axes >> i & 1);
    return 0;
}

static int follow_transpose(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                            struct batch_value *out, struct err *e) {
    (void)n_in, (void)e;
    out->axis = -1;
    for (int32_t i = 0; in[0].axis >= 0 && i < in[0].shape[0].rank; i++)
        if (p[0].transpose.perm[i] == in[0].axis) out->axis = i;
    return 0;
}

static int follow_slice(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                        struct batch_value *out, struct err *e) {
    (void)n_in;
    out->axis = in[0].axis;
    for (int lane = 0; in[0].axis >= 0 && lane < 2; lane++) {
        const struct op_slice *s = &p[lane].slice;
        const int32_t a = in[0].axis;
        if (s->start[a] != 0 || (s->step[a] != 1 && s->count[a] != 1) ||
            s->count[a] != in[0].shape[lane].dim[a])
            return mixes(e, "it picks some of the images");
    }
    return 0;
}

/* What is the same for each image may be repeated for each. */
static int follow_expand(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                         struct batch_value *out, struct err *e) {
    (void)p, (void)n_in, (void)e;
    out->axis = in[0].axis >= 0 ? aligned(in[0].axis, in[0].shape[0].rank, out->shape[0].rank)
                                : only_difference(&out->shape[0], &out->shape[1]);
    return 0;
}

static int follow_pad(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                      struct batch_value *out, struct err *e) {
    (void)n_in;
    out->axis = in[0].axis;
    if (in[0].axis >= 0 && (p[0].pad.begin[in[0].axis] || p[0].pad.end[in[0].axis]))
        return mixes(e, "it pads the batch");
    return 0;
}

static int follow_gather(const union op_params p[2], const struct batch_value *in, int32_t n_in,
                         struct batch_value *out, struct err *e) {
    const int32_t axis = p[0].axis.axis;
    if (only_data_has_batch(in, n_in, e)) return -1;
    if (in[0].axis == axis) return mixes(e, "it picks some of the images");
    out->axis = in[0].axis < axis ? in[0].axis : in[0].axis - 1 + in[1].shape[0].rank;
    return 0;
}

static const rule_fn rules[OP_COUNT] = {
    [OP_CONV] = follow_channels,
    [OP_BATCH_NORM] = follow_channels,
    [OP_RELU] = follow_same,
    [OP_CLIP] = follow_same,
    [OP_ADD] = follow_broadcast,
    [OP_MUL] = follow_broadcast,
    [OP_MAX_POOL] = follow_channels,
    [OP_AVERAGE_POOL] = follow_channels,
    [OP_GLOBAL_AVERAGE_POOL] = follow_channels,
    [OP_RESHAPE] = follow_reshape,
    [OP_GEMM] = follow_gemm,
    [OP_MATMUL] = follow_matmul,
    [OP_SOFTMAX] = follow_softmax,
    [OP_CONCAT] = follow_concat,
    [OP_IDENTITY] = follow_same,
    [OP_LAYER_NORM] = follow_layer_norm,
    [OP_FUNCTION_FIRST... OP_FUNCTION_LAST] = follow_same,
    [OP_PAIR_FIRST... OP_PAIR_LAST] = follow_broadcast,
    [OP_WHERE] = follow_broadcast,
    [OP_REDUCE_FIRST... OP_REDUCE_LAST] = follow_reduce,
    [OP_TRANSPOSE] = follow_transpose,
    [OP_SLICE] = follow_slice,
    [OP_EXPAND] = follow_expand,
    [OP_PAD] = follow_pad,
    [OP_GATHER] = follow_gather,
    [OP_LRN] = follow_channels,
    [OP_INSTANCE_NORM] = follow_channels,
    [OP_CONV_TRANSPOSE] = follow_channels,
    [OP_HARDMAX] = follow_softmax,
};

/* Twice as long along `axis`, and else the same; axis -1: the same. */
static bool grows_along(const struct shape s[2], int32_t axis) {
    if (s[0].rank != s[1].rank) return false;
    for (int32_t i = 0; i < s[0].rank; i++)
        if (s[1].dim[i] != (i == axis ? 2 * s[0].dim[i] : s[0].dim[i])) return false;
    return true;
}

/* Inputs that have the batch have it at the same place of their axis. */
static int common_outer(const struct batch_value *in, int32_t n_in, int64_t *outer, struct err *e) {
    *outer = 1;
    for (int32_t i = 0, first = 1; i < n_in; i++) {
        if (in[i].axis < 0) continue;
        if (!first && in[i].outer != *outer)
            return mixes(e, "the images of its inputs are in different orders");
        *outer = in[i].outer;
        first = 0;
    }
    return 0;
}

int import_batch_follow(enum op op, const union op_params p[2], const struct batch_value *in, int32_t n_in,
                        struct batch_value *out, struct err *e) {
    if ((unsigned)op >= OP_COUNT || !rules[op])
        return err_set(e, ERR_INTERNAL, "no rule says what %s does with a batch", op_name(op));
    if (common_outer(in, n_in, &out->outer, e) || rules[op](p, in, n_in, out, e)) return -1;
    if (grows_along(out->shape, out->axis)) return 0;
    char one[128], two[128];
    (void)shape_text(&out->shape[0], one, sizeof one);
    (void)shape_text(&out->shape[1], two, sizeof two);
    return err_set(e, ERR_UNSUPPORTED,
                   "its result is %s at batch 1 and %s at batch 2, so that no axis is the batch. Export the "
                   "model with a fixed batch of 1",
                   one, two);
}

/* [before, n, after] at batch 1 must be [before, 2, n, after] at batch 2, both halves equal to it. */
static bool is_repeated(const struct tensor *one, const struct tensor *two, int32_t axis) {
    const size_t element = one->f ? sizeof *one->f : sizeof *one->i;
    const char *a = one->f ? (const char *)one->f : (const char *)one->i;
    const char *b = two->f ? (const char *)two->f : (const char *)two->i;
    const int64_t blocks = shape_product(&one->shape, 0, axis);
    const size_t bytes = (size_t)shape_product(&one->shape, axis, one->shape.rank) * element;
    for (int64_t i = 0; i < blocks; i++, a += bytes, b += 2 * bytes)
        if (memcmp(a, b, bytes) != 0 || memcmp(a, b + bytes, bytes) != 0) return false;
    return true;
}

int import_batch_of_constant(const struct tensor *one, const struct tensor *two, int32_t *axis,
                             struct err *e) {
    *axis = -1;
    if (one == two) return 0;
    const struct shape shapes[2] = {one->shape, two->shape};
    const int32_t at = only_difference(&shapes[0], &shapes[1]);
    if (at < 0 || !grows_along(shapes, at) || !one->f != !two->f || !is_repeated(one, two, at))
        return err_set(
            e, ERR_UNSUPPORTED,
            "a constant among its inputs depends on the size of the batch. Export the model with a "
            "fixed batch of 1");
    *axis = at;
    return 0;
}
