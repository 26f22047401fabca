/* Operators that normalise: BatchNormalization, LayerNormalization, Softmax. */
#include "guard/import_node.h"

static int check_variance(const struct import_node *n, const struct tensor *variance) {
    for (int64_t c = 0; c < variance->count; c++)
        if (!(variance->f[c] > 0)) /* also where it is NaN */
            return err_set(n->e, ERR_VALUE, "variance '%.*s' is %g in channel %lld; it must be more than 0",
                           TEXT_ARGS(n->in[4]->name), (double)variance->f[c], (long long)c);
    return 0;
}

/* Outputs past the first are for training; that they are listed does no harm, using them does. */
static int emit_batch_norm(struct import_node *n) {
    static const char *const what[] = {"the input", "the scale", "the bias", "the mean", "the variance"};
    union op_params p = {0};
    int32_t training, spatial;
    for (int32_t i = 1; i < 5; i++)
        if (!import_weights(n, i, what[i])) return -1;
    if (import_flag(n, "training_mode", 0, &training) || import_flag(n, "spatial", 1, &spatial)) return -1;
    if (training)
        return err_set(n->e, ERR_UNSUPPORTED,
                       "training_mode is 1; export the model for inference (model.eval())");
    if (!spatial)
        return err_set(n->e, ERR_UNSUPPORTED, "spatial is 0; only normalisation per channel is accepted");
    if (check_variance(n, n->in[4]->constant[0])) return -1;
    p.batch_norm.epsilon = import_float(n, "epsilon", 1e-5f);
    return import_emit_simple(n, OP_BATCH_NORM, &p, 5);
}

static int emit_layer_norm(struct import_node *n) {
    union op_params p = {0};
    if (!import_weights(n, 1, "the scale") || (import_input(n, 2) && !import_weights(n, 2, "the bias")))
        return -1;
    if (import_axis(import_int(n, "axis", -1), import_shape(n->in[0], 0)->rank, &p.norm.axis, n->e))
        return -1;
    if (import_int(n, "stash_type", ONNX_FLOAT) != ONNX_FLOAT)
        return err_set(n->e, ERR_UNSUPPORTED, "stash_type is %lld; accepted is 1 (float)",
                       (long long)import_int(n, "stash_type", 0));
    p.norm.epsilon = import_float(n, "epsilon", 1e-5f);
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

const struct import_row import_rows_norm[] = {
    {"BatchNormalization", 7, 8, 5, 5, "epsilon:f momentum:f spatial:i", emit_batch_norm, NULL, false},
    {"BatchNormalization", 9, 13, 5, 5, "epsilon:f momentum:f", emit_batch_norm, NULL, false},
    {"BatchNormalization", 14, 1000, 5, 5, "epsilon:f momentum:f training_mode:i", emit_batch_norm, NULL,
     false},
    {"LayerNormalization", 17, 1000, 2, 3, "axis:i epsilon:f stash_type:i", emit_layer_norm, NULL, false},
    {"Softmax", 1, 12, 1, 1, "axis:i", emit_softmax_flat, NULL, false},
    {"Softmax", 13, 1000, 1, 1, "axis:i", emit_softmax, NULL, false},
    {0},
};
