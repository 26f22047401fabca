/* Models quantised to bytes as exporters write them: QuantizeLinear and
 * DequantizeLinear around ordinary operators. Constants are dequantised here;
 * while the network runs, a byte is a float that holds a whole number, rounded
 * (halves to even) and saturated exactly as it says. */
#include "guard/evaluate.h"

#include <math.h>

struct scheme { /* scale and zero point: one of each, or one per index along `axis` (or per block of them) */
    const struct tensor *scale, *zero;
    int32_t type, axis;
    int64_t block;
};

static int range_of(int32_t type, float *lo, float *hi) {
    *lo = type == ONNX_INT8 ? -128 : type == ONNX_INT16 ? -32768 : 0;
    *hi = type == ONNX_INT8 ? 127 : type == ONNX_UINT8 ? 255 : type == ONNX_INT16 ? 32767 : 65535;
    return type == ONNX_INT8 || type == ONNX_UINT8 || type == ONNX_INT16 || type == ONNX_UINT16 ? 0 : -1;
}

static int check_scales(const struct import_node *n, const struct scheme *s) {
    for (int64_t i = 0; i < s->scale->count; i++)
        if (!(s->scale->f[i] > 0) || !isfinite(s->scale->f[i]))
            return err_set(n->e, ERR_VALUE, "scale %lld is %g; it must be positive", (long long)i,
                           (double)s->scale->f[i]);
    if (s->zero && (!s->zero->i || s->zero->count != s->scale->count))
        return err_set(n->e, ERR_FORMAT, "its zero point must be integers, as many as there are scales");
    return 0;
}

/* `type`: of the integers; 0: as the zero point says. */
static int read_scheme(const struct import_node *n, const struct shape *x, int32_t type, struct scheme *s) {
    const struct operand *zero = import_input(n, 2);
    char text[128];
    *s = (struct scheme){.scale = import_weights(n, 1, "the scale")};
    if (!s->scale) return -1;
    if (zero && (zero->kind != OPERAND_CONSTANT || zero->constant[0] != zero->constant[1]))
        return err_set(n->e, ERR_UNSUPPORTED, "its zero point must be constant");
    s->zero = zero ? zero->constant[0] : NULL;
    s->type = type ? type : s->zero ? s->zero->type : ONNX_UINT8;
    if (s->zero && s->zero->type != s->type)
        return err_set(n->e, ERR_FORMAT, "its zero point is %s and its numbers are %s",
                       onnx_type_name(s->zero->type), onnx_type_name(s->type));
    s->block = import_int(n, "block_size", 0);
    if (check_scales(n, s)) return -1;
    if (s->scale->count == 1 && s->block == 0) {
        s->axis = -1;
        return 0;
    }
    if (import_axis(import_int(n, "axis", 1), x->rank, &s->axis, n->e)) return -1;
    if (s->block < 0 || s->block > x->dim[s->axis])
        return err_set(n->e, ERR_FORMAT, "block_size does not fit");
    if (s->block == 0 && (s->scale->shape.rank != 1 || s->scale->count != x->dim[s->axis]))
        return err_set(n->e, ERR_FORMAT, "%lld scales do not go with axis %d of %s",
                       (long long)s->scale->count, s->axis, shape_text(x, text, sizeof text));
    struct shape want = *x;
    if (s->block > 0) want.dim[s->axis] = (x->dim[s->axis] + s->block - 1) / s->block;
    if (s->block > 0 && !shape_equal(&want, &s->scale->shape))
        return err_set(n->e, ERR_FORMAT, "its scales are not one per block of %lld", (long long)s->block);
    return 0;
}

/* Which scale element `k` of an input of shape `x` has. */
static int64_t scale_of(const struct scheme *s, const struct shape *x, int64_t k) {
    if (s->axis < 0) return 0;
    const int64_t inner = shape_product(x, s->axis + 1, x->rank), n = x->dim[s->axis], i = k / inner % n;
    if (s->block == 0) return i;
    return (k / (inner * n) * s->scale->shape.dim[s->axis] + i / s->block) * inner + k % inner;
}

/* --- on constants --------------------------------------------------------------------------- */

static int evaluate_dequantize(struct evaluation *v) {
    const struct tensor *t = v->in[0];
    struct scheme s;
    float *f = NULL;
    if (!t->i)
        return err_set(v->e, ERR_FORMAT, "its input is %s; it must be integers", onnx_type_name(t->type));
    if (read_scheme(v->node, &t->shape, t->type, &s) || evaluate_new(v, ONNX_FLOAT, &t->shape, &f, NULL))
        return -1;
    for (int64_t k = 0; k < t->count; k++) {
        const int64_t at = scale_of(&s, &t->shape, k);
        f[k] = (float)(t->i[k] - (s.zero ? s.zero->i[at] : 0)) * s.scale->f[at];
    }
    return 0;
}

static int32_t wanted_type(const struct import_node *n) {
    const int64_t type = import_int(n, "output_dtype", 0);
    return type < 0 || type >= ONNX_TYPES ? -1 : (int32_t)type;
}

static int evaluate_quantize(struct evaluation *v) {
    const struct tensor *t = v->in[0];
    struct scheme s;
    float lo, hi;
    int64_t *i = NULL;
    if (!t->f)
        return err_set(v->e, ERR_FORMAT, "its input is %s; it must be floats", onnx_type_name(t->type));
    if (read_scheme(v->node, &t->shape, wanted_type(v->node), &s)) return -1;
    if (range_of(s.type, &lo, &hi))
        return err_set(v->e, ERR_UNSUPPORTED, "it quantises to %s; accepted are 8 and 16 bits",
                       onnx_type_name(s.type));
    if (evaluate_new(v, s.type, &t->shape, NULL, &i)) return -1;
    for (int64_t k = 0; k < t->count; k++) {
        const int64_t at = scale_of(&s, &t->shape, k);
        const float x = rintf(t->f[k] / s.scale->f[at]) + (s.zero ? (float)s.zero->i[at] : 0);
        i[k] = (int64_t)(x < lo ? lo : x > hi ? hi : x == x ? x : lo);
    }
    return 0;
}

/* --- while the network runs -------------------------------------------------------------------- */

/* Scales or zero points along `axis` of something of rank `rank`, to be broadcast. */
static struct operand *along_axis(struct import_node *n, const struct scheme *s, int32_t rank, bool zero) {
    struct shape shape = {.rank = rank - s->axis};
    float *f;
    shape.dim[0] = s->scale->count;
    for (int32_t i = 1; i < shape.rank; i++) shape.dim[i] = 1;
    struct operand *o = import_new_constant(n, &shape, &f);
    for (int64_t k = 0; o && k < s->scale->count; k++)
        f[k] = zero ? (s->zero ? (float)s->zero->i[k] : 0) : s->scale->f[k];
    return o;
}

static int no_blocks(const struct import_node *n, const struct scheme *s) {
    return s->block == 0
               ? 0
               : err_set(n->e, ERR_UNSUPPORTED,
                         "block_size is %lld while the network runs; accepted is one scale, or one per "
                         "channel",
                         (long long)s->block);
}

static int emit_quantize(struct import_node *n) {
    const struct shape *x = import_shape(n->in[0], 0);
    struct scheme s;
    union op_params p = {0};
    if (read_scheme(n, x, wanted_type(n), &s) || no_blocks(n, &s)) return -1;
    if (range_of(s.type, &p.function.lo, &p.function.hi))
        return err_set(n->e, ERR_UNSUPPORTED, "it quantises to %s; accepted are 8 and 16 bits",
                       onnx_type_name(s.type));
    if (s.axis < 0) {
        n->gives = s.type;
        p.function.alpha = s.scale->f[0];
        p.function.beta = s.zero ? (float)s.zero->i[0] : 0;
        return import_emit_simple(n, OP_QUANTIZE, &p, 1);
    }
    struct operand *scaled = import_emit_two(n, -1, OP_DIV, n->in[0], along_axis(n, &s, x->rank, false));
    struct operand *round = import_emit_one(n, -1, OP_ROUND, NULL, scaled);
    struct operand *moved = import_emit_two(n, -1, OP_ADD, round, along_axis(n, &s, x->rank, true));
    const union op_params bounds = {.clip = {p.function.lo, p.function.hi}};
    n->gives = s.type;
    return import_emit_one(n, 0, OP_CLIP, &bounds, moved) ? 0 : -1;
}

static int emit_dequantize(struct import_node *n) {
    const struct shape *x = import_shape(n->in[0], 0);
    struct scheme s;
    if (tensor_type_is_float(import_type(n->in[0])) || import_type(n->in[0]) == ONNX_BOOL)
        return err_set(n->e, ERR_FORMAT, "its input is %s; it must come from QuantizeLinear",
                       onnx_type_name(import_type(n->in[0])));
    if (read_scheme(n, x, import_type(n->in[0]), &s) || no_blocks(n, &s)) return -1;
    n->any_type = true;
    n->gives = ONNX_FLOAT;
    if (s.axis < 0) {
        const union op_params p = {
            .function = {.alpha = s.scale->f[0], .beta = s.zero ? (float)s.zero->i[0] : 0}};
        return import_emit_simple(n, OP_DEQUANTIZE, &p, 1);
    }
    struct operand *moved = import_emit_two(n, -1, OP_SUB, n->in[0], along_axis(n, &s, x->rank, true));
    return import_emit_two(n, 0, OP_MUL, moved, along_axis(n, &s, x->rank, false)) ? 0 : -1;
}

const struct import_row import_rows_quantize[] = {
    {"QuantizeLinear", 10, 1000, 2, 3, "axis:i block_size:i output_dtype:i precision:i saturate:i",
     emit_quantize, evaluate_quantize, false},
    {"DequantizeLinear", 10, 1000, 2, 3, "axis:i block_size:i output_dtype:i", emit_dequantize,
     evaluate_dequantize, false},
    {0},
};
