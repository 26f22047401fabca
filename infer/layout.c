/* Layouts of tensors and the rules of who takes which; see layout.h. */
#include "infer/layout.h"

#include "infer/function.h"

bool layout_takes_shape(uint32_t layout, const struct shape *s) {
    return layout == LAYOUT_PLAIN || (layout == LAYOUT_BLOCKED && s->rank == 4);
}

/* At most 2^31 elements, sixteen times as many where each block has one channel: far from 2^64. */
uint64_t layout_bytes(uint32_t layout, const struct shape *s) {
    if (layout == LAYOUT_PLAIN) return (uint64_t)shape_elements(s) * sizeof(float);
    return (uint64_t)(s->dim[0] * s->dim[2] * s->dim[3]) * (uint64_t)layout_blocks(s->dim[1]) *
           (LAYOUT_LANES * sizeof(float));
}

/* --- rules ---------------------------------------------------------------------------------- */

static bool all_are(const struct layouts *l, uint32_t layout, int from) {
    for (int i = from; i < l->n_in; i++)
        if (l->in[i] != layout) return false;
    return true;
}

static bool conv_takes(uint32_t algorithm, const struct layouts *l) {
    if (!all_are(l, LAYOUT_PLAIN, 1)) return false; /* weight and bias */
    switch (algorithm) {
    case ALG_CONV_DIRECT:
    case ALG_CONV_DIRECT_BF16:
    case ALG_CONV_CHANNELWISE:
    case ALG_CONV_WINOGRAD_2:
    case ALG_CONV_WINOGRAD_4: return l->in[0] == LAYOUT_BLOCKED && l->out == LAYOUT_BLOCKED;
    case ALG_CONV_FIRST: return l->in[0] == LAYOUT_PLAIN && l->out == LAYOUT_BLOCKED;
    default: return l->in[0] == LAYOUT_PLAIN && l->out == LAYOUT_PLAIN;
    }
}

/* One number per channel, to go with a tensor of that many channels. */
static bool is_per_channel(const struct shape *s, const struct shape *of) {
    return s->rank == 4 && s->dim[0] == of->dim[0] && s->dim[1] == of->dim[1] && s->dim[2] == 1 &&
           s->dim[3] == 1;
}

static bool binary_takes_blocked(const struct shape *in, const struct shape *out) {
    for (int i = 0; i < 2; i++)
        if (shape_equal(&in[i], out) && (shape_equal(&in[1 - i], out) || is_per_channel(&in[1 - i], out)))
            return true;
    return false;
}

/* Blocks must not be cut: only the last input may have one that is not full. */
static bool concat_takes_blocked(const union op_params *p, const struct shape *in, int n_in) {
    if (p->axis.axis != 1) return false;
    for (int i = 0; i + 1 < n_in; i++)
        if (in[i].dim[1] % LAYOUT_LANES != 0) return false;
    return true;
}

bool layout_fits(uint32_t algorithm, enum op op, const union op_params *p, const struct shape *in,
                 const struct shape *out, const struct layouts *l) {
    const bool blocked = l->out == LAYOUT_BLOCKED;
    if (!layout_takes_shape(l->out, out)) return false;
    for (int i = 0; i < l->n_in; i++)
        if (!layout_takes_shape(l->in[i], &in[i])) return false;
    if (op_is_function(op)) return l->in[0] == l->out;
    switch ((int)op) {
    case OP_CONV: return conv_takes(algorithm, l);
    case OP_IDENTITY: return (l->in[0] != l->out) == (algorithm == ALG_REORDER);
    case OP_RELU:
    case OP_CLIP:
    case OP_MAX_POOL:
    case OP_AVERAGE_POOL:
    case OP_GLOBAL_AVERAGE_POOL: return l->in[0] == l->out;
    case OP_BATCH_NORM: return l->in[0] == l->out && all_are(l, LAYOUT_PLAIN, 1);
    case OP_ADD:
    case OP_MUL: return all_are(l, l->out, 0) && (!blocked || binary_takes_blocked(in, out));
    case OP_CONCAT: return all_are(l, l->out, 0) && (!blocked || concat_takes_blocked(p, in, l->n_in));
    default: return !blocked && all_are(l, LAYOUT_PLAIN, 0);
    }
}
