/* Reductions. Neighbouring axes of one kind are merged, so that what is left
 * alternates:
 *
 *   ... kept, reduced         each output is the sum of some rows
 *   ... reduced, kept         COLUMNS outputs at once, a strip from each row
 *
 * An output goes through: map (|x|, x^2, exp(x - largest)), join, finish. */
#include "infer/reduce.h"

#include "infer/simd.h"

#include <math.h>

#define COLUMNS 64

enum map { MAP_NONE, MAP_ABS, MAP_SQUARE, MAP_EXP };
enum join { JOIN_SUM, JOIN_PROD, JOIN_MAX, JOIN_MIN };

struct axis {
    int64_t n, step;
};

struct axes { /* outermost first */
    struct axis kept[SHAPE_MAX_RANK], reduced[SHAPE_MAX_RANK];
    int32_t n_kept, n_reduced;
    int64_t row;         /* reduced elements that lie in a row; 1 where the innermost axis is kept */
    int64_t columns;     /* kept elements that lie in a row; 1 where the innermost axis is reduced */
    int64_t outer, rows; /* products of what is left: kept, reduced */
};

/* Takes the innermost run out of the axes, as `row` or `columns`. */
static void split_axes(const struct shape *s, uint32_t axes, struct axes *x) {
    struct axis *last = NULL;
    int64_t step = 1;
    bool last_reduced = false;
    *x = (struct axes){.row = 1, .columns = 1, .outer = 1, .rows = 1};
    for (int32_t i = s->rank - 1; i >= 0; step *= s->dim[i--]) {
        const bool reduced = axes >> i & 1;
        if (s->dim[i] == 1) continue;
        if (last && reduced == last_reduced) {
            last->n *= s->dim[i];
            continue;
        }
        last = reduced ? &x->reduced[x->n_reduced++] : &x->kept[x->n_kept++];
        *last = (struct axis){s->dim[i], step};
        last_reduced = reduced;
    }
    if (x->n_reduced && x->reduced[0].step == 1) {
        x->row = x->reduced[0].n;
        x->reduced[0].n = 1;
    } else if (x->n_kept && x->kept[0].step == 1) {
        x->columns = x->kept[0].n;
        x->kept[0].n = 1;
    }
    for (int32_t i = 0; i < x->n_kept; i++) x->outer *= x->kept[i].n;
    for (int32_t i = 0; i < x->n_reduced; i++) x->rows *= x->reduced[i].n;
}

/* Where the element with this number among these axes lies; axes[0] is the innermost. */
static int64_t locate(const struct axis *axes, int32_t n, int64_t number) {
    int64_t at = 0;
    for (int32_t i = 0; i < n; i++) {
        at += number % axes[i].n * axes[i].step;
        number /= axes[i].n;
    }
    return at;
}

SIMD_INLINE double neutral(enum join j) {
    return j == JOIN_SUM ? 0 : j == JOIN_PROD ? 1 : j == JOIN_MAX ? -INFINITY : INFINITY;
}
SIMD_INLINE double joined(enum join j, double a, double b) {
    if (j == JOIN_SUM) return a + b;
    if (j == JOIN_PROD) return a * b;
    if (j == JOIN_MAX) return b > a || b != b ? b : a;
    return b < a || b != b ? b : a;
}
SIMD_INLINE double mapped(enum map m, float x, double shift) {
    if (m == MAP_ABS) return fabs((double)x);
    if (m == MAP_SQUARE) return (double)x * (double)x;
    return m == MAP_EXP ? exp((double)x - shift) : (double)x;
}

SIMD_INLINE double join_row(enum map m, enum join j, const float *x, int64_t n, double shift, double sum) {
    enum { LANES = 8 };
    int64_t i = 0;
    if (n >= 2 * LANES) {
        double lanes[LANES];
        for (int k = 0; k < LANES; k++) lanes[k] = neutral(j);
        for (; i + LANES <= n; i += LANES)
            for (int k = 0; k < LANES; k++) lanes[k] = joined(j, lanes[k], mapped(m, x[i + k], shift));
        for (int k = 0; k < LANES; k++) sum = joined(j, sum, lanes[k]);
    }
    for (; i < n; i++) sum = joined(j, sum, mapped(m, x[i], shift));
    return sum;
}

/* `sum` of up to COLUMNS outputs that lie in a row, or of one, whose elements do. */
SIMD_INLINE void join_all(enum map m, enum join j, const struct axes *a, const float *x, int64_t columns,
                          const double *shift, double *sum) {
    for (int64_t c = 0; c < columns; c++) sum[c] = neutral(j);
    for (int64_t r = 0; r < a->rows; r++) {
        const float *from = x + locate(a->reduced, a->n_reduced, r);
        if (a->row > 1)
            sum[0] = join_row(m, j, from, a->row, shift[0], sum[0]);
        else
            for (int64_t c = 0; c < columns; c++) sum[c] = joined(j, sum[c], mapped(m, from[c], shift[c]));
    }
}

#define PASS(name, map, join)                                                                                \
    SIMD_CLONES static void name(const struct axes *a, const float *x, int64_t columns, const double *shift, \
                                 double *sum) {                                                              \
        join_all(map, join, a, x, columns, shift, sum);                                                      \
    }
PASS(pass_sum, MAP_NONE, JOIN_SUM)
PASS(pass_abs, MAP_ABS, JOIN_SUM)
PASS(pass_square, MAP_SQUARE, JOIN_SUM)
PASS(pass_exp, MAP_EXP, JOIN_SUM)
PASS(pass_prod, MAP_NONE, JOIN_PROD)
PASS(pass_max, MAP_NONE, JOIN_MAX)
PASS(pass_min, MAP_NONE, JOIN_MIN)

/* An infinite largest element must not become inf - inf. */
static void pass_log_sum_exp(const struct axes *a, const float *x, int64_t columns, double *sum) {
    double shift[COLUMNS];
    pass_max(a, x, columns, sum, shift);
    for (int64_t c = 0; c < columns; c++)
        if (!isfinite(shift[c])) shift[c] = 0;
    pass_exp(a, x, columns, shift, sum);
    for (int64_t c = 0; c < columns; c++) sum[c] = shift[c] + log(sum[c]);
}

static void reduce_block(enum op op, const struct axes *a, const float *x, int64_t columns, double *sum) {
    const double n = (double)(a->row * a->rows);
    const double none[COLUMNS] = {0};
    switch ((int)op) {
    case OP_REDUCE_MAX: pass_max(a, x, columns, none, sum); break;
    case OP_REDUCE_MIN: pass_min(a, x, columns, none, sum); break;
    case OP_REDUCE_PROD: pass_prod(a, x, columns, none, sum); break;
    case OP_REDUCE_L1: pass_abs(a, x, columns, none, sum); break;
    case OP_REDUCE_L2:
    case OP_REDUCE_SUM_SQUARE: pass_square(a, x, columns, none, sum); break;
    case OP_REDUCE_LOG_SUM_EXP: pass_log_sum_exp(a, x, columns, sum); break;
    default: pass_sum(a, x, columns, none, sum); break;
    }
    for (int64_t c = 0; c < columns; c++) {
        if (op == OP_REDUCE_MEAN) sum[c] /= n;
        if (op == OP_REDUCE_L2) sum[c] = sqrt(sum[c]);
        if (op == OP_REDUCE_LOG_SUM) sum[c] = log(sum[c]);
    }
}

void reduce_run(enum op op, uint32_t axes, const struct shape *s, const float *x, float *out) {
    struct axes a;
    double sum[COLUMNS];
    split_axes(s, axes, &a);
    for (int64_t o = 0; o < a.outer; o++) {
        const float *from = x + locate(a.kept, a.n_kept, o);
        for (int64_t c = 0; c < a.columns; c += COLUMNS) {
            const int64_t columns = a.columns - c < COLUMNS ? a.columns - c : COLUMNS;
            reduce_block(op, &a, from + c, columns, sum);
            for (int64_t k = 0; k < columns; k++) *out++ = (float)sum[k];
        }
    }
}
