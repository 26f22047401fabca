/* Operators that normalise: BatchNormalization, LayerNormalization, InstanceNormalization,
 * GroupNormalization, LRN, Softmax, Hardmax. */
#include "guard/import_node.h"

static int check_variance(const struct import_node *n, const struct tensor *variance) {
    for (int64_t c = 0; c < variance->count; c++)
        if (!(variance->f[c] > 0)) /* also where it is NaN */
            return err_set(n->e, ERR_VALUE, "variance '%.*s' is %g in channel %lld; it must be more than 0",
                           TEXT_ARGS(n->in[4]->name), (double)variance->f[c], (long long)c);
    return 0;
}

/* [C] as [C,1,…], to be broadcast along the channels of the input. */
static struct operand *per_channel(struct import_node *n, struct operand *in) {
    struct shape s[2];
    for (int lane = 0; lane < n->lanes; lane++) {
        s[lane] = (struct shape){.rank = import_shape(n->in[0], lane)->rank - 1};
        s[lane].dim[0] = import_shape(in, lane)->dim[0];
        for (int32_t i = 1; i < s[lane].rank; i++) s[lane].dim[i] = 1;
    }
    if (import_shape(n->in[0], 0)->rank < 2 || import_shape(in, 0)->rank != 1) {
        (void)err_set(n->e, ERR_FORMAT, "a parameter is not one number per channel");
        return NULL;
    }
    return import_emit_reshape(n, -1, in, s);
}

/* Parameters that are computed while the network runs: (x - mean) * (scale / sqrt(var + epsilon)) + bias. */
static int emit_moving_batch_norm(struct import_node *n) {
    struct operand *epsilon = import_new_number(n, import_float(n, "epsilon", 1e-5f));
    struct operand *spread =
        import_emit_one(n, -1, OP_SQRT, NULL, import_emit_two(n, -1, OP_ADD, n->in[4], epsilon));
    struct operand *scale = import_emit_two(n, -1, OP_DIV, n->in[1], spread), *mean = NULL, *bias = NULL;
    if (!scale || !(scale = per_channel(n, scale)) || !(mean = per_channel(n, n->in[3])) ||
        !(bias = per_channel(n, n->in[2])))
        return -1;
    struct operand *x = import_emit_two(n, -1, OP_SUB, n->in[0], mean);
    return import_emit_two(n, 0, OP_ADD, import_emit_two(n, -1, OP_MUL, x, scale), bias) ? 0 : -1;
}

/* Outputs past the first are for training; that they are listed does no harm, using them does. */
static int emit_batch_norm(struct import_node *n) {
    static const char *const what[] = {"the input", "the scale", "the bias", "the mean", "the variance"};
    union op_params p = {0};
    int32_t training, spatial;
    bool constant = true;
    for (int32_t i = 1; i < 5; i++) constant = constant && n->in[i]->kind == OPERAND_CONSTANT;
    for (int32_t i = 1; constant && i < 5; i++)
        if (!import_weights(n, i, what[i])) return -1;
    if (import_flag(n, "training_mode", 0, &training) || import_flag(n, "spatial", 1, &spatial)) return -1;
    if (training)
        return err_set(n->e, ERR_UNSUPPORTED,
                       "training_mode is 1; export the model for inference (model.eval())");
    if (!spatial)
        return err_set(n->e, ERR_UNSUPPORTED, "spatial is 0; only normalisation per channel is accepted");
    if (!constant) return emit_moving_batch_norm(n);
    if (check_variance(n, n->in[4]->constant[0])) return -1;
    p.batch_norm.epsilon = import_float(n, "epsilon", 1e-5f);
    return import_emit_simple(n, OP_BATCH_NORM, &p, 5);
}

/* Mean and 1 / sqrt(variance + epsilon), which nobody but the ONNX tests asks for. */
static int emit_statistics(struct import_node *n, int32_t axis, float epsilon) {
    const int32_t rank = import_shape(n->in[0], 0)->rank;
    const union op_params p = {.reduce = {.axes = ((1u << rank) - 1) >> axis << axis, .keep = 1}};
    struct operand *mean = import_emit_one(n, 1, OP_REDUCE_MEAN, &p, n->in[0]);
    struct operand *centred = import_emit_two(n, -1, OP_SUB, n->in[0], mean);
    struct operand *variance =
        import_emit_one(n, -1, OP_REDUCE_MEAN, &p, import_emit_two(n, -1, OP_MUL, centred, centred));
    struct operand *sum = import_emit_two(n, -1, OP_ADD, variance, import_new_number(n, epsilon));
    return import_emit_one(n, 2, OP_RECIPROCAL, NULL, import_emit_one(n, -1, OP_SQRT, NULL, sum)) ? 0 : -1;
}

static int emit_layer_norm(struct import_node *n) {
    union op_params p = {0};
    if (import_axis(import_int(n, "axis", -1), import_shape(n->in[0], 0)->rank, &p.norm.axis, n->e))
        return -1;
    if (import_int(n, "stash_type", ONNX_FLOAT) != ONNX_FLOAT)
        return err_set(n->e, ERR_UNSUPPORTED, "stash_type is %lld; accepted is 1 (float)",
                       (long long)import_int(n, "stash_type", 0));
    p.norm.epsilon = import_float(n, "epsilon", 1e-5f);
    if (n->onnx->n_outputs > 1 && emit_statistics(n, p.norm.axis, p.norm.epsilon)) return -1;
    return import_emit_simple(n, OP_LAYER_NORM, &p, n->n_in);
}

static int softmax(struct import_node *n, int64_t absent, int32_t flatten) {
    union op_params p = {.axis = {.flatten = flatten}};
    if (import_axis(import_int(n, "axis", absent), import_shape(n->in[0], 0)->rank, &p.axis.axis, n->e))
        return -1;
    return import_emit_simple(n, OP_SOFTMAX, &p, 1);
}

static int emit_softmax_flat(struct import_node *n) {
    return softmax(n, 1, 1);
}

static int emit_softmax(struct import_node *n) {
    return softmax(n, -1, 0);
}

static int hardmax(struct import_node *n, int64_t absent, int32_t flatten) {
    union op_params p = {.axis = {.flatten = flatten}};
    if (import_axis(import_int(n, "axis", absent), import_shape(n->in[0], 0)->rank, &p.axis.axis, n->e))
        return -1;
    return import_emit_simple(n, OP_HARDMAX, &p, 1);
}

static int emit_hardmax_flat(struct import_node *n) {
    return hardmax(n, 1, 1);
}

static int emit_hardmax(struct import_node *n) {
    return hardmax(n, -1, 0);
}

static int emit_instance_norm(struct import_node *n) {
    const union op_params p = {.batch_norm = {import_float(n, "epsilon", 1e-5f)}};
    return import_emit_simple(n, OP_INSTANCE_NORM, &p, 3);
}

static int emit_lrn(struct import_node *n) {
    const int64_t size = import_int(n, "size", 0);
    if (size < 1 || size > OP_MAX_WINDOW)
        return err_set(n->e, ERR_LIMIT, "attribute 'size' is %lld; accepted are 1 to %d", (long long)size,
                       OP_MAX_WINDOW);
    const union op_params p = {.lrn = {(int32_t)size, import_float(n, "alpha", 1e-4f),
                                       import_float(n, "beta", 0.75f), import_float(n, "bias", 1)}};
    return import_emit_simple(n, OP_LRN, &p, 1);
}

/* [N,C,…] as [N,groups,rest] is normalised per instance; scale and bias come
 * after, per channel, or (operator set 18) per group. */
static int emit_group_norm(struct import_node *n) {
    const int64_t groups = import_int(n, "num_groups", 0);
    const struct shape *in = import_shape(n->in[0], 0);
    struct shape cut[2], whole[2];
    float *ones, *zeros;
    if (in->rank < 3 || groups < 1 || in->dim[1] % groups != 0)
        return err_set(n->e, ERR_FORMAT, "%lld groups do not divide its channels", (long long)groups);
    for (int lane = 0; lane < n->lanes; lane++) {
        whole[lane] = *import_shape(n->in[0], lane);
        cut[lane] = (struct shape){
            .rank = 3,
            .dim = {whole[lane].dim[0], groups, shape_product(&whole[lane], 1, whole[lane].rank) / groups}};
    }
    struct operand *in3[3] = {import_emit_reshape(n, -1, n->in[0], cut), n->in[1], n->in[2]};
    const bool per_group = n->opset < 21;
    if (!in3[0]) return -1;
    if (!per_group) {
        const struct shape s = {.rank = 1, .dim = {groups}};
        in3[1] = import_new_constant(n, &s, &ones);
        in3[2] = in3[1] ? import_new_constant(n, &s, &zeros) : NULL;
        if (!in3[2]) return -1;
        for (int64_t i = 0; i < groups; i++) ones[i] = 1, zeros[i] = 0;
    }
    const union op_params p = {.batch_norm = {import_float(n, "epsilon", 1e-5f)}};
    struct operand *x = import_emit(n, -1, OP_INSTANCE_NORM, &p, NULL, in3, 3);
    if (!x || per_group) return x && import_emit_reshape(n, 0, x, whole) ? 0 : -1;
    struct operand *scale = per_channel(n, n->in[1]), *bias = scale ? per_channel(n, n->in[2]) : NULL;
    x = bias ? import_emit_reshape(n, -1, x, whole) : NULL;
    return import_emit_two(n, 0, OP_ADD, import_emit_two(n, -1, OP_MUL, x, scale), bias) ? 0 : -1;
}

const struct import_row import_rows_norm[] = {
    {"BatchNormalization", 7, 8, 5, 5, "epsilon:f momentum:f spatial:i", emit_batch_norm, NULL, false},
    {"BatchNormalization", 9, 13, 5, 5, "epsilon:f momentum:f", emit_batch_norm, NULL, false},
    {"BatchNormalization", 14, 1000, 5, 5, "epsilon:f momentum:f training_mode:i", emit_batch_norm, NULL,
     false},
    {"LayerNormalization", 17, 1000, 2, 3, "axis:i epsilon:f stash_type:i", emit_layer_norm, NULL, false},
    {"InstanceNormalization", 6, 1000, 3, 3, "epsilon:f", emit_instance_norm, NULL, false},
    {"GroupNormalization", 18, 1000, 3, 3, "epsilon:f num_groups:i stash_type:i", emit_group_norm, NULL,
     false},
    {"LRN", OPSET_ANY, 1, 1, "alpha:f beta:f bias:f size:i", emit_lrn, NULL, false},
    {"Hardmax", 1, 12, 1, 1, "axis:i", emit_hardmax_flat, NULL, false},
    {"Hardmax", 13, 1000, 1, 1, "axis:i", emit_hardmax, NULL, false},
    {"Softmax", 1, 12, 1, 1, "axis:i", emit_softmax_flat, NULL, false},
    {"Softmax", 13, 1000, 1, 1, "axis:i", emit_softmax, NULL, false},
    {0},
};
