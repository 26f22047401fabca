/* Shape rules of what moves, repeats and reduces elements, and of the
 * normalisations over windows and channels. Parameters come from untrusted
 * records: every index that a kernel makes of them is bounded here. */
#include "infer/op_rules.h"

#include <math.h>

int op_rule_function(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                     struct err *e) {
    const struct op_function *f = &p->function;
    (void)n_in;
    if (!isfinite(f->alpha) || !isfinite(f->beta) || !isfinite(f->lo) || !isfinite(f->hi))
        return err_set(e, ERR_VALUE, "a parameter is not finite");
    *out = in[0];
    return 0;
}

int op_rule_where(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                  struct err *e) {
    struct shape both;
    (void)p, (void)n_in;
    if (!shape_broadcast(&in[0], &in[1], &both) || !shape_broadcast(&both, &in[2], out))
        return err_set(e, ERR_FORMAT, "%s, %s and %s do not broadcast", SHAPE_TEXT(&in[0]),
                       SHAPE_TEXT(&in[1]), SHAPE_TEXT(&in[2]));
    return 0;
}

int op_rule_reduce(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                   struct err *e) {
    const struct op_reduce *r = &p->reduce;
    (void)n_in;
    if ((r->keep | 1) != 1) return err_set(e, ERR_FORMAT, "a flag is neither 0 nor 1");
    if (r->axes == 0 || r->axes >> in[0].rank)
        return err_set(e, ERR_FORMAT, "axes %#x are none of input %s", r->axes, SHAPE_TEXT(&in[0]));
    *out = (struct shape){0};
    for (int32_t i = 0; i < in[0].rank; i++)
        if (!(r->axes >> i & 1))
            out->dim[out->rank++] = in[0].dim[i];
        else if (r->keep)
            out->dim[out->rank++] = 1;
    return 0;
}

int op_rule_transpose(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                      struct err *e) {
    unsigned seen = 0;
    (void)n_in;
    *out = (struct shape){.rank = in[0].rank};
    for (int32_t i = 0; i < SHAPE_MAX_RANK; i++) {
        const int32_t axis = p->transpose.perm[i];
        if (i >= in[0].rank) {
            if (axis != 0) return err_set(e, ERR_FORMAT, "it permutes axes that there are not");
            continue;
        }
        if (axis < 0 || axis >= in[0].rank || seen >> axis & 1)
            return err_set(e, ERR_FORMAT, "its axes are no permutation of those of input %s",
                           SHAPE_TEXT(&in[0]));
        seen |= 1u << axis;
        out->dim[i] = in[0].dim[axis];
    }
    return 0;
}

int op_rule_slice(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                  struct err *e) {
    const struct op_slice *s = &p->slice;
    (void)n_in;
    *out = (struct shape){.rank = in[0].rank};
    for (int32_t i = 0; i < SHAPE_MAX_RANK; i++) {
        if (i >= in[0].rank) {
            if (s->start[i] || s->step[i] || s->count[i])
                return err_set(e, ERR_FORMAT, "it slices axes that there are not");
            continue;
        }
        const int64_t last = s->start[i] + ((int64_t)s->count[i] - 1) * s->step[i];
        if (s->count[i] < 1 || s->start[i] < 0 || s->start[i] >= in[0].dim[i] || last < 0 ||
            last >= in[0].dim[i])
            return err_set(e, ERR_FORMAT, "%d elements from %d in steps of %d are not all on axis %d of %s",
                           s->count[i], s->start[i], s->step[i], i, SHAPE_TEXT(&in[0]));
        out->dim[i] = s->count[i];
    }
    return 0;
}

int op_rule_expand(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                   struct err *e) {
    (void)n_in;
    const struct shape *target = &p->reshape.target;
    if (!shape_valid(target) || !shape_broadcast(&in[0], target, out) || !shape_equal(out, target))
        return err_set(e, ERR_FORMAT, "%s does not expand to %s", SHAPE_TEXT(&in[0]), SHAPE_TEXT(target));
    return 0;
}

/* What the modes can take at most from a dimension of `n` elements. */
static int64_t most_padding(int32_t mode, int64_t n) {
    if (mode == PAD_REFLECT) return n - 1;
    if (mode == PAD_WRAP) return n;
    return INT32_MAX / 4;
}

int op_rule_pad(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                struct err *e) {
    const struct op_pad *d = &p->pad;
    (void)n_in;
    if (d->mode < 0 || d->mode >= PAD_MODES) return err_set(e, ERR_FORMAT, "padding of no known kind");
    if (isnan(d->value)) return err_set(e, ERR_VALUE, "it pads with NaN");
    *out = in[0];
    for (int32_t i = 0; i < SHAPE_MAX_RANK; i++) {
        const int64_t most = i < in[0].rank ? most_padding(d->mode, in[0].dim[i]) : 0;
        if (d->begin[i] < 0 || d->end[i] < 0 || d->begin[i] > most || d->end[i] > most)
            return err_set(e, ERR_LIMIT, "padding %d, %d on axis %d is outside 0 to %lld", d->begin[i],
                           d->end[i], i, (long long)most);
        if (i < in[0].rank) out->dim[i] += (int64_t)d->begin[i] + d->end[i];
    }
    return 0;
}

int op_rule_gather(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                   struct err *e) {
    const int32_t axis = p->axis.axis;
    (void)n_in;
    if (axis < 0 || axis >= in[0].rank)
        return err_set(e, ERR_FORMAT, "axis %d is none of input %s", axis, SHAPE_TEXT(&in[0]));
    if (p->axis.flatten != 0) return err_set(e, ERR_FORMAT, "a gather has a flag of Softmax");
    if (in[0].dim[axis] > 1 << 24) /* floats count so far */
        return err_set(e, ERR_LIMIT, "axis %d of %s is too long to gather from", axis, SHAPE_TEXT(&in[0]));
    if (in[0].rank - 1 + in[1].rank > SHAPE_MAX_RANK)
        return err_set(e, ERR_LIMIT, "its result has more than %d dimensions", SHAPE_MAX_RANK);
    *out = (struct shape){0};
    for (int32_t i = 0; i < axis; i++) out->dim[out->rank++] = in[0].dim[i];
    for (int32_t i = 0; i < in[1].rank; i++) out->dim[out->rank++] = in[1].dim[i];
    for (int32_t i = axis + 1; i < in[0].rank; i++) out->dim[out->rank++] = in[0].dim[i];
    return 0;
}

int op_rule_lrn(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                struct err *e) {
    const struct op_lrn *l = &p->lrn;
    (void)n_in;
    if (in[0].rank < 2) return err_set(e, ERR_FORMAT, "input %s has no channel axis", SHAPE_TEXT(&in[0]));
    if (l->size < 1 || l->size > OP_MAX_WINDOW)
        return err_set(e, ERR_LIMIT, "size %d is outside 1 to %d", l->size, OP_MAX_WINDOW);
    if (!isfinite(l->alpha) || !isfinite(l->beta) || !isfinite(l->bias))
        return err_set(e, ERR_VALUE, "alpha, beta or bias is not finite");
    *out = in[0];
    return 0;
}

int op_rule_instance_norm(const union op_params *p, const struct shape *in, int n_in, struct shape *out,
                          struct err *e) {
    if (!isfinite(p->batch_norm.epsilon) || p->batch_norm.epsilon < 0)
        return err_set(e, ERR_VALUE, "epsilon %g is not a small positive number",
                       (double)p->batch_norm.epsilon);
    if (in[0].rank < 3) return err_set(e, ERR_FORMAT, "input %s has no spatial axes", SHAPE_TEXT(&in[0]));
    for (int i = 1; i < n_in; i++)
        if (in[i].rank != 1 || in[i].dim[0] != in[0].dim[1])
            return err_set(e, ERR_FORMAT, "parameter %d is %s where input %s has %lld channels", i,
                           SHAPE_TEXT(&in[i]), SHAPE_TEXT(&in[0]), (long long)in[0].dim[1]);
    *out = in[0];
    return 0;
}
