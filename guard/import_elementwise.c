/* Operators on each element by itself, and what passes its input on:
 * Relu, Clip, Add, Mul, Sum, Identity, Dropout, Cast. */
#include "guard/evaluate.h"

#include <math.h>

static int emit_relu(struct import_node *n) {
    return import_emit_simple(n, OP_RELU, NULL, 1);
}

static int emit_clip_attributes(struct import_node *n) {
    const union op_params p = {
        .clip = {.min = import_float(n, "min", -INFINITY), .max = import_float(n, "max", INFINITY)}};
    return import_emit_simple(n, OP_CLIP, &p, 1);
}

/* Bounds that are computed while the network runs. */
static int emit_moving_clip(struct import_node *n, struct operand *min, struct operand *max) {
    struct operand *x = n->in[0];
    if (min) x = import_emit_two(n, max ? -1 : 0, OP_MAX, x, min);
    if (max) x = import_emit_two(n, 0, OP_MIN, x, max);
    return x ? 0 : -1;
}

static bool moves(const struct operand *o) {
    return o && o->kind != OPERAND_CONSTANT;
}

static int emit_clip(struct import_node *n) {
    if (moves(import_input(n, 1)) || moves(import_input(n, 2)))
        return emit_moving_clip(n, import_input(n, 1), import_input(n, 2));
    union op_params p = {.clip = {.min = -INFINITY, .max = INFINITY}};
    const struct operand *min = import_input(n, 1), *max = import_input(n, 2);
    if (min && import_scalar_input(n, min, "the lower bound", &p.clip.min)) return -1;
    if (max && import_scalar_input(n, max, "the upper bound", &p.clip.max)) return -1;
    return import_emit_simple(n, OP_CLIP, &p, 1);
}

static int emit_add(struct import_node *n) {
    return import_emit_simple(n, OP_ADD, NULL, 2);
}

static int emit_mul(struct import_node *n) {
    return import_emit_simple(n, OP_MUL, NULL, 2);
}

static int emit_identity(struct import_node *n) {
    return import_emit_simple(n, OP_IDENTITY, NULL, 1);
}

/* ((a + b) + c) + …, as the reference does it. */
static int emit_sum(struct import_node *n) {
    if (n->n_in == 1) return emit_identity(n);
    struct operand *sum = import_input(n, 0);
    for (int32_t i = 1; i < n->n_in; i++) {
        struct operand *const pair[2] = {sum, import_input(n, i)};
        sum = import_emit(n, i == n->n_in - 1 ? 0 : -1, OP_ADD, NULL, NULL, pair, 2);
        if (!sum) return -1;
    }
    return 0;
}

/* From operator set 12 on, an input can ask for training: real dropout, at random,
 * unless nothing is dropped (torchvision's Swin says so of its attention). */
static int emit_dropout(struct import_node *n) {
    const struct operand *training = import_input(n, 2), *ratio = import_input(n, 1);
    float on = 0, dropped = 0.5f;
    if (training && import_scalar_input(n, training, "training_mode", &on)) return -1;
    if (on != 0 && ratio && import_scalar_input(n, ratio, "the ratio", &dropped)) return -1;
    if (on != 0 && dropped != 0)
        return err_set(n->e, ERR_UNSUPPORTED,
                       "training_mode is true; export the model for inference (model.eval())");
    return emit_identity(n);
}

/* Everything runs in float32, so between float types there is nothing to do. */
static int emit_cast(struct import_node *n) {
    const int64_t to = import_int(n, "to", 0);
    if (to < 0 || to > ONNX_TYPES || !tensor_type_is_float((int32_t)to))
        return err_set(n->e, ERR_UNSUPPORTED,
                       "it casts to %s while the network runs; networks run on floats only",
                       onnx_type_name(to < 0 || to > ONNX_TYPES ? -1 : (int32_t)to));
    n->any_type = true;
    n->gives = ONNX_FLOAT;
    return emit_identity(n);
}

static int emit_cast_like(struct import_node *n) {
    if (!tensor_type_is_float(import_type(n->in[1])))
        return err_set(n->e, ERR_UNSUPPORTED,
                       "it casts to %s while the network runs; networks run on floats only",
                       onnx_type_name(import_type(n->in[1])));
    n->any_type = true;
    n->gives = ONNX_FLOAT;
    return emit_identity(n);
}

const struct import_row import_rows_elementwise[] = {
    {"Relu", OPSET_ANY, 1, 1, "", emit_relu, evaluate_relu, false},
    {"Clip", 1, 10, 1, 1, "min:f max:f", emit_clip_attributes, NULL, false},
    {"Clip", 11, 1000, 1, 3, "", emit_clip, NULL, false},
    {"Add", OPSET_ANY, 2, 2, "", emit_add, evaluate_add, false},
    {"Mul", OPSET_ANY, 2, 2, "", emit_mul, evaluate_mul, false},
    {"Sum", OPSET_ANY, 1, OP_MAX_INPUTS, "", emit_sum, NULL, false},
    {"Identity", OPSET_ANY, 1, 1, "", emit_identity, evaluate_identity, false},
    {"Dropout", 1, 11, 1, 1, "ratio:f", emit_identity, evaluate_identity, false},
    {"Dropout", 12, 1000, 1, 3, "seed:i", emit_dropout, NULL, false},
    {"CastLike", 15, 1000, 2, 2, "saturate:i", emit_cast_like, NULL, false},
    {"Cast", OPSET_ANY, 1, 1, "to:i saturate:i", emit_cast, evaluate_cast, false},
    {0},
};
