/* The algorithms: what each can run, what it needs, and which one to take.
 *
 * Planner and validator ask the same functions, so what the planner chose is
 * what the validator accepts, and the engine's scratch is never taken from the
 * file. All algorithms so far read weights as ONNX has them, row-major. */
#include "infer/algorithm.h"

#include <string.h>

/* --- convolution ------------------------------------------------------------------ */

struct conv { /* one convolution, as the rows below look at it */
    const struct op_window *w;
    const struct shape *in, *weight, *out;
};

static int64_t filter_size(const struct shape *weight) {
    return shape_product(weight, 1, weight->rank);
}
static int64_t positions(const struct shape *out) {
    return shape_product(out, 2, out->rank);
}

int64_t algorithm_im2col_block(const struct shape *weight, const struct shape *out) {
    const int64_t all = positions(out), fit = ALGORITHM_COLUMNS_MAX / filter_size(weight);
    if (all <= fit) return all;
    if (fit >= 16) return fit / 16 * 16;
    return fit > 1 ? fit : 1;
}

static bool fits_always(const struct conv *c) {
    (void)c;
    return true;
}

static bool fits_im2col(const struct conv *c) {
    return c->w->spatial <= 2 && filter_size(c->weight) <= ALGORITHM_COLUMNS_MAX;
}

static bool fits_pointwise(const struct conv *c) {
    for (int a = 0; a < OP_SPATIAL; a++)
        if (c->w->kernel[a] != 1 || c->w->stride[a] != 1 || c->w->pad_begin[a] != 0 || c->w->pad_end[a] != 0)
            return false;
    return c->w->spatial <= 2 && positions(c->out) <= INT32_MAX; /* columns of one sgemm */
}

static bool fits_depthwise(const struct conv *c) {
    return c->w->spatial <= 2 && c->w->groups == c->in->dim[1] && c->w->groups == c->out->dim[1];
}

static size_t scratch_none(const struct conv *c) {
    (void)c;
    return 0;
}

static size_t scratch_im2col(const struct conv *c) {
    return (size_t)(filter_size(c->weight) * algorithm_im2col_block(c->weight, c->out)) * sizeof(float);
}

static const struct {
    const char *name;
    bool (*fits)(const struct conv *c); /* NULL: not a convolution's */
    size_t (*scratch)(const struct conv *c);
} algorithms[ALG_COUNT] = {
    [ALG_DEFAULT] = {"default", NULL, NULL},
    [ALG_CONV_REFERENCE] = {"reference", fits_always, scratch_none},
    [ALG_CONV_IM2COL] = {"im2col", fits_im2col, scratch_im2col},
    [ALG_CONV_POINTWISE] = {"pointwise", fits_pointwise, scratch_none},
    [ALG_CONV_DEPTHWISE] = {"depthwise", fits_depthwise, scratch_none},
};

const char *algorithm_name(uint32_t algorithm) {
    return algorithm < ALG_COUNT ? algorithms[algorithm].name : "unknown";
}

bool algorithm_fits(uint32_t algorithm, enum op op, const union op_params *p, const struct shape *in,
                    int n_in, const struct shape *out) {
    if (algorithm >= ALG_COUNT) return false;
    if (op != OP_CONV) return algorithm == ALG_DEFAULT;
    if (n_in < 2 || !algorithms[algorithm].fits) return false;
    return algorithms[algorithm].fits(&(struct conv){&p->window, &in[0], &in[1], out});
}

/* Without arithmetic where one filter sees one channel; without unfolding where
 * the input already is the matrix; else unfolded. What im2col cannot take
 * (volumes, filters beyond ALGORITHM_COLUMNS_MAX) goes through the plain loops. */
uint32_t algorithm_choose(enum image_isa isa, enum op op, const union op_params *p, const struct shape *in,
                          int n_in, const struct shape *out) {
    static const uint32_t by_preference[] = {ALG_CONV_DEPTHWISE, ALG_CONV_POINTWISE, ALG_CONV_IM2COL};
    (void)isa; /* all of these are portable */
    if (op != OP_CONV) return ALG_DEFAULT;
    for (size_t i = 0; i < sizeof by_preference / sizeof by_preference[0]; i++)
        if (algorithm_fits(by_preference[i], op, p, in, n_in, out)) return by_preference[i];
    return ALG_CONV_REFERENCE;
}

size_t algorithm_scratch_bytes(uint32_t algorithm, enum op op, const union op_params *p,
                               const struct shape *in, int n_in, const struct shape *out) {
    if (!algorithm_fits(algorithm, op, p, in, n_in, out) || !algorithms[algorithm].scratch) return 0;
    return algorithms[algorithm].scratch(&(struct conv){&p->window, &in[0], &in[1], out});
}

/* --- weights ---------------------------------------------------------------------- */

size_t algorithm_weight_bytes(uint32_t algorithm, enum op op, const union op_params *p,
                              const struct shape *weight) {
    (void)algorithm, (void)op, (void)p;
    return (size_t)shape_elements(weight) * sizeof(float);
}

/* The products are rounded once, from double: folding then costs half an ulp per weight. */
void algorithm_pack_weight(uint32_t algorithm, enum op op, const union op_params *p,
                           const struct shape *weight, const double *scale, const float *from, void *to) {
    (void)algorithm;
    const size_t bytes = (size_t)shape_elements(weight) * sizeof(float);
    if (!scale) {
        memcpy(to, from, bytes);
        return;
    }
    float *packed = to;
    const bool output_is_last = op == OP_GEMM && !p->gemm.trans_b; /* B [K,N]; else rows are outputs */
    const int64_t rows = weight->dim[0], columns = shape_product(weight, 1, weight->rank);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            packed[r * columns + c] = (float)(from[r * columns + c] * scale[output_is_last ? c : r]);
}

/* --- for the planner, the validator and people ------------------------------------- */

bool algorithm_takes_activation(enum op op) {
    return op == OP_CONV || op == OP_GEMM || op == OP_MATMUL || op == OP_ADD || op == OP_BATCH_NORM;
}

uint64_t algorithm_multiply_adds(enum op op, const union op_params *p, const struct shape *in, int n_in,
                                 const struct shape *out) {
    if (n_in < 2) return 0;
    const uint64_t results = (uint64_t)shape_elements(out);
    switch ((int)op) {
    case OP_CONV: return results * (uint64_t)filter_size(&in[1]);
    case OP_GEMM: return results * (uint64_t)in[0].dim[1 - p->gemm.trans_a];
    case OP_MATMUL: return results * (uint64_t)in[0].dim[in[0].rank - 1];
    default: return 0;
    }
}
